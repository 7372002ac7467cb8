"""The text of a solution with programs: what the model wrote, the outputs between it, and how it goes on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from qwen_cli.engines.core.base import Engine, Piece, Sampling, Stream
from qwen_cli.engines.core.prompt import Prompt, joined, plain
from qwen_cli.engines.parsing.marks import own_words
from qwen_cli.sandbox import Outcome

_FENCE = re.compile(r"^```[ \t]*([\w+-]*)[^\n`]*$", re.MULTILINE)
_PYTHON = {"python", "py", "python3"}
_FORMULAS = {"\\(": "\\)", "\\[": "\\]", "$$": "$$", "$": "$"}
_THOUGHT = "</think>"
NOTHING = "(nothing was printed)"


@dataclass(frozen=True)
class Run:
    """A program of the model, what became of it, and what of that the model is told."""

    code: str
    outcome: Outcome
    told: str

    @property
    def said(self) -> str:
        """Return what there is to read of it: output, value, and the last line of an error."""
        return said(self.outcome)


def said(outcome: Outcome) -> str:
    """Return output, value, and of an error the last line: Qwen2.5-Math's executor shows the model no
    more."""
    error = None if outcome.status == "ok" else outcome.error or outcome.status
    parts = (outcome.output.rstrip("\n") or None, outcome.value, error)
    return "\n".join(part for part in parts if part is not None) or NOTHING


def rendered(engine: Engine, messages: Sequence[dict[str, Any]], thinking: bool | int | None) -> str | None:
    """Return the raw prompt that answers can be gone on with, where the engine tells it. It has no place for
    pictures."""
    if not engine.capabilities.render or not all(isinstance(m["content"], str) for m in messages):
        return None
    return engine.render(messages, thinking=thinking)


@dataclass
class Written:
    """The assistant's text: what the model wrote and, between it, what its programs printed."""

    text: str = ""
    runs: list[Run] = field(default_factory=list)
    parts: list[tuple[str, str]] = field(default_factory=list)  # (what the model wrote, the output after it)
    _from: int = 0  # where the text after the last output begins

    def add(self, piece: Piece) -> None:
        self.text += piece.text if piece.kind == "answer" else ""

    @property
    def new(self) -> str:
        """Return what the model wrote after the last output."""
        return self.text[self._from :]

    def program(self) -> str | None:
        """Return the program that ends the new text, its fence open or closed."""
        if (block := self._block()) is None:
            return None
        tag, body, rest = block
        return body if tag in _PYTHON and body.strip() and not rest.strip() else None

    def close_other(self) -> bool:
        """Close a block in another language, so that the model goes on after it. False where none is open."""
        block = self._block()
        if block is None or block[0] in _PYTHON or not self.open:
            return False
        self.text += "\n```\n"
        return True

    def put(self, run: Run) -> None:
        """Write the output of a program under it."""
        wrote = self.new.rstrip("\n") + ("\n```" if self.open else "")
        output = f"\n```output\n{run.told}\n```\n"
        self.text = self.text[: self._from] + wrote + output
        self.parts.append((wrote, output))
        self.runs.append(run)
        self._from = len(self.text)

    def say(self, words: str) -> None:
        """Add words of the user after what was written."""
        self.parts.append((self.new, words))
        self.text += "\n\n"
        self._from = len(self.text)

    def prompt(self, *, thinks: bool) -> Prompt:
        """Return all of it for the model to go on with: what programs printed is plain, and so is what the
        model wrote but for the marks round its thinking, where it `thinks`."""
        parts: list[str] = []
        for wrote, output in self.parts:
            parts += [own_words(wrote, thinks=thinks), plain(output)]
            thinks = thinks and _THOUGHT not in wrote
        return joined([*parts, own_words(self.new, thinks=thinks)])

    def prose(self) -> str:
        """Return all of it without thoughts, programs and outputs: where an answer is an answer."""
        text = "\n".join([*(wrote for wrote, _ in self.parts), self.new])
        spoken = text.rpartition(_THOUGHT)[2]
        return re.sub(r"^```.*?(?:^```[ \t]*$|\Z)", "", spoken, flags=re.MULTILINE | re.DOTALL)

    @property
    def open(self) -> bool:
        """Return whether a fenced block is not closed yet."""
        return len(_FENCE.findall(self._spoken())) % 2 == 1

    def _spoken(self) -> str:
        return self.new.rpartition(_THOUGHT)[2]

    def _block(self) -> tuple[str, str, str] | None:
        """Return the last fenced block of the new text: (language, body, what stands after it)."""
        text = self._spoken()
        fences = list(_FENCE.finditer(text))
        if not fences:
            return None
        opened = len(fences) % 2 == 1
        start = fences[-1] if opened else fences[-2]
        end, rest = (len(text), "") if opened else (fences[-1].start(), text[fences[-1].end() :])
        return start[1].lower(), text[start.end() + 1 : end], rest


class Turn:
    """How the model is asked to go on: in the same turn where the prompt can be told, so that the KV cache
    holds all of it; elsewhere outputs are said by the user."""

    def __init__(self, engine: Engine, messages: list[dict[str, Any]], thinking: bool | int | None) -> None:
        self._engine, self._messages, self._thinking = engine, messages, thinking
        self._prompt = rendered(engine, messages, thinking)

    @property
    def continues(self) -> bool:
        """Return whether the model goes on with its own text, so that a sentence can be begun for it."""
        return self._prompt is not None

    def say(self, written: Written, begin: str, ask: str) -> str:
        """Make the model go on with what is begun for it, or ask it to; return the text added to what it
        wrote. The text added to what it wrote."""
        before = len(written.text)
        if self.continues:
            # It may have been stopped inside a formula that was to hold the answer.
            opened = next((o for o in _FORMULAS if written.text.rstrip().endswith(o)), None)
            written.text += f"…{_FORMULAS[opened]}\n\n{begin}" if opened else f"\n\n{begin}"
        else:
            written.say(ask)
        return written.text[before:]

    def ask(self, written: Written, sampling: Sampling) -> Stream:
        if self._prompt is not None:
            thinks = self._engine.capabilities.thinking is not None
            return self._engine.complete(self._prompt + written.prompt(thinks=thinks), sampling=sampling)
        turns = list(self._messages)
        for wrote, output in written.parts:
            turns.append({"role": "assistant", "content": wrote})
            turns.append({"role": "user", "content": output.strip()})
        if written.new:
            turns.append({"role": "assistant", "content": written.new})
            turns.append({"role": "user", "content": "Go on."})
        return self._engine.chat(turns, sampling=sampling, thinking=self._thinking)
