"""Fill-in-the-middle: what the model sees.

The command, the language server and an `/infill` route build their prompts here. Text has `\\n` newlines
throughout; `fim_edit` translates from and to a file's own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from qwen_cli.engines.core.base import Engine
from qwen_cli.engines.core.prompt import Prompt, joined, plain
from qwen_cli.engines.parsing.marks import JOINER
from qwen_cli.errors import EngineError, UsageError


@dataclass(frozen=True)
class Hole:
    """Where code is missing: the text on both sides of the cursor.

    `path` (with forward slashes, relative to the repository) tells the language, and names the file to the
    model where other files stand beside it. `before` and `after` are what of the file lies beyond `prefix`
    and `suffix`: the model does not see it, what is inserted has to fit it.
    """

    prefix: str
    suffix: str
    path: str = ""
    before: str = ""
    after: str = ""


class File(Protocol):
    """A file, or whole definitions of one, shown to the model before the hole."""

    @property
    def path(self) -> str: ...

    @property
    def text(self) -> str: ...


@dataclass(frozen=True)
class FimTokens:
    """How a model's tokenizer spells the marks of the layout. `ends` close a middle."""

    prefix: str
    suffix: str
    middle: str
    repository: str
    file: str
    ends: tuple[str, ...]


# Qwen2.5-Coder's README and its examples/Qwen2.5-Coder-fim.py; Qwen3-Coder has the same. The ends are the
# ids of the script (151659, 151661, 151662, 151663, 151664, 151643, 151645) by name: the numbers moved with
# later tokenizers, the names did not.
BARS = FimTokens(
    prefix="<|fim_prefix|>",
    suffix="<|fim_suffix|>",
    middle="<|fim_middle|>",
    repository="<|repo_name|>",
    file="<|file_sep|>",
    ends=(
        "<|fim_prefix|>",
        "<|fim_suffix|>",
        "<|fim_middle|>",
        "<|fim_pad|>",
        "<|repo_name|>",
        "<|file_sep|>",
        "<|endoftext|>",
        "<|im_end|>",
    ),
)
# CodeQwen1.5's README and tokenizer_config.json.
PLAIN = FimTokens(
    prefix="<fim_prefix>",
    suffix="<fim_suffix>",
    middle="<fim_middle>",
    repository="<reponame>",
    file="<file_sep>",
    ends=(
        "<fim_prefix>",
        "<fim_suffix>",
        "<fim_middle>",
        "<fim_pad>",
        "<reponame>",
        "<file_sep>",
        "<|endoftext|>",
        "<|im_end|>",
    ),
)


def tokens_of(engine: Engine) -> FimTokens:
    """Return the marks as this engine's tokenizer spells them. Raises `UsageError` for a model that has
    none."""
    if engine.capabilities.may_fim:
        for tokens in (BARS, PLAIN):
            try:
                if engine.count_tokens(tokens.middle) == 1:
                    return tokens
            except EngineError:  # a server that does not count
                break
        if engine.capabilities.fim:
            return PLAIN if "codeqwen" in engine.model.lower() else BARS
    raise UsageError(
        f"{engine.model} was not trained to fill in the middle", f"choose {', '.join(suitable())}"
    )


def suitable() -> list[str]:
    """Return the names of models that fill in the middle, smallest of each generation first."""
    from qwen_cli.models.catalog import lookup

    return [m.name for m in lookup.MODELS if m.fim]


def prompt(
    hole: Hole, files: Sequence[File] = (), tokens: FimTokens = BARS, *, repository: str = ""
) -> Prompt:
    """Return the raw text for the model, byte for byte as the official scripts write it: the file-level one,
    or with `files` the repository-level one. Sources, paths and the name of the repository are plain in it.

    examples/Qwen2.5-Coder-fim.py ends with the last mark, -repolevel-fim.py has a newline behind it. That one
    is the first character of its middle, which begins a new line: see `layout`.
    """
    text = layout(hole, files, tokens, repository=repository)
    return joined([text, "\n"]) if files else text


def layout(
    hole: Hole, files: Sequence[File] = (), tokens: FimTokens = BARS, *, repository: str = ""
) -> Prompt:
    """Return `prompt` up to the last mark: what a model completes wherever the hole is.

    With the newline of the repository script behind it the middle has begun with a new line. Where it goes on
    in a line instead, the starter then wrote 0 of 7 single-line middles of HumanEval right, and 5 without.
    """
    parts: list[str] = []
    if files:
        parts += [tokens.repository, plain(f"{repository or 'repository'}\n")]
        for file in files:
            content = file.text.rstrip("\n")
            parts += [tokens.file, plain(f"{file.path}\n{content}\n\n")]
        parts += [tokens.file, plain(f"{hole.path or 'main'}\n")]
    parts += [tokens.prefix, plain(hole.prefix), tokens.suffix, plain(hole.suffix), tokens.middle]
    return joined(parts)


