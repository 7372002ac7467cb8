"""The decoding loops of the transformers engine: one answer, or several of one prompt together."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from qwen_cli.engines.core import base
from qwen_cli.engines.core.base import Completion, Piece, Stream, TokenLogprob, Usage
from qwen_cli.engines.parsing.think_tags import CLOSE
from qwen_cli.engines.transformers import sampler

if TYPE_CHECKING:
    from qwen_cli.engines.transformers.answer import Answer
    from qwen_cli.engines.transformers.prefix_cache import PrefixCache
    from qwen_cli.engines.transformers.sampler import Sampler
    from qwen_cli.engines.transformers.speculative import Steps
    from qwen_cli.engines.transformers.vision import MultimodalPrompt


def one(
    cache: PrefixCache,
    steps: Steps,
    prompt: Sequence[int],
    multimodal: MultimodalPrompt | None,
    answer: Answer,
    choice: Sampler,
    started: float,
) -> Stream:
    """Yield the pieces of one answer. The last carries usage; `started` is when it was asked for
    (`perf_counter`)."""
    grammar = choice.grammar
    known: list[TokenLogprob] = []
    logits, cached = cache.prefill(prompt, multimodal)
    first = 0.0
    try:
        while True:
            free = not answer.thinking  # the schema is for the answer
            before = logits[0].clone() if choice.logprobs is not None else None
            if answer.forced:
                token = answer.forced.popleft()
            else:
                token = int(choice.sample(logits, constrained=free))
                if grammar and free:
                    grammar.accept(token)
            first = first or time.perf_counter()
            choice.remember([token])
            if before is not None and choice.logprobs is not None:
                known.append(sampler.likely(before, token, choice.logprobs, answer.table))
            yield from base.with_logprobs(answer.accept(token), known)
            if answer.reason:
                break
            logits = steps.after(token)
    finally:
        steps.settle()
    now = time.perf_counter()
    yield Piece(
        usage=Usage(
            len(prompt),
            cached,
            answer.tokens,
            first - started,
            now - first,
            answer.reason,
            steps.drafted,
            steps.accepted,
        )
    )


def together(
    cache: PrefixCache,
    prompt: Sequence[int],
    multimodal: MultimodalPrompt | None,
    answers: Sequence[Answer],
    choice: Sampler,
    started: float,
) -> list[Completion]:
    """Decode the `answers` to one prompt, a token of each at a time; those that have ended leave the
    batch."""
    n = len(answers)
    pieces: list[list[Piece]] = [[] for _ in range(n)]
    sums, ended, active = [0.0] * n, [0.0] * n, list(range(n))
    logits, cached = cache.prefill(prompt, multimodal)
    branch = cache.branch(n)
    logits = logits.repeat(n, 1)
    first = time.perf_counter()
    while True:
        logprobs = logits.log_softmax(-1)
        tokens = choice.sample(logits).tolist()
        for row, index in enumerate(active):
            answer = answers[index]
            if answer.forced:
                tokens[row] = answer.forced.popleft()
            sums[index] += float(logprobs[row, tokens[row]])
            pieces[index] += answer.accept(tokens[row])
            ended[index] = time.perf_counter()
        choice.remember(tokens)
        going = [row for row, index in enumerate(active) if not answers[index].reason]
        if not going:
            break
        if len(going) < len(active):
            active = [active[row] for row in going]
            tokens = [tokens[row] for row in going]
            choice.keep(going)
            branch.keep(going)
        logits = branch.step(tokens)
    done = []
    for i, answer in enumerate(answers):
        usage = Usage(
            len(prompt), cached, answer.tokens, first - started, ended[i] - first, answer.reason or "stop"
        )
        done.append(Completion(*parts(pieces[i]), usage, sums[i] / answer.tokens))
    return done


def parts(pieces: Sequence[Piece]) -> tuple[str, str]:
    """Answer and thinking. The answer begins after the last `</think>` (Qwen3-2507's model cards), which
    only shows when it has ended."""
    thought = "".join(piece.text for piece in pieces if piece.kind == "thinking")
    more, tag, answer = "".join(p.text for p in pieces if p.kind == "answer").rpartition(CLOSE)
    return (answer.lstrip("\n"), thought + more) if tag else (answer, thought)
