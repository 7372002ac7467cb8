"""Completing code that repeats code nearby: drafts from the prompt's own n-grams against plain decoding.

    python benchmarks/fim_draft.py [MODEL.gguf]

Starter model unless another is named; greedy, one engine without drafts and one with those that are on by
default, in turn; medians. It ends where the one without has drafted all the same.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

from qwen_cli.engines.core.base import Sampling
from qwen_cli.engines.llamacpp.engine import LlamaCpp
from qwen_cli.models.hub import resolve
from qwen_cli.tasks.fim import complete

ROUNDS = 3
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
    path = sys.argv[1] if len(sys.argv) > 1 else "starter"
    weights = resolve.resolve(path)
    engines = {
        "plain": LlamaCpp(weights, context=2048, parallel=1, draft=None),
        "draft": LlamaCpp(weights, context=2048, parallel=1, draft="auto"),
    }
    print(f"model {Path(weights.path).name}, {TOKENS} tokens")
    for case, hole in CASES.items():
        speeds: dict[str, list[float]] = {}
        texts = {}
        drafted = {}
        for _ in range(ROUNDS + 1):
            for name, engine in engines.items():
                texts[name], speed, drafted[name] = decode(engine, complete.prompt(hole))
                speeds.setdefault(name, []).append(speed)
        assert drafted["plain"] == 0, "the engine without drafts has drafted"
        plain, draft = (statistics.median(speeds[name][1:]) for name in ("plain", "draft"))
        print(
            f"{case}: draft {draft:.1f} tok/s, plain {plain:.1f} tok/s, ratio {draft / plain:.2f}, "
            f"{drafted['draft']} tokens drafted, same text: {texts['plain'] == texts['draft']}"
        )
    for engine in engines.values():
        engine.close()


def decode(engine: LlamaCpp, prompt: str) -> tuple[str, float, int]:
    """Return the greedy text, its tokens per second, prefill left out, and how many tokens were drafted."""
    text, first, usage = "", 0.0, None
    for piece in engine.complete(prompt, sampling=Sampling(temperature=0.0, max_tokens=TOKENS)):
        first = first or time.perf_counter()
        text += piece.text
        usage = piece.usage or usage
    assert usage
    return text, (usage.generated_tokens - 1) / (time.perf_counter() - first), usage.drafted_tokens


if __name__ == "__main__":
    main()
