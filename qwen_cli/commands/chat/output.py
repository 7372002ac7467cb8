"""The three ways a single answer is shown: rendered on a terminal, plain in a pipe, one JSON object."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Any

from qwen_cli.commands.shared.engine import say
from qwen_cli.engines.core.base import Piece
from qwen_cli.sanitize import EscapeFilter
from qwen_cli.tasks.chat.conversation import Conversation, Event, Notice
from qwen_cli.tasks.tools.base import ToolResult

if TYPE_CHECKING:
    from qwen_cli.engines.core.base import Usage

_CONTROLS = re.compile("[\x7f-\x9f\u202a-\u202e\u2066-\u2069]")  # C1 controls and bidi overrides


def plain(conversation: Conversation, question: str) -> None:
    """The answer's text as it comes, and nothing else, on standard output."""
    clean = EscapeFilter()
    last = ""
    for event in conversation.send(question):
        if isinstance(event, Piece) and event.kind == "answer" and event.text:
            text = clean.feed(event.text)
            sys.stdout.write(text)
            sys.stdout.flush()
            last = text or last
        else:
            _remark(event)
    if not last.endswith("\n"):
        sys.stdout.write("\n")


def rendered(conversation: Conversation, question: str) -> None:
    """Markdown on a terminal, thinking dim above it."""
    from qwen_cli.ui.markdown import MarkdownStream
    from qwen_cli.ui.terminal import stdout_console

    stream = MarkdownStream(stdout_console())
    try:
        for event in conversation.send(question):
            if isinstance(event, Piece) and event.kind == "thinking":
                stream.thinking(event.text)
            elif isinstance(event, Piece) and event.kind == "answer":
                stream.feed(event.text)
            else:
                _remark(event)
    finally:
        stream.finish()


def as_json(conversation: Conversation, question: str) -> None:
    """One object when the answer is whole: text, thinking, tool calls, usage, timings."""
    started = len(conversation.messages)
    for event in conversation.send(question):
        if not isinstance(event, Piece):
            _remark(event)
    answers = [m for m in conversation.messages[started:] if m["role"] == "assistant"]
    results = [m for m in conversation.messages[started:] if m["role"] == "tool"]
    answer: dict[str, Any] = {
        "text": answers[-1]["content"] if answers else "",
        "thinking": "".join(m.get("thinking", "") for m in answers) or None,
        "model": conversation.engine.model,
        "engine": conversation.engine.name,
        **_figures(conversation.usage),
    }
    if results:
        answer["tool_results"] = [{"name": m["name"], "output": m["content"], "ok": m["ok"]} for m in results]
    text = json.dumps(answer, ensure_ascii=False, indent=2)
    # JSON leaves these as they are; a terminal would obey them. Escaped they mean the same.
    sys.stdout.write(_CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n")


def _figures(usage: Usage | None) -> dict[str, Any]:
    """Usage in tokens, timings in seconds."""
    if usage is None:
        return {}
    return {
        "stop_reason": usage.stop_reason,
        "usage": {
            "prompt_tokens": usage.prompt_tokens,
            "cached_tokens": usage.cached_tokens,
            "generated_tokens": usage.generated_tokens,
        },
        "timings": {
            "prefill_seconds": round(usage.prefill_seconds, 4),
            "decode_seconds": round(usage.decode_seconds, 4),
            "tokens_per_second": round(usage.tokens_per_second, 2),
        },
    }


def _remark(event: Event) -> None:
    """Notices and tool runs go to stderr."""
    if isinstance(event, Notice):
        say(event.text)
    elif isinstance(event, ToolResult):
        say(f"{event.call.name}: {'done' if event.ok else event.output}")
