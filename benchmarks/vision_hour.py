"""An hour of 1080p video, 768 frames of it, asked about in one look: how much memory above the model.

    python benchmarks/vision_hour.py [MINUTES [FRAMES]]

The video is made first, 2 frames a second (a few minutes); the model is small (`vision_media`), so what is
measured is the reading, the preparing, the encoding in parts, and the prompt. Linux.
"""

from __future__ import annotations

import sys
import time

import vision_media
from vision_prepare import _peak

from qwen_cli.engines.core.base import Sampling
from qwen_cli.engines.transformers.engine import Transformers
from qwen_cli.media.inputs import Film
from qwen_cli.models.hub import resolve
from qwen_cli.tasks.vision import prepare
from qwen_cli.tasks.vision import windows as vision_windows
from qwen_cli.tasks.vision.task import Job, ask

BAR = 1.5e9  # bytes above the model


def main() -> None:
    minutes, frames = (*map(int, sys.argv[1:]), *(60, 768)[len(sys.argv) - 1 :])
    path = vision_media.film(minutes * 60, (1920, 1080), 2)
    film = Film("hour.mp4", path)
    with Transformers(resolve.resolve(str(vision_media.model(131_072))), context=131_072) as engine:
        # What a first question needs is there already: the libraries, the encoder's workspace.
        short = prepare.prepare_all([film], engine, prepare.Detail(end=4.0))
        job, sampling, detail = Job("ask", "What?"), Sampling(max_tokens=4), prepare.Detail(max_frames=frames)
        list(ask(engine, short, job, sampling))
        windows = vision_windows.windows(film, engine, detail, job)
        begun = _peak(reset=True)
        started = time.perf_counter()
        looks = prepare.prepare_all([film], engine, detail)
        read = time.perf_counter() - started
        list(ask(engine, looks, job, sampling))
        grown = _peak() - begun
    print(f"{minutes} minutes of 1920 × 1080, {path.stat().st_size / 1e6:.0f} MB: {looks[0].words}")
    print(f"frames read in {read:.0f} s, answered after {time.perf_counter() - started:.0f} s")
    print(f"windows that `qwen vision` would take: {len(windows) or 1}")
    print(f"memory above the model: {grown / 1e9:.2f} GB (bar {BAR / 1e9} GB)")


if __name__ == "__main__":
    main()
