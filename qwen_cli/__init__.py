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
    LogError,
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
    from qwen_cli.engines.core.backend import BackEnd
    from qwen_cli.engines.core.base import Capabilities, Engine, EngineBase, Message, Piece, Sampling, Usage
    from qwen_cli.engines.core.options import Hooks, LoadOptions
    from qwen_cli.engines.load import load, open_engine
    from qwen_cli.sandbox import Limits, Sandbox
    from qwen_cli.tasks.chat.conversation import Conversation
    from qwen_cli.tasks.tools.toolbox import Toolbox

__all__ = [
    "BackEnd",
    "Capabilities",
    "ContextFull",
    "Conversation",
    "DownloadError",
    "EndpointError",
    "Engine",
    "EngineBase",
    "EngineError",
    "Hooks",
    "Limits",
    "LoadOptions",
    "LogError",
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
    "open_engine",
]

# Imported on first use, so that `qwen --help` never pays for them.
_LAZY = {
    "BackEnd": "engines.core.backend",
    "Capabilities": "engines.core.base",
    "Conversation": "tasks.chat.conversation",
    "Engine": "engines.core.base",
    "EngineBase": "engines.core.base",
    "Hooks": "engines.core.options",
    "Limits": "sandbox",
    "LoadOptions": "engines.core.options",
    "Message": "engines.core.base",
    "Piece": "engines.core.base",
    "Sampling": "engines.core.base",
    "Sandbox": "sandbox",
    "Toolbox": "tasks.tools.toolbox",
    "Usage": "engines.core.base",
    "load": "engines.load",
    "open_engine": "engines.load",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(globals().keys() | _LAZY.keys())
