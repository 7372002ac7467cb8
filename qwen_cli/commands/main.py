"""The `qwen` program, and the one place where faults become a line on stderr."""

from __future__ import annotations

import io
import os
import shutil
import signal
import sys
from types import FrameType
from typing import Annotated, NoReturn

import typer

from qwen_cli import project
from qwen_cli._version import __version__
from qwen_cli.commands.registry import Verbs
from qwen_cli.commands.shared import shells
from qwen_cli.commands.shared.flags import spelled
from qwen_cli.errors import QwenError, UsageError
from qwen_cli.ui.terminal import draws, plain

app = typer.Typer(
    name="qwen",
    cls=Verbs,
    no_args_is_help=True,
    # Plain help: rich would take as long to import as everything else together.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# Typer carries click inside itself in newer releases; its public BadParameter leads to the base either way.
_ClickError: type = typer.BadParameter.__mro__[2]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"qwen {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", "-V", callback=_version, is_eager=True, help="Print the version and exit."),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option(
            "--debug", help="Show a traceback when something fails; may stand anywhere in the line."
        ),
    ] = False,
) -> None:
    """Run Qwen models locally: chat, code completion, math with a sandboxed Python, images and video.

    Each command explains itself: `qwen COMMAND --help`.

    Examples:
      qwen chat "Write a haiku about the sea."
      qwen models plan
    """


def main() -> NoReturn:
    """Run the program. Exit codes: 0, 1 failure, 2 usage, 130 interrupted, 141 reader of stdout gone,
    129 and 143 ended by SIGHUP and SIGTERM."""
    _open_streams()
    argv = sys.argv[1:]
    ours = argv[: argv.index("--")] if "--" in argv else argv
    debug = "--debug" in ours or bool(os.environ.get("QWEN_DEBUG"))
    if "--debug" in ours:
        argv.remove("--debug")
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as a shell's background jobs do
        signal.signal(signal.SIGINT, _interrupt)
    for name in ("SIGTERM", "SIGHUP"):  # Windows has no SIGHUP
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _leave)
    code = _run(argv, debug)
    try:
        sys.stdout.flush()
    except (BrokenPipeError, ValueError):
        _abandon_stdout()
        code = code or 141
    except OSError as fault:
        _abandon_stdout()
        if not code:  # else it has been told
            _complain(f"cannot write the answer: {fault.strerror}. Send standard output elsewhere")
        code = code or 1
    sys.exit(code)


def _open_streams() -> None:
    """Give closed standard streams the null device: else the next file opened would take their place.

    A closed standard output ends the program: an answer would be computed for nobody. What goes to a file or
    a pipe is UTF-8 whatever the locale says; a terminal gets its own encoding, with `?` for what that lacks.
    """
    sys.stdin = sys.stdin or os.fdopen(os.open(os.devnull, os.O_RDONLY))
    sys.stderr = sys.stderr or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    if sys.stdout is None:
        _complain("standard output is closed. Send it to a terminal, a file or a pipe")
        sys.exit(1)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=None if stream.isatty() else "utf-8", errors="replace")


def _check_words(argv: list[str]) -> None:
    """Refuse what cannot be sent to a model. Raises `UsageError` for a word that is no UTF-8, and no file."""
    for number, word in enumerate(argv, 1):
        if any("\udc80" <= character <= "\udcff" for character in word) and not os.path.lexists(word):
            shown = ascii(os.fsencode(word))[2:-1]
            raise UsageError(f"argument {number} is not valid UTF-8: '{shown}'", "write it in UTF-8")


def _remark_on_variables() -> None:
    """Say which variable is misspelt: nothing reads it."""
    names = [name for name in os.environ if name.startswith("QWEN_")]
    if not names:
        return
    from qwen_cli.settings import VARIABLES

    for name in names:
        if name not in VARIABLES:
            import difflib

            if near := difflib.get_close_matches(name, VARIABLES, n=1, cutoff=0.85):
                _complain(f"nothing reads the variable {name}. Did you mean {near[0]}?")


