"""Pictures and videos within what the context holds."""

from __future__ import annotations

from dataclasses import replace

import films
import pytest
from PIL import Image
from scripted import Scripted

from qwen_cli.engines.core.base import seeing
from qwen_cli.errors import UsageError
from qwen_cli.media import video
from qwen_cli.media.inputs import Film, Picture
from qwen_cli.tasks.vision import prepare
from qwen_cli.tasks.vision.prepare import Detail


def model(context: int | None, *, as_video: bool = True) -> Scripted:
    engine = Scripted(context=context)
    engine.capabilities = replace(
        engine.capabilities, vision=True, video=as_video, seeing=seeing("Qwen2.5-VL")
    )
    return engine


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Film:
    """Ten seconds, two frames a second."""
    path = films.make(tmp_path_factory.mktemp("films") / "ten.mp4", 20, rate=2)
    return Film("ten.mp4", path)


@pytest.mark.parametrize("context", [None, 32_768, 1_200])
def test_a_video_is_read_once_however_small_it_must_be(
    film: Film, context: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[int, int]] = []
    true = video.filled
    monkeypatch.setattr(video, "filled", lambda clip, size, told: read.append(size) or true(clip, size, told))
    said: list[str] = []
    (look,) = prepare.prepare_all([film], model(context), notice=said.append)
    assert read == [(look.seen[1], look.seen[0])]
    clip = look.part["video"]
    assert tuple(clip.frames.shape) == (look.frames, 3, look.seen[1], look.seen[0])
    assert look.tokens == look.seen[0] * look.seen[1] // 28**2 * look.frames // 2
    assert look.tokens <= (context or 1 << 20) * 0.75
    assert bool(said) == (context == 1_200)


def test_frames_that_are_there_already_share_the_context_with_pictures() -> None:
    frames = tuple(Image.new("RGB", (560, 420), (value, 0, 0)) for value in range(0, 250, 50))
    items = [Film("frames", None, frames), Picture("photo", Image.new("RGB", (1600, 1200)))]
    heard: list[tuple[int, int]] = []
    looks = prepare.prepare_all(items, model(1_500), on_progress=lambda *done: heard.append(done))
    assert sum(look.tokens for look in looks) <= 1_500 * 0.75
    assert looks[0].frames == len(looks[0].part["video"].frames) == looks[0].frames // 2 * 2
    assert looks[1].part["image"].size == looks[1].seen
    assert heard[-1] == (len(heard), len(heard)), "each frame is made smaller once"


def test_what_a_plan_says_is_what_is_shown(film: Film) -> None:
    detail = Detail(max_pixels=200 * 28 * 28, max_frames=8)
    for item in (film, Picture("photo", Image.new("RGB", (801, 333)))):
        plan = prepare.plan(item, model(None).capabilities, detail)
        shown = plan.prepare(video.no_progress)
        assert replace(shown, part={}) == replace(plan.look, part={})
        assert "image" not in plan.look.part and "video" not in plan.look.part


def test_more_than_the_context_can_be_made_to_hold_is_refused() -> None:
    pictures = [Picture(f"p{number}", Image.new("RGB", (280, 280))) for number in range(200)]
    with pytest.raises(UsageError, match=r"200 inputs need 20,000 visual tokens, the context holds 256"):
        prepare.prepare_all(pictures, model(256))
