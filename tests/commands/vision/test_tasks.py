"""What `qwen vision` makes of answers, with an engine whose answers are written down."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from scripted import Scripted, end

from qwen_cli.commands.vision import command
from qwen_cli.engines.core.base import Piece, Usage, seeing
from qwen_cli.errors import EngineError, UsageError

BOX = '[{"bbox_2d": [100, 200, 300, 400], "label": "car"}]'
SOLID = '[{"bbox_3d": [0.5, 0.2, 4, 1.5, 1.4, 4.2, 0, 0.1, 0], "label": "car"}]'
Vision = Callable[..., Scripted]


def answer(text: str, reason: Any = "stop") -> list[Piece | BaseException]:
    return [Piece(text), end(reason)]


@pytest.fixture
def vision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Vision:
    """Run the command in a folder with `red.png` and `blue.png`, on the given answers."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QWEN_CONFIG", str(tmp_path / "config.toml"))
    for name in ("red", "blue"):
        Image.new("RGB", (640, 320), name).save(f"{name}.png")

    def run(*words: str, answers: list[Any], name: str = "Qwen3-VL", **flags: Any) -> Scripted:
        engine = Scripted(*answers, context=32_768)
        sees = {"vision": True, "video": True, "seeing": seeing(name)}
        engine.capabilities = replace(engine.capabilities, **{**sees, **flags.pop("can", {})})
        monkeypatch.setattr(command, "open_engine", lambda *_, **__: nullcontext(engine))
        command.vision(words=list(words), model="qwen3.5:2b", **flags)
        return engine

    return run


def question(engine: Scripted, request: int = 0) -> str:
    return str(engine.seen[request][0][-1]["content"][-1]["text"])


class TestCounting:
    def test_what_is_said_in_words_is_the_count(self, vision: Vision, capsys) -> None:
        vision("red.png", count="cars", answers=[answer("There are 5 cars.")])
        assert capsys.readouterr().out == "5\n"
        vision("red.png", count="cars", answers=[answer("There are no cars.")], as_json=True)
        assert json.loads(capsys.readouterr().out)["answer"] == {"count": 0, "labels": {}}

    def test_what_says_no_number_is_a_failure(self, vision: Vision, capsys) -> None:
        with pytest.raises(EngineError, match="not one number: 'There are several cars"):
            vision("red.png", count="cars", answers=[answer("There are several cars.")])
        assert capsys.readouterr().out == ""

    def test_each_picture_has_its_count(self, vision: Vision, capsys) -> None:
        done = vision("red.png", "blue.png", count="cars", answers=[answer(BOX), answer("Two.")])
        assert capsys.readouterr().out == "red.png: 1\nblue.png: 2\n"
        assert [len(messages[-1]["content"]) for messages, _ in done.seen] == [2, 2], "one picture each"


