"""An edit of code, where the answer repeats the question: guesses from the text against plain decoding.

    python benchmarks/speculation.py [--rounds 3] [--tokens 160] [llamacpp] [transformers]

The starter model on llama.cpp, greedy, context 2,048, with and without guesses in turn, medians of the
decode speed. The texts must be equal, so transformers, where it is named, computes in float32: what it
gains there is no measure of bfloat16, which one would compute in. The guesses are those that `qwen` makes
by itself; the last case repeats nothing, and must lose nothing.
"""

from __future__ import annotations

import argparse
import gc

from processes import median, report

from qwen_cli import Sampling
from qwen_cli.engines.core.base import Engine, Usage
from qwen_cli.engines.llamacpp.engine import LlamaCpp
from qwen_cli.engines.transformers.engine import Transformers
from qwen_cli.models.catalog import lookup
from qwen_cli.models.formats import gguf_import
from qwen_cli.models.hub import starter
from qwen_cli.models.hub.resolve import Weights

CODE = """def load_prices(path):
    rows = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            name, value = line.rstrip("\\n").split(",")
            rows.append((name, float(value)))
    return dict(rows)


def total(prices, names):
    found = [prices[name] for name in names if name in prices]
    return sum(found)


def cheapest(prices):
    return min(prices, key=prices.get)
"""
CASES = {
    "an edit": (
        "Rename `cheapest` to `lowest` in this code and change nothing else. "
        f"Answer with the whole code only.\n\n```python\n{CODE}```",
        "≥ 1.4",
    ),
    "an explanation": ("Explain in detail how a hash table works.", "≥ 0.95"),
}


def main() -> None:
    flags = argparse.ArgumentParser(description="Guesses from the text against plain decoding.")
    flags.add_argument("engine", nargs="*", default=["llamacpp"])
    flags.add_argument("--rounds", type=int, default=3)
    flags.add_argument("--tokens", type=int, default=160)
    given = flags.parse_args()
    for name in given.engine:
        plain, guessing = opened(name, guesses=False), opened(name, guesses=True)
        for case, (question, bar) in CASES.items():
            compare(f"{case}, {name}", plain, guessing, question, bar, given.rounds, given.tokens)
        plain.close()
        guessing.close()
        gc.collect()


def opened(name: str, *, guesses: bool) -> Engine:
    model = lookup.find("starter")
    if name == "llamacpp":
        weights = Weights("starter", starter.fetch(), "gguf", model)
        return LlamaCpp(weights, context=2048, parallel=1, draft="auto" if guesses else None)
    folder = starter.safetensors_path()
    if not (folder / "config.json").is_file():
        gguf_import.to_safetensors(starter.fetch(), folder)
    weights = Weights("starter", folder, "safetensors", model)
    return Transformers(weights, context=2048, draft="auto" if guesses else None, dtype="float32")


def compare(
    title: str, plain: Engine, guessing: Engine, question: str, bar: str, rounds: int, tokens: int
) -> None:
    speeds: dict[Engine, list[float]] = {plain: [], guessing: []}
    for number in range(rounds + 1):
        expected, usage = said(plain, question, tokens)
        text, guessed = said(guessing, question, tokens)
        if text != expected:
            raise SystemExit(f"the texts differ:\n{text!r}\n{expected!r}")
        if number:  # the first round warms up
            speeds[plain].append(usage.tokens_per_second)
            speeds[guessing].append(guessed.tokens_per_second)
    report(title, median(speeds[guessing]), median(speeds[plain]), "tok/s", bar)
    share = guessed.accepted_tokens / (guessed.drafted_tokens or 1)
    print(f"  {guessed.generated_tokens} tokens, {guessed.drafted_tokens} guessed, {share:.0%} of them right")


def said(engine: Engine, question: str, tokens: int) -> tuple[str, Usage]:
    text, usage = "", Usage()
    sampling = Sampling(temperature=0.0, max_tokens=tokens)
    for piece in engine.chat([{"role": "user", "content": question}], sampling=sampling):
        text += piece.text
        usage = piece.usage or usage
    return text, usage


if __name__ == "__main__":
    main()
