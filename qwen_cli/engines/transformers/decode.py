"""The decoding loops of the transformers engine: one answer, or several of one prompt together."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from qwen_cli.engines.core import base
from qwen_cli.engines.core.base import Completion, Piece, Stream, TokenLogprob, Usage
from qwen_cli.engines.parsing.answer import parts
from qwen_cli.engines.transformers import sampler

if TYPE_CHECKING:
    import torch

    from qwen_cli.engines.transformers.answer import Answer
    from qwen_cli.engines.transformers.prefix_cache import PrefixCache, ShownPrompt
    from qwen_cli.engines.transformers.sampler import Sampler
    from qwen_cli.engines.transformers.speculative import Steps


def one(
    cache: PrefixCache,
    steps: Steps,
    prompt: Sequence[int],
    multimodal: ShownPrompt | None,
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
                drawn = choice.sample(without_ends(logits, [answer]), constrained=free)
                token = answer.stands(int(drawn))
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
            stop_string=answer.stop_string,
        )
    )


def together(
    cache: PrefixCache,
    prompt: Sequence[int],
    multimodal: ShownPrompt | None,
    answers: Sequence[Answer],
    choice: Sampler,
    started: float,
) -> list[Completion]:
    """Decode the `answers` to one prompt, a token of each at a time; those that have ended leave the
    batch."""
    import torch  # 3 s: loaded with the model

    n = len(answers)
    pieces: list[list[Piece]] = [[] for _ in range(n)]
    sums, ended, active = [0.0] * n, [0.0] * n, list(range(n))
    logits, cached = cache.prefill(prompt, multimodal)
    branch = cache.branch(n)
    logits = logits.repeat(n, 1)
    first = time.perf_counter()
    while True:
        logprobs = logits.log_softmax(-1)
        tokens = choice.sample(without_ends(logits, [answers[i] for i in active])).tolist()
        for row, index in enumerate(active):
            answer = answers[index]
            tokens[row] = answer.forced.popleft() if answer.forced else answer.stands(tokens[row])
        # One copy from the device for all rows: each waits for it.
        likely = (
            logprobs.gather(1, logprobs.new_tensor(tokens, dtype=torch.long)[:, None]).squeeze(1).tolist()
        )
        for row, index in enumerate(active):
            answer = answers[index]
            sums[index] += likely[row]
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


def without_ends(logits: torch.Tensor, answers: Sequence[Answer]) -> torch.Tensor:
    """Return `logits` (answers × vocabulary) without the tokens that end a turn for those of `answers` that
    may not end yet."""
    rows = [row for row, answer in enumerate(answers) if answer.owes]
    if rows:
        logits = logits.clone()  # they may belong to inference mode, where they are not written to
        for row in rows:
            logits[row, sorted(answers[row].ends)] = float("-inf")
    return logits
