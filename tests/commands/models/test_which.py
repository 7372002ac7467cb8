"""Which program a shell starts for `qwen`. None of them is run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from qwen_cli.commands.models import doctor
from qwen_cli.commands.models.which import which

OURS = "#!{python}\nimport sys\nfrom qwen_cli.commands.main import main\nsys.exit(main())\n"
LONG = (
    "#!/bin/sh\n'''exec' \"{python}\" \"$0\" \"$@\"\n' '''\n"
    "from qwen_cli.commands.main import main\nsys.exit(main())\n"
)


def program(folder: Path, text: str | bytes, name: str = "qwen") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.format(python=sys.executable).encode())
    path.chmod(0o755)
    return path


def kinds(*folders: Path) -> list[str]:
    return [found.kind for found in which(path=":".join(map(str, folders)))]


@pytest.mark.parametrize("text", [OURS, LONG])
def test_the_script_of_this_environment_is_this_program(text: str, tmp_path: Path) -> None:
    program(tmp_path / "bin", text)
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "qwen").symlink_to(tmp_path / "bin" / "qwen")  # as pipx puts it on PATH
    assert kinds(tmp_path / "bin", tmp_path / "links") == ["this", "this"]


def test_the_script_of_another_environment_is_not(tmp_path: Path) -> None:
    program(tmp_path, OURS.replace("{python}", "/somewhere/else/bin/python"))
    assert kinds(tmp_path) == ["elsewhere"]


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("#!/usr/bin/env node\nimport 'x';\n", "other"),
        ("#!/usr/bin/env node\n// @qwen-code/qwen-code\n", "qwen-code"),
        (b"\x7fELF" + bytes(500), "other"),
        ("#!{python}\nfrom qwen_cli.main import run\n", "other"),
        (b"MZ" + bytes(500), "other"),
        (b"", "other"),
    ],
)
def test_other_programs_of_that_name_are_told_apart(text: str | bytes, kind: str, tmp_path: Path) -> None:
    program(tmp_path, text)
    assert kinds(tmp_path) == [kind]


def test_the_coding_agent_is_known_by_where_npm_keeps_it(tmp_path: Path) -> None:
    kept = program(
        tmp_path / "node_modules" / "@qwen-code" / "qwen-code" / "dist", "#!/usr/bin/env node", "cli.js"
    )
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "qwen").symlink_to(kept)
    assert kinds(tmp_path / "bin") == ["qwen-code"]


def test_the_first_on_path_is_what_a_shell_starts(tmp_path: Path) -> None:
    program(tmp_path / "a", b"\x7fELF")
    program(tmp_path / "b", OURS)
    (tmp_path / "c").mkdir()
    program(tmp_path / "d", OURS).chmod(0o644)  # a shell passes it over
    folders = [tmp_path / name for name in ("c", "missing", "d", "a", "b", "a")]
    found = which(path=":".join(["", *map(str, folders)]))
    assert [(one.path.parent.name, one.kind) for one in found] == [("a", "other"), ("b", "this")]


def test_doctor_says_which_and_how_to_reach_this_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "npm", "#!/usr/bin/env node\n// @qwen-code/qwen-code\n")
    program(tmp_path / "ours", OURS)
    program(tmp_path / "ours", OURS, "qwen-local")
    monkeypatch.setenv("PATH", f"{tmp_path}/ours:{tmp_path}/npm")
    assert doctor.check_command() == doctor.Finding("command", "ok", f"`qwen` is {tmp_path}/ours/qwen")
    monkeypatch.setenv("PATH", f"{tmp_path}/npm:{tmp_path}/ours")
    found = doctor.check_command()
    assert (found.state, found.advice) == ("note", "call this one with `qwen-local`")
    assert found.detail == (
        f"`qwen` is {tmp_path}/npm/qwen, Qwen Code, the coding agent;"
        f" this one is {tmp_path}/ours/qwen, later on PATH"
    )
    monkeypatch.setenv("PATH", f"{tmp_path}/npm")
    assert doctor.check_command().advice == f"call this one with `{sys.executable} -m qwen_cli`"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor.check_command().detail == "a shell finds no `qwen`"
