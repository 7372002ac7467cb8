"""`qwen log`."""
