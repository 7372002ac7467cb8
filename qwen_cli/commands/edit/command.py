"""`qwen code-edit`: change code as an instruction says."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qwen_cli import settings as user_settings
from qwen_cli.commands.shared import options
from qwen_cli.commands.shared.engine import choose_model, open_engine
from qwen_cli.commands.shared.output import cut, figures, print_json, say
from qwen_cli.errors import QwenError, UsageError

if TYPE_CHECKING:
    from qwen_cli.engines.core.base import Engine
    from qwen_cli.tasks.edit.edit import Proposal
    from qwen_cli.tasks.fim.source import Source

OUTPUT = "Output (a diff by default; the file is left as it is)"
_FORMS = ("auto", "whole", "search")
_PLACE = re.compile(r"(?P<file>.+):(?P<first>\d+)(?:-(?P<last>\d+))?\Z", re.DOTALL)


@dataclass(frozen=True)
class EditSamplingOptions(options.SamplingOptions):
    """The sampling flags; an edit has a limit of its own."""

    max_tokens: Annotated[
        int | None,
        options.max_tokens(
            "Maximum length of the answer in tokens; if not given 1,024 and twice those of the lines to "
            "be edited. An answer that was cut there is refused."
        ),
    ] = None


@options.grouped
def code_edit(
    place: Annotated[
        str,
        typer.Argument(
            metavar="FILE[:A-B]",
            help="File to edit; with :A-B only the lines A to B, counted from 1, with :A that line.",
        ),
    ],
    instruction: Annotated[
        str, typer.Argument(help="What to change, in words; read from standard input if -.")
    ],
    write: Annotated[
        bool,
        typer.Option("--write", help="Write the edit into the file; print nothing.", rich_help_panel=OUTPUT),
    ] = False,
    yes: Annotated[
        bool,
        typer.Option(
            "--yes",
            help="With --write: write an edit with which the file parses worse, too, instead of refusing it.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    full: Annotated[
        bool, typer.Option("--full", help="Print the whole file, edited.", rich_help_panel=OUTPUT)
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print one JSON object with the changed lines, the diff, usage and timings.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    form: Annotated[
        str,
        typer.Option(
            "--form",
            help="How the model is asked to answer: whole (the lines written anew), search (search/replace "
            "blocks), or auto (whole up to 60 lines).",
        ),
    ] = "auto",
    sampling_options: EditSamplingOptions = EditSamplingOptions(),
    stop: options.Stop = None,
    loading: options.Loading = options.Loading(),
) -> None:
    """Edit code as an instruction says, with a coder model: shown as a diff, written with --write.

    The answer is applied exactly or refused, with the reason.

    Examples:
      qwen code-edit main.py:10-32 "raise ValueError if n is negative"
      qwen code-edit main.py "rename fetch to download" --write
    """
    from qwen_cli.commands.shared import source_output
    from qwen_cli.tasks.edit import edit

    if form not in _FORMS:
        raise UsageError(f"--form is {form!r}", f"choose {', '.join(_FORMS)}")
    if [full, write, as_json].count(True) > 1:
        raise UsageError("--full, --write and --json exclude each other", "choose one")
    if yes and not write:
        raise UsageError("--yes does nothing without --write", "leave it out, or give both")
    settings = options.merged(user_settings.load(), loading, sampling_options)
    sampling = options.exact_sampling(settings, sampling_options, stop=stop)
    source = _source(place)
    words = _instruction(instruction)
    choose_model(settings, "edit")
    assert source.path is not None
    with open_engine(settings, loading) as engine:
        running = edit.stream(
            engine, source, words, name=source.path.name, form=_form(form), sampling=sampling
        )
        try:
            proposal = source_output.watched(running)
        except edit.CutOff as fault:
            raise _cut(fault) from None
    if proposal.broken:
        worse = f"{source.path} would parse worse with the edit than it does now"
        if write and not yes:
            raise QwenError(f"{worse}. Nothing was written", "see what it is without --write, or give --yes")
        say(worse)
    if as_json:
        _print_json(proposal, engine)
    elif write:
        _write(proposal)
    elif full:
        source_output.raw(source, proposal.text, whole=True)
    elif proposal.changed:
        source_output.diff(source, source.text, proposal.text)
    if not proposal.changed:
        say("the model changed nothing")


def _source(place: str) -> Source:
    """Return the file and which lines of it are meant. Raises `UsageError`."""
    from qwen_cli.tasks.edit import edit
    from qwen_cli.tasks.fim import source

    if place == "-":
        raise UsageError("there is no file to edit", "name one; standard input can be the instruction")
    lines = _PLACE.match(place)
    if lines is None or Path(place).exists():  # a name may have a colon in it
        return edit.selected(source.read(Path(place)))
    last = int(lines["last"]) if lines["last"] else None
    return edit.selected(source.read(Path(lines["file"])), int(lines["first"]), last)


def _instruction(given: str) -> str:
    """Return the instruction, from standard input where it is `-`. Raises `UsageError`."""
    if given == "-":
        if sys.stdin is None or sys.stdin.closed or sys.stdin.isatty():
            raise UsageError("there is no instruction", "pipe one in, or give it as the second argument")
        given = sys.stdin.read()
    if not given.strip():
        raise UsageError("the instruction is empty", "say what is to be changed")
    return given


def _form(form: str) -> Any:
    return form  # checked where flags are read


def _cut(fault: Any) -> QwenError:
    reason = cut(fault.stop, fault.tokens)
    assert reason is not None
    return QwenError(f"{reason[0]}. Nothing is changed", f"{reason[1]}, or name fewer lines")


def _write(proposal: Proposal) -> None:
    from qwen_cli.tasks.fim import source

    if not proposal.changed:
        return
    source.replace_text(proposal.source, proposal.text)
    before = sum(change.end - change.start for change in proposal.changes)
    after = sum(len(change.lines) for change in proposal.changes)
    say(f"{proposal.source.path}: {before:,} line{'' if before == 1 else 's'} became {after:,}")


def _print_json(proposal: Proposal, engine: Engine) -> None:
    """Print what is changed and what it cost."""
    from qwen_cli.commands.shared import source_output

    source = proposal.source
    diff = source_output.diff_lines(source, source.text, proposal.text)
    print_json(
        {
            "file": str(source.path),
            "changed": proposal.changed,
            "form": proposal.form,
            "parses_worse": proposal.broken,
            "edits": [
                {"first": change.start, "last": change.end - 1, "lines": list(change.lines)}
                for change in proposal.changes
            ],
            "diff": "".join(diff),
            "model": engine.model,
            "engine": engine.name,
            **figures(proposal.usage),
        }
    )
