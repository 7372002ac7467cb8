"""Settings: file, environment, flags, in that order of strength."""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path

import pytest

from qwen_cli import settings
from qwen_cli.errors import QwenError, UsageError


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "folder" / "config.toml"
    monkeypatch.setenv("QWEN_CONFIG", str(path))
    return path


def test_nothing_is_set_without_a_file(file: Path) -> None:
    assert settings.load(environ={}) == {}


def test_what_is_stored_is_loaded_with_its_type(file: Path) -> None:
    settings.store("temperature", "0.3")
    settings.store("top_k", "5")
    settings.store("model", "qwen3:8b")
    assert settings.load(environ={}) == {"temperature": 0.3, "top_k": 5, "model": "qwen3:8b"}


def test_storing_keeps_comments_and_other_keys(file: Path) -> None:
    file.parent.mkdir()
    file.write_text('# mine\nmodel = "starter"  # small\n')
    settings.store("top_k", "5")
    assert file.read_text() == '# mine\nmodel = "starter"  # small\ntop_k = 5\n'
    settings.store("top_k", None)
    assert settings.load(environ={}) == {"model": "starter"}


def test_the_file_is_its_owners_alone(file: Path) -> None:
    settings.store("api_key", "secret")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_environment_is_stronger_than_the_file(file: Path) -> None:
    settings.store("top_k", "5")
    assert settings.load(environ={"QWEN_TOP_K": "7"})["top_k"] == 7


@pytest.mark.parametrize("text", ["temperature = 9", 'temperature = "hot"', "temprature = 1", "top_k = true"])
def test_a_wrong_value_in_the_file_names_the_file(file: Path, text: str) -> None:
    file.parent.mkdir()
    file.write_text(text)
    with pytest.raises(UsageError, match=r"config\.toml"):
        settings.load(environ={})


def test_a_broken_file_is_named_and_never_overwritten(file: Path) -> None:
    file.parent.mkdir()
    file.write_text("model = ")
    with pytest.raises(UsageError, match="not valid TOML"):
        settings.load(environ={})
    with pytest.raises(UsageError, match="not valid TOML"):
        settings.store("model", "starter")
    assert file.read_text() == "model = "


def test_a_wrong_variable_is_named(file: Path) -> None:
    with pytest.raises(UsageError, match="QWEN_TOP_P"):
        settings.load(environ={"QWEN_TOP_P": "2"})


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "occupied").write_text("a file, not a folder")
    monkeypatch.setenv("QWEN_CONFIG", str(tmp_path / "occupied" / "config.toml"))
    with pytest.raises(QwenError, match="cannot"):
        settings.store("model", "starter")


def test_the_command_hides_the_key(qwen) -> None:
    refused = qwen("config", "set", "api_key", "sesame")
    assert refused.returncode == 2
    assert "in clear" in refused.stderr
    assert "sesame" not in refused.stderr
    assert qwen("config", "set", "api_key", "sesame", "--in-clear").returncode == 0
    listed = qwen("config", "list")
    assert "sesame" not in listed.stdout + listed.stderr
    assert "sesame" not in qwen("config", "list", "--json").stdout
    assert qwen("config", "get", "api_key").stdout == "sesame\n"


def test_the_command_prints_where_the_file_is(qwen, home: Path) -> None:
    assert qwen("config", "path").stdout.strip() == str(home / "config.toml")


def test_a_link_to_the_file_stays_a_link(file: Path, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.toml"
    real.write_text("seed = 1\n")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.symlink_to(real)
    settings.store("top_k", "3")
    assert file.is_symlink()
    assert real.read_text() == "seed = 1\ntop_k = 3\n"


def test_a_full_disk_leaves_the_file_and_nothing_else(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.store("seed", "1")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(QwenError, match=r"No space left on device\. Free some space"):
        settings.store("seed", "2")
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert file.read_text() == "seed = 1\n"


def test_the_command_says_where_a_value_comes_from(qwen) -> None:
    qwen("config", "set", "seed", "1")
    listed = qwen("config", "list", QWEN_TOP_K="3").stdout
    assert re.search(r"^seed +1 \(config.toml\)", listed, re.MULTILINE)
    assert re.search(r"^top_k +3 \(QWEN_TOP_K\)", listed, re.MULTILINE)


def test_what_was_not_set_is_not_said_to_be_removed(qwen) -> None:
    assert qwen("config", "unset", "seed").stderr.startswith("seed was not set")