class TestLocating:
    def test_things_in_several_pictures_say_in_which(self, vision: Vision, capsys) -> None:
        vision("red.png", "blue.png", locate="the cars", answers=[answer(BOX), answer(BOX)], as_json=True)
        said = json.loads(capsys.readouterr().out)
        place = {"label": "car", "box": [64, 64, 192, 128]}
        assert said["answer"] == [{"input": "red.png", **place}, {"input": "blue.png", **place}]
        assert said["usage"]["prompt_tokens"] == 20, "of both requests"

    def test_that_one_of_several_answers_was_cut_is_told(self, vision: Vision, capsys) -> None:
        two = [answer(BOX, "length"), answer(BOX)]
        vision("red.png", "blue.png", locate="the cars", answers=two, as_json=True)
        assert json.loads(capsys.readouterr().out)["stop_reason"] == "length"

    def test_nothing_there_is_an_empty_list_but_talk_is_a_failure(self, vision: Vision, capsys) -> None:
        vision("red.png", locate="the dog", answers=[answer("There is no dog in the picture.")])
        assert capsys.readouterr().out == "[]\n"
        with pytest.raises(EngineError, match="no places: 'The car is on the left"):
            vision("red.png", locate="the car", answers=[answer("The car is on the left.")])

    def test_boxes_in_space_are_as_the_cookbook_has_them(self, vision: Vision, capsys) -> None:
        done = vision("red.png", locate="cars", solid=True, answers=[answer(SOLID)])
        assert "Find all cars in this image. For each car, provide its 3D bounding box." in question(done)
        (found,) = json.loads(capsys.readouterr().out)
        assert found == {"label": "car", "box_3d": [0.5, 0.2, 4.0, 1.5, 1.4, 4.2, 0.0, 0.1, 0.0]}
        with pytest.raises(UsageError, match="knows no boxes in space"):
            vision("red.png", locate="cars", solid=True, name="Qwen2.5-VL", answers=[])

    def test_lines_of_text_have_their_boxes(self, vision: Vision, capsys) -> None:
        lines = '[{"bbox_2d": [0, 0, 500, 100], "text_content": "EXIT"}]'
        done = vision("red.png", ocr=True, boxes=True, draw=Path("read.png"), answers=[answer(lines)])
        assert "Spotting all the text in the image with line-level" in question(done)
        assert json.loads(capsys.readouterr().out) == [{"label": "EXIT", "box": [0, 0, 320, 32]}]
        assert Path("read.png").exists()
        with pytest.raises(UsageError, match="knows no boxes of text lines"):
            vision("red.png", ocr=True, boxes=True, name="Qwen2-VL", answers=[])


class TestDrawing:
    def test_of_several_pictures_each_has_its_file(self, vision: Vision, capsys) -> None:
        two = [answer(BOX), answer("[]")]
        vision("red.png", "blue.png", locate="cars", draw=Path("new/found.png"), answers=two)
        drawn = [
            (Image.open("new/found-1.png"), (255, 0, 0)),
            (Image.open("new/found-2.png"), (0, 0, 255)),
        ]
        assert [image.getcolors(9) != [(640 * 320, color)] for image, color in drawn] == [True, False]

    @pytest.mark.parametrize("form", ["png", "jpg", "webp", "tif"])
    def test_what_was_drawn_before_is_drawn_anew(self, vision: Vision, form: str) -> None:
        for _ in range(2):
            vision("red.png", locate="cars", draw=Path(f"found.{form}"), answers=[answer(BOX)])

    @pytest.mark.parametrize(
        ("name", "fault"),
        [
            ("found.txt", r"`draw` writes .png, .jpg.*got 'found.txt'"),
            ("found", r"`draw` writes"),
            ("folder", "folder is a folder"),
            ("red.png/found.png", "red.png is no folder"),
            ("blue.png", "blue.png is there already and was not drawn by `qwen vision`"),
            ("red.png", "red.png is there already"),
            ("notes.jpg", "notes.jpg is there already"),
        ],
    )
    def test_a_name_that_cannot_be_is_told_before_a_model_loads(
        self, vision: Vision, monkeypatch: pytest.MonkeyPatch, name: str, fault: str
    ) -> None:
        Path("folder").mkdir()
        Path("notes.jpg").write_text("buy milk")
        before = {path: path.read_bytes() for path in Path().iterdir() if path.is_file()}
        monkeypatch.setattr(command, "open_engine", lambda *_, **__: pytest.fail("a model was loaded"))
        with pytest.raises(UsageError, match=fault):
            command.vision(words=["red.png"], locate="cars", draw=Path(name), model="none")
        assert before == {path: path.read_bytes() for path in before}

    def test_a_picture_is_not_drawn_over_itself(self, vision: Vision) -> None:
        vision("red.png", locate="cars", draw=Path("found.png"), answers=[answer(BOX)])
        with pytest.raises(UsageError, match="is the picture itself"):
            vision("found.png", locate="cars", draw=Path("found.png"), answers=[])


