"""Run Qwen models locally: chat, code completion, math with a sandboxed Python, images and video.

As a library (docs/python-api.md)::

    from qwen_cli import load

    with load("starter") as engine:
        for piece in engine.chat([{"role": "user", "content": "Hello"}]):
            print(piece.text, end="")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from qwen_cli._version import __version__
from qwen_cli.errors import (
    ContextFull,
    DownloadError,
    EndpointError,
    EngineError,
    ModelError,
    QwenError,
    RequestRefused,
    SandboxError,
    SchemaUnmet,
    SessionError,
    ToolError,
    UsageError,
)

if TYPE_CHECKING:
    from qwen_cli.engines.core.base import Capabilities, Engine, Message, Piece, Sampling, Usage
    from qwen_cli.engines.load import load
    from qwen_cli.sandbox import Limits, Sandbox
    from qwen_cli.tasks.chat.conversation import Conversation
    from qwen_cli.tasks.tools.toolbox import Toolbox

__all__ = [
    "Capabilities",
    "ContextFull",
    "Conversation",
    "DownloadError",
    "EndpointError",
    "Engine",
    "EngineError",
    "Limits",
    "Message",
    "ModelError",
    "Piece",
    "QwenError",
    "RequestRefused",
    "Sampling",
    "Sandbox",
    "SandboxError",
    "SchemaUnmet",
    "SessionError",
    "ToolError",
    "Toolbox",
    "Usage",
    "UsageError",
    "__version__",
    "load",
]

# Imported on first use, so that `qwen --help` never pays for them.
_LAZY = {
    "Capabilities": "engines.core.base",
    "Conversation": "tasks.chat.conversation",
    "Engine": "engines.core.base",
    "Limits": "sandbox",
    "Message": "engines.core.base",
    "Piece": "engines.core.base",
    "Sampling": "engines.core.base",
    "Sandbox": "sandbox",
    "Toolbox": "tasks.tools.toolbox",
    "Usage": "engines.core.base",
    "load": "engines.load",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(globals().keys() | _LAZY.keys())
