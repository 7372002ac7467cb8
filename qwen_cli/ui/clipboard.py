"""The clipboard: text to the desktop's own, else to the terminal's; pictures from the desktop's."""

from __future__ import annotations

import base64
import binascii
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence

from qwen_cli.errors import QwenError

# Terminals cut or drop longer ones: xterm's and tmux's limits are about 100,000 bytes of base64.
_LONGEST_OSC52 = 74_000  # bytes of text


_SECONDS = 10  # for a program of the desktop
# Windows has no program for it, but an interpreter.
_POWERSHELL = (
    "Add-Type -AssemblyName System.Windows.Forms, System.Drawing;"
    "$picture = [Windows.Forms.Clipboard]::GetImage();"
    "if ($picture) { $file = New-Object IO.MemoryStream;"
    "$picture.Save($file, [Drawing.Imaging.ImageFormat]::Png);"
    "[Convert]::ToBase64String($file.ToArray()) }"
)


def picture() -> bytes:
    """Return the picture on the desktop's clipboard, as the bytes of a file. Raises `QwenError` where there
    is none, and where no program can read it."""
    programs = list(_readers())
    if not programs:
        raise QwenError(
            "no program here reads pictures from the clipboard",
            "install wl-clipboard (Wayland) or xclip (X11), or name a file with /file",
        )
    for command, decoded in programs:
        try:
            done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False)
            data = decoded(done.stdout) if done.returncode == 0 else b""
        except (OSError, subprocess.TimeoutExpired, ValueError):
            continue
        if data:
            return data
    raise QwenError("the clipboard holds no picture", "copy one, or name a file with /file")


def _readers() -> Iterator[tuple[Sequence[str], Callable[[bytes], bytes]]]:
    """Yield the commands that write the clipboard's picture, and what makes a file of their output."""
    for kind in ("image/png", "image/jpeg"):
        if os.environ.get("WAYLAND_DISPLAY") and shutil.which("wl-paste"):
            yield ["wl-paste", "-n", "-t", kind], bytes
        if os.environ.get("DISPLAY") and shutil.which("xclip"):
            yield ["xclip", "-selection", "clipboard", "-target", kind, "-out"], bytes
    if shutil.which("pngpaste"):
        yield ["pngpaste", "-"], bytes
    if sys.platform == "darwin" and shutil.which("osascript"):
        yield ["osascript", "-e", "get the clipboard as «class PNGf»"], _from_applescript
    if powershell := shutil.which("powershell.exe"):  # also from Linux under Windows
        yield [powershell, "-NoProfile", "-STA", "-Command", _POWERSHELL], base64.b64decode


def _from_applescript(written: bytes) -> bytes:
    """Return the bytes that «data PNGf89504E47…» stands for. Raises `ValueError`."""
    match = re.search(rb"PNGf([0-9A-Fa-f]+)", written)
    return binascii.unhexlify(match[1]) if match else b""


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
