"""Text to the clipboard: the desktop's own, else the terminal's."""

from __future__ import annotations

import base64
import sys

from qwen_cli.errors import QwenError

# Terminals cut or drop longer ones: xterm's and tmux's limits are about 100,000 bytes of base64.
_LONGEST_OSC52 = 74_000  # bytes of text


def copy(text: str) -> str:
    """Put `text` on the clipboard and say which one took it. Raises `QwenError` where there is none."""
    import pyperclip  # looks for clipboard programs when it is imported

    try:
        pyperclip.copy(text)
    except pyperclip.PyperclipException:
        return _through_the_terminal(text)
    return "the clipboard"


def _through_the_terminal(text: str) -> str:
    """Copy by OSC 52, which asks the terminal: it may be at the other end of an ssh connection."""
    data = text.encode("utf-8", "replace")
    if not sys.stdout.isatty():
        raise QwenError("there is no clipboard here", "write a file with /export")
    if len(data) > _LONGEST_OSC52:
        raise QwenError(
            f"the text has {len(data):,} bytes, too many for a terminal's clipboard",
            "write a file with /export",
        )
    sys.stdout.write(f"\x1b]52;c;{base64.b64encode(data).decode()}\x07")
    sys.stdout.flush()
    return "the terminal's clipboard, if it allows that"
