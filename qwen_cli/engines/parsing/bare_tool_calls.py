"""Tool calls written without their tags.

Small Qwen2.5 models (the starter among them) answer `{"name": …, "arguments": {…}}` where their template
asks for the same inside `<tool_call>` tags, or inside a code block; parsers of the tags take it for text.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from qwen_cli.engines.core.base import Piece, Stream, ToolCall, Usage, call_id
from qwen_cli.errors import EngineError

_FENCES = ("", "```", "```json")
_BLOCK = re.compile(r"\s*```\s*(?:json)?(.*?)(?:```\s*)?", re.DOTALL)


def recognise(pieces: Stream, tools: Sequence[Mapping[str, Any]], count_prompt: Callable[[], int]) -> Stream:
    """Yield `pieces`, with an answer that is nothing but calls of `tools` turned into those calls.

    Text is held back only while the whole answer still may be a call: from its first `{"name": "` of a
    known tool on, so that other answers stream as ever. Small models write the same call again and again:
    the answer ends at the first repetition, with a usage made up here, for which `count_prompt` counts.
    """
    names = [str(tool["function"]["name"]) for tool in tools]
    openings = tuple(_plain(f'{fence}{{"name":{json.dumps(name)},') for name in names for fence in _FENCES)
    held = ""
    holding = True
    started, moments = time.perf_counter(), []
    try:
        for piece in pieces:
            moments.append(time.perf_counter())
            if piece.usage is not None and held:
                calls = _calls(held, names)
                if not calls:
                    yield Piece(held)
                for call in calls or ():
                    yield Piece(kind="tool_call", call=call)
                yield replace(piece, usage=replace(piece.usage, stop_reason="tool_calls")) if calls else piece
            elif not holding or piece.kind != "answer" or not piece.text:
                yield piece
            else:
                held += piece.text
                start = _plain(held)
                if not any(start.startswith(o) or o.startswith(start) for o in openings):
                    yield Piece(held)
                    held, holding = "", False
                elif said := _repeated(held, len(held) - len(piece.text), names):
                    pieces.close()
                    for call in said[:-1]:
                        yield Piece(kind="tool_call", call=call)
                    yield Piece(usage=_usage(started, moments, count_prompt))
                    return
    finally:
        pieces.close()


def _plain(text: str) -> str:
    """Return `text` without white space: models format their JSON as they like."""
    return "".join(text.split())


def _calls(text: str, names: Sequence[str]) -> list[ToolCall] | None:
    """Return the calls that `text` consists of, or `None` where it is anything else."""
    decoder = json.JSONDecoder()
    calls: list[ToolCall] = []
    block = _BLOCK.fullmatch(text)
    rest = (block[1] if block else text).strip()
    while rest:
        try:
            value, end = decoder.raw_decode(rest)
        except json.JSONDecodeError:
            return None
        if not isinstance(value, dict) or value.get("name") not in names:
            return None
        arguments = value.get("arguments", {})
        if not isinstance(arguments, dict):
            return None
        calls.append(ToolCall(call_id(), value["name"], arguments))
        rest = rest[end:].strip()
    return calls


def _repeated(text: str, start: int, names: Sequence[str]) -> list[ToolCall]:
    """Return the calls up to the first, ending after `start`, that asks for what an earlier one does, and
    none where there is no such call: a piece may end several."""
    for brace in re.finditer("}", text[start:]):
        calls = _calls(text[: start + brace.end()], names) or []
        said = [(call.name, call.arguments) for call in calls]
        if said and said[-1] in said[:-1]:
            return calls
    return []


def _usage(started: float, moments: Sequence[float], count_prompt: Callable[[], int]) -> Usage:
    """Return the usage of an answer that was ended here: a piece is a token, as engines stream them."""
    prompt = 0
    with suppress(EngineError):  # a server that cannot count
        prompt = count_prompt()
    return Usage(
        prompt_tokens=prompt,
        generated_tokens=len(moments),
        prefill_seconds=moments[0] - started,
        decode_seconds=moments[-1] - moments[0],
        stop_reason="tool_calls",
    )
