"""The text between two texts: prompts of the model's own layout (`tasks.fim_prompt`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from qwen_cli.engines.core.base import Engine, Sampling
from qwen_cli.tasks.fim import complete, token_healing
from qwen_cli.tasks.fim.prompt import Hole, ends
from qwen_cli.tasks.fim.span import Span

# Longest middle that is kept room for where a request names no limit.
_ANSWER = 256


@dataclass(frozen=True)
class Context:
    """A piece of another file, shown before the hole."""

    path: str
    text: str


@dataclass(frozen=True)
class Between:
    """`text` is what the model sees, `sampling` ends at the marks; `truncated`: not all of it fitted. `start`
    is how the middle begins, where that is not left to the model (`tasks.fim_start`)."""

    text: str
    sampling: Sampling
    truncated: bool
    start: token_healing.Start

    def middle(self, generated: str) -> str:
        """Return the middle in what the model has written so far."""
        return self.start.middle(generated)


def between(
    engine: Engine,
    prefix: str,
    suffix: str,
    sampling: Sampling,
    *,
    files: Sequence[Context] = (),
    whole_words: bool = False,
) -> Between:
    """Build the prompt for what stands between `prefix` and `suffix`. Raises `UsageError` for a model that
    was not trained to fill in, `ContextFull`.

    What does not fit is left out: far lines of the file first, then `files` from the front. `whole_words`: a
    word that the cursor stands in is written again by the model, which guesses badly in the middle of one.
    """
    tokens = complete.tokens_of(engine)
    hole = Hole(prefix.replace("\r\n", "\n"), suffix.replace("\r\n", "\n"))
    limit = sampling.max_tokens or _ANSWER
    fitted = complete.fitted(engine, hole, limit=limit)
    room = complete.room(engine, fitted.hole, limit=limit)
    count = complete.counter(engine)
    kept: list[Context] = []
    for file in reversed(files):  # the latest are the nearest
        room -= count(f"{file.path}\n{file.text}\n") + 1
        if room < 0:
            break
        kept.insert(0, file)
    start = token_healing.Start(fitted.hole.prefix)
    if whole_words:
        start = token_healing.of(fitted.hole, Span(fitted.hole), engine)
    greedy = sampling.over(Sampling(temperature=0.0))  # the model's card: code is not guessed at
    return Between(
        start.prompt(fitted.hole, kept, tokens, ""),
        replace(greedy, stop=(*sampling.stop, *ends(tokens, hole)), start=start.forced),
        truncated=fitted.notice is not None or len(kept) < len(files),
        start=start,
    )
