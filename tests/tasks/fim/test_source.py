"""Where a file is filled, and that nothing else of it changes."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from qwen_cli.errors import QwenError, UsageError
from qwen_cli.tasks.fim.source import at_marker, at_position, decoded, read, write


def file(folder: Path, data: bytes) -> Path:
    path = folder / "code.py"
    path.write_bytes(data)
    return path


def test_a_line_without_a_column_is_its_end() -> None:
    hole = at_position(decoded(b"a = 1\nb =\nc = 3\n", "x"), "2").hole()
    assert (hole.prefix, hole.suffix) == ("a = 1\nb =", "\nc = 3\n")


def test_a_column_counts_characters_from_one() -> None:
    hole = at_position(decoded("名前 = 値\n".encode(), "x"), "1:3").hole()
    assert (hole.prefix, hole.suffix) == ("名前", " = 値\n")


def test_the_line_after_the_last_newline_can_be_filled() -> None:
    assert at_position(decoded(b"a = 1\n", "x"), "2").hole().prefix == "a = 1\n"
    assert at_position(decoded(b"", "x"), "1").hole().prefix == ""


@pytest.mark.parametrize(
    ("position", "message"),
    [
        ("9", "has 2 lines, `at` asks for line 9"),
        ("1:9", "line 1 of x has 5 characters, `at` asks for column 9"),
        ("0", "counted from 1, got '0'"),
        ("1:0", "counted from 1"),
        ("end", "got 'end'"),
        ("-1", "got '-1'"),
    ],
)
def test_a_place_that_is_not_there_is_named(position: str, message: str) -> None:
    from dataclasses import replace

    with pytest.raises(UsageError, match=message):
        at_position(replace(decoded(b"a = 1\nb = 2\n", "x"), path=Path("x")), position)


def test_a_place_inside_of_a_composed_character_is_refused() -> None:
    with pytest.raises(UsageError, match="column 2 of line 1 is inside of a character"):
        at_position(decoded("e\u0301 = 1\n".encode(), "x"), "1:2")


def test_the_marker_is_taken_out() -> None:
    source = at_marker(decoded(b"a = <|fim|>\nb\n", "x"), "<|fim|>")
    assert source.hole().prefix == "a = "
    assert source.filled("1") == "a = 1\nb\n"


@pytest.mark.parametrize(("data", "says"), [(b"a", "has no"), (b"<?> <?>", "has <\\?> 2 times")])
def test_a_marker_has_to_be_there_once(data: bytes, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        at_marker(decoded(data, "x"), "<?>")


@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n\x00", b"a = 1\x00", b"caf\xe9 = 1\n"])
def test_what_is_no_text_is_refused(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not text"):
        read(file(tmp_path, data))


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file at"):
        read(tmp_path / "none.py")
    with pytest.raises(UsageError, match="is a folder"):
        read(tmp_path)


@pytest.mark.parametrize(
    "data",
    [
        b"a = 1\r\n\r\nc = 3\r\n",
        b"\xef\xbb\xbfa = 1\n\nc = 3\n",
        "a = 1\r\n\r\nc = '値'".encode("utf-16"),
        "変数 = 1\n\nc".encode(),
        b"\ta = 1\r\r\x0cc",
    ],
)
def test_every_other_byte_stays(data: bytes, tmp_path: Path) -> None:
    path = file(tmp_path, data)
    source = at_position(read(path), "2")
    write(source, "")
    assert path.read_bytes() == data
    write(at_position(read(path), "2"), "x = 2\ny = 3")
    encoding = source.encoding
    line = source.newline
    inserted = f"x = 2{line}y = 3".encode(encoding)
    assert path.read_bytes().replace(inserted, b"", 1) == data
    assert "\n" in source.hole().prefix


def test_mode_and_links_are_kept(tmp_path: Path) -> None:
    path = file(tmp_path, b"#!/bin/sh\n")
    path.chmod(0o750)
    link = tmp_path / "link"
    link.symlink_to(path)
    write(at_position(read(link), "2"), "true\n")
    assert link.is_symlink()
    assert path.read_bytes() == b"#!/bin/sh\ntrue\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o750
    assert sorted(p.name for p in tmp_path.iterdir()) == ["code.py", "link"]


def test_a_file_that_changed_meanwhile_is_left_alone(tmp_path: Path) -> None:
    path = file(tmp_path, b"a = 1\n")
    source = at_position(read(path), "2")
    path.write_bytes(b"a = 2\n")
    with pytest.raises(QwenError, match="changed meanwhile"):
        write(source, "b = 2\n")
    assert path.read_bytes() == b"a = 2\n"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_without_permission_nothing_is_written(tmp_path: Path) -> None:
    path = file(tmp_path, b"a = 1\n")
    path.chmod(0o400)
    with pytest.raises(QwenError, match="Permission denied"):
        write(at_position(read(path), "2"), "b = 2\n")
    assert path.read_bytes() == b"a = 1\n"
    assert [p.name for p in tmp_path.iterdir()] == ["code.py"]


def test_a_folder_that_is_gone_is_one_clear_fault(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    source = at_position(read(file(folder, b"a = 1\n")), "2")
    (folder / "code.py").unlink()
    with pytest.raises(QwenError, match=r"cannot write .*No such file"):
        write(source, "b = 2\n")
