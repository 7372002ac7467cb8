"""One turn of a conversation on the terminal: the answer as it comes, Ctrl-C, tools and the asking."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from qwen_cli.commands.shared.engine import say
from qwen_cli.engines.core.base import ToolCall
from qwen_cli.errors import QwenError
from qwen_cli.sanitize import EscapeFilter, strip_escapes
from qwen_cli.tasks.chat.conversation import Event, Events, Notice
from qwen_cli.tasks.tools.base import ToolResult
from qwen_cli.ui.line_editor import LineEditor, quiet_keys

if TYPE_CHECKING:
    from qwen_cli.ui.markdown import MarkdownStream

_SHOWN_OUTPUT = 200  # characters of a tool's output


class Interrupts:
    """Ctrl-C for as long as the conversation lasts.

    It raises `KeyboardInterrupt` inside `stoppable`, once, and is only remembered outside: a session that
    is being saved, or an answer that is being stopped, is not torn by a second one.
    """

    def __init__(self) -> None:
        self.pressed = False
        self._open = False

    def __enter__(self) -> Interrupts:
        self._before = signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(self, *exc: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.pressed = True
        if self._open:
            self._open = False
            raise KeyboardInterrupt

    @contextmanager
    def stoppable(self) -> Iterator[None]:
        """Raises `KeyboardInterrupt` at once if Ctrl-C was pressed since `pressed` was cleared."""
        if self.pressed:
            raise KeyboardInterrupt
        self._open = True
        try:
            yield
        finally:
            self._open = False


class Answer:
    """What of an answer goes where: its text to stdout, rendered or raw, all else to stderr."""

    def __init__(self, *, raw: bool, fold: bool) -> None:
        self._raw, self._fold = raw, fold
        self._stream: MarkdownStream | None = None
        self._filter = EscapeFilter()
        self._last = "\n"

    def show(self, event: Event) -> None:
        """The next event of the answer."""
        if isinstance(event, Notice):
            self.end()
            say(event.text)
        elif isinstance(event, ToolResult):
            self.end()
            say(_result_line(event))
        elif event.text and event.kind == "thinking":
            self._think(event.text)
        elif event.text and event.kind == "answer":
            self._write(event.text)

    def wait(self, text: str) -> None:
        """A line that stands until the answer begins."""
        if not self._raw:
            self._rendered().status(text)

    def end(self) -> None:
        """Write what is held back and leave the cursor on a fresh line; `show` may go on after it."""
        if self._stream is not None:
            self._stream.finish()
        self._put(self._filter.finish())
        if self._raw and self._last != "\n":
            self._put("\n")

    def _write(self, text: str) -> None:
        if self._raw:
            self._put(self._filter.feed(text))
        else:
            self._rendered().feed(text)

    def _think(self, text: str) -> None:
        if not self._raw:
            self._rendered().thinking(text)

    def _put(self, text: str) -> None:
        if text:
            sys.stdout.write(text)
            sys.stdout.flush()
            self._last = text[-1]

    def _rendered(self) -> MarkdownStream:
        if self._stream is None:
            from qwen_cli.ui.markdown import MarkdownStream
            from qwen_cli.ui.terminal import stdout_console

            self._stream = MarkdownStream(stdout_console(), fold=self._fold)
        return self._stream


class Approval:
    """Asks before a tool runs: yes, no, or always for this tool."""

    def __init__(self, editor: LineEditor) -> None:
        self._editor = editor
        self._always: set[str] = set()
        self.answer: Answer | None = None  # whose lines stand above the question

    def __call__(self, call: ToolCall) -> bool:
        if self.answer is not None:
            self.answer.end()
        if call.name in self._always:
            say(f"runs {call_line(call)}")
            return True
        while True:
            try:
                word = self._editor.ask(f"run {call_line(call)}? [y]es, [n]o, [a]lways ").strip().lower()
            except EOFError:
                return False
            if word in ("a", "always"):
                self._always.add(call.name)
            if word in ("y", "yes", "a", "always"):
                return True
            if word in ("n", "no"):
                return False


def call_line(call: ToolCall) -> str:
    """The call as one line, whole: it is what the person agrees to."""
    arguments = ", ".join(f"{name}={_json(value)}" for name, value in call.arguments.items())
    return strip_escapes(f"{call.name}({arguments})")


def run_turn(events: Events, answer: Answer, interrupts: Interrupts, *, begun: Callable[[], None]) -> None:
    """Show `events` as they come; `begun` is called after the first. Ctrl-C ends them within a token.

    What came is kept by whoever made `events`. A fault of the engine is shown as one line.
    """
    interrupts.pressed = False
    first = True
    try:
        with quiet_keys():
            while True:
                # Only here: a signal in the middle of an escape sequence would leave half of it.
                with interrupts.stoppable():
                    event = next(events, None)
                if event is None:
                    break
                answer.show(event)
                if first:
                    begun()
                    first = False
        answer.end()
    except KeyboardInterrupt:
        events.close()
        answer.end()
        say("stopped")
    except QwenError as fault:
        answer.end()
        say(str(fault))
    finally:
        events.close()
        interrupts.pressed = False


def _result_line(result: ToolResult) -> str:
    output = " ".join(strip_escapes(result.output).split())
    if len(output) > _SHOWN_OUTPUT:
        output = f"{output[:_SHOWN_OUTPUT]} …"
    return f"{result.call.name} {'returned' if result.ok else 'failed:'} {output}"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
