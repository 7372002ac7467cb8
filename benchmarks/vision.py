"""Preparing against the model card's script; second questions against first ones; many pictures at once.

    python benchmarks/vision.py [--model FOLDER] [--rounds N] [--seconds N] [--pictures N]

Without a folder with a Qwen-VL model in safetensors only preparing is measured, with the real settings of the
processor: what caches and batches gain in a small random model (`vision_media`) is no measure of others.
Preparing a picture, and `--seconds` of 720p video, is compared with the script of the model's card, each in a
process of its own (`vision_prepare`); that script needs a reader for videos: `pip install decord`. Many
pictures are asked about as by `qwen vision --out`, and one after another. In turn, medians.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import vision_media
from PIL import Image
from processes import median, report

from qwen_cli.commands.vision import batch
from qwen_cli.commands.vision.inputs import Gathering
from qwen_cli.engines.core.base import Sampling
from qwen_cli.engines.transformers.engine import Transformers
from qwen_cli.models.hub import resolve
from qwen_cli.tasks.vision.prepare import Detail, prepare_all
from qwen_cli.tasks.vision.task import Job, ask

PREPARE = Path(__file__).with_name("vision_prepare.py")
ONE = Sampling(temperature=0.0, max_tokens=2)
SHORT = Sampling(temperature=0.0, max_tokens=8)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--pictures", type=int, default=64)
    asked = parser.parse_args()
    folder = asked.model or vision_media.model()
    print(f"model {folder}")
    if asked.model:
        with Transformers(resolve.resolve(str(folder)), context=2048) as engine:
            again(engine, asked.rounds)
            many(engine, asked.pictures, asked.rounds)
    film = vision_media.film(asked.seconds, (1280, 720), 25)
    preparing("picture", folder, vision_media.picture(), asked.rounds)
    preparing("video", folder, film, asked.rounds)


def again(engine: Transformers, rounds: int) -> None:
    """The first token of a second question about a picture, against that of the first question."""
    first, second = [], []
    for run in range(rounds):
        turns = [{"role": "user", "content": [part(noise(run)), {"type": "text", "text": "What is this?"}]}]
        first.append(prefill(engine, turns))
        more = [{"role": "assistant", "content": "A picture."}, {"role": "user", "content": "Of what?"}]
        second.append(prefill(engine, [*turns, *more]))
    report("first token, second question against first", median(second), median(first), "s", "≤ 0.3")


def many(engine: Transformers, count: int, rounds: int) -> None:
    """Pictures a second with the next one prepared meanwhile, against one after another."""
    names = [str(vision_media.picture(number, (4000, 3000))) for number in range(count)]
    job, detail = Job("ask", "What is this?"), Detail(max_pixels=1000 * 28 * 28)
    together, apart = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as scratch:
            gathering = Gathering(Path(scratch), video=False, allow_local_urls=False)
            started = time.perf_counter()
            with contextlib.redirect_stdout(None):
                batch.run(engine, gathering, names, job, detail, SHORT, Path(scratch) / "out.jsonl")
            together.append(count / (time.perf_counter() - started))
            started = time.perf_counter()
            for name in names:
                list(ask(engine, prepare_all(gathering.gather([name]), engine, detail), job, SHORT))
            apart.append(count / (time.perf_counter() - started))
    report(f"{count} pictures, batch against one by one", median(together), median(apart), "/s", "≥ 1.2")


def preparing(kind: str, folder: Path, file: Path, rounds: int) -> None:
    """Seconds and memory until the pixels are what the encoder takes, against the card's script."""
    sides: dict[str, list[dict[str, float]]] = {"ours": [], "card": []}
    for _ in range(rounds):
        for side, found in sides.items():
            command = [sys.executable, str(PREPARE), side, kind, str(folder), str(file)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise SystemExit(f"{side}, {kind}: {done.stderr.strip().splitlines()[-1]}")
            found.append(json.loads(done.stdout.splitlines()[-1]))
    for what, unit, scale, bar in (("seconds", "s", 1.0, "≤ 1.1"), ("bytes", "MB", 1e-6, "≤ 1")):
        ours, card = (median([run[what] for run in sides[side]]) * scale for side in ("ours", "card"))
        report(f"preparing a {kind}, {what}", ours, card, unit, bar)


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


if __name__ == "__main__":
    main()
