"""`qwen sessions`."""
