"""Where a person types: history, search, several lines, completion. What was typed is never lost."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeAlias

from qwen_cli.sanitize import strip_escapes

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.application import Application
    from prompt_toolkit.completion import CompleteEvent, Completer, Completion
    from prompt_toolkit.document import Document
    from prompt_toolkit.history import History
    from prompt_toolkit.key_binding import KeyBindings
    from prompt_toolkit.key_binding.key_processor import KeyPressEvent

BLOCK = '"""'
# An @ that may begin the name of a file, as `tasks.chat.mentions` reads it, and what was typed of it.
_MENTION = re.compile(r"""(?<![A-Za-z0-9._%+@/\\`-])@(?:(["'])([^"'\n]*)|([^\s"'\n]*))\Z""")
_MARGIN = "  "  # before all lines but the first
_LEAVE_HINT = "Ctrl-D leaves"
_KEPT_HINT = "kept in the history: Up brings it back"


@dataclass(frozen=True)
class Word:
    """A slash command as completion sees it. `values` gives what its argument may be, `None`: nothing."""

    name: str
    help: str
    values: Callable[[str], Iterable[str]] | None = None


Words: TypeAlias = Callable[[], Mapping[str, Word]]
"""The commands there are now, by name without the slash."""


class LineEditor:
    """Reads what a person says, from a terminal with editing, or plain lines from a pipe.

    `status` gives the text of the bar at the bottom. `history` is the file that keeps what was said. With
    `mentions` the names of files are completed after an @. `pasted` are the texts of several lines that the
    last one was put together from.
    """

    def __init__(
        self,
        *,
        history: Path,
        words: Words = dict,
        status: Callable[[], str] = str,
        mentions: bool = False,
    ) -> None:
        self.pasted: list[str] = []
        self._status = status
        self._hint = ""
        self._typed_ahead = ""
        self._session: PromptSession[str] | None = None
        self._terminal = sys.stdin.isatty()
        if self._terminal and os.environ.get("TERM") != "dumb":
            self._session = _session(
                history=_history(history),
                completer=_completer(words, mentions),
                key_bindings=self._keys(),
                bottom_toolbar=lambda: self._hint or strip_escapes(self._status()),
            )

    def read(self, prefilled: str = "") -> str:
        """Return what the person sends, block quotes and all. Raises `EOFError` when they leave."""
        if self._session is None:
            return self._read_line("> ")
        prefilled, self._typed_ahead = prefilled + self._typed_ahead, ""
        self._hint, self.pasted = "", []
        text = self._session.prompt("> ", default=prefilled)
        if self._session.app.erase_when_done:  # only what the screen holds would stay
            _print_whole(self._session, text)
            self._session.app.erase_when_done = False
        return _whole(text)

    def _read_line(self, prompt: str) -> str:
        """Return a line without editing; on a terminal that takes no escape sequences after a `prompt`."""
        if self._terminal:
            out = sys.stdout if sys.stdout.isatty() else sys.stderr
            out.write(prompt)
            out.flush()
        return _read_plain(sys.stdin)

    def change(self, text: str) -> str | None:
        """Return `text` as the person changes it; `None` where they leave it: Ctrl-C, Ctrl-D, Esc, all of it
        deleted."""
        if self._session is None:
            with suppress(EOFError):
                return self._read_line("edit> ") or None
            return None
        from prompt_toolkit.key_binding import KeyBindings

        keys = KeyBindings()

        @keys.add("enter")
        def _(event: KeyPressEvent) -> None:
            event.current_buffer.validate_and_handle()

        @keys.add("escape", "enter")
        def _(event: KeyPressEvent) -> None:
            event.current_buffer.insert_text("\n")

        @keys.add("c-c")
        @keys.add("c-d")
        @keys.add("escape")
        def _(event: KeyPressEvent) -> None:
            event.app.exit(result="")

        self._typed_ahead += _pending(sys.stdin.fileno())
        bar = "Enter sends, Alt-Enter begins a line, Esc leaves the message as it was"
        session = _session(key_bindings=keys, bottom_toolbar=lambda: bar)
        return _whole(session.prompt("edit> ", default=text)) or None

    @property
    def asks(self) -> bool:
        """Return whether a person can be asked here."""
        return self._terminal

    def ask(self, question: str) -> str:
        """Return a short answer to `question`, not kept in the history. Raises `EOFError`,
        `KeyboardInterrupt`.

        What was typed before the question was shown is no answer to it: it waits for the next `read`.
        """
        if self._session is None:
            sys.stderr.write(question)
            sys.stderr.flush()
            return _line(sys.stdin)
        self._typed_ahead += _pending(sys.stdin.fileno())
        return _session().prompt(question)

    def choose(self, question: str) -> str:
        """Return a short answer to `question`, as `ask` does. Raises `EOFError` on Esc, too."""
        if self._session is None:
            return self.ask(question)
        from prompt_toolkit.key_binding import KeyBindings

        keys = KeyBindings()

        @keys.add("escape", eager=True)
        def _(event: KeyPressEvent) -> None:
            event.app.exit(exception=EOFError)

        self._typed_ahead += _pending(sys.stdin.fileno())
        return _session().prompt(question, key_bindings=keys)

    def remember(self, text: str) -> None:
        """Put `text` into the history, as if it had been sent."""
        if self._session is not None:
            self._session.history.append_string(text)

    def _keys(self) -> KeyBindings:
        from prompt_toolkit.enums import DEFAULT_BUFFER
        from prompt_toolkit.filters import has_focus
        from prompt_toolkit.key_binding import KeyBindings
        from prompt_toolkit.keys import Keys

        keys = KeyBindings()
        typing = has_focus(DEFAULT_BUFFER)  # and not in the search line, whose keys are its own

        @keys.add("enter", filter=typing)
        def _(event: KeyPressEvent) -> None:
            buffer = event.current_buffer
            self._hint = ""
            if buffer.complete_state and buffer.complete_state.current_completion:
                buffer.complete_state = None
            elif in_open_block(buffer.text):
                buffer.insert_text("\n")
            elif buffer.text.strip():
                event.app.erase_when_done = _rows(buffer.text, event.app) >= event.app.output.get_size().rows
                buffer.validate_and_handle()

        @keys.add("escape", "enter", filter=typing)
        def _(event: KeyPressEvent) -> None:
            event.current_buffer.insert_text("\n")

        @keys.add(Keys.BracketedPaste, filter=typing)
        def _(event: KeyPressEvent) -> None:
            text = event.data.replace("\r\n", "\n").replace("\r", "\n")
            if "\n" in text.strip():
                self.pasted.append(text.strip())
            event.current_buffer.insert_text(text)

        @keys.add("c-c", filter=typing)
        def _(event: KeyPressEvent) -> None:
            buffer = event.current_buffer
            self._hint = _KEPT_HINT if buffer.text.strip() else _LEAVE_HINT
            if buffer.text.strip():
                buffer.append_to_history()
            buffer.reset()

        return keys


