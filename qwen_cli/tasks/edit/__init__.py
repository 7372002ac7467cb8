"""Editing code by instruction: what the model is asked, and its answer applied exactly or refused."""
