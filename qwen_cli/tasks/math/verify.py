"""An answer put back into its problem: a second program that is given the answer and tests what the problem
says of it.

The program is written in a conversation of its own, which knows nothing of the solution. It is a model's
program too, so its word is weighed: it must use the answer that it is given, and must refuse a wrong one.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from qwen_cli.engines.core.base import Engine, Piece, Sampling
from qwen_cli.sandbox import Limits, Sandbox
from qwen_cli.sandbox.truncate import cut
from qwen_cli.tasks.math import prompts
from qwen_cli.tasks.math.allowance import limited
from qwen_cli.tasks.math.answer import number, source
from qwen_cli.tasks.math.fences import Follower
from qwen_cli.tasks.math.transcript import readable_output

_TRIES = 2  # programs: the second is told what became of the first
_OUTPUT_CHARACTERS = 400
_USES = re.compile(r"(?<![\w.])answer(?!\w)")
# The model's own word for the answer, which would stand for ours.
_ASSIGNS = re.compile(r"^answer[ \t]*(?::[^=\n]*)?=(?!=).*$", re.MULTILINE)
_TEXT = re.compile(r"\\(?:text|textbf|textrm|mathrm|mbox)\{([^{}]*)\}")
_WORD = re.compile(r"(?<![A-Za-z\\])[A-Za-z]{2,}")  # not a product of its letters
# `answer` as Python and sympy have it; text stays text. `_wrong` is another answer of the same kind.
_BIND = """
import fractions, sympy
{source}
def _read(text):
    try:
        return sys.modules["qwen_cli.tasks.math.expression"].evaluate(text)[0]
    except Exception:
        return text
def _other(value):
    if isinstance(value, str):
        return None
    try:
        return value + 1
    except Exception:
        return None
_right = {value}
_wrong = _other(_right)
"""

Verdict: TypeAlias = Literal["holds", "fails", "open"]


@dataclass(frozen=True)
class Verification:
    """What became of it. `verdict` is "holds", "fails", or "open" where the program says nothing of worth:
    `why` tells that, or how far it can be trusted. `tokens` were generated for it."""

    verdict: Verdict
    why: str
    program: str | None = None
    output: str | None = None
    tokens: int = 0

    @property
    def words(self) -> str:
        """Return it in a few words."""
        labels = {
            "holds": "put back, it holds",
            "fails": "put back, it does not hold",
            "open": "not put back",
        }
        return labels[self.verdict] + (f" ({self.why})" if self.why else "")


def verify(
    engine: Engine,
    problem: str,
    answer: str,
    language: prompts.Language,
    *,
    known: Sequence[str] = (),
    pictures: Sequence[dict[str, Any]] = (),
    limits: Limits | None = None,
    contained: bool = True,
    sampling: Sampling = Sampling(),
    thinking: bool | int | None = None,
) -> Generator[Piece, None, Verification]:
    """Put `answer` back into `problem` by a program; yield a piece without text for each of the model's.

    `known` are the programs of the solution, which would only repeat it. Raises `EngineError`,
    `ContextFull`, `SandboxError`.
    """
    messages = prompts.verification(problem, answer, language, pictures)
    bounded = limited(engine, sampling, thinking)
    verification = Verification("open", "no program was written")
    tokens = 0
    for _ in range(_TRIES):
        text = ""
        pieces = engine.chat(messages, sampling=bounded, thinking=thinking)
        try:
            for piece in pieces:
                text += piece.text if piece.kind == "answer" else ""
                tokens += piece.usage.generated_tokens if piece.usage else 0
                yield Piece()
        finally:
            pieces.close()
        follower = Follower()
        follower.feed(text)
        program = follower.program()
        if program is None:
            break
        verification = _tested(program, answer, known, limits, contained)
        if verification.output is None or verification.verdict != "open":
            break
        messages = [
            *messages,
            {"role": "assistant", "content": follower.text},
            {
                "role": "user",
                "content": f"```output\n{verification.output}\n```\n{prompts.VERIFY_AGAIN[language]}",
            },
        ]
    return Verification(
        verification.verdict, verification.why, verification.program, verification.output, tokens
    )


def _tested(
    program: str, answer: str, known: Sequence[str], limits: Limits | None, contained: bool
) -> Verification:
    """Run `program` with the answer and with a wrong one, and say what that is worth. One with `output` whose
    verdict is open may be written better."""
    bare = _ASSIGNS.sub("", program)
    if any(program.strip() == other.strip() for other in known):
        return Verification("open", "the program is that of the solution", program)
    if not _USES.search(bare):
        return Verification("open", "the program does not use the answer", program)
    value = number(answer)
    words = _TEXT.sub(r"\1", answer)
    if value is not None:
        exact = str(value) if value.denominator == 1 else f"fractions.Fraction({str(value)!r})"
    else:
        exact = repr(words) if _WORD.search(words) else f"_read({answer!r})"
    bind = _BIND.format(source=source() if exact.startswith("_read") else "", value=exact)
    right, output = _run(bind, "_right", bare, limits, contained)
    if right is None:
        return Verification("open", "the program came to no verdict", program, output)
    wrong, tried = _run(bind, "_wrong", bare, limits, contained)
    if right and wrong:
        return Verification("open", "the program takes a wrong answer too", program)
    if right:
        why = "" if wrong is False else "a wrong one was not tried" if not tried else "a wrong one ends it"
        return Verification("holds", why, program, output)
    if not tried:
        return Verification("open", "the answer is text to a program", program)
    return Verification("fails", "", program, output)


def _run(
    bind: str, name: str, program: str, limits: Limits | None, contained: bool
) -> tuple[bool | None, str]:
    """Return what the program printed last, `None` if neither True nor False, and all that is to be read of
    it: nothing where there is no such answer and it did not run."""
    with Sandbox(limits, contained=contained) as sandbox:
        if sandbox.run(f"{bind}\nassert {name} is not None").status != "ok":
            return None, ""
        outcome = sandbox.run(f"answer = {name}\n{program}")
    lines = (outcome.value or outcome.output).strip().splitlines()
    last = lines[-1].strip() if lines and outcome.status == "ok" else ""
    return {"True": True, "False": False}.get(last), cut(readable_output(outcome), _OUTPUT_CHARACTERS)
