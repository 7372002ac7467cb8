"""Tools a model may call: Python functions and MCP servers."""
