"""Context from the repository around a file."""
