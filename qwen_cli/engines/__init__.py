"""Tokens in, tokens out, streamed: llama.cpp, transformers and servers behind one protocol."""
