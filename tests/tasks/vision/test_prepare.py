"""Pictures and videos within what the context holds."""

from __future__ import annotations

import base64
from dataclasses import replace
from io import BytesIO
from typing import Any

import films
import pytest
from PIL import Image, ImageChops
from scripted import Scripted

from qwen_cli.engines.core.base import seeing
from qwen_cli.engines.core.content import wire
from qwen_cli.errors import UsageError
from qwen_cli.media import images, video
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


class TestForServers:
    """What is sent of a picture. The server resizes by the rule of `smart_resize` too."""

    def file(self, form: str, size: tuple[int, int] = (1000, 700), **settings: Any) -> bytes:
        written = BytesIO()
        Image.effect_noise(size, 60).convert("RGB").save(written, form, **settings)
        return written.getvalue()

    def sent(
        self, data: bytes, detail: Detail | None = None, name: str = "Qwen3-VL", **can: Any
    ) -> tuple[str, bytes]:
        """Return the form and the bytes."""
        engine = model(None)
        sees = {"pictures": ("jpeg", "png"), "seeing": seeing(name), **can}
        engine.capabilities = replace(engine.capabilities, **sees)
        (still,) = images.stills(data, "photo")
        item = Picture("photo", still.image, encoded=still.encoded, lossy=still.lossy)
        (look,) = prepare.prepare_all([item], engine, detail or Detail())
        (part,) = wire(look.part)
        head, _, told = part["image_url"]["url"].partition(";base64,")
        return head.removeprefix("data:image/"), base64.b64decode(told)

    @pytest.mark.parametrize("form", ["JPEG", "PNG"])
    def test_a_file_goes_as_it_is(self, form: str) -> None:
        data = self.file(form)
        assert self.sent(data) == (form.lower(), data)

    def test_only_a_server_that_reads_webp_gets_it(self) -> None:
        data = self.file("WEBP", lossless=True)
        assert self.sent(data, pictures=("jpeg", "png", "webp")) == ("webp", data)
        assert self.sent(data)[0] == "png"

    def test_where_the_picture_was_taken_is_not_told(self) -> None:
        about = Image.Exif()
        about.get_ifd(0x8825)[1] = "N"
        about[0x010E] = "at home"
        data = self.file("JPEG", exif=about)
        form, told = self.sent(data)
        assert (form, b"at home" in data, b"at home" in told) == ("jpeg", True, False)
        assert len(told) > len(data) * 0.9

    @pytest.mark.parametrize(
        ("detail", "size"),
        [
            (Detail(resize=(320, 320)), (320, 320)),
            (Detail(max_pixels=320 * 320), (352, 256)),
            (Detail(min_pixels=2_000_000), (1696, 1184)),
        ],
    )
    def test_of_another_size_a_photograph_stays_a_jpeg(self, detail: Detail, size: tuple[int, int]) -> None:
        form, told = self.sent(self.file("JPEG"), detail)
        assert (form, Image.open(BytesIO(told)).size) == ("jpeg", size)
        form, told = self.sent(self.file("PNG"), detail)
        assert (form, Image.open(BytesIO(told)).size) == ("png", size)

    def test_above_what_a_model_sees_it_is_made_smaller_here(self) -> None:
        form, told = self.sent(self.file("JPEG", (4500, 4200)))
        wide, high = Image.open(BytesIO(told)).size
        assert form == "jpeg"
        assert wide * high <= 16_384 * 32**2

    def test_held_sideways_it_goes_upright(self) -> None:
        about = Image.Exif()
        about[0x0112] = 6
        data = self.file("JPEG", exif=about)
        form, told = self.sent(data)
        seen = Image.open(BytesIO(told))
        assert (form, seen.size, dict(seen.getexif())) == ("jpeg", (704, 992), {})
        upright = images.decode(data, "photo").resize((704, 992))
        furthest = max(high for _, high in ImageChops.difference(seen.convert("RGB"), upright).getextrema())
        assert furthest < 24, "as it was, but for rounding"

    def test_where_pixels_are_counted_the_very_size_is_sent(self) -> None:
        data = self.file("JPEG")
        exact = Detail(exact=True)
        assert self.sent(data, exact, "Qwen2.5-VL")[1] != data
        fitting = self.file("JPEG", (980, 700))
        assert self.sent(fitting, exact, "Qwen2.5-VL") == ("jpeg", fitting)

    def test_an_engine_that_is_given_pixels_is_sent_no_file(self) -> None:
        assert self.sent(self.file("JPEG"), pictures=())[0] == "png"


