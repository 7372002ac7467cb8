"""Speech into text."""
