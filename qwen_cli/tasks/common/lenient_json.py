"""Answers that are nearly in the format that was asked for: fences round the whole, broken or cut JSON."""

from __future__ import annotations

import json
import re
from typing import Any

_DECODER = json.JSONDecoder(strict=False)  # models write line ends into strings
_FENCE = re.compile(r"^[ \t]*```[ \t]*(?:(\w+)[ \t]*)?\n", re.MULTILINE)
_CLOSING = re.compile(r"^[ \t]*```[ \t]*$", re.MULTILINE)


def unfenced(text: str, *languages: str) -> str:
    """Return what stands in the code fence round `text`, which may have lost its end; `text` where there is
    none.

    A fence at the very start is one round the whole, as is the first with one of `languages` for its tag:
    models like to say a sentence before it. Code blocks inside it stay.
    """
    stripped = text.strip()
    for opening in _FENCE.finditer(stripped):
        tag = (opening[1] or "").lower()
        if tag in languages or (opening.start() == 0 and not tag):
            inside = stripped[opening.end() :]
            closings = list(_CLOSING.finditer(inside))
            blocks = sum(1 for fence in _FENCE.finditer(inside) if fence[1])
            # Each block inside takes one closing fence; the next one is ours, and what follows is talk.
            return (inside[: closings[blocks].start()] if len(closings) > blocks else inside).strip()
    return stripped


def objects(text: str) -> list[dict[str, Any]]:
    """Return every JSON object in `text` in order, outer before inner, whatever stands round it.

    Single quotes, trailing commas and the like are repaired. An object that was cut off is not there (half
    a number is a wrong number), but the whole ones before it are.
    """
    ends = _braces(text)
    parsed: list[dict[str, Any]] = []
    at = text.find("{")
    while at >= 0:
        value, end = _value(text, at, ends)
        parsed.extend(_inside(value))
        at = text.find("{", end)
    return parsed


def _value(text: str, start: int, ends: dict[int, int]) -> tuple[Any, int]:
    """Return the object that begins at `start` (`None`: none does) and where to go on."""
    try:
        return _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        pass
    if start in ends:
        # 0.04 s that only broken answers pay for.
        import json_repair

        try:
            value = json_repair.loads(text[start : ends[start] + 1])
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict):
            return value, ends[start] + 1
    return None, start + 1


def _inside(value: Any) -> list[dict[str, Any]]:
    parsed: list[dict[str, Any]] = []
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            parsed.append(one)
        if isinstance(one, dict | list):
            waiting.extend(reversed(list(one.values() if isinstance(one, dict) else one)))
    return parsed


def _braces(text: str) -> dict[int, int]:
    """Return where the brace that opens at each index closes. Quotes are not looked at: in broken JSON they
    lie."""
    ends: dict[int, int] = {}
    opened: list[int] = []
    for match in re.finditer("[{}]", text):
        if match[0] == "{":
            opened.append(match.start())
        elif opened:
            ends[opened.pop()] = match.start()
    return ends
