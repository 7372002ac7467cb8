"""Options in messages, as the command that runs spells them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from importlib import import_module
from typing import Any

import pytest
import typer

from qwen_cli.commands.chat.slash_table import COMMANDS
from qwen_cli.commands.registry import VERBS
from qwen_cli.commands.shared import flags, slash
from qwen_cli.commands.shared.flags import spelled
from qwen_cli.commands.shared.output import StreamView, relay, say
from qwen_cli.engines.core.base import ToolCall
from qwen_cli.engines.core.options import LoadOptions
from qwen_cli.errors import UsageError
from qwen_cli.tasks.chat.conversation import Notice
from qwen_cli.tasks.tools.base import ToolResult


@pytest.fixture(autouse=True)
def _no_command() -> Iterator[None]:
    yield
    flags.declare(())


def runs(verb: str) -> None:
    """Have `verb` be the command that runs."""
    module, name, _ = VERBS[verb]
    app = typer.Typer()
    app.command()(getattr(import_module(f"qwen_cli.commands.{module}"), name))
    command: Any = typer.main.get_command(app)
    flags.declare(command.params)


@pytest.mark.parametrize(
    ("neutral", "flag"),
    [
        ("raise `context`", "raise --context"),
        ("`quant=4bit` would fit", "--quant 4bit would fit"),
        ("use `rope_scaling=yarn` and `context=65536`", "use --rope-scaling yarn and --context 65536"),
        ("give `trust_remote_code`", "give --trust-remote-code"),
        ("give `trust_remote_code=True`", "give --trust-remote-code"),
        ("leave `compiled` out", "leave --compile out"),  # the library's name and the flag's differ
        ("leave `compile` out", "leave --compile out"),
        ("`adapters` need weights", "--adapter need weights"),
        ("`merge=False` is for transformers", "--no-merge is for transformers"),
        ("`merge=True` is for transformers", "--merge is for transformers"),
        ("give `max_memory=0=10GiB,cpu=20GiB`", "give --max-memory 0=10GiB,cpu=20GiB"),
        ("`message` is empty", "MESSAGE is empty"),  # an argument
    ],
)
def test_an_option_of_this_command_is_named_by_its_flag(neutral: str, flag: str) -> None:
    runs("chat")
    assert spelled(neutral) == flag


@pytest.mark.parametrize(
    "text",
    [
        "give fewer pages, or `max_pixels`",  # an option of qwen vision
        "`allow_pickle=False` has no flag that turns it off",
        "run `pip install bitsandbytes`",
        "run `qwen models pull context`",
        "the word context, and `Context` and ``",
        "`--context`",
    ],
)
def test_what_this_command_has_no_flag_for_stays(text: str) -> None:
    runs("chat")
    assert spelled(text) == text


def test_another_command_has_other_flags() -> None:
    runs("stop")
    assert spelled("raise `context`") == "raise `context`"
    runs("vision")
    assert spelled("give `max_frames=8`") == "give --max-frames 8"


def test_at_a_prompt_what_can_be_set_there_is_set_there() -> None:
    runs("chat")
    text = "raise `max_tokens`, try `seed=1`, take another `model`, or raise `context`"
    with flags.at_prompt(slash.spelling(COMMANDS)):
        assert spelled(text) == (
            "raise /set max_tokens, try /set seed 1, take another /model, or raise --context"
        )
    assert spelled("raise `max_tokens`") == "raise --max-tokens"


def test_a_prompt_without_a_command_does_not_name_it() -> None:
    runs("math")
    with flags.at_prompt(slash.spelling(slash.only(COMMANDS, ("model",)))):
        assert spelled("raise `max_tokens`, or take another `model`") == (
            "raise --max-tokens, or take another /model"
        )


@pytest.mark.parametrize(
    "name", [f.name for f in fields(LoadOptions) if f.name not in ("api_key", "headers", "parallel")]
)
def test_whatever_loading_refuses_has_its_flag(name: str) -> None:
    runs("chat")
    with pytest.raises(UsageError) as refused:
        LoadOptions(**{name: object()})
    neutral = str(refused.value)

    assert neutral.startswith(f"`{name}` must be ")
    assert spelled(neutral).startswith("--")


def test_what_a_person_a_tool_or_a_model_wrote_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    runs("chat")
    view = StreamView(raw=True)
    view.show(Notice("the context is full: raise `context`"))
    view.show(ToolResult(ToolCall("1", "grep", {}), "let `seed=1` and `context`", ok=True))
    say("the last was “what is `seed`?”")
    relay("`quant=4bit` is slow")
    view.end()

    assert capsys.readouterr().err.splitlines() == [
        "the context is full: raise --context",
        "grep returned let `seed=1` and `context`",
        "the last was “what is `seed`?”",
        "--quant 4bit is slow",
    ]
