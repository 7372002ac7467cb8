"""Which weights, where they are, and how they fit."""
