"""What a tool is, and what comes back from a call of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from qwen_cli.engines.core.base import ToolCall


@dataclass(frozen=True)
class ToolResult:
    """What came back from a call. `ok` is False where it failed or was refused; `output` then says why.
    `plots` are PNG pictures for the person."""

    call: ToolCall
    output: str
    ok: bool
    plots: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Output:
    """What a tool returns that is more than text: whether it worked, and PNG pictures for the person."""

    text: str
    ok: bool = True
    plots: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Tool:
    """One function: `parameters` is the JSON schema of its arguments, `source` the file or server it is from.

    `run` takes the arguments as the model gave them and returns the text for the model. It may raise.
    `check` says what is wrong with arguments, `None` where nothing is; without it they are held against
    `parameters`. Tools of one `kind` are allowed together where a person allows one of them for good.
    """

    name: str
    description: str
    parameters: dict[str, Any]
    run: Callable[[dict[str, Any]], str | Output]
    source: str
    check: Callable[[dict[str, Any]], str | None] | None = None
    kind: str = ""
