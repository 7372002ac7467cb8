"""The VS Code extension: types, the talk with the server, and that its settings are those of the server."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import language_server
import pytest

from qwen_cli.lsp.edits import ASK, COMMAND
from qwen_cli.lsp.settings import _LIMITS, DEFAULTS, Settings, read

EXTENSION = Path(__file__).parents[2] / "editors" / "vscode"
PACKAGE: dict[str, Any] = json.loads((EXTENSION / "package.json").read_text())
SETTINGS = {
    name.removeprefix("qwen."): known
    for name, known in PACKAGE["contributes"]["configuration"]["properties"].items()
    if name not in ("qwen.path", "qwen.arguments")
}
ANSWER = "```python\ndef area(w, h):\n    return h * w\n```"

built = pytest.mark.skipif(
    shutil.which("node") is None or not (EXTENSION / "node_modules").is_dir(),
    reason="there is no Node.js, or `npm ci` was not run in editors/vscode",
)


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=EXTENSION, capture_output=True, text=True, timeout=120, check=False)


@built
def test_the_types_are_right() -> None:
    done = run("node_modules/.bin/tsc", "--noEmit")
    assert done.returncode == 0, done.stdout


@built
def test_it_completes_and_edits_through_the_server() -> None:
    source = ("src/protocol.ts", "--platform=node", "--format=cjs", "--outfile=dist/protocol.js")
    assert run("node_modules/.bin/esbuild", *source).returncode == 0
    done = run("node", "test/headless.mjs", sys.executable, language_server.__file__, ANSWER, "1, 2)")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        'suggestion "1, 2)"',
        r'edit "def area(w, h):\n    return h * w\n"',
    ]


@built
def test_an_edit_that_is_refused_is_told() -> None:
    done = run("node", "test/headless.mjs", sys.executable, language_server.__file__, "No.", "1, 2)")
    assert done.returncode == 0, done.stderr
    assert "neither a search/replace block nor a code block" in done.stderr


def test_its_settings_are_known_to_the_server_with_the_same_defaults_and_limits() -> None:
    camel = {
        "".join([w if n == 0 else w.title() for n, w in enumerate(f.name.split("_"))]): f.name
        for f in fields(Settings)
    }
    assert SETTINGS.keys() <= camel.keys()
    for name, known in SETTINGS.items():
        assert known["default"] == getattr(DEFAULTS, camel[name]), name
        if known["type"] == "integer":
            assert (known["minimum"], known["maximum"]) == _LIMITS[camel[name]], name
    assert read({name: known["default"] for name, known in SETTINGS.items()})[1] == []


def test_its_words_are_those_of_the_server() -> None:
    protocol = (EXTENSION / "src" / "protocol.ts").read_text()
    assert re.search(r"EDIT = '(.+)'", protocol)[1] == COMMAND  # type: ignore[index]
    assert re.search(r"ASK = '(.+)'", protocol)[1] == ASK  # type: ignore[index]
    listed = re.search(r"SETTINGS = \[(.+)\]", protocol)
    assert listed is not None
    assert set(re.findall(r"'(\w+)'", listed[1])) == SETTINGS.keys()


def test_a_workspace_cannot_say_what_is_started() -> None:
    properties = PACKAGE["contributes"]["configuration"]["properties"]
    assert {properties[name]["scope"] for name in ("qwen.path", "qwen.arguments")} == {"machine"}
    assert PACKAGE["capabilities"]["untrustedWorkspaces"]["supported"] == "limited"


def test_its_lock_names_no_place_that_packages_come_from() -> None:
    lock = json.loads((EXTENSION / "package-lock.json").read_text())
    places = {package.get("resolved", "") for package in lock["packages"].values()}
    assert all(place.startswith("https://registry.npmjs.org/") for place in places - {""})
