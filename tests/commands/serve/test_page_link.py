"""`qwen serve --open`: the link has the key, which nobody else gets to see."""

from __future__ import annotations

import stat
import subprocess
import sys
import webbrowser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from qwen_cli.commands import main
from qwen_cli.commands.serve import command, daemon, page_link
from qwen_cli.engines.daemon import client, paths

AT = "http://127.0.0.1:8080"


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    for name in ("QWEN_HOME", "QWEN_SERVE_KEY", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    paths.private_folder()
    return tmp_path


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a browser was told to open, on a machine with a display."""
    told: list[str] = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(webbrowser, "open", told.append)
    return told


@pytest.mark.parametrize(
    ("keys", "link"),
    [
        (["abc", "other"], f"{AT}/#key=abc"),
        (["a/b?c#d&e=f g"], f"{AT}/#key=a%2Fb%3Fc%23d%26e%3Df%20g"),
        ((), f"{AT}/#key=made-up"),
        (None, f"{AT}/"),
    ],
)
def test_the_key_is_where_no_server_sees_it(keys: Any, link: str) -> None:
    paths.key_path().write_text("made-up\n")

    assert page_link.link(AT, keys) == link


def test_without_a_display_it_is_only_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(webbrowser, "open", lambda url: pytest.fail("a browser in the terminal"))
    page_link.show(AT, ["abc"], wait=True)

    said = capsys.readouterr()
    assert (said.out, said.err) == ("", f"open {AT}/#key=abc\n")
    assert not paths.link_path().exists()


def test_a_browser_gets_a_file_that_only_its_user_reads(opened: list[str]) -> None:
    """Its command line can be read by others on the machine."""
    paths.link_path().write_text("of an earlier server")
    page_link.show(AT, ["<a>'\"&"], wait=True)

    assert opened == [paths.link_path().as_uri()]
    assert stat.S_IMODE(paths.link_path().stat().st_mode) == 0o600
    assert f'url={AT}/#key=%3Ca%3E%27%22%26"' in paths.link_path().read_text()


def test_in_the_background_it_is_the_command_that_opens(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], opened: list[str]
) -> None:
    """What the server itself says is logged."""
    begun: list[list[str]] = []
    answers = iter([None, {"address": AT, "pid": 7}])

    def begin(words: list[str], **rest: Any) -> Any:
        begun.append(words)
        return SimpleNamespace(pid=7, poll=lambda: None)

    monkeypatch.setattr(subprocess, "Popen", begin)
    monkeypatch.setattr(client, "request", lambda path, **_: next(answers))
    monkeypatch.setattr(sys, "argv", ["qwen", "serve", "starter", "--open", "--daemon", "--api-key", "abc"])
    daemon.begin(["abc"], opens=True)

    assert begun[0][3:] == ["serve", "starter", "--api-key", "abc"]
    assert f"open {AT}/#key=abc" in capsys.readouterr().err
    assert opened == [paths.link_path().as_uri()]


def test_in_the_foreground_it_comes_after_the_address(capsys: pytest.CaptureFixture[str]) -> None:
    command._tell(AT, ["abc"])
    assert "open" not in capsys.readouterr().err
    command._tell(AT, ["abc"], opens=True)
    assert capsys.readouterr().err.splitlines() == [f"serving at {AT}/v1", f"open {AT}/#key=abc"]


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--host", "0.0.0.0", "--api-key", "x"), "--open is for a server on this machine alone"),
        (("--host", "192.168.1.5", "--api-key", "x", "--daemon"), "ssh -L"),
        (("--for", "codex"), "--for only prints"),
        (("--engine", "vllm"), "--open is not for --engine vllm"),
    ],
)
def test_where_there_is_no_page(flags: tuple[str, ...], told: str) -> None:
    result = CliRunner().invoke(main.app, ["serve", "starter", "--open", *flags])

    assert result.exit_code != 0
    assert told in f"{result.exception} {getattr(result.exception, 'hint', '')} {result.output}"
