"""How many there are, where a model says so in words instead of marking each: "There are 5 cars"."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from qwen_cli.tasks.common import lenient_json
from qwen_cli.tasks.vision import nouns

_KEYS = ("count", "total", "total_count", "number", "quantity", "answer")

_WORDS = {
    # English
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8,
    "nine": 9, "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15,
    "sixteen": 16, "seventeen": 17, "eighteen": 18, "nineteen": 19, "twenty": 20, "thirty": 30, "forty": 40,
    "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90, "hundred": 100, "dozen": 12,
    "single": 1, "both": 2, "pair": 2,
    # German
    "null": 0, "zwei": 2, "drei": 3, "vier": 4, "fünf": 5, "sechs": 6, "sieben": 7, "acht": 8, "neun": 9,
    "zehn": 10, "zwölf": 12, "zwanzig": 20,
    # French
    "zéro": 0, "deux": 2, "trois": 3, "quatre": 4, "cinq": 5, "sept": 7, "huit": 8, "neuf": 9, "onze": 11,
    "douze": 12, "quinze": 15, "vingt": 20,
    # Spanish and Portuguese
    "cero": 0, "dos": 2, "tres": 3, "cuatro": 4, "cinco": 5, "seis": 6, "siete": 7, "ocho": 8, "nueve": 9,
    "diez": 10, "doce": 12, "dois": 2, "duas": 2, "três": 3, "quatro": 4, "sete": 7, "oito": 8, "nove": 9,
    "dez": 10, "doze": 12, "vinte": 20, "veinte": 20,
    # Italian
    "tre": 3, "quattro": 4, "cinque": 5, "sette": 7, "otto": 8, "dieci": 10, "undici": 11, "dodici": 12,
    "venti": 20,
    # Russian
    "ноль": 0, "один": 1, "одна": 1, "два": 2, "две": 2, "три": 3, "четыре": 4, "пять": 5, "шесть": 6,
    "семь": 7, "восемь": 8, "девять": 9, "десять": 10,
}  # fmt: skip
# Articles, which are a number where no other is said.
_ARTICLES = frozenset({"a", "an", "ein", "eine", "einen", "un", "une", "una", "uno", "um", "uma"})
_NONE = frozenset(
    {"no", "none", "kein", "keine", "keinen", "keiner", "aucun", "aucune", "ningún", "ninguna", "ninguno"}
    | {"nessun", "nessuna", "nessuno", "nenhum", "nenhuma", "geen", "нет"}
)
# Words for "not any" that are several: "there aren't any cars", "il n'y a pas de voitures", "没有车".
_NOT_ANY = re.compile(
    r"(?:\bnot|n['’]t)\s+(?:see\s+|contain\s+|have\s+|show\s+)?any\b|\bwithout any\b|\bpas d['’e]|\bno hay\b"
    r"|\bnon ci sono\b|\bnão há\b|没有|沒有|ありません|いません|없(?:습니다|어요|다)",
    re.IGNORECASE,
)
_CHINESE = {"零": 0, "〇": 0, "一": 1, "二": 2, "两": 2, "兩": 2, "三": 3, "四": 4, "五": 5, "六": 6, "七": 7}
_CHINESE |= {"八": 8, "九": 9}
_MEASURES = "辆輛台臺个個只隻人名位本枚匹头頭条條张張把棵朵艘架件座栋棟羽冊册つ杯块塊颗顆根"
_SPOKEN_CHINESE = re.compile(rf"([零〇一二两兩三四五六七八九十百]+)(?=[{_MEASURES}])")

# A number that counts: not part of a name, size, time, share, price or range ("A4", "1920x1080", "12:30").
_DIGITS = re.compile(
    r"(?<![A-Za-z0-9_.,:/×$€£#-])(\d{1,3}(?:[,.]\d{3}){1,2}|\d{1,9})(?:\.0+)?"
    r"(?![A-Za-z0-9_%°×:/-]|[.,]\d|\s*(?:[x×]\s*\d|%))"
)
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_RANGE = re.compile(
    r"\d\s*(?:-|–|to|or|bis|oder|ou|o)\s*\d|\bbetween\b|\b(?:more|less|fewer) than\b|\bat (?:least|most)\b",
    re.IGNORECASE,
)
_TOTAL = re.compile(
    r"\b(?:in total|total|altogether|in all|overall|insgesamt|gesamt|au total|en total|in totale|no total)\b"
    r"|总共|總共|一共|共有|合計|всего|итого",
    re.IGNORECASE,
)
_LISTED = re.compile(r"^[ \t]*(\d{1,4})[.)][ \t]+", re.MULTILINE)
_SENTENCE = re.compile(r"(?<=[.!?。！？])\s+|(?<=[。！？])|\n+")
_MARKUP = re.compile(r"[*_`#]+|<\|[a-z_]+\|>")
_NEAR = 5  # words after a number that may name what is counted: "five small bright red cars"


@dataclass(frozen=True)
class _Mention:
    value: int
    sentence: int
    after: str  # the words after it, up to the next number


def said(text: str, things: str) -> int | None:
    """Return how many `things` an answer says that there are, in figures or words of the larger languages;
    `None` where it says no number, or several of which none is meant for all of them."""
    if (keyed := _keyed(text)) is not None:
        return keyed
    text = _MARKUP.sub(" ", text)
    listed = [int(match[1]) for match in _LISTED.finditer(text)]
    sentences = [one for one in _SENTENCE.split(_LISTED.sub("", text)) if one.strip()]
    mentions = [one for place, sentence in enumerate(sentences) for one in _mentions(sentence, place)]
    if any(_RANGE.search(sentence) for sentence in sentences):
        return None
    if not mentions:
        return len(listed) if listed and listed == list(range(1, len(listed) + 1)) else _article(sentences)
    for sentence in reversed(sentences):
        if match := _TOTAL.search(sentence):
            totals = _nearest(sentence, match)
            if totals is not None:
                return totals
    fitting = [one for one in mentions if _names(one.after, things)]
    if not fitting:
        values = {one.value for one in mentions}
        return values.pop() if len(values) == 1 else None
    return _together(fitting)


def _keyed(text: str) -> int | None:
    """Return the number in an answer that is JSON, `[]` being none."""
    if re.fullmatch(r"\[\s*\]|\{\s*\}", lenient_json.unfenced(text, "json").strip()):
        return 0
    found = [
        one[key]
        for one in lenient_json.objects(text)
        for key in _KEYS
        if isinstance(one.get(key), int) and not isinstance(one[key], bool) and one[key] >= 0
    ]
    return sum(found) if found else None


def _mentions(sentence: str, place: int) -> Iterator[_Mention]:
    found = sorted(_numbers(sentence))
    for index, (_, end, value) in enumerate(found):
        until = found[index + 1][0] if index + 1 < len(found) else len(sentence)
        yield _Mention(value, place, sentence[end:until])


def _numbers(sentence: str) -> Iterator[tuple[int, int, int]]:
    """Yield (start, end, value) of each number."""
    for match in _DIGITS.finditer(sentence):
        yield match.start(), match.end(), int(re.sub(r"[.,]", "", match[1]))
    for match in _SPOKEN_CHINESE.finditer(sentence):
        yield match.start(), match.end(), _chinese(match[1])
    for match in _NOT_ANY.finditer(sentence):
        yield match.start(), match.end(), 0
    words = list(_WORD.finditer(sentence))
    index = 0
    while index < len(words):
        used, value = _spoken([word[0].lower() for word in words[index : index + 4]])
        if used:
            yield words[index].start(), words[index + used - 1].end(), value
        index += used or 1


def _spoken(words: list[str]) -> tuple[int, int]:
    """Return (words used, value) of the number that `words` begin with: "twenty-three", "one hundred and
    two", "a dozen"."""
    if words[0] in _NONE:
        # "No, there are two" is no number; "no two are alike" hardly ever one of things.
        return (1, 0) if words[1:] or words[0] != "no" else (0, 0)
    parts = words[0].split("-")
    if not all(part in _WORDS for part in parts):
        return 0, 0
    if words[0] == "one" and words[1:2] == ["of"]:
        return 0, 0
    value, used = sum(_WORDS[part] for part in parts), 1
    while used < len(words):
        word = words[used]
        ahead = words[used + 1] if used + 1 < len(words) else ""
        if word in ("hundred", "dozen") and value < _WORDS[word]:
            value, used = value * _WORDS[word], used + 1
        elif value >= 20 and value % 10 == 0 and 0 < _WORDS.get(word, 0) < 10:
            value, used = value + _WORDS[word], used + 1
        elif word == "and" and value >= 100 and value % 100 == 0 and 0 < _WORDS.get(ahead, 0) < 100:
            value, used = value + _WORDS[ahead], used + 2
        else:
            break
    return used, value