def test_what_a_picture_lacks_is_told() -> None:
    said: list[str] = []
    cut = Picture("p", Image.new("RGB", (64, 64)), "p is cut off", whole=False)
    prepare.prepare_all([cut], model(None), notice=said.append)
    assert said == ["p is cut off"]


class TestFramesWithoutAFile:
    """Animations, which have times, and folders of frames, which have none."""

    def film(self, times: tuple[float, ...] = (), count: int = 20) -> Film:
        frames = tuple(Image.new("RGB", (64, 64), (place * 10, 0, 0)) for place in range(len(times) or count))
        return Film("moving", None, frames, times)

    def shown(self, film: Film, **wished: Any) -> tuple[list[int], list[float]]:
        """Return which frames are shown, and when."""
        (look,) = prepare.prepare_all([film], model(None), Detail(**wished))
        clip = look.part["video"]
        assert len(clip.times) == len(clip.frames) == look.frames
        return [round(int(frame[0, 0, 0]) / 10) for frame in clip.frames], [round(t, 3) for t in clip.times]

    TENTHS = tuple(place / 10 for place in range(20))

    def test_all_are_shown_where_nothing_is_said(self) -> None:
        assert self.shown(self.film(self.TENTHS)) == (list(range(20)), list(self.TENTHS))

    @pytest.mark.parametrize(("fps", "count"), [(2.0, 4), (5.0, 10), (30.0, 20), (0.1, 4)])
    def test_so_many_of_each_second(self, fps: float, count: int) -> None:
        places, times = self.shown(self.film(self.TENTHS), fps=fps)
        assert len(places) == count
        assert (places[0], places[-1], times[-1]) == (0, 19, 1.9)
        assert times == sorted(times)

    def test_a_frame_that_is_shown_for_long_is_shown_more_often(self) -> None:
        times = (0.0, 0.1, 0.2, 0.3, 8.0, 8.1, 8.2, 8.3, 8.4, 8.5, 8.6, 8.7)
        places, _ = self.shown(self.film(times), fps=1.0)
        assert places.count(3) >= 6

    def test_between_two_times(self) -> None:
        places, times = self.shown(self.film(self.TENTHS), start=0.5, end=1.1)
        assert (places, times) == ([5, 6, 7, 8, 9, 10], [0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
        assert self.shown(self.film(self.TENTHS), start=1.55)[0][0] == 15, "it is still shown then"
        assert self.shown(self.film(self.TENTHS), start=0.5, end=1.5, fps=4.0)[0] == [5, 8, 11, 14]

    def test_the_rate_of_a_folder_is_what_is_said(self) -> None:
        assert self.shown(self.film()) == (list(range(20)), [place / 2 for place in range(20)])
        assert self.shown(self.film(), fps=10.0)[1][-1] == 1.9
        places, times = self.shown(self.film(), fps=10.0, start=1.0, end=1.4)
        assert (places, times) == ([10, 11, 12, 13], [1.0, 1.1, 1.2, 1.3])

    @pytest.mark.parametrize("times", [TENTHS, ()])
    def test_a_time_after_the_end_is_refused(self, times: tuple[float, ...]) -> None:
        with pytest.raises(UsageError, match=r"'moving' lasts (2|10)\.00 s, it has no frame at 60 s"):
            self.shown(self.film(times), start=60.0)


def test_one_of_two_pictures_in_few_pixels() -> None:
    large = Image.new("RGB", (2048, 1024))
    items = [Picture("low", large, max_pixels=512 * 512), Picture("high", large)]
    low, high = prepare.prepare_all(items, model(None))
    assert low.seen[0] * low.seen[1] <= 512 * 512
    assert high.seen == (2044, 1036)
