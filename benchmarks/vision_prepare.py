"""Prepare one picture or video for a model, ours or the model card's way, in a process of its own.

    python benchmarks/vision_prepare.py ours|card picture|video MODEL_FOLDER FILE

Prints seconds (the best of three) and the bytes by which the process grew meanwhile. The model is not run.
The card's way to read a video needs one of its own readers: `pip install decord`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MOST = 1280 * 28 * 28  # pixels of a picture: the most that the card recommends


def main() -> None:
    side, kind, folder, file = sys.argv[1:]
    once = (ours if side == "ours" else card)(kind, folder, file)
    seconds = []
    begun = _peak(reset=True)
    for _ in range(3):
        started = time.perf_counter()
        once()
        seconds.append(time.perf_counter() - started)
    print(json.dumps({"seconds": min(seconds), "bytes": _peak() - begun}))


def ours(kind: str, folder: str, file: str) -> Callable[[], Any]:
    """Everything until pixels are what the encoder takes, and the prompt is tokens."""
    from qwen_cli.engines.transformers.engine import Transformers
    from qwen_cli.media import images as media_images
    from qwen_cli.media.inputs import Film, Picture
    from qwen_cli.models.hub import resolve
    from qwen_cli.tasks.vision import prepare

    engine = Transformers(resolve.resolve(folder))

    def once() -> None:
        item = Picture("p", media_images.load(Path(file))) if kind == "picture" else Film("v", Path(file))
        detail = prepare.Detail(max_pixels=MOST if kind == "picture" else None)
        turns = [prepare.message(prepare.prepare_all([item], engine, detail), "What is this?")]
        del item  # as the command does
        views = engine.visuals(turns)
        engine._prompt(engine._rendered(turns, None, None), views)
        for view in views:
            for pixels, _ in view.slices():
                del pixels

    return once


def card(kind: str, folder: str, file: str) -> Callable[[], Any]:
    from qwen_vl_utils import process_vision_info
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model = AutoModelForImageTextToText.from_pretrained(folder)  # as heavy as ours when it begins
    processor = AutoProcessor.from_pretrained(folder)
    part = {"image": file, "max_pixels": MOST} if kind == "picture" else {"video": file}
    name = "image" if kind == "picture" else "video"
    turns = [{"role": "user", "content": [{"type": name, **part}, {"type": "text", "text": "What is this?"}]}]

    def once() -> None:
        assert model
        text = processor.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        images, videos, more = process_vision_info(
            turns, image_patch_size=14, return_video_kwargs=True, return_video_metadata=True
        )
        told: dict[str, Any] = {}
        if videos is not None:
            videos, metadata = map(list, zip(*videos, strict=True))
            told["video_metadata"] = metadata
        processor(
            text=[text], images=images, videos=videos, return_tensors="pt", do_resize=False, **told, **more
        )

    return once


def _peak(*, reset: bool = False) -> int:
    """Bytes of the process at most, since the last reset (Linux)."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
