"""Questions about pictures with known answers: documents, charts, text in scenes, lettered choices.

Scored as their makers do: ANLS for documents (Biten et al., 2019, arXiv:1905.13648), five per cent for the
numbers of charts (Masry et al., 2022, arXiv:2203.10244), else the words themselves.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from qwen_cli.engines.core.base import Engine
from qwen_cli.media import inputs
from qwen_cli.tasks.common.parallel import Stopped
from qwen_cli.tasks.eval import choices as lettered
from qwen_cli.tasks.eval.item import Attempt, written
from qwen_cli.tasks.eval.protocol import Protocol
from qwen_cli.tasks.vision import prepare

Score: TypeAlias = Literal["anls", "relaxed", "exact"]
SCORES: tuple[Score, ...] = ("anls", "relaxed", "exact")
_MOST = 512
_BRIEF = "\nAnswer the question using a single word or phrase."


@dataclass(frozen=True)
class Shown:
    """One question about one picture. Any of `answers` is right; with `choices` it is a letter."""

    id: str
    subject: str
    picture: str
    question: str
    answers: tuple[str, ...]
    choices: tuple[str, ...] = ()
    score: Score = "exact"

    @property
    def expected(self) -> str:
        return self.answers[0]

    @property
    def asked(self) -> str:
        """Return the question as the model reads it."""
        if not self.choices:
            return self.question + _BRIEF
        options = lettered.lines(self.choices)
        return f"{self.question}{options}\n\n{lettered.ENGLISH['chat'].ask}"

    def attempt(self, engine: Engine, protocol: Protocol, number: int, stopped: Stopped) -> Attempt | None:
        looks = prepare.prepare_all(inputs.gather_pictures([self.picture]), engine, question=self.asked)
        messages = [prepare.message(looks, self.asked)]
        sampling = protocol.limited(_MOST).nth(number)
        answer = written(engine.chat(messages, sampling=sampling, thinking=protocol.thinking), stopped)
        if answer is None:
            return None
        said, points = self.marked(answer.text)
        return answer.attempt(said, points)

    def marked(self, text: str) -> tuple[str | None, float]:
        """Return what an answer says, and its points from 0 to 1."""
        if self.choices:
            letters = lettered.LETTERS[: len(self.choices)]
            letter = lettered.chosen(text, letters, self.choices)
            return letter, float(letter in self.answers)
        said = text.strip().rstrip(".").strip()
        rate = {"anls": anls, "relaxed": relaxed, "exact": same_words}[self.score]
        return said or None, max(rate(said, answer) for answer in self.answers)


def same_words(said: str, answer: str) -> float:
    """Return 1 where both are the same words, whatever their case and spaces."""
    return float(said.casefold().split() == answer.casefold().split())


def anls(said: str, answer: str) -> float:
    """Return the share of letters that are right; 0 where less than half are."""
    one, other = (" ".join(text.casefold().split()) for text in (said, answer))
    longest = max(len(one), len(other))
    share = 1.0 - _distance(one, other) / longest if longest else 1.0
    return share if share >= 0.5 else 0.0


def relaxed(said: str, answer: str) -> float:
    """Return 1 where two numbers differ by five per cent at most, other words not at all."""
    one, other = _number(said), _number(answer)
    if one is None or other is None:
        return same_words(said, answer)
    return float(abs(one - other) <= 0.05 * abs(other))


def _number(text: str) -> float | None:
    bare = text.strip().replace(",", "").lstrip("$€£")
    try:
        return float(bare.removesuffix("%")) / (100 if bare.endswith("%") else 1)
    except ValueError:
        return None


def _distance(one: str, other: str) -> int:
    """Return the edits between two texts (Levenshtein), a row at a time."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return row[-1]


def parse(row: dict[str, Any], number: int, *, folder: Path, score: Score) -> Shown:
    """Return the question in one row; a picture's path is one of `folder`, where the file of rows lies. An
    address of the web is taken as it is. Raises `KeyError`."""
    picture = next((str(row[n]) for n in ("image", "picture", "image_path", "file_name") if row.get(n)), "")
    if not picture:
        raise KeyError("image")
    if not re.match(r"(?:https?|data):", picture):
        picture = str(folder / Path(picture).expanduser())
    options = tuple(str(one) for one in row.get("choices") or row.get("options") or ())
    if options:
        choice = lettered.parse({**row, "choices": options}, number)
        answers: tuple[str, ...] = (choice.expected,)
    else:
        given = row["answers"] if row.get("answers") else row["answer"]
        answers = tuple(str(one) for one in given) if isinstance(given, list) else (str(given),)
    named = next((row[n] for n in ("id", "question_id", "questionId") if row.get(n) is not None), number)
    subject = str(row.get("subject") or row.get("category") or "")
    return Shown(str(named), subject, picture, str(row["question"]), answers, options, score)
