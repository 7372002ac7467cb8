"""`qwen code-fim`: write what is missing between two pieces of code."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qwen_cli import settings as user_settings
from qwen_cli.commands.shared import options
from qwen_cli.commands.shared.engine import choose_model, open_engine
from qwen_cli.commands.shared.output import cut, relay, say
from qwen_cli.errors import QwenError, UsageError

if TYPE_CHECKING:
    from qwen_cli.engines.core.base import Engine
    from qwen_cli.tasks.fim.complete import Middle, Mode
    from qwen_cli.tasks.fim.source import Source
    from qwen_cli.tasks.repository.context import Taken

WHERE = "Where to fill"
OUTPUT = "Output (only the filled-in code by default)"
CONTEXT = "Context from other files"

MARKER = "<|fim|>"
# Tokens of other files where --context does not say how much there may be: on two CPU cores a thousand
# tokens of prompt take ten seconds.
_REPOSITORY_TOKENS = 1024


@dataclass(frozen=True)
class FimSamplingOptions(options.SamplingOptions):
    """The sampling flags; a completion has a limit of its own."""

    max_tokens: Annotated[
        int | None,
        options.max_tokens(
            "Maximum length of the code in tokens; if not given 256, with --mode line 96, with --mode "
            "block 384 (with -n: 96, 64 and 128). Code that was cut there is reported."
        ),
    ] = None


@options.grouped
def code_fim(
    file: Annotated[
        Path | None, typer.Argument(help="File with the gap to fill; standard input if - or not given.")
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            "--at",
            help="Position of the gap as LINE or LINE:COL, counted from 1; without COL, the end of the line.",
            rich_help_panel=WHERE,
        ),
    ] = None,
    marker: Annotated[
        str | None,
        typer.Option(
            "--marker",
            help=f"Text in the file that marks the gap; {MARKER} if not given.",
            rich_help_panel=WHERE,
        ),
    ] = None,
    prefix: Annotated[
        Path | None,
        typer.Option("--prefix", help="File with the code before the gap.", rich_help_panel=WHERE),
    ] = None,
    suffix: Annotated[
        Path | None, typer.Option("--suffix", help="File with the code after the gap.", rich_help_panel=WHERE)
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            help="File name that tells the programming language of standard input.",
            rich_help_panel=WHERE,
        ),
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Print the whole file, filled in.", rich_help_panel=OUTPUT)
    ] = False,
    diff: Annotated[
        bool, typer.Option("--diff", help="Print a unified diff of the file.", rich_help_panel=OUTPUT)
    ] = False,
    write: Annotated[
        bool,
        typer.Option(
            "--write", help="Write the filled-in code into the file; print nothing.", rich_help_panel=OUTPUT
        ),
    ] = False,
    yes: Annotated[
        bool,
        typer.Option(
            "--yes",
            help="With --write: write code that was cut by a limit, too, instead of refusing it.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print one JSON object with middle, candidates, usage and timings.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    n: Annotated[
        int,
        typer.Option(
            "-n",
            min=1,
            max=64,
            help="Number of candidates to generate; on a terminal you choose one, otherwise the likeliest is "
            "taken.",
            rich_help_panel=OUTPUT,
        ),
    ] = 1,
    mode: Annotated[
        str,
        typer.Option(
            "--mode",
            help="How much to fill in: line, block, or auto (until the model ends).",
            rich_help_panel=OUTPUT,
        ),
    ] = "auto",
    repo: Annotated[
        Path | None,
        typer.Option(
            "--repo",
            help="Folder whose other files give context; the file's git work tree if not given.",
            rich_help_panel=CONTEXT,
        ),
    ] = None,
    no_repo: Annotated[
        bool, typer.Option("--no-repo", help="Use this file alone as context.", rich_help_panel=CONTEXT)
    ] = False,
    show_prompt: Annotated[
        bool,
        typer.Option(
            "--show-prompt",
            help="Print the prompt that the model would get, and exit.",
            rich_help_panel=CONTEXT,
        ),
    ] = False,
    lsp: Annotated[
        bool,
        typer.Option("--lsp", help="Run as a language server over stdio, for completions in an editor."),
    ] = False,
    sampling_options: FimSamplingOptions = FimSamplingOptions(),
    stop: options.Stop = None,
    loading: options.Loading = options.Loading(),
) -> None:
    """Fill in code at a position in a file, from the code before and after it.

    Examples:
      qwen code-fim main.py --at 12 --diff
      qwen code-fim --name draft.c < draft.c
    """
    from qwen_cli.commands.fim import output
    from qwen_cli.commands.shared import source_output
    from qwen_cli.tasks.fim import complete

    if mode not in ("line", "block", "auto"):
        raise UsageError(f"--mode must be line, block or auto, got {mode!r}")
    if [full, diff, write, as_json].count(True) > 1:
        raise UsageError("--full, --diff, --write and --json exclude each other", "choose one")
    if yes and not write:
        raise UsageError("--yes does nothing without --write", "leave it out, or give both")
    if repo is not None and no_repo:
        raise UsageError("--repo and --no-repo exclude each other", "choose one")
    settings = options.merged(user_settings.load(), loading, sampling_options)
    if lsp:
        where = (file, at, marker, prefix, suffix, name, repo)
        if any((*where, full, diff, write, as_json, n > 1, show_prompt)):
            raise UsageError("--lsp takes files and places from the editor", "leave them out")
        if any(
            value is not None
            for value in (*asdict(replace(sampling_options, max_tokens=None)).values(), stop)
        ):
            raise UsageError("--lsp writes the likeliest text", "leave the sampling flags out")
        choose_model(settings, "code")
        with open_engine(settings, loading) as loaded:
            _serve(loaded, mode, repository=not no_repo, max_tokens=sampling_options.max_tokens)
        return
    source = _source(file, at, marker, prefix, suffix)
    if write and (source.path is None or prefix or suffix):
        raise UsageError("--write needs a file to write to", "name it: `qwen code-fim FILE --at LINE`")
    sampling: Any = options.exact_sampling(settings, sampling_options, stop=stop)
    choose_model(settings, "code")
    path = source.path or prefix or (Path(name) if name else None)
    with open_engine(settings, loading) as loaded:
        root = _root(repo, no_repo, source.path or prefix)
        known_as = _known_as(path, root)
        fitted = complete.fitted(loaded, source.hole(known_as), _mode(mode), limit=sampling.max_tokens)
        if fitted.notice:
            relay(fitted.notice)
        hole = fitted.hole
        files = _files(
            loaded, root, hole, _mode(mode), sampling.max_tokens, full_context=loading.context is not None
        )
        inside = {"repository": root.name if root else "", "mode": _mode(mode), "sampling": sampling}
        if show_prompt:
            for taken in files:
                say(f"{taken.path}: {taken.why}")
            source_output.text(complete.render(loaded, hole, files, repository=inside["repository"]) + "\n")
            return
        if n == 1:
            middles = [source_output.watched(complete.stream(loaded, hole, files, **inside))]
            if as_json and not middles[0].usage.prompt_tokens and loaded.capabilities.fim:
                # A completion that a rule ended is closed before the engine reports.
                seen = complete.render(loaded, hole, files, repository=inside["repository"])
                usage = replace(middles[0].usage, prompt_tokens=loaded.count_tokens(seen))
                middles = [replace(middles[0], usage=usage)]
        else:
            middles = complete.candidates(loaded, hole, n, files, **inside)
    chosen = output.pick(middles) if len(middles) > 1 and not as_json else middles[0]
    if found_cut := cut(chosen.stop, chosen.usage.generated_tokens, "code"):
        why, remedy = found_cut
        if write and not yes:
            raise QwenError(f"{why}. Nothing was written", f"{remedy}, or write it as it is with --yes")
        say(f"{why}. {remedy.capitalize()}")
    if as_json:
        output.as_json(source, middles, loaded, files)
        return
    _put(source, chosen, full=full, diff=diff, write=write)


def _serve(loaded: Engine, mode: str, *, repository: bool, max_tokens: int | None) -> None:
    """Run as a language server until the editor leaves."""
    from qwen_cli.lsp.server import serve
    from qwen_cli.lsp.settings import DEFAULTS

    length = max_tokens or DEFAULTS.max_tokens
    serve(loaded, settings=replace(DEFAULTS, mode=mode, repository=repository, max_tokens=length))


def _put(source: Source, chosen: Middle, *, full: bool, diff: bool, write: bool) -> None:
    from qwen_cli.commands.shared import source_output
    from qwen_cli.tasks.fim import source as fim_source

    if write:
        fim_source.write(source, chosen.text)
        lines = len(chosen.text.splitlines())
        say(
            f"{source.path}: {lines:,} line{'s' if lines > 1 else ''} filled in"
            if lines
            else "nothing to fill in"
        )
    elif diff:
        source_output.diff(source, source.before + source.after, source.filled(chosen.text))
    elif full:
        source_output.raw(source, source.filled(chosen.text), whole=True)
    else:
        source_output.raw(source, source.inserted(chosen.text))


def _source(
    file: Path | None, at: str | None, marker: str | None, prefix: Path | None, suffix: Path | None
) -> Source:
    """Return the text and the place in it. Raises `UsageError`."""
    from qwen_cli.tasks.fim import source as fim_source

    if prefix is not None or suffix is not None:
        if file is not None or at is not None or marker is not None:
            raise UsageError("--prefix and --suffix say it all", "drop FILE, --at and --marker")
        before = fim_source.read(prefix) if prefix else fim_source.Source("")
        after = fim_source.read(suffix) if suffix else fim_source.Source("")
        return replace(before, text=before.text + after.text, at=len(before.text), path=None)
    if at is not None and marker is not None:
        raise UsageError("--at and --marker exclude each other", "choose one")
    if file is None or str(file) == "-":
        if sys.stdin is None or sys.stdin.closed or sys.stdin.isatty():
            raise UsageError("there is no code to fill in", "name a FILE, or pipe one in")
        source = fim_source.decoded(sys.stdin.buffer.read(), "standard input")
    else:
        source = fim_source.read(file)
    if at is not None:
        return fim_source.at_position(source, at)
    return fim_source.at_marker(source, marker if marker is not None else MARKER)


def _mode(mode: str) -> Mode:
    return mode  # type: ignore[return-value]  # checked where flags are read


def _root(repo: Path | None, no_repo: bool, path: Path | None) -> Path | None:
    """Return the folder whose files are shown. Raises `UsageError`."""
    if no_repo:
        return None
    if repo is not None:
        if not repo.is_dir():
            raise UsageError(f"--repo {repo} is not a folder")
        return repo.resolve()
    from qwen_cli.tasks.repository import context as repository_context

    return repository_context.root_of(path) if path else None


def _known_as(path: Path | None, root: Path | None) -> str:
    if path is None:
        return ""
    inside = path.resolve()
    if root and inside.is_relative_to(root):
        return inside.relative_to(root).as_posix()
    return path.name


def _files(
    engine: Engine, root: Path | None, hole: Any, mode: Mode, limit: int | None, *, full_context: bool
) -> list[Taken]:
    """Return the other files that fit beside the hole."""
    if root is None or not hole.path:
        return []
    from qwen_cli.tasks.fim import complete
    from qwen_cli.tasks.repository.context import Repository

    left = complete.room(engine, hole, mode, limit=limit)
    budget = left if full_context else min(left, _REPOSITORY_TOKENS)
    if budget <= 0:
        return []
    repository = Repository(root)
    files = repository.context(hole.path, hole.prefix, hole.suffix, budget, complete.counter(engine))
    if repository.notice:
        relay(repository.notice)
    return files
