"""`qwen config`: settings and endpoints."""
