"""`qwen improve`: make a model better at mathematics on this machine."""
