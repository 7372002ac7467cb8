"""Answers that were cut, gone on with: the model finds its turn as far as it came, and writes the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from qwen_cli.engines.core.base import Engine, Message, Piece, Sampling, Stream, with_progress
from qwen_cli.engines.core.prompt import Prompt, joined
from qwen_cli.engines.core.template import TemplateKwargs, given
from qwen_cli.engines.parsing.answer import AnswerParser
from qwen_cli.engines.parsing.marks import own_words
from qwen_cli.engines.parsing.think_tags import CLOSE, OPEN, closing, is_left_out
from qwen_cli.errors import UsageError

_AGAIN = "ask the question again"


def check(engine: Engine, messages: Sequence[Message], cut: Mapping[str, Any], schema: object) -> None:
    """Raise `UsageError` where `engine` cannot go on with the answer `cut` to `messages`."""
    can = engine.capabilities
    if schema is not None:
        raise UsageError("an answer that must satisfy a schema cannot be gone on with", _AGAIN)
    if _reads(engine, messages):
        return
    if not can.prefill:
        what = "an answer about pictures" if can.render else "an answer that was cut"
        raise UsageError(f"{engine.model} on {engine.name} cannot go on with {what}", _AGAIN)
    if cut.get("thinking") and not cut.get("content"):
        raise UsageError("a server goes on with answers alone, and this one was cut while thinking", _AGAIN)


def stream(
    engine: Engine,
    messages: Sequence[Message],
    cut: Mapping[str, Any],
    *,
    tools: Sequence[Mapping[str, Any]] | None = None,
    sampling: Sampling = Sampling(),
    thinking: bool | int | None = None,
    template_kwargs: TemplateKwargs = None,
) -> Stream:
    """Yield what comes after the answer `cut` to `messages`: what was computed of both is not computed again.

    It is checked (`check`). Raises what `engine.complete` raises.
    """
    if not _reads(engine, messages):
        turns = [*messages, {"role": "assistant", "content": cut["content"]}]
        ways = {"sampling": sampling, "thinking": thinking, **given(template_kwargs)}
        return engine.chat(turns, tools=tools, **ways)
    offered: dict[str, Any] = {"tools": tools} if tools else {}
    prompt = engine.render(messages, thinking=thinking, **given(template_kwargs), **offered)
    written, thinks = _written(prompt, cut)
    return _parsed(engine, joined((prompt, written)), AnswerParser(opened=thinks, tools=tools), sampling)


def _written(prompt: str, cut: Mapping[str, Any]) -> tuple[Prompt, bool]:
    """Return what the model has written behind `prompt`, and whether it is still thinking."""
    thought, text = str(cut.get("thinking") or ""), str(cut.get("content") or "")
    opened = prompt.rstrip().endswith(OPEN)
    if thought and not is_left_out(prompt):
        thought = ("" if opened else f"{OPEN}\n") + thought
        return own_words(thought + (closing(thought) + text if text else ""), thinks=True), not text
    return Prompt(f"{CLOSE}\n\n" if opened else "") + own_words(text, thinks=False), False


def _parsed(engine: Engine, prompt: Prompt, parser: AnswerParser, sampling: Sampling) -> Stream:
    pieces = engine.complete(prompt, sampling=sampling)
    try:
        for piece in pieces:
            yield from with_progress(parser.feed(piece.text), piece.progress)
            if piece.usage is None:
                continue
            yield from parser.finish()
            usage = piece.usage
            if parser.called and usage.stop_reason == "stop":
                usage = replace(usage, stop_reason="tool_calls")
            yield Piece(usage=usage)
    finally:
        pieces.close()


def _reads(engine: Engine, messages: Sequence[Message]) -> bool:
    """Return whether the raw prompt of `messages` can be gone on with: it has no place for pictures."""
    texts = all(isinstance(message.get("content") or "", str) for message in messages)
    return engine.capabilities.render and texts
