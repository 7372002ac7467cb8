"""Weights that the system has to fetch from the disk are asked for while Python is still busy."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from qwen_cli.models.formats import read_ahead

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux alone sends a file nowhere")

SIZE = 3_000_000


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).write_bytes(b"w" * SIZE)
    return sorted(tmp_path.iterdir())


@pytest.fixture
def on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_there(*given: Any) -> int:
        raise BlockingIOError(errno.EAGAIN, "would wait for the disk")

    monkeypatch.setattr(os, "preadv", not_there)


def test_all_of_each_file_is_read(files: list[Path], on_disk: None, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []
    send = os.sendfile

    def some(out: int, source: int, at: int, most: int) -> int:
        sent.append(send(out, source, at, min(most, 2_000_000)))
        return sent[-1]

    monkeypatch.setattr(os, "sendfile", some)
    thread = read_ahead.start(files, room=3 * SIZE)
    assert thread is not None
    thread.join(60)
    assert sent == [2_000_000, 1_000_000, 0] * 2


def test_what_is_in_memory_is_not_read(files: list[Path]) -> None:
    for file in files:
        file.read_bytes()
    assert all(map(read_ahead.is_in_memory, files))
    assert read_ahead.start(files, room=3 * SIZE) is None


def test_what_memory_has_no_room_for_would_push_itself_out(files: list[Path], on_disk: None) -> None:
    assert read_ahead.start(files, room=SIZE) is None


def test_it_is_no_fault_where_there_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert read_ahead.start([tmp_path / "empty"], room=1) is None
    assert read_ahead.start([tmp_path / "gone"], room=1) is None


def test_a_file_that_cannot_be_sent_is_left(
    files: list[Path], on_disk: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no(*given: Any) -> int:
        raise OSError(errno.EINVAL, "not from this file system")

    monkeypatch.setattr(os, "sendfile", no)
    thread = read_ahead.start(files, room=3 * SIZE)
    assert thread is not None
    thread.join(60)
    assert not thread.is_alive()
