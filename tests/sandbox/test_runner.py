"""The folder that code writes to: counted while it changes, removed whatever is in it, swept up later."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import quiet_disk

from qwen_cli.sandbox import Limits, Sandbox, forkserver_client, runner

TEMPORARY = """
import os, tempfile, time
end, n = time.monotonic() + 0.6, 0
while time.monotonic() < end:
    for _ in range(20):
        with tempfile.NamedTemporaryFile() as f:
            f.write(b"x")
        os.mkdir("d"); os.rmdir("d")
        n += 1
print("fine")
"""


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of ours, in a temporary folder that holds nothing else."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    path, lock = runner.make("qwen-test-")
    yield path
    os.close(lock)


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A warmed process whose folders lie where the tests beside this one write nothing."""
    monkeypatch.setattr(forkserver_client, "environment", quiet_disk.environment)
    forkserver_client.current().close()
    yield
    forkserver_client.current().close()


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("how", ["full", "fallback", "off"])
def test_a_program_that_removes_its_temporary_files_is_left_alive(how: str) -> None:
    without = ("namespaces",) if how == "fallback" else ()
    with Sandbox(Limits(wall_seconds=20), contained=how != "off", _without=without) as sandbox:
        for _ in range(2):
            outcome = sandbox.run(TEMPORARY)
            assert (outcome.status, outcome.error, outcome.output) == ("ok", None, "fine\n")


def test_what_vanishes_while_it_is_counted_is_nothing(made: Path) -> None:
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            for n in range(50):
                (made / f"d{n}").mkdir()
                (made / f"d{n}" / "f").touch()
            for n in range(50):
                (made / f"d{n}" / "f").unlink()
                (made / f"d{n}").rmdir()

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        assert all(runner.usage(made).whole for _ in range(200))
    finally:
        stop.set()
        thread.join()
    assert runner.usage(made / "gone") == runner.Usage(0, 0)


def test_files_and_folders_are_counted_and_links_are_not_followed(made: Path) -> None:
    (made / "a").write_bytes(b"x" * 100_000)
    (made / "in").mkdir()
    (made / "in" / "b").write_bytes(b"x" * 100_000)
    (made / "link").symlink_to("/usr")
    found = runner.usage(made)
    assert 200_000 <= found.size < 300_000
    assert (found.entries, found.whole) == (4, True)


def test_masses_of_folders_are_too_many(made: Path) -> None:
    for n in range(runner.MOST_ENTRIES + 1):
        (made / str(n)).mkdir()
    assert not runner.usage(made).whole


