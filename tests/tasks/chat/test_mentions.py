"""Files that a message names: what is there is attached, all else is text."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_cli.tasks.chat import mentions


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("main.py", "main.pyc", "my file.txt", "src/a.py", "src/b.py", "README.md", "größe.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "words", "plain"),
    [
        ("explain @main.py", ["main.py"], "explain main.py"),
        ("@main.py and @README.md", ["main.py", "README.md"], "main.py and README.md"),
        ("explain @main.py.", ["main.py"], "explain main.py."),
        ("what is in @main.py?", ["main.py"], "what is in main.py?"),
        ("(@main.py), please", ["main.py"], "(main.py), please"),
        ("'@main.py'", ["main.py"], "'main.py'"),
        ("@main.py's tests", ["main.py"], "main.py's tests"),
        ("@main.py:12 fails", ["main.py"], "main.py:12 fails"),
        ("@main.py#L10-L20", ["main.py"], "main.py#L10-L20"),
        ("解释@main.py的作用", ["main.py"], "解释main.py的作用"),
        ("@größe.md", ["größe.md"], "größe.md"),
        ("@src/ and @src", ["src/", "src"], "src/ and src"),
        ("@./src/a.py", ["./src/a.py"], "./src/a.py"),
        ("@src/*.py, ok?", ["src/*.py"], "src/*.py, ok?"),
        ("@**/*.md", ["**/*.md"], "**/*.md"),
        ("@s[rx]c/a.py", ["s[rx]c/a.py"], "s[rx]c/a.py"),
        ('@"my file.txt" what?', ["my file.txt"], "my file.txt what?"),
        ("@'my file.txt'?", ["my file.txt"], "my file.txt?"),
        (r"@my\ file.txt, what?", ["my file.txt"], "my file.txt, what?"),
    ],
)
def test_what_is_there_is_meant(text: str, words: list[str], plain: str) -> None:
    found = mentions.find(text)

    assert [one.word for one in found] == words
    assert mentions.plain(text, found) == plain


@pytest.mark.parametrize(
    "text",
    [
        "write to me@main.py or a.b@src",
        "what does @property do, and @dataclass(frozen=True)?",
        "ask @alice, @bob-smith",
        "npm install @types/node @angular/core",
        "@ @. @/ @.. @@main.py @",
        "`@main.py` is code",
        "```\n@main.py\n```",
        "http://x/@main.py",
        "@nothing*.here",
        '@"not there"',
        "@" + "x" * 5000,
        "@\0",
        "@~nobody-of-that-name/x",
        r"\@ifnextchar in LaTeX",
        r"\@alice",
        "{|@|}",
    ],
)
def test_all_else_is_text(text: str) -> None:
    assert mentions.find(text) == []
    assert mentions.plain(text, []) == text


def test_a_backslash_makes_text_of_a_file_and_goes() -> None:
    assert mentions.find(r"\@main.py") == []
    assert mentions.plain(r"say \@main.py, not \@else", []) == r"say @main.py, not \@else"


def test_what_was_pasted_is_text() -> None:
    pasted = "a page\nthat says @main.py"
    found = mentions.find(f"@README.md and {pasted} and @main.py", verbatim=[pasted])
    assert [one.word for one in found] == ["README.md", "main.py"]


def test_a_misspelt_file_is_told_and_a_name_of_another_kind_is_not() -> None:
    text = "@mian.py @src/c.py @types/node @app.route @foo.com @README.mdx."
    assert list(mentions.misspelt(text)) == [
        "no file 'mian.py': sent as text. Did you mean @main.py?",
        "no file 'src/c.py': sent as text. Did you mean @src/b.py?",
        "no file 'README.mdx': sent as text. Did you mean @README.md?",
    ]


@pytest.mark.parametrize(
    ("written", "rest"),
    [
        ("'{}/my file.txt'", ""),
        ("'{}/my file.txt' what is it?", "what is it?"),
        ('"{}/my file.txt" what is it?', "what is it?"),
        ("{}/my\\ file.txt what is it?", "what is it?"),
        ("{}/my\\ file.txt\nwhat\nis it?", "what\nis it?"),
        ("{}/my file.txt", ""),
        ("  {}/my file.txt ", ""),
        ("file://{}/my%20file.txt what is it?", "what is it?"),
        ("file://localhost{}/my%20file.txt", ""),
    ],
)
def test_a_file_dropped_on_the_terminal(folder: Path, written: str, rest: str) -> None:
    assert mentions.dropped(written.format(folder)) == ([f"{folder}/my file.txt"], rest)


def test_several_files_are_dropped_and_one_of_the_home_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = f"'{folder}/main.py' '{folder}/my file.txt' compare them"
    assert mentions.dropped(both) == ([f"{folder}/main.py", f"{folder}/my file.txt"], "compare them")
    monkeypatch.setenv("HOME", str(folder))
    assert mentions.dropped("~/main.py why?") == (["~/main.py"], "why?")


@pytest.mark.parametrize(
    "text",
    [
        "/tmp is full, what can I delete?",
        "/usr/bin",
        "'/tmp' is full",
        "/no/such/file why?",
        "main.py what is it?",
        "'quoted' words",
        "it's /tmp",
        "file:///no/such",
        "/",
        "'",
        "/\0",
        "/" + "x" * 5000,
    ],
)
def test_folders_and_what_is_not_there_are_text(text: str) -> None:
    assert mentions.dropped(text) == ([], text)


@given(st.text(alphabet="@\\'\"` ./~*?[]#:main.py\n", max_size=40))
def test_nothing_is_lost_whatever_is_typed(text: str) -> None:
    here = os.getcwd()  # noqa: PTH109
    found = mentions.find(text)
    assert [one.start for one in found] == sorted(one.start for one in found)
    plain = mentions.plain(text, found)
    assert set(plain) <= set(text)
    words, rest = mentions.dropped(text)
    assert rest in text
    assert words or rest == text
    assert os.getcwd() == here  # noqa: PTH109
