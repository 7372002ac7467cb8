"""`qwen listen`: the text alone on stdout, refusals before anything is decoded or loaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import heard
import pytest
import sounds
from typer.testing import CliRunner, Result

from qwen_cli.commands.listen import command
from qwen_cli.commands.main import app
from qwen_cli.errors import UsageError
from qwen_cli.media import audio
from tests.serve.played import Played


def run(monkeypatch: pytest.MonkeyPatch, engine: Any, *arguments: str, stdin: bytes | None = None) -> Result:
    monkeypatch.setattr(command, "look_at", lambda *_: engine)
    monkeypatch.setattr(command, "open_engine", lambda *_, **__: engine)
    return CliRunner().invoke(app, ["listen", *arguments], input=stdin)


@pytest.fixture
def file(tmp_path: Path) -> str:
    return str(sounds.written(tmp_path / "said.flac", sounds.tones(1.0)))


def test_the_text_alone(monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    done = run(monkeypatch, heard.Recogniser(), file)

    assert (done.stdout, done.stderr, done.exit_code) == ("hello there\n", "", 0)


def test_json(monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    engine = heard.Recogniser()
    done = json.loads(run(monkeypatch, engine, file, "--json", "--prompt", "Tongyi").stdout)

    passage = {"begin": 0.0, "end": 1.0, "language": "English", "text": "hello there"}
    assert done["text"] == "hello there"
    assert (done["passages"], done["languages"], done["seconds"]) == ([passage], ["English"], 1.0)
    assert done["stop_reason"] == "stop" and done["usage"]["prompt_tokens"] == 10
    assert engine.heard[0]["context"] == "Tongyi"


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = heard.Recogniser()
    done = run(monkeypatch, engine, "-", "--language", "de", stdin=sounds.encoded(sounds.tones(1.0), "ogg"))

    assert done.exit_code == 0
    assert engine.heard[0]["language"] == "German"


def test_no_escape_sequence_of_the_model(monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    done = run(monkeypatch, heard.Recogniser(texts=["language English<asr_text>a\x1b[2Jb\x1b"]), file)

    assert done.stdout == "ab\n"


def test_what_was_cut_is_told(monkeypatch: pytest.MonkeyPatch, file: str) -> None:
    done = run(monkeypatch, heard.Recogniser(stop="context"), file)

    assert done.stdout == "hello there\n"
    assert "was cut after" in done.stderr


def test_what_is_damaged_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole = sounds.encoded(sounds.noise(6.0), "flac")
    torn = tmp_path / "torn.flac"
    torn.write_bytes(whole[: len(whole) // 2])
    done = run(monkeypatch, heard.Recogniser(), str(torn))

    assert done.exit_code == 0
    assert "is damaged or was cut off" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["none.wav"], "no file"),
        (["-"], "empty"),
        (["FILE", "--language", "tlh"], "knows no language"),
        (["FILE", "--endpoint", "http://127.0.0.1:1"], "this machine alone"),
    ],
    ids=str,
)
def test_refused_before_the_load(
    monkeypatch: pytest.MonkeyPatch, file: str, arguments: list[str], says: str
) -> None:
    engine = heard.Recogniser()
    monkeypatch.setattr(command, "look_at", lambda *_: engine)
    monkeypatch.setattr(command, "open_engine", lambda *_, **__: pytest.fail("it was loaded"))
    given = [file if one == "FILE" else one for one in arguments]
    done = CliRunner().invoke(app, ["listen", *given], input=b"")

    assert isinstance(done.exception, UsageError)
    assert says in str(done.exception)


def test_a_model_that_hears_nothing_is_refused_before_the_decoding(
    monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    monkeypatch.setattr(audio, "decode", lambda *_, **__: pytest.fail("it was decoded"))
    done = run(monkeypatch, Played(), file)

    assert isinstance(done.exception, UsageError)
    assert "no speech recogniser" in str(done.exception)


def test_a_model_of_the_catalog_that_hears_nothing() -> None:
    done = CliRunner().invoke(app, ["listen", "none.wav", "-m", "qwen3-embedding:0.6b"])

    assert isinstance(done.exception, UsageError)
    assert "an embedding model" in str(done.exception)
