"""The server of this user (`qwen serve`), as an engine."""
