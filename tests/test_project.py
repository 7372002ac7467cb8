"""What lies in a project's folder holds only after a person has agreed to it, as it is."""

from __future__ import annotations

import sys
from pathlib import Path

import pexpect
import pytest

from qwen_cli import project, settings
from qwen_cli.errors import UsageError


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository in which a person works, two folders down."""
    for name in ("QWEN_MODEL", "QWEN_TEMPERATURE", "QWEN_SEED", "QWEN_LOG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("QWEN_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("QWEN_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setattr(project, "_undecided", set())
    monkeypatch.setattr(project, "agree", lambda there: None)
    here = tmp_path / "home" / "work"
    (here / "src" / "deep").mkdir(parents=True)
    monkeypatch.chdir(here / "src" / "deep")
    return here


def agreeing(monkeypatch: pytest.MonkeyPatch, answer: bool | None) -> list[Path]:
    asked: list[Path] = []
    monkeypatch.setattr(project, "agree", lambda there: asked.append(there.root) or answer)
    return asked


def test_it_is_found_from_below_and_holds_once_it_is_trusted(root: Path, monkeypatch) -> None:
    (root / ".qwen.toml").write_text('model = "qwen3:4b"\ntemperature = 0.1\n')
    settings.store("temperature", "0.9")
    settings.store("seed", "7")
    assert settings.load() == {"temperature": 0.9, "seed": 7}
    project._undecided.clear()
    asked = agreeing(monkeypatch, True)
    assert settings.load() == {"temperature": 0.1, "seed": 7, "model": "qwen3:4b"}
    assert (settings.origin("model"), settings.origin("seed")) == (".qwen.toml", "config.toml")
    monkeypatch.setenv("QWEN_MODEL", "qwen3:8b")
    assert settings.load()["model"] == "qwen3:8b"
    assert settings.origin("model") == "QWEN_MODEL"
    assert asked == [root.resolve()], "asked once"


def test_a_no_is_kept_too(root: Path, monkeypatch) -> None:
    (root / ".qwen.toml").write_text("seed = 1\n")
    asked = agreeing(monkeypatch, False)
    assert settings.load() == settings.load() == {}
    assert len(asked) == 1


def test_where_nobody_can_be_asked_it_is_said_once(root: Path, monkeypatch) -> None:
    (root / ".qwen.toml").write_text("seed = 1\n")
    asked = agreeing(monkeypatch, None)
    assert settings.load() == settings.load() == {}
    assert len(asked) == 1


@pytest.mark.parametrize(
    "change", [".qwen.toml", ".qwen/templates/a.toml", ".qwen/templates/new.toml", "mcp.json"]
)
def test_any_change_asks_again(root: Path, monkeypatch, change: str) -> None:
    (root / ".qwen" / "templates").mkdir(parents=True)
    (root / ".qwen.toml").write_text('mcp = "mcp.json"\n')
    (root / ".qwen/templates/a.toml").write_text('prompt = "a"\n')
    (root / "mcp.json").write_text("{}")
    asked = agreeing(monkeypatch, True)
    settings.load()
    with (root / change).open("a") as file:
        file.write("\n# changed\n")
    settings.load()
    assert len(asked) == 2


def test_the_search_ends_with_the_repository(root: Path) -> None:
    (root / ".qwen.toml").write_text("seed = 1\n")
    (root / "src" / ".git").mkdir()
    assert project.find() is None
    (root / "src" / ".qwen.toml").write_text("seed = 2\n")
    found = project.find()
    assert found and found.root == (root / "src").resolve()


def test_the_search_ends_before_the_home(root: Path, monkeypatch) -> None:
    (root.parent / ".qwen.toml").write_text("seed = 1\n")
    (root.parent.parent / ".qwen.toml").write_text("seed = 1\n")
    assert project.find() is None
    monkeypatch.chdir(root.parent)
    assert project.find() is None


def test_the_nearest_holds(root: Path) -> None:
    for folder, seed in ((root, 1), (root / "src", 2)):
        (folder / ".qwen.toml").write_text(f"seed = {seed}\n")
    found = project.find()
    assert found and found.values == {"seed": 2}


def test_paths_in_it_are_its_own(root: Path, monkeypatch) -> None:
    (root / ".qwen.toml").write_text('mcp = "tools/mcp.json"\nmodel = "./m.gguf"\n')
    agreeing(monkeypatch, True)
    assert settings.load() == {
        "mcp": str(root.resolve() / "tools/mcp.json"),
        "model": str(root.resolve() / "m.gguf"),
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('api_key = "x"', "holds api_key, which a project may not"),
        ('[endpoints.a]\nurl = "http://x/v1"', "holds endpoints, which a project may not"),
        ('[aliases]\na = "b"', "holds aliases, which a project may not"),
        ('endpoint = "http://x/v1"', "holds the address of a server, 'http://x/v1'"),
        ('endpoint = "x:8000"', "holds the address of a server"),
        ("temprature = 1", "no setting is called 'temprature'"),
        ("temperature = 9", "temperature must be at least 0"),
        ("sandbox = false", "no setting is called 'sandbox'"),
    ],
)
def test_what_a_project_may_not_set_is_refused(root: Path, monkeypatch, text: str, says: str) -> None:
    (root / ".qwen.toml").write_text(text + "\n")
    agreeing(monkeypatch, True)
    with pytest.raises(UsageError, match=says) as caught:
        settings.load()
    assert ".qwen.toml" in str(caught.value)


@pytest.mark.parametrize("content", [b"seed = ", b"\xff\xfe", b"x" * 300_000])
def test_a_file_that_cannot_be_read_is_named(root: Path, content: bytes) -> None:
    (root / ".qwen.toml").write_bytes(content)
    with pytest.raises(UsageError, match=r"\.qwen\.toml is (not valid TOML|longer than)"):
        project.find()


def test_a_broken_file_of_somebody_elses_stops_nobody(root: Path, monkeypatch) -> None:
    """Once it was trusted it is the person's own mistake."""
    told: list[UsageError] = []
    monkeypatch.setattr(project, "tell", told.append)
    (root / ".qwen.toml").write_text("seed = ")
    assert settings.load() == settings.load() == {}
    assert [str(fault).split(":")[0] for fault in told] == [f"{root.resolve()}/.qwen.toml is not valid TOML"]
    (root / ".qwen.toml").write_text("seed = 1\n")
    project._undecided.clear()
    agreeing(monkeypatch, True)
    assert settings.load() == {"seed": 1}
    (root / ".qwen.toml").write_text("seed = ")
    with pytest.raises(UsageError, match="not valid TOML"):
        settings.load()


