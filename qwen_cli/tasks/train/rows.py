"""Rows of training data, in the forms that people have them in, as chats.

The forms are those that fine-tuning tools read: `messages` (OpenAI, mlx-lm, TRL), `prompt` and `completion`
(TRL), `instruction`, `input` and `output` (Alpaca), `conversations` with `from` and `value` (ShareGPT).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qwen_cli import reading
from qwen_cli.engines.core.base import Message
from qwen_cli.errors import UsageError
from qwen_cli.sanitize import error_line

FORMS = "messages, prompt and completion, instruction and output, or conversations"
_HINT = (
    'a row is {"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}, or has'
    " prompt and completion, instruction and output, or conversations"
)
_ROLES = ("system", "developer", "user", "assistant", "tool")
_SHAREGPT = {
    "human": "user", "user": "user", "gpt": "assistant", "chatgpt": "assistant", "assistant": "assistant",
    "model": "assistant", "bot": "assistant", "system": "system", "tool": "tool", "observation": "tool",
    "function_response": "tool",
}  # fmt: skip
_LARGEST = 2 << 30  # bytes of a file: more than LoRA on one machine gets through


@dataclass(frozen=True)
class Chat:
    """One row: `messages` as chat templates take them, the `tools` that were offered, `number` to name it by
    (its line in a file)."""

    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...]
    number: int

    def to_json(self) -> dict[str, Any]:
        """Return what the row says, in one form whatever it was."""
        return {"messages": list(self.messages), "tools": list(self.tools)}


def read(path: Path) -> list[Chat]:
    """Return the rows of a JSONL file. Raises `UsageError` naming the first line that is none."""
    try:
        text = reading.read(path, _LARGEST).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8 text", "give a file of JSON lines") from None
    except OSError as fault:
        raise UsageError(f"cannot read {path}: {fault.strerror or fault}", reading.advice(fault)) from None
    chats = []
    # Not `splitlines`: texts may hold other line separators, which JSON leaves as they are.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                chats.append(_chat(reading.parsed_json(line), number))
            except ValueError as fault:
                raise UsageError(f"{path}, line {number:,}: {error_line(fault)}", _HINT) from None
    if not chats:
        raise UsageError(f"{path} has no rows", _HINT)
    return chats


def chats(rows: Iterable[Mapping[str, Any] | Chat], name: str = "row") -> list[Chat]:
    """Return `rows` as chats, numbered from 1. Raises `UsageError` naming the first that is none."""
    made = []
    for number, row in enumerate(rows, 1):
        try:
            made.append(row if isinstance(row, Chat) else _chat(row, number))
        except ValueError as fault:
            raise UsageError(f"{name} {number:,}: {error_line(fault)}", _HINT) from None
    if not made:
        raise UsageError(f"there is no {name} to train on", _HINT)
    return made


def digest(*parts: Sequence[Chat]) -> str:
    """Return what tells these rows, in this order, from others."""
    mark = hashlib.sha256()
    for part in parts:
        for chat in part:
            mark.update(json.dumps(chat.to_json(), sort_keys=True).encode() + b"\n")
        mark.update(b"\0")
    return mark.hexdigest()


def _chat(row: object, number: int) -> Chat:
    """Return `row` as a chat. Raises `ValueError` saying what is wrong with it."""
    if not isinstance(row, Mapping):
        raise ValueError(f"it is no object but {_kind(row)}")
    messages = [_message(one, at) for at, one in enumerate(_turns(row), 1)]
    system = row.get("system", row.get("system_prompt"))
    if isinstance(system, str) and system and (not messages or messages[0]["role"] != "system"):
        messages.insert(0, {"role": "system", "content": system})
    tools = row.get("tools") or ()
    if isinstance(tools, str):  # as some datasets keep them
        tools = reading.parsed_json(tools)
    if not isinstance(tools, (list, tuple)) or not all(isinstance(tool, Mapping) for tool in tools):
        raise ValueError("tools is no list of objects")
    if not messages:
        raise ValueError("it has no messages")
    if messages[0]["role"] == "assistant":
        raise ValueError("it begins with the assistant, whom nobody has asked")
    if not any(_says(message) for message in messages):
        raise ValueError("the assistant says nothing in it")
    return Chat(tuple(messages), tuple(tools), number)


def _turns(row: Mapping[str, Any]) -> list[Any]:
    """Return the messages of a row of any of the forms, not checked yet."""
    if "messages" in row:
        return _listed(row["messages"], "messages")
    if "conversations" in row:
        return [_of_sharegpt(turn) for turn in _listed(row["conversations"], "conversations")]
    if "prompt" in row and "completion" in row:
        return [
            *_side(row["prompt"], "user", "prompt"),
            *_side(row["completion"], "assistant", "completion"),
        ]
    if "instruction" in row and "output" in row:
        asked, more = row["instruction"], row.get("input") or ""
        if not isinstance(asked, str) or not isinstance(more, str):
            raise ValueError("instruction or input is no text")
        question = f"{asked}\n\n{more}" if more.strip() else asked
        return [
            {"role": "user", "content": question},
            {"role": "assistant", "content": row["output"]},
        ]
    names = ", ".join(str(name)[:40] for name in list(row)[:6]) or "nothing"
    raise ValueError(f"it has {names}, and none of {FORMS}")


def _listed(value: Any, name: str) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{name} is no list but {_kind(value)}")
    return list(value)


def _side(value: Any, role: str, name: str) -> list[Any]:
    """Return one side of a prompt with its completion: a text, or messages as TRL has them."""
    return [{"role": role, "content": value}] if isinstance(value, str) else _listed(value, name)


def _of_sharegpt(turn: Any) -> Any:
    if not isinstance(turn, Mapping) or "from" not in turn:
        return turn
    speaker = turn["from"]
    if speaker not in _SHAREGPT:
        raise ValueError(f"conversations has a turn from {str(speaker)!r}")
    return {"role": _SHAREGPT[speaker], "content": turn.get("value")}


def _message(given: Any, at: int) -> Message:
    """Return one message with the fields that templates know. Raises `ValueError`."""
    if not isinstance(given, Mapping) or given.get("role") not in _ROLES:
        role = given.get("role") if isinstance(given, Mapping) else None
        raise ValueError(f"message {at} has the role {str(role)[:40]!r}, and none of {', '.join(_ROLES)}")
    message: dict[str, Any] = {"role": given["role"], "content": _content(given.get("content"), at)}
    thought = given.get("reasoning_content", given.get("reasoning"))
    if thought is not None:
        if not isinstance(thought, str):
            raise ValueError(f"message {at}: reasoning_content is no text")
        message["reasoning_content"] = thought
    if calls := given.get("tool_calls"):
        message["tool_calls"] = [_call(call, at) for call in _listed(calls, "tool_calls")]
    for name in ("tool_call_id", "name"):
        if isinstance(given.get(name), str):
            message[name] = given[name]
    if given.get("weight") == 0:  # of OpenAI's format: a turn to read and not to learn
        message["weight"] = 0
    return message


def _content(content: Any, at: int) -> str:
    if isinstance(content, list) and all(isinstance(part, Mapping) for part in content):
        shown = [part.get("type") for part in content if part.get("type") != "text"]
        if shown:
            raise ValueError(f"message {at} shows something ({shown[0]}): only text can be trained on")
        content = "".join(str(part.get("text", "")) for part in content)
    if content is not None and not isinstance(content, str):
        raise ValueError(f"message {at}: content is no text but {_kind(content)}")
    return content or ""


def _call(call: Any, at: int) -> dict[str, Any]:
    function = call.get("function", call) if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise ValueError(f"message {at} has a tool call without the name of a function")
    named = {"name": function["name"], "arguments": function.get("arguments") or {}}
    return {"type": "function", "function": named}


def _says(message: Message) -> bool:
    """Return whether `message` is a turn of the assistant that can be learned."""
    spoken = message.get("content") or message.get("tool_calls") or message.get("reasoning_content")
    return message["role"] == "assistant" and message.get("weight") != 0 and bool(spoken)


def taught(messages: Sequence[Message], turns: str) -> list[int]:
    """Return which of `messages` are turns of the assistant to learn: all of them, or the last."""
    found = [at for at, message in enumerate(messages) if _says(message)]
    return found if turns == "all" else found[-1:]


def _kind(value: object) -> str:
    names = {str: "a text", list: "a list", dict: "an object", bool: "true or false", type(None): "nothing"}
    return names.get(type(value), "a number")
