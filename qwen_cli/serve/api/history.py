"""A conversation put together from the items and blocks of other APIs, as messages of
`/v1/chat/completions`."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

_SEALED = "qwen:"


class History:
    """Collects what was said, in its order. What the system says before the model has said anything is one
    message. After that the user says it, before what else there is in a turn: templates take a system message
    at the beginning alone (Qwen3.5's refuses any other), and what is said last is what is answered.

    Pictures among a tool's results are shown in a user's turn after them: templates write results as text.
    """

    def __init__(self) -> None:
        self._instructions: list[str] = []
        self._messages: list[dict[str, Any]] = []
        self._shown: list[dict[str, Any]] = []  # pictures of results that no turn has yet

    @property
    def messages(self) -> list[dict[str, Any]]:
        """Return the messages."""
        self._show()
        system = "\n\n".join(self._instructions)
        first = [{"role": "system", "content": system}] if system else []
        return first + self._messages

    def system(self, text: str) -> None:
        """Add what the system says."""
        if not text:
            return
        said = {"type": "text", "text": text}
        if not any(message["role"] == "assistant" for message in self._messages):
            self._instructions.append(text)
        elif (last := self._messages[-1])["role"] == "user":
            last["content"] = _together([said, *_parts(last["content"])])
        else:
            self.user([said])

    def user(self, parts: Sequence[dict[str, Any]]) -> None:
        """Add a user's turn of text and pictures."""
        parts = [*self._shown, *parts]
        self._shown = []
        self._messages.append({"role": "user", "content": _together(parts)})

    def thought(self, text: str) -> None:
        """Add what the model thought before what it says next."""
        turn = self._turn(fresh=True)
        turn["reasoning_content"] = turn.get("reasoning_content", "") + text

    def said(self, text: str) -> None:
        """Add what the model said."""
        turn = self._turn()
        if turn.get("tool_calls"):  # before its calls, in every template
            turn = self._new_turn()
        turn["content"] += text

    def called(self, id: str, name: str, arguments: str) -> None:
        """Add a call of the model's; `arguments` are JSON."""
        function = {"name": name, "arguments": arguments or "{}"}
        call = {"id": id, "type": "function", "function": function}
        self._turn().setdefault("tool_calls", []).append(call)

    def result(self, id: str, parts: Sequence[dict[str, Any]]) -> None:
        """Add what call `id` gave."""
        texts = [part for part in parts if part["type"] == "text"]
        pictures = [part for part in parts if part["type"] != "text"]
        if pictures and not texts:
            texts = [{"type": "text", "text": "What it gave is shown next."}]
        self._messages.append({"role": "tool", "tool_call_id": id, "content": _together(texts)})
        self._shown += pictures

    def _show(self) -> None:
        if self._shown:
            self.user(())

    def _turn(self, *, fresh: bool = False) -> dict[str, Any]:
        """Return the assistant's turn that is being put together; `fresh`: nothing has been said in it."""
        last = self._messages[-1] if self._messages else {}
        if self._shown or last.get("role") != "assistant":
            return self._new_turn()
        if fresh and (last["content"] or last.get("tool_calls")):
            return self._new_turn()
        return last

    def _new_turn(self) -> dict[str, Any]:
        self._show()
        self._messages.append({"role": "assistant", "content": ""})
        return self._messages[-1]


def _parts(content: Any) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _together(parts: Sequence[dict[str, Any]]) -> Any:
    """Return the content of a message: a text where there is nothing but text."""
    if all(part["type"] == "text" for part in parts):
        return "\n".join(part["text"] for part in parts)
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
