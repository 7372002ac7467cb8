"""How one question is answered: as text on a terminal or into a pipe, or as one JSON object."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

from qwen_cli.commands.shared import plots
from qwen_cli.commands.shared.output import StreamView, figures, print_json, relay, say
from qwen_cli.engines.core.base import Piece
from qwen_cli.tasks.chat.conversation import Conversation, Event, Events, Notice
from qwen_cli.tasks.tools.base import ToolResult


def streamed(events: Events, *, raw: bool, save_plots: Path | None = None) -> None:
    """Show the answer as it comes: Markdown on a terminal, `raw` or in a pipe the text itself."""
    show = partial(plots.tell, folder=save_plots)
    view = StreamView(raw=raw or not sys.stdout.isatty(), fold=False, plots=show)
    try:
        for event in events:
            view.show(event)
    finally:
        view.end()


def as_json(conversation: Conversation, events: Events, *, save_plots: Path | None = None) -> None:
    """Print one object when the answer is whole: text, thinking, tool calls, usage, timings."""
    for event in events:
        _remark(event)
        if isinstance(event, ToolResult) and save_plots:
            plots.tell(event.plots, save_plots)
    started = max(i for i, message in enumerate(conversation.messages) if message["role"] == "user")
    answers = [m for m in conversation.messages[started:] if m["role"] == "assistant"]
    results = [m for m in conversation.messages[started:] if m["role"] == "tool"]
    answer: dict[str, Any] = {
        "text": answers[-1]["content"] if answers else "",
        "thinking": "".join(m.get("thinking", "") for m in answers) or None,
        "model": conversation.engine.model,
        "engine": conversation.engine.name,
        **figures(conversation.usage),
    }
    if results:
        answer["tool_results"] = [{"name": m["name"], "output": m["content"], "ok": m["ok"]} for m in results]
    print_json(answer)


def _remark(event: Event) -> None:
    """Write notices and tool runs to stderr."""
    if isinstance(event, Notice):
        relay(event.text)
    elif isinstance(event, ToolResult):
        say(f"{event.call.name}: {'done' if event.ok else event.output}")
    else:
        assert isinstance(event, Piece)
