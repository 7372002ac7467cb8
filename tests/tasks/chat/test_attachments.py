"""Files before a question."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import pytest

from qwen_cli.errors import UsageError
from qwen_cli.tasks.chat import attachments
from qwen_cli.tasks.chat.attachments import as_prompt, fenced, read_text

TEXT = "naïve café, 你好, 👋\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_unicode_files_are_read_and_the_byte_order_mark_is_dropped(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(TEXT.encode(encoding))

    assert read_text(file) == TEXT


def test_big_endian_with_a_mark_is_read(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"\xfe\xff" + TEXT.encode("utf-16-be"))

    assert read_text(file) == TEXT


def test_line_ends_become_newlines(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"one\r\ntwo\rthree\n")

    assert read_text(file) == "one\ntwo\nthree\n"


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"\x7fELF\x02\x01\x00\xff\xfe", "is a binary file"),
        (b"text with\x00a NUL", "is a binary file"),
        ("naïve café".encode("latin-1"), "is not UTF-8 text (byte 2 is 0xef)"),
        (b"\xff\xfeodd", "is not UTF-8 text"),
    ],
)
def test_what_is_not_unicode_text_is_refused(tmp_path: Path, content: bytes, fault: str) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(content)

    with pytest.raises(UsageError, match=re.escape(fault)) as error:
        read_text(file)
    assert "a.bin" in error.value.message


def test_missing_files_and_folders_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no file .*nothing\.txt"):
        read_text(tmp_path / "nothing.txt")
    with pytest.raises(UsageError, match="is a folder"):
        read_text(tmp_path)
    with pytest.raises(UsageError, match="cannot be read"):
        read_text("a\x00b")


def test_a_file_that_cannot_be_opened_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")

    with pytest.raises(UsageError, match=r"cannot be read: (Not a directory|No such file)|no file"):
        read_text(tmp_path / "file" / "inside")


def test_a_huge_file_is_refused_before_it_is_read_whole(tmp_path: Path) -> None:
    file = tmp_path / "huge.log"
    with file.open("wb") as handle:
        handle.truncate(1 << 40)  # sparse: it takes no space, but reading it would take a terabyte

    with pytest.raises(UsageError, match=r"huge\.log is larger than 8 MB"):
        read_text(file)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no /dev/zero")
def test_an_endless_device_ends() -> None:
    with pytest.raises(UsageError, match="larger than 8 MB"):
        read_text("/dev/zero")


def test_a_dash_is_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode())))

    assert read_text("-") == TEXT


def test_a_closed_standard_input_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)

    with pytest.raises(UsageError, match="standard input is closed"):
        read_text("-")


def test_files_come_named_and_fenced_before_the_question() -> None:
    prompt = as_prompt([("src/add.py", "def add():\n    pass\n"), ("notes.txt", "one")], "What is wrong?")

    assert prompt == (
        "`src/add.py`:\n```python\ndef add():\n    pass\n```\n\n`notes.txt`:\n```\none\n```\n\nWhat is wrong?"
    )


def test_without_files_the_question_is_the_prompt() -> None:
    assert as_prompt([], "  Why?\n") == "  Why?\n"


@pytest.mark.parametrize("content", ["```", "````\ncode\n````", "a ``` b ````` c", "", "no newline", "``"])
def test_nothing_in_a_file_ends_its_fence(content: str) -> None:
    block = fenced(content, "md")
    opening, *_, closing = block.split("\n")

    assert opening == f"{closing}md"
    assert set(closing) == {"`"} and len(closing) >= 3
    assert closing not in content
    assert block[len(opening) + 1 : -len(closing)].removesuffix("\n") == content.removesuffix("\n")


def test_escape_sequences_in_a_name_do_not_reach_the_prompt_or_the_terminal(tmp_path: Path) -> None:
    name = "a\x1b]0;owned\x07\u202e`.py"

    assert as_prompt([(name, "x")], "?").startswith("`a?]0;owned???.py`:\n```python\n")
    with pytest.raises(UsageError) as error:
        read_text(tmp_path / name)
    assert not set("\x1b\x07\u202e") & set(str(error.value))


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        ("a.py", "python"),
        ("b.rs", "rust"),
        ("Makefile", "makefile"),
        ("x.json", "json"),
        ("README", ""),
        ("n.txt", ""),
        ("odd.` `", ""),
    ],
)
def test_the_suffix_says_the_language(name: str, tag: str) -> None:
    assert attachments.language(name) == tag