def nest(top: Path, depth: int) -> None:
    """Folders in folders, `depth` of them, a file in the last."""
    here = os.open(top, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d" * 200, dir_fd=here)
        inner = os.open("d" * 200, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)


def test_paths_too_long_to_be_named_are_counted_and_removed(made: Path) -> None:
    nest(made, 40)
    assert runner.usage(made).entries == 41
    nest_more = made / "more"
    nest_more.mkdir()
    nest(nest_more, 3_000)
    assert not runner.usage(made).whole
    runner.remove(made)
    assert not made.exists()


def test_modes_keep_nothing_from_being_removed(made: Path) -> None:
    for mode in (0o000, 0o100, 0o300, 0o500):
        inner = made / oct(mode)
        (inner / "a" / "b").mkdir(parents=True)
        (inner / "a" / "file").touch()
        (inner / "a").chmod(mode)
        inner.chmod(mode)
    runner.remove(made)
    assert not made.exists()


def test_links_are_removed_and_not_what_they_lead_to(made: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "file").touch()
    (made / "link").symlink_to(kept)
    runner.remove(made)
    assert (kept / "file").exists()


class TestSweep:
    """What a killed process has left goes at the next start; what is in use, young or not ours stays."""

    @pytest.fixture(autouse=True)
    def settled(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(time, "time", lambda now=time.time: now() + 3_600)

    def test_what_nobody_holds_goes(self, made: Path, tmp_path: Path) -> None:
        left = tmp_path / "qwen-test-left"
        (left / "in").mkdir(parents=True)
        (tmp_path / "qwen-test-file").touch()
        (tmp_path / "qwen-test-link").symlink_to(tmp_path)
        runner.sweep("qwen-test-", range(0))
        assert not left.exists()
        assert made.exists()
        assert (tmp_path / "qwen-test-file").exists()
        assert (tmp_path / "qwen-test-link").is_symlink()

    def test_what_is_young_stays(self, tmp_path: Path, made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.undo()
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        left = tmp_path / "qwen-test-left"
        left.mkdir()
        runner.sweep("qwen-test-", range(0))
        assert left.exists()

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders away")
    def test_folders_of_others_stay(self, tmp_path: Path, made: Path) -> None:
        theirs, spare = tmp_path / "qwen-test-theirs", tmp_path / "qwen-test-spare"
        for path, owner in ((theirs, 12_345), (spare, 50_000)):
            path.mkdir()
            os.chown(path, owner, owner)
        runner.sweep("qwen-test-", range(50_000, 50_001))
        assert theirs.exists()
        assert not spare.exists()


class TestSpace:
    """What is taken of the disk without a name, told from what others take of it."""

    @pytest.fixture
    def free(self, made: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """What the disk says is free: the first each time, the others one after another."""
        left = [100 << 30]
        monkeypatch.setattr(runner.Space, "_free", lambda self: left.pop(0) if len(left) > 1 else left[0])
        return left

    @staticmethod
    def lost(space: runner.Space) -> bool:
        return space.lost(1 << 30, contextlib.nullcontext)

    def test_what_stays_gone_while_the_code_stands_still_is_the_codes(
        self, made: Path, free: list[int]
    ) -> None:
        space = runner.Space(made, "qwen-test-")
        free[:] = [99 << 30]
        assert not self.lost(space)
        free[:] = [98 << 30]
        assert self.lost(space)

    def test_a_disk_that_fills_without_the_code_is_filled_by_others(
        self, made: Path, free: list[int]
    ) -> None:
        space = runner.Space(made, "qwen-test-")
        free[:] = [90 << 30, 90 << 30, 90 << 30, 86 << 30]
        assert not self.lost(space)
        assert not self.lost(space)
        free[:] = [84 << 30]
        assert self.lost(space)

    def test_others_who_write_slowly_do_not_hide_what_the_code_takes(
        self, made: Path, free: list[int]
    ) -> None:
        space = runner.Space(made, "qwen-test-")
        free[:] = [90 << 30, 90 << 30, 90 << 30, (90 << 30) - (4 << 20)]
        assert self.lost(space)

    def test_the_last_of_a_disk_is_left_to_others(self, made: Path, free: list[int]) -> None:
        space = runner.Space(made, "qwen-test-")
        free[:] = [2 << 29, 2 << 29, 2 << 29, 1 << 29]
        assert self.lost(space)

    def test_what_goes_while_the_code_stands_still_is_not_its_own(self, made: Path, free: list[int]) -> None:
        space = runner.Space(made, "qwen-test-")
        free[:] = [(99 << 30) + 1]
        space.stand_still()
        free[:] = [50 << 30]
        space.go_on()
        assert not self.lost(space)
        free[:] = [(50 << 30) - 2]  # what it took before counts as well
        assert self.lost(space)

    def test_what_comes_back_while_the_code_stands_still_is_not_its_own(
        self, made: Path, free: list[int]
    ) -> None:
        space = runner.Space(made, "qwen-test-")
        space.stand_still()
        free[:] = [120 << 30]
        space.go_on()
        free[:] = [(119 << 30) - 1]
        assert self.lost(space)

    def test_files_with_a_name_are_counted_elsewhere(self, made: Path, free: list[int]) -> None:
        space = runner.Space(made, "qwen-test-")
        beside, lock = runner.make("qwen-test-")
        (beside / "file").write_bytes(bytes(2 << 20))
        free[:] = [(100 << 30) - (2 << 20)]
        assert not space.lost(1 << 20, contextlib.nullcontext)
        (beside / "file").unlink()
        assert space.lost(1 << 20, contextlib.nullcontext)
        os.close(lock)
