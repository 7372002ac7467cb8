"""The answer of a solution: what stands in its last box, or what its last lines say that it is."""

from __future__ import annotations

import re
from decimal import Decimal

from qwen_cli.tasks.math import fences

_BOX = re.compile(r"\\(?:[Bb]oxed|fbox|framebox)(?![A-Za-z])\s*")
# What was to be a box: without its backslash, or in other brackets.
_MEANT = re.compile(r"(?<![A-Za-z\\])boxed\s*\{([^{}]+)\}|\\boxed\s*(?:\(([^()]+)\)|\[([^\[\]]+)\])")
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
    r"(?:\b(?:final |correct )?answer(?:\*\*)? ?(?:is|=|:|：|(?:should|would|must|will|could) be\b)"
    r"|^\W*ans?:|答案?(?:\*\*)?\s*(?:应该?)?[是为：:】]|答えは"
    r"|(?:정답|답)은|\bréponse(?: finale)?(?: correcte)? (?:est|:)|\bAntwort (?:ist|lautet|:)"
    r"|\brespuesta(?: final)?(?: es|:)"
    r"|\bresposta(?: final)?(?: é|:)|\brisposta(?: finale)?(?: è|:)|\bответ(?: равен)?\s*[-—–:]|\bđáp án là"
    r"|الجواب هو|الإجابة هي)[\s:：*]*(?P<answer>[^\s:：*].*)",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(
    r"[.!](?=\s|$)|[。！]|です|입니다|[，,]\s*(?:因为|由于)|(?:,|\s)\s*(?:because|since|as|which) "
)
_LONGEST = 5_000  # characters at the end of a solution, of which its answer is one line
_LONGEST_VALUE = 80  # characters of an answer that no word announces
_TAGGED = re.compile(
    r'<answer>\s*([^<>]+?)\s*</answer>|"(?:final_?)?answer"\s*:\s*("[^"\n]+"|[-0-9.]+)', re.IGNORECASE
)
_DISPLAYED = re.compile(r"(?:\$\$|\\\[)\s*([^$]{1,500}?)\s*(?:\$\$|\\\])")
_HEADING = re.compile(
    r"^([ \t>#*_]*(?:the |final |correct |最终)*(?:answer|答案)(?: is)?[ \t*_]*[:：]?)[ \t*_]*\n\s*(?=\S)",
    re.IGNORECASE | re.MULTILINE,
)
# As GSM8K has it.
_MARKED = re.compile(r"####\s*([-+$]?\s*[0-9][0-9,./]*[ %\w]{0,20}|\(?[A-J]\)?)\s*$")
_LETTER = r"(\(?[A-J]{1,4}\)?)"
_CHOSEN = re.compile(
    rf"(?:故|因此|所以|应|答案)\s*选择?\s*[：:]?\s*{_LETTER}(?![A-Za-z])"
    rf"|\b(?:correct|right|best) (?:option|choice) (?:is|:)[\s*]*{_LETTER}(?![A-Za-z])"
    r"|\b[Oo]ption[\s*]+\(?([A-J])\)?[\s*]+is (?:the )?(?:correct|right)"
)
_ALONE = re.compile(r"\$([^$]{1,80})\$|\*\*([^*]{1,80}?)[.:]?\*\*")
_SHORT = re.compile(
    r"=?\s*([-+$]?[0-9][0-9,./]*[%°]?|\(?[A-J]\)?|[^=A-Za-z]{1,60}=\s*[-+$]?[0-9][0-9,./]*)\.?"
)
_CONCLUSION = re.compile(
    r"(?:(?:so|thus|therefore|hence|consequently|in conclusion|in total)\b|所以|因此|综上(?:所述)?|故"
    r"|(?=the (?:result|solution|value|total|sum|product)\s+(?:is|=)))[,，:：\s]*(.+[^,，:：])",
    re.IGNORECASE,
)
_COPULA = re.compile(
    r"\b(?:is|are|was|were|equals?|has|have|had|be|costs?|takes?)\s+(?:equal to\s+|about\s+|a total of\s+)?"
    r"|共?有|等于|[是为]"
)
_VALUE = re.compile(r"[-+$¥€£({\[\\0-9]|[A-Za-z]\w*(?:\([^()]*\))?\s*[=<>≤≥]")
_ELSEWHERE = re.compile(
    r"(?:not|in|the|given|see|shown|above|below|as|clear|unclear|unknown|wrong|correct)\b", re.IGNORECASE
)
_LINES = 3  # at the end of a solution, in which its answer is said
# A number by itself: no part of a term, a name, a date, a time or a fraction.
_NUMBER = re.compile(
    r"(?<![\w.,:/^*×·=+\\{(-])(?<![*/^×·+=-] )[-−]?[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?"
    r"(?![\w^/:{(\\]|[.,][0-9]| ?[*/^×·+=÷−-] ?[\w(\\]| ?\\)"
)
_BOLD = re.compile(r"(?<!\w)\*\*([^*\n]+)\*\*(?!\w)")
_PRINTED = re.compile(r"(?:[^\W\d][^\d=:]*[:=]\s*)?[$€£¥]?(?P<value>-?[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?)")


