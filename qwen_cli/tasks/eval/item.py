"""What every bench is made of: items that are attempted, and what comes of an attempt."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any
from typing import Protocol as Interface

from qwen_cli.engines.core.base import CUT, Engine, Piece, StopReason, Stream, Usage
from qwen_cli.tasks.common.parallel import Stopped
from qwen_cli.tasks.eval.protocol import Protocol


@dataclass(frozen=True)
class Attempt:
    """What a model answered to one item. `correct` lies between 0 and 1 where a bench gives parts of a point.
    `text` is what it wrote, its thinking left out; `chances` are log-probabilities of choices, in nats; `why`
    says what failed."""

    answer: str | None
    correct: float
    text: str = ""
    stop: str = "stop"
    tokens: int = 0
    prompt_tokens: int = 0
    why: str | None = None
    chances: dict[str, float] | None = None

    @property
    def cut(self) -> bool:
        """Return whether a limit ended it before its end."""
        return self.stop in CUT

    def row(self) -> dict[str, Any]:
        """Return it as a journal keeps it: what says nothing is left out."""
        return {name: value for name, value in asdict(self).items() if value not in (None, "")}


class Item(Interface):
    """One question of a bench with its answer. `subject` groups them, "" where there are no groups."""

    @property
    def id(self) -> str: ...

    @property
    def subject(self) -> str: ...

    @property
    def expected(self) -> str: ...

    def attempt(self, engine: Engine, protocol: Protocol, number: int, stopped: Stopped) -> Attempt | None:
        """Ask `engine`, for the sample of this number; `None` where it was stopped. Raises `EngineError`,
        `ContextFull`, `SandboxError`."""
        ...


@dataclass(frozen=True)
class Written:
    """What a stream came to."""

    text: str
    usage: Usage

    @property
    def stop(self) -> StopReason:
        return self.usage.stop_reason

    def attempt(self, answer: str | None, correct: float, why: str | None = None) -> Attempt:
        """Return it as an attempt that names `answer`."""
        spent = self.usage
        return Attempt(
            answer, correct, self.text, self.stop, spent.generated_tokens, spent.prompt_tokens, why
        )


def written(stream: Stream, stopped: Stopped) -> Written | None:
    """Return the answer of a stream, without thinking; `None` once it was stopped. The stream is closed."""
    parts: list[str] = []
    usage = Usage()
    try:
        for piece in stream:
            if stopped():
                return None
            parts += _answers(piece)
            usage = piece.usage or usage
    finally:
        stream.close()
    return Written("".join(parts), usage)


def _answers(piece: Piece) -> list[str]:
    return [piece.text] if piece.kind == "answer" and piece.text else []
