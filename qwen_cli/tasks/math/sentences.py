"""Answers in a sentence: what is named, and the value that is said of it.

Runs in the sandbox (see `answer.Judge`), so it imports nothing of this package.
"""

from __future__ import annotations

import re

_VERBS = (
    "is are was were has have had need needs costs cost take takes equal equals get gets got make"
    " makes made earn earns earned sold sells spent spend spends bought buys ate eats weigh weighs"
    " paid pay pays save saves saved walks walked travels traveled travelled read reads contain"
    " contains receive receives received gives gave"
)
_BETWEEN = (
    "a an the total of about exactly only approximately equal to still now also altogether left with him her"
    " them"
)
_NAME = r"(?P<name>(?=[^:：]*[A-Za-z\u4e00-\u9fff])[\w%][\w %'\-]{0,40}?)"
_LABELLED = re.compile(rf"(?:\\text\s*\{{\s*)?{_NAME}\s*[:：]\s*\}}?\s*(?P<value>.+)", re.DOTALL)
_SENTENCE = re.compile(
    rf"(?P<name>[A-Za-z][A-Za-z', -]{{0,80}}?)\s+(?:{_VERBS.replace(' ', '|')}"
    r"|(?:will|would|can|could|must|should) [a-z]+)\s+"
    rf"(?:(?:{_BETWEEN.replace(' ', '|')})\s+)*(?P<value>-?[$€£¥]?-?[0-9\\].*)"
)
_EXTREME = re.compile(
    r"(?:the )?(?P<name>max|min)(?:imum)?(?: value)?(?: is| of)?\s*[:=]?\s+(?P<value>-?[0-9\\].*)",
    re.IGNORECASE,
)
_QUALITY = re.compile(
    r"(?:the )?(?P<name>length|width|height|depth|radius|diameter|cent(?:er|re)|area|perimeter|circumference"
    r"|volume|base|side|slope|(?:[xy]-)?intercept|vertex|focus|mean|median|mode|range|variance|sum|product|difference"
    r"|quotient|remainder|total|cost|price|distance|time|speed)s?\s+(?P<value>[-(\[$\\]?[0-9].*|\(.*\))",
    re.IGNORECASE,
)
_SAID = re.compile(r"[\u4e00-\u9fff]{1,10}[是为]\s*[-0-9(\\$]")
_COUNTED = re.compile(
    r"(?P<name>(?![第负约每前后上下星周礼零一二三四五六七八九十百千万亿])[\u4e00-\u9fff]{1,5}?"
    r"(?<![增减少加降涨跌升剩共高低负约分点时年月日]))\s*(?P<value>[0-9]+(?:\.[0-9]+)?\s*[\u4e00-\u9fff]{1,2})"
)
_NEGATED = re.compile(r"\b(?:not?|never|none|neither|minus|negative)\b|n't", re.IGNORECASE)
_MORE = re.compile(
    r"\s+(?:in|on|at|left|after|from|for|by|to|with|remaining|more|altogether|total|when|if)\b"
)
_BOUNDS = {
    ">=": r"at least|(?:no|not) (?:less|fewer|smaller) than|(?:greater|more) than or equal to"
    r"|大于(?:或|且)?等于|不小于|不少于|不低于|至少为?",
    "<=": r"at most|(?:no|not) (?:more|greater|larger) than|(?:less|fewer) than or equal to"
    r"|小于(?:或|且)?等于|不大于|不超过|不多于|不高于|至多为?",
    ">": r"(?:strictly )?(?:greater|more|larger) than|大于|超过|多于",
    "<": r"(?:strictly )?(?:less|fewer|smaller) than|小于|少于|不足",
}
_BOUND = re.compile(
    r"(?:(?P<name>[A-Za-z])\s+(?:(?:is|are|must be|should be|can be)\s+)?|(?P<chinese>[A-Za-z])\s*)?"
    rf"(?P<bound>{'|'.join(_BOUNDS.values())})\s*(?P<value>.+)",
    re.IGNORECASE,
)

_BOUND_BEHIND = re.compile(
    r"(?P<value>-?[0-9$\\].*?)\s+(?:or|and)\s+"
    r"(?:(?P<less>less|fewer|lower|below|under|smaller)|more|greater|higher|above|over|larger)",
    re.IGNORECASE,
)


def named(source: str, bare: str) -> tuple[str, list[str]]:
    """Return what a value is said to be of, and what the value can be: `Bob: 5`, `She has 12 apples`, 鸡15只;
    nothing where that is not said once. `source` is the answer, `bare` the same without LaTeX."""
    if counted := _COUNTED.fullmatch(bare):
        return counted["name"], [counted["value"]]
    match = (
        _EXTREME.fullmatch(bare)
        or _QUALITY.fullmatch(bare)
        or _LABELLED.fullmatch(source)
        or _SENTENCE.fullmatch(bare)
    )
    if match is None or _NEGATED.search(match["name"]):
        return "", []
    name, value = re.sub(r"\W", "", match["name"]), match["value"]
    return name, [value] if match.re is _LABELLED else [value, _MORE.split(value)[0]]


def names_its_value(part: str) -> bool:
    """Return whether a part of an answer says what it is of."""
    forms = (_EXTREME, _QUALITY, _LABELLED, _SENTENCE, _COUNTED, _SAID)
    return "=" in part or any(form.match(part) for form in forms)


def bound(bare: str) -> tuple[str, str, str] | None:
    """Return the variable (or none), the sign and the end of an inequality in words: `at least 5`,
    `x is less than 3`, 大于5, `5 or more`."""
    if behind := _BOUND_BEHIND.fullmatch(bare):
        return "", "<=" if behind["less"] else ">=", behind["value"]
    match = _BOUND.fullmatch(bare)
    if match is None:
        return None
    said = re.sub(r"\s+", " ", match["bound"].lower())
    sign = next(sign for sign, words in _BOUNDS.items() if re.fullmatch(words, said))
    return match["name"] or match["chinese"] or "", sign, match["value"]
