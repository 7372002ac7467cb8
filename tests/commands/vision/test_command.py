"""`qwen vision` as a person runs it. What the model says is no matter here: its weights are random."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import gguf_files
import pytest
import small_models
from PIL import Image, ImageDraw
from terminal import Terminal

from qwen_cli.commands import main


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, starter_safetensors: Path) -> tuple[str, ...]:
    folder = small_models.make_seeing("Qwen2_5_VL", tmp_path_factory.mktemp("vl"), starter_safetensors)
    return ("--model", str(folder), "--engine", "transformers", "--temperature", "0", "--max-tokens", "8")


@pytest.fixture
def photo(tmp_path: Path) -> str:
    image = Image.new("RGB", (320, 240), "white")
    ImageDraw.Draw(image).ellipse((20, 20, 120, 120), fill="red")
    image.save(tmp_path / "photo.png")
    return str(tmp_path / "photo.png")


def test_a_question_is_answered_on_stdout_and_its_cost_told_on_stderr(qwen, model, photo: str) -> None:
    done = qwen("vision", photo, "What", "is", "this?", *model)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert done.stderr.splitlines() == [
        f"{photo}: 308 × 252 (from 320 × 240), 99 tokens",
        "the answer was cut after 8 tokens. Raise --max-tokens",
    ]
    trace = json.loads(qwen("vision", photo, "What is this?", "--json", *model).stdout)
    assert trace["answer"] == done.stdout.strip()
    assert trace["inputs"] == [{"name": photo, "seen": [308, 252], "tokens": 99}]


def test_a_dry_run_tells_the_cost_and_asks_nothing(qwen, model, photo: str) -> None:
    done = qwen("vision", photo, photo, "--resize", "56x84", "--dry-run", "--json", *model)
    one = {"name": photo, "width": 56, "height": 84, "frames": 0, "tokens": 6}
    assert json.loads(done.stdout) == {"inputs": [one, one], "tokens": 12, "context": 2048}


def test_a_dry_run_loads_and_fetches_nothing(
    photo: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a model that is not here, too, and of one whose weights are no weights."""

    def never(*given: object, **more: object) -> None:
        raise AssertionError("something is loaded or fetched")

    for name in ("qwen_cli.engines.load.open_engine", "qwen_cli.models.hub.download.pull"):
        monkeypatch.setattr(name, never)

    def costs(model: str) -> dict[str, Any]:
        monkeypatch.setattr("sys.argv", ["qwen", "vision", photo, "--dry-run", "--json", "-m", model])
        with pytest.raises(SystemExit) as left:
            main.main()
        written = capsys.readouterr()
        assert not left.value.code, written.err
        told: dict[str, Any] = json.loads(written.out)
        return told

    assert costs("qwen3-vl:2b") == {
        "inputs": [{"name": photo, "width": 320, "height": 256, "frames": 0, "tokens": 80}],
        "tokens": 80,
        "context": 16_384,
    }
    model = gguf_files.write(home / "Qwen3VL-2B-Q4_K_M.gguf", "qwen3vl")
    gguf_files.write(home / "mmproj-Qwen3VL-2B-F16.gguf", "clip")
    assert costs(str(model))["tokens"] == 80
    assert costs(str(model))["context"] == 2048


def test_what_does_not_fit_is_shown_smaller_and_that_is_said(qwen, model, tmp_path: Path) -> None:
    Image.new("RGB", (3000, 2000), "white").save(tmp_path / "p.png")
    done = qwen("vision", str(tmp_path / "p.png"), "What?", "--quiet", *model)
    assert done.returncode == 0, done.stderr
    assert "do not fit a context of 2,048: shown smaller" in done.stderr


ASSETS = Path(__file__).parents[2] / "assets"
ENDS = ("--model", str(ASSETS / "tiny-qwen2.5-vl"), "--engine", "transformers", "--temperature", "0")
"""A model that ends its answers by itself; it wants pictures of 112 pixels."""
SMALL = ("--min-pixels", "12544", "--max-pixels", "12544")


def read(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.read_text().splitlines()]


