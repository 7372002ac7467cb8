"""Processes without the layers of Linux: `--sandbox off`, and what holds them on macOS."""

from __future__ import annotations

import os
import stat
import sys
import time
from pathlib import Path

import pytest

from qwen_cli.errors import SandboxError
from qwen_cli.sandbox import Limits, Sandbox, channel, probe, seatbelt

LIMITS = Limits(wall_seconds=2.0)


def test_code_has_the_rights_of_the_user_and_keeps_its_names(tmp_path: Path) -> None:
    note = tmp_path / "note"
    note.write_text("mine")
    with Sandbox(LIMITS, contained=False) as sandbox:
        assert sandbox.run(f"x = open({str(note)!r}).read(); x").value == "'mine'"
        assert sandbox.run("x * 2").value == "'minemine'"
        assert sandbox.run("import os; sorted(os.environ)").value == (
            "['HOME', 'LANG', 'MPLBACKEND', 'MPLCONFIGDIR', 'TMPDIR']"
        )


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        ("while True: pass", "timeout", "not done after 2 s"),
        ("print('x' * 10**8)", "killed", "16 MiB written"),
        ("import os\nwhile True: os.fork()", "killed|memory", ""),
        ("a = bytearray(10**10)", "memory", "MemoryError"),
        ("import ctypes; ctypes.string_at(0)", "killed", "segmentation fault"),
        ("import os; os._exit(3)", "killed", "exit code 3"),
        ("1 / 0", "error", "ZeroDivisionError"),
        ("import sympy; sympy.solve('x**2 - 2')", "ok", ""),
        (
            "import os\nfor fd in range(3, 64):\n    try: os.write(fd, b'no frame of ours')\n"
            "    except OSError: pass",
            "killed",
            "own channel",
        ),
    ],
)
def test_limits_hold_and_the_next_run_works(code: str, status: str, error: str) -> None:
    with Sandbox(LIMITS, contained=False) as sandbox:
        outcome = sandbox.run(code)
        after = sandbox.run("6 * 7")
    assert outcome.status in status.split("|")
    assert error in (outcome.error or "")
    assert after.value == "42"


def test_what_it_started_and_wrote_is_gone_with_it() -> None:
    with Sandbox(LIMITS, contained=False) as sandbox:
        started = sandbox.run(
            "import subprocess, sys\n"
            "open('file', 'w').write('x')\n"
            "sleep = [sys.executable, '-c', 'import time; time.sleep(60)']\n"
            "subprocess.Popen(sleep, start_new_session=True).pid"
        )
        assert started.value
        assert Path(f"/proc/{started.value}").exists()
        folder = Path(str(sandbox.run("import os; print(os.getcwd())").output).strip())
        assert (folder / "file").exists()
    deadline = time.monotonic() + 5
    while Path(f"/proc/{started.value}/exe").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not Path(f"/proc/{started.value}/exe").exists()
    assert not folder.exists()


def test_a_stream_brings_packets_in_any_portions() -> None:
    packets = channel.packets(b"t" * 16, channel.RESULT, b"a" * 100_000)
    wire = b"".join(map(channel.frame, packets))
    buffer, found = bytearray(), []
    for start in range(0, len(wire), 777):
        buffer += wire[start : start + 777]
        found += channel.unframe(buffer)
    assert found == packets
    with pytest.raises(ValueError, match="bytes"):
        channel.unframe(bytearray(b"not one of ours"))


class TestProfile:
    """A Mac is not at hand: what can be tested is what the profile says, and that a wrapper which does not
    contain is noticed before any code runs."""

    @pytest.fixture(autouse=True)
    def fresh(self) -> None:
        seatbelt.why_not.cache_clear()
        probe.probe.cache_clear()

    def test_only_the_scratch_folder_is_writable(self, tmp_path: Path) -> None:
        rules = seatbelt.profile(tmp_path / 'with "quotes"').splitlines()
        assert rules[:4] == ["(version 1)", "(deny default)", '(import "system.sb")', "(deny network*)"]
        writable = [rule for rule in rules if "write" in rule]
        assert writable == [f'(allow file-read* file-write* (subpath "{tmp_path}/with \\"quotes\\""))']
        assert all(rule.count("(") == rule.count(")") for rule in rules)
        assert f'(subpath "{Path(os.__file__).parent}")' in "".join(rules) or sys.base_prefix in "".join(
            rules
        )
        assert str(Path.home()) + '"' not in next(rule for rule in rules if "file-read* (" in rule)

    @pytest.mark.parametrize(
        ("script", "said"),
        [
            ('exec "${@:3}"', "reads files, writes files, connects"),
            (
                "echo 'profile: line 3: unbound variable' >&2; exit 65",
                "no program runs inside it: profile: line 3",
            ),
        ],
    )
    def test_a_wrapper_that_does_not_contain_is_refused(
        self, script: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        program = tmp_path / "sandbox-exec"
        program.write_text(f"#!/bin/bash\n{script}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        monkeypatch.setattr("sys.platform", "darwin")
        assert said in (seatbelt.why_not() or "")
        with Sandbox() as sandbox, pytest.raises(SandboxError, match="does not contain code here"):
            sandbox.run("print('must not run')")
        assert next((layer.name, layer.active) for layer in probe.check()) == ("sandbox-exec", False)
        assert probe.probe().level == "none"

    def test_a_mac_without_the_program_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sys.platform", "darwin")
        with Sandbox() as sandbox, pytest.raises(SandboxError, match="there is no sandbox-exec"):
            sandbox.run("1")
