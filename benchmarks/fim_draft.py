"""Completing code that repeats code nearby: drafts from the prompt's own n-grams against plain decoding.

    python benchmarks/fim_draft.py [MODEL.gguf] [--rounds N] [--own-time]

Starter model unless another is named; greedy, context 2,048, one slot, as many threads as cores. Without
drafts and with those that are on by default, each in a process of its own, in turn; medians. It ends where
the side without has drafted all the same. `--own-time` counts the time of the processes and not the clock's,
on one core (`taskset -c 0`) of a machine that does other work.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

from run_all import machine
from sides import beside, requests

from qwen_cli.engines.core.base import Sampling
from qwen_cli.engines.llamacpp.engine import LlamaCpp
from qwen_cli.models.hub import resolve
from qwen_cli.tasks.fim import complete

ROUNDS = 5
TOKENS = 96

# Boilerplate as every code base has it: only names at its ends differ.
LOADER = """    def {0}(self, path: str) -> dict:
        try:
            with self.opener(path, encoding="utf-8") as file:
                rows = [line.rstrip("\\n").split(self.separator) for line in file]
        except (OSError, UnicodeDecodeError) as fault:
            self.log.warning("cannot read %s: %s", path, fault)
            raise LoadError(f"cannot read {{path}}: {{fault}}") from fault
        return self.checked("{0}", rows)

"""
# The same shape with another name in every line: drafts end after a few tokens.
SETTER = '''    def set_{0}(self, value: float) -> None:
        """Store the {0} and mark the layout as stale."""
        if not isinstance(value, (int, float)):
            raise TypeError(f"{0} must be a number, got {{value!r}}")
        if value < 0:
            raise ValueError(f"{0} must not be negative, got {{value!r}}")
        self._{0} = float(value)
        self._stale = True

'''
CASES = {
    "a body that repeats one nearby (bar ≥ 1.4)": complete.Hole(
        "class Loader:\n"
        + LOADER.format("prices")
        + LOADER.format("customers")
        + "    def orders(self, path: str) -> dict:\n        try:",
        "\n\n    def checked(self, name: str, rows: list) -> dict:\n"
        "        return {row[0]: row for row in rows}\n",
        "loader.py",
    ),
    "another name in every line (no bar)": complete.Hole(
        "class Box:\n" + SETTER.format("width") + SETTER.format("height") + "    def set_depth(self",
        "\n    def area(self) -> float:\n        return self._width * self._height\n",
        "box.py",
    ),
}


def main() -> None:
    flags = argparse.ArgumentParser(description="Drafts from the prompt against plain decoding.")
    flags.add_argument("model", nargs="?", default="starter")
    flags.add_argument("--rounds", type=int, default=ROUNDS)
    flags.add_argument("--own-time", action="store_true")
    flags.add_argument("--side", choices=("plain", "draft"), help=argparse.SUPPRESS)
    given = flags.parse_args()
    if given.side:
        answer(given.model, drafts=given.side == "draft")
        return
    name = Path(resolve.resolve(given.model).path).name
    print(f"model {name}, {TOKENS} tokens, {given.rounds} rounds, {machine()}")
    sides = {side: [given.model, "--side", side] for side in ("plain", "draft")}
    with beside(__file__, sides) as started:
        for case in CASES:
            speeds: dict[str, list[float]] = {side: [] for side in sides}
            said = {}
            for number in range(given.rounds + 1):
                for name, side in started.items():
                    said[name] = side.ask(case)
                    speeds[name] += (
                        [said[name]["own" if given.own_time else "clock"]] if number else []
                    )  # the first one warms up
            plain, draft = (statistics.median(speeds[side]) for side in sides)
            assert said["plain"]["drafted"] == 0, "the side without drafts has drafted"
            print(
                f"{case}: draft {draft:.1f} tok/s, plain {plain:.1f} tok/s, ratio {draft / plain:.2f}, "
                f"{said['draft']['drafted']} tokens drafted, "
                f"same text: {said['plain']['text'] == said['draft']['text']}",
                flush=True,
            )


def answer(model: str, *, drafts: bool) -> None:
    """Be one side: complete the case that is asked for."""
    weights = resolve.resolve(model)
    with LlamaCpp(weights, context=2048, parallel=1, draft="auto" if drafts else None) as engine:
        for case, reply in requests():
            reply(decode(engine, complete.prompt(CASES[case])))


def decode(engine: LlamaCpp, prompt: str) -> dict[str, Any]:
    """Return the greedy text, its tokens a second by the clock and by this process's own time, prefill left
    out, and how many tokens were drafted."""
    text, first, usage = "", (0.0, 0.0), None
    for piece in engine.complete(prompt, sampling=Sampling(temperature=0.0, max_tokens=TOKENS)):
        first = first if text or usage else (time.perf_counter(), time.process_time())
        text += piece.text
        usage = piece.usage or usage
    assert usage
    tokens, now = usage.generated_tokens - 1, (time.perf_counter(), time.process_time())
    return {
        "text": text,
        "clock": tokens / (now[0] - first[0]),
        "own": tokens / (now[1] - first[1]),
        "drafted": usage.drafted_tokens,
    }


if __name__ == "__main__":
    main()
