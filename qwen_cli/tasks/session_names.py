"""What a session may be called, and what it is called when nobody says."""

from __future__ import annotations

import re

from qwen_cli.errors import UsageError
from qwen_cli.tasks.messages import Content

LONGEST_NAME = 200  # UTF-8 bytes: file systems allow 255, and ".json", ".kv" and "-2" come behind

# Not allowed in a file name on Windows, plus controls, line separators and invisible formatting characters.
_FORBIDDEN = re.compile(
    r'[<>:"/\\|?*\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]'
)
_WINDOWS_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def checked(name: str) -> str:
    """`name`, if every platform takes it as a file name. Raises `UsageError`."""
    why = None
    if not name.strip():
        why = "it is empty"
    elif _FORBIDDEN.search(name):
        why = "it has characters that a file name cannot have"
    elif name.startswith(".") or name != name.strip() or name.endswith("."):
        why = "it starts or ends with a dot or space"
    elif _WINDOWS_DEVICES.fullmatch(name):
        why = "it names a device on Windows"
    elif len(name.encode()) > LONGEST_NAME:
        why = f"it is longer than {LONGEST_NAME} bytes"
    if why:
        raise UsageError(f"{name!r} cannot name a session: {why}", "use letters, digits, dashes")
    return name


def slug(question: Content) -> str:
    """The question's first words, as a part of a name: "-how-do-i-sort-a-list"."""
    if not isinstance(question, str):
        question = " ".join(part.get("text", "") for part in question)
    words = ""
    for word in re.findall(r"\w+", question[:400].lower()):
        if len(words) + len(word) > 40:
            break
        words += f"-{word}"
    return words
