"""Conversations: messages, context window, sessions, export."""
