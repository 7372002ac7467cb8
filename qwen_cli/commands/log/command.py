"""`qwen log`: the questions that were asked once, and their answers."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import typer

from qwen_cli.commands.shared import options
from qwen_cli.commands.shared.help import App
from qwen_cli.commands.shared.output import print_json, say
from qwen_cli.errors import LogError, UsageError
from qwen_cli.models.sizes import gb
from qwen_cli.sanitize import one_line, strip_escapes
from qwen_cli.tasks.chat.messages import text_of
from qwen_cli.tasks.common import log
from qwen_cli.tasks.common.log import Entry

app = App(
    """List, search, show and remove the questions that were asked once, with their answers.

    Alone it lists the latest. Conversations on a terminal are sessions: `qwen sessions`.

    Examples:
      qwen log list -n 5
      qwen log search tomatoes
      qwen log show 12
    """,
    alone=True,
)

_LISTED = 20
_EXCERPT = 300  # characters of a question in a line that is not for a terminal
_LEAST = 20  # characters of it on a narrow one

Count = Annotated[int | None, typer.Option("-n", "--limit", min=1, help="Maximum number of entries.")]


@app.callback()
def latest(
    context: typer.Context,
    limit: Annotated[
        int | None,
        typer.Option("-n", "--limit", min=1, help="Maximum number of entries.", show_default=str(_LISTED)),
    ] = None,
    as_json: options.Json = False,
) -> None:
    if context.invoked_subcommand is None:
        _print(log.latest(limit or _LISTED), as_json=as_json)
    elif limit is not None or as_json:
        word = "--json" if as_json else "--limit"
        raise UsageError(
            f"{word} stands behind the command", f"write `qwen log {context.invoked_subcommand} … {word}`"
        )


@app.command("list")
def list_(limit: Count = None, as_json: options.Json = False) -> None:
    """List the questions, the latest first; all of them unless there is a limit.

    Examples:
      qwen log list -n 100
    """
    _print(log.latest(limit), as_json=as_json)


@app.command()
def search(
    words: Annotated[list[str], typer.Argument(help="Words in question or answer, all of them.")],
    limit: Count = None,
    as_json: options.Json = False,
) -> None:
    """List the questions that have all words, in question or answer. Exits 1 if there is none.

    Parts of words count, in any language and any case of letters; words in quotes are looked for together.

    Examples:
      qwen log search tomatoes greenhouse
      qwen log search "split tomatoes" --json
    """
    entries = log.search(words, limit)
    if entries or as_json:
        _print(entries, as_json=as_json)
    if not entries:
        raise LogError(f"the log has no {' '.join(words)!r}", "list it with `qwen log`")


@app.command()
def show(
    number: Annotated[
        int | None, typer.Argument(help="Number of an entry; without it, the latest.", show_default=False)
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Print a question and its answer as Markdown.

    Examples:
      qwen log show
      qwen log show 12 > answer.md
    """
    entry = log.get(number) if number is not None else next(iter(log.latest(1)), None)
    if entry is None:
        raise LogError("nothing is logged yet", 'ask something: `qwen chat "…"`')
    if as_json:
        print_json(_row(entry, whole=True))
    else:
        typer.echo(strip_escapes(_markdown(entry)), nl=False)


@app.command()
def rm(numbers: Annotated[list[int], typer.Argument(help="Numbers of entries.")]) -> None:
    """Remove questions and their answers for good.

    Examples:
      qwen log rm 12 13
    """
    log.remove(numbers)
    for number in numbers:
        say(f"removed {number}")


