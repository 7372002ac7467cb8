"""`qwen sandbox`: a real process, its streams and its exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


def qwen(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "qwen_cli", "sandbox", *arguments]
    return subprocess.run(command, input=given, capture_output=True, text=True, timeout=60, check=False)


def test_a_program_runs_with_its_own_exit_code(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("import sys\nprint('out')\nprint('x', file=sys.stderr)\nsys.exit(7)")
    done = qwen("run", str(program))
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\nx\n", "")


def test_a_program_may_come_from_standard_input() -> None:
    done = qwen("run", "-", given="raise ValueError('no')")
    assert done.returncode == 1
    assert done.stderr.endswith("ValueError: no\n")


@pytest.mark.parametrize(
    ("code", "flags", "left", "said"),
    [
        ("while True: pass", ["--timeout", "0.5"], 124, "TimeoutError: not done after 0.5 s\n"),
        ("import ctypes; ctypes.string_at(0)", [], 139, "killed: segmentation fault (signal 11)\n"),
        ("x = bytearray(100 << 20)", ["--memory", "32"], 1, "MemoryError\n"),
    ],
)
def test_a_program_that_had_to_be_ended_says_why(code: str, flags: list[str], left: int, said: str) -> None:
    done = qwen("run", "-", *flags, given=code)
    assert done.returncode == left
    assert done.stderr.endswith(said)


def test_a_missing_file_is_a_usage_fault() -> None:
    done = qwen("run", "no-such-file.py")
    assert done.returncode == 2
    assert done.stderr.startswith("qwen: cannot read no-such-file.py: No such file")


def test_figures_are_saved_and_named(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    program = tmp_path / "circle.py"
    program.write_text("import matplotlib.pyplot as plt\nplt.plot([1, 2])")
    done = qwen("run", str(program), "--save-plots", str(tmp_path / "plots"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "plots" / "circle-1.png").read_bytes().startswith(b"\x89PNG")


def test_check_reports_each_layer() -> None:
    done = qwen("check", "--no-attacks", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0
    assert [layer["name"] for layer in report["layers"]] == ["namespaces", "Landlock", "seccomp", "limits"]
    assert all(layer["active"] or layer["advice"] for layer in report["layers"])