def _chinese(digits: str) -> int:
    total, last = 0, 0
    for sign in digits:
        if sign in "十百":
            total, last = total + (last or 1) * (10 if sign == "十" else 100), 0
        else:
            last = _CHINESE[sign]
    return total + last


def _article(sentences: list[str]) -> int | None:
    """Return 1 for "There is a car", where an article is all that is said of the number."""
    if len(sentences) != 1:
        return None
    articles = [word[0].lower() for word in _WORD.finditer(sentences[0]) if word[0].lower() in _ARTICLES]
    return 1 if len(articles) == 1 else None


def _nearest(sentence: str, total: re.Match[str]) -> int | None:
    """Return the number nearest to the words that say that it is the total."""
    found = [
        (min(abs(start - total.end()), abs(total.start() - end)), value)
        for start, end, value in _numbers(sentence)
    ]
    return min(found)[1] if found else None


def _names(after: str, things: str) -> bool:
    """Return whether the words after a number name what is counted."""
    kinds = {nouns.singular(word[0]) for word in _WORD.finditer(nouns.wanted(things).words)}
    near = [nouns.singular(word[0]) for word in _WORD.finditer(after)][:_NEAR]
    if kinds & set(near):
        return True
    spelled = "".join(kinds)
    return bool(spelled) and not spelled.isascii() and spelled in after


def _together(mentions: list[_Mention]) -> int | None:
    """Return the one number that several mentions of the things come to: the one that all agree on, that the
    others add up to, that one sentence tells of in parts, or that stands at the end."""
    values = [one.value for one in mentions]
    if len(set(values)) == 1:
        return values[0]
    whole = max(values)
    if sum(values) == 2 * whole:
        return whole
    if len({one.sentence for one in mentions}) == 1:
        return sum(values)
    last = {one.value for one in mentions if one.sentence == mentions[-1].sentence}
    return last.pop() if len(last) == 1 else None
