"""How this program is installed again: from where it came, never under somebody else's name."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from qwen_cli import install_hint

ROOT = Path(__file__).parents[1]


class Installed:
    """A distribution with this direct_url.json, whose files are in `folder`."""

    def __init__(self, origin: Any, folder: Path, name: str = "qwen-local") -> None:
        self.metadata = {"Name": name}
        self._origin, self._folder = origin, folder

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return None if self._origin is None else json.dumps(self._origin)

    def locate_file(self, name: str) -> Path:
        return self._folder / name


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch):
    def install(origin: Any, folder: Path = ROOT, name: str = "qwen-local") -> None:
        monkeypatch.setattr(metadata, "distribution", lambda wanted: Installed(origin, folder, name))

    return install


@pytest.mark.parametrize(
    ("origin", "plain", "extra"),
    [
        (None, "pip install qwen-local", "pip install 'qwen-local[heif]'"),
        (
            {"url": ROOT.as_uri(), "dir_info": {"editable": True}},
            f"pip install -e {ROOT}",
            f"pip install -e '{ROOT}[heif]'",
        ),
        ({"url": ROOT.as_uri(), "dir_info": {}}, f"pip install {ROOT}", f"pip install '{ROOT}[heif]'"),
        (
            {
                "url": "https://example.org/q.git",
                "vcs_info": {"vcs": "git", "requested_revision": "main", "commit_id": "a1"},
            },
            "pip install 'qwen-local @ git+https://example.org/q.git@main'",
            "pip install 'qwen-local[heif] @ git+https://example.org/q.git@main'",
        ),
        (
            {"url": "https://example.org/q.git", "vcs_info": {"vcs": "git"}, "subdirectory": "cli"},
            "pip install 'qwen-local @ git+https://example.org/q.git#subdirectory=cli'",
            "pip install 'qwen-local[heif] @ git+https://example.org/q.git#subdirectory=cli'",
        ),
        (
            {"url": "https://example.org/q.whl", "archive_info": {}},
            "pip install 'qwen-local @ https://example.org/q.whl'",
            "pip install 'qwen-local[heif] @ https://example.org/q.whl'",
        ),
    ],
)
def test_a_hint_installs_from_where_this_came(installed, origin: Any, plain: str, extra: str) -> None:
    installed(origin)
    assert install_hint.command() == plain
    assert install_hint.command("heif") == extra


def test_the_name_is_that_of_the_metadata(installed) -> None:
    installed(None, name="a-fork")
    assert install_hint.command("heif") == "pip install 'a-fork[heif]'"


def test_a_newer_version_comes_from_there_too(installed) -> None:
    installed(None)
    assert install_hint.upgrade() == "run `pip install -U qwen-local`"
    installed({"url": ROOT.as_uri(), "dir_info": {"editable": True}})
    assert install_hint.upgrade() == f"update {ROOT}, then run `pip install -e {ROOT}`"


def test_a_package_of_that_name_elsewhere_is_not_this_one(installed, tmp_path: Path) -> None:
    installed(None, folder=tmp_path)
    assert install_hint.command("heif") == f"pip install -e '{ROOT}[heif]'"


def test_a_folder_that_was_never_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    assert install_hint.command("heif") == f"pip install -e '{ROOT}[heif]'"


@pytest.mark.parametrize("name", ["with space", "a @ b", "it's", "ünï [1]"])
def test_a_folder_of_any_name_reaches_pip_as_one_word(
    name: str, installed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / name
    (folder / "qwen_cli").mkdir(parents=True)
    monkeypatch.setattr(install_hint, "_package", lambda: folder / "qwen_cli")
    installed({"url": folder.as_uri(), "dir_info": {"editable": True}}, folder)
    assert shlex.split(install_hint.command("heif")) == ["pip", "install", "-e", f"{folder}[heif]"]


def test_damaged_metadata_is_no_failure(installed) -> None:
    for origin in ([], "x", {"url": 3}, {"dir_info": {}}):
        installed(origin)
        assert install_hint.command().startswith("pip install ")


def test_the_real_metadata_names_what_pyproject_does() -> None:
    assert f'\nname = "{install_hint.NAME}"\n' in (ROOT / "pyproject.toml").read_text()
    found = install_hint.distribution()
    assert found is not None, "pip install -e ."
    commands = {entry.name: entry.value for entry in found.entry_points if entry.group == "console_scripts"}
    assert commands == {"qwen": "qwen_cli.__main__:main", "qwen-local": "qwen_cli.__main__:main"}


def test_both_commands_are_this_program() -> None:
    for name in ("qwen", "qwen-local"):
        program = Path(sys.executable).with_name(name)
        done = subprocess.run([program, "--version"], capture_output=True, text=True)
        assert done.stdout.startswith("qwen "), done.stderr


def test_no_hint_and_no_page_installs_a_package_of_our_old_name() -> None:
    # `qwen-cli` on the package index is a stranger's.
    texts = [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("qwen_cli/**/*.py"),
        ROOT / "pyproject.toml",
    ]
    named = [
        f"{path.name}: {line}"
        for path in texts
        for line in path.read_text().split("\n")
        if "qwen-cli" in line
    ]
    assert named == []
    # No page and no hint names a distribution of ours that is not there yet, but for what makes the hints.
    asked = re.compile(r"pip install[^`\n]*\bqwen[-_]")
    told = [path.name for path in texts if path.name != "install_hint.py" and asked.search(path.read_text())]
    assert told == []


def test_looking_is_not_paid_for_at_start() -> None:
    script = "import sys, qwen_cli.commands.main; assert 'qwen_cli.install_hint' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)
