"""`qwen listen`."""
