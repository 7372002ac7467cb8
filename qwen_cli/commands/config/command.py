"""`qwen config`: read and write the settings file."""

from __future__ import annotations

from typing import Annotated

import typer

from qwen_cli import paths, settings
from qwen_cli.commands.config import endpoint
from qwen_cli.commands.shared import options
from qwen_cli.commands.shared.help import App
from qwen_cli.commands.shared.output import print_json
from qwen_cli.errors import QwenError, UsageError

app = App(
    """Read and write settings.

    Examples:
      qwen config set model qwen3:8b
      qwen config list
    """
)
app.add_typer(endpoint.app, name="endpoint")


def _names(incomplete: str) -> list[str]:
    return [name for name in settings.SETTINGS if name.startswith(incomplete)]


Name = Annotated[
    str, typer.Argument(help="Name of a setting; `qwen config list` shows them.", autocompletion=_names)
]


@app.command("list")
def list_(as_json: options.Json = False) -> None:
    """List every setting with its value, where that comes from, and its meaning.

    Examples:
      qwen config list
    """
    values = settings.load()
    if as_json:
        print_json({n: _masked(n, values.get(n)) for n in settings.SETTINGS})
        return
    for setting in settings.SETTINGS.values():
        value = _masked(setting.name, values.get(setting.name))
        said = "—" if value is None else f"{value} ({settings.origin(setting.name)})"
        typer.echo(f"{setting.name:<20}{said:<30}  {setting.help}")


@app.command()
def get(name: Name, as_json: options.Json = False) -> None:
    """Print one setting. Exits 1 if it is not set.

    Examples:
      qwen config get model
    """
    settings.setting(name)
    value = settings.load().get(name)
    if as_json:
        print_json({name: value})
    elif value is not None:
        typer.echo(value)
    if value is None:
        raise QwenError(f"{name} is not set", f"set it with `qwen config set {name} VALUE`")


@app.command("set")
def set_(
    name: Name,
    value: Annotated[str, typer.Argument(help="New value of the setting.")],
    in_clear: Annotated[
        bool,
        typer.Option(
            "--in-clear", help="Allow a key to be written into the settings file, where programs can read it."
        ),
    ] = False,
) -> None:
    """Set one setting.

    Examples:
      qwen config set model qwen3:8b
    """
    if settings.setting(name).secret and not in_clear:
        raise UsageError(
            f"{name} would stand in the file in clear",
            "set QWEN_API_KEY, or name the endpoint: `qwen config endpoint add NAME URL --key-env VARIABLE`;"
            " --in-clear insists",
        )
    file = settings.store(name, value)
    typer.echo(f"{name} = {_masked(name, value)}  ({file})", err=True)


@app.command()
def unset(name: Name) -> None:
    """Remove one setting.

    Examples:
      qwen config unset model
    """
    settings.setting(name)
    if name not in settings.read():
        typer.echo(f"{name} was not set  ({paths.config_file()})", err=True)
    else:
        typer.echo(f"{name} removed  ({settings.store(name, None)})", err=True)
    if settings.origin(name) == settings.variable(name):
        typer.echo(f"{settings.variable(name)} still sets it", err=True)


@app.command()
def path() -> None:
    """Print where the settings file is (it need not exist).

    Examples:
      qwen config path
    """
    typer.echo(paths.config_file())


def _masked(name: str, value: object) -> object:
    return "********" if value is not None and settings.SETTINGS[name].secret else value
