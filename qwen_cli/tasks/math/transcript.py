"""The text of a solution with programs: what the model wrote, the outputs between it, and how it goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from qwen_cli.engines.core.base import Engine, Sampling, Stream, is_off
from qwen_cli.engines.core.prompt import Prompt, joined, plain
from qwen_cli.engines.parsing.marks import own_words
from qwen_cli.engines.parsing.think_tags import CLOSE, OPEN
from qwen_cli.sandbox import Outcome
from qwen_cli.tasks.math import fences
from qwen_cli.tasks.math.fences import Follower

_FORMULAS = {"\\(": "\\)", "\\[": "\\]", "$$": "$$", "$": "$"}
NOTHING = "(nothing was printed)"


@dataclass(frozen=True)
class Run:
    """A program of the model, what became of it, and what of that the model is told."""

    code: str
    outcome: Outcome
    shown_to_model: str

    @property
    def readable_output(self) -> str:
        """Return what there is to read of it: output, value, and the last line of an error."""
        return readable_output(self.outcome)


def readable_output(outcome: Outcome, *, where: bool = False) -> str:
    """Return output, value, and of an error the last line, with `where` also that of the program."""
    error = None if outcome.status == "ok" else outcome.error or outcome.status
    if error and where and outcome.where:
        error = f"{error}\n{outcome.where}"
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
    """The assistant's text: what the model wrote and, between it, what its programs printed. `thought` is
    what it thought before, as the prompt has it: with the mark that ends it, and the one that begins it where
    the model wrote that itself."""

    runs: list[Run] = field(default_factory=list)
    parts: list[tuple[str, str]] = field(default_factory=list)  # (what the model wrote, the output after it)
    thought: str = ""
    _past: str = ""
    _new: Follower = field(default_factory=Follower)

    @property
    def text(self) -> str:
        """Return all that is for the person: everything but the thought and what the user said between."""
        return self._past + self.new

    @property
    def new(self) -> str:
        """Return what the model wrote after the last output."""
        return self._new.text

    def add(self, text: str) -> str:
        """Take more of what the model writes. Returns what of it is kept: it may have gone on after a
        program."""
        return self._new.feed(text)

    @property
    def ended(self) -> bool:
        """Return whether the model went on after a program, which is to be run first."""
        return self._new.ended

    @property
    def open(self) -> bool:
        """Return whether a fenced block is not closed yet."""
        return self._new.open

    @property
    def open_other(self) -> bool:
        """Return whether a block is open that is no program."""
        return self._new.other

    def program(self) -> str | None:
        """Return the program that ends the new text, its fence open or closed."""
        return self._new.program()

    def close(self) -> str:
        """Close the block that is open. Returns what was written for that."""
        return self.add(("" if self.new.endswith("\n") else "\n") + "```") if self.open else ""

    def put(self, run: Run) -> None:
        """Write the output of a program under it."""
        self.runs.append(run)
        self.say_output(run.shown_to_model)

    def say_output(self, shown: str) -> None:
        """Write `shown` under a program in place of an output."""
        wrote, output = self.new.rstrip("\n"), f"\n```output\n{shown}\n```\n"
        self.parts.append((wrote, output))
        self._past += wrote + output
        self._new = Follower()

    def say(self, words: str) -> None:
        """Add what the user says after what was written."""
        self.parts.append((self.new, words))
        self._past += self.new + "\n\n"
        self._new = Follower()

    def prompt(self) -> Prompt:
        """Return all of it for the model to go on with: what programs printed is plain, and so is what the
        model wrote but for the marks round its thinking."""
        parts: list[str] = [own_words(self.thought, thinks=True)]
        for wrote, output in self.parts:
            parts += [own_words(wrote, thinks=False), plain(output)]
        return joined([*parts, own_words(self.new, thinks=False)])

    def prose(self) -> str:
        """Return all of it without thoughts, programs and outputs: where an answer is an answer."""
        return "\n".join(fences.prose(wrote) for wrote in [*(wrote for wrote, _ in self.parts), self.new])


class Turn:
    """How the model is asked to go on: in the same turn where the prompt can be told, so that the KV cache
    holds all of it; elsewhere outputs are said by the user."""

    def __init__(self, engine: Engine, messages: list[dict[str, Any]], thinking: bool | int | None) -> None:
        self._engine, self._messages, self._thinking = engine, messages, thinking
        self._prompt = rendered(engine, messages, thinking)
        end = (self._prompt or "").rstrip()
        may = self.continues and engine.capabilities.thinking is not None and not is_off(thinking)
        self.thinks = may and not end.endswith(CLOSE)
        self.opened = self.thinks and end.endswith(OPEN)

    @property
    def prompt(self) -> str | list[dict[str, Any]]:
        """Return what the model is asked at first."""
        return self._messages if self._prompt is None else self._prompt

    @property
    def continues(self) -> bool:
        """Return whether the model goes on with its own text, so that a sentence can be begun for it. Then it
        thinks (`thinks`) in the text of its answer, after a mark that it writes itself or that was `opened`
        for it; elsewhere thoughts come apart from answers."""
        return self._prompt is not None

    def say(self, written: Written, begin: str, ask: str) -> str:
        """Make the model go on with what is begun for it, or ask it to. Returns the text added to what it
        wrote."""
        if not self.continues:
            written.say(ask)
            return "\n\n"
        # It may have been stopped inside a formula that was to hold the answer.
        opened = next((o for o in _FORMULAS if written.new.rstrip().endswith(o)), None)
        return written.add(f"…{_FORMULAS[opened]}\n\n{begin}" if opened else f"\n\n{begin}")

    def ask(self, written: Written, sampling: Sampling) -> Stream:
        if self._prompt is not None:
            return self._engine.complete(self._prompt + written.prompt(), sampling=sampling)
        turns = list(self._messages)
        for wrote, output in written.parts:
            turns.append({"role": "assistant", "content": wrote})
            turns.append({"role": "user", "content": output.strip()})
        if written.new:
            turns.append({"role": "assistant", "content": written.new})
            turns.append({"role": "user", "content": "Go on."})
        return self._engine.chat(turns, sampling=sampling, thinking=self._thinking)
