"""Files that others name or wrote: what is read ends, within bounds, with a fault that is foreseen."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from qwen_cli import reading

pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")


def test_a_file_is_read_whole_up_to_a_size(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"abc")
    assert reading.read(file) == b"abc"
    assert reading.read(file, 3) == b"abc"
    with pytest.raises(OSError, match="longer than"):
        reading.read(file, 2)


def test_a_sparse_terabyte_is_refused_unread(tmp_path: Path) -> None:
    file = tmp_path / "a"
    with file.open("wb") as made:
        made.truncate(1 << 40)
    with pytest.raises(OSError, match="longer than 64 MB"):
        reading.read(file)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no such device here")
def test_an_endless_device_ends() -> None:
    with pytest.raises(OSError, match="longer than 1 MB"):
        reading.read("/dev/zero", 1 << 40)
    assert reading.read("/dev/null") == b""


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        reading.read(tmp_path)


@pipes
def test_a_pipe_that_nobody_writes_to_is_not_waited_for_in_vain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_PATIENCE", 0.05)
    os.mkfifo(tmp_path / "a")
    with pytest.raises(OSError, match="nobody writes to this pipe"):
        reading.read(tmp_path / "a")
    with pytest.raises(OSError, match="nobody writes"), reading.opened(tmp_path / "a"):
        pass


@pipes
@pytest.mark.parametrize("pause", [0.0, 0.2])
def test_a_pipe_is_read_to_its_end_however_slow_its_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pause: float
) -> None:
    monkeypatch.setattr(reading, "_PATIENCE", 5.0)
    os.mkfifo(tmp_path / "a")
    paused = threading.Event()

    def write() -> None:
        with (tmp_path / "a").open("wb") as pipe:
            pipe.write(b"first ")
            pipe.flush()
            paused.wait(pause)
            pipe.write(b"last")

    writer = threading.Thread(target=write)
    writer.start()
    assert reading.read(tmp_path / "a") == b"first last"
    writer.join()


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="no /dev/fd here")
def test_a_pipe_of_the_shell_that_has_ended_is_empty_at_once() -> None:
    ours, theirs = os.pipe()
    os.close(theirs)
    assert reading.read(f"/dev/fd/{ours}") == b""
    os.close(ours)


def test_an_opened_file_can_be_moved_about_in(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abcdef")
    with reading.opened(tmp_path / "a") as file:
        assert file.read(2) == b"ab"
        file.seek(4)
        assert file.read() == b"ef"


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "{", "", '"\\ud83d"', '{"\\udc00": 1}'])
def test_json_that_is_none_is_refused_alike(text: str) -> None:
    for given in (text, text.encode()):
        with pytest.raises(ValueError, match=r"."):
            reading.parsed_json(given)


def test_json_is_parsed_with_the_characters_that_it_writes_in_two_parts() -> None:
    assert reading.parsed_json('{"a": "\\ud83d\\ude00", "b": "\\\\ud83d"}') == {"a": "😀", "b": "\\ud83d"}


def test_toml_that_is_nested_too_deeply_is_refused() -> None:
    with pytest.raises(ValueError, match=r"."):
        reading.parsed_toml("a = " + "[" * 100_000)
