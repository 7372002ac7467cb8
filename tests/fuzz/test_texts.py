"""What models, servers and editors write, made up of the pieces that parsers look for: read without an
exception, soon, the same wherever it is split, and never with an escape sequence to the terminal."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from io import StringIO
from itertools import pairwise
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from qwen_cli import sanitize
from qwen_cli.engines.core.base import Piece
from qwen_cli.engines.parsing.think_tags import ThinkingText
from qwen_cli.engines.parsing.tool_calls import ToolParser
from qwen_cli.errors import QwenError
from qwen_cli.lsp import document
from qwen_cli.tasks.common import lenient_json
from qwen_cli.tasks.edit import answer as edit_answer
from qwen_cli.tasks.math import extraction
from qwen_cli.tasks.vision import grounding
from qwen_cli.ui import formula, latex
from qwen_cli.ui.markdown import MarkdownStream

ASKED = int(os.environ.get("QWEN_FUZZ", "0"))
trying = hypothesis.settings(max_examples=ASKED or 60, derandomize=not ASKED, database=None)
SECONDS = 5.0  # of the processor for one text

PARTS = (
    "<think>", "</think>", "<tool_call>", "</tool_call>", "<function=add>", "</function>", "<parameter=a>",
    "</parameter>", '{"name": "add", "arguments": {"a": 1}}', "{", "}", "[", "]", '"', "'", "\\", ",", ":",
    "<|im_end|>", "<|im_start|>", "```", "````", "~~~", "```json", "\n", "\n\n", "\r\n", "\r", "\t", "    ",
    "- ", "1. ", "> ", "# ", "|", "| a | b |\n|---|---|\n", "*", "**", "_", "__", "`", "![", "](", "http://a.b",
    "<a>", "&amp;", "\\frac", "\\sqrt", "\\begin{cases}", "\\end{cases}", "\\left", "\\right", "^", "_{", "$",
    "$$", "\\(", "\\)", "\\[", "\\]", "\\boxed{", "####", "&", "\\\\", "\x1b[31m", "\x1b]0;a\x07", "\x1b",
    "\x9b", "\x07", "\0", "\u202e", "\u200b", "\U000e0041", "\ufeff", "\ud83d", "😀", "中文", "é", "a", "0",
    "<<<<<<< SEARCH\n", "=======\n", ">>>>>>> REPLACE\n", "[12, 34, 56, 78]", '"bbox_2d"', '"label"', "(1,2)",
    "word ", "1e999", "-", ".", "null", "true",
)  # fmt: skip
texts = st.lists(st.sampled_from(PARTS) | st.text(max_size=4), max_size=40).map("".join)
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "add",
            "parameters": {
                "type": "object",
                "properties": {"a": {"type": "integer"}, "b": {"type": "string"}},
            },
        },
    }
]


def split(text: str, places: list[int]) -> list[str]:
    cuts = sorted({0, *(min(place, len(text)) for place in places), len(text)})
    return [text[begin:end] for begin, end in pairwise(cuts)]


def merged(pieces: Iterator[Piece]) -> list[tuple[str, Any]]:
    """What pieces say in all: texts of one kind that follow each other as one, calls with their arguments."""
    said: list[tuple[str, Any]] = []
    for piece in pieces:
        if piece.call is not None:
            said.append(("call", (piece.call.name, piece.call.arguments)))
        elif piece.text and said and said[-1][0] == piece.kind:
            said[-1] = (piece.kind, said[-1][1] + piece.text)
        elif piece.text:
            said.append((piece.kind, piece.text))
    return said


def through(reader: Any, parts: list[str]) -> list[tuple[str, Any]]:
    def pieces() -> Iterator[Piece]:
        for part in parts:
            yield from reader.feed(part)
        yield from reader.finish()

    return merged(pieces())


@pytest.mark.parametrize(
    "make",
    [ThinkingText, lambda: ThinkingText(opened=True), lambda: ToolParser(TOOLS)],
    ids=["thinking", "opened thinking", "tool calls"],
)
def test_a_stream_says_the_same_wherever_it_is_split(make: Callable[[], Any]) -> None:
    @trying
    @given(text=texts, places=st.lists(st.integers(0, 200), max_size=6))
    def holds(text: str, places: list[int]) -> None:
        parts = split(text, places)
        begun = time.process_time()
        assert through(make(), parts) == through(make(), [text])
        assert time.process_time() - begun < SECONDS

    holds()


READ: dict[str, Callable[[str], Any]] = {
    "lenient JSON": lenient_json.objects,
    "unfenced": lambda text: lenient_json.unfenced(text, "json"),
    "answer": lambda text: (extraction.final(text), extraction.boxed(text), extraction.stated(text)),
    "formula": formula.as_text,
    "latex": latex.unicode,
    "display": lambda text: (latex.display_is_open(text), latex.begins_display(text)),
    "edit": edit_answer.parse,
    "solids": grounding.parse_solid,
    "boxes": lambda text: [
        grounding.parse(text, convention, seen=(640, 480), original=(1280, 960))
        for convention in ("absolute", "thousandths")
    ],
    "position": lambda text: [
        document.offset(text, line, character, encoding)
        for line in (0, 1, 2**31)
        for character in (0, 3, 2**31)
        for encoding in ("utf-8", "utf-16", "utf-32")
    ],
    "names": lambda text: (sanitize.clean_name(text), sanitize.one_line(text)),
}


@pytest.mark.parametrize("kind", READ)
def test_a_text_is_read_or_refused(kind: str) -> None:
    @trying
    @given(text=texts)
    def holds(text: str) -> None:
        begun = time.process_time()
        try:
            READ[kind](text)
        except QwenError as fault:
            assert "\n" not in str(fault)
        assert time.process_time() - begun < SECONDS

    holds()


@trying
@given(text=texts, places=st.lists(st.integers(0, 200), max_size=4), width=st.sampled_from([20, 60]))
def test_the_terminal_gets_no_sequence_but_ours(text: str, places: list[int], width: int) -> None:
    out = StringIO()
    console = Console(file=out, force_terminal=True, width=width, height=24, color_system="standard")
    answer = MarkdownStream(console, interval=1e9, formulas=True)
    for part in split(text, places):
        answer.feed(part)
    answer.finish()
    written = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\]8;[^\x07\x1b]*\x1b\\", "", out.getvalue())
    assert not re.search(r"[\x00\x07\x08\x1b\x9b\u202e]", written), ascii(written)


@trying
@given(text=texts, places=st.lists(st.integers(0, 200), max_size=6))
def test_the_filter_is_the_same_wherever_a_sequence_is_split(text: str, places: list[int]) -> None:
    one = sanitize.EscapeFilter()
    kept = "".join(one.feed(part) for part in split(text, places)) + one.finish()
    assert kept == sanitize.strip_escapes(text)
    assert not re.search(r"[\x1b\x9b\x07\0]", kept)
