"""Eight requests on the transformers engine: computed together, and one after another.

    python benchmarks/serve_batching.py

The starter model in safetensors, greedy, different prompts, the two taking turns.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from processes import median, report
from serve import QUESTIONS

from qwen_cli.engines.core.base import Engine, Sampling
from qwen_cli.engines.load import load
from qwen_cli.models.formats import gguf_import
from qwen_cli.models.hub import starter

TOKENS = 32
ROUNDS = 3


def main() -> None:
    folder = starter.safetensors_path()
    if not (folder / "config.json").is_file():
        gguf_import.to_safetensors(starter.fetch(), folder)
    with load(str(folder), engine="transformers", context=4096) as engine:
        serving = engine.serving_lanes(len(QUESTIONS))
        lanes = serving.lanes
        assert len(lanes) == len(QUESTIONS)
        said(lanes[0], QUESTIONS[0], 2)
        pairs = [(alone(engine), together(lanes)) for _ in range(ROUNDS)]
        serving.close()
    tokens = TOKENS * len(QUESTIONS)
    one, all_ = (median([tokens / pair[side] for pair in pairs]) for side in (0, 1))
    report("eight requests together against one after another", all_, one, "tok/s", "≥ 2.5")


def alone(engine: Engine) -> float:
    began = time.perf_counter()
    for question in QUESTIONS:
        said(engine, question, TOKENS)
    return time.perf_counter() - began


def together(lanes: Sequence[Engine]) -> float:
    began = time.perf_counter()
    with ThreadPoolExecutor(len(lanes)) as threads:
        list(threads.map(lambda lane, question: said(lane, question, TOKENS), lanes, QUESTIONS))
    return time.perf_counter() - began


def said(engine: Engine, question: str, tokens: int) -> None:
    """What follows, without a template, so that it goes on for as long as it may."""
    for _ in engine.complete(f"{question}\n\n", sampling=Sampling(temperature=0, max_tokens=tokens)):
        continue


if __name__ == "__main__":
    main()
