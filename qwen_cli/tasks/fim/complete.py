"""Fill-in-the-middle: from a hole in a text to what should stand there."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace

from qwen_cli.engines.core.base import Engine, Reuse, Sampling, StopReason, Stream, Usage
from qwen_cli.engines.core.prompt import plain
from qwen_cli.errors import ContextFull, UsageError
from qwen_cli.tasks.common.drain import drain
from qwen_cli.tasks.fim import token_healing
from qwen_cli.tasks.fim.prompt import (
    BARS,
    PLAIN,
    File,
    FimTokens,
    Fitted,
    Hole,
    ends,
    fit,
    prompt,
    restored,
    suitable,
    tokens_of,
)
from qwen_cli.tasks.fim.span import Mode, Span, Why

__all__ = [
    "BARS",
    "File",
    "FimTokens",
    "Fitted",
    "Hole",
    "Middle",
    "Mode",
    "candidates",
    "complete",
    "counter",
    "fit",
    "fitted",
    "max_tokens",
    "prompt",
    "render",
    "room",
    "stream",
    "suitable",
    "tokens_of",
]


@dataclass(frozen=True)
class Middle:
    """A finished completion: exactly the text to insert.

    `stop` says why it ends: "model" (its own end token), "line", "block" or "suffix" (a rule of the span),
    "length", "context" or "time". `mean_logprob` is in nats per generated token, where it was asked for.
    Where a rule ended it, the `generated_tokens` of `usage` are the pieces that had come by then.
    """

    text: str
    stop: Why
    usage: Usage
    mean_logprob: float | None = None


# Longest completion, in tokens, where nobody gives a number: the longest line that is still written by hand;
# a function of some thirty lines.
_MAX_TOKENS = {"line": 96, "block": 384, "auto": 256}
# Samples run on until a stop string, so the bound is what a bad one costs.
_MAX_SAMPLE_TOKENS = {"line": 64, "block": 128, "auto": 96}


# Kept free beside prompt and completion: the marks of the layout, and the last place of a full context.
_SPARE = 16
_LEAST = 16
# A server that does not say: what the smallest serve with by default (Ollama, 4,096).
_UNKNOWN_CONTEXT = 4096


def max_tokens(mode: Mode) -> int:
    """Return the longest completion of this mode in tokens: what to keep free in the context."""
    return _MAX_TOKENS[mode]


def fitted(engine: Engine, hole: Hole, mode: Mode = "auto", *, limit: int | None = None) -> Fitted:
    """Return `hole` cut to what the engine's context holds beside a completion of this mode.

    `limit` is the longest completion in tokens. Raises `ContextFull` where nothing of the hole would fit.
    """
    context = engine.capabilities.context
    if context is None:
        return Fitted(hole)
    free = context - (limit or _MAX_TOKENS[mode]) - _SPARE
    if free < _LEAST:
        raise ContextFull((limit or _MAX_TOKENS[mode]) + _SPARE + _LEAST, context)
    return fit(hole, free, counter(engine))


def room(engine: Engine, hole: Hole, mode: Mode = "auto", *, limit: int | None = None) -> int:
    """Return the tokens that the context has left for other files beside `hole` and its completion."""
    count = counter(engine)
    context = engine.capabilities.context or _UNKNOWN_CONTEXT
    return context - (limit or _MAX_TOKENS[mode]) - _SPARE - count(hole.prefix) - count(hole.suffix)


def counter(engine: Engine) -> Callable[[str], int]:
    """Return a function that counts the tokens of a source text; where a server does not count, one that
    gives a bound which code stays below."""
    from qwen_cli.errors import EngineError

    def count(text: str) -> int:
        try:
            return engine.count_tokens(plain(text)) if text else 0
        except EngineError:
            return len(text.encode()) // 2

    return count


def render(engine: Engine, hole: Hole, files: Sequence[File] = (), *, repository: str = "") -> str:
    """Return exactly what the model sees."""
    start = token_healing.of(hole, Span(hole), engine)
    return start.prompt(hole, files, tokens_of(engine), repository)


def complete(
    engine: Engine,
    hole: Hole,
    files: Sequence[File] = (),
    *,
    repository: str = "",
    mode: Mode = "auto",
    sampling: Sampling = Sampling(),
    seconds: float | None = None,
) -> Middle:
    """Return what should stand in `hole`. See `stream`."""
    running = stream(
        engine, hole, files, repository=repository, mode=mode, sampling=sampling, seconds=seconds
    )
    return drain(running)


def stream(
    engine: Engine,
    hole: Hole,
    files: Sequence[File] = (),
    *,
    repository: str = "",
    mode: Mode = "auto",
    sampling: Sampling = Sampling(),
    seconds: float | None = None,
    reuse: Reuse = "prefix",
) -> Generator[str, None, Middle]:
    """Yield the completion while it is written (provisional: all of it so far each time); return it finished.

    Greedy unless `sampling` says otherwise. `seconds` ends it early, with the lines that are whole by then.
    `reuse` is what is taken from the KV cache. Closing the generator stops the computation within a token.
    Raises `UsageError` for a model without the marks, `ContextFull`, `EngineError`.
    """
    span = Span(hole, mode)
    start = token_healing.of(hole, span, engine)
    text, usage = "", None
    why: Why = "model"
    ask = _asker(engine, hole, files, repository, _settings(sampling, mode), reuse)
    clock = _Clock()
    first: Middle | None = None
    for attempt in range(2):
        better = None
        pieces = ask(start)
        raw = ""
        try:
            for piece in pieces:
                if piece.usage:
                    usage, why = piece.usage, _why(piece.usage.stop_reason)
                    break
                clock.tick()
                raw += piece.text
                bare = _before_marks(raw, hole)
                text = start.middle(bare)
                if attempt == 0 and (better := span.misplaced(text)) is not None:
                    break
                yield text
                if len(bare) < len(raw):
                    break
                if (stop := span.ended(text)) is not None:
                    why = stop
                    break
                if seconds is not None and clock.seconds() > seconds:
                    why = "time"
                    break
        finally:
            pieces.close()
        kept, ended = span.settled(text, why)
        done = Middle(kept, ended, usage or clock.usage())
        if first and not span.reads_better(kept, first.text):
            return first
        if better is None and attempt == 0 and (better := span.misfit(text, kept)):
            first = done
        if better is None:
            break
        start = token_healing.indented(hole, better, force=engine.capabilities.start)
        usage, why = None, "model"
    return done


def candidates(
    engine: Engine,
    hole: Hole,
    n: int,
    files: Sequence[File] = (),
    *,
    repository: str = "",
    mode: Mode = "auto",
    sampling: Sampling = Sampling(),
) -> list[Middle]:
    """Return `n` completions sampled together, without those that say the same, the likeliest first.

    The prompt is computed once. The model's own temperature unless `sampling` says otherwise.
    """
    span = Span(hole, mode)
    start = token_healing.of(hole, span, engine)
    tokens = tokens_of(engine)
    text = start.prompt(hole, files, tokens, repository)
    settings = replace(
        sampling,
        max_tokens=sampling.max_tokens or _MAX_SAMPLE_TOKENS[mode],
        stop=(*sampling.stop, *span.stops(), *_ends(engine, tokens, hole)),
        start=start.forced,
    )
    unique: dict[str, Middle] = {}
    for done in engine.sample(text, n, sampling=settings):
        # A stop string, which is what follows the hole, is not part of the text: this ended by itself.
        why = _why(done.usage.stop_reason)
        middle, why = span.settled(start.middle(_before_marks(done.text, hole)), why)
        best = unique.get(middle)
        if best is None or (done.mean_logprob or 0) > (best.mean_logprob or 0):
            unique[middle] = Middle(middle, why, done.usage, done.mean_logprob)
    return sorted(unique.values(), key=lambda middle: -(middle.mean_logprob or 0))


def _asker(
    engine: Engine, hole: Hole, files: Sequence[File], repository: str, sampling: Sampling, reuse: Reuse
) -> Callable[[token_healing.Start], Stream]:
    """Return how the engine is asked: with the layout, or where a server's model has unknown marks by its own
    route.

    Raises `UsageError` where there is neither.
    """
    try:
        tokens = tokens_of(engine)
    except UsageError:
        if not engine.capabilities.infill:
            raise
        return lambda start: engine.infill(start.prefix + start.lead, hole.suffix, sampling=sampling)
    stop = (*sampling.stop, *_ends(engine, tokens, hole))

    def ask(start: token_healing.Start) -> Stream:
        text = start.prompt(hole, files, tokens, repository)
        return engine.complete(text, sampling=replace(sampling, stop=stop, start=start.forced), reuse=reuse)

    return ask


def _ends(engine: Engine, tokens: FimTokens, hole: Hole) -> tuple[str, ...]:
    # Servers know their models' end tokens, and some take four stop strings at most.
    return () if engine.capabilities.stop_strings is not None else ends(tokens, hole)


def _settings(sampling: Sampling, mode: Mode) -> Sampling:
    """Return `sampling`, greedy as the model card has it and no longer than `mode` needs where it says
    nothing else."""
    return sampling.over(Sampling(temperature=0.0, max_tokens=_MAX_TOKENS[mode]))


def _before_marks(text: str, hole: Hole) -> str:
    """Return `text` up to the first mark of the layout, for engines that write them out."""
    marks = [at for mark in {*ends(BARS, hole), *ends(PLAIN, hole)} if (at := text.find(mark)) >= 0]
    return restored(text[: min(marks)] if marks else text)


def _why(reason: StopReason) -> Why:
    return "length" if reason == "length" else "context" if reason == "context" else "model"


class _Clock:
    """Times a stream that is closed before the engine reports on it."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._first: float | None = None
        self._count = 0

    def tick(self) -> None:
        self._first = self._first or time.perf_counter()
        self._count += 1

    def seconds(self) -> float:
        return time.perf_counter() - self._started

    def usage(self) -> Usage:
        first = (self._first or time.perf_counter()) - self._started
        return Usage(
            generated_tokens=self._count,
            prefill_seconds=first,
            decode_seconds=self.seconds() - first,
            stop_reason="stop",
        )
