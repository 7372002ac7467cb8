"""Long videos in windows: which, what is asked of each, and what becomes of the answers."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import films
import pytest
from scripted import Scripted, end

from qwen_cli.commands.shared.logged import Recorder
from qwen_cli.commands.vision import output
from qwen_cli.engines.core.base import Piece, Sampling, seeing
from qwen_cli.media.inputs import Film
from qwen_cli.tasks.common.log import Entry
from qwen_cli.tasks.vision import windows
from qwen_cli.tasks.vision.prepare import Detail
from qwen_cli.tasks.vision.task import Job

ASK = Job("ask", "What happens?")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Film:
    """A minute, a frame a second."""
    path = films.make(tmp_path_factory.mktemp("films") / "minute.mp4", 60, rate=1)
    return Film("minute.mp4", path)


def model(
    *answers: str, name: str = "Qwen2.5-VL", context: int | None = 32_768, video: bool = True
) -> Scripted:
    engine = Scripted(*([Piece(text), end()] for text in answers), context=context)
    engine.capabilities = replace(engine.capabilities, vision=True, video=video, seeing=seeing(name))
    return engine


def test_what_one_look_covers_is_not_divided(film: Film) -> None:
    assert windows.windows(film, model(), Detail(), ASK) == []
    assert windows.covered(model(context=None), Detail()) == 768 * 5  # an hour


def test_a_small_context_covers_less(film: Film) -> None:
    found = windows.windows(film, model(context=600), Detail(), ASK)  # 6 frames, 5 s apart
    assert len(found) == 3
    assert (found[0][0], found[-1][1]) == (0.0, 60.0)
    assert all(one[1] > other[0] for one, other in pairwise(found))
    halved = windows.windows(film, model(context=600, video=False), Detail(), ASK)  # each is a picture
    assert len(halved) > len(found)


def test_a_rate_that_was_asked_for_is_kept(film: Film) -> None:
    assert len(windows.windows(film, model(), Detail(fps=1.0, max_frames=32), ASK)) == 2


def test_a_window_that_was_asked_for_is_taken(film: Film) -> None:
    found = windows.windows(film, model(), Detail(start=10, end=50), replace(ASK, window=22.0))
    assert [time for part in found for time in part] == pytest.approx([10, 31.1, 28.9, 50])


def test_frames_without_a_file_stay_together() -> None:
    still = Film("frames", None, (), tuple(float(second) for second in range(9_000)))
    assert windows.windows(still, model(), Detail(), ASK) == []


@pytest.mark.parametrize(("name", "counted"), [("Qwen2.5-VL", True), ("Qwen3-VL", False)])
def test_each_window_is_asked_and_the_answers_are_read_together(film: Film, name: str, counted: bool) -> None:
    engine = model("A dog runs.", "It sleeps.", "First a dog runs, from 0:30 on it sleeps.", name=name)
    parts = [(0.0, 33.0), (27.0, 60.0)]
    done: list[int] = []
    said = list(windows.answers(engine, film, parts, ASK, Detail(), Sampling(), on_progress=done.append))
    assert done == [0, 1, 2]
    assert [one.text for one in said] == ["A dog runs.", "It sleeps."]
    asked = engine.seen[1][0][0]["content"]
    assert "from 0:27 to 1:00 of a video of 1:00" in asked[-1]["text"]
    assert asked[-1]["text"].endswith("What happens?")
    assert asked[0]["video"].times[0] == pytest.approx(27.0)
    pieces = list(windows.merged(engine, said, ASK, Sampling()))
    assert pieces[0].text == "First a dog runs, from 0:30 on it sleeps."
    together = engine.seen[2][0][0]["content"]
    assert "[0:00 to 0:33] A dog runs." in together
    assert ("[0:27 to 1:00, times in it count from 0:27] It sleeps." in together) is counted
    assert together.endswith("What happens?")


def test_no_window_keeps_its_frames(film: Film) -> None:
    (one,) = windows.answers(model("x"), film, [(0.0, 60.0)], ASK, Detail(), Sampling())
    assert one.look.part == {}
    assert one.look.tokens > 0


def test_windows_answer_so_briefly_that_all_are_read_at_once() -> None:
    parts = [(float(start), start + 1.0) for start in range(10)]
    assert windows.brief(model(context=2000), parts, Sampling()).max_tokens == 100
    assert windows.brief(model(context=2000), parts, Sampling(max_tokens=20)).max_tokens == 20


def test_events_of_windows_become_one_list(film: Film) -> None:
    told = '[{"start": 0, "end": 3, "what": "A dog runs."}]'
    engine = model(told, told)
    parts = [(0.0, 33.0), (27.0, 60.0)]
    said = list(windows.answers(engine, film, parts, Job("events"), Detail(), Sampling()))
    assert windows.events(said).data == [
        {"start": 0.0, "end": 3.0, "what": "A dog runs."},
        {"start": 27.0, "end": 30.0, "what": "A dog runs."},
    ]


def test_windows_whose_answers_were_cut_are_told_and_say_so_in_json(
    film: Film, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = model()
    engine.answers = [
        [Piece("A dog"), end("length")],
        [Piece("It sleeps."), end()],
        [Piece("First a"), end("length")],
    ]
    output.in_windows(
        engine,
        film,
        [(0.0, 33.0), (27.0, 60.0)],
        ASK,
        Detail(),
        Sampling(max_tokens=3),
        recorder := Recorder(Entry("vision", ""), None),
        as_json=True,
    )
    assert recorder.done(1.0).cut

    printed = capsys.readouterr()
    shown = json.loads(printed.out)
    assert [row["stop_reason"] for row in shown["windows"]] == ["length", "stop"]
    assert shown["stop_reason"] == "length"
    assert "1 of the 2 windows' answers were cut" in printed.err
    assert "the answer was cut after 3 tokens. Raise --max-tokens" in printed.err
