"""What fits this machine, and how fast."""