def test_many_inputs_are_a_line_each_and_go_on_where_they_were(qwen, photo: str, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    other, broken, late = (str(tmp_path / name) for name in ("other.jpg", "broken.png", "late.png"))
    Image.open(photo).convert("RGB").save(other)
    Path(broken).write_bytes(Path(photo).read_bytes()[:200])
    asked = ("What is in the picture?", "--out", str(out), *SMALL, *ENDS)
    done = qwen("vision", photo, broken, other, *asked)
    assert done.returncode == 1, done.stderr
    assert [row["input"] for row in read(out)] == [photo, broken, other]
    assert ["error" in row for row in read(out)] == [False, True, False]
    assert read(out)[0]["stop_reason"] == "stop"
    assert "2 of 3 answered" in done.stdout
    Path(broken).write_bytes(Path(photo).read_bytes())
    again = qwen("vision", photo, broken, other, *asked)
    assert again.returncode == 0, again.stderr
    assert "2 of 3 are there already" in again.stderr
    assert all("answer" in row for row in read(out))
    # Other inputs come to those that are there.
    Path(late).write_bytes(Path(photo).read_bytes())
    more = qwen("vision", late, *asked)
    assert (more.returncode, more.stdout) == (0, f"1 of 1 answered, in {out}\n"), more.stderr
    assert [row["input"] for row in read(out)] == [photo, broken, other, late]
    kept = out.read_bytes()
    for another in (("Another question?",), ("What is in the picture?", "--fps", "1")):
        refused = qwen("vision", photo, *another, "--out", str(out), *SMALL, *ENDS)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert "another" in refused.stderr
        assert out.read_bytes() == kept


def test_a_cut_answer_is_told_and_is_a_failed_row(qwen, photo: str, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    asked = ("vision", photo, "What is in the picture?", *SMALL, *ENDS)
    cut = qwen(*asked, "--max-tokens", "2", "--out", str(out))
    (row,) = read(out)
    assert (cut.returncode, cut.stdout) == (1, f"0 of 1 answered, in {out}\n")
    assert row["stop_reason"] == "length"
    assert row["error"] == "the answer was cut after 2 tokens. Raise --max-tokens"
    whole = qwen(*asked, "--out", str(out))  # more tokens are no other question
    assert whole.returncode == 0, whole.stderr
    (found,) = read(out)
    assert found["answer"].startswith(row["answer"])
    assert found["stop_reason"] == "stop"
    assert "error" not in found
    one = qwen(*asked, "--max-tokens", "2", "--json")
    assert json.loads(one.stdout)["stop_reason"] == "length"
    assert "cut after 2 tokens" in one.stderr


def test_a_file_of_something_else_is_named_before_a_model_is_looked_for(
    qwen, photo: str, tmp_path: Path
) -> None:
    out = tmp_path / "notes.txt"
    out.write_text("buy milk")
    done = qwen("vision", photo, "What?", "--out", str(out), "--model", "no-such-model")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (f"qwen: {out} cannot hold results: it is something else. Give another --out\n")
    assert out.read_text() == "buy milk"


def test_questions_are_asked_for_and_the_picture_is_looked_at_once(
    home: Path, model, photo: str, tmp_path: Path
) -> None:
    it = Terminal([sys.executable, "-m", "qwen_cli", "vision", photo, "--no-show", *model], tmp_path)
    it.wait(r"(?s)99 tokens.*Ctrl-D leaves.*^>$", 120)

    def computed() -> int:
        """Tokens of the last prompt that were not in the cache."""
        told = re.compile(r"prompt: (\d+) tokens, (\d+) of them from the cache")
        before = len(told.findall(it.text))
        it.say("/stats")
        it.wait(lambda: it.read() and len(told.findall(it.text)) > before)
        it.wait("^>$")
        prompt, cached = map(int, told.findall(it.text)[-1])
        return prompt - cached

    it.say("What is this?")
    it.wait_for_prompt("What is this?")
    assert computed() > 99
    for line in ("And its colour?", "/retry"):
        it.say(line)
        it.wait_for_prompt(line)
        assert computed() < 60, "the picture was in the cache"
    it.say("/clear")
    it.wait("a new conversation")
    it.say("Where is it?")
    it.wait_for_prompt("Where is it?")
    assert computed() < 60, "it still is"
    it.say("/save photo")
    it.wait("saved as photo")
    it.say("/quit")
    assert it.wait_for_end() == 0
    first = json.loads((home / "sessions" / "photo.json").read_text())["messages"][0]["content"]
    assert first[0]["image_url"]["url"].startswith("data:image/png;base64,")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing to look at"),
        (["no-such.png", "What?"], "no-such.png"),
        (["{picture}"], "there is no question"),
        (["{picture}", "--ocr", "--html"], "exclude each other"),
        (["{picture}", "x", "--points"], "--locate"),
        (["{picture}", "--locate", " "], "--locate is empty"),
        (["{picture}", "x", "--resize", "big"], "'big'"),
        (["{picture}", "x", "--quiet", "--json"], "exclude each other"),
        (["{picture}", "x", "--start", "5", "--end", "2"], "--end 2"),
        (["{picture}", "x", "--out", "o.jsonl", "--dry-run"], "--dry-run and --out"),
        (["{picture}", "--locate", "x", "--out", "o.jsonl", "--draw", "d.png"], "--draw and --out"),
        (["{picture}", "--events", "--out", "o.jsonl"], "--events and --out"),
        (["{picture}", "--extract", "no-such.json"], "no-such.json"),
        (["{text}", "What?"], "text.png"),
        (["{long}", "What?"], "200 times"),
        (["http://127.0.0.1:9/x.png", "What?"], "--allow-local-urls"),
    ],
)
def test_bad_input_is_one_line(qwen, tmp_path: Path, arguments: list[str], said: str) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "picture.png")
    (tmp_path / "text.png").write_text("no picture")
    Image.new("RGB", (3000, 10)).save(tmp_path / "long.png")
    names = {name: str(tmp_path / f"{name}.png") for name in ("picture", "text", "long")}
    done = qwen("vision", *[a.format(**names) for a in arguments], "--model", "starter")
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_a_model_without_eyes_says_so(qwen, photo: str) -> None:
    done = qwen("vision", photo, "What?", "--model", "starter", "--context", "1024")
    assert (done.returncode, done.stdout) == (2, "")
    assert "sees no pictures" in done.stderr