def ends(tokens: FimTokens, hole: Hole) -> tuple[str, ...]:
    """Return the marks that close a middle, but for those that the source spells (a tokenizer's tests, this
    file): there the model writes them as text."""
    return tuple(mark for mark in tokens.ends if mark not in hole.prefix and mark not in hole.suffix)


_JOINED = re.compile(rf"{JOINER}(?=\|?>)")


def restored(text: str) -> str:
    """Return what the model wrote, with marks spelt as the source spells them: where an engine has to break
    marks with a joiner, a model that copies them copies it too."""
    return _JOINED.sub("", text)


@dataclass(frozen=True)
class Fitted:
    """A hole that fits, and how many lines were left out at each far end."""

    hole: Hole
    before: int = 0
    after: int = 0

    @property
    def notice(self) -> str | None:
        """Return one line for the person, where something was left out."""
        if not self.before and not self.after:
            return None
        return (
            f"the model sees the nearest lines only: {self.before:,} at the start and {self.after:,} at the"
            " end of the file are left out"
        )


# The part of the room that the text after the cursor may take when the text before it wants it all: the
# same share as llama.vim's defaults (256 lines before, 64 after) and as llama.cpp's `/infill` (a quarter).
_SUFFIX_SHARE = 0.25
# The front is cut at multiples of this many lines, so that the next key press does not move the cut, and
# with it every cached token behind it.
_STEP = 32


def fit(hole: Hole, room: int, count: Callable[[str], int]) -> Fitted:
    """Cut `hole` from its far ends, at line boundaries, so that it takes at most `room` tokens.

    `count` tells the tokens of a text. A share that one side does not need goes to the other. A single line
    longer than the room is cut inside.
    """
    # Code has three to four characters a token: what is far beyond the room need not be counted.
    prefix = hole.prefix[-8 * room :]
    suffix = hole.suffix[: 8 * room]
    before, after = count(prefix), count(suffix)
    if before + after <= room and len(prefix) == len(hole.prefix) and len(suffix) == len(hole.suffix):
        return Fitted(hole)
    for_suffix = min(after, max(int(room * _SUFFIX_SHARE), room - before))
    suffix = _head(suffix, for_suffix, count)
    prefix = _tail(prefix, room - count(suffix), count, hole.prefix.count("\n") - prefix.count("\n"))
    dropped, left = len(hole.prefix) - len(prefix), len(suffix)
    cut = replace(
        hole,
        prefix=prefix,
        suffix=suffix,
        before=hole.before + hole.prefix[:dropped],
        after=hole.suffix[left:] + hole.after,
    )
    return Fitted(
        cut,
        before=hole.prefix.count("\n") - prefix.count("\n"),
        after=hole.suffix.count("\n") - suffix.count("\n"),
    )


def _tail(text: str, room: int, count: Callable[[str], int], skipped: int) -> str:
    """Return the last lines of `text` that take at most `room` tokens; `skipped` lines stand before it."""
    lines = _lines(text)
    low = _smallest(len(lines), lambda n: count("".join(lines[n:])) <= room)
    if low == len(lines):
        last = lines[-1] if lines else ""
        return last[_smallest(len(last), lambda n: count(last[n:]) <= room) :]
    step = -(low + skipped) % _STEP
    return "".join(lines[low + step if low + step < len(lines) else low :])


def _head(text: str, room: int, count: Callable[[str], int]) -> str:
    """Return the first lines of `text` that take at most `room` tokens."""
    lines = _lines(text)
    dropped = _smallest(len(lines), lambda n: count("".join(lines[: len(lines) - n])) <= room)
    if dropped == len(lines):
        first = lines[0] if lines else ""
        return first[: len(first) - _smallest(len(first), lambda n: count(first[: len(first) - n]) <= room)]
    return "".join(lines[: len(lines) - dropped])


def _lines(text: str) -> list[str]:
    # `str.splitlines` would also split at form feeds and other characters that editors keep inside a line.
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def _smallest(limit: int, fits: Callable[[int], bool]) -> int:
    """Return the smallest n up to `limit` for which `fits`, which holds from some n on and at `limit`."""
    low, high = 0, limit
    while low < high:
        middle = (low + high) // 2
        if fits(middle):
            high = middle
        else:
            low = middle + 1
    return low
