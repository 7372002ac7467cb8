"""A number hidden in filler and asked for at the end: how far the starter finds it, with and without YaRN.

    python benchmarks/passkey.py [--lengths 16384,40960,65536] [--tokens 3000] [--depths 3]
    python benchmarks/passkey.py --real 40960

The first computes a few thousand tokens and stretches their positions over the whole length (as PoSE trains,
https://arxiv.org/abs/2309.10400): what attention has to bridge is as far as in a real text of that length,
though there is less in between to be misled by. It takes minutes where the real length takes hours.
`--real` reads a real prompt of that many tokens with llama.cpp and YaRN.
"""

from __future__ import annotations

import argparse
import random
import time

import torch

from qwen_cli import Sampling
from qwen_cli.engines.llamacpp.engine import LlamaCpp
from qwen_cli.engines.transformers.engine import Transformers
from qwen_cli.models.catalog import lookup
from qwen_cli.models.formats import gguf_import
from qwen_cli.models.hub import starter
from qwen_cli.models.hub.resolve import Weights

FILLER = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again. "
WINDOW = 32_768  # tokens that the starter was trained for
QUESTION = "\nWhat is the pass key? The pass key is"


def main() -> None:
    flags = argparse.ArgumentParser(description="Pass keys found at several lengths.")
    flags.add_argument("--lengths", default="16384,32768,40960,65536,98304,131072")
    flags.add_argument("--tokens", type=int, default=3000)
    flags.add_argument("--depths", type=int, default=5)
    flags.add_argument("--real", type=int)
    given = flags.parse_args()
    if given.real:
        real(given.real)
        return
    lengths = [int(length) for length in given.lengths.split(",")]
    print(f"found of {given.depths}, {given.tokens} tokens with positions over the whole length")
    print("| length | plain | YaRN |\n|---|---|---|")
    for length in lengths:
        plain = stretched(length, given.tokens, given.depths, yarn=False)
        # Within the window nothing is scaled: it would be the same again.
        scaled = stretched(length, given.tokens, given.depths, yarn=True) if length > WINDOW else "–"
        print(f"| {length:,} | {plain} | {scaled} |", flush=True)


def stretched(length: int, tokens: int, depths: int, *, yarn: bool) -> int:
    """How many of `depths` keys the starter finds, its positions stretched to `length`."""
    folder = starter.safetensors_path()
    if not (folder / "config.json").is_file():
        gguf_import.to_safetensors(starter.fetch(), folder)
    weights = Weights("starter", folder, "safetensors", lookup.find("starter"))
    with Transformers(
        weights, context=length if yarn else None, rope_scaling="yarn" if yarn else None
    ) as engine:
        return sum(asked(engine, length, tokens, (i + 0.5) / depths) for i in range(depths))


def asked(engine: Transformers, length: int, tokens: int, depth: float) -> bool:
    key = str(random.Random(f"{length}{depth}").randrange(10_000, 100_000))
    text, _ = prompt(engine._ids, tokens, depth, key)
    ids = engine._ids(text)
    # One jump after each sentence, all of the same size: what is near stays near.
    ends = [i for i, token in enumerate(ids) if "." in engine.tokenizer.decode([token])]
    step = (length - len(ids) - 8) // max(len(ends), 1)
    positions, at, ending = [], 0, set(ends)
    for i in range(len(ids)):
        positions.append(at)
        at += 1 + (step if i in ending else 0)
    said: list[int] = []
    cache = None
    inputs, places = torch.tensor([ids]), torch.tensor([positions])
    with torch.inference_mode():
        for _ in range(6):
            out = engine.network(
                input_ids=inputs, position_ids=places, past_key_values=cache, use_cache=True, logits_to_keep=1
            )
            cache = out.past_key_values
            said.append(int(out.logits[0, -1].argmax()))
            inputs, places = torch.tensor([said[-1:]]), places[:, -1:] + 1
    return key in engine.tokenizer.decode(said)


def prompt(count: object, tokens: int, depth: float, key: str) -> tuple[str, int]:
    """About `tokens` tokens of filler with the key at `depth` (0 to 1)."""
    assert callable(count)
    lines = max(2, tokens // len(count(FILLER)))
    before = int(lines * depth)
    hidden = f"The pass key is {key}. Remember it. {key} is the pass key. "
    start = "There is important information hidden in this text. Find it and remember it. "
    return start + FILLER * before + hidden + FILLER * (lines - before) + QUESTION, lines


def real(length: int) -> None:
    """One prompt of `length` tokens, the key in its first tenth, on llama.cpp."""
    weights = Weights("starter", starter.fetch(), "gguf", lookup.find("starter"))
    with LlamaCpp(weights, context=length + 1024, parallel=1, rope_scaling="yarn") as engine:
        text, _ = prompt(lambda part: [0] * engine.count_tokens(part), length, 0.1, "71432")
        started = time.perf_counter()
        usage, said = None, ""
        for piece in engine.complete(text, sampling=Sampling(temperature=0.0, max_tokens=8)):
            said += piece.text
            usage = piece.usage or usage
        assert usage
        took = time.perf_counter() - started
        print(f"YaRN, {usage.prompt_tokens:,} tokens in {took:.0f} s: {said!r}, found: {'71432' in said}")


if __name__ == "__main__":
    main()
