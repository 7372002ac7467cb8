"""Text from outside, as it may be shown: models, files, servers and names can hold anything."""

from __future__ import annotations

import re

# Controls (escape sequences begin with one) and characters that reverse or hide text.
_UNSHOWABLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff\U000e0000-\U000e007f]"
)
# Nobody sees them: a zero-width space, joiners of words, a byte order mark, tags. Those that join letters of
# some scripts and parts of emoji are not among them.
_HIDDEN = re.compile(r"[\u200b\u2060-\u2064\ufeff\U000e0000-\U000e007f]")


def clean_name(name: str) -> str:
    """Return a file name as it can be shown: control and invisible characters are replaced by "?"."""
    return _UNSHOWABLE.sub("?", name)


def one_line(text: str) -> str:
    """Return `text` on one line, without control sequences, control characters and what nobody sees."""
    return " ".join(remark(text).split())


def remark(text: str) -> str:
    """Return what the program says about something from outside, as it may be shown: as `strip_escapes`
    does, and without characters that nobody sees."""
    return _HIDDEN.sub("", strip_escapes(text))


def error_line(error: BaseException) -> str:
    """Return the first line of an error that says something, or the name of its type."""
    lines = [line for line in map(one_line, str(error).splitlines()) if line]
    return lines[0].rstrip(".") if lines else type(error).__name__


# ECMA-48 and xterm's control sequences: strings (DCS, SOS, OSC, PM, APC) up to their terminator, CSI up to
# its final byte, other ESC sequences up to theirs. The 8-bit forms (C1) mean the same as ESC and a letter.
_STRING = r"(?:\x1b[PX\]^_]|[\x90\x98\x9d\x9e\x9f])"
_CSI = r"(?:\x1b\[|\x9b)"
_SEQUENCE = (
    rf"{_STRING}[^\x07\x1b\x9c]*(?:\x07|\x9c|\x1b\\)|{_CSI}[0-?]*[ -/]*[@-~]|\x1b[ -/]*[0-OQ-WYZ\\`-~]"
)
# Every control character but \n and \t, and the characters that re-order or hide text: bidi embeddings,
# overrides and isolates, line and paragraph separators, invisible tag characters. The directional marks
# U+200E/F and the joiners of emoji and Indic scripts stay.
_CONTROL = r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\U000e0000-\U000e001f]"
_UNSAFE = re.compile(rf"\r\n|{_SEQUENCE}|{_STRING}[^\x07\x1b\x9c\n]*|{_CSI}[0-?]*[ -/]*|{_CONTROL}")
_UNFINISHED = re.compile(rf"(?:\r|\x1b[ -/]*|{_CSI}[0-?]*[ -/]*|{_STRING}[^\x07\x1b\x9c\n]*\x1b?)\Z")
_INTRODUCER = re.compile(r"[\r\x1b\x90\x98\x9b\x9d-\x9f]")
_LONGEST_SEQUENCE = 4096  # characters; a string that has not ended by then is not one


def strip_escapes(text: str) -> str:
    """Return `text` without terminal control sequences and control characters, newline and tab excepted.

    A carriage return before a newline goes, any other becomes a newline: it would overwrite the line.
    """
    return _UNSAFE.sub(_replacement, text)


def _replacement(match: re.Match[str]) -> str:
    return "\n" if match[0] in ("\r\n", "\r") else ""


class EscapeFilter:
    """`strip_escapes` for text that comes in pieces: a sequence may be split anywhere."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, piece: str) -> str:
        """Return what of the text so far is safe to write and has not been returned yet."""
        text = self._held + piece
        unfinished = _UNFINISHED.search(text) if _INTRODUCER.search(text) else None
        if unfinished and len(unfinished[0]) < _LONGEST_SEQUENCE:
            self._held = unfinished[0]
            text = text[: unfinished.start()]
        else:
            self._held = ""
        return strip_escapes(text)

    def finish(self) -> str:
        """Return what was held back as the possible start of a sequence, made safe."""
        held, self._held = self._held, ""
        return strip_escapes(held)
