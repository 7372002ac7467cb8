"""Tool calls in what a server passes on as text: it knows no form of them, or another one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from qwen_cli.engines.core.base import CUT, Piece, Stream, TokenLogprob, Usage, with_logprobs, with_progress
from qwen_cli.engines.parsing.declared import Declared
from qwen_cli.engines.parsing.tool_calls import ToolParser
from qwen_cli.errors import EngineError


def recognise(pieces: Stream, tools: Sequence[Mapping[str, Any]], count_prompt: Callable[[], int]) -> Stream:
    """Yield `pieces`, with the calls of `tools` taken out of the text of the answer, and the arguments of
    those that the server found in the types of their schemas.

    Text is held back only while it may be a call. Small models write the same call again and again: the
    answer ends at the first repetition, with a usage made up here, for which `count_prompt` counts.
    """
    declared, parser = Declared(tools), ToolParser(tools)
    started, moments = time.perf_counter(), list[float]()
    known: list[TokenLogprob] = []  # not with_logprobs yet
    try:
        for piece in pieces:
            moments.append(time.perf_counter())
            if piece.usage is not None:
                yield from with_logprobs(parser.finish(cut=piece.usage.stop_reason in CUT), known)
                called = parser.called and piece.usage.stop_reason == "stop"
                yield (
                    replace(piece, usage=replace(piece.usage, stop_reason="tool_calls")) if called else piece
                )
            elif piece.call is not None:
                call = declared.call(piece.call.name, piece.call.arguments)
                yield replace(piece, call=replace(call, id=piece.call.id))
            elif piece.kind != "answer" or not piece.text:
                yield piece
            else:
                known += piece.logprobs
                yield from with_progress(with_logprobs(parser.feed(piece.text), known), piece.progress)
                if parser.ended:
                    pieces.close()
                    yield Piece(usage=_usage(started, moments, count_prompt))
                    return
    finally:
        pieces.close()


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
