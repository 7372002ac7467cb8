"""`qwen eval`: measure a model on tasks with known answers."""
