"""transformers, on processors and GPUs."""
