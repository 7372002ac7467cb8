"""Pictures on the clipboard, from the programs that a desktop has: stand-ins that write what those write."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from qwen_cli.errors import QwenError
from qwen_cli.ui import clipboard

PNG = b"\x89PNG\r\n\x1a\nrest"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder where programs are looked for."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    monkeypatch.setenv("DISPLAY", ":0")
    return tmp_path


def put(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def picture(data: bytes) -> str:
    return "printf '" + "".join(f"\\{byte:03o}" for byte in data) + "'"


@pytest.mark.parametrize(
    ("name", "when"),
    [
        ("wl-paste", '"$*" = "-n -t image/png"'),
        ("wl-paste", '"$*" = "-n -t image/jpeg"'),
        ("xclip", '"$*" = "-selection clipboard -target image/png -out"'),
        ("pngpaste", '"$*" = "-"'),
    ],
)
def test_a_program_of_the_desktop_gives_the_picture(programs: Path, name: str, when: str) -> None:
    put(programs, name, f"if [ {when} ]; then {picture(PNG)}; else exit 1; fi")
    assert clipboard.picture() == PNG


def test_windows_gives_it_in_base64_and_applescript_in_hexadecimal(programs: Path) -> None:
    put(programs, "powershell.exe", f"echo {base64.b64encode(PNG).decode()}")
    assert clipboard.picture() == PNG
    assert clipboard._from_applescript(f"«data PNGf{PNG.hex().upper()}»\n".encode()) == PNG
    assert clipboard._from_applescript(b"execution error") == b""


@pytest.mark.parametrize("script", ["exit 1", "exit 0", "echo nothing here >&2; exit 1"])
def test_no_picture_there_is_one_line(programs: Path, script: str) -> None:
    put(programs, "xclip", script)
    with pytest.raises(QwenError, match="the clipboard holds no picture"):
        clipboard.picture()


def test_no_program_there_names_one(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(QwenError, match="no program here reads pictures") as raised:
        clipboard.picture()
    assert "wl-clipboard" in str(raised.value) and "xclip" in str(raised.value)
    put(programs, "xclip", picture(PNG))
    monkeypatch.delenv("DISPLAY")
    with pytest.raises(QwenError, match="no program here reads pictures"):
        clipboard.picture()
