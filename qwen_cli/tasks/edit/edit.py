"""Asking a model for an edit: which lines, what it is shown, what becomes of its answer."""

from __future__ import annotations

import re
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Literal, TypeAlias

from qwen_cli.engines.core.base import Engine, Message, Sampling, Usage
from qwen_cli.errors import UsageError
from qwen_cli.models.catalog import lookup
from qwen_cli.sanitize import clean_name
from qwen_cli.tasks.edit import answer
from qwen_cli.tasks.edit.apply import Edit, bare, edited, edits, lines_of
from qwen_cli.tasks.fim.complete import counter
from qwen_cli.tasks.fim.prompt import Hole, fit
from qwen_cli.tasks.fim.source import Source
from qwen_cli.tasks.fim.whole import Whole

Form: TypeAlias = Literal["auto", "whole", "search"]

# Up to here the lines are written anew, whole: a screen or two, half a minute on a CPU. Of more only the
# changes are.
_WHOLE_LINES = 60
# The longest answer where nobody gives a number: the code twice, and a function beside it.
_SPARE_TOKENS = 1_024
# What is shown of the file around the lines to be edited, and what the words around the code take, in tokens.
_AROUND_TOKENS = 1_024
_FRAME_TOKENS = 256

_SYSTEM = "You edit code. You do exactly what the instruction says, and leave all other code as it is."
_ASK_WHOLE = (
    "Answer with the whole code to edit after the change, every line of it, also those that stay as they are,"
    " in one code block that begins and ends with {fence}, and nothing else."
)
_ASK_SEARCH = """Answer with one block of this form for each change, and nothing else:

<<<<<<< SEARCH
lines of the code above, copied exactly
=======
the lines that take their place
>>>>>>> REPLACE

Copy as few whole lines as are needed to name one place only."""


@dataclass(frozen=True)
class Proposal:
    """A finished edit. `text` is the file with it, `changes` count lines from 1 and are lines of the file
    before. `broken`: a parser of the file's language reads less of it than before, as far as there is one.
    `stop` says why the answer ended."""

    source: Source
    text: str
    changes: tuple[Edit, ...]
    form: Literal["whole", "search"]
    broken: bool
    stop: str
    usage: Usage

    @property
    def changed(self) -> bool:
        return self.text != self.source.text


class CutOff(answer.EditRefused):
    """An answer that a limit ended. `stop` and `tokens` tell which, and after how many."""

    def __init__(self, stop: str, tokens: int) -> None:
        why = ": the context is full" if stop == "context" else ""
        super().__init__(
            f"the answer was cut after {tokens:,} tokens{why}, so nothing is changed",
            "raise the limit, or name fewer lines",
        )
        self.stop, self.tokens = stop, tokens


def selected(source: Source, first: int | None = None, last: int | None = None) -> Source:
    """Return `source` with the lines `first` to `last`, both from 1, as what is to be edited; all of it if
    none are given. Raises `UsageError`."""
    lines = lines_of(source.text)
    if first is None:
        return replace(source, at=0, marker=len(source.text))
    last = first if last is None else last
    name = source.path or "the text"
    if not 1 <= first <= last:
        raise UsageError(f"{name} has no lines {first:,} to {last:,}", "count from 1, the smaller one first")
    if last > len(lines):
        count = f"{len(lines):,} line{'' if len(lines) == 1 else 's'}"
        raise UsageError(f"{name} has {count}, not {last:,}", "count from 1")
    at = sum(map(len, lines[: first - 1]))
    return replace(source, at=at, marker=sum(map(len, lines[first - 1 : last])))


def form_of(source: Source, form: Form = "auto") -> Literal["whole", "search"]:
    """Return in which form the edit is asked for."""
    if form != "auto":
        return form
    lines = lines_of(_code(source))
    return "whole" if len(lines) <= _WHOLE_LINES or answer.has_marks(lines) else "search"


