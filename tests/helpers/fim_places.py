"""Places to fill in, and an engine that knows what belongs there.

The data are files of many languages with a hole each; half of them ("heldout") were written before the rules
and are never looked at while these are made.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from qwen_cli.engines.core.base import Capabilities, Completion, Piece, Sampling, StopReason, Usage
from qwen_cli.tasks.fim import complete

_DATA = Path(__file__).parents[1] / "data" / "fim_places.jsonl"
_OTHER_LINES = 40


@dataclass(frozen=True)
class Place:
    path: str
    language: str
    kind: str
    heldout: bool
    prefix: str
    middle: str
    suffix: str


@cache
def places() -> tuple[Place, ...]:
    return tuple(Place(**json.loads(line)) for line in _DATA.read_text("utf-8").splitlines())


class Writer:
    """An engine that goes on from where its prompt ends, towards the text that it has in mind."""

    name = "scripted"
    model = "qwen2.5-coder"
    capabilities = Capabilities(context=None, fim=True)

    def __init__(self, prefix: str, says: str, reason: StopReason = "stop") -> None:
        self.prefix, self.says, self.reason = prefix, says, reason
        self.written = ""

    def count_tokens(self, text: Any, **_: Any) -> int:
        return 1

    def complete(self, prompt: str, *, sampling: Sampling = Sampling(), **_: Any) -> Iterator[Piece]:
        shown = prompt.partition("<|fim_prefix|>")[2].partition("<|fim_suffix|>")[0]
        lead = prompt.rpartition("<|fim_middle|>")[2]
        whole = self.prefix + self.says
        rest = whole.removeprefix(shown + lead) if whole.startswith(shown + lead) else self.says
        self.written = ""
        for piece in re.findall(r"\s?\w{1,6}|\s+|\W", rest):
            self.written += piece
            yield Piece(piece)
        yield Piece(usage=Usage(generated_tokens=len(rest) // 4, stop_reason=self.reason))

    def sample(self, prompt: Any, n: int, **settings: Any) -> list[Completion]:
        raise AssertionError("one completion is written, not sampled")


def filled(place: Place, says: str, reason: StopReason = "stop", mode: complete.Mode = "auto") -> str:
    """Return what is inserted at `place` where the model writes `says` and ends for `reason`."""
    engine = Writer(place.prefix, says, reason)
    hole = complete.Hole(place.prefix, place.suffix, place.path)
    return complete.complete(engine, hole, mode=mode).text  # type: ignore[arg-type]


def run_on(place: Place) -> str:
    """Return the right middle, the rest of the file, and lines of another of the same language."""
    others = [other for other in places() if other.path != place.path]
    same = [other for other in others if other.language == place.language]
    other = (same or [o for o in others if o.language in ("javascript", "python")])[0]
    lines = (other.prefix + other.middle + other.suffix).split("\n")
    code = "\n".join((lines * _OTHER_LINES)[:_OTHER_LINES])
    return place.middle + place.suffix + code + "\n"


def failures(*, heldout: bool, on: bool) -> list[Place]:
    """Return the places whose right middle does not come through exactly: alone, or with a run-on."""
    chosen = [place for place in places() if place.heldout == heldout]
    if on:
        return [p for p in chosen if filled(p, run_on(p), "length") != p.middle]
    return [p for p in chosen if filled(p, p.middle) != p.middle]
