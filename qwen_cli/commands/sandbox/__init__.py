"""`qwen sandbox`: check the layers, run a program contained."""
