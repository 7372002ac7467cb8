"""Functions that a model may call, and the asking before they run."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from qwen_cli.engines.core.base import ToolCall
from qwen_cli.errors import QwenError
from qwen_cli.sandbox.truncate import cut
from qwen_cli.tasks.tools.base import Output, Tool, ToolResult

Approve = Callable[[ToolCall], bool]

MOST_CHARACTERS = 60_000
"""Of one result that the model is told: some 15,000 tokens."""
REFUSED = "refused: the person did not allow this call"


def refuse(call: ToolCall) -> bool:
    """Allow nothing: what `approve` is until someone who can be asked is there."""
    return False


class Toolbox:
    """The tools of a conversation. `approve` is asked before every run; without one, nothing runs."""

    def __init__(
        self,
        tools: Sequence[Tool] = (),
        *,
        approve: Approve = refuse,
        closers: Sequence[Callable[[], None]] = (),
    ) -> None:
        self.approve = approve
        self.most_characters = MOST_CHARACTERS
        self.remarks: list[str] = []  # about what could not be offered
        self._closers = list(closers)
        self._tools = _named(tools)

    @classmethod
    def from_python(cls, path: Path, *, approve: Approve = refuse) -> Toolbox:
        """Return the typed functions of the Python file at `path`, which is run. Raises `ToolError`."""
        from qwen_cli.tasks.tools.python import read

        remarks: list[str] = []
        box = cls(read(path, remarks.append), approve=approve)
        box.remarks = remarks
        return box

    @classmethod
    def from_mcp(cls, path: Path, *, approve: Approve = refuse) -> Toolbox:
        """Return the tools of the MCP servers in the config file at `path`; starts them. Raises
        `ToolError`."""
        from qwen_cli.tasks.tools.mcp import connect

        tools, close = connect(path)
        return cls(tools, approve=approve, closers=[close])

    @classmethod
    def builtin(
        cls, names: Sequence[str] = (), *, folder: Path | None = None, approve: Approve = refuse
    ) -> Toolbox:
        """Return the built-in tools called `names` (none: all of them); files are those below `folder`, the
        working folder by default. Raises `UsageError`."""
        from qwen_cli.tasks.tools import builtin

        tools, close = builtin.tools(names, folder or Path.cwd())
        return cls(tools, approve=approve, closers=[close])

    @classmethod
    def joined(cls, boxes: Sequence[Toolbox], *, approve: Approve = refuse) -> Toolbox:
        """Return one box with the tools of several; closing it closes them."""
        tools = [tool for box in boxes for tool in box._tools.values()]
        joined = cls(tools, approve=approve, closers=[box.close for box in boxes])
        joined.remarks = [remark for box in boxes for remark in box.remarks]
        return joined

    @property
    def definitions(self) -> list[dict[str, Any]]:
        """Return the tools as the OpenAI chat format defines them."""
        return [
            {
                "type": "function",
                "function": {
                    "name": name,
                    "description": tool.description,
                    "parameters": tool.parameters,
                },
            }
            for name, tool in self._tools.items()
        ]

    @property
    def names(self) -> list[str]:
        """Return the names as the model sees them."""
        return list(self._tools)

    def fit(self, context: int | None) -> None:
        """Let a result take at most half of a `context` in tokens, which have some four characters each."""
        self.most_characters = min(MOST_CHARACTERS, context * 2) if context else MOST_CHARACTERS

    def kind(self, name: str) -> str:
        """Return what tools are allowed together with the one called `name`: itself, where that is alone."""
        tool = self._tools.get(name)
        return (tool.kind if tool else "") or name

    @property
    def tools(self) -> dict[str, Tool]:
        """Return the tools by the names that the model uses."""
        return dict(self._tools)

    def run(self, call: ToolCall) -> ToolResult:
        """Check the arguments, ask, run, and turn whatever happens into text for the model. Raises only on
        Ctrl-C."""
        tool = self._tools.get(call.name)
        if tool is None:
            known = ", ".join(self._tools) or "none"
            return ToolResult(
                call, f"error: there is no tool {call.name!r}; the tools are: {known}", ok=False
            )
        if wrong := _wrong(tool, call.arguments):
            return ToolResult(call, f"error: wrong arguments for {call.name}: {wrong}", ok=False)
        if not self.approve(call):
            return ToolResult(call, REFUSED, ok=False)
        try:
            done = tool.run(call.arguments)
            output = done if isinstance(done, Output) else Output(done)
            return ToolResult(call, cut(output.text, self.most_characters), output.ok, output.plots)
        except QwenError as error:
            return ToolResult(call, f"error: {error}", ok=False)
        except (Exception, SystemExit) as error:  # the person's own code may raise anything
            return ToolResult(call, f"error: {type(error).__name__}: {error}", ok=False)

    def close(self) -> None:
        """End the servers behind the tools. Calls after this fail."""
        while self._closers:
            self._closers.pop()()

    def __enter__(self) -> Toolbox:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _wrong(tool: Tool, arguments: dict[str, Any]) -> str | None:
    """Return what is wrong with the arguments of a call; `None` where nothing is."""
    from qwen_cli.tasks.tools.arguments import fault

    return tool.check(arguments) if tool.check else fault(arguments, tool.parameters)


def _named(tools: Sequence[Tool]) -> dict[str, Tool]:
    """Return tools by the name the model uses: their own, with the source in front only where two share it.

    OpenAI-compatible servers take 64 letters, digits, "_" and "-" (OpenAI API reference, function name).
    """
    names = [tool.name for tool in tools]
    named: dict[str, Tool] = {}
    for tool in tools:
        name = tool.name if names.count(tool.name) == 1 else f"{tool.source}_{tool.name}"
        name = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:64]
        base, number = name[:61], 2
        while name in named:
            name, number = f"{base}_{number}", number + 1
        named[name] = tool
    return named
