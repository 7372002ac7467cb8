"""The prompt of `qwen math`: each line is a problem, and slash commands are about the last one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from PIL import Image
from scripted import Scripted, end
from typing_at import At, at_prompt

from qwen_cli.commands.chat import slash_messages
from qwen_cli.commands.chat.slash_table import COMMANDS as CHAT
from qwen_cli.commands.math import repl
from qwen_cli.commands.shared import slash
from qwen_cli.engines.core.base import Piece, Sampling
from qwen_cli.errors import EngineError
from qwen_cli.tasks.math.solve import SolveOptions

Math = Callable[..., At]
FOUR, FIVE = r"So it is \boxed{4}.", r"It is \boxed{5}."


@pytest.fixture
def math(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Math:
    """The prompt of `qwen math`, before an engine that writes `solutions` in turn."""
    monkeypatch.setenv("QWEN_HOME", str(tmp_path / "home"))
    for name in ("EDITOR", "VISUAL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)

    def begin(*solutions: str | list[Any], vision: bool = False, **options: Any) -> At:
        engine = Scripted(*([Piece(s), end()] if isinstance(s, str) else s for s in solutions), context=4096)
        engine.capabilities = replace(engine.capabilities, vision=vision, thinking=None)
        solving = SolveOptions(**{"mode": "cot", **options})
        return at_prompt(
            lambda: repl.run(cast("Any", engine), solving, lambda name: cast("Any", None), None),
            monkeypatch,
            capsys,
        )

    return begin


@pytest.fixture
def clipboard(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was copied."""
    copied: list[str] = []
    monkeypatch.setattr(slash_messages.clipboard, "copy", lambda text: copied.append(text) or "a clipboard")
    return copied


def problems(at: At) -> list[str]:
    """What each request asks to be solved."""
    return [str(messages[-1]["content"]) for messages, _ in at.state.conversation.engine.seen]


def test_each_line_is_a_problem_by_itself(math: Math) -> None:
    at = math(FOUR, FIVE)
    assert at("What is 2 + 2?") == at("What is 2 + 3?") == ""
    assert [line for line in at.answers.splitlines() if line.startswith("answer")] == [
        "answer: 4 (not verified)",
        "answer: 5 (not verified)",
    ]
    assert "2 + 2" in problems(at)[0] and "2 + 2" not in problems(at)[1]


def test_retry_solves_the_last_problem_again(math: Math) -> None:
    at = math(FIVE, FOUR)
    at("What is 2 + 2?")
    at("/retry")
    assert problems(at)[0] == problems(at)[1]
    assert at.state.checked.answer == "4"
    assert [m["role"] for m in at.state.conversation.messages] == ["user", "assistant"]


def test_retry_after_a_fault_solves_what_had_no_solution(math: Math) -> None:
    at = math([EngineError("the server went away")], FOUR)
    assert at("What is 2 + 2?") == "the server went away"
    assert "answer" not in at.answers
    at("/retry")
    assert at.state.checked.answer == "4"


def test_edit_changes_the_problem_and_has_it_solved(math: Math) -> None:
    at = math(FOUR, FIVE)
    at("What is 2 + 2?")
    at.typed.lines = ["What is 2 + 3?"]
    at("/edit")
    assert at.typed.shown == ["What is 2 + 2?"]
    assert "2 + 3" in problems(at)[1]
    assert at.state.checked.answer == "5"


def test_copy_takes_the_answer_and_the_program(math: Math, clipboard: list[str]) -> None:
    at = math("```python\nprint(2 + 2)\n```\n", FOUR, mode="tir")
    at("What is 2 + 2?")
    assert at("/copy") == "copied 1 characters to a clipboard"
    at("/copy code")
    assert [text.strip() for text in clipboard] == ["4", "print(2 + 2)"]


def test_copy_takes_all_of_a_solution_without_an_answer(math: Math, clipboard: list[str]) -> None:
    at = math("I do not know.")
    assert at("What is 2 + 2?").startswith("no answer: ")
    at("/copy")
    assert clipboard == ["I do not know."]
    assert at("/copy code") == "the last answer has no code block. /copy takes all of it"


