"""`qwen math` as a person runs it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest
import small_models
from PIL import Image

from qwen_cli.engines.core.base import Piece
from tests.serve import played
from tests.serve.played import Asked, Here, Played

STARTER = ("--model", "starter", "--context", "2048")


def test_a_problem_is_solved_with_a_program(warm) -> None:
    done = warm("math", "What is 123 times 456?", "--mode", "tir", "--json", *STARTER)
    trace = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert trace["runs"][0]["status"] == "ok"
    assert (trace["answer"], trace["check"]) == ("56088", "code")


def test_quiet_prints_the_answer_alone(qwen) -> None:
    done = qwen("math", "--quiet", "--mode", "cot", *STARTER, stdin="What is 2 + 3?")
    assert (done.returncode, done.stdout) == (0, "5\n")


def test_samples_vote(warm) -> None:
    asked = ("What is 2 + 3?", "--mode", "cot", "--samples", "3", "--seed", "1", "--json", *STARTER)
    trace = json.loads(warm("math", *asked).stdout)
    assert trace["check"] == "vote"
    assert 2 <= trace["votes"] <= trace["samples"] <= 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["  "], "the problem is empty"),
        ([], "the problem is empty"),
        (["x", "--mode", "best"], "'best'"),
        (["x", "--lang", "fr"], "'fr'"),
        (["x", "--samples", "0"], "--samples"),
        (["x", "--sandbox", "maybe"], "'maybe'"),
        (["x", "--sandbox", "off"], "a yes from a terminal"),
        (["x", "--image", "no-such.png"], "no-such.png"),
        (["x", "--image", __file__], "is not a whole picture of a known format"),
        (["x", "--quiet", "--json"], "exclude each other"),
        (["x", "--out", "y.jsonl"], "many problems"),
        (["-f", "no-such.tex"], "no-such.tex"),
        (["-f", "problems.jsonl"], "--out"),
        (["-f", "problems.jsonl", "--out", "o.jsonl", "--save-plots", "plots"], "--save-plots"),
    ],
)
def test_bad_input_is_one_line(qwen, arguments: list[str], said: str) -> None:
    done = qwen("math", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_a_model_without_eyes_says_so(qwen, tmp_path: Path) -> None:
    picture = tmp_path / "problem.png"
    Image.new("RGB", (32, 32)).save(picture)
    done = qwen("math", "--image", str(picture), *STARTER)
    assert (done.returncode, done.stdout) == (2, "")
    assert "sees no pictures" in done.stderr


def test_a_problem_may_be_a_picture(qwen, tmp_path: Path, starter_safetensors: Path) -> None:
    model = small_models.make_seeing("Qwen2_5_VL", tmp_path / "vl", starter_safetensors)
    Image.effect_noise((320, 240), 60).convert("RGB").save(tmp_path / "sheet.png")
    asked = ("--image", str(tmp_path / "sheet.png"), "--mode", "cot", "--json", "--max-tokens", "4")
    seeing = ("--model", str(model), "--engine", "transformers")
    done = qwen("math", "Solve it.", *asked, *seeing)
    trace = json.loads(done.stdout)
    # The weights are random: what matters is that the picture's 99 tokens were in the prompt.
    assert (done.returncode, trace["stop_reason"]) == (1, "length"), done.stderr
    assert trace["usage"]["prompt_tokens"] > 99
    assert trace["solution"]


def multiplied(asked: Asked) -> str:
    """Write a program, and box what it said."""
    said = re.search(r"output\n(\d+)", str(asked.messages[-1]["content"]))
    return f"It is \\boxed{{{said[1]}}}." if said else "```python\nprint(123 * 456)\n```\n"


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 1)])
def test_without_the_sandbox_it_asks_first(answer: str, code: int, home: Path) -> None:
    with played.serving(Played(multiplied)) as server:
        asked = ["math", "What is 123 times 456?", "--mode", "tir", "--sandbox", "off"]
        command = ["-m", "qwen_cli", *asked, "--endpoint", server.url]
        terminal = pexpect.spawn(sys.executable, command, encoding="utf-8", timeout=120)
        terminal.expect("Run them all the same")
        assert "can read, change and delete your files" in " ".join(terminal.before.split())
        terminal.sendline(answer)
        terminal.expect("56088" if code == 0 else pexpect.EOF)
        terminal.expect(pexpect.EOF)
        terminal.close()
        assert terminal.exitstatus == code


def test_a_reward_model_chooses(qwen, tmp_path: Path, starter_safetensors: Path) -> None:
    said = iter(range(100))
    engine = Played(lambda asked: f"2 and 3, so \\boxed{{{5 + next(said) % 2}}}.")
    reward = small_models.make_reward(tmp_path / "prm", starter_safetensors)
    asked = (
        "What is 2 + 3?",
        "--mode",
        "cot",
        "--samples",
        "3",
        "--rm",
        str(reward),
        "--seed",
        "1",
        "--json",
    )
    with played.serving(engine) as server:
        done = qwen("math", *asked, "--endpoint", server.url)
    trace = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert (trace["check"], trace["samples"]) == ("reward", 3)
    assert trace["answer"] in ("5", "6")
    assert 0 <= trace["score"] <= 1
    refused = qwen("math", "x", "--rm", str(starter_safetensors), *STARTER)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "is no reward model" in refused.stderr


def test_a_model_that_never_boxes_leaves_with_1(warm) -> None:
    done = warm("math", "What is 2 + 3?", "--mode", "cot", "--max-tokens", "2", *STARTER)
    assert done.returncode == 1
    assert "no answer: it was cut at --max-tokens" in done.stderr


@pytest.mark.parametrize("given", ["notes.txt", "problems.jsonl", "."])
def test_an_out_that_is_something_else_is_named_before_a_model_is_looked_for(
    qwen, tmp_path: Path, given: str
) -> None:
    (tmp_path / "notes.txt").write_text("buy milk")
    (tmp_path / "problems.jsonl").write_text('{"problem": "1 + 1"}\n{"problem": "1 + 2"}')
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    asked = ("-f", str(tmp_path / "problems.jsonl"), "--out", str(tmp_path / given))
    done = qwen("math", *asked, "--model", "no-such-model")
    assert (done.returncode, done.stdout) == (2, "")
    assert "cannot hold results" in done.stderr
    assert done.stderr.count("\n") == 1
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


@pytest.fixture
def adding() -> Iterator[tuple[Here, threading.Event]]:
    """A server that answers "What is N + M?", wrongly of 1, and 2 only once the event is set."""
    goes_on = threading.Event()

    def answer(asked: Asked) -> Iterator[Piece]:
        one, other = map(int, re.findall(r"(\d+) \+ (\d+)", str(asked.messages[-1]["content"]))[0])
        yield Piece("It is ")
        if one == 2:
            goes_on.wait(120)
        yield Piece(f"\\boxed{{{one + other if one != 1 else 0}}}.")
        yield played.end()

    with played.serving(Played(answer)) as server:
        yield server, goes_on
        goes_on.set()


def test_a_batch_that_was_killed_goes_on_to_the_same_file(
    qwen, tmp_path: Path, home: Path, adding: tuple[Here, threading.Event]
) -> None:
    server, goes_on = adding
    rows = [{"id": f"p{n}", "problem": f"What is {n} + {n + 1}?", "answer": str(2 * n + 1)} for n in range(4)]
    asked = tmp_path / "problems.jsonl"
    asked.write_text("".join(json.dumps(row) + "\n" for row in rows) + "{broken\n")
    out, export = tmp_path / "out.jsonl", tmp_path / "sft.jsonl"
    batch = ["math", "-f", str(asked), "--out", str(out), "--mode", "cot", "--parallel", "1"]
    batch += ["--endpoint", server.url]
    process = subprocess.Popen([sys.executable, "-m", "qwen_cli", *batch], env=os.environ)
    while not (out.exists() and out.read_bytes().count(b"\n") >= 2):
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    goes_on.set()
    kept = out.read_text().splitlines()[:2]
    done = qwen(*batch, "--export", str(export))
    assert done.returncode == 0, done.stderr
    assert "line 5" in done.stderr
    assert "are there already" in done.stderr
    found = out.read_text().splitlines()
    assert found[:2] == kept
    assert [json.loads(line)["id"] for line in found] == [row["id"] for row in rows]
    assert [json.loads(line)["correct"] for line in found] == [True, False, True, True]
    assert "(3 of 4" in done.stdout
    assert len(export.read_text().splitlines()) == 3
    fewer = qwen(*batch, "--limit", "2")
    assert "2 of 2 are there already" in fewer.stderr
    assert out.read_text().splitlines() == found
