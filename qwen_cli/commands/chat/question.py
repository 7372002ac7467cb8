"""What `qwen chat` is asked on the command line: words, files, and what is piped in."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qwen_cli.commands.chat import attaching
from qwen_cli.commands.shared.output import say
from qwen_cli.errors import UsageError
from qwen_cli.tasks.chat import attachments, gathering, mentions
from qwen_cli.tasks.chat.gathering import Gathered

if TYPE_CHECKING:
    from qwen_cli.engines.core.base import Engine
    from qwen_cli.tasks.chat.messages import Content

_PATIENCE_SECONDS = 1.0  # for a pipe that may have something beside the question


@dataclass(frozen=True)
class Question:
    """`text` is the question itself, `found` what goes with it; `tells`: that is more or other than the files
    that were named, and is told."""

    text: str
    found: Gathered
    tells: bool = False

    @property
    def asks(self) -> bool:
        """Return whether anything is asked: else what was asked before is to be gone on with."""
        return bool(self.text.strip() or self.found.texts or self.found.pictures)

    def content(self, engine: Engine) -> Content:
        """Return the message for `engine`, after the remark about what goes with it. Raises `UsageError` for
        pictures that it does not see."""
        parts: list[dict[str, Any]] = attaching.shown(engine, self.found)
        if self.tells:
            say(attaching.remark(engine, self.found))
        text = attachments.as_prompt(self.found.texts, self.text) if self.found.texts else self.text
        if not parts:
            return text
        return [*parts, {"type": "text", "text": text}] if text.strip() else parts


def read(
    words: Sequence[str], files: Sequence[str], *, resumes: bool = False, empty: bool = False
) -> Question | None:
    """Return what is asked: files, then standard input, then the words. `None` where a person is to type, or
    where nothing may be asked (`empty`) and is; a question that asks nothing where a session that is resumed
    is to go on by itself. Raises `UsageError`."""
    _check_words(words, files)
    found = gathering.gather(files, allow=attaching.refuse)
    tells = bool(found.pictures or found.left_out or {*found.labels} - {*files, "standard input"})
    piped = sys.stdin is not None and not sys.stdin.closed and not sys.stdin.isatty()
    typed = " ".join(words).strip()
    if words and not typed:
        raise UsageError("the question is empty", "write one, or run bare `qwen chat` to talk")
    named = _mentioned(typed)
    more = gathering.gather([mention.word for mention in named], allow=attaching.refuse)
    text = mentions.plain(typed, named)
    if piped and "-" not in files and not (typed and _is_not_for_us(sys.stdin.fileno())):
        stdin = attachments.read_text("-")
        if stdin.strip() and typed:
            found += Gathered((("stdin", stdin),))
        elif stdin.strip():
            text = stdin
    found += more
    question = Question(text, found, tells or bool(named))
    if question.asks or (resumes and (piped or sys.stdin is None or sys.stdin.closed)):
        return question
    if not empty and (piped or sys.stdin is None or sys.stdin.closed):
        raise UsageError("the question is empty", 'write one: `qwen chat "…"`, or pipe it in')
    return None


def _mentioned(text: str) -> list[mentions.Mention]:
    """Return the mentions of files below the working folder. Others stay text, which a remark says: a script
    may ask about what somebody else wrote."""
    here = Path.cwd().resolve()
    found = mentions.find(text)
    for line in mentions.misspelt(text):
        say(line)
    inside = []
    for mention in found:
        if Path(mention.word).expanduser().resolve().is_relative_to(here):
            inside.append(mention)
        else:
            say(f"@{mention.word} lies outside this folder and stays text; -f attaches it")
    return inside


def _check_words(words: Sequence[str], files: Sequence[str]) -> None:
    """Refuse files that stand among the words of the question, where the shell has put them for a pattern
    that was not quoted. Raises `UsageError`."""
    if len(words) < 2 and not files:
        return
    exists = [word for word in words if not word.isspace() and _is_file(word)]
    strays = exists if files else [word for word in exists if "." in word or "/" in word]
    quoted = any(
        " " in word for word in words
    )  # then the question is in quotes, and the others are not of it
    if not strays or not (words[0] in strays or quoted):
        return
    several = "is a file" if len(strays) == 1 else "are files"
    folder = os.path.dirname(strays[0])  # noqa: PTH120  as it was written
    pattern = f"{folder}/*" if folder else "*"
    suffixes = {Path(word).suffix for word in strays}
    pattern += suffixes.pop() if len(suffixes) == 1 else ""
    hint = f"give each its own -f, or quote the pattern: -f '{pattern}'" if files else f"write -f {strays[0]}"
    raise UsageError(f"{gathering.some_of(strays)} {several}, and would be words of the question", hint)


def _is_file(word: str) -> bool:
    try:
        return Path(word).is_file()
    except (OSError, ValueError):
        return False


def _is_not_for_us(descriptor: int) -> bool:
    """Return whether standard input, beside a question, is better left alone, and say so: a file that a loop
    reads line by line, a pipe that stays open and sends nothing."""
    import select

    try:
        begun = stat.S_ISREG(os.fstat(descriptor).st_mode) and os.lseek(descriptor, 0, os.SEEK_CUR) > 0
        if not begun and (os.name != "posix" or select.select([descriptor], [], [], _PATIENCE_SECONDS)[0]):
            return False
    except OSError:
        return False
    why = "is being read by another program" if begun else "sends nothing"
    say(f"standard input {why} and is left alone; -f - takes it")
    return True
