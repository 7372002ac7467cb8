"""A conversation put together from the items and blocks of other APIs, as messages of
`/v1/chat/completions`."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

_SEALED = "qwen:"


@dataclass
class _Turn:
    """One message while it is put together: its parts, in a user's turn after `system` texts; in an
    assistant's with what was `thought` before it and the `calls` that it made."""

    role: str
    parts: list[dict[str, Any]] = field(default_factory=list)
    system: list[dict[str, Any]] = field(default_factory=list)
    thought: list[str] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    answers: str | None = None

    def message(self) -> dict[str, Any]:
        """Return it as a message."""
        between = "" if self.role == "assistant" else "\n"
        message: dict[str, Any] = {"role": self.role, "content": _together(self.system + self.parts, between)}
        if self.thought:
            message["reasoning_content"] = "".join(self.thought)
        if self.calls:
            message["tool_calls"] = self.calls
        if self.answers is not None:
            message["tool_call_id"] = self.answers
        return message


class History:
    """Collects what was said, in its order. What the system says before the model has said anything is one
    message. After that the user says it, before what else there is in a turn: templates take a system message
    at the beginning alone (Qwen3.5's refuses any other), and what is said last is what is answered.

    Pictures among a tool's results are shown in a user's turn after them: templates write results as text.
    """

    def __init__(self) -> None:
        self._instructions: list[str] = []
        self._turns: list[_Turn] = []
        self._answered = False  # the model has said something
        self._shown: list[dict[str, Any]] = []  # pictures of results that no turn has yet

    @property
    def messages(self) -> list[dict[str, Any]]:
        """Return the messages."""
        self._show()
        system = "\n\n".join(self._instructions)
        first = [{"role": "system", "content": system}] if system else []
        return first + [turn.message() for turn in self._turns]

    def system(self, text: str) -> None:
        """Add what the system says."""
        if not text:
            return
        if not self._answered:
            self._instructions.append(text)
            return
        if self._turns[-1].role != "user":
            self.user(())
        self._turns[-1].system.append({"type": "text", "text": text})

    def user(self, parts: Sequence[dict[str, Any]]) -> None:
        """Add a user's turn of text and pictures."""
        shown, self._shown = self._shown, []
        self._turns.append(_Turn("user", [*shown, *parts]))

    def thought(self, text: str) -> None:
        """Add what the model thought before it says something."""
        turn = self._assistant()
        if turn.parts or turn.calls:
            turn = self._assistant(new=True)
        turn.thought.append(text)

    def said(self, text: str) -> None:
        """Add what the model said."""
        turn = self._assistant()
        if turn.calls:  # which come after what is said, in every template
            turn = self._assistant(new=True)
        turn.parts.append({"type": "text", "text": text})

    def called(self, id: str, name: str, arguments: str) -> None:
        """Add a call of the model's; `arguments` are JSON."""
        function = {"name": name, "arguments": arguments or "{}"}
        self._assistant().calls.append({"id": id, "type": "function", "function": function})

    def result(self, id: str, parts: Sequence[dict[str, Any]]) -> None:
        """Add what call `id` gave."""
        texts = [part for part in parts if part["type"] == "text"]
        pictures = [part for part in parts if part["type"] != "text"]
        if pictures and not texts:
            texts = [{"type": "text", "text": "What it gave is shown next."}]
        self._turns.append(_Turn("tool", texts, answers=id))
        self._shown += pictures

    def _show(self) -> None:
        if self._shown:
            self.user(())

    def _assistant(self, *, new: bool = False) -> _Turn:
        """Return the assistant's turn that is being put together."""
        self._answered = True
        self._show()
        if new or not self._turns or self._turns[-1].role != "assistant":
            self._turns.append(_Turn("assistant"))
        return self._turns[-1]


def _together(parts: Sequence[dict[str, Any]], between: str) -> Any:
    """Return the content of a message: a text where there is nothing but text."""
    if all(part["type"] == "text" for part in parts):
        return between.join(part["text"] for part in parts)
    return list(parts)


def seal(thought: str) -> str:
    """Return thinking as a client keeps it without reading it (`encrypted_content`, `signature`): the text
    in base64, no secret."""
    return _SEALED + base64.b64encode(thought.encode()).decode()


def opened(sealed: str) -> str:
    """Return the thinking in `sealed`: none in what another server has sealed."""
    if not sealed.startswith(_SEALED):
        return ""
    try:
        return base64.b64decode(sealed[len(_SEALED) :], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""