def test_a_damaged_memory_of_answers_trusts_nobody(root: Path, monkeypatch) -> None:
    (root / ".qwen.toml").write_text("seed = 1\n")
    agreeing(monkeypatch, True)
    assert settings.load() == {"seed": 1}
    for text in ("", "[1]", '{"a": 1}', "{"):
        (root.parent.parent / "data" / "projects.json").write_text(text)
        agreeing(monkeypatch, False)
        assert settings.load() == {}
        project.remember(project.find(), None)


def test_the_command_says_so_once_without_a_terminal_and_trusts_on_demand(
    qwen, tmp_path, monkeypatch
) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / ".qwen.toml").write_text('seed = 5\nsystem = "\\u001b[31mred"\n')
    monkeypatch.chdir(tmp_path / "p")
    ignored = qwen("config", "get", "seed")
    assert (ignored.returncode, ignored.stdout) == (1, "")
    assert ignored.stderr.count("nobody has trusted yet: they are ignored") == 1
    shown = qwen("config", "project").stdout
    assert "not trusted yet" in shown
    assert "seed = 5" in shown
    assert "\x1b" not in shown
    assert qwen("config", "project", "--trust").stdout.splitlines()[0].endswith(": trusted")
    assert qwen("config", "get", "seed").stdout == "5\n"
    assert "5 (.qwen.toml)" in qwen("config", "list").stdout
    qwen("config", "project", "--forget")
    assert qwen("config", "get", "seed").stdout == ""


@pytest.mark.parametrize(("answer", "seed"), [("y", "5"), ("n", None)])
def test_a_person_is_asked_once_and_told_all_that_it_sets(
    home: Path, tmp_path: Path, answer: str, seed: str | None
) -> None:
    folder = tmp_path / "p"
    (folder / ".qwen" / "templates").mkdir(parents=True)
    (folder / ".qwen" / "templates" / "notes.toml").write_text('prompt = "x"')
    (folder / ".qwen.toml").write_text('seed = 5\nmcp = "m.json"\nendpoint = "office"\n')

    def asked() -> str:
        program = pexpect.spawn(
            sys.executable,
            ["-m", "qwen_cli", "config", "get", "seed"],
            cwd=folder,
            encoding="utf-8",
            dimensions=(40, 160),
        )
        if program.expect([r"Trust them, as they are now\? \[y/N\]: ", pexpect.EOF]) == 0:
            before = program.before
            program.sendline(answer)
            program.expect(pexpect.EOF)
            return before + program.before
        return str(program.before)

    first, second = asked(), asked()
    for told in ("seed = 5", "templates: notes", "starts the programs", "server you call office"):
        assert told in first
        assert told not in second
    assert ("5" in second.split()) == (seed is not None)


def test_outside_of_a_project_the_command_says_where_it_looked(qwen, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = qwen("config", "project")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no project is here" in done.stderr
