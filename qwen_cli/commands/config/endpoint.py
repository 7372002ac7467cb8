"""`qwen config endpoint`: names for servers, with where their keys are."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qwen_cli.commands.shared import complete, options
from qwen_cli.commands.shared.help import App
from qwen_cli.commands.shared.output import print_json, relay
from qwen_cli.errors import UsageError
from qwen_cli.sanitize import strip_escapes

if TYPE_CHECKING:
    from qwen_cli.engines.remote.engine import Remote

app = App(
    """Give servers names to use with --endpoint.

    Examples:
      qwen config endpoint add office http://10.0.0.5:8000/v1
      qwen config endpoint check office
    """
)


Name = Annotated[str, typer.Argument(help="Name of the server.", autocompletion=complete.endpoints)]


@app.command()
def add(
    name: Name,
    url: Annotated[str, typer.Argument(help="Address of the server, with or without /v1.")],
    key_env: Annotated[
        str | None, typer.Option("--key-env", help="Environment variable that holds the API key.")
    ] = None,
    keyring: Annotated[
        bool, typer.Option("--keyring", help="Ask for the API key and keep it in the system keyring.")
    ] = False,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Model to use if --model is not given.")
    ] = None,
    header: Annotated[
        list[str] | None,
        typer.Option("--header", help="HTTP header to send, as NAME=VALUE or NAME=$VARIABLE (repeatable)."),
    ] = None,
) -> None:
    """Give a server a name, or change one.

    Examples:
      qwen config endpoint add office http://10.0.0.5:8000/v1 --key-env OFFICE_KEY
    """
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
def list_(as_json: options.Json = False) -> None:
    """List the named servers with address, model, and where the key is.

    Examples:
      qwen config endpoint list
    """
    from qwen_cli import endpoints

    named = endpoints.named()
    if as_json:
        fields = {name: {k: v for k, v in asdict(one).items() if k != "name"} for name, one in named.items()}
        print_json(fields)
        return
    for name, one in named.items():
        key = f"${one.key_env}" if one.key_env else "keyring" if one.keyring else "—"
        typer.echo(f"{name:<16}{one.url:<40}{one.model or '—':<28}{key}")


@app.command()
def remove(name: Name) -> None:
    """Remove a named server, and its key from the keyring.

    Examples:
      qwen config endpoint remove office
    """
    from qwen_cli import endpoints

    file = endpoints.remove(name)
    typer.echo(f"{name} removed  ({file})", err=True)


@app.command()
def check(
    name: Annotated[
        str, typer.Argument(help="Name or address of the server.", autocompletion=complete.endpoints)
    ],
    as_json: options.Json = False,
) -> None:
    """Ask a server what it is, which models it serves, and what they can do.

    Examples:
      qwen config endpoint check office
    """
    from qwen_cli import endpoints
    from qwen_cli import settings as user_settings
    from qwen_cli.commands.shared.output import say
    from qwen_cli.engines.remote.engine import Remote
    from qwen_cli.ui.progress import Waiting

    endpoint = endpoints.find(name)
    key = endpoint.key() if endpoint.name else user_settings.load().get("api_key")
    with (
        Waiting(f"asking {name} …", relay),
        Remote(
            endpoint.url, model=endpoint.model, api_key=key, headers=endpoint.sent(), notice=relay
        ) as server,
    ):
        report = _report(server)
    if as_json:
        print_json(report)
        return
    say(f"{report['server']} at {report['url']}")
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
        value = report[what]
        typer.echo(f"{what:<15}{_words(value)}")


def _report(engine: Remote) -> dict[str, Any]:
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
    return strip_escapes(_said(value))  # a server's words: they must not steer the terminal


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(value) or "—"
    return (
        f"{value:,} tokens"
        if isinstance(value, int)
        else str(value or "not reported" if value is None else value)
    )


def _asked_for(name: str) -> str:
    """Return the key, from the terminal without showing it, or a line of standard input."""
    if sys.stdin.isatty():
        key = str(typer.prompt(f"key of {name}", hide_input=True, err=True))
    else:
        key = sys.stdin.readline()
    if not key.strip():
        raise UsageError("the key is empty", "write it on a terminal, or as a line of standard input")
    return key.strip()
