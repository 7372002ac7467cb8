"""How bash, zsh and fish are told what may come next, where Typer's own answers would be taken wrongly.

bash takes `:` for the end of a word, so that it hands over `qwen3:8b` in three and puts what it gets in place
of the last. A name with blanks must arrive in bash and zsh as it would be typed. A word that is a file is
left to the shell.
"""

from __future__ import annotations

import os
import re
from typing import Any

VARIABLE = "_QWEN_COMPLETE"
"""The variable that Typer's script sets, to `complete_SHELL`."""
_SPECIAL = re.compile(r"([^\w@%+=:,./~-])")  # what a shell would not take as it is
_WITH_VALUE = re.compile(r"(--[\w-]+)=")
_BREAKS = (":", "=")  # of bash's COMP_WORDBREAKS


def answer(app: Any, shell: str) -> str:
    """Return what `shell` ("bash") is to be told, for the line in its variables."""
    if shell == "bash":
        before, word, kept = _of_bash(
            os.environ.get("COMP_WORDS", ""), int(os.environ.get("COMP_CWORD", "0"))
        )
        if value := _WITH_VALUE.match(word):
            before, word, kept = [*before, value[1]], word[value.end() :], max(0, kept - value.end())
        values = [value for value, _ in _offers(app, before, _plain(word))]
        whole = word[:1] in "'\""  # readline ends the quotes
        return "\n".join((value if whole and word else _escaped(value))[kept:] for value in values)
    before, typed = _of_line(os.environ.get("_TYPER_COMPLETE_ARGS", ""))
    offers = _offers(app, before, typed)
    if shell == "zsh":
        if not offers:
            return "_files"
        # compadd quotes by itself, and takes any sign in a word, also the colon that _arguments parts at.
        return f"compadd -U -- {' '.join(_quoted(value) for value, _ in offers)}"
    if os.environ.get("_TYPER_COMPLETE_FISH_ACTION") == "is-args":
        raise SystemExit(0 if offers else 1)  # 1: fish offers files
    return "\n".join(f"{value}\t{' '.join(help.split())}" if help else value for value, help in offers)


def _of_bash(line: str, number: int) -> tuple[list[str], str, int]:
    """Return the words before the one that is typed, that one as it is typed, and how much of it bash keeps.

    `line` has a word a line, as the script joins them with bash's IFS, where a colon is a word of its own.
    """
    parts = (line.split("\n") if "\n" in line else line.split(" "))[: number + 1]
    parts += [""] * (number + 1 - len(parts))
    words: list[str] = []
    kept = 0
    glued = False
    for at, part in enumerate(parts):
        is_break = part in _BREAKS
        if words and (glued or is_break) and at > 1:
            kept = len(words[-1])
            words[-1] += part
            if is_break:
                kept = len(words[-1])
        else:
            words.append(part)
            kept = 0
        glued = is_break
    return [_plain(word) for word in words[1:-1]], words[-1], kept


def _of_line(line: str) -> tuple[list[str], str]:
    """Return the words of a line before the cursor, and the one that is typed."""
    words = re.findall(r"(?:\\.|'[^']*'?|\"(?:\\.|[^\"])*\"?|\S)+", line)
    typed = "" if not words or re.search(r"(?<!\\)\s$", line) else words.pop()
    return [_plain(word) for word in words[1:]], _plain(typed)


def _plain(word: str) -> str:
    """Return a word without the signs that kept it together, whole or not."""
    pieces = re.findall(r"\\(.)|'([^']*)'?|\"((?:\\.|[^\"])*)\"?|([^\\'\"]+)", word, re.DOTALL)
    return "".join(one or two or re.sub(r"\\(.)", r"\1", three) or four for one, two, three, four in pieces)


def _offers(app: Any, before: list[str], typed: str) -> list[tuple[str, str]]:
    """Return what may come next, with its help; nothing where it is a file."""
    from typer._completion_classes import BashComplete
    from typer.main import get_command

    found = BashComplete(get_command(app), {}, "qwen", VARIABLE).get_completions(before, typed)
    return [(one.value, one.help or "") for one in found if getattr(one, "type", "plain") == "plain"]


def _escaped(word: str) -> str:
    return _SPECIAL.sub(r"\\\1", word)


def _quoted(word: str) -> str:
    return "'" + word.replace("'", "'\\''") + "'"
