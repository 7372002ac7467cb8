"""`qwen math`: solve problems with words and sandboxed Python."""
