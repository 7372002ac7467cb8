"""`qwen serve`, `ps` and `stop`: models behind HTTP."""
