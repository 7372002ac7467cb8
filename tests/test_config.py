"""Settings: file, environment, flags, in that order of strength."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from qwen_cli import config
from qwen_cli.errors import QwenError, UsageError


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "folder" / "config.toml"
    monkeypatch.setenv("QWEN_CONFIG", str(path))
    return path


def test_nothing_is_set_without_a_file(file: Path) -> None:
    assert config.load(environ={}) == {}


def test_what_is_stored_is_loaded_with_its_type(file: Path) -> None:
    config.store("temperature", "0.3")
    config.store("top_k", "5")
    config.store("model", "qwen3:8b")
    assert config.load(environ={}) == {"temperature": 0.3, "top_k": 5, "model": "qwen3:8b"}


def test_storing_keeps_comments_and_other_keys(file: Path) -> None:
    file.parent.mkdir()
    file.write_text('# mine\nmodel = "starter"  # small\n')
    config.store("top_k", "5")
    assert file.read_text() == '# mine\nmodel = "starter"  # small\ntop_k = 5\n'
    config.store("top_k", None)
    assert config.load(environ={}) == {"model": "starter"}


def test_the_file_is_its_owners_alone(file: Path) -> None:
    config.store("api_key", "secret")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_environment_is_stronger_than_the_file(file: Path) -> None:
    config.store("top_k", "5")
    assert config.load(environ={"QWEN_TOP_K": "7"})["top_k"] == 7


@pytest.mark.parametrize("text", ["temperature = 9", 'temperature = "hot"', "temprature = 1", "top_k = true"])
def test_a_wrong_value_in_the_file_names_the_file(file: Path, text: str) -> None:
    file.parent.mkdir()
    file.write_text(text)
    with pytest.raises(UsageError, match=r"config\.toml"):
        config.load(environ={})


def test_a_broken_file_is_named_and_never_overwritten(file: Path) -> None:
    file.parent.mkdir()
    file.write_text("model = ")
    with pytest.raises(UsageError, match="not valid TOML"):
        config.load(environ={})
    with pytest.raises(UsageError, match="not valid TOML"):
        config.store("model", "starter")
    assert file.read_text() == "model = "


def test_a_wrong_variable_is_named(file: Path) -> None:
    with pytest.raises(UsageError, match="QWEN_TOP_P"):
        config.load(environ={"QWEN_TOP_P": "2"})


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "occupied").write_text("a file, not a folder")
    monkeypatch.setenv("QWEN_CONFIG", str(tmp_path / "occupied" / "config.toml"))
    with pytest.raises(QwenError, match="cannot"):
        config.store("model", "starter")


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