@app.command()
def prune(
    older_than: Annotated[
        int | None,
        typer.Option("--older-than", min=1, max=36_500, help="Remove those older than this many days."),
    ] = None,
    keep: Annotated[
        int | None, typer.Option("--keep", min=0, help="Remove all but this many, the latest.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed, and stop.")] = False,
) -> None:
    """Remove what is old.

    Examples:
      qwen log prune --older-than 90
      qwen log prune --keep 0
    """
    if older_than is None and keep is None:
        raise UsageError("nothing says what to remove", "give --older-than DAYS or --keep N")
    numbers = log.prunable(older_than=older_than, keep=keep)
    if numbers and not dry_run:
        log.remove(numbers)
    verb = "would remove" if dry_run else "removed"
    say(f"{verb} {_entries(len(numbers))}; the log takes {gb(log.size())} in {log.file()}")


def _print(entries: Sequence[Entry], *, as_json: bool) -> None:
    if as_json:
        print_json([_row(entry) for entry in entries])
        return
    if not entries:
        say("nothing is logged yet")
    lines = [(str(entry.id), *_cells(entry)) for entry in entries]
    widths = [max((len(line[column]) for line in lines), default=0) for column in range(5)]
    for line, entry in zip(lines, entries, strict=True):
        number, asked, model, tokens, seconds = line
        left = f"{number:>{widths[0]}}  {asked}  {model:<{widths[2]}}  {tokens:>{widths[3]}}"
        left += f"  {seconds:>{widths[4]}}  "
        typer.echo(left + _excerpt(entry, len(left)))


def _cells(entry: Entry) -> tuple[str, str, str, str]:
    tokens = "" if entry.generated_tokens is None else f"{entry.generated_tokens:,} tokens"
    seconds = "" if entry.seconds is None else f"{entry.seconds:.1f} s"
    return _local(entry), one_line(entry.model), tokens, seconds


def _excerpt(entry: Entry, before: int) -> str:
    """Return the beginning of the question, for a line in which so many characters stand before it."""
    mark = "" if not entry.cut else " (cut)" if entry.answer else " (no answer)"
    most = _EXCERPT
    if sys.stdout.isatty():
        most = max(_LEAST, shutil.get_terminal_size().columns - before - len(mark) - 1)
    command = "" if entry.command == "chat" else f"{entry.command}: "
    text = one_line(command + entry.question[: 4 * most])
    return (text if len(text) <= most else f"{text[: most - 1]}…") + mark


def _markdown(entry: Entry) -> str:
    rows = {
        "Asked": f"{_local(entry)} with `qwen {entry.command}`",
        "Model": f"{entry.model} ({entry.engine})",
        "Session": entry.session,
        "Goes on from": entry.parent,
        "Tokens": _tokens(entry),
        "Time": None if entry.seconds is None else f"{entry.seconds:.1f} s",
    }
    head = "\n".join(f"- {name}: {one_line(str(value))}" for name, value in rows.items() if value)
    parts = [f"# {entry.id}", head, "## Question", _asked(entry), "## Answer"]
    parts += [entry.answer or "*(there is no answer)*"]
    parts += ["*(the answer was cut here)*"] if entry.answer and entry.cut else []
    return "\n\n".join(part.strip("\n") for part in parts if part) + "\n"


def _asked(entry: Entry) -> str:
    """Return the question with the files that went with it, where they are kept."""
    asked = next((one for one in entry.messages or () if one.get("role") == "user"), None)
    return text_of(asked["content"]) if asked and asked.get("content") else entry.question


def _tokens(entry: Entry) -> str | None:
    if entry.generated_tokens is None:
        return None
    return (
        f"{entry.prompt_tokens:,} read ({entry.cached_tokens:,} cached), {entry.generated_tokens:,} written"
    )


def _row(entry: Entry, *, whole: bool = False) -> dict[str, Any]:
    row = {"id": entry.id, **asdict(entry)}
    del row["key"]
    if not whole:
        del row["messages"]
    return row


def _local(entry: Entry) -> str:
    try:
        return f"{datetime.fromisoformat(entry.asked).astimezone():%Y-%m-%d %H:%M}"
    except ValueError:
        return one_line(entry.asked)


def _entries(count: int) -> str:
    return f"{count:,} entr{'y' if count == 1 else 'ies'}"
