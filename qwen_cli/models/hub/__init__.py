"""From a reference to weights on this disk."""
