"""Flags that several verbs share."""

from __future__ import annotations

import inspect
from dataclasses import asdict, dataclass, fields
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from qwen_cli.commands.chat import command as chat_command
from qwen_cli.commands.eval import command as evaluation
from qwen_cli.commands.fim import command as fim_command
from qwen_cli.commands.math import command as math_command
from qwen_cli.commands.shared import options
from qwen_cli.commands.vision import command as vision_command
from qwen_cli.engines.core.base import Sampling
from qwen_cli.engines.core.options import LoadOptions
from qwen_cli.errors import UsageError


@dataclass(frozen=True)
class Flags:
    size: Annotated[int | None, typer.Option("--size", "-s", help="How large.")] = None
    names: Annotated[list[str] | None, typer.Option("--name", help="How called.")] = None
    deep: Annotated[bool, typer.Option("--deep/--flat", help="How deep.")] = False


@options.grouped
def command(
    what: Annotated[str, typer.Argument(help="What.")],
    flags: Flags = Flags(),
    loud: Annotated[bool, typer.Option("--loud")] = False,
) -> None:
    """Say what was given."""
    typer.echo(f"{what} {flags} {loud}")


def run(*arguments: str) -> str:
    app = typer.Typer(rich_markup_mode=None)
    app.command()(command)
    return CliRunner().invoke(app, arguments).output


def test_a_group_is_spread_into_single_options_and_comes_back_as_one_value() -> None:
    given = run("it", "-s", "3", "--name", "a", "--name", "b", "--deep", "--loud")
    assert given == f"it {Flags(3, ['a', 'b'], True)} True\n"


def test_what_is_not_given_has_the_default_of_its_field() -> None:
    assert run("it").startswith("it Flags(size=None, names=")
    assert "deep=False) False" in run("it")


def test_help_shows_the_options_of_a_group_and_the_command_itself() -> None:
    shown = run("--help")
    for text in ("Say what was given.", "-s, --size", "How large.", "--deep / --flat", "--loud"):
        assert text in shown
    assert "--flags" not in shown


def test_a_command_can_be_called_from_python_with_some_of_its_flags(capsys) -> None:
    command(what="it", size=2)
    assert capsys.readouterr().out == f"it {Flags(2)} False\n"


@pytest.mark.parametrize(
    "verb",
    [chat_command.chat, fim_command.code_fim, math_command.math, vision_command.vision, evaluation.fim],
    ids=lambda v: v.__name__,
)
def test_every_verb_that_loads_a_model_has_every_flag_of_loading(verb) -> None:
    flags = inspect.signature(verb).parameters
    assert {field.name for field in fields(options.Loading)} <= set(flags)


def test_every_flag_of_loading_is_a_load_option_with_the_same_default() -> None:
    flags = {field.name: field.default for field in fields(options.Loading) if field.name != "no_server"}
    usual = asdict(LoadOptions())
    unset = {name: usual[name] for name, value in flags.items() if value is None}
    assert {**flags, **unset} == {name: usual[name] for name in flags}
    assert unset == dict.fromkeys(unset) | {"engine": "auto", "adapters": ()}


def test_flags_go_over_settings_and_are_checked() -> None:
    loading, drawing = options.Loading(model="a", adapters=[]), options.SamplingOptions(top_k=3, seed=4)
    settings = options.merged({"model": "b", "top_p": 0.5}, loading, drawing, overflow=None)
    assert settings == {"model": "a", "top_p": 0.5, "top_k": 3, "seed": 4}
    assert options.sampling(settings) == Sampling(top_p=0.5, top_k=3, seed=4)
    with pytest.raises(UsageError, match="top_p must be"):
        options.merged({}, options.SamplingOptions(top_p=2.0))
