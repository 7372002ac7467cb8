"""A second question about the same picture against the first, and preparing a picture against the model card.

    python benchmarks/vision.py MODEL_FOLDER [PICTURE]

MODEL_FOLDER is a Qwen-VL model in safetensors; without a picture one of 1,600 × 1,200 is made. The peer is
the script of the model's card: `process_vision_info`, then the processor. In turn, medians.
"""

from __future__ import annotations

import argparse
import random
import time
from pathlib import Path
from typing import Any

from PIL import Image
from processes import median, report

from qwen_cli.engines.protocol import Sampling
from qwen_cli.engines.transformers import Transformers
from qwen_cli.media import pictures
from qwen_cli.models import reference

ROUNDS = 5
ONE = Sampling(temperature=0.0, max_tokens=2)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("picture", nargs="?", type=Path)
    asked = parser.parse_args()
    with Transformers(reference.resolve(asked.model), context=2048) as engine:
        first, second, ours, card = [], [], [], []
        for run in range(ROUNDS):
            image = pictures.load(asked.picture) if asked.picture else noise(run)
            turns = [{"role": "user", "content": [part(image), {"type": "text", "text": "What is this?"}]}]
            first.append(prefill(engine, turns))
            more = [{"role": "assistant", "content": "A picture."}, {"role": "user", "content": "Of what?"}]
            second.append(prefill(engine, [*turns, *more]))
            ours.append(prepared(engine, turns))
            card.append(by_the_card(engine, turns))
    print(f"model {asked.model}, picture {image.width} × {image.height}")
    report("first token, second question against first", median(second), median(first), "s", "≤ 0.3")
    report("preparing a picture, against the card's script", median(ours), median(card), "s", "≤ 1.1")


def part(image: Image.Image) -> dict[str, Any]:
    # At most 1,000 visual tokens, so that the context of a small model holds it.
    return {"type": "image", "image": image, "max_pixels": 1000 * 28 * 28}


def noise(seed: int) -> Image.Image:
    """A picture that was not seen before."""
    return Image.effect_noise((1600, 1200), 20 + seed + random.random()).convert("RGB")


def prefill(engine: Transformers, turns: list[dict[str, Any]]) -> float:
    usage = list(engine.chat(turns, sampling=ONE))[-1].usage
    assert usage
    return usage.prefill_seconds


def prepared(engine: Transformers, turns: list[dict[str, Any]]) -> float:
    """Seconds until the pixels are what the encoder takes, and the prompt is tokens."""
    started = time.perf_counter()
    views = engine._views(turns)
    engine._prompt(engine._rendered(turns, None, None), views)
    for view in views:
        list(view.slices())
    return time.perf_counter() - started


def by_the_card(engine: Transformers, turns: list[dict[str, Any]]) -> float:
    from qwen_vl_utils import process_vision_info

    assert engine._sight
    processor = engine._sight._processor
    patch = engine.capabilities.seeing.unit // 2
    started = time.perf_counter()
    text = processor.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    images, _ = process_vision_info(turns, image_patch_size=patch)
    processor(text=[text], images=images, return_tensors="pt", do_resize=False)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
