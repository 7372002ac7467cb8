"""What the model has computed for a long file is kept by what the file says, and taken for the next question
about it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from scripted import Scripted

from qwen_cli.commands.chat import once
from qwen_cli.commands.chat.question import Question
from qwen_cli.engines.core import kv_file
from qwen_cli.engines.core.base import Piece, Usage
from qwen_cli.errors import EngineError, UsageError
from qwen_cli.tasks.chat import file_states, sessions
from qwen_cli.tasks.chat.conversation import Conversation
from qwen_cli.tasks.chat.gathering import Gathered

BOOK = ("book.txt", "It was a dark and stormy night. " * 300)
NOTE = ("note.txt", "Buy milk.")


class Keeping(Scripted):
    """An engine whose state is the path that it was saved to; `takes` says whether it loads one."""

    def __init__(
        self, *pieces: Piece | BaseException, takes: bool | BaseException = True, name: str = "qwen"
    ) -> None:
        super().__init__([Piece("A storm."), *pieces])
        self.capabilities = replace(self.capabilities, state=True)
        self.model, self.takes = name, takes
        self.saved: list[Path] = []
        self.loaded: list[Path] = []

    def save_state(self, path: Path) -> bool:
        self.saved.append(path)
        with kv_file.written(path) as half:
            half.write_bytes(b"state of 1,000 bytes" * 50)
            kv_file.seal(half, "me")
        return True

    def load_state(self, path: Path) -> bool:
        if isinstance(self.takes, BaseException):
            raise self.takes
        self.loaded.append(path)
        return self.takes


COMPUTED = Usage(prompt_tokens=9_000, generated_tokens=3)
CACHED = Usage(prompt_tokens=9_000, cached_tokens=8_990, generated_tokens=3)


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Keeping]:
    monkeypatch.setenv("QWEN_HOME", str(tmp_path))

    def run(usage: Usage, *files: tuple[str, str], **given: Any) -> Keeping:
        engine = Keeping(
            *given.pop("before", []),
            Piece(usage=usage),
            takes=given.pop("takes", True),
            name=given.pop("name", "qwen"),
        )
        talk = Conversation(engine, system=given.pop("system", None), messages=given.pop("said", []))
        question = Question("What was the night like?", Gathered(files))
        once.ask(talk, question, None, {}, as_json=False, raw=True, **{"no_log": False, **given})
        return engine

    return run


def states() -> list[Path]:
    return sorted(sessions.files_folder().glob("*.kv"))


class TestByContent:
    def test_another_question_begins_where_the_book_ends(self, ask: Callable[..., Keeping]) -> None:
        first = ask(COMPUTED, BOOK)
        assert first.loaded == []
        assert first.saved == states() != []
        os.utime(states()[0], (1, 1))

        second = ask(CACHED, BOOK)
        assert second.loaded == first.saved
        assert second.saved == []
        assert states()[0].stat().st_mtime > 1, "used last, goes last"

    @pytest.mark.parametrize(
        "other", [{"name": "another model"}, {"system": "Be brief."}, {}], ids=["model", "system", "text"]
    )
    def test_what_is_other_has_a_state_of_its_own(
        self, ask: Callable[..., Keeping], other: dict[str, Any]
    ) -> None:
        ask(COMPUTED, BOOK)
        book = BOOK if other else ("book.txt", BOOK[1] + "The end.")
        assert ask(COMPUTED, book, **other).loaded == []
        assert len(states()) == 2

    def test_where_little_was_computed_nothing_is_kept(self, ask: Callable[..., Keeping]) -> None:
        assert ask(COMPUTED, NOTE).saved == []
        assert ask(replace(COMPUTED, prompt_tokens=file_states.LONG - 1), BOOK).saved == []
        assert ask(COMPUTED, BOOK, no_log=True).saved == []
        assert ask(COMPUTED, BOOK, said=[{"role": "user", "content": "Hi"}]).saved == []
        assert states() == []

    def test_a_state_that_is_not_taken_is_made_anew(self, ask: Callable[..., Keeping]) -> None:
        ask(COMPUTED, BOOK)
        assert len(ask(COMPUTED, BOOK, takes=False).saved) == 1
        assert len(ask(COMPUTED, BOOK, takes=EngineError("damaged")).saved) == 1

    def test_an_answer_that_is_broken_off_loses_nothing(
        self, ask: Callable[..., Keeping], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(Keeping, "count_tokens", lambda *given, **more: 9_000)
        with pytest.raises(KeyboardInterrupt):
            ask(COMPUTED, BOOK, before=[KeyboardInterrupt()])
        assert len(states()) == 1

    def test_nothing_is_kept_where_nothing_came(self, ask: Callable[..., Keeping]) -> None:
        engine = Keeping()
        engine.answers = [[EngineError("out of memory")]]
        talk = Conversation(engine)
        with pytest.raises(EngineError):
            once.ask(
                talk, Question("Why?", Gathered((BOOK,))), None, {}, as_json=False, raw=True, no_log=False
            )
        assert engine.saved == []

    def test_sessions_and_files_share_the_room(
        self, ask: Callable[..., Keeping], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ask(COMPUTED, BOOK)
        os.utime(states()[0], (5, 5))
        size = states()[0].stat().st_size
        sessions.folder().joinpath("talk.json").write_text("{}")
        sessions.kv_path("talk").write_bytes(b"x" * size)
        os.utime(sessions.kv_path("talk"), (9, 9))
        monkeypatch.setattr("qwen_cli.tasks.chat.sessions.kept_bytes", lambda: 2.5 * size)
        ask(COMPUTED, ("other.txt", "Another book. " * 400))
        assert len(states()) == 1, "the one that was used longest ago went"
        assert sessions.kv_path("talk").exists()
        monkeypatch.setattr("qwen_cli.tasks.chat.sessions.kept_bytes", lambda: 0.0)
        assert ask(COMPUTED, BOOK).saved == []

    def test_an_answer_goes_before_a_state_that_cannot_be_written(
        self, ask: Callable[..., Keeping], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def full(engine: Keeping, path: Path) -> bool:
            raise EngineError("no space left")

        monkeypatch.setattr(Keeping, "save_state", full)
        ask(COMPUTED, BOOK)
        told = capsys.readouterr()
        assert told.out == "A storm.\n"
        assert "the model's state was not kept: no space left" in told.err


class TestNamed:
    """`--cache-file`: of any length, and whatever the rest takes."""

    def test_it_is_written_and_taken(self, ask: Callable[..., Keeping], tmp_path: Path) -> None:
        file = tmp_path / "book.kv"
        assert ask(replace(COMPUTED, prompt_tokens=20), NOTE, cache_file=file, no_log=True).saved == [file]
        file_states.check(file)
        again = ask(CACHED, NOTE, cache_file=file)
        assert (again.loaded, again.saved) == ([file], [])
        assert states() == []

    def test_one_of_another_model_is_told_and_replaced(
        self, ask: Callable[..., Keeping], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file = tmp_path / "book.kv"
        ask(COMPUTED, BOOK, cache_file=file)
        assert ask(COMPUTED, BOOK, cache_file=file, takes=False).saved == [file]
        assert "is of another model" in capsys.readouterr().err

    def test_a_file_of_ours_is_known(self, tmp_path: Path) -> None:
        of_transformers = tmp_path / "a.kv"
        note = {"owner": "me", "sealed": "x", "crc32": "{}"}
        save_file({"ids": torch.zeros(3)}, of_transformers, metadata=note)
        file_states.check(of_transformers)
        file_states.check(tmp_path / "new.kv")

    @pytest.mark.parametrize(
        "content", [b"", b"Dear diary", b"\xff" * 64, b"\x02\0\0\0\0\0\0\0{}", b"PK\3\4"]
    )
    def test_a_file_that_is_something_else_is_not_overwritten(self, content: bytes, tmp_path: Path) -> None:
        file = tmp_path / "diary.txt"
        file.write_bytes(content)
        with pytest.raises(UsageError, match="is not a saved KV cache"):
            file_states.check(file)
        model = tmp_path / "model.safetensors"
        save_file({"weight": torch.zeros(3)}, model, metadata={"format": "pt"})
        with pytest.raises(UsageError, match="is not a saved KV cache"):
            file_states.check(model)
        with pytest.raises(UsageError, match="is not a saved KV cache"):
            file_states.check(tmp_path)
        with pytest.raises(UsageError, match="there is no folder"):
            file_states.check(tmp_path / "no" / "book.kv")
