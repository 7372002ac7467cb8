"""How much a model may write at once, by what model it is."""

from __future__ import annotations

import re
from dataclasses import dataclass

from qwen_cli.engines.core.base import Engine, Sampling, is_off
from qwen_cli.models.catalog import lookup
from qwen_cli.models.catalog.families import Model

# The output length that the cards of Qwen3, QwQ and all that think after them recommend for most questions.
THOUGHT = 32_768
# Of Qwen2.5-Math's evaluation code (`max_tokens_per_call`), whose models have a context of 4,096. Models of
# fewer than `_SMALL` parameters get it too: one that goes round in circles never stops by itself.
ANSWER = 2_048
_SMALL = 2e9
# Words between the programs of a model that is led to them (`prompts.Nudge`). The starter's reach 350 where
# they lead anywhere; those that go on count the same steps until they are cut.
WORDS = 640
_BILLIONS = re.compile(r"(?<![\d.])(\d+(?:\.\d+)?)b(?![a-z])")


@dataclass(frozen=True)
class Allowance:
    """Most tokens of one generation; `None`: until the model ends it, or the context is full.

    `thought` is for thinking (0: it does not think), `answer` for what comes without or after it, `whole` for
    both where they are one generation.
    """

    thought: int
    answer: int | None
    whole: int | None


def allowance(engine: Engine, thinking: bool | int | None) -> Allowance:
    """Return what `engine` is allowed in a turn with `thinking`: on, off, a budget in tokens, or its own."""
    answer = ANSWER if specialist(engine) or small(engine) else None
    if engine.capabilities.thinking is None or is_off(thinking):
        return Allowance(0, answer, answer)
    if thinking is None or thinking is True:
        return Allowance(THOUGHT, answer, THOUGHT)
    return Allowance(thinking, answer, answer and thinking + answer)


def limited(engine: Engine, sampling: Sampling, thinking: bool | int | None) -> Sampling:
    """Return `sampling` with the end that a whole answer of this model has, where it asks for none."""
    return sampling.over(Sampling(max_tokens=allowance(engine, thinking).whole))


def specialist(engine: Engine) -> bool:
    """Return whether the model was trained to write programs between its sentences: Qwen's mathematics
    family."""
    return is_specialist(engine.model)


def is_specialist(model: str) -> bool:
    """Return whether the model of this name is of Qwen's mathematics family."""
    known = lookup.known(model)
    return "math" in (known.family if known else model.lower())


def small(engine: Engine) -> bool:
    """Return whether the model has fewer than two billion parameters: such a one is led to programs and ended
    where it rambles. One that tells nothing of its size is taken for a large one."""
    if known := _known(engine):
        return known.parameters < _SMALL
    said = _BILLIONS.findall(engine.model.lower())
    return bool(said) and float(said[-1]) * 1e9 < _SMALL


def _known(engine: Engine) -> Model | None:
    return lookup.known(engine.model)