def _interrupt(number: int, frame: FrameType | None) -> None:
    # What the first Ctrl-C is ending (a computation in other threads, a file) is not torn by a second one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def _leave(number: int, frame: FrameType | None) -> None:
    # What was said and answered so far is kept, as on Ctrl-C; a second signal ends it at once.
    signal.signal(number, signal.SIG_DFL)
    raise SystemExit(128 + number)


for _handler in (_interrupt, _leave):  # also where Python cannot run them: while llama.cpp loads
    _handler.ends_program = True  # type: ignore[attr-defined]


def _run(argv: list[str], debug: bool) -> int:
    try:
        shell = os.environ.get(shells.VARIABLE, "").removeprefix("complete_")
        if shell in ("bash", "zsh", "fish"):  # others, and the scripts themselves, are Typer's
            sys.stdout.write(shells.answer(app, shell) + "\n")
            return 0
        project.agree, project.tell = _agree, _tell
        _check_words(argv)
        _remark_on_variables()
        color = False if plain() else None  # None: where it is shown on a terminal
        result = app(args=argv, prog_name="qwen", standalone_mode=False, color=color)
        return result if isinstance(result, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except SystemExit as leaving:
        # Typer turns a reader of stdout that has gone into exit 1, which would read as a failure of ours.
        if isinstance(leaving.__context__, BrokenPipeError):
            _abandon_stdout()
            return 141
        raise
    except QwenError as fault:
        if debug:
            raise
        _complain(spelled(str(fault)))
        return fault.exit_code
    except Exception as fault:
        if type(fault).__name__ == "NoArgsIsHelpError":  # a group alone: its message is its help
            typer.echo(fault.format_message(), err=True)  # type: ignore[attr-defined]
            return 2
        if isinstance(fault, _ClickError):
            _complain(_usage_line(fault, argv))
            return int(getattr(fault, "exit_code", 2))
        if debug:
            raise
        _complain(_unforeseen(fault))
        return 1


def _agree(there: project.Project) -> bool | None:
    from qwen_cli.commands.shared import trust  # only where there is a project

    return trust.ask(there)


def _tell(fault: UsageError) -> None:
    _complain(f"{fault}. Until then what this project sets is ignored")


def _usage_line(fault: Exception, argv: list[str]) -> str:
    """Return a wrong flag or argument in one line, with the value seen: Typer's own message may leave
    it out."""
    context = getattr(fault, "ctx", None)
    command = context.command_path if context else "qwen"
    message = " ".join(fault.format_message().split()).rstrip(".")  # type: ignore[attr-defined]
    seen = _value_of(getattr(getattr(fault, "param", None), "opts", []), argv)
    if seen is not None and seen not in message:
        message += f", got {seen!r}"
    return f"{message}{'' if message.endswith('?') else '.'} See `{command} --help`"


def _value_of(options: list[str], argv: list[str]) -> str | None:
    """Return what was given for the first of `options` that stands in `argv`."""
    for word, following in zip(argv, [*argv[1:], None], strict=False):
        name, equals, value = word.partition("=")
        if name in options:
            return value if equals else following
    return None


def _unforeseen(fault: Exception) -> str:
    if isinstance(fault, OSError) and fault.strerror:
        where = f"{fault.filename}: " if fault.filename else ""
        return f"{where}{fault.strerror}"
    what = " ".join(str(fault).split()) or "no details"
    return f"unexpected {type(fault).__name__}: {what}. Run again with --debug for a traceback"


def _complain(line: str) -> None:
    # File names and server replies reach this line: they must not steer the terminal.
    from qwen_cli.sanitize import one_line

    line = f"qwen: {one_line(line)}"
    if sys.stderr.isatty():
        from qwen_cli.commands.shared.output import wrapped

        line = wrapped(line, shutil.get_terminal_size().columns)
    if draws():
        line = line.replace("qwen:", "\x1b[31mqwen:\x1b[0m", 1)
    sys.stderr.write(f"{line}\n")


def _abandon_stdout() -> None:
    # The reader is gone: Python would complain once more while it shuts down.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
