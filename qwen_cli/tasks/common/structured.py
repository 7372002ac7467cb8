"""Answers that must satisfy a JSON schema.

A grammar holds most of a schema while tokens are chosen, and no engine's holds all of it (patterns, ranges,
`uniqueItems`, `not`, `if` …): so answers are checked, and what fails is asked for again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

from qwen_cli.engines.core.base import Engine, Message, Piece, Sampling, Stream, Usage
from qwen_cli.engines.core.template import TemplateKwargs, given
from qwen_cli.errors import ContextFull, RequestRefused, SchemaUnmet, UsageError
from qwen_cli.tasks.common import json_schema
from qwen_cli.tasks.common.json_schema import Fault

TRIES = 3
"""Answers that are asked for altogether."""

_CUT = ("length", "context")
_TOLD = 2_000  # characters of a schema that the model is told with its fault


@dataclass
class _Try:
    """One answer: what of it is kept back, and what is known of it once it has ended."""

    held: list[Piece] = field(default_factory=list)
    text: str = ""
    called: bool = False
    begun: bool = False
    usage: Usage | None = None


def chat(
    engine: Engine,
    messages: Sequence[Message],
    schema: Mapping[str, Any],
    *,
    tools: Sequence[Mapping[str, Any]] | None = None,
    sampling: Sampling = Sampling(),
    thinking: bool | int | None = None,
    template_kwargs: TemplateKwargs = None,
    cut_is_answer: bool = False,
    on_retry: Callable[[str], None] = lambda text: None,
) -> Stream:
    """Yield the next assistant turn, as `engine.chat` gives it, whose text satisfies `schema`, a checked one.

    It comes as it is written where the engine's grammar holds all of the schema, else once it is whole and
    checked; of one that fails nothing comes: the model is told why and asked again, twice, and `on_retry`
    hears of it. With `tools` the first answer is free, so that they can be called: what is no JSON in it is
    asked for as JSON, which is no other try. A turn that calls tools is no answer yet; one that a limit has
    ended is passed on if `cut_is_answer`. The usage is that of all tries. Raises `SchemaUnmet`, and what
    `engine.chat` raises.
    """
    can = engine.capabilities
    live = can.constrained and json_schema.is_held(schema, whole=can.whole_schemas)
    ways = {"tools": tools, "sampling": sampling, "thinking": thinking, **given(template_kwargs)}
    begun = turns = list(messages)
    fault: Fault | None = None
    failed, spent, number, free = set[str](), Usage(), 0, bool(tools)
    while True:
        one = _Try()
        try:
            if free:
                yield from _heard(engine.chat(turns, **ways), one, live=False)
            else:
                yield from _tried(engine, turns, schema, failed, one, live, ways)
        except ContextFull:
            if fault is None:
                raise
            raise _unmet(fault, number) from None
        if one.usage is None:  # whoever asked has ended it
            yield from one.held
            return
        spent += one.usage
        cut = one.usage.stop_reason in _CUT
        if not one.called and not (cut and cut_is_answer):
            if cut and not one.text.rstrip().endswith(("}", "]", '"')):
                raise _was_cut(one.usage, sampling)
            fault = json_schema.fault(one.text, schema)
            if fault and cut:
                raise _was_cut(one.usage, sampling)
        if fault is None or one.called or cut:
            yield from one.held
            yield Piece(usage=spent)
            return
        if free:
            free, fault = False, None
            begun = turns = [*messages, {"role": "assistant", "content": one.text}, _as_json(schema)]
            if can.thinking == "switch":
                ways["thinking"] = False  # it has been thought about
            continue
        number += 1
        if live or number == TRIES:
            raise _unmet(fault, number)
        on_retry(f"the answer does not satisfy the JSON schema ({fault}): asked again")
        failed.add(fault.keyword)
        turns = [*begun, {"role": "assistant", "content": one.text}, _again(fault, schema)]


def _tried(
    engine: Engine,
    turns: Sequence[Message],
    schema: Mapping[str, Any],
    failed: set[str],
    one: _Try,
    live: bool,
    ways: Mapping[str, Any],
) -> Generator[Piece, None, None]:
    """Write one answer into `one`, asked for in these `ways` of `Engine.chat`, by the strictest grammar that
    the engine makes; what need not wait comes out."""
    *stricter, loosest = json_schema.grammars(schema, failed, whole=engine.capabilities.whole_schemas)
    for grammar in (*stricter, loosest):
        try:
            yield from _heard(engine.chat(turns, schema=grammar, **ways), one, live)
            return
        except (RequestRefused, UsageError):
            if one.begun or grammar is loosest:
                raise


def _heard(pieces: Stream, one: _Try, live: bool) -> Generator[Piece, None, None]:
    """Write the answer into `one`; what need not wait comes out."""
    with closing(pieces):
        for piece in pieces:
            if not one.begun and not live:
                yield Piece()  # it is computed: who waits may be told so
            one.begun = True
            yield from _sorted(piece, one, live)


def _sorted(piece: Piece, one: _Try, live: bool) -> Generator[Piece, None, None]:
    """Yield `piece` or keep it back; the usage is told once the answer has been judged."""
    if piece.usage:
        one.usage = piece.usage
        piece = replace(piece, usage=None)
        if piece == Piece():
            return
    one.called = one.called or piece.call is not None
    if piece.kind == "answer":
        one.text += piece.text
    if live or piece.kind == "thinking":
        yield piece
    else:
        one.held.append(piece)


def _as_json(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the turn that asks for the answer as JSON."""
    return {"role": "user", "content": f"Give this answer as JSON alone.{_told(schema)}"}


def _told(schema: Mapping[str, Any]) -> str:
    """Return what the model is told of the schema, if it is not too long."""
    written = json.dumps(schema, ensure_ascii=False)
    return f" The JSON schema is:\n{written}" if len(written) <= _TOLD else ""


def _again(fault: Fault, schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the turn that asks for another answer."""
    return {
        "role": "user",
        "content": f"Your answer does not satisfy the JSON schema that was asked for.{_told(schema)}\n\n"
        f"What is wrong: {fault}\n\nAnswer again, with the corrected JSON alone.",
    }


def _unmet(fault: Fault, tries: int) -> SchemaUnmet:
    times = "" if tries == 1 else f" after {tries} tries"
    return SchemaUnmet(
        f"the answer does not satisfy the JSON schema{times}: {fault}", "simplify it, or use a larger model"
    )


def _was_cut(usage: Usage, sampling: Sampling) -> SchemaUnmet:
    if usage.stop_reason == "length" and sampling.max_tokens:
        where, hint = f"it reached max_tokens, {sampling.max_tokens:,}", "raise `max_tokens`"
    elif usage.stop_reason == "length":
        where, hint = "it reached the server's own limit", "set `max_tokens`"
    else:
        where, hint = "the context is full", "raise `context`"
    return SchemaUnmet(f"the answer was cut before its JSON was whole: {where}", hint)
