"""What every command prints: remarks on stderr, an answer as it comes, one JSON object."""

from __future__ import annotations

import json
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import typer

from qwen_cli.commands.shared.flags import spelled
from qwen_cli.engines.core.base import Usage
from qwen_cli.sanitize import EscapeFilter, one_line, remark
from qwen_cli.tasks.chat.conversation import Event, Notice
from qwen_cli.tasks.tools.base import ToolResult

if TYPE_CHECKING:
    from qwen_cli.ui.markdown import MarkdownStream

_TOOL_OUTPUT = 200  # characters of a tool's output that are shown
# C1 controls, bidi embeddings, overrides and isolates, and invisible tag characters.
_CONTROLS = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069\U000e0000-\U000e007f]")


def say(text: str, *, indent: int = 0) -> None:
    """Write one remark on stderr, dim where that can be shown; never a raw escape sequence. On a terminal it
    goes on at a new line between words, `indent` columns further in. It never lands in an answer that is
    being written: that goes on below."""
    if _showing is not None:
        _showing.make_way()
    shown = remark(text)
    if sys.stderr.isatty() and "\n" not in shown:
        shown = wrapped(shown, shutil.get_terminal_size().columns, indent)
    typer.secho(shown, err=True, dim=True)


def wrapped(text: str, columns: int, indent: int = 0) -> str:
    """Return `text` with a new line between words where `columns` end, `indent` columns further in."""
    if columns <= 2 * indent and text[indent:].strip():  # there is no room for one beside the other
        form = text[:indent].strip()
        below = wrapped("    " + text[indent:].strip(), columns, 4)
        return wrapped(form, columns, 4) + "\n" + below if form else below
    margin = " " * indent if columns > 2 * indent else ""
    lines = textwrap.wrap(
        text,
        columns,
        subsequent_indent=margin,
        expand_tabs=False,
        replace_whitespace=False,
        break_long_words=False,  # an address or a path stays whole: the terminal goes on with it
        break_on_hyphens=False,
    )
    return "\n".join(lines) or text


def relay(message: str) -> None:
    """Say what comes from below `commands`, a notice or a fault, with the options that it names as flags."""
    say(one_line(spelled(message)))  # a name in it may have several


def print_json(value: Any) -> None:
    """Print `value` as one object. Characters that a terminal would obey are escaped: they mean the same."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    sys.stdout.write(_CONTROLS.sub(_escaped, text) + "\n")


def _escaped(match: re.Match[str]) -> str:
    return json.dumps(match[0])[1:-1]


def figures(usage: Usage | None) -> dict[str, Any]:
    """Return what an answer cost, the same in every command: tokens, seconds, and why it ended."""
    if usage is None:
        return {}
    return {
        "stop_reason": usage.stop_reason,
        "usage": {
            "prompt_tokens": usage.prompt_tokens,
            "cached_tokens": usage.cached_tokens,
            "generated_tokens": usage.generated_tokens,
        },
        "timings": {
            "prefill_seconds": round(usage.prefill_seconds, 4),
            "decode_seconds": round(usage.decode_seconds, 4),
            "tokens_per_second": round(usage.tokens_per_second, 2),
        },
    }


# Why an answer can end before its end, and what to do about it.
_LIMITS = {
    "length": ("", "raise --max-tokens"),
    "context": (": the context is full", "raise --context"),
    "time": (": its time was up", "give it more"),
}


def cut(stop: str, tokens: int, what: str = "answer") -> tuple[str, str] | None:
    """Return that `what` is not whole, after so many tokens, and what to do about it; None where it is.

    The one rule for every command: a cut is told on stderr, has its `stop_reason`, and is written nowhere
    unasked.
    """
    if stop not in _LIMITS:
        return None
    why, remedy = _LIMITS[stop]
    return f"the {what} was cut after {tokens:,} tokens{why}", remedy


def tell_cut(usage: Usage | None) -> None:
    """Write on stderr that an answer was cut, if it was."""
    if usage is not None and (reason := cut(usage.stop_reason, usage.generated_tokens)):
        say(f"{reason[0]}. {reason[1].capitalize()}")


_showing: StreamView | None = None  # whose rows are being drawn; a terminal has one


class StreamView:
    """Shows an answer as it comes: its text on stdout, rendered or `raw`, everything else on stderr.

    `fold`: thoughts become one line once the answer begins. `plots` gets the figures that a tool has drawn.
    """

    def __init__(
        self,
        *,
        raw: bool,
        fold: bool = True,
        plots: Callable[[Sequence[bytes]], None] = lambda plots: None,
    ) -> None:
        self._plots = plots
        self._raw, self._fold = raw, fold
        self._stream: MarkdownStream | None = None
        self._filter = EscapeFilter()
        self._last = "\n"

    def show(self, event: Event) -> None:
        """Show the next event of the answer."""
        if isinstance(event, Notice):
            self.remark(spelled(event.text))
        elif isinstance(event, ToolResult):
            self.remark(_tool_line(event))
            self._plots(event.plots)
        elif event.text and event.kind == "thinking":
            self.think(event.text)
        elif event.text and event.kind == "answer":
            self.write(event.text)

    def wait(self, text: str) -> None:
        """Show a line that stands until the answer begins."""
        if not self._raw:
            self._begin()
            self._rendered().status(text)

    def remark(self, text: str) -> None:
        """Write a remark on a row of its own: never into rows that are still being drawn."""
        self.make_way()
        say(text)

    def make_way(self) -> None:
        """Leave the cursor on a fresh row of the terminal, for what is not of the answer."""
        if not self._raw or sys.stdout.isatty():  # what goes into a pipe is the answer and nothing else
            self.end()

    def write(self, text: str) -> None:
        """Show some text of the answer."""
        self._begin()
        if self._raw:
            self._put(self._filter.feed(text))
        else:
            self._rendered().feed(text)

    def think(self, text: str) -> None:
        """Show some of the model's thoughts; raw answers are without them."""
        if not self._raw:
            self._begin()
            self._rendered().thinking(text)

    def end(self) -> None:
        """Write what is held back and leave the cursor on a fresh row; `show` may go on after it."""
        global _showing
        if _showing is self:
            _showing = None
        if self._stream is not None:
            self._stream.finish()
        self._put(self._filter.finish())
        if self._raw and self._last != "\n":
            self._put("\n")

    def _begin(self) -> None:
        global _showing
        _showing = self

    def _put(self, text: str) -> None:
        if text:
            sys.stdout.write(text)
            sys.stdout.flush()
            self._last = text[-1]

    def _rendered(self) -> MarkdownStream:
        if self._stream is None:
            from qwen_cli.ui.markdown import MarkdownStream  # 60 ms of rich, only where it renders
            from qwen_cli.ui.terminal import stdout_console

            self._stream = MarkdownStream(stdout_console(), formulas=True, fold=self._fold)
        return self._stream


def _tool_line(result: ToolResult) -> str:
    output = one_line(result.output)
    if len(output) > _TOOL_OUTPUT:
        output = f"{output[:_TOOL_OUTPUT]} …"
    return f"{result.call.name} {'returned' if result.ok else 'failed:'} {output}"
