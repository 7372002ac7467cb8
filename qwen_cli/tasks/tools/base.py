"""What a tool is, and what comes back from a call of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from qwen_cli.engines.core.base import ToolCall


@dataclass(frozen=True)
class ToolResult:
    """What came back from a call. `ok` is False where it failed or was refused; `output` then says why."""

    call: ToolCall
    output: str
    ok: bool


@dataclass(frozen=True)
class Tool:
    """One function: `parameters` is the JSON schema of its arguments, `source` the file or server it is from.

    `run` takes the arguments as the model gave them and returns the text for the model. It may raise.
    """

    name: str
    description: str
    parameters: dict[str, Any]
    run: Callable[[dict[str, Any]], str]
    source: str
