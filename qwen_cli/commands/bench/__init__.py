"""`qwen bench`."""
