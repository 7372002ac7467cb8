"""The answer of a solution: what stands in its last box, or what its last lines say that it is."""

from __future__ import annotations

import re

_BOX = re.compile(r"\\(?:boxed|fbox)(?![A-Za-z])\s*")
# What TeX boxes without braces: a number (of which TeX takes a digit, and its writer meant all), a letter, or
# a command with its arguments.
_UNBRACED = re.compile(
    r"-?[0-9][0-9,]*(?:\.[0-9]+)?|[A-Za-z](?![A-Za-z])|\\[dt]?frac\{[^{}]*\}\{[^{}]*\}|\\\w+\{[^{}]*\}"
)
_BRACES = re.compile(r"\\.|[{}]", re.DOTALL)
# What stands in a box that only tells what a box is for.
_PLACEHOLDER = re.compile(
    r"(?:\\text\s*\{)?\s*(?:[.…?_]*|\\[lc]?dots|(?:your |the )?(?:final )?answer)\s*\}?", re.IGNORECASE
)
_BETWEEN = re.compile(r"[\s$,;]*(?:,|;|\band\b|\bor\b|和|或|、)[\s$]*(?:and|or)?[\s$]*")
# "The answer is", in languages that the models speak; then the answer, up to the end of its sentence.
_STATED = re.compile(
    r"(?:\b(?:final |correct )?answer(?:\*\*)? ?(?:is|=|:|：)|答案?(?:\*\*)?\s*(?:应该?)?[是为：:]|答えは"
    r"|(?:정답|답)은|\bréponse(?: finale)?(?: correcte)? (?:est|:)|\bAntwort (?:ist|lautet|:)"
    r"|\brespuesta(?: final)?(?: es|:)"
    r"|\bresposta(?: final)?(?: é|:)|\brisposta(?: finale)?(?: è|:)|\bответ(?: равен)?\s*[-—–:]|\bđáp án là"
    r"|الجواب هو|الإجابة هي)[\s:：*]*(?P<answer>.+)",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!](?=\s|$)|[。！]|です|입니다|(?:,|\s)\s*(?:because|since|as|which) ")
_LINES = 3  # at the end of a solution, in which its answer is said


def final(solution: str) -> str | None:
    """Return the answer of a solution that ended: boxed, or else stated."""
    return boxed(solution) or stated(solution)


def boxed(text: str) -> str | None:
    r"""Return what stands in the last `\boxed{}` that holds something and whose braces are balanced, or
    behind a `\boxed` without braces; several in one line with commas or `and` between them are one answer.
    `None` where there is none. Takes time linear in `text`."""
    closes = _closes(text)
    answers: list[str] = []
    start = 0  # of the box that was read before, which stands behind
    for match in reversed(list(_BOX.finditer(text))):
        end, answer = _content(text, match.end(), closes)
        if not answer or _PLACEHOLDER.fullmatch(answer):
            continue
        if answers and not (
            end <= start and "\n" not in text[end:start] and _BETWEEN.fullmatch(text[end:start])
        ):
            break
        answers.append(answer)
        start = match.start()
    distinct = list(dict.fromkeys(reversed(answers)))
    return ", ".join(distinct) or None


def _closes(text: str) -> dict[int, int]:
    """Return where each brace that is opened is closed."""
    closes: dict[int, int] = {}
    opened: list[int] = []
    for match in _BRACES.finditer(text):
        if match[0] == "{":
            opened.append(match.start())
        elif match[0] == "}" and opened:
            closes[opened.pop()] = match.start()
    return closes


def _content(text: str, start: int, closes: dict[int, int]) -> tuple[int, str]:
    r"""Return what a `\boxed` before `start` boxes, and where that ends; nothing where it is broken."""
    if text[start : start + 1] == "{":
        end = closes.get(start)
        return (start, "") if end is None else (end + 1, text[start + 1 : end].strip())
    bare = _UNBRACED.match(text, start)
    return (start, "") if bare is None else (bare.end(), bare[0].rstrip(","))


def stated(solution: str) -> str | None:
    """Return what the last lines of a solution say that the answer is; `None` where they say nothing."""
    lines = [line for line in solution.splitlines() if line.strip()][-_LINES:]
    for line in reversed(lines):
        match = list(_STATED.finditer(line[-1_000:]))
        answer = _SENTENCE_END.split(match[-1]["answer"], maxsplit=1)[0] if match else ""
        answer = answer.strip().strip("*").strip()
        said = any(c.isdigit() or c in "\\$" for c in answer) or 0 < len(answer.split()) <= 3
        if said and not answer.casefold().startswith(("not ", "in ", "the ")):
            return answer
    return None
