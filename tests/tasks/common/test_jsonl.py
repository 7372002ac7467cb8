"""Rows of results: whose file it is, what of it stays, what another run may not touch."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_cli.errors import QwenError, UsageError
from qwen_cli.tasks.common import jsonl
from qwen_cli.tasks.common.jsonl import Journal

RUN = {"model": "starter", "mode": "auto", "samples": 1}


def made(path: Path, *rows: dict[str, Any], run: dict[str, Any] = RUN) -> bytes:
    """A journal of `qwen math` with `rows`, and its bytes."""
    with Journal(path, "qwen math") as book:
        book.begin(run)
        for row in rows:
            book.add(row)
    return path.read_bytes()


def ids(path: Path) -> list[str]:
    return [json.loads(line)["id"] for line in path.read_bytes().splitlines()]


def test_a_row_says_what_made_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "out.jsonl"
    made(path, {"id": "1", "answer": "a\u2028b\x85c\x0bd"})
    (row,) = [json.loads(line) for line in path.read_bytes().split(b"\n") if line]
    assert row == {"run": {"by": "qwen math", **RUN}, "id": "1", "answer": "a\u2028b\x85c\x0bd"}
    with Journal(path, "qwen math") as book:
        assert book.rows == [row]


FOREIGN = {
    "notes without a final newline": b"buy milk\ncall Ann",
    "one line of notes": b"buy milk",
    "problems": b'{"id": "1", "problem": "What is 1 + 1?", "answer": "2"}\n',
    "problems without a final newline": b'{"problem": "1 + 1"}\n{"problem": "1 + 2"}',
    "a table": b"id,problem,answer\n1,1 + 1,2\n",
    "bytes": bytes(range(256)),
    "a picture": b"\x89PNG\r\n\x1a\n" + b"\0" * 40,
    "an object over several lines": b'{\n  "run": 3\n}\n',
    "a list": b"[1, 2]\n",
    "numbers": b"1\n2\n",
    "white space": b"\n\n",
    "an opening brace": b"{",
    "half an object": b'{"id": "1", "prob',
    "objects with a run that is no object": b'{"run": "qwen math"}\n',
    "objects with another tool's run": b'{"run": {"by": "mlflow"}}\n',
    "deep nesting": b'{"a": ' + b"[" * 20_000 + b"\n",
    "text with a byte order mark": b"\xef\xbb\xbf" + b'{"run": {"by": "qwen math"}}\n',
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_file_of_anything_else_is_never_touched(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(FOREIGN[kind])
    before = path.stat()
    with pytest.raises(UsageError, match=r"notes\.txt cannot hold results: .*\. Give another `out`$"):
        Journal(path, "qwen math")
    after = path.stat()
    assert path.read_bytes() == FOREIGN[kind]
    assert (after.st_ino, after.st_mtime_ns, after.st_mode) == (
        before.st_ino,
        before.st_mtime_ns,
        before.st_mode,
    )
    assert list(tmp_path.iterdir()) == [path]


@given(st.binary(min_size=1, max_size=200))
def test_no_bytes_but_our_own_rows_are_a_journal(data: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x"
        path.write_bytes(data)
        with pytest.raises(UsageError):
            Journal(path, "qwen math")
        assert path.read_bytes() == data


def test_a_journal_with_something_else_under_it_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    ours = made(path, {"id": "1"})
    for more in (b"my own remark", b"my own remark\n", b'{"id": "2"}\n', b'{"id": "2"}', b"{not"):
        path.write_bytes(ours + more)
        with pytest.raises(UsageError, match="line"):
            Journal(path, "qwen math")
        assert path.read_bytes() == ours + more


def test_places_that_are_no_files_are_refused(tmp_path: Path) -> None:
    fifo, folder, circle = tmp_path / "fifo", tmp_path / "folder", tmp_path / "circle"
    os.mkfifo(fifo)
    folder.mkdir()
    circle.symlink_to(circle)
    (tmp_path / "file").write_text("x")
    for place in (fifo, folder, circle, tmp_path / "file" / "out.jsonl", Path("/dev/null"), Path("-")):
        with pytest.raises(UsageError, match="cannot hold results"):
            Journal(place, "qwen math")
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    assert not Path("-").exists()


def test_a_read_only_file_is_refused_even_for_root(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    made(path, {"id": "1"})
    path.chmod(0o444)
    with pytest.raises(UsageError, match="read-only"):
        Journal(path, "qwen math")


def test_an_empty_file_is_a_new_one_and_stays_if_nothing_came(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"  # as mktemp makes it
    path.touch()
    with Journal(path, "qwen math") as book:
        book.begin(RUN)
    assert path.read_bytes() == b""
    made(path, {"id": "1"})
    assert ids(path) == ["1"]


def test_a_run_without_a_row_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), Journal(tmp_path / "out.jsonl", "qwen math"):
        raise RuntimeError("the model did not load")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({**RUN, "model": "qwen3:8b"}, "model was 'starter', here it is 'qwen3:8b'"),
        ({**RUN, "mode": "cot"}, "mode was 'auto', here it is 'cot'"),
        ({**RUN, "samples": 8}, "samples was 1, here it is 8"),
        ({**RUN, "temperature": 0.5}, "temperature was not given, here it is 0.5"),
        ({"model": "starter", "mode": "auto"}, "samples was 1, here it is not given"),
        ({**RUN, "think": True}, "think was not given, here it is true"),
        ({**RUN, "adapters": ["a"]}, 'adapters was not given, here it is ["a"]'),
    ],
)
def test_results_of_another_run_are_refused_and_stay(other: Any, said: str, tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    before = made(path, {"id": "1"}) + b'{"run": {"by": "qwen math", "mod'
    path.write_bytes(before)
    with Journal(path, "qwen math") as book, pytest.raises(UsageError) as refused:
        book.begin(other)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert path.read_bytes() == before  # not even the torn line is cut


def test_results_of_another_command_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    before = made(path, {"id": "1"})
    with pytest.raises(UsageError, match="of 'qwen math'"):
        Journal(path, "qwen vision")
    assert path.read_bytes() == before


def test_settings_that_are_not_given_are_the_same_as_none(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    made(path, {"id": "1"}, run={**RUN, "stop": ("a", "b"), "think": None})
    with Journal(path, "qwen math") as book:
        book.begin({**RUN, "stop": ["a", "b"], "seed": None})


@given(st.integers(min_value=0), st.sampled_from([b"", b"\0" * 9]))
def test_a_line_torn_anywhere_is_cut_by_the_row_after_it(at: int, zeros: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "out.jsonl"
        whole = made(path, {"id": "1"}, {"id": "zwei", "answer": "½ 数"})
        first, second, _ = whole.split(b"\n")
        kept = second[: at % len(second)]
        path.write_bytes(first + b"\n" + kept + (zeros if kept else b""))
        with Journal(path, "qwen math") as book:
            assert [row["id"] for row in book.rows] == ["1"]
            book.begin(RUN)
            book.add({"id": "3"})
        assert ids(path) == ["1", "3"]


def test_a_first_line_that_was_torn_is_ours_if_it_says_so(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(made(path, {"id": "1"})[:40])
    made(path, {"id": "2"})
    assert ids(path) == ["2"]


def test_a_whole_last_row_without_its_newline_stays(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    whole = made(path, {"id": "1"}, {"id": "2"})
    path.write_bytes(whole.rstrip(b"\n").replace(b'": ', b'":'))  # as jq and an editor leave it
    made(path, {"id": "3"})
    assert ids(path) == ["1", "2", "3"]


def test_rows_of_an_earlier_run_are_never_removed(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    made(path, {"id": "a"}, {"id": "b", "error": "x"}, {"id": "c"})
    with Journal(path, "qwen math") as book:
        book.begin(RUN)
        book.add({"id": "e"})
        book.add({"id": "b"})
        book.add({"id": "d"})
        book.arrange("id", ["d", "b", "e", "never asked"])
    assert ids(path) == ["a", "d", "c", "b", "e"]
    assert b"error" not in path.read_bytes()  # what failed has been answered
    assert [p.name for p in tmp_path.iterdir()] == ["out.jsonl"]


def test_what_is_in_order_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    made(path, {"id": "a"}, {"id": "b"})
    before = path.stat()
    with Journal(path, "qwen math") as book:
        book.begin(RUN)
        book.arrange("id", ["a", "b"])
    assert path.stat() == before


def test_a_link_stays_a_link_and_rights_stay(tmp_path: Path) -> None:
    path, link = tmp_path / "real.jsonl", tmp_path / "link.jsonl"
    made(path, {"id": "b"})
    path.chmod(0o640)
    link.symlink_to(path)
    with Journal(link, "qwen math") as book:
        book.begin(RUN)
        book.add({"id": "a"})
        book.arrange("id", ["a", "b"])
    assert link.is_symlink()
    assert ids(path) == ["a", "b"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_link_to_anything_else_is_refused(tmp_path: Path) -> None:
    path, link = tmp_path / "notes.txt", tmp_path / "link.jsonl"
    path.write_text("buy milk")
    link.symlink_to(path)
    with pytest.raises(UsageError, match="cannot hold results"):
        Journal(link, "qwen math")
    assert path.read_text() == "buy milk"


def test_two_runs_at_once_on_one_file_are_refused(tmp_path: Path) -> None:
    path, link = tmp_path / "out.jsonl", tmp_path / "link.jsonl"
    link.symlink_to(path)
    with Journal(path, "qwen math") as book:
        book.begin(RUN)
        book.add({"id": "1"})
        for name in (path, link):
            script = (
                "from pathlib import Path; from qwen_cli.tasks.common.jsonl import Journal\n"
                f"Journal(Path({str(name)!r}), 'qwen math')"
            )
            other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
            assert "another run is writing" in other.stderr
        book.add({"id": "2"})
    assert ids(path) == ["1", "2"]
    made(path, {"id": "3"})


def test_a_killed_run_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    script = (
        "import os, sys; from pathlib import Path; from qwen_cli.tasks.common.jsonl import Journal\n"
        f"book = Journal(Path({str(path)!r}), 'qwen math'); book.begin({RUN!r}); book.add({{'id': '1'}})\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script])
    made(path, {"id": "2"})
    assert ids(path) == ["1", "2"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="wants a device that is full")
def test_a_full_disk_is_told_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with Journal(path, "qwen math") as book:
        book.begin(RUN)
        book.add({"id": "1"})
        book._file = Path("/dev/full").open("r+b", buffering=0)  # noqa: SIM115  # the journal closes it
        with pytest.raises(QwenError, match="No space left"):
            book.add({"id": "2"})
    assert ids(path) == ["1"]


def test_names_that_are_no_text_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    made(path, {"id": os.fsdecode(b"caf\xe9.png")})
    assert [os.fsencode(name) for name in ids(path)] == [b"caf\xe9.png"]


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "new" / "sft.jsonl"
    jsonl.replace(path, [{"id": "1"}])
    jsonl.replace(path, [{"id": "2"}])
    assert ids(path) == ["2"]
    assert [p.name for p in path.parent.iterdir()] == ["sft.jsonl"]
    with pytest.raises(QwenError, match="cannot be written"):
        jsonl.replace(path.parent, [{"id": "3"}])
    assert ids(path) == ["2"]
    assert [p.name for p in tmp_path.iterdir()] == ["new"]
