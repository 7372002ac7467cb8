"""Rendering and line editing, used by commands only."""