def test_set_and_think_reach_the_next_problem(math: Math) -> None:
    at = math(FOUR, FOUR, sampling=Sampling(seed=3))
    engine = at.state.conversation.engine
    engine.defaults = Sampling(temperature=0.7, top_k=20)
    assert at("/set max_tokens") == "max_tokens not set", "a large model ends by itself"
    engine.model = "qwen2.5:0.5b"
    assert at("/set temperature") == "temperature 0 (the default of `qwen math`)", "not the model's own"
    assert at("/set top_k") == "top_k 20 (the model's default)"
    assert at("/set seed") == "seed 3"
    assert at("/set max_tokens") == "max_tokens 2048 (the default of `qwen math`)"
    at("What is 2 + 2?")
    at("/set temperature 0.5")
    engine.capabilities = replace(engine.capabilities, thinking="switch")
    at("/think 64")
    at("/retry")
    (before, unthought), (after, thought) = engine.asked
    assert (before.temperature, before.seed, unthought) == (0, 3, None)
    assert (after.temperature, after.seed, thought) == (0.5, 3, 64)


def test_what_many_solutions_are_made_with_is_told(math: Math) -> None:
    at = math(samples=4)
    at.state.conversation.engine.defaults = Sampling(temperature=0)
    assert at("/set temperature") == "temperature 0.7 (the default of `qwen math`)", "they must differ"
    at.state.conversation.engine.defaults = Sampling(temperature=0.6)
    assert at("/set temperature") == "temperature 0.6 (the model's default)"


def test_trace_is_the_last_solution_as_one_object(math: Math) -> None:
    at = math(FOUR)
    assert at("/trace") == "nothing has been solved yet. Write a problem first"
    at("What is 2 + 2?")
    at.answers = ""
    at("/trace")
    trace = json.loads(at.answers)
    assert (trace["answer"], trace["check"], trace["solution"]) == ("4", "unverified", FOUR)


def test_stats_and_export_tell_of_problems(math: Math, tmp_path: Path) -> None:
    at = math(FOUR)
    at("What is 2 + 2?")
    assert at("/stats").startswith("prompt: 10 tokens")
    assert at("/export md sums.md") == "written to sums.md"
    written = (tmp_path / "sums.md").read_text()
    assert "What is 2 + 2?" in written and FOUR in written
    at.state.leave()
    assert not (tmp_path / "home" / "sessions").exists(), "nothing is kept"


def test_a_picture_goes_with_the_next_problem(math: Math, tmp_path: Path) -> None:
    Image.new("RGB", (56, 56), "red").save(tmp_path / "sheet.png")
    assert math()("/image sheet.png").startswith("none sees no images")
    at = math(FOUR, FOUR, FIVE, vision=True)
    assert "attached: sheet.png" in at("/image sheet.png")
    at("Solve it.")
    at("/retry")
    at("What is 2 + 3?")
    assert ["image_url" in problem for problem in problems(at)] == [True, True, False]


def test_model_solves_with_another(math: Math) -> None:
    at = math()
    before, other = at.state.conversation.engine, Scripted([Piece(FOUR), end()], context=1000)
    at.state.load_engine = lambda name: other
    at("/model other")
    at("What is 2 + 2?")
    assert before.closed and len(other.seen) == 1


@pytest.mark.parametrize(
    "name",
    ["continue", "undo", "clear", "file", "paste", "system", "tokens", "save", "load", "sessions", "tools"],
)
def test_what_needs_a_conversation_says_so_in_a_line(math: Math, name: str) -> None:
    at = math()
    assert at(f"/{name} x") == f"/{name} is not for the prompt of `qwen math`. /help lists what it takes"
    assert name not in slash.words(at.state)
    assert f"/{name}" not in at("/help")
    assert at(f"/help {name}").startswith(f"/{name} is not for the prompt")


def test_the_other_commands_are_those_of_chat_and_the_trace(math: Math) -> None:
    at = math(vision=True)
    left = {
        "continue",
        "undo",
        "clear",
        "file",
        "paste",
        "system",
        "tokens",
        "save",
        "load",
        "sessions",
        "tools",
        "effort",
    }
    assert set(slash.words(at.state)) == set(CHAT) - left | {"trace"}
    assert at("/trcae") == "no command is called /trcae. Did you mean /trace?"
    assert at("/retry") == "nothing to retry. Write a problem first"
    assert at("/edit") == "nothing to edit. Say something first"
    assert at("/stats") == "nothing has been answered yet. Ask something first"
    assert at('""" """') == "the problem is empty. Write one"
    assert at("/effort low").startswith("/effort is not for the prompt of `qwen math`")
    assert at("/quit") == "" and at.state.leaving
