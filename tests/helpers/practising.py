"""An engine that gets better with an adapter: how often it is right is written down."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from qwen_cli.engines.core.base import Capabilities, EngineBase, Message, Piece, Sampling, Stream, Usage
from qwen_cli.tasks.improve.problem import Problem
from qwen_cli.tasks.improve.rounds import Training


def sums(count: int, first: int = 10) -> list[Problem]:
    """Problems that `Practising` can do."""
    return [
        Problem(f"sum-{n}", f"What is {n} + {n * n % 97}?", str(n + n * n % 97))
        for n in range(first, first + count)
    ]


class Practising(EngineBase):
    """Adds two numbers, rightly in `skill` of 100 answers: which ones depends on the problem and the seed
    alone. `asks` counts what it was asked; `before` is called before each answer with that count."""

    name = "practising"
    capabilities = Capabilities(context=4096)

    def __init__(
        self, skill: int, *, model: str = "none", before: Callable[[int], None] = lambda n: None
    ) -> None:
        self.model, self.skill = model, skill
        self.asks = 0
        self._before = before
        self.closed = False

    def chat(
        self,
        messages: Sequence[Message],
        *,
        tools: Any = None,
        schema: Any = None,
        sampling: Sampling = Sampling(),
        thinking: bool | int | None = None,
        template_kwargs: Any = None,
    ) -> Stream:
        self.asks += 1
        self._before(self.asks)
        text = self._answer(str(messages[-1]["content"]), sampling)
        yield Piece(text)
        yield Piece(usage=Usage(prompt_tokens=9, generated_tokens=len(text.split())))

    def _answer(self, problem: str, sampling: Sampling) -> str:
        seed = "" if sampling.temperature == 0 else sampling.seed
        luck = int(hashlib.sha256(f"{problem}{seed}".encode()).hexdigest(), 16)
        one, other = (int(word.strip("?.")) for word in problem.split() if word.strip("?.").isdigit())
        value = one + other + (luck % 100 >= self.skill)
        return rf"Way {luck % 5}: it is \boxed{{{value}}}"

    def complete(self, prompt: str, **rest: Any) -> Stream:
        raise AssertionError("nobody completes")

    def close(self) -> None:
        self.closed = True


def train(training: Training) -> Mapping[str, Any]:
    """Write an adapter that adds to the skill of whoever has it, and on to that of the one it starts from."""
    training.out.mkdir(parents=True, exist_ok=True)
    wrong = sum(not _is_right(row) for row in training.rows)
    gain = 15 if not wrong else 0
    start = skill_of(training.start_from)
    (training.out / "skill.json").write_text(json.dumps(start + gain))
    return {"steps": len(training.rows)}


def skill_of(adapter: Path | None) -> int:
    """What an adapter adds to the skill."""
    return int(json.loads((adapter / "skill.json").read_text())) if adapter else 0


def _is_right(row: Mapping[str, Any]) -> bool:
    *_, question, answer = row["messages"]
    numbers = [word.strip("?.") for word in question["content"].split()]
    return f"{{{sum(int(word) for word in numbers if word.isdigit())}}}" in answer["content"]
