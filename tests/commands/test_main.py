"""The program itself: quick to start, honest about errors."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from qwen_cli.commands.registry import VERBS

HEAVY = ("torch", "transformers", "xllamacpp", "huggingface_hub", "openai", "rich", "prompt_toolkit", "mcp")


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["chat", "--help"], ["models", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    script = (
        "import sys\n"
        "from qwen_cli.commands import main as cli\n"
        f"sys.argv = ['qwen', *{arguments!r}]\n"
        "try:\n    cli.main()\n"
        "except SystemExit as leaving:\n"
        f"    print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)\n"
        "    raise\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize("group", [[], ["models"], ["sandbox"], ["config"]])
def test_a_group_alone_shows_its_help(qwen, group: list[str]) -> None:
    done = qwen(*group)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"Usage: {' '.join(['qwen', *group])} ")
    assert "Commands:" in done.stderr


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_there(qwen, verb: str) -> None:
    assert qwen(verb, "--help").stdout.startswith(f"Usage: qwen {verb} ")


def test_version(qwen) -> None:
    from qwen_cli import __version__

    assert qwen("--version").stdout == f"qwen {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--nonsense"], "--nonsense"),
        (["chat", "--nonsense"], "--nonsense"),
        (["dance"], "dance"),
        (["run"], "qwen chat"),
        (["pull", "qwen3:8b"], "qwen models pull"),
        (["list"], "qwen models list"),
        (["version"], "qwen --version"),
        (["what is this?", "--nonsense"], "qwen chat --help"),
        (["chat", "caf\udce9"], r"'caf\xe9'"),
        (["chat", "hi", "--top-k", "many"], "many"),
        (["chat", "hi", "--temperature", "9"], "got 9.0"),
        (["chat", "hi", "--temperature", "nan"], "got nan"),
        (["chat", "hi", "--top-p", "1.5"], "at most 1"),
        (["chat", "hi", "--max-tokens", "0"], "at least 1"),
        (["chat", "hi", "--seed", "-1"], "got -1"),
        (["chat", "hi", "--seed", "4294967295"], "at most 4,294,967,294"),
        (["chat", "hi", "--stop", ""], "--stop"),
        (["chat", "hi", "-m", "starter", "--thinking-budget", "9"], "starter does not think"),
        (["chat", "hi", "--session", ""], "it is empty"),
        (["chat", "hi", "--session", "../x"], "'../x'"),
        (["chat", "hi", "--engine", "abacus"], "abacus"),
        (["chat", "hi", "--overflow", "spill"], "spill"),
        (["chat", "hi", "--raw", "--json"], "--raw"),
        (["chat", "hi", "--session", "a", "--continue"], "--session"),
        (["chat", "  "], "empty"),
        (["chat"], "empty"),
        (["chat", "--json"], "empty"),
        (["chat", "hi", "-f", "nowhere.txt"], "nowhere.txt"),
        (["chat", "hi", "--schema", "{"], "not JSON"),
        (["chat", "hi", "--schema", '{"type": "thing"}'], "thing"),
        (["config", "set", "temprature", "1"], "temperature"),
    ],
)
def test_usage_errors_are_one_line_with_code_2(qwen, arguments: list[str], names: str) -> None:
    done = qwen(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("qwen: ")
    assert names in done.stderr


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["chat", "hi", "--model", "qwen9:1t"], "qwen9:1t"),
        (["chat", "hi", "--model", "/nowhere/model.gguf"], "/nowhere/model.gguf"),
        (["chat", "hi", "--endpoint", "http://127.0.0.1:9/v1"], "127.0.0.1:9"),
        (["chat", "hi", "--continue"], "no session"),
        (["config", "get", "model"], "not set"),
    ],
)
def test_failures_are_one_line_with_code_1(qwen, arguments: list[str], names: str) -> None:
    done = qwen(*arguments)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert names in done.stderr


def test_escape_sequences_in_a_name_do_not_reach_the_terminal(qwen) -> None:
    done = qwen("chat", "hi", "-f", "\x1b]0;owned\x07evil\x9b31m.txt")
    assert done.returncode == 2
    assert "\x1b" not in done.stderr
    assert "\x9b" not in done.stderr
    assert "evil" in done.stderr


def test_debug_shows_the_traceback_wherever_it_stands(qwen) -> None:
    assert "Traceback" in qwen("chat", "hi", "--model", "qwen9:1t", "--debug").stderr
    assert "Traceback" in qwen("--debug", "chat", "hi", "--model", "qwen9:1t").stderr


def test_a_reader_that_leaves_early_ends_the_program_quietly(home) -> None:
    command = f"{sys.executable} -m qwen_cli chat --raw -m starter 'Count from 1 to 400.' | head -c 5"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, timeout=120, env=os.environ
    )
    assert done.returncode == 141
    assert len(done.stdout) == 5
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("redirected", "says"),
    [(">&-", "standard output is closed"), (">/dev/full", "No space left on device")],
)
def test_an_answer_that_cannot_be_written_is_one_line_with_code_1(home, redirected: str, says: str) -> None:
    command = f"{sys.executable} -m qwen_cli chat --json -m starter --max-tokens 3 hi {redirected}"
    # buffered, as a person has it: the fault then comes from the last flush
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        ["bash", "-c", command], stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environ
    )
    assert done.returncode == 1
    assert says in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_closed_input_and_errors_are_not_taken_for_files(home) -> None:
    command = f"{sys.executable} -m qwen_cli models rm starter <&- 2>&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=os.environ)
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("qwen ch", ["chat"]),
        ("qwen chat --engine l", ["llamacpp", "llama-server"]),
        ("qwen chat --overflow s", ["slide", "summarise", "stop"]),
        ("qwen code-fim --dtype fp", ["fp16", "fp32"]),
        ("qwen vision --device-map b", ["balanced", "balanced_low_0"]),
    ],
)
def test_the_shell_completes(typed: str, offered: list[str]) -> None:
    asked = {"_QWEN_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.argv = ['qwen']; from qwen_cli.commands import main as cli; cli.main()",
        ],
        capture_output=True,
        text=True,
        env={**os.environ, **asked},
    )
    assert done.stdout.split() == offered


def test_what_goes_to_a_file_is_utf_8_whatever_the_locale_says(qwen) -> None:
    for encoding in ("cp1252", "ascii"):
        done = qwen("sandbox", "check", "--no-attacks", PYTHONIOENCODING=encoding)
        assert done.returncode == 0, done.stderr
        assert "✓" in done.stdout


def test_a_misspelt_variable_gets_a_remark(qwen) -> None:
    done = qwen("config", "path", QWEN_TEMPRATURE="1", QWEN_API_URL_OF_ANOTHER="x")
    assert done.stderr == "qwen: nothing reads the variable QWEN_TEMPRATURE. Did you mean QWEN_TEMPERATURE?\n"
    assert done.returncode == 0


def test_ctrl_c_while_the_commands_are_imported_ends_it_without_a_word() -> None:
    program = """
import os, runpy, signal, sys
class Pressed:
    def find_spec(self, name, path=None, target=None):
        if name == "qwen_cli.commands.main":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Pressed())
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("qwen_cli", run_name="__main__", alter_sys=True)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")
