"""The prompts of chat, math and vision at a terminal, before an engine that goes on until it is stopped."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from terminal import CTRL_D, ENTER, Terminal

_ENGINE = """
import sys, time
sys.path.insert(0, {helpers!r})
from dataclasses import replace
from scripted import Scripted, end
from qwen_cli.engines.core.base import Piece, Sampling

class Slow(Scripted):
    "Counts until it is stopped; asked for brevity it is brief."
    def chat(self, messages, **settings):
        self.seen.append(messages)
        asked = str(messages[-1]["content"])
        if "brief" in asked:
            yield Piece(f"Request {{len(self.seen)}}: so \\\\boxed{{{{42}}}}.")
            yield end()
            return
        for number in range(3000):
            time.sleep(0.02)
            yield Piece(f"n{{number}} ")

engine = Slow(context=4096)
engine.model = "counter"
engine.capabilities = replace(engine.capabilities, vision=True, thinking=None)
"""
_CHAT = """
from qwen_cli.commands.chat import repl
from qwen_cli.tasks.chat.conversation import Conversation
repl.run(Conversation(engine), session=None, load_engine=None, raw=False)
"""
_VISION = """
from PIL import Image
from qwen_cli.commands.vision import repl
from qwen_cli.tasks.vision.prepare import Look
size = (56, 56)
look = Look("photo.png", {"type": "image", "image": Image.new("RGB", size)}, size, size, 4)
repl.run(engine, [look], Sampling(), None)
print("requests with the picture first:", ["PIL" in str(seen[0]) for seen in engine.seen])
"""
_MATH = """
from qwen_cli.commands.math import repl
from qwen_cli.tasks.math.solve import SolveOptions
repl.run(engine, SolveOptions(mode="cot"), None, None)
"""
PROMPTS = {"chat": _CHAT, "vision": _VISION, "math": _MATH}
Start = Callable[[str], Terminal]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start the prompt of a verb and wait for it; whatever is left of it is ended."""
    running: list[Terminal] = []
    helpers = str(Path(__file__).parents[2] / "helpers")

    def begin(verb: str) -> Terminal:
        program = _ENGINE.format(helpers=helpers) + PROMPTS[verb]
        terminal = Terminal([sys.executable, "-c", program], tmp_path, QWEN_HOME=str(tmp_path / "home"))
        running.append(terminal)
        terminal.wait(r"(?s)^counter on scripted, 4,096 tokens of context. /help lists commands.*^>$")
        return terminal

    yield begin
    for terminal in running:
        terminal.process.close(force=True)


@pytest.mark.parametrize("verb", PROMPTS)
def test_an_answer_is_stopped_and_the_prompt_goes_on(start: Start, tmp_path: Path, verb: str) -> None:
    it = start(verb)
    it.say("Count.")
    it.wait("n5 n6")
    it.process.sendintr()
    it.wait(r"(?s)^stopped$.*^>$")
    it.type('"""Now be', ENTER, 'brief."""', ENTER)  # the first Enter inside the quotes sends nothing
    it.wait(r"(?s)Request 2: so .*42.*^>$")
    it.say("/sytem")
    it.wait(r"no command is called /sytem")
    it.say("/stats")
    it.wait(r"prompt: 10 tokens")
    it.say("/retry")
    it.wait(r"(?s)Request 3: so .*42.*^>$")
    it.say("/load x")
    it.wait(r"no session 'x'" if verb == "chat" else f"/load is not for the prompt of `qwen {verb}`")
    it.say("/quit")
    assert it.wait_for_end() == 0
    kept = list((tmp_path / "home" / "sessions").glob("*.json"))
    assert len(kept) == (1 if verb == "chat" else 0)
    if verb == "vision":
        assert "requests with the picture first: [True, True, True]" in it.text
    history = tmp_path / "home" / ("history" if verb == "chat" else f"{verb}_history")
    assert "+Count.\n" in history.read_text(), "each verb remembers its own"


def test_keys_typed_while_a_problem_is_solved_wait_for_the_prompt(start: Start) -> None:
    it = start("math")
    it.say("Count.")
    it.wait("n5 n6")
    it.type("be brief")
    it.wait("n15 n16")
    it.process.sendintr()
    it.wait(r"(?s)^stopped$.*^> be brief$")
    assert it.text.count("be brief") == 1, "they are not echoed into the solution"
    it.type(ENTER)
    it.wait(r"(?s)│  42   not verified  │.*^>$")
    it.say("/trace")
    it.wait(r'"answer": "42"')
    it.type(CTRL_D)
    assert it.wait_for_end() == 0
