"""Below `commands` nothing speaks of the command line: a library and an HTTP API have options, not flags.

A message names an option in backquotes, `quant=4bit`; `commands/shared/flags.py` spells it for the terminal.
"""

from __future__ import annotations

import ast
import functools
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import openai
import pytest
import typer
from scripted import Scripted

from qwen_cli import ContextFull, EngineError, UsageError, load
from qwen_cli.commands import main
from qwen_cli.commands.shared import flags
from tests.serve.played import Played, serving

PACKAGE = Path(main.__file__).parents[1]
FLAG = re.compile(r"(?<![\w-])(--[a-z]|-[a-z] \w)")
OPTION = re.compile(r"`([a-z]\w*)(?:=[^`\n]+)?`")
# Command lines of other programs: a string here may be one whole argument of theirs.
THEIRS = {
    "engines/llamacpp/child.py": "llama-server",
    "models/planning/llama_server.py": "llama-server",
    "launch/nodes.py": "ray start",
    "launch/sglang.py": "sglang serve",
    "launch/vllm.py": "vllm serve",
    "models/hub/starter_wheels.py": "pip download",
    "tasks/repository/files.py": "git ls-files",
    "tasks/repository/index.py": "git status, git log",
}
ARGUMENT = re.compile(r" ?--[a-z][\w-]*(=\S*)?")
# What a person is told to do with other programs, and a file that one of them reads.
TOLD = (
    "`wsl --install`",
    "`qpdf --decrypt`",
    "ffmpeg -i FILE",
    "`iconv -f",
    "`python -m",
    "start vLLM with --reasoning-parser",
    "==… --hash=sha256:…",
)
# Words in backquotes that are no option of any command: system calls, a model, a field of a file.
NO_OPTIONS = {"answer", "landlock", "mount", "starter", "unshare"}


@functools.cache
def strings() -> list[tuple[str, int, str, bool]]:
    """What `below` gives: not computed where the tests are only collected."""
    return list(below())


def below() -> Iterator[tuple[str, int, str, bool]]:
    """Every string outside `commands`: file, line, text, and whether it is a docstring.

    What an f-string is filled in with is an ellipsis. The sandbox's attacks are programs of
    others, and what an `assert` says is for whoever works on this.
    """
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if name.startswith(("commands/", "sandbox/attacks/")):
            continue
        skipped: set[int] = set()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Assert):
                skipped.add(id(node.msg))
            elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                skipped.add(id(node.value))
                yield name, node.lineno, str(node.value.value), True
            elif isinstance(node, ast.JoinedStr):
                skipped.update(map(id, node.values))
                parts = [str(p.value) if isinstance(p, ast.Constant) else "…" for p in node.values]
                yield name, node.lineno, "".join(parts), False
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
                yield name, node.lineno, node.value, False


def all_options() -> set[str]:
    """Every option and argument of every command, as messages may name it."""
    names: set[str] = set()

    def walk(command: Any) -> None:
        context = command.context_class(command)
        if hasattr(command, "list_commands"):
            for name in command.list_commands(context):
                walk(command.get_command(context, name))
        else:
            flags.declare(command.get_params(context))
            names.update(flags._flags)

    walk(typer.main.get_command(main.app))
    flags.declare(())
    return names


def test_no_string_below_commands_holds_a_flag() -> None:
    found = [
        f"{name}:{line}: {text}"
        for name, line, text, _ in strings()
        if FLAG.search(text)
        and not (name in THEIRS and ARGUMENT.fullmatch(text))
        and not any(told in text for told in TOLD)
    ]
    assert found == [], "name the option: `quant=4bit`"


def test_every_option_that_a_message_names_is_one_of_some_command() -> None:
    known = all_options() | NO_OPTIONS
    found = [
        f"{name}:{line}: {option}"
        for name, line, text, docstring in strings()
        if not docstring
        for option in OPTION.findall(text)
        if option not in known
    ]
    assert found == []


def test_a_word_in_backquotes_that_is_no_option_is_not_taken_for_one() -> None:
    assert not NO_OPTIONS & all_options()


