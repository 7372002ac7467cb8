"""A number hidden in a long text: how far a model finds it again.

As LongChat and Landmark Attention ask it (Mohtashami and Jaggi, 2023, arXiv:2305.16300): filler, one sentence
with the key at some depth, the question at the end.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from qwen_cli.engines.core.base import Engine
from qwen_cli.tasks.common.parallel import Stopped
from qwen_cli.tasks.eval.item import Attempt, written
from qwen_cli.tasks.eval.protocol import Protocol

_FILLER = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again. "
_ABOUT = (
    "There is an important piece of information hidden in a lot of irrelevant text. Find it and memorize it. "
    "You will be asked about it.\n\n"
)
_KEY = "The pass key is {key}. Remember it. {key} is the pass key. "
_QUESTION = "\n\nWhat is the pass key?"
_BEGUN = " The pass key is"
_MOST = 64
LEAST = 128  # tokens of the shortest text
_ROOM = 256  # tokens of the window for template, question and answer
LENGTHS = (1024, 2048, 4096, 8192, 16_384, 32_768, 65_536, 131_072, 262_144, 524_288, 1_010_000)


@dataclass(frozen=True)
class Hidden:
    """One text of about `length` tokens with the key at `depth` (0 is its beginning, 1 its end)."""

    length: int
    depth: float
    key: str

    @property
    def id(self) -> str:
        return f"{self.length}/{self.depth:.2f}"

    @property
    def subject(self) -> str:
        return f"{self.length:,} tokens"

    @property
    def expected(self) -> str:
        return self.key

    def attempt(self, engine: Engine, protocol: Protocol, number: int, stopped: Stopped) -> Attempt | None:
        text = self.text(engine)
        sampling = protocol.limited(_MOST).nth(number)
        if protocol.raw:
            stream = engine.complete(text + _BEGUN, sampling=sampling)
        else:
            messages = [{"role": "user", "content": text}]
            stream = engine.chat(messages, sampling=sampling, thinking=protocol.thinking)
        answer = written(stream, stopped)
        if answer is None:
            return None
        found = re.search(r"\d{5}", answer.text)
        named = found[0] if found else None
        return answer.attempt(named, float(named == self.key))

    def text(self, engine: Engine) -> str:
        """Return the text: as many sentences as the engine counts into `length`."""
        fixed = engine.count_tokens(_ABOUT + _KEY.format(key=self.key) + _QUESTION)
        each = engine.count_tokens(_FILLER * 8) / 8
        many = max(0, int((self.length - fixed) / each))
        before = round(many * self.depth)
        hidden = _KEY.format(key=self.key)
        return f"{_ABOUT}{_FILLER * before}{hidden}{_FILLER * (many - before)}".rstrip() + _QUESTION


def hidden(context: int | None, lengths: Sequence[int], depths: int, seed: int) -> list[Hidden]:
    """Return a text for each of `lengths` and `depths`, without those that a window of `context` tokens has
    no room for."""
    drawn = random.Random(seed)  # noqa: S311 the keys are no secrets
    fitting = [length for length in lengths if context is None or length + _ROOM <= context]
    return [
        Hidden(length, (index + 0.5) / depths, str(drawn.randrange(10_000, 100_000)))
        for length in fitting
        for index in range(depths)
    ]
