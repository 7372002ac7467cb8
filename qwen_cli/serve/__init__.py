"""`qwen serve`: loaded models behind HTTP, and behind a socket for the commands of the same user."""
