"""Files that a message names: `@src/main.py` within it, and a path dropped on a terminal before it.

Only what is there is meant: an e-mail address, a decorator and `@somebody` stay words.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from qwen_cli.sanitize import clean_name
from qwen_cli.tasks.chat.gathering import PATTERN, local, names_something

# Not within an address or a path, not escaped, not a second @, not code.
_AT = r"(?<![A-Za-z0-9._%+@/\\`-])"
_MENTION = re.compile(rf"""{_AT}@(?:"([^"\n]+)"|'([^'\n]+)'|((?:\\[^\w\s]|\\[ ]|[^\s\\"'`<>|]|\\(?=\w))+))""")
_ESCAPED = re.compile(r"\\@((?:\\ |[^\s\\\"'`<>|])+)")
_CODE = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)
# What may follow a name without being a part of it: signs of punctuation, a line's number, other scripts.
_AFTER = re.compile(r"[.,:;!?)\]}…'’]+$|['’]s$|:\d[\d:,-]*$|#L?\d[\dL-]*$|[^\x00-\x7f]")
_QUOTED = re.compile(r"""'((?:[^'\n]|'\\'')+)'|"((?:[^"\\\n]|\\.)+)\"""")
_BARE = re.compile(r"(?:\\.|[^\s\\'\"])+")
_ROOTED = re.compile(r"/|~/|[A-Za-z]:[\\/]|file:", re.IGNORECASE)


@dataclass(frozen=True)
class Mention:
    """`text[start:end]` is `@` and what it names, `word`."""

    start: int
    end: int
    word: str


def find(text: str, *, verbatim: Sequence[str] = ()) -> list[Mention]:
    """Return what `text` mentions and is there. Code between backticks and all of `verbatim`, what was
    pasted, is only text."""
    found = []
    for match in _marks(text, verbatim):
        quoted = match[1] or match[2]
        if quoted:
            if names_something(quoted):
                found.append(Mention(match.start(), match.end(), quoted))
            continue
        words = [(length, _unescaped(match[3][:length])) for length in _lengths(match[3])]
        named = [(n, word) for n, word in words if re.search(r"\w", word) and names_something(word)]
        if named:  # what is there before a pattern: "@main.py?" is a question about main.py
            length, word = next((one for one in named if not PATTERN.search(one[1])), named[0])
            found.append(Mention(match.start(), match.start(3) + length, word))
    return found


def plain(text: str, mentions: Sequence[Mention]) -> str:
    """Return `text` with the names instead of the mentions, and without the backslash of `\\@name`."""
    parts, end = [], 0
    for mention in mentions:
        parts += [_unguarded(text[end : mention.start]), mention.word]
        end = mention.end
    return "".join([*parts, _unguarded(text[end:])])


def misspelt(text: str, *, verbatim: Sequence[str] = ()) -> Iterator[str]:
    """Yield a remark for each `@name` that is all but the name of a file: it goes as text."""
    for match in _marks(text, verbatim):
        word = match[1] or match[2] or match[3].rstrip(".,:;!?)")
        if not Path(word).suffix or "\\" in word or names_something(word):
            continue
        try:
            beside = [str(path) for path in Path(word).expanduser().parent.iterdir()]
        except (OSError, RuntimeError, ValueError):
            continue
        near = difflib.get_close_matches(word, beside, n=1, cutoff=0.8)
        if near:
            yield f"no file {clean_name(word)!r}: sent as text. Did you mean @{clean_name(near[0])}?"


def dropped(text: str) -> tuple[list[str], str]:
    """Return the files whose whole paths `text` begins with, as terminals write them when a file is dropped
    (in quotes, with backslashes, as a `file:` address), and the text after them."""
    stripped = text.strip()
    if _is_file(stripped) and "\n" not in stripped:
        return [local(stripped)], ""
    words: list[str] = []
    rest = stripped
    while rest:
        path, length = _leading_path(rest)
        if path is None:
            break
        words.append(path)
        rest = rest[length:].lstrip()
    return words, rest if words else text


def _marks(text: str, verbatim: Sequence[str]) -> Iterator[re.Match[str]]:
    """Yield the places where an @ may begin a mention."""
    spans = [match.span() for match in _CODE.finditer(text)]
    for piece in filter(None, verbatim):
        spans += [match.span() for match in re.finditer(re.escape(piece), text)]
    for match in _MENTION.finditer(text):
        if not any(start <= match.start() < end for start, end in spans):
            yield match


def _leading_path(text: str) -> tuple[str | None, int]:
    """Return the file that `text` begins with, and the length of its name there; (None, 0) where it is
    none."""
    if match := _QUOTED.match(text):
        path = match[1].replace(r"'\''", "'") if match[1] else re.sub(r"\\(.)", r"\1", match[2])
    elif match := _BARE.match(text):
        path = match[0] if re.match(r"[A-Za-z]:\\", match[0]) else re.sub(r"\\(.)", r"\1", match[0])
    if match is None or not _is_file(path) or text[match.end() :][:1].strip():
        return None, 0
    return local(path), match.end()


def _is_file(path: str) -> bool:
    """Return whether `path` is the whole path of a file: of a folder one may speak, "/tmp is full"."""
    try:
        return bool(_ROOTED.match(path)) and Path(local(path)).expanduser().is_file()
    except (OSError, RuntimeError, ValueError):  # no such home; longer than any name; a NUL
        return False


def _lengths(token: str) -> Iterator[int]:
    """Yield how much of `token` may be a name: all, then less and less of what may follow one."""
    yield len(token)
    ends = {match.start() for match in _AFTER.finditer(token)}
    # each sign of the last run may belong to the name or not: "main.py)."
    tail = re.search(r"[.,:;!?)\]}…'’]+$", token)
    ends |= set(range(tail.start(), tail.end())) if tail else set()
    yield from sorted((end for end in ends if end), reverse=True)


def _unescaped(word: str) -> str:
    return re.sub(r"\\([^\w])", r"\1", word)


def _unguarded(text: str) -> str:
    def bare(match: re.Match[str]) -> str:
        there = any(names_something(_unescaped(match[1][:n])) for n in _lengths(match[1]))
        return match[0][1:] if there else match[0]

    return _ESCAPED.sub(bare, text)
