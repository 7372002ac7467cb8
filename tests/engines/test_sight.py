"""Vision models: the tokens, positions and answers of the model card's own script, with less work.

Small models of the real classes with random weights, real processors, the real tokenizer.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import small_models
import torch
from PIL import Image, ImageDraw

from qwen_cli.engines.protocol import Sampling
from qwen_cli.engines.transformers import Transformers
from qwen_cli.models import reference

GREEDY = Sampling(temperature=0.0, max_tokens=12)
SIZES = ((97, 61), (640, 480), (28, 300), (1, 1))


@pytest.fixture(scope="module", params=small_models.VISUAL)
def folder(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, starter_safetensors: Path
) -> Path:
    place = tmp_path_factory.mktemp(request.param)
    return small_models.make_seeing(request.param, place, starter_safetensors)


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[Transformers]:
    with Transformers(reference.resolve(str(folder)), dtype="float32") as loaded:
        yield loaded


@pytest.fixture(scope="module")
def card(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)
    return model.eval(), AutoProcessor.from_pretrained(folder)


def picture(size: tuple[int, int], colour: str = "red") -> Image.Image:
    image = Image.new("RGB", size, "white")
    ImageDraw.Draw(image).ellipse((0, 0, size[0] // 2, size[1] // 2), fill=colour)
    return image


def asked(*parts: Any) -> list[dict[str, Any]]:
    """One message: pictures as they are, text as text."""
    content = [
        {"type": "text", "text": part} if isinstance(part, str) else {"type": "image", "image": part}
        for part in parts
    ]
    return [{"role": "user", "content": content}]


def by_the_card(
    card: tuple[Any, Any], messages: list[dict[str, Any]], unit: int
) -> tuple[list[int], torch.Tensor, str]:
    """(prompt, positions, answer) of the script on the model card."""
    from qwen_vl_utils import process_vision_info

    model, processor = card
    text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    third = unit == 32
    images, videos, more = process_vision_info(
        messages, image_patch_size=unit // 2, return_video_kwargs=True, return_video_metadata=third
    )
    told: dict[str, Any] = {}
    if rates := more.pop("fps", None):  # transformers 5 takes one rate for all, where the card gives a list
        told["fps"] = rates[0]
    if videos is not None and third:
        videos, metadata = map(list, zip(*videos, strict=True))
        told["video_metadata"] = metadata
    inputs = processor(
        text=[text], images=images, videos=videos, return_tensors="pt", do_resize=False, **told, **more
    )
    with torch.inference_mode():
        said = model.generate(**inputs, max_new_tokens=GREEDY.max_tokens, do_sample=False)
    positions = model.model.get_rope_index(**{k: v for k, v in inputs.items() if "pixel" not in k})[0]
    start = inputs["input_ids"].shape[1]
    return (
        inputs["input_ids"][0].tolist(),
        positions,
        processor.tokenizer.decode(said[0, start:], skip_special_tokens=True),
    )


def ours(engine: Transformers, messages: list[dict[str, Any]]) -> tuple[list[int], torch.Tensor, str]:
    scene = engine._prompt(engine._rendered(messages, None, None), engine._views(messages))[1]
    assert scene
    return scene.ids, scene.positions, text(engine, messages)


def text(engine: Transformers, messages: list[dict[str, Any]]) -> str:
    return "".join(piece.text for piece in engine.chat(messages, sampling=GREEDY))


@pytest.mark.parametrize("size", SIZES)
def test_a_picture_is_seen_as_the_card_shows_it(
    engine: Transformers, card: tuple[Any, Any], size: tuple[int, int]
) -> None:
    messages = asked(picture(size), "What is this?")
    theirs = by_the_card(card, messages, engine.capabilities.unit)
    mine = ours(engine, messages)
    assert mine[0] == theirs[0]
    assert torch.equal(mine[1], theirs[1])
    assert mine[2] == theirs[2]


def test_several_pictures_between_words(engine: Transformers, card: tuple[Any, Any]) -> None:
    messages = asked(
        "First", picture((97, 61)), "and then", picture((50, 120), "blue"), picture((97, 61)), "Compare."
    )
    theirs, mine = by_the_card(card, messages, engine.capabilities.unit), ours(engine, messages)
    assert (mine[0], mine[2]) == (theirs[0], theirs[2])
    assert torch.equal(mine[1], theirs[1])
