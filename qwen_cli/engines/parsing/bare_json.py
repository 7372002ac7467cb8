"""Tool calls that are JSON without the tags of the template, alone or in a code block.

Small Qwen2.5 models (the starter among them) answer `{"name": …, "arguments": {…}}` where their template asks
for the same inside `<tool_call>` tags. JSON is also what answers show: a call is what names a tool that was
offered, has arguments, and ends the answer.
"""

from __future__ import annotations

import re

from qwen_cli.engines.core.base import ToolCall
from qwen_cli.engines.parsing import loose_json
from qwen_cli.engines.parsing.declared import ARGUMENTS, NAMES, Declared
from qwen_cli.engines.parsing.loose_json import Unfinished

_FENCE, _CLOSE = "```", "</tool_call>"
# What stands round calls, and what closes it. Qwen2.5-Coder takes the tag of its own prompt, `<tools>`.
_WRAPPERS = {_FENCE: _FENCE, "<tools>": "</tools>", "<function_call>": "</function_call>"}
TAGS = tuple(one for one in _WRAPPERS if one != _FENCE)
_ENDS = (_CLOSE, *_WRAPPERS.values())
_LANGUAGES = ("", "json", "tool_call", "tool_calls")
_BEGIN = re.compile(r"^[ \t]*(?=[{\[`<])", re.MULTILINE)
_INFO = re.compile(r"```[ \t]*(\w*)[ \t]*")
_FIRST_KEY = re.compile(r"""(?:\[\s*)?\{\s*(["'])(\w*)(?:\1\s*:\s*(?:(["'])([^"'\n]*)(\3)?)?)?""")
_SPACE = re.compile(r"\s*")
_FIRST_KEYS = (*NAMES, *ARGUMENTS, "type", "id")


def candidate(text: str, at_start: bool) -> int | None:
    """Return where in `text` a call may begin: where a line does. `at_start` says that `text` begins one."""
    for begin in _BEGIN.finditer(text):
        at = begin.end()
        rest = text[at : at + 20]
        if (rest[0] != "<" or rest.startswith(TAGS)) and (begin.start() > 0 or at_start):
            return at
    return None


def calls(text: str, declared: Declared, *, final: bool, cut: bool = False) -> tuple[list[ToolCall], bool]:
    """Return the calls of `declared` tools that `text` consists of, none where it is anything else, and
    whether it repeats one of them: small models write the same call again and again.

    `final`: no more text comes; `cut`: a limit has ended it. Raises `Unfinished` where what comes decides.
    """
    found: list[ToolCall] = []
    at, closing = 0, ""
    while True:
        at = _space(text, at)
        rest = text[at:]
        if not rest:
            return _at_end(found, final)
        if closing or found:
            end = _closed(rest, closing, final)
            if end:
                at, closing = at + end, ""
                continue
        if not closing and (opened := _opened(rest, final)):
            at, closing = at + opened[0], opened[1]
            continue
        if not _begins(rest, declared, final):
            return [], False
        try:
            value, at = loose_json.read(text, at, final=final and not cut, ends=_ENDS)
        except ValueError:
            return [], False
        except Unfinished:
            if final:
                return [], False
            raise
        for one in value if isinstance(value, list) else [value]:
            call = declared.of_json(one, marked=False)
            if call is None:
                return [], False
            if any((call.name, call.arguments) == (said.name, said.arguments) for said in found):
                return found, True
            found.append(call)


def _at_end(found: list[ToolCall], final: bool) -> tuple[list[ToolCall], bool]:
    if not final:
        raise Unfinished
    return found, False


def _opened(rest: str, final: bool) -> tuple[int, str] | None:
    """Return how long what opens a block at the start of `rest` is, and what closes the block; `None` where
    nothing does. Raises `Unfinished`."""
    for opening, closing in _WRAPPERS.items():
        if not final and len(rest) < len(opening) and opening.startswith(rest):
            raise Unfinished
        if opening != _FENCE and rest.startswith(opening):
            return len(opening), closing
    info = _INFO.match(rest)
    if info is None:
        return None
    language = info[1].lower()
    if info.end() == len(rest) and not final and any(one.startswith(language) for one in _LANGUAGES):
        raise Unfinished
    known = language in _LANGUAGES and rest[info.end() : info.end() + 1] in ("\n", "\r", "{", "[")
    return (info.end(), _FENCE) if known else None


def _closed(rest: str, closing: str, final: bool) -> int:
    """Return how long the tag at the start of `rest` is that closes a block or a call; 0 where there is none.
    Raises `Unfinished`."""
    for tag in (closing, _CLOSE):
        if tag and rest.startswith(tag):
            return len(tag)
        if tag and tag.startswith(rest):
            if not final:
                raise Unfinished
            return len(rest)
    return 0


def _begins(rest: str, declared: Declared, final: bool) -> bool:
    """Return whether `rest` may be the JSON of a call, as soon as that can be told: other answers go on as
    they come. Raises `Unfinished`."""
    stripped = re.sub(r"\A(?:\[\s*)?(?:\{\s*)?", "", rest)
    if not stripped:
        if final:
            return False
        raise Unfinished
    key = _FIRST_KEY.match(rest)
    if key is None:
        return False
    if key.end() == len(rest) and key[3] is None:
        # The name of the key, or what follows it, is not whole.
        if not final and any(one.startswith(key[2]) for one in _FIRST_KEYS):
            raise Unfinished
        return False
    if key[2] not in _FIRST_KEYS:
        return False
    if key[3] is None:
        return True
    if key[2] == "type":
        wanted = "function".startswith(key[4])
    elif key[2] in NAMES:
        wanted = declared.name(key[4]) is not None or (key[5] is None and declared.may_become(key[4]))
    else:
        wanted = True
    return wanted


def _space(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    assert space  # the pattern takes nothing, too
    return space.end()
