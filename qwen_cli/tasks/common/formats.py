"""The formats of strings that JSON schemas name, where jsonschema alone checks them loosely or not at all."""

from __future__ import annotations

import functools
import re
from typing import Any
from urllib.parse import quote

_DURATION = re.compile(  # RFC 3339, appendix A
    r"P(?:\d+W|(?=\d|T)(?:\d+Y(?:\d+M(?:\d+D)?)?|\d+M(?:\d+D)?|\d+D)?"
    r"(?:T(?:\d+H(?:\d+M(?:\d+S)?)?|\d+M(?:\d+S)?|\d+S))?)",
    re.ASCII,
)
_POINTER = re.compile(r"(?:/(?:[^~/]|~[01])*)*", re.DOTALL)  # RFC 6901
_RELATIVE = re.compile(r"(?:0|[1-9][0-9]*)(?:#|(?:/(?:[^~/]|~[01])*)*)", re.DOTALL)
_ATOM = r"[^\s@.\"(),:;<>\[\]\\]+"
_LOCAL = rf"(?:{_ATOM}(?:\.{_ATOM})*|\"(?:[^\"\\\r\n]|\\.)*\")"  # RFC 5321: dots stand between words
_OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_LITERAL = rf"\[(?:{_OCTET}(?:\.{_OCTET}){{3}}|IPv6:[0-9A-Fa-f:.]+)\]"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_EMAIL = re.compile(rf"{_LOCAL}@(?:{_LITERAL}|{_LABEL}(?:\.{_LABEL})*)")
_ANY_EMAIL = re.compile(rf"{_LOCAL}@(?:{_LITERAL}|[^\s@\[\]]+)")
_TEMPLATE = re.compile(  # RFC 6570
    r"(?:[^\x00-\x20\"'<>\\^`{|}%]|%[0-9A-Fa-f]{2}|\{[+#./;?&=,!@|]?(?:[\w.%]+(?:\*|:[1-9]\d{0,3})?)"
    r"(?:,[\w.%]+(?:\*|:[1-9]\d{0,3})?)*\})*"
)
_CLOCK = re.compile(r"(\d\d):(\d\d):(\d\d)(?:\.\d+)?(?:z|([+-])(\d\d):(\d\d))", re.ASCII | re.IGNORECASE)
_WRITTEN = {
    "duration": _DURATION,
    "json-pointer": _POINTER,
    "relative-json-pointer": _RELATIVE,
    "email": _EMAIL,
    "idn-email": _ANY_EMAIL,
    "uri-template": _TEMPLATE,
}


@functools.cache
def checker(kind: Any) -> Any:
    """Return the format checker of a validator class of jsonschema, with ours over its own."""
    from fqdn import FQDN
    from jsonschema import FormatChecker
    from rfc3986_validator import validate_rfc3986

    checks = FormatChecker(formats=())
    checks.checkers = dict(kind.FORMAT_CHECKER.checkers)
    for name, pattern in _WRITTEN.items():
        checks.checks(name)(lambda value, pattern=pattern: _is(pattern, value))
    checks.checks("time")(lambda value: not isinstance(value, str) or _is_time(value))
    checks.checks("date-time")(lambda value: not isinstance(value, str) or _is_moment(value))
    # jsonschema passes over formats whose packages it could not import when it was imported itself.
    checks.checks("hostname", raises=ValueError)(
        lambda value: not isinstance(value, str) or FQDN(value, min_labels=1).is_valid
    )
    for name, rule in (("uri", "URI"), ("uri-reference", "URI_reference")):
        checks.checks(name, raises=ValueError)(
            lambda value, rule=rule: not isinstance(value, str) or validate_rfc3986(value, rule=rule)
        )
    for name, plain in (("iri", "uri"), ("iri-reference", "uri-reference")):
        checks.checks(name)(lambda value, plain=plain: _is_address(checks, plain, value))
    checks.checks("regex")(_is_pattern)
    return checks


def _is(pattern: re.Pattern[str], value: Any) -> bool:
    return not isinstance(value, str) or pattern.fullmatch(value) is not None


def _is_time(text: str) -> bool:
    """Return whether `text` is a time with its zone (RFC 3339); a leap second is the last of a day in UTC."""
    if not (match := _CLOCK.fullmatch(text)):
        return False
    hour, minute, second = (int(match[number]) for number in (1, 2, 3))
    ahead = (int(match[5]), int(match[6])) if match[4] else (0, 0)
    if hour > 23 or minute > 59 or second > 60 or ahead > (23, 59) or ahead[1] > 59:
        return False
    offset = (ahead[0] * 60 + ahead[1]) * (-1 if match[4] == "-" else 1)
    return second < 60 or (hour * 60 + minute - offset) % 1440 == 1439


def _is_moment(text: str) -> bool:
    from datetime import date

    if not re.fullmatch(r"\d{4}-\d\d-\d\d[Tt].*", text, re.ASCII):
        return False
    try:
        date.fromisoformat(text[:10])
    except ValueError:
        return False
    return _is_time(text[11:])


def _is_address(checks: Any, plain: str, value: Any) -> bool:
    """Return whether `value` is an address with characters of all languages: one without, once those are
    written as their bytes."""
    if not isinstance(value, str):
        return True
    return bool(checks.conforms(quote(value, safe="".join(map(chr, range(128)))), plain))


def _is_pattern(value: Any) -> bool:
    from qwen_cli.tasks.common import patterns

    if not isinstance(value, str):
        return True
    try:
        patterns.compiled(value)
    except ValueError:
        return False
    return True
