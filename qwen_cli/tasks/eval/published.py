"""Figures that the models' makers publish, to stand beside ours."""

from __future__ import annotations

from dataclasses import dataclass

from qwen_cli.models.catalog import lookup

_CODER = "Qwen2.5-Coder technical report, arXiv:2409.12186"
_MATH = "Qwen2.5-Math technical report, arXiv:2409.12122"


@dataclass(frozen=True)
class Published:
    """One figure in per cent, of which `protocol`, and where it stands."""

    share: float
    protocol: str
    source: str


_RAW, _CHAT = "0-shot, completion, greedy, EvalPlus", "0-shot, chat, greedy, EvalPlus"
# By repository and bench.
FIGURES: dict[tuple[str, str], tuple[Published, ...]] = {
    ("Qwen/Qwen2.5-Coder-1.5B", "humaneval"): (Published(43.9, _RAW, _CODER),),
    ("Qwen/Qwen2.5-Coder-7B", "humaneval"): (Published(61.6, _RAW, _CODER),),
    ("Qwen/Qwen2.5-Coder-0.5B-Instruct", "humaneval"): (Published(61.6, _CHAT, _CODER),),
    ("Qwen/Qwen2.5-Coder-1.5B-Instruct", "humaneval"): (Published(70.7, _CHAT, _CODER),),
    ("Qwen/Qwen2.5-Coder-7B-Instruct", "humaneval"): (Published(88.4, _CHAT, _CODER),),
    ("Qwen/Qwen2.5-Math-7B-Instruct", "math"): (
        Published(85.3, "0-shot, with programs, greedy, all 5,000 problems", _MATH),
    ),
}


def of(model: str, bench: str) -> tuple[Published, ...]:
    """Return what is published of a model, by the label of its weights, on a bench."""
    known = lookup.known(model)
    return FIGURES.get((known.repo, bench), ()) if known else ()