def final(solution: str, repeated: str | None = None) -> str | None:
    """Return the answer of a solution that ended: boxed, or else stated; after its thoughts, and not in a
    program where it is said outside of one too. What is `repeated` of an output goes before what a last line
    without such words comes to."""
    said = solution.rpartition("</think>")[2]
    said = said if said.strip() else solution
    words = fences.prose(said)
    return boxed(words) or stated(words, repeated) or boxed(said) or _meant(said)


def _meant(text: str) -> str | None:
    """Return what stands in the last box that lacks its backslash or has other brackets."""
    found = list(_MEANT.finditer(text))
    return next(filter(None, found[-1].groups()), "").strip() or None if found else None


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


def restated(words: str, printed: str) -> str | None:
    """Return the number that a program `printed` where the words after it end in it: `That is 12 times.`"""
    told = _PRINTED.fullmatch(printed.strip())
    numbers = list(_NUMBER.finditer(_BOLD.sub(r"\1", words)))
    if told is None or not numbers:
        return None
    last = numbers[-1][0]
    return last if _value(last) == _value(told["value"]) else None


def _value(number: str) -> Decimal:
    return Decimal(number.replace(",", "").replace("−", "-"))


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
        if end is None:
            return start, ""
        first, last = start + 1, end
        while closes.get(first) == last - 1:  # braces in braces
            first, last = first + 1, last - 1
        return end + 1, text[first:last].strip()
    bare = _UNBRACED.match(text, start)
    return (start, "") if bare is None else (bare.end(), bare[0].rstrip(","))


def stated(solution: str, repeated: str | None = None) -> str | None:
    """Return what the last lines of a solution say that the answer is; `None` where they say nothing.
    `repeated` is as in `final`."""
    if tagged := list(_TAGGED.finditer(solution)):
        return next(filter(None, tagged[-1].groups()), "").strip(' "') or None
    lines = [line for line in _joined(solution).splitlines() if line.strip()]
    for line in reversed(lines[-_LINES:]):
        if (answer := _said(line)) and not _only_dots(answer):
            return answer
    return repeated or (_concluded(lines[-1], alone=len(lines) == 1) if lines else None)


def _only_dots(answer: str) -> bool:
    r"""Return whether an answer is the place of one: `\(…\)`, where it was begun and a program came first."""
    return _PLACEHOLDER.fullmatch(re.sub(r"\\[()\[\]]|\$", "", answer).strip()) is not None


def _joined(solution: str) -> str:
    """Return a solution with each formula in one line, and a heading in one with what stands under it."""
    text = _DISPLAYED.sub(lambda match: "$" + " ".join(match[1].split()) + "$", solution[-_LONGEST:])
    return _HEADING.sub(lambda match: f"{match[1].rstrip(':：')}: ", text)


def _said(line: str) -> str:
    """Return what a line says that the answer is; nothing where it says nothing."""
    if marked := _MARKED.match(line):
        return marked[1].strip()
    if chosen := _CHOSEN.search(line):
        return next(filter(None, chosen.groups()), "")
    last, match = None, _STATED.search(line, max(0, len(line) - 1_000))
    while match:  # one may be said in another
        last, match = match, _STATED.search(line, match.start("answer"))
    answer = _SENTENCE_END.split(last["answer"], maxsplit=1)[0] if last else ""
    answer = re.sub(r"\.(?=\**$)", "", answer.strip()).strip("*").strip()
    if meant := _MEANT.search(answer):
        answer = next(filter(None, meant.groups()), "").strip()
    if answer[:4].lower() == "the " and len(told := _COPULA.split(answer)) == 2:
        answer = told[1].strip()  # The value of x is 7
    said = any(c.isdigit() or c in "\\$" for c in answer) or 0 < len(answer.split()) <= 3
    empty = _BOX.search(answer) is not None  # or it would have been found
    return "" if empty or not said or _ELSEWHERE.match(answer) else answer


def _concluded(line: str, *, alone: bool) -> str | None:
    """Return what the last line comes to: `So x = 5.`, a formula or bold words by themselves; where it is all
    that there is (`alone`), a number or a letter too."""
    line = line.strip()
    if match := _CONCLUSION.fullmatch(line):
        clause = _SENTENCE_END.split(match[1], maxsplit=1)[0].replace("**", "")
        parts = _COPULA.split(clause)
        value = (parts[-1] if len(parts) < 3 else clause).strip().strip("。.").strip()  # or several answers
        fits = len(value) <= _LONGEST_VALUE and any(c.isdigit() for c in value)
        return value if fits and (len(parts) > 2 or _VALUE.match(value)) else None
    bare = _ALONE.fullmatch(line) or (_SHORT.fullmatch(line) if alone else None)
    if bare is None or _BOX.search(line) or _MEANT.search(line):
        return None
    return next(filter(None, bare.groups()), "").strip() or None