class TestWhatIsSaidBefore:
    @pytest.mark.parametrize("name", ["Qwen2.5-VL", "Qwen3-VL"])
    def test_a_system_prompt_stands_before_the_question(self, vision: Vision, name: str) -> None:
        done = vision("red.png", "What?", system="Be short.", name=name, answers=[answer("Red.")])
        assert done.seen[0][0][0] == {"role": "system", "content": "Be short."}
        done = vision("red.png", html=True, system="Be short.", name=name, answers=[answer("<p>Red</p>")])
        assert done.seen[0][0][0]["content"].endswith("Be short."), "after the generation's own"

    @pytest.mark.parametrize(
        ("flags", "wanted"),
        [({}, None), ({"think": True}, True), ({"think": False}, False), ({"thinking_budget": 64}, 64)],
    )
    @pytest.mark.parametrize("task", [{}, {"ocr": True}, {"count": "cars"}])
    def test_thinking_is_as_the_flags_say(
        self, vision: Vision, flags: dict[str, Any], wanted: Any, task: dict[str, Any]
    ) -> None:
        words = ("red.png",) if task else ("red.png", "What?")
        assert vision(*words, answers=[answer("5")], **flags, **task).asked[0][1] == wanted

    def test_a_model_that_does_not_think_says_so(self, vision: Vision) -> None:
        with pytest.raises(UsageError, match="does not think"):
            vision("red.png", "What?", think=True, can={"thinking": None}, answers=[])


@pytest.mark.parametrize("flag", ["fps", "start", "end"])
def test_times_of_a_picture_are_refused(vision: Vision, flag: str) -> None:
    with pytest.raises(UsageError, match=f"--{flag} is for videos, there is none"):
        vision("red.png", "What?", answers=[], **{flag: 2.0})