def messages(
    engine: Engine, source: Source, instruction: str, name: str, form: Form = "auto"
) -> list[Message]:
    """Return what the model is asked, for its chat template. `name` is what the file is known by."""
    code = _plain(_code(source))
    around = _around(engine, source, code, instruction)
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", code)), default=0))
    name = clean_name(name)
    language = PurePath(name).suffix.removeprefix(".")
    parts = []
    for what, text in (("before", around.prefix), ("after", around.suffix)):
        if text.strip():
            parts.append(f"For reference, the code {what} it:\n{fence}{language}\n{_closed(text)}{fence}")
    parts.append(
        f"The code to edit{f', of {name}' if name else ''}:\n{fence}{language}\n{_closed(code)}{fence}"
    )
    parts.append(f"Instruction: {instruction}")
    parts.append(_ASK_SEARCH if form_of(source, form) == "search" else _ASK_WHOLE.format(fence=fence))
    return [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": "\n\n".join(parts)}]


def max_tokens(engine: Engine, source: Source) -> int:
    """Return the longest answer where nobody gives a number, in tokens."""
    code = _code(source)
    return _SPARE_TOKENS + 2 * counter(engine)(code)


def stream(
    engine: Engine,
    source: Source,
    instruction: str,
    *,
    name: str = "",
    form: Form = "auto",
    sampling: Sampling = Sampling(),
) -> Generator[str, None, Proposal]:
    """Yield the answer while it is written (all of it so far each time); return what it does to the file.

    `source` has what is to be edited as its marker: see `selected`. Greedy unless `sampling` says otherwise
    or the model thinks whatever is asked: then as its card has it for code, and without a limit, which its
    thoughts would meet. Closing the generator stops the computation within a token.
    Raises `UsageError`, `EditRefused` (also `CutOff`), `ContextFull`, `EngineError`.
    """
    if not instruction.strip():
        raise UsageError("the instruction is empty", "say what is to be changed")
    prompt = messages(engine, source, instruction.strip(), name, form)
    thinking = engine.capabilities.thinking
    if thinking == "always":
        defaults = _thinking_about_code(engine)
    else:
        defaults = Sampling(temperature=0.0, max_tokens=max_tokens(engine, source))
    pieces = engine.chat(
        prompt, sampling=sampling.over(defaults), thinking=False if thinking == "switch" else None
    )
    said, usage = "", Usage()
    try:
        for piece in pieces:
            usage = piece.usage or usage
            if piece.kind == "answer" and piece.text:
                said += piece.text
                yield said
    finally:
        pieces.close()
    if usage.stop_reason in ("length", "context"):
        raise CutOff(usage.stop_reason, usage.generated_tokens)
    return proposal(source, said, usage, name=name)


def _thinking_about_code(engine: Engine) -> Sampling:
    """Return what the card of a model has for thinking about exact code; nothing where it has nothing."""
    known = lookup.find(engine.model)
    return Sampling(**(known.code_sampling or {})) if known else Sampling()


def proposal(source: Source, said: str, usage: Usage, *, name: str = "") -> Proposal:
    """Return what an answer does to the file of `source`. Raises `EditRefused`."""
    code = _code(source)
    first = source.before.count("\n") + source.before.replace("\r\n", "").count("\r") + 1
    lines = [bare(line) for line in lines_of(code)]
    parsed = answer.parse(said, blocks=not answer.has_marks(lines))
    changes = edits(lines, parsed, first=first)
    new = edited(code, changes, source.newline)
    text = source.before + new + source.after
    numbered = tuple(Edit(c.start + first, c.end + first, c.lines) for c in changes)
    form: Literal["whole", "search"] = "whole" if isinstance(parsed, answer.Whole) else "search"
    whole = Whole(Hole(source.before, source.after, name))
    broken = new != code and whole.faults(new) > whole.faults(code)
    return Proposal(source, text, numbered, form, broken, usage.stop_reason, usage)


def _code(source: Source) -> str:
    """Return what is to be edited, with the newlines of the file."""
    return source.text[source.at : source.at + source.marker]


def _around(engine: Engine, source: Source, code: str, instruction: str) -> Hole:
    """Return what is shown of the file on both sides of the code."""
    count = counter(engine)
    room = _AROUND_TOKENS
    if engine.capabilities.context is not None:
        taken = count(code) + count(instruction) + _FRAME_TOKENS + max_tokens(engine, source)
        room = min(room, engine.capabilities.context - taken)
    if room <= 0:
        return Hole("", "")
    return fit(Hole(_plain(source.before), _plain(source.after)), room, count).hole


def _closed(text: str) -> str:
    return text if not text or text.endswith("\n") else f"{text}\n"


def _plain(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")
