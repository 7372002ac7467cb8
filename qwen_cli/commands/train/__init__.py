"""`qwen train`: fine-tuning with LoRA."""
