"""`qwen config endpoint`: names for servers, with where their keys are."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated, Any

import typer

from qwen_cli.commands.shared.output import print_json
from qwen_cli.errors import UsageError

app = typer.Typer(help="Names for servers, to be used with --endpoint.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _names(incomplete: str) -> list[str]:
    from qwen_cli import endpoints

    return [name for name in endpoints.named() if name.startswith(incomplete)]


Name = Annotated[str, typer.Argument(help="The name.", autocompletion=_names)]


@app.command()
def add(
    name: Name,
    url: Annotated[str, typer.Argument(help="Address, with or without /v1.")],
    key_env: Annotated[
        str | None, typer.Option("--key-env", help="Variable of the environment that holds the key.")
    ] = None,
    keyring: Annotated[
        bool, typer.Option("--keyring", help="Keep the key in the system's keyring; it is asked for.")
    ] = False,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Model that is used where none is named.")
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option("--header", help="NAME=VALUE to send (repeatable); =$VARIABLE reads it from there."),
    ] = None,
) -> None:
    """Give a server a name, or change what is kept under it."""
    from qwen_cli import endpoints

    pairs = [word.partition("=") for word in header or ()]
    if wrong := next((name for name, equals, _ in pairs if not name or not equals), None):
        raise UsageError(f"--header wants NAME=VALUE, got {wrong!r}")
    one = endpoints.Endpoint(
        url,
        name,
        key_env=key_env,
        keyring=keyring,
        model=model,
        headers={name: value for name, _, value in pairs},
    )
    file = endpoints.add(one, _asked_for(name) if keyring else None)
    typer.echo(f"{name} = {endpoints.find(name).url}  ({file})", err=True)


@app.command("list")
def list_(as_json: Json = False) -> None:
    """Every name with its address, model, and where its key is."""
    from qwen_cli import endpoints

    found = endpoints.named()
    if as_json:
        shown = {name: {k: v for k, v in asdict(one).items() if k != "name"} for name, one in found.items()}
        print_json(shown)
        return
    for name, one in found.items():
        key = f"${one.key_env}" if one.key_env else "keyring" if one.keyring else "—"
        typer.echo(f"{name:<16}{one.url:<40}{one.model or '—':<28}{key}")


@app.command()
def remove(name: Name) -> None:
    """Forget a name, and its key in the keyring."""
    from qwen_cli import endpoints

    file = endpoints.remove(name)
    typer.echo(f"{name} removed  ({file})", err=True)


@app.command()
def check(
    name: Annotated[str, typer.Argument(help="A name or an address.", autocompletion=_names)],
    as_json: Json = False,
) -> None:
    """Ask a server what it is, what it serves, and what that can do."""
    from qwen_cli import settings as user_settings
    from qwen_cli.commands.shared.engine import open_engine
    from qwen_cli.commands.shared.output import say
    from qwen_cli.engines.remote.engine import Remote

    settings = {**user_settings.load(), "endpoint": name, "engine": "remote", "model": None}
    with open_engine(settings) as engine:
        assert isinstance(engine, Remote)
        told = _told(engine)
    if as_json:
        print_json(told)
        return
    say(f"{told['server']} at {told['url']}")
    for what in (
        "model",
        "others",
        "context",
        "thinking",
        "tools",
        "vision",
        "videos",
        "fim",
        "counts tokens",
    ):
        value = told[what]
        typer.echo(f"{what:<15}{_words(value)}")


def _told(engine: Any) -> dict[str, Any]:
    can = engine.capabilities
    return {
        "server": engine.server,
        "url": engine.endpoint,
        "model": engine.model,
        "others": [name for name in engine.served if name != engine.model],
        "context": can.context,
        "thinking": can.thinking or False,
        "tools": can.tools,
        "vision": can.vision,
        "videos": can.video_files,
        "fim": can.fim,
        "counts tokens": engine.counts,
    }


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(value) or "—"
    return (
        f"{value:,} tokens"
        if isinstance(value, int)
        else str(value or "not told" if value is None else value)
    )


def _asked_for(name: str) -> str:
    """The key, from the terminal without showing it, or a line of standard input."""
    if sys.stdin.isatty():
        key = str(typer.prompt(f"key of {name}", hide_input=True, err=True))
    else:
        key = sys.stdin.readline()
    if not key.strip():
        raise UsageError("the key is empty", "write it on a terminal, or as a line of standard input")
    return key.strip()
