"""What a docstring says about a function and about each of its arguments."""

from __future__ import annotations

import inspect
import re

_SECTIONS = "Args|Arguments|Parameters|Params|Returns?|Yields?|Raises|Examples?|Notes?|Attributes"
_GOOGLE = re.compile(rf"^({_SECTIONS}):\s*$")  # Google: a heading with a colon, its items indented
_NUMPY = re.compile(r"^-{3,}\s*$")  # numpy: a heading underlined, its items at the margin
_SPHINX = re.compile(r"^:(\w+)(?:\s+[^:]*?)?(?:\s*\b(\w+))?:\s*(.*)$")  # :param int name: text
_ITEM = re.compile(r"^(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)$")  # name (type): text
_ARGUMENTS = {"args", "arguments", "parameters", "params"}


def split(docstring: str | None) -> tuple[str, dict[str, str]]:
    """The text before the first section, and what is said of each argument.

    Google, numpy and Sphinx layouts are read; in a plain docstring everything is description.
    """
    lines = inspect.cleandoc(docstring or "").splitlines()
    description: list[str] = []
    arguments: dict[str, str] = {}
    section: str | None = None
    current: str | None = None  # the argument whose lines are being read
    layout = ""
    for number, line in enumerate(lines):
        underlined = number + 1 < len(lines) and bool(_NUMPY.match(lines[number + 1]))
        if underlined and re.fullmatch(_SECTIONS, line.strip()):
            section, current, layout = line.strip().lower(), None, "numpy"
        elif heading := _GOOGLE.match(line):
            section, current, layout = heading[1].lower(), None, "google"
        elif field := _SPHINX.match(line):
            section, current, layout = "sphinx", None, "sphinx"
            if field[1] == "param" and field[2]:
                current = field[2]
                arguments[current] = field[3]
        elif section is None:
            description.append(line)
        elif section in _ARGUMENTS and not _NUMPY.match(line):
            current = _argument_line(line, layout, current, arguments)
        elif section == "sphinx" and current and line.startswith(" "):
            arguments[current] = f"{arguments[current]} {line.strip()}".strip()
    return "\n".join(description).strip(), {name: text for name, text in arguments.items() if text}


def _argument_line(line: str, layout: str, current: str | None, arguments: dict[str, str]) -> str | None:
    """Read one line of an arguments section; the argument that it is about."""
    depth = len(line) - len(line.lstrip())
    text = line.strip()
    if layout == "numpy" and text and depth == 0:
        name = text.split(":")[0].strip()
        arguments[name] = ""
        return name
    item = _ITEM.match(text)
    # A line indented deeper than the items goes on with the one before.
    if layout == "google" and item and depth <= 4:
        arguments[item[1]] = item[2]
        return item[1]
    if current and text:
        arguments[current] = f"{arguments[current]} {text}".strip()
    return current
