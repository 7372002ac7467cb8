"""Run Qwen models locally: chat, code completion, math with a sandboxed Python, images and video.

As a library::

    from qwen_cli import load

    with load("starter") as engine:
        for piece in engine.chat([{"role": "user", "content": "Hello"}]):
            print(piece.text, end="")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qwen_cli._version import __version__
from qwen_cli.errors import QwenError

if TYPE_CHECKING:
    from qwen_cli.engines.core.base import Engine, Piece, Sampling, Usage
    from qwen_cli.engines.load import load

__all__ = ["Engine", "Piece", "QwenError", "Sampling", "Usage", "__version__", "load"]


def __getattr__(name: str) -> Any:
    # Engines are resolved on first use, so that `qwen --help` never pays for them.
    if name in {"Engine", "Piece", "Sampling", "Usage", "load"}:
        from qwen_cli.engines import load
        from qwen_cli.engines.core import base

        return load.load if name == "load" else getattr(base, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
