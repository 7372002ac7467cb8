"""`qwen templates`: list, show and edit them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from qwen_cli.commands.shared import complete, editor, options
from qwen_cli.commands.shared.help import App
from qwen_cli.commands.shared.output import print_json, relay, say
from qwen_cli.errors import QwenError, UsageError
from qwen_cli.sanitize import strip_escapes
from qwen_cli.tasks.chat import templates

app = App(
    """List, show and edit templates: questions that `qwen chat -t NAME` asks again.

    Examples:
      qwen templates list
      qwen templates edit review
    """
)

_EXAMPLE = """\
description = "What it is for, in a line."
system = "Instructions that hold for the whole conversation."
# $input is what is asked, files and standard input; other variables are given with -p NAME=VALUE.
prompt = \"\"\"
Explain this to $reader:

$input
\"\"\"
# model = "qwen3:8b"
# schema = "answer.json"

[defaults]
reader = "a newcomer"

[sampling]
# temperature = 0.2
"""

Name = Annotated[str, typer.Argument(help="Name of a template.", autocompletion=complete.templates)]


@app.command("list")
def list_(as_json: options.Json = False) -> None:
    """List the templates, your own and those of a trusted project.

    Examples:
      qwen templates list
    """
    found = []
    for name in sorted(templates.known()):
        try:
            found.append(templates.load(name))
        except QwenError as fault:
            relay(str(fault))
    if as_json:
        print_json([_facts(one) for one in found])
        return
    if not found:
        say(f"there is none yet in {templates.folder()}; `qwen templates edit NAME` begins one")
    width = max((len(one.name) for one in found), default=0) + 2
    for one in found:
        said = one.description or " ".join(f"${name}" for name in one.variables)
        typer.echo(strip_escapes(f"{one.name:<{width}}{said}".rstrip()))


def _facts(one: templates.Template) -> dict[str, Any]:
    return {**asdict(one), "path": str(one.path), "variables": one.variables}


@app.command()
def show(name: Name, as_json: options.Json = False) -> None:
    """Print a template as it is in its file.

    Examples:
      qwen templates show review
    """
    one = templates.load(name)
    if as_json:
        print_json(_facts(one))
        return
    typer.echo(strip_escapes(one.path.read_text("utf-8", errors="replace")), nl=False)


@app.command()
def edit(name: Name) -> None:
    """Edit one of your own templates in $VISUAL or $EDITOR; a new one begins with an example.

    Examples:
      qwen templates edit review
    """
    path = templates.own_path(name)
    before = path.read_text("utf-8") if path.is_file() else _EXAMPLE
    program = editor.chosen()
    if program is None:
        raise UsageError("no editor is set", f"set EDITOR, or write {path} yourself")
    after = editor.changed(program, before, path.name) + "\n"
    if after == before:
        say("nothing was changed")
        return
    try:
        templates.parse(after.encode(), name, path)
    except UsageError as fault:
        kept = path.with_suffix(".toml.rejected")
        templates.write(kept, after)
        raise UsageError(f"{fault.message}; what you wrote is in {kept}", fault.hint) from None
    templates.write(path, after)
    typer.echo(path)


@app.command("path")
def path_(
    name: Annotated[
        str | None, typer.Argument(help="Name of a template.", autocompletion=complete.templates)
    ] = None,
) -> None:
    """Print where a template is, or the folder for your own if none is named.

    Examples:
      qwen templates path
    """
    typer.echo(templates.folder() if name is None else templates.load(name).path)
