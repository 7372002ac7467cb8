"""`qwen vision` as a person runs it, with a tiny model that was trained to know coloured shapes.

The model (made by tests/assets/train_tiny_vl.py) is a real Qwen2.5-VL of a few megabytes. On pictures that
it has not seen it is right nearly always, so a swapped channel, a wrong order of patches, a lost frame or a
wrong convention of coordinates shows here, where no model of random weights would notice.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import tiny_world as world
from PIL import Image
from served import Server, serving

TINY = Path(__file__).parents[2] / "assets" / "tiny-qwen2.5-vl"
MODEL = ("--model", str(TINY), "--engine", "transformers", "--temperature", "0")
BUDGET = ("--max-pixels", str(world.SIDE**2), "--min-pixels", str(world.SIDE**2))
FRAME = ("--max-pixels", str(world.FRAME_SIDE**2), "--min-pixels", str(world.FRAME_SIDE**2))
COUNT = 24
SURE = 0.95


@pytest.fixture(scope="module")
def served() -> Iterator[Server]:
    """The model in a server of the same user, loaded once for many films."""
    with serving("--engine", "transformers", model=str(TINY)) as running:
        yield running


def one_of(number: int) -> random.Random:
    """Chance that training has not drawn from."""
    return random.Random(2 * number + 1_000_000)


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def film_file(path: Path, frames: list[Image.Image], rate: float) -> Path:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(rate).limit_denominator(100))
        stream.width, stream.height, stream.pix_fmt = *frames[0].size, "yuv444p"
        stream.options = {"crf": "10"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_image(frame)))
        container.mux(stream.encode())
    return path


def test_shapes_colours_and_places_are_named(qwen, tmp_path: Path) -> None:
    wanted = {}
    for number in range(COUNT):
        one = world.thing(one_of(number))
        scale = (1, 2, 3.5)[number % 3]  # the model is shown them all at one size
        path = tmp_path / f"{number:02}.{('png', 'webp', 'jpg')[number % 3]}"
        world.picture(one, scale=scale).save(path, quality=95)
        wanted[str(path)] = one.words
    out = tmp_path / "out.jsonl"
    done = qwen("vision", *wanted, world.WHAT, "--out", str(out), *BUDGET, *MODEL)
    assert done.returncode == 0, done.stderr
    answers = {row["input"]: row["answer"] for row in rows(out)}
    assert list(answers) == list(wanted)
    assert sum(answers[name] == words for name, words in wanted.items()) >= SURE * COUNT


def test_boxes_are_in_pixels_of_the_file(qwen, tmp_path: Path) -> None:
    wanted, found = {}, 0
    for number in range(COUNT):
        one = world.thing(one_of(number))
        scale = (1, 2.5)[number % 2]
        path = tmp_path / f"{number:02}.png"
        world.picture(one, scale=scale).save(path)
        wanted[str(path)] = one.name, [v * scale for v in one.box]
    out = tmp_path / "out.jsonl"
    done = qwen("vision", *wanted, "--locate", world.EACH, "--out", str(out), *BUDGET, *MODEL)
    assert done.returncode == 0, done.stderr
    for row in rows(out):
        name, box = wanted[row["input"]]
        (told,) = row["answer"] or [{"label": None, "box": [0, 0, 1, 1]}]
        found += told["label"] == name and overlap(told["box"], box) > 0.8
    assert found >= SURE * COUNT


def test_events_have_the_times_of_the_video(qwen, served: Server, tmp_path: Path) -> None:
    right, films = 0, 5
    for number in range(films):
        chance = one_of(number)
        one, start = world.thing(chance), chance.randrange(0, 7)
        end = chance.randrange(start + 1, 9)
        path = film_file(tmp_path / f"{number}.mp4", world.film(one, start, end), world.FPS)
        asked = ("vision", str(path), "--events", "--json", *FRAME, *MODEL)
        done = qwen(*asked, XDG_RUNTIME_DIR=served.for_this_home())
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)["answer"]
        right += told == [{"start": float(start), "end": float(end), "what": f"A {one.name}"}]
    assert right >= films - 1


def test_what_is_located_is_drawn(qwen, tmp_path: Path) -> None:
    red = world.Thing("red", "circle", 14, 56, 42)
    world.picture(red, scale=3).save(tmp_path / "in.png")
    done = qwen(
        "vision", str(tmp_path / "in.png"), "--locate", world.EACH, "--draw", str(tmp_path / "out.png"),
        *BUDGET, *MODEL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)
    before, after = (
        Image.open(tmp_path / "in.png").convert("RGB"),
        Image.open(tmp_path / "out.png").convert("RGB"),
    )
    assert before.size == after.size
    left, top, _, bottom = found["box"]
    assert after.getpixel((left, (top + bottom) // 2)) != before.getpixel((left, (top + bottom) // 2))
    assert after.getpixel((2, after.height - 3)) == (255, 255, 255)


def overlap(a: list[float], b: list[float]) -> float:
    """Intersection over union."""
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)
