"""Answers that are words: yes and no, dates, times of day, numbers in words, "no solution".

Runs in the sandbox (see `answer.Judge`).
"""

from __future__ import annotations

import re

import sympy

from qwen_cli.tasks.math.units import Unit, units
from qwen_cli.tasks.math.values import Clock, Day, Many, Quantity, Readings, Words

_TRUE = frozenset(("yes", "true", "对", "是", "正确", "√"))
_FALSE = frozenset(("no", "false", "错", "否", "错误", "不是"))
_NOTHING = re.compile(
    r"(?:there (?:is|are) )?no (?:(?:real|such|integer|positive|possible|valid) )*"
    r"(?:solutions?|roots?)(?: exists?)?"
    r"|none|(?:the )?empty set|null set|(?:方程)?无(?:实数?)?[解根]|没有(?:实数?)?[解根]|空集"
)
_MISSING = frozenset(("does not exist", "dne", "不存在"))
_MONTHS = (
    *("january", "february", "march", "april", "may", "june", "july", "august", "september", "october"),
    *("november", "december"),
)
_MONTH = "(?P<month>" + "|".join(f"{m}|{m[:3]}" for m in _MONTHS) + r"|sept)\.?"
_DATES = (
    re.compile(r"(?P<year>[0-9]{4})[-/.年]\s*(?P<m>[0-9]{1,2})[-/.月]\s*(?P<day>[0-9]{1,2})\s*[日号]?"),
    re.compile(r"(?P<m>[0-9]{1,2})月(?P<day>[0-9]{1,2})[日号]"),
    re.compile(
        rf"{_MONTH}\s+(?P<day>[0-9]{{1,2}})(?:st|nd|rd|th)?(?:,?\s+(?P<year>[0-9]{{4}}))?", re.IGNORECASE
    ),
    re.compile(
        rf"(?:the\s+)?(?P<day>[0-9]{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?{_MONTH}(?:,?\s+(?P<year>[0-9]{{4}}))?",
        re.IGNORECASE,
    ),
)
_SLASHED = re.compile(r"([0-9]{1,2})[/.]([0-9]{1,2})[/.]([0-9]{4})")
_CLOCK = re.compile(
    r"(?P<hour>[0-9]{1,2})(?::(?P<minute>[0-5][0-9]))?(?::00)?\s*(?P<half>a\.?\s?m\.?|p\.?\s?m\.?|o'clock)?",
    re.IGNORECASE,
)
_CHINESE_CLOCK = re.compile(
    r"(?P<half>凌晨|早上|上午|中午|下午|傍晚|晚上)?(?P<hour>[0-9]{1,2})[点时](?:(?P<minute>[0-9]{1,2})分|整|(?P<mid>半))?"
)
_WEEKDAYS = {name: f"weekday {n}" for n, name in enumerate("一二三四五六日")}
_CHINESE = "零〇一二三四五六七八九十百千万亿两半"
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_DAY = re.compile(rf"({'|'.join((*_DAYS, *(day[:3] for day in _DAYS)))}|tues|thurs?)")
_SPOKEN = re.compile(
    r"(?:a )?(?P<part>quarter|half|[a-z]+|[0-9]{1,2})(?: minutes?)? (?P<side>past|after|to|before)"
    r" (?P<hour>[0-9]{1,2}|[a-z]+)"
)
_QUADRANTS = (
    *(("i", "1", "first", "1st", "一"), ("ii", "2", "second", "2nd", "二")),
    *(("iii", "3", "third", "3rd", "三"), ("iv", "4", "fourth", "4th", "四")),
)
_QUADRANT = re.compile(
    "(?:in )?quadrant (i{1,3}|iv|[1-4])|(first|second|third|fourth|i{1,3}|iv|[1-4](?:st|nd|rd|th)) quadrant"
    "|第([一二三四])象限"
)
_NULL = r"(?:the )?(?:null(?: hypothesis)?|h ?_?0)"
_TESTED = re.compile(
    rf"(?:we )?(?:should |must |can )?(?P<fail>(?:fail|failed) to |do not |cannot |don't )?reject {_NULL}"
    rf"|{_NULL} (?:is|should be|must be|was) (?P<not>not )?rejected"
)
_LEFT_OVER = re.compile(
    r"([0-9]+)\s*(?:,?\s*(?:with )?(?:an? )?(?:r|remainder)(?: of)?|余|…+|\.{3,6})\s*([0-9]+)"
)
_DOZENS = re.compile(r"(?:(?P<half>half)(?: a)? dozens?|(?:(?P<count>.+?) )?dozens?)(?P<more> and a half)?")
_OVER_NOTHING = re.compile(r"-?[0-9]+\s*/\s*0|-?\\[dt]?frac\s*(?:\{-?[0-9]+\}\s*\{0\}|[0-9]\s*0)")
_ROMAN = re.compile("(?=[IVX]{2})X{0,3}(?:IX|IV|V?I{0,3})")
_SECOND = Unit((("time", 1),))
_SYNONYMS = {
    **dict.fromkeys(("not defined", "undefined", "无意义"), "undefined"),
    **dict.fromkeys(
        (
            *("infinitely many solutions", "infinite solutions", "infinite number of solutions", "无数个解"),
            *(
                "infinitely many values",
                "an infinite number",
                "无穷多解",
                "无数个",
                "无数",
                "无穷多个",
                "无数组解",
                "有无数个",
            ),
            *(
                "endless",
                "infinite many solutions",
                "infinitely many answers",
                "无穷多组解",
                "有无穷多解",
                "there are infinitely many solutions",
                "there are infinitely many",
            ),
        ),
        "infinitely many",
    ),
    "not possible": "impossible",
    "cannot be done": "impossible",
    "不可能": "impossible",
}
_DIGITS = {**{c: n for n, c in enumerate("零一二三四五六七八九")}, "〇": 0, "两": 2}
_UNITS = {"十": 10, "百": 100, "千": 1000}
_SMALL = (
    *(
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
    ),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
# "half", "quarter" and "second" are other things when they stand alone.
_ORDINALS = ("first", "-", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_PARTS = {"half": 2, "halves": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7}
_PARTS |= {"eighth": 8, "ninth": 9, "tenth": 10}


def read(bare: str) -> Readings:
    """Return the readings of `bare` as words of a kind that is known."""
    plain = normal(re.sub(r"\\infty\s*(?=many|solutions)", "infinite ", bare))
    if plain in _TRUE:
        return (Words("true"),)
    if plain in _FALSE:
        return (Words("false"),)
    if said := re.fullmatch(r"(yes|no)\s*[,.;:].+", bare.lower()):
        return (Words("true" if said[1] == "yes" else "false"),)
    if _NOTHING.fullmatch(plain):
        return (Many((), "set"), Words("no solution"))
    if plain in _MISSING:
        return (Words("does not exist"),)
    if times := _times(bare):
        return times
    if dates := _dates(bare):
        return dates
    if quadrant := _QUADRANT.fullmatch(plain):
        which = next(group for group in quadrant.groups() if group)
        return (Words(f"quadrant {1 + next(n for n, names in enumerate(_QUADRANTS) if which in names)}"),)
    if tested := _TESTED.fullmatch(plain):
        return (Words("not rejected" if tested["not"] or tested["fail"] else "rejected"),)
    if _OVER_NOTHING.fullmatch(bare):
        return (Words("undefined"),)
    if (again := re.fullmatch(r"([a-z -]+) \(([0-9]{1,9})\)", plain)) and english(again[1]) == int(again[2]):
        return (Quantity(sympy.Integer(again[2])),)
    if (named := _named(plain)) or (named := _SYNONYMS.get(plain, "")):
        return (Words(named),)
    if endless := re.fullmatch(r"(?:(positive|plus) |(negative|minus) )?infinity", plain):
        return (Quantity(-sympy.oo if endless[2] else sympy.oo),)
    if left := _LEFT_OVER.fullmatch(plain):
        return (Words(f"{left[1]} remainder {left[2]}"),)
    if re.fullmatch("[A-Z]{3,}", bare) and len(set(bare)) < len(bare) and not _ROMAN.fullmatch(bare):
        return (Words(bare),)  # letters in a row, no product
    if mixed := re.fullmatch(r"([0-9]+) and (?:an? |one |1 )(half|third|quarter|fourth|fifth)", plain):
        return (Quantity(sympy.Integer(mixed[1]) + sympy.Rational(1, _PARTS[mixed[2]])),)
    number = chinese(bare)
    if number is None:
        number = english(plain)
    share = re.fullmatch(r"(.+?) of (?:the|an?|all|his|her|their|its) ([a-z ]+)", plain)
    if number is None and share and not units(share[2]):  # a quarter of an hour has a unit
        number = english(share[1])
    return () if number is None else (Quantity(number),)


def _times(bare: str) -> Readings:
    """Read a time of day, and as what it also can be: a length of time."""
    moment = clock(bare)
    if long := re.fullmatch(r"([0-9]{1,3}):([0-5][0-9]):([0-5][0-9])", bare):
        length = Quantity(sympy.Integer(3600 * int(long[1]) + 60 * int(long[2]) + int(long[3])), _SECOND)
        return (length, moment) if moment else (length,)
    if both := re.fullmatch(r"([0-9]{1,2})时([0-9]{1,2})分", bare):
        length = Quantity(sympy.Integer(3600 * int(both[1]) + 60 * int(both[2])), _SECOND)
        return (length, Clock(int(both[1]) % 24 * 60 + int(both[2]) % 60, False))
    if french := re.fullmatch(r"([0-9]{1,2}) ?h ?([0-5][0-9])", bare):
        hour, minute = int(french[1]), int(french[2])
        return (
            Quantity(sympy.Integer(3600 * hour + 60 * minute), _SECOND),
            Clock(hour % 24 * 60 + minute, False),
        )
    if moment is None and (said := _SPOKEN.fullmatch(bare.lower())):
        minutes = {"quarter": 15, "half": 30}.get(said["part"]) or int(english(said["part"]) or 0)
        hour = int(said["hour"]) if said["hour"].isdigit() else int(english(said["hour"]) or 0)
        if 1 <= hour <= 12 and 1 <= minutes < 60:
            before = said["side"] in ("to", "before")
            moment = Clock((hour * 60 + (-minutes if before else minutes)) % 1440, False)
    return (moment,) if moment else ()


def _named(plain: str) -> str:
    """Return one name for a day of the week or a month, however it is written; nothing where it is none."""
    if weekday := re.fullmatch(r"(?:星期|周|礼拜)([一二三四五六日天])", plain):
        return _WEEKDAYS[weekday[1].replace("天", "日")]
    if match := _DAY.fullmatch(plain):
        return f"weekday {next(n for n, day in enumerate(_DAYS) if match[1].startswith(day[:3]))}"
    months = "".join(str(n) for n in range(1, 10))
    if match := re.fullmatch(rf"{_MONTH}(?: (?P<year>[0-9]{{4}}))?", plain):
        number = 1 + next(n for n, month in enumerate(_MONTHS) if month.startswith(match["month"][:3]))
        return f"month {number} {match['year'] or ''}".strip()
    if (spelled := re.fullmatch(r"([一二三四五六七八九十]{1,2})月", plain)) and (
        month_number := chinese(spelled[1])
    ):
        return f"month {month_number}" if month_number <= 12 else ""
    if match := re.fullmatch(rf"(?:([0-9]{{4}})年)?(1[0-2]|[{months}])月", plain):
        return f"month {match[2]} {match[1] or ''}".strip()
    return ""


def normal(bare: str) -> str:
    """Return words without what does not count: case, articles, stops."""
    text = (
        re.sub(r"[\s_]+", " ", re.sub(r"[.。!,，]+(?=\s|$)|\\[a-zA-Z]+|[{}$]", " ", bare)).strip().casefold()
    )
    return re.sub(r"^(?:(?:on|in|at) )?(?:(?:a|an|the) )?(?=.)|(?<=.) only$", "", text)


def roman(bare: str) -> sympy.Integer | None:
    """Return the value of a numeral of several of the letters I, V, X; `None` where it is none."""
    if not _ROMAN.fullmatch(bare):
        return None
    values = [{"I": 1, "V": 5, "X": 10}[letter] for letter in bare]
    return sympy.Integer(sum(-a if a < b else a for a, b in zip(values, [*values[1:], 0], strict=True)))


def clock(bare: str) -> Clock | None:
    """Read a time of day."""
    plain = (
        bare.strip().casefold().rstrip(".")
        if bare.casefold().rstrip(".") in ("noon", "midnight")
        else bare.strip()
    )
    plain = re.sub(r"^12 (?=(?:noon|midnight)$)", "", plain)
    if plain in ("noon", "midnight"):
        return Clock(720 if plain == "noon" else 0, True)
    if match := _CLOCK.fullmatch(plain):
        half = (match["half"] or "")[:1].lower()
        hour, minute = int(match["hour"]), int(match["minute"] or 0)
        if (
            (match["minute"] is None and not half)
            or hour > 24
            or (half in ("a", "p") and not 1 <= hour <= 12)
        ):
            return None
        if half in ("a", "p"):
            return Clock((hour % 12 + 12 * (half == "p")) * 60 + minute, True)
        return Clock(hour % 24 * 60 + minute, False)
    if (match := _CHINESE_CLOCK.fullmatch(plain)) and ("点" in plain or match["half"]):
        hour, minute = int(match["hour"]), 30 if match["mid"] else int(match["minute"] or 0)
        if hour > 24 or minute > 59:
            return None
        later = match["half"] in ("下午", "傍晚", "晚上") and hour < 12
        return Clock((hour + 12 * later) % 24 * 60 + minute, match["half"] is not None)
    return None


def _dates(bare: str) -> Readings:
    if match := _SLASHED.fullmatch(bare):
        one, other, year = map(int, match.groups())
        both = {(one, other), (other, one)}
        return tuple(Day(year, month, day) for month, day in sorted(both) if month <= 12 and day <= 31)
    for pattern in _DATES:
        if match := pattern.fullmatch(bare):
            said = match.groupdict()
            month, day = int(said.get("m") or 0), int(said["day"])
            if named := said.get("month"):
                month = 1 + next(n for n, m in enumerate(_MONTHS) if m.startswith(named[:3].lower()))
            when = Day(int(said["year"]) if said.get("year") else None, month, day)
            return (when,) if 1 <= month <= 12 and 1 <= day <= 31 else ()
    return ()


def chinese(text: str) -> sympy.Rational | None:
    """Return the value of a Chinese numeral (一百零三, 三分之二, 十二点五); `None` where it is none."""
    if text[:1] == "负" and len(text) > 1:
        below_zero = chinese(text[1:])
        return None if below_zero is None else -below_zero
    if mixed := re.fullmatch(rf"([{_CHINESE}]+)又([{_CHINESE}]+分之[{_CHINESE}]+)", text):
        before, part = chinese(mixed[1]), chinese(mixed[2])
        return None if before is None or part is None else before + part
    if mixed := re.fullmatch(r"(?:([0-9]{1,9})又)?([1-9][0-9]{0,8})分之([0-9]{1,9})", text):
        return sympy.Rational(int(mixed[3]), int(mixed[2])) + int(mixed[1] or 0)
    if parts := re.fullmatch(rf"([{_CHINESE}]+)分之([{_CHINESE}]+)", text):
        below, above = chinese(parts[1]), chinese(parts[2])
        return None if not below or above is None else above / below
    if text == "半":
        return sympy.Rational(1, 2)
    if not re.fullmatch(rf"[{_CHINESE[:-1]}]+(?:点[零〇一二三四五六七八九]+)?", text):
        return None
    digits, _, decimals = text.partition("点")
    total = section = digit = 0
    for character in digits:
        if character in _DIGITS:
            digit = _DIGITS[character]
        elif character in _UNITS:
            section, digit = section + (digit or 1) * _UNITS[character], 0
        elif character == "亿":
            total, section, digit = (total + section + digit) * 10**8, 0, 0
        else:
            total, section, digit = total + (section + digit) * 10**4, 0, 0
    if len(digits) > 1 and all(c in _DIGITS for c in digits):
        total = int("".join(str(_DIGITS[c]) for c in digits))
        section = digit = 0
    value = sympy.Rational(total + section + digit)
    for place, character in enumerate(decimals, 1):
        value += sympy.Rational(_DIGITS[character], 10**place)
    return value


def english(plain: str) -> sympy.Rational | None:
    """Return the value of a number in English words (twenty-one, two thirds); `None` where it is none."""
    words = plain.replace("-", " ").split()
    if not words or len(words) > 12:
        return None
    if words[0] in ("minus", "negative") and len(words) > 1:
        below_zero = english(" ".join(words[1:]))
        return None if below_zero is None else -below_zero
    if plain != "a dozen" and (dozens := _DOZENS.fullmatch(plain)):
        count = sympy.Rational(1, 2) if dozens["half"] else english(dozens["count"] or "one")
        return None if count is None else 12 * (count + (sympy.Rational(1, 2) if dozens["more"] else 0))
    if mixed := re.fullmatch(r"(.+) and (?:(?:an?|one) )?(\w+(?: \w+)?)", " ".join(words)):
        before, part = english(mixed[1]), _part(mixed[2])
        if before is not None and part is not None and before == int(before):
            return before + part
    if plain in ("dozen", "half", "quarter"):
        return {"dozen": sympy.Integer(12), "half": sympy.Rational(1, 2), "quarter": sympy.Rational(1, 4)}[
            plain
        ]
    if plain in _ORDINALS:
        return sympy.Rational(_ORDINALS.index(plain) + 1)
    singular = words[-1].removesuffix("s") if words[-1] != "halves" else "half"
    if len(words) > 1 and singular in _PARTS and (above := english(" ".join(words[:-1]))) is not None:
        return above / _PARTS[singular]
    total = current = 0
    seen = False
    for word in words:
        if word in _SMALL:
            current += _SMALL.index(word)
        elif word in _TENS:
            current += 10 * (_TENS.index(word) + 2)
        elif word == "hundred" and (seen or len(words) == 1):
            current = (current if seen else 1) * 100
        elif word in ("thousand", "million", "billion") and (seen or len(words) == 1):
            total += (current if seen else 1) * {"thousand": 10**3, "million": 10**6, "billion": 10**9}[word]
            current = 0
        elif word != "and" or not seen:
            return None
        seen = True
    return sympy.Rational(total + current)


def _part(plain: str) -> sympy.Rational | None:
    """Return the value of a fraction in words that is less than one: a half, two thirds."""
    words = plain.split()
    if len(words) == 1:
        return sympy.Rational(1, _PARTS[words[0]]) if words[0] in _PARTS else None
    value = english(plain)
    return value if value is not None and 0 < value < 1 else None
