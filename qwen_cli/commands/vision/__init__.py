"""`qwen vision`: ask about images, documents and videos."""
