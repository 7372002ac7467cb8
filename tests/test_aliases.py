"""Names that a person gives to models."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_cli import aliases, settings
from qwen_cli.engines.core.options import LoadOptions
from qwen_cli.errors import QwenError, UsageError


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("QWEN_LOG", raising=False)
    monkeypatch.setenv("QWEN_CONFIG", str(tmp_path / "config.toml"))
    return tmp_path / "config.toml"


def test_an_alias_means_its_model_wherever_one_is_loaded(file: Path) -> None:
    aliases.add("fast", "qwen3:4b")
    assert (aliases.meant("fast"), aliases.meant("qwen3:8b")) == ("qwen3:4b", "qwen3:8b")
    options = LoadOptions("fast", draft="fast")
    assert (options.model, options.draft) == ("qwen3:4b", "qwen3:4b")
    assert LoadOptions("other").model == "other"
    aliases.remove("fast")
    assert aliases.named() == {}
    assert "aliases" not in file.read_text()


def test_an_alias_is_no_setting(file: Path) -> None:
    file.write_text('model = "fast"\n')
    aliases.add("fast", "qwen3:4b")
    assert settings.load() == {"model": "fast"}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("auto", "already means something"),
        ("OFF", "already means something"),
        ("starter", "already means something"),
        ("a/b", "no name for a model"),
        ("", "no name for a model"),
        ("-x", "no name for a model"),
        ("a b", "no name for a model"),
        ("x.gguf", "no name for a model"),
    ],
)
def test_what_means_something_else_is_no_alias(file: Path, name: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        aliases.add(name, "qwen3:4b")
    assert not file.exists()


def test_an_alias_of_an_alias_is_refused(file: Path) -> None:
    aliases.add("fast", "qwen3:4b")
    with pytest.raises(UsageError, match=r"'fast' is an alias itself\. Name the model: qwen3:4b"):
        aliases.add("quick", "fast")


def test_what_is_not_there_is_named_with_what_is_near(file: Path) -> None:
    aliases.add("fast", "qwen3:4b")
    with pytest.raises(UsageError, match=r"there is no alias 'fats'\. Did you mean 'fast'"):
        aliases.remove("fats")


@pytest.mark.parametrize("text", ['aliases = "x"', "[aliases]\nfast = 1", '[aliases]\nfast = ""', "[aliases"])
def test_a_broken_table_is_told_where_aliases_are_asked_for_and_means_nothing_elsewhere(
    file: Path, text: str
) -> None:
    file.write_text(text)
    with pytest.raises(QwenError):
        aliases.named()
    assert aliases.meant("fast") == "fast"


@given(st.text())
def test_any_text_is_a_name_or_refused(text: str) -> None:
    try:
        aliases.check(text)
    except UsageError:
        return
    assert text and "/" not in text and " " not in text


def test_the_command_sets_lists_shows_and_removes(qwen) -> None:
    done = qwen("config", "alias", "fast", "qwen3:4b")
    assert (done.returncode, done.stdout) == (0, "")
    assert "fast = qwen3:4b" in done.stderr
    assert qwen("config", "alias").stdout.split() == ["fast", "qwen3:4b"]
    assert qwen("config", "alias", "fast").stdout == "qwen3:4b\n"
    assert qwen("models", "path", "fast").stderr.startswith("qwen: qwen3:4b is not on this machine")
    assert qwen("config", "alias", "fast", "--remove").returncode == 0
    assert qwen("config", "alias", "--json").stdout == "{}\n"


def test_the_command_tells_what_an_alias_hides(qwen) -> None:
    done = qwen("config", "alias", "qwen3:8b", "qwen3:4b")
    assert "qwen3:8b also names qwen3:8b of the catalog: the alias wins" in done.stderr
    assert "qwen3:4b is not on this machine" in qwen("models", "path", "qwen3:8b").stderr


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("fast", "qwen3:9b"), 1, "there is no model 'qwen3:9b'. Did you mean"),
        (("fast", "./nowhere"), 1, "there is no file or folder nowhere"),
        (("fast", ""), 1, "there is no model ''"),
        (("fast",), 2, "there is no alias 'fast'"),
        (("--remove",), 2, "--remove wants the name"),
        (("a", "b", "--remove"), 2, "--remove wants the name"),
    ],
)
def test_what_makes_no_alias_is_one_line(qwen, arguments: tuple[str, ...], code: int, says: str) -> None:
    done = qwen("config", "alias", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
