"""Questions with lettered answers: MMLU, MMLU-Pro, C-Eval and files of their shape.

Rated: how likely each letter is after `Answer:`, without a word being written, as base models are measured.
Written: the model answers in chat, and its letter is read from the end of what it wrote.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qwen_cli.engines.core.base import Engine, Sampling
from qwen_cli.errors import EngineError
from qwen_cli.tasks.common.parallel import Stopped
from qwen_cli.tasks.eval.item import Attempt, written
from qwen_cli.tasks.eval.protocol import Form, Protocol

LETTERS = string.ascii_uppercase
_MOST = 2048  # tokens of a written answer, as Qwen's scripts have it
_LIKELY = 100  # tokens among which the letters are looked for before they are rated one by one


@dataclass(frozen=True)
class Style:
    """The words of a bench around its questions. `{subject}` stands in `head`; `ask` ends a written
    question."""

    head: str
    question: str
    cue: str
    ask: str
    space: str = " "  # between cue and letter


# Qwen's own script writes "Question: " before each, lm-evaluation-harness does not.
_HEAD = "The following are multiple choice questions (with answers) about {subject}.\n\n"
# "Please show your choice …": the recommendation of Qwen3's model cards for multiple-choice questions.
_ASK = 'Please show your choice in the `answer` field with only the choice letter, e.g., `"answer": "C"`.'
ENGLISH: dict[Form, Style] = {
    "base": Style(_HEAD, "Question: ", "Answer:", _ASK),
    "lm-eval": Style(_HEAD, "", "Answer:", _ASK),
    "chat": Style("", "", "", _ASK),
    "thinking": Style("", "", "", _ASK),
}
_ZH_HEAD = "以下是中国关于{subject}考试的单项选择题，请选出其中的正确答案。\n\n"
_ZH_ASK = '请在 `answer` 字段中只给出选项字母，例如 `"answer": "C"`。'
CHINESE: dict[Form, Style] = {
    "base": Style(_ZH_HEAD, "", "答案：", _ZH_ASK, ""),
    "lm-eval": Style(_ZH_HEAD, "", "答案：", _ZH_ASK),
    "chat": Style("", "", "", _ZH_ASK),
    "thinking": Style("", "", "", _ZH_ASK),
}


@dataclass(frozen=True)
class Choice:
    """One question. `right` is the number of the answer among `choices`; `shots` are those of its subject
    that stand before it."""

    id: str
    subject: str
    question: str
    choices: tuple[str, ...]
    right: int
    chinese: bool = False
    shots: tuple[Choice, ...] = ()

    @property
    def expected(self) -> str:
        return LETTERS[self.right]

    @property
    def letters(self) -> str:
        return LETTERS[: len(self.choices)]

    def attempt(self, engine: Engine, protocol: Protocol, number: int, stopped: Stopped) -> Attempt | None:
        style = (CHINESE if self.chinese else ENGLISH)[protocol.form]
        if protocol.raw:
            return self._rated(engine, self.prompt(style, protocol.shots), style)
        sampling = protocol.limited(_MOST).nth(number)
        messages = self._messages(style, protocol.shots)
        answer = written(engine.chat(messages, sampling=sampling, thinking=protocol.thinking), stopped)
        if answer is None:
            return None
        letter = chosen(answer.text, self.letters, self.choices)
        return answer.attempt(letter, float(letter == self.expected))

    def prompt(self, style: Style, shots: int) -> str:
        """Return the raw text up to where the letter belongs."""
        worked = "".join(
            f"{shot._lines(style)}{style.space}{shot.expected}\n\n" for shot in self.shots[:shots]
        )
        return style.head.format(subject=self.subject or "general knowledge") + worked + self._lines(style)

    def _lines(self, style: Style) -> str:
        return f"{style.question}{self.question.strip()}{lines(self.choices)}\n{style.cue}"

    def _messages(self, style: Style, shots: int) -> list[dict[str, str]]:
        turns: list[dict[str, str]] = []
        for shot in self.shots[:shots]:
            turns.append({"role": "user", "content": shot._asked(style)})
            turns.append({"role": "assistant", "content": f'"answer": "{shot.expected}"'})
        return [*turns, {"role": "user", "content": self._asked(style)}]

    def _asked(self, style: Style) -> str:
        return f"{self._lines(style).rstrip()}\n\n{style.ask}"

    def _rated(self, engine: Engine, prompt: str, style: Style) -> Attempt:
        chances = rated(engine, prompt, [style.space + letter for letter in self.letters])
        by_letter = {text.strip(): round(value, 4) for text, value in chances.items()}
        letter = max(by_letter, key=lambda one: by_letter[one])
        return Attempt(letter, float(letter == self.expected), chances=by_letter)


def lines(choices: Sequence[str]) -> str:
    """Return lettered choices, a line each, with a line's end before the first."""
    return "".join(f"\n{letter}. {text}" for letter, text in zip(LETTERS, choices, strict=False))


