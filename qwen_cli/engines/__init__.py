"""Tokens in, tokens out, streamed: three engines behind one protocol."""

from qwen_cli.engines.loading import load
from qwen_cli.engines.protocol import (
    Capabilities,
    Completion,
    Engine,
    Message,
    Piece,
    Sampling,
    Stream,
    ToolCall,
    Usage,
)

__all__ = [
    "Capabilities",
    "Completion",
    "Engine",
    "Message",
    "Piece",
    "Sampling",
    "Stream",
    "ToolCall",
    "Usage",
    "load",
]
