"""GGUF, safetensors and config.json: read, count, convert."""