def rated(engine: Engine, prompt: str, continuations: Sequence[str]) -> dict[str, float]:
    """Return the log-probability of each of `continuations`, of one token each, after `prompt`.

    One step tells them all where the engine shows the likeliest tokens; the KV cache keeps what prompts begin
    with, so a bench's shots are read once. Elsewhere, and for a letter that is not among those, the prompt is
    rated with it. Raises `EngineError` where an engine does neither.
    """
    found: dict[str, float] = {}
    if engine.capabilities.logprobs:
        once = Sampling(temperature=0.0, max_tokens=1, logprobs=_LIKELY)
        with_logprobs = [p.logprobs for p in engine.complete(prompt, sampling=once) if p.logprobs]
        likely = with_logprobs[0][0].others if with_logprobs else ()
        by_text = {bytes(one.bytes).decode("utf-8", "replace"): one.logprob for one in likely}
        found = {text: by_text[text] for text in continuations if text in by_text}
    for text in continuations:
        if text not in found:
            whole = prompt + text
            begin = len(engine.tokenize(whole)) - 1 if engine.capabilities.tokens else 1
            scores = engine.score(whole, begin=begin)
            if not scores:
                raise EngineError(
                    f"{engine.model} does not tell how likely a text is", "give `protocol=chat`"
                )
            found[text] = scores[-1].logprob
    return {text: found[text] for text in continuations}


_FIELD = re.compile(r"""["'`*]*answer["'`*]*\s*[:：=]\s*["'`*(\[{$\\a-z]*\b([A-Z])\b""", re.IGNORECASE)
_BOXED = re.compile(r"\\boxed\s*\{\s*(?:\\(?:text|mathrm|textbf|mathbf)\s*\{)?\s*\(?([A-Z])\b")
_SAID = re.compile(
    r"(?:answer|choice|option|选项|答案)\s*(?:is|would be|应该?是|是|选|为)?\s*[:：]?\s*"
    r"[*_`\"'“(（\[]*([A-Z])\b",
    re.IGNORECASE,
)
_ALONE = re.compile(r"^\s*[*_`\"'“(（\[]*([A-Z])[*_`\"'”)）\]]*\s*(?:[.:、．。)](?:\s|$)|$)", re.MULTILINE)
_CHOSEN = re.compile(r"(?:选择?|故选|应选)\s*[:：]?\s*[*_`\"'“(（\[]*([A-Z])\b")


def chosen(text: str, letters: str, choices: Sequence[str] = ()) -> str | None:
    """Return the letter that an answer comes to: in its last `answer` field or box, in what it calls its
    answer, alone on a line, or the only choice whose words end the text. `None` where it names none."""
    for pattern in (_FIELD, _BOXED, _SAID, _CHOSEN, _ALONE):
        named = [match[1].upper() for match in pattern.finditer(text) if match[1].isupper()]
        named = [letter for letter in named if letter in letters]
        if named:
            return named[-1]
    last = text.strip().rstrip(".。*` ").rpartition("\n")[2].casefold()
    ends = [
        letter
        for letter, choice in zip(letters, choices, strict=False)
        if choice.strip() and last.endswith(choice.strip().casefold())
    ]
    return ends[0] if len(ends) == 1 else None


def parse(row: dict[str, Any], number: int, *, chinese: bool = False) -> Choice:
    """Return the question in one row of MMLU, MMLU-Pro, C-Eval or ARC. Raises `KeyError`, `ValueError`."""
    options = row.get("choices") or row.get("options")
    labels: Sequence[str] = LETTERS
    if isinstance(options, dict):  # ARC's: {"text": […], "label": […]}
        options, labels = options["text"], options["label"]
    if options is None:
        options = [row[letter] for letter in LETTERS if row.get(letter) not in (None, "")]
        if not options:
            raise KeyError("choices")
    choices = tuple(str(option) for option in options)
    answer = next(
        (row[name] for name in ("answer", "answerKey", "target") if row.get(name) is not None), None
    )
    if answer is None:
        raise KeyError("answer")
    right = _number(answer, choices, labels)
    subject = next((row[n] for n in ("subject", "category", "type", "task") if row.get(n)), "")
    own = next((row[n] for n in ("id", "question_id", "uuid") if row.get(n) is not None), number)
    subject = str(subject).replace("_", " ")
    return Choice(f"{subject or 'row'}/{own}", subject, str(row["question"]), choices, right, chinese)


def _number(answer: Any, choices: Sequence[str], labels: Sequence[str]) -> int:
    if isinstance(answer, bool):
        raise ValueError(f"its answer is {answer}")
    if isinstance(answer, str) and answer.strip() in labels:
        number = list(labels).index(answer.strip())
    elif isinstance(answer, int) or (answer.isdigit() and answer not in choices):
        number = int(answer)
    elif str(answer) in choices:
        number = list(choices).index(str(answer))
    else:
        raise ValueError(f"its answer {answer!r} is none of its choices")
    if not 0 <= number < len(choices):
        raise ValueError(f"its answer {answer!r} is none of its {len(choices)} choices")
    return number