def on_the_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> str:
    """What `qwen WORDS` says on standard error before it fails."""
    monkeypatch.setattr("sys.argv", ["qwen", *words])
    with Path(os.devnull).open() as nothing, pytest.raises(SystemExit):
        monkeypatch.setattr("sys.stdin", nothing)
        main.main()
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "words", "neutral", "flag"),
    [
        ({"quant": "3bit"}, ["--quant", "3bit"], "`quant` must be none", "--quant must be none"),
        ({"dtype": "fp8"}, ["--dtype", "fp8"], "`dtype` must be auto", "--dtype must be auto"),
        ({"max_memory": "x"}, ["--max-memory", "x"], "`max_memory` must be", "--max-memory must be"),
        ({"engine": "remote"}, ["--engine", "remote"], "give its `endpoint`", "give its --endpoint"),
        (
            {"engine": "llamacpp", "endpoint": "http://127.0.0.1:9"},
            ["--engine", "llamacpp", "--endpoint", "http://127.0.0.1:9"],
            "`engine=llamacpp` runs on this machine, `endpoint` elsewhere",
            "--engine llamacpp runs on this machine, --endpoint elsewhere",
        ),
        (
            {"endpoint": "http://127.0.0.1:9", "compiled": True},  # the flag has another name
            ["--endpoint", "http://127.0.0.1:9", "--compile"],
            "`compiled` needs a local engine",
            "--compile needs a local engine",
        ),
        (
            {"endpoint": "http://127.0.0.1:9", "adapters": [Path("x")]},
            ["--endpoint", "http://127.0.0.1:9", "--adapter", "x"],
            "`adapters` needs a local engine",
            "--adapter needs a local engine",
        ),
    ],
)
def test_a_refused_option_has_its_flag_on_the_terminal_and_its_name_in_python(
    given: dict[str, Any],
    words: list[str],
    neutral: str,
    flag: str,
    capsys: Any,
    monkeypatch: Any,
    home: Path,
) -> None:
    with pytest.raises(UsageError) as refused:
        load("starter", **given)
    said = on_the_terminal(capsys, monkeypatch, "chat", "hi", "-m", "starter", *words)

    assert neutral.lower() in str(refused.value).lower()
    assert "--" not in str(refused.value)
    assert flag.lower() in said.lower()


def too_long(_: Any) -> Any:
    raise ContextFull(9000, 4096)


def test_one_fault_through_the_terminal_python_and_http(capsys: Any, monkeypatch: Any, home: Path) -> None:
    class Full(Scripted):
        def chat(self, messages: Any, **settings: Any) -> Any:
            return too_long(messages)

    monkeypatch.setattr("qwen_cli.commands.chat.command.open_engine", lambda *given: Full())
    said = on_the_terminal(capsys, monkeypatch, "chat", "hi", "-m", "starter")
    with pytest.raises(ContextFull) as raised:
        Full().chat([])
    with serving(Played(too_long)) as here, pytest.raises(openai.BadRequestError) as answered:
        here.client.chat.completions.create(model="", messages=[{"role": "user", "content": "hi"}])
    error: Any = answered.value.body

    assert said == (
        "qwen: the prompt needs 9,000 tokens but the context holds 4,096. Shorten it or raise --context\n"
    )
    assert str(raised.value).endswith("Shorten it or raise `context`")
    assert error["message"] == str(raised.value)


def test_at_a_prompt_an_option_is_named_as_it_is_set_there(capsys: Any, monkeypatch: Any, home: Path) -> None:
    class Cut(Scripted):
        def chat(self, messages: Any, **settings: Any) -> Any:
            raise EngineError("the answer was cut", "raise `max_tokens=512`, or `context`")

    lines = iter(["hi"])
    typed = Mock(read=lambda: next(lines, None) or eof(), pasted=[])
    monkeypatch.setattr("qwen_cli.commands.shared.loop.LineEditor", lambda **given: typed)
    monkeypatch.setattr("qwen_cli.commands.chat.command.open_engine", lambda *given: Cut())
    monkeypatch.setattr("qwen_cli.commands.chat.question.read", lambda *given, **more: None)
    monkeypatch.setattr("sys.argv", ["qwen", "chat", "-m", "starter"])
    with pytest.raises(SystemExit):
        main.main()

    assert "the answer was cut. Raise /set max_tokens 512, or --context\n" in capsys.readouterr().err


def eof() -> str:
    raise EOFError
