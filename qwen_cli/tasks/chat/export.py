"""A conversation for other eyes: Markdown to read, JSON to work with."""

from __future__ import annotations

import html
import json
import re
from dataclasses import fields
from typing import Any

from qwen_cli.engines.core.base import Sampling
from qwen_cli.tasks.chat.attachments import fenced
from qwen_cli.tasks.chat.messages import Content
from qwen_cli.tasks.chat.sessions import Session

# What a person sets; `start` is for completions alone, and older sessions have it empty.
_SAMPLING = {f.name for f in fields(Sampling)} - {"start"}
# Everything a terminal could take for a command: the file may well be looked at with `cat`.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def to_json(session: Session) -> str:
    """Return the session as one JSON object: what its file holds."""
    content = {f.name: getattr(session, f.name) for f in fields(session) if f.name != "stamp"}
    return json.dumps(content, ensure_ascii=False, indent=2) + "\n"


def to_markdown(session: Session) -> str:
    """Return the session as Markdown: settings, system prompt, turns; thinking is folded, tool calls are
    shown."""
    parts = [f"# {session.name}", _header(session)]
    if session.system:
        parts += ["## System", session.system]
    previous = None
    for message in session.messages:
        heading = "User" if message["role"] == "user" else "Assistant"
        if heading != previous or heading == "User":
            parts.append(f"## {heading}")
        previous = heading
        parts += _turn(message)
    return _CONTROLS.sub("", "\n\n".join(part.strip("\n") for part in parts if part)) + "\n"


def _header(session: Session) -> str:
    kept = session.settings.get("sampling", {})
    sampling = {name: kept[name] for name in kept if name in _SAMPLING and kept[name] not in (None, "", [])}
    rows = {
        "Model": f"{session.model} ({session.engine})" if session.model else "",
        "Started": session.created,
        "Last turn": session.updated,
        "Sampling": ", ".join(f"{name} {_value(value)}" for name, value in sampling.items()),
        "Thinking": _value(session.settings.get("thinking")),
        "Overflow": session.settings.get("overflow", ""),
    }
    return "\n".join(f"- {name}: {value}" for name, value in rows.items() if value)


def _turn(message: dict[str, Any]) -> list[str]:
    """Return the blocks of one message."""
    if message["role"] == "tool":
        verb = "Result" if message.get("ok", True) else "Failed result"
        return [f"{verb} of `{message.get('name', 'tool')}`:", fenced(_text(message.get("content")))]
    parts: list[str] = []
    if message.get("thinking"):
        thoughts = html.escape(message["thinking"].strip(), quote=False)
        parts.append(f"<details>\n<summary>Thinking</summary>\n\n{thoughts}\n\n</details>")
    parts.append(_text(message.get("content")))
    for call in message.get("tool_calls", ()):
        function = call["function"]
        parts += [f"Calls `{function['name']}`:", fenced(function["arguments"], "json")]
    if message.get("cut"):
        parts.append("*(the answer was cut here)*")
    if message.get("unsent"):
        parts.append("*(too long for the context: not sent)*")
    return parts


def _text(content: Content | None) -> str:
    """Return a message's text, with a word where a picture was."""
    if not isinstance(content, list):
        return content or ""
    return "\n\n".join(part["text"] if part.get("type") == "text" else _picture(part) for part in content)


def _picture(part: dict[str, Any]) -> str:
    address = part.get("image_url")
    address = address.get("url", "") if isinstance(address, dict) else address or ""
    kind = str(part.get("type", "")).removesuffix("_url") or "attachment"
    return f"*({kind})*" if not address or address.startswith("data:") else f"![{kind}]({address})"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list | tuple):
        return " ".join(json.dumps(item, ensure_ascii=False) for item in value)
    return "" if value is None else str(value)
