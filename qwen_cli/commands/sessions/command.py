"""`qwen sessions`: the saved conversations, and the room they take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from qwen_cli.commands.shared import options
from qwen_cli.commands.shared.help import App
from qwen_cli.commands.shared.output import print_json, relay, say
from qwen_cli.errors import QwenError, SessionError, UsageError
from qwen_cli.models.sizes import gb
from qwen_cli.sanitize import strip_escapes
from qwen_cli.tasks.chat import sessions

app = App(
    """List, search, show, rename and remove saved conversations.

    Examples:
      qwen sessions list
      qwen sessions search tomatoes
    """
)

_AROUND = 40  # characters on each side of a word that is found


def _names(incomplete: str) -> list[str]:
    return [name for name in sessions.names() if name.startswith(incomplete)]


Name = Annotated[str, typer.Argument(help="Name of a saved conversation.", autocompletion=_names)]


@app.command("list")
def list_(as_json: options.Json = False) -> None:
    """List the saved conversations, the latest first, with the room that each takes.

    Examples:
      qwen sessions list
    """
    rows = [_row(name) for name in sessions.names()]
    if as_json:
        print_json(rows)
        return
    if not rows:
        say("no conversation is saved yet")
    for row in rows:
        typer.echo(f"{row['updated'].replace('T', ' ')}  {gb(row['bytes']):>8}  {row['name']}")
    if rows:
        say(f"{gb(sum(row['bytes'] for row in rows))} in {sessions.folder()}")


@app.command()
def search(
    words: Annotated[list[str], typer.Argument(help="Words that were said, all of them.")],
    as_json: options.Json = False,
) -> None:
    """List the conversations in which all words were said, each with the place. Exits 1 if there is none.

    Examples:
      qwen sessions search tomatoes greenhouse
    """
    found = [
        {"name": name, "where": where}
        for name in sessions.names()
        if (where := sessions.said(name, words, around=_AROUND)) is not None
    ]
    if as_json:
        print_json(found)
    for row in () if as_json else found:
        typer.echo(strip_escapes(f"{row['name']}: {row['where']}"))
    if not found:
        raise SessionError(
            f"no saved conversation has {' '.join(words)!r}", "list them with `qwen sessions list`"
        )


@app.command()
def show(name: Name, as_json: options.Json = False) -> None:
    """Print a conversation as Markdown.

    Examples:
      qwen sessions show trip
    """
    from qwen_cli.tasks.chat import export

    session = sessions.load(name)
    if as_json:
        typer.echo(export.to_json(session))
    else:
        typer.echo(strip_escapes(export.to_markdown(session)), nl=False)


@app.command()
def rename(name: Name, to: Annotated[str, typer.Argument(help="New name of it.")]) -> None:
    """Give a conversation another name.

    Examples:
      qwen sessions rename 2026-11-03-0912-hello trip
    """
    sessions.rename(name, to)
    say(f"{name} is now {to}")


@app.command()
def rm(names: Annotated[list[str], typer.Argument(help="Names of them.", autocompletion=_names)]) -> None:
    """Remove conversations for good.

    Examples:
      qwen sessions rm trip
    """
    _each(names, sessions.delete, "removed ")


@app.command()
def prune(
    older_than: Annotated[
        int | None,
        typer.Option("--older-than", min=1, max=36_500, help="Remove those not used for this many days."),
    ] = None,
    keep: Annotated[
        int | None, typer.Option("--keep", min=0, help="Remove all but this many, the latest.")
    ] = None,
    caches: Annotated[
        bool,
        typer.Option(
            "--caches",
            help="Remove the models' states alone, also of files and system prompts; they are computed anew.",
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed, and stop.")] = False,
) -> None:
    """Remove what is old, or the models' states that make going on quick.

    Examples:
      qwen sessions prune --older-than 90
      qwen sessions prune --caches
    """
    if caches == (older_than is not None or keep is not None):
        raise UsageError("nothing says what to remove", "give --older-than DAYS, --keep N or --caches, alone")
    chosen = sessions.names()
    before: datetime | None = None
    if keep is not None:
        chosen = chosen[keep:]
    if older_than is not None:
        before = datetime.now() - timedelta(days=older_than)
        chosen = [name for name in chosen if sessions.changed(name) < before]
    if caches:
        chosen = [name for name in chosen if sessions.kv_path(name).exists()]
    remove = sessions.forget_state if caches else sessions.delete
    verb = f"{'would remove' if dry_run else 'removed'} {'the state of ' if caches else ''}"
    files = sessions.file_states(before.timestamp() if before else None) if caches or before else []
    try:
        _each(chosen, (lambda name: None) if dry_run else remove, verb)
    finally:
        _forget_files(files, dry_run=dry_run)


def _forget_files(states: Sequence[Path], *, dry_run: bool) -> None:
    """Remove what models have computed for long files and openings, and say of how many."""
    for state in () if dry_run else states:
        sessions.forget(state)
    if states:
        texts = f"{len(states)} files and system prompts" if len(states) > 1 else "a file or system prompt"
        say(f"{'would remove' if dry_run else 'removed'} what was read of {texts}")


def _each(names: Sequence[str], do: Callable[[str], None], done: str) -> None:
    """Do it with each, and say so; one that fails is told and stops none of the others. Exits 1 then."""
    failed = False
    for name in names:
        try:
            do(name)
            say(f"{done}{name}")
        except (QwenError, OSError) as fault:
            relay(str(fault))
            failed = True
    if failed:
        raise typer.Exit(1)


def _row(name: str) -> dict[str, Any]:
    changed = sessions.changed(name).isoformat(timespec="minutes")
    return {"name": name, "updated": changed, "bytes": sessions.size(name)}