@pytest.mark.parametrize(
    ("flags", "fault"),
    [
        ({"ocr": True, "solid": True}, "--3d is for --locate"),
        ({"markdown": True, "boxes": True}, "--boxes is for --ocr"),
        ({"locate": "cars", "solid": True, "points": True}, "--3d and --points exclude each other"),
        ({"locate": "cars", "solid": True, "draw": Path("x.png")}, "--3d and --draw exclude each other"),
        ({"ocr": True, "draw": Path("x.png")}, "--points and --draw are for"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(vision: Vision, flags: dict[str, Any], fault: str) -> None:
    with pytest.raises(UsageError, match=fault):
        vision("red.png", answers=[], **flags)


def test_what_all_windows_cost_is_told(vision: Vision, capsys) -> None:
    import films

    films.make(Path("film.mp4"), 12, rate=1)
    said = [
        [Piece("Rain."), Piece(usage=Usage(prompt_tokens=100, cached_tokens=7, generated_tokens=3))],
        [Piece("Sun."), Piece(usage=Usage(prompt_tokens=90, generated_tokens=2))],
    ]
    whole = [Piece("Rain, then sun."), Piece(usage=Usage(prompt_tokens=40, generated_tokens=5))]
    done = vision("film.mp4", "What?", window=7.0, as_json=True, answers=[*said, whole])
    told = json.loads(capsys.readouterr().out)
    assert told["usage"] == {"prompt_tokens": 230, "cached_tokens": 7, "generated_tokens": 10}
    assert [thinking for _, thinking in done.asked] == [False, False, None]
    vision("film.mp4", events=True, window=7.0, as_json=True, answers=[list(one) for one in said])
    told = json.loads(capsys.readouterr().out)
    assert told["usage"] == {"prompt_tokens": 190, "cached_tokens": 7, "generated_tokens": 5}
    assert told["stop_reason"] == "stop"


def test_a_second_run_keeps_the_rows_of_the_first(vision: Vision) -> None:
    out = Path("out.jsonl")
    vision("red.png", count="cars", out=out, answers=[answer("5")])
    before = out.read_text()
    vision("blue.png", count="cars", out=out, answers=[answer("There are two.")])
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert out.read_text().startswith(before)
    assert [(row["input"], row["answer"]["count"]) for row in rows] == [("red.png", 5), ("blue.png", 2)]
    # Nor do fewer inputs, another order, or one that fails take any away.
    with pytest.raises(Exception):  # noqa: B017  the exit code
        vision("blue.png", "gone.png", count="cars", out=out, answers=[])
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["input"] for row in rows] == ["red.png", "blue.png", "gone.png"]
    with pytest.raises(UsageError, match="another"):
        vision("red.png", count="dogs", out=out, answers=[])
    with pytest.raises(UsageError, match="system"):
        vision("red.png", count="cars", system="Be brave.", out=out, answers=[])


class TestDetail:
    @pytest.mark.parametrize(
        ("words", "flags", "small"),
        [
            (("photo.jpg", "photo.jpg"), {}, [False, False]),
            (("photo.jpg#low", "photo.jpg"), {}, [True, False]),
            (("photo.jpg", "photo.jpg#LOW"), {}, [False, True]),
            (("*.jpg#low", "photo.jpg"), {}, [True, False]),
            (("photo.jpg", "photo.jpg"), {"detail": "low"}, [True, True]),
            (("photo.jpg#high", "photo.jpg"), {"detail": "low"}, [False, True]),
        ],
    )
    def test_each_picture_has_its_own(
        self, vision: Vision, words: tuple[str, ...], flags: dict[str, Any], small: list[bool]
    ) -> None:
        Image.new("RGB", (1600, 1200)).save("photo.jpg")
        done = vision(*words, "What?", answers=[answer("Black.")], **flags)
        shown = [part["image"].size for part in done.seen[0][0][-1]["content"][:-1]]
        assert [wide * high <= 512 * 512 for wide, high in shown] == small

    def test_a_file_that_is_called_so_is_meant(self, vision: Vision) -> None:
        Image.new("RGB", (1600, 1200)).save("photo.png")
        Path("photo.png").rename("photo.png#low")
        done = vision("photo.png#low", "What?", answers=[answer("Black.")])
        assert done.seen[0][0][-1]["content"][0]["image"].size == (1600, 1216)

    def test_it_is_low_or_high(self, vision: Vision) -> None:
        with pytest.raises(UsageError, match="--detail is low or high, got 'tiny'"):
            vision("red.png", "What?", detail="tiny", answers=[])
        with pytest.raises(UsageError, match="--detail low and --max-pixels exclude"):
            vision("red.png", "What?", detail="low", max_pixels=9, answers=[])


@pytest.mark.parametrize("out", [None, Path("out.jsonl")])
def test_pages_that_are_asked_about_alone_have_all_of_the_context(vision: Vision, out: Path | None) -> None:
    page = Image.new("RGB", (1600, 1200))
    page.save("scan.tif", save_all=True, append_images=[page, page])
    three = [answer("5")] * 3
    done = vision("scan.tif", count="cars", out=out, can={"context": 3_000}, answers=three)
    shown = [messages[-1]["content"][0]["image"].size for messages, _ in done.seen]
    assert shown == [(1600, 1216)] * 3


class TestCutPictures:
    @pytest.fixture
    def half(self, vision: Vision) -> str:
        Image.effect_noise((640, 480), 60).save("whole.jpg")
        data = Path("whole.jpg").read_bytes()
        Path("half.jpg").write_bytes(data[: len(data) // 2])
        return "half.jpg"

    def test_it_is_said_that_a_picture_is_cut_off(self, vision: Vision, half: str, capsys) -> None:
        vision(half, "What?", quiet=True, answers=[answer("Noise.")])
        assert "half.jpg is cut off" in capsys.readouterr().err

    def test_a_row_says_so_too(self, vision: Vision, half: str) -> None:
        vision(half, "red.png", "What?", out=Path("out.jsonl"), answers=[answer("Noise."), answer("Red.")])
        rows = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
        assert ["half.jpg is cut off" in str(row.get("remarks")) for row in rows] == [True, False]


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP"])
def test_times_of_an_animation(vision: Vision, form: str) -> None:
    frames = [Image.effect_noise((64, 64), place * 9 + 1).convert("RGB") for place in range(20)]
    frames[0].save(f"moving.{form.lower()}", form, save_all=True, append_images=frames[1:], duration=100)
    name = f"moving.{form.lower()}"
    for flags, count in [({}, 20), ({"fps": 5.0}, 10), ({"start": 0.5, "end": 1.1}, 6)]:
        done = vision(name, "What?", answers=[answer("Noise.")], **flags)
        assert len(done.seen[0][0][-1]["content"][0]["video"].frames) == count
