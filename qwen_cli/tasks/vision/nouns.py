"""What a person names to be found: one thing, or all of a kind."""

from __future__ import annotations

import re
from dataclasses import dataclass

_IRREGULAR = {
    "people": "person",
    "men": "man",
    "women": "woman",
    "children": "child",
    "feet": "foot",
    "teeth": "tooth",
    "geese": "goose",
    "mice": "mouse",
    "oxen": "ox",
    "knives": "knife",
    "leaves": "leaf",
    "wolves": "wolf",
    "shelves": "shelf",
    "loaves": "loaf",
    "halves": "half",
    "dice": "die",
    "cacti": "cactus",
    "data": "datum",
    "criteria": "criterion",
    "buses": "bus",
    "gases": "gas",
    "lenses": "lens",
    "police": "policeman",
    "cattle": "cow",
}
# One thing for all that it ends like many; "-ss", "-us" and "-is" are known by their ends.
_SINGULAR = frozenset({"gas", "lens", "atlas", "canvas", "pancreas", "news", "series", "species"})
_WITH_E = frozenset({"shoes", "horseshoes", "toes", "hoes", "axes", "houses", "warehouses", "blouses"})
_ENDS_AS_ONE = ("ss", "us", "is", "'s", "’s")

# All of a kind, and an article before it; "the two cars" are all of a kind as well.
_ALL = re.compile(
    r"(?:all|every|each|both|any)\s+(?:one\s+)?(?:of\s+)?(?:(?:the|these|those|my|our|his|her|their)\s+)?",
    re.IGNORECASE,
)
_ARTICLE = re.compile(r"an?\s+", re.IGNORECASE)
_ONE = re.compile(r"(?:the|this|that)\s+", re.IGNORECASE)
_SOME = re.compile(r"(?:these|those)\s+", re.IGNORECASE)
_NUMBER = re.compile(r"(?:\d+|two|three|four|five|six|seven|eight|nine|ten|several|many)\s", re.IGNORECASE)
# What follows the noun: "the cars on the left", "the man with glasses", "the cup that is broken".
_REST = re.compile(
    r"\s(?:with|without|of|in|on|at|near|behind|beside|besides|under|over|above|below|between|from|to|by|for"
    r"|that|which|who|whose|where|next|inside|outside|around|along|across|against|among|beneath|through"
    r"|wearing|holding|carrying|having|facing|closest|farthest|nearest)\b.*",
    re.IGNORECASE | re.DOTALL,
)
_AND = re.compile(r"\s+and\s+(?:an?|the|this|that|these|those)\s+", re.IGNORECASE)
_TWO = re.compile(r",|&|;|\band\s+(?:an?|the|this|that)\s|\band\s+[^\s,]+$", re.IGNORECASE)


@dataclass(frozen=True)
class Wanted:
    """The things to find, without what says how many: `one` of them ("the top right cake", with its
    article), or all; `many` says that the words are a plural or name several kinds."""

    words: str
    one: bool = False
    many: bool = False


def wanted(what: str) -> Wanted:
    """Return whether `what` is one thing or all of a kind. English alone tells by its words; what is in other
    languages, and what has no article, is a kind."""
    if match := _ALL.match(what):
        return Wanted(rest, many=is_plural(rest)) if (rest := what[match.end() :]) else Wanted(what)
    if match := _SOME.match(what):
        return Wanted(what[match.end() :] or what, many=True)
    if match := _ONE.match(what):
        rest = what[match.end() :]
        return Wanted(_AND.sub(", ", rest), many=True) if is_plural(rest) else Wanted(what, one=True)
    rest = what[match.end() :] if (match := _ARTICLE.match(what)) else what
    return Wanted(_AND.sub(", ", rest or what), many=is_plural(rest))


def is_plural(words: str) -> bool:
    """Return whether English `words` name more than one thing: "red cars on the left", "a cup and a plate",
    "two buses"; not "bus", "glass of milk"."""
    head = _REST.sub("", words).strip(" .!?\"'")
    if _NUMBER.match(head + " ") or _TWO.search(head):
        return True
    parts = head.split()
    while len(parts) > 1 and parts[-1].lower().endswith(("ing", "ed")):  # "people waiting", "cars parked"
        parts.pop()
    return bool(parts) and singular(parts[-1]) != parts[-1].lower()


def singular(word: str) -> str:
    """Return an English noun in small letters and without the ending of a plural."""
    word = word.lower()
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word.endswith("men") and len(word) > 4:  # "firemen", "policewomen"
        return f"{word[:-3]}man"
    if not word.endswith("s") or len(word) < 3 or word in _SINGULAR or word.endswith(_ENDS_AS_ONE):
        return word
    if word.endswith("ies") and len(word) > 4:
        return f"{word[:-3]}y"
    if word.endswith(("ches", "shes", "sses", "xes", "zes", "oes", "uses")) and len(word) > 4:
        return word[:-2] if word not in _WITH_E else word[:-1]
    return word[:-1]