def in_open_block(text: str) -> bool:
    """Return whether `text` (or the argument of its slash command) opened a block of lines and has not closed
    it."""
    start = text.lstrip()
    if start.startswith("/"):
        start = start.partition(" ")[2].lstrip()
    return start.startswith(BLOCK) and start.count(BLOCK) % 2 == 1


def unquoted(text: str) -> str:
    """Return `text` without the marks of a block of lines round it."""
    bare = text.strip()
    if bare.startswith(BLOCK) and bare.endswith(BLOCK) and len(bare) >= 2 * len(BLOCK):
        return bare[len(BLOCK) : -len(BLOCK)].strip("\n")
    return text


@contextmanager
def quiet_keys() -> Iterator[None]:
    """Hold the keys typed while an answer is written: they are not echoed into it and wait for the next
    `read`; Ctrl-C works."""
    try:
        import termios  # POSIX only

        keyboard = sys.stdin.fileno()
        before = termios.tcgetattr(keyboard)
    except (ImportError, ValueError, OSError, termios.error):
        yield
        return
    quiet = before[:]
    # Unbuffered as well: a line that waits in the kernel's line buffer would be sent when it ends in Enter
    # and kept from the editor when it does not.
    quiet[3] &= ~(termios.ECHO | termios.ICANON)
    quiet[3] |= termios.NOFLSH  # Ctrl-C ends the answer, and not what was typed meanwhile
    termios.tcsetattr(keyboard, termios.TCSANOW, quiet)
    try:
        yield
    finally:
        termios.tcsetattr(keyboard, termios.TCSANOW, before)


@contextmanager
def key_by_key(terminal: TextIO) -> Iterator[None]:
    """Let the keys of `terminal` come one by one, without those typed before; they are echoed."""
    try:
        import termios  # POSIX only

        before = termios.tcgetattr(terminal.fileno())
    except (ImportError, ValueError, OSError, termios.error):
        yield
        return
    single = before[:]
    single[3] &= ~termios.ICANON
    termios.tcsetattr(terminal.fileno(), termios.TCSAFLUSH, single)
    try:
        yield
    finally:
        termios.tcsetattr(terminal.fileno(), termios.TCSADRAIN, before)


def complete_path(typed: str) -> Iterator[str]:
    """Yield the paths that `typed` may become; folders end in a slash."""
    head, _, start = typed.rpartition("/")
    folder = Path(f"{head}/" if head or typed.startswith("/") else ".").expanduser()
    with suppress(OSError):
        for entry in sorted(folder.iterdir()):
            if entry.name.startswith(start) and (start or not entry.name.startswith(".")):
                yield typed[: len(typed) - len(start)] + entry.name + ("/" if entry.is_dir() else "")


