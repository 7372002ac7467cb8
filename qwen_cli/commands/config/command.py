"""`qwen config`: read and write the settings file."""

from __future__ import annotations

from typing import Annotated

import typer

from qwen_cli import aliases, paths, project, settings
from qwen_cli.commands.config import endpoint
from qwen_cli.commands.shared import complete, options
from qwen_cli.commands.shared.help import App
from qwen_cli.commands.shared.output import print_json
from qwen_cli.errors import QwenError, UsageError
from qwen_cli.sanitize import strip_escapes

app = App(
    """Read and write settings.

    Examples:
      qwen config set model qwen3:8b
      qwen config list
    """
)
app.add_typer(endpoint.app, name="endpoint")


Name = Annotated[
    str,
    typer.Argument(
        help="Name of a setting; `qwen config list` shows them.", autocompletion=complete.settings_names
    ),
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
    value: Annotated[
        str, typer.Argument(help="New value of the setting.", autocompletion=complete.setting_values)
    ],
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
def alias(
    name: Annotated[
        str | None, typer.Argument(help="Name to use for the model.", autocompletion=complete.aliases)
    ] = None,
    model: Annotated[
        str | None,
        typer.Argument(
            help="Model that it means: alias of the catalog, hub id, folder or .gguf file.",
            autocompletion=complete.models,
        ),
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Forget this alias.")] = False,
    as_json: options.Json = False,
) -> None:
    """Give models names of your own, to use wherever a model is named. Lists them if called alone.

    Examples:
      qwen config alias fast qwen3:4b
      qwen config alias fast --remove
    """
    if remove and (name is None or model is not None):
        raise UsageError("--remove wants the name of an alias alone", "see `qwen config alias`")
    if as_json and (remove or model is not None):
        raise UsageError("--json lists aliases", "leave it out, or the model")
    if name is None:
        _list_aliases(as_json)
    elif remove:
        typer.echo(f"{name} removed  ({aliases.remove(name)})", err=True)
    elif model is None:
        known = aliases.find(name)
        print_json({name: known}) if as_json else typer.echo(known)
    else:
        _add_alias(name, model)


def _list_aliases(as_json: bool) -> None:
    known = aliases.named()
    if as_json:
        print_json(known)
        return
    for name, model in sorted(known.items()):
        typer.echo(strip_escapes(f"{name:<20}{model}"))


def _add_alias(name: str, model: str) -> None:
    from qwen_cli.models.catalog import lookup
    from qwen_cli.models.hub import resolve

    aliases.check(name)
    meant = model if model in aliases.named() else resolve.checked(model)
    file = aliases.add(name, meant)
    if known := lookup.find(name):
        typer.echo(f"{name} also names {known.name} of the catalog: the alias wins from now on", err=True)
    typer.echo(strip_escapes(f"{name} = {meant}  ({file})"), err=True)


@app.command("project")
def project_(
    trust: Annotated[
        bool, typer.Option("--trust", help="Trust what the project sets, as it is now, without asking.")
    ] = False,
    forget: Annotated[bool, typer.Option("--forget", help="Forget what was answered: ask again.")] = False,
    as_json: options.Json = False,
) -> None:
    """Show what the project of this folder sets (.qwen.toml, .qwen/templates), and whether that is trusted.

    Examples:
      qwen config project
      qwen config project --trust
    """
    from qwen_cli.commands.shared.trust import facts

    if trust and forget:
        raise UsageError("--trust and --forget exclude each other", "choose one")
    there = project.find()
    if there is None:
        raise QwenError(
            "no project is here: neither .qwen.toml nor .qwen/templates, up to the root of the repository",
            "write one: see docs/config.md",
        )
    told = facts(there)
    if trust or forget:
        project.remember(there, True if trust else None)
    answer = {True: "trusted", False: "refused", None: "not trusted yet"}[project.answered(there)]
    if as_json:
        values = settings.of_project(there)
        print_json(
            {"root": str(there.root), "answer": answer, "settings": values, "templates": [*there.templates]}
        )
        return
    typer.echo(strip_escapes(f"{there.root}: {answer}"))
    for line in told:
        typer.echo(strip_escapes(f"  {line}"))


@app.command()
def path() -> None:
    """Print where the settings file is (it need not exist).

    Examples:
      qwen config path
    """
    typer.echo(paths.config_file())


def _masked(name: str, value: object) -> object:
    return "********" if value is not None and settings.SETTINGS[name].secret else value
