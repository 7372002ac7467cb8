"""The system prompt and the tools are read once: the next conversation begins behind them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scripted import Scripted

from qwen_cli.engines.core.base import Message, Piece, Reuse, Sampling, Stream, Usage
from qwen_cli.errors import EngineError
from qwen_cli.tasks.chat import opening, sessions
from qwen_cli.tasks.chat.conversation import Conversation
from qwen_cli.tasks.tools.toolbox import Toolbox

SYSTEM = "You answer in rhymes, as a sailor of the seventeenth century would."
OPENING = f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user"
ROOM = 1e9


class Reading(Scripted):
    """Notes what it does to answer. `takes` is what comes of loading a state, `fails` of reading."""

    chat_template = "{{ messages }}"

    def __init__(self, log: list[str], takes: bool = True, fails: bool = False) -> None:
        super().__init__([Piece("Ahoy."), Piece(usage=Usage(3, generated_tokens=1))])
        self.capabilities = replace(self.capabilities, state=True, render=True, openings=True)
        self.log, self.takes, self.fails = log, takes, fails

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        thinking: bool | int | None = None,
        template_kwargs: Mapping[str, Any] | None = None,
    ) -> str:
        turns = [f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n" for turn in messages]
        return "".join([*(f"{tool}" for tool in tools or ()), *turns, "<|im_start|>assistant\n"])

    def chat(self, messages: Sequence[Message], **given: Any) -> Stream:
        self.log.append("answer")
        yield from super().chat(messages, **given)

    def complete(self, prompt: str, *, sampling: Sampling = Sampling(), reuse: Reuse = "prefix") -> Stream:
        if self.fails:
            raise EngineError("no room")
        self.log.append(f"read {prompt}")
        yield Piece(usage=Usage(20, generated_tokens=1))

    def save_state(self, path: Path) -> bool:
        self.log.append("save")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"a state")
        return True

    def load_state(self, path: Path) -> bool:
        self.log.append("load")
        return self.takes


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Ask a first question; what the engine did for it."""
    monkeypatch.setenv("QWEN_HOME", str(tmp_path))

    def run(system: str | None = SYSTEM, *, most: float = ROOM, **given: Any) -> list[str]:
        log: list[str] = []
        talk = Conversation(Reading(log, **given), system=system)
        for _ in opening.begun(talk, talk.send("Hi"), most):
            pass
        return log

    return run


def states() -> list[Path]:
    return sorted(sessions.files_folder().glob("*.kv"))


def test_it_is_read_once(ask: Callable[..., list[str]]) -> None:
    assert ask() == [f"read {OPENING}", "save", "answer"]
    os.utime(states()[0], (1, 1))
    assert ask() == ["load", "answer"]
    assert states()[0].stat().st_mtime > 1, "used last, goes last"


def test_another_prompt_has_a_state_of_its_own(ask: Callable[..., list[str]]) -> None:
    ask()
    assert "save" in ask(SYSTEM + " Be brief.")
    assert len(states()) == 2


def test_one_that_is_not_taken_is_made_anew(ask: Callable[..., list[str]]) -> None:
    ask()
    assert ask(takes=False) == ["load", f"read {OPENING}", "save", "answer"]


def test_where_nothing_may_be_written_it_is_read_all_the_same(ask: Callable[..., list[str]]) -> None:
    """The answer is the same whether the state was kept: what is read together is rounded together."""
    assert ask(most=0) == [f"read {OPENING}", "answer"]
    assert states() == []


@pytest.mark.parametrize("system", [None, "Rhyme."])
def test_of_a_short_one_nothing_is_kept(ask: Callable[..., list[str]], system: str | None) -> None:
    assert ask(system) == ["answer"]


def test_the_template_s_own_words_are_kept(
    ask: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    render = Reading.render
    monkeypatch.setattr(Reading, "chat_template", f"{{{{ '{SYSTEM}' or 'You are Qwen.' }}}}")
    monkeypatch.setattr(
        Reading, "render", lambda self, said, **more: OPENING[:-16] + render(self, said, **more)
    )
    assert ask(None) == [f"read {OPENING}", "save", "answer"]


def test_a_fault_leaves_the_answer(ask: Callable[..., list[str]]) -> None:
    assert ask(fails=True) == ["answer"]


def test_tools_belong_to_it_and_later_turns_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QWEN_HOME", str(tmp_path))
    log: list[str] = []
    engine = Reading(log)
    engine.answers *= 2
    talk = Conversation(engine, toolbox=Toolbox.builtin(["read_file"]))
    list(opening.begun(talk, talk.send("Hi"), ROOM))
    assert log[0].startswith("read {") and "read_file" in log[0]
    log.clear()
    list(opening.begun(talk, talk.send("And then?"), ROOM))
    assert log == ["answer"]


def test_an_engine_that_reads_at_once_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QWEN_HOME", str(tmp_path))
    log: list[str] = []
    engine = Reading(log)
    engine.capabilities = replace(engine.capabilities, openings=False)
    talk = Conversation(engine, system=SYSTEM)
    list(opening.begun(talk, talk.send("Hi"), ROOM))
    assert log == ["answer"]