def complete_paths(typed: str) -> Iterator[str]:
    """Yield what `typed` may become where its last word is a path; one with blanks comes in quotes."""
    before, word = _last_word(typed)
    for path in complete_path(word.lstrip("\"'")):
        yield before + quoted(path)


def quoted(path: str) -> str:
    """Return `path` as one word: in quotes where it holds a blank."""
    return f'"{path}"' if re.search(r"\s", path) else path


def _last_word(typed: str) -> tuple[str, str]:
    """Return what stands before the last word of `typed`, and the word: one in quotes may hold blanks."""
    match = re.search(r"""(?:"[^"]*|'[^']*|(?:\\.|[^\s"'])*)\Z""", typed)
    start = match.start() if match else len(typed)
    return typed[:start], re.sub(r"\\(.)", r"\1", typed[start:])


def _session(**options: Any) -> PromptSession[str]:
    # prompt_toolkit takes 80 ms to import, for conversations only
    from prompt_toolkit import PromptSession
    from prompt_toolkit.output import create_output
    from prompt_toolkit.styles import Style

    style = Style.from_dict({"bottom-toolbar": "noreverse ansibrightblack", "prompt": "bold"})
    several = "key_bindings" in options
    return PromptSession(
        # stdout may be a file that holds the answers
        output=create_output(stdout=sys.stdout if sys.stdout.isatty() else sys.stderr),
        style=style,
        multiline=several,
        prompt_continuation=_MARGIN,
        complete_while_typing=several,
        enable_suspend=True,
        reserve_space_for_menu=4,
        **options,
    )


def _rows(text: str, app: Application[Any]) -> int:
    """Return the rows that `text` takes at the prompt, its margins included."""
    from prompt_toolkit.utils import get_cwidth

    columns = max(app.output.get_size().columns, 1)
    return sum(1 + (get_cwidth(line) + len(_MARGIN)) // columns for line in text.split("\n"))


def _print_whole(session: PromptSession[str], text: str) -> None:
    """Write a message as it stood at the prompt, all of it."""
    from prompt_toolkit import print_formatted_text
    from prompt_toolkit.formatted_text import FormattedText

    whole = FormattedText([("bold", "> "), ("", text.replace("\n", "\n" + _MARGIN))])
    print_formatted_text(whole, output=session.app.output)


def _history(file: Path) -> History:
    """Return the history in `file`, which only its owner may read; in memory where it cannot be written."""
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    class OwnHistory(FileHistory):
        def store_string(self, string: str) -> None:
            with suppress(OSError):  # a full disk must not end the conversation
                super().store_string(string)

    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError:
        return InMemoryHistory()
    return OwnHistory(str(file))


def _completer(words: Words, mentions: bool) -> Completer:
    from prompt_toolkit.completion import Completer, Completion

    class Slash(Completer):
        def get_completions(self, document: Document, event: CompleteEvent) -> Iterator[Completion]:
            typed = document.text_before_cursor
            if mentions and (mention := _MENTION.search(typed)):
                begun = mention[2] if mention[1] else mention[3]
                for path in complete_path(begun):
                    whole = path if mention[1] else quoted(path)
                    yield Completion(whole, -len(begun), display=_last_part(path))
                return
            if not typed.startswith("/") or "\n" in typed:
                return
            name, space, argument = typed[1:].partition(" ")
            if not space:
                for word in words().values():
                    if word.name.startswith(name):
                        yield Completion(f"/{word.name}", -len(typed), display_meta=word.help)
            elif (known := words().get(name)) and known.values:
                for value in known.values(argument):
                    yield Completion(value, -len(argument), display=_last_part(value))

    return Slash()


def _last_part(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def _whole(text: str) -> str:
    """Return `text` without lone surrogates: bytes that were no UTF-8 come as such, and nothing could write
    them."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _read_plain(source: TextIO) -> str:
    text = _line(source)
    while in_open_block(text):
        with suppress(EOFError):
            text += "\n" + _line(source)
            continue
        break
    return text


def _line(source: TextIO) -> str:
    line = source.readline()
    if not line:
        raise EOFError
    return line.rstrip("\r\n")


def _pending(keyboard: int) -> str:
    """Return what was typed and not read, taken from the terminal."""
    try:
        import select
        import termios
    except ImportError:
        return ""
    typed = b""
    with suppress(OSError, termios.error), quiet_keys():
        while select.select([keyboard], [], [], 0)[0] and (more := os.read(keyboard, 4096)):
            typed += more
    return strip_escapes(typed.decode("utf-8", "replace").replace("\r", "\n"))
