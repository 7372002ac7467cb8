"""`qwen chat` asked once: standard output is the answer and nothing else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jsonschema
import pexpect
import pytest

from qwen_cli.tasks.chat.gathering import Gathered

GREEDY = ("--model", "starter", "--temperature", "0")


def test_the_answer_alone_is_on_stdout(qwen) -> None:
    done = qwen("chat", "What is the capital of France?", *GREEDY)
    assert done.returncode == 0
    assert "Paris" in done.stdout
    assert done.stdout.endswith("\n")
    assert done.stderr == ""


def test_a_fresh_machine_says_which_model_it_takes(qwen) -> None:
    """No model, no settings, no hub: the starter is there and answers, with no network asked."""
    done = qwen("chat", "Say hi.", "--max-tokens", "4", HF_HUB_OFFLINE="1")
    assert done.returncode == 0
    assert done.stdout.strip()


def test_json_is_one_object_with_usage_and_timings(qwen) -> None:
    done = qwen("chat", "--json", "Say hello.", *GREEDY, "--max-tokens", "3")
    answer = json.loads(done.stdout)
    assert answer["text"]
    assert answer["thinking"] is None
    assert answer["model"] == "starter"
    assert answer["engine"] == "llamacpp"
    assert answer["stop_reason"] == "length"
    assert answer["usage"]["generated_tokens"] == 3
    assert answer["usage"]["prompt_tokens"] > 10
    assert answer["timings"]["prefill_seconds"] > 0


def test_a_cut_answer_says_so(warm) -> None:
    done = warm("chat", "Count from one to fifty.", *GREEDY, "--max-tokens", "5")
    assert done.returncode == 0
    assert "cut" in done.stderr
    assert "5" in done.stderr


def test_piped_text_and_a_question(warm) -> None:
    done = warm(
        "chat", "What is the secret word in this text?", *GREEDY, stdin="The secret word is: mango.\n"
    )
    assert "mango" in done.stdout.lower()


def test_piped_text_alone_is_the_question(warm) -> None:
    assert "Paris" in warm("chat", *GREEDY, stdin="What is the capital of France?").stdout


def test_files_go_with_their_names(warm, tmp_path: Path) -> None:
    (tmp_path / "alpha.txt").write_text("The colour is green.\n")
    (tmp_path / "beta.txt").write_text("The animal is a heron.\n")
    files = ("-f", str(tmp_path / "alpha.txt"), "-f", str(tmp_path / "beta.txt"))
    answer = warm("chat", *files, "Which animal is in beta.txt? Answer in one word.", *GREEDY).stdout
    assert "heron" in answer.lower()


@pytest.mark.parametrize("content", [b"\x00\x01\x02\xff" * 50, b"caf\xe9"])
def test_a_binary_file_is_refused(qwen, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "data.bin"
    path.write_bytes(content)
    for done in (qwen("chat", "what?", "-f", str(path)), qwen("chat", "what?", stdin=content)):
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1


def test_the_same_seed_gives_the_same_answer(qwen) -> None:
    ask = ("chat", "Invent a name for a boat.", "-m", "starter", "-t", "1", "--max-tokens", "12", "--seed")
    assert qwen(*ask, "7").stdout == qwen(*ask, "7").stdout


def test_a_stop_string_ends_the_answer_and_is_not_in_it(warm) -> None:
    done = warm("chat", "Count from 1 to 20, separated by commas.", *GREEDY, "--stop", "5")
    assert "4" in done.stdout
    assert "5" not in done.stdout


def test_the_system_prompt_is_obeyed(warm) -> None:
    done = warm("chat", "Who are you?", "-s", "You are a lighthouse keeper called Bartholomew.", *GREEDY)
    assert "Bartholomew" in done.stdout


# Schemas that a grammar does not hold: the starter's answers come right at the first try, at a later one, or
# never, and then it is an error.
HARD: list[dict[str, Any]] = [
    {
        "type": "object",
        "properties": {"year": {"type": "string", "pattern": r"^\d{4}$"}},
        "required": ["year"],
    },
    {"type": "object", "properties": {"x": {"type": "string", "pattern": "abc"}}, "required": ["x"]},
    {"type": "array", "items": {"type": "integer"}, "uniqueItems": True, "minItems": 3, "maxItems": 5},
    {"type": "object", "properties": {"n": {"type": "integer", "multipleOf": 7}}, "required": ["n"]},
    {
        "type": "object",
        "properties": {"n": {"type": "number", "minimum": 0.5, "maximum": 1}},
        "required": ["n"],
    },
    {"type": "object", "properties": {"mail": {"type": "string", "format": "email"}}, "required": ["mail"]},
    {"type": "array", "items": {"type": "integer"}, "contains": {"const": 7}, "maxItems": 4},
    {"type": "object", "minProperties": 2, "maxProperties": 3, "additionalProperties": {"type": "integer"}},
    {"type": "object", "properties": {"a": True, "b": {"not": {"type": "string"}}}, "required": ["a", "b"]},
    {
        "type": "object",
        "properties": {"kind": {"enum": ["a"]}, "v": {"type": "integer"}},
        "required": ["kind"],
        "if": {"properties": {"kind": {"const": "a"}}},
        "then": {"required": ["v"]},
    },
]


@pytest.mark.parametrize("schema", HARD, ids=lambda schema: json.dumps(schema)[17:60])
def test_an_answer_satisfies_its_schema_or_is_an_error(warm, schema: dict[str, Any]) -> None:
    asked = f"An example, as short as can be, of: {json.dumps(schema)}"
    done = warm("chat", asked, "--schema", json.dumps(schema), "--max-tokens", "24", *GREEDY)

    if done.returncode == 0:
        jsonschema.validate(
            json.loads(done.stdout),
            schema,
            format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER,
        )
    else:
        assert done.returncode == 1
        assert done.stdout.strip() == ""
        assert "JSON" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_any_json_is_asked_for_by_an_empty_schema(warm) -> None:
    done = warm("chat", 'Answer with {"a": 1} and nothing else.', "--schema", "{}", *GREEDY)

    assert done.returncode == 0, done.stderr
    json.loads(done.stdout)


def test_an_answer_that_was_cut_satisfies_nothing(warm) -> None:
    schema = json.dumps({"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]})
    done = warm("chat", "Tell me all about Paris.", "--schema", schema, "--max-tokens", "5", *GREEDY)

    assert done.returncode == 1
    assert "the answer was cut before its JSON was whole: it reached max_tokens, 5" in done.stderr


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ("", "--schema is empty"),
        ("{", "not JSON"),
        ("[1]", "not a JSON schema object, got [1]"),
        ("false", "nothing satisfies"),
        ("nowhere.json", "nowhere.json"),
        ('{"type": 3}', "not a JSON schema"),
        ('{"$ref": "#/x"}', "'#/x' is not in it"),
        ('{"$ref": "https://example.com/x.json"}', "nothing is fetched"),
        ('{"type": "string", "pattern": "("}', "is no pattern"),
        ('{"type": "integer", "minimum": 9, "maximum": 1}', "nothing satisfies"),
    ],
)
def test_a_schema_that_cannot_be_used_is_told_before_a_model_loads(qwen, schema: str, why: str) -> None:
    done = qwen("chat", "hello", "--schema", schema, "-m", "no-such-model")

    assert done.returncode == 2
    assert why in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_schema_constrains_the_answer(warm, tmp_path: Path) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "population": {"type": "integer"}},
        "required": ["city", "population"],
        "additionalProperties": False,
    }
    path = tmp_path / "schema.json"
    path.write_text(json.dumps(schema))
    answer = json.loads(warm("chat", "Tell me about Paris.", "--schema", str(path), *GREEDY).stdout)
    assert set(answer) == {"city", "population"}
    assert isinstance(answer["population"], int)


def test_a_named_session_remembers_and_reuses_its_cache(qwen, home: Path) -> None:
    first = qwen("chat", "--session", "talk", "My name is Zebulon. Remember it.", *GREEDY)
    assert first.returncode == 0
    assert (home / "sessions" / "talk.json").exists()
    again = qwen("chat", "--continue", "--json", "What is my name?", "-t", "0")
    answer = json.loads(again.stdout)
    assert "Zebulon" in answer["text"]
    assert answer["usage"]["cached_tokens"] > 0.6 * answer["usage"]["prompt_tokens"]


def test_tools_are_not_run_without_asking(qwen, tmp_path: Path) -> None:
    tools = tmp_path / "tools.py"
    tools.write_text('def now() -> str:\n    """The time."""\n    return "noon"\n')
    done = qwen("chat", "What time is it?", "--tools", str(tools), *GREEDY)
    assert done.returncode == 2
    assert "--yes" in done.stderr


def test_thinking_is_refused_where_the_model_cannot(qwen) -> None:
    done = qwen("chat", "hi", "--think", *GREEDY)
    assert done.returncode == 2
    assert "does not think" in done.stderr


def test_a_question_longer_than_the_context_is_refused(qwen) -> None:
    done = qwen("chat", "word " * 3000, *GREEDY, "--context", "512")
    assert done.returncode == 1
    assert "512" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_stops_the_answer_and_keeps_it(home: Path, number: int, code: int) -> None:
    command = [sys.executable, "-m", "qwen_cli", "chat", "--session", "cut", *GREEDY, "Count from 1 to 900."]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, env=os.environ)
    assert process.stdout is not None
    seen = process.stdout.read(10)
    process.send_signal(number)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == code
    saved = json.loads((home / "sessions" / "cut.json").read_text())
    assert saved["messages"][-1]["cut"] is True
    assert saved["messages"][-1]["content"].startswith((seen + rest).decode().strip())


@pytest.mark.parametrize("seconds", [0.2, 0.5, 0.7, 1.2])
def test_ctrl_c_pressed_twice_ends_it_whatever_it_does(home: Path, seconds: float) -> None:
    """While it starts, loads or answers: a server of llama.cpp torn down too early waits for ever."""
    command = [sys.executable, "-m", "qwen_cli", "chat", *GREEDY, "Count from 1 to 900."]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, env=os.environ)
    time.sleep(seconds)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
    assert process.wait(timeout=60) in (130, -signal.SIGINT)  # the latter before the program has begun


def test_on_a_terminal_markdown_is_rendered(home: Path) -> None:
    command = [
        *("-m", "qwen_cli", "chat", *GREEDY),
        "Answer with exactly this Markdown and nothing else: **bold** text",
    ]
    child = pexpect.spawn(sys.executable, command, env={**os.environ, "TERM": "xterm"}, timeout=60)
    child.expect(pexpect.EOF)
    assert b"bold" in child.before
    assert b"**" not in child.before


def test_standard_input_that_is_not_meant_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from qwen_cli.commands.chat import question

    monkeypatch.setattr(question, "_PATIENCE_SECONDS", 0.01)
    silent, kept_open = os.pipe()
    with os.fdopen(silent) as pipe:
        monkeypatch.setattr(sys, "stdin", pipe)
        assert question.read(["hi"], []) == question.Question("hi", Gathered())
    os.close(kept_open)
    assert capsys.readouterr().err.strip() == "standard input sends nothing and is left alone; -f - takes it"
    (tmp_path / "lines").write_text("one\ntwo\n")
    with (tmp_path / "lines").open() as loop:
        os.read(loop.fileno(), 4)  # as the shell's `read` does
        monkeypatch.setattr(sys, "stdin", loop)
        assert question.read(["one"], []) == question.Question("one", Gathered())
        assert os.lseek(loop.fileno(), 0, os.SEEK_CUR) == 4
    assert "is being read by another program" in capsys.readouterr().err


def test_what_is_piped_in_goes_with_the_question_however_late_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qwen_cli.commands.chat import question

    (tmp_path / "text").write_text("some text")
    with (tmp_path / "text").open() as whole:
        monkeypatch.setattr(sys, "stdin", whole)
        assert "some text" in str(question.read(["what is this?"], []))


def test_a_session_goes_on_with_its_own_model() -> None:
    from qwen_cli.commands.chat.resume import Resumed
    from qwen_cli.commands.shared.options import Loading
    from qwen_cli.errors import UsageError
    from qwen_cli.tasks.chat.sessions import Session

    here, there = (
        Resumed(Session("a", model="qwen3:8b", engine="llamacpp")),
        Resumed(Session("b", model="big", engine="remote")),
    )
    settings: dict[str, Any] = {"model": "starter", "endpoint": "http://other/v1"}
    here.model_as_before(settings, Loading())
    assert settings == {"model": "qwen3:8b"}, "and not the one that is set for all"
    asked: dict[str, Any] = {"model": "qwen3:4b"}
    here.model_as_before(asked, Loading(model="qwen3:4b"))
    assert asked == {"model": "qwen3:4b"}
    with pytest.raises(UsageError, match="'b' was held with big on a server"):
        there.model_as_before({"model": "starter"}, Loading())
    there.model_as_before({"endpoint": "http://server/v1"}, Loading())
