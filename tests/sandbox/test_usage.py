"""What a family of processes uses: every thread's and every child's memory, resident or in swap."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from qwen_cli.sandbox import Limits, Sandbox, usage

MIB = 1 << 20
HOLD = """
import ctypes, os, platform, sys, threading, time
block = bytearray({size})
def hold():
    print("ready", flush=True)
    time.sleep(60)
{then}
"""
LEAVE = """
number = {"x86_64": 60, "aarch64": 93}[platform.machine()]
threading.Thread(target=hold).start()
time.sleep(0.1)
ctypes.CDLL(None).syscall(ctypes.c_long(number), ctypes.c_long(0))
"""


@pytest.fixture
def holding(request: pytest.FixtureRequest) -> Iterator[int]:
    """A process that holds 64 MiB and ends as `request.param` says."""
    code = HOLD.replace("{size}", str(64 * MIB)).replace("{then}", request.param)
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process.pid
        os.killpg(process.pid, signal.SIGKILL)


def view(pid: int, *, rollup: bool = True, family: bool = False) -> usage.ProcessView:
    """How a supervisor sees process `pid`; with `family` the processes of the whole machine."""
    status = os.open(f"/proc/{pid}/status", os.O_RDONLY)
    exact = os.open(f"/proc/{pid}/smaps_rollup", os.O_RDONLY) if rollup else -1
    return usage.ProcessView(status, exact, os.open("/proc", os.O_RDONLY) if family else -1)


@pytest.mark.parametrize("enough", [0, 1 << 40], ids=["exact", "bound"])
@pytest.mark.parametrize("holding", ["hold()"], indirect=True)
def test_memory_of_a_process_is_counted(holding: int, enough: int) -> None:
    assert 64 * MIB < view(holding).memory(enough) < 128 * MIB


@pytest.mark.parametrize("enough", [0, 1 << 40], ids=["exact", "bound"])
@pytest.mark.parametrize("holding", [LEAVE], indirect=True)
def test_memory_is_counted_after_the_first_thread_has_ended(holding: int, enough: int) -> None:
    seen, family = view(holding), view(holding, rollup=False, family=True)
    deadline = time.monotonic() + 5
    while "zombie" not in Path(f"/proc/{holding}/status").read_text() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert 64 * MIB < seen.memory(enough) < 128 * MIB
    assert 64 * MIB < family._resident(holding) < 128 * MIB
    assert seen.threads() >= 1


@pytest.mark.parametrize("holding", ["os.fork() and hold() or time.sleep(60)"], indirect=True)
def test_pages_that_two_hold_count_once_where_it_matters(holding: int) -> None:
    alone = view(holding)
    assert alone.memory(1 << 40) > 64 * MIB
    assert alone.memory(0) < 64 * MIB  # the other process has the other half


def test_a_process_whose_parent_has_gone_counts_too() -> None:
    orphan = "import os, time\nif os.fork() == 0:\n    if os.fork() == 0:\n        {}\n    os._exit(0)\n"
    with Sandbox(Limits(memory_bytes=64 * MIB)) as sandbox:
        held = "time.sleep(0.1); block = bytearray(60 << 20); time.sleep(60)"
        assert sandbox.run(orphan.format(held) * 6 + "time.sleep(5)").status == "memory"


def test_pages_in_swap_and_shared_pages_count_as_its_own_do() -> None:
    status = {
        "RssAnon": "100 kB",
        "RssFile": "7 kB",
        "RssShmem": "20 kB",
        "VmSwap": "3 kB",
        "VmRSS": "127 kB",
    }
    assert usage.total(status, usage.RESIDENT) == 123 * 1024
    assert usage.total({"Name": "gone"}, usage.RESIDENT) == 0


def test_a_process_that_is_gone_uses_nothing() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    seen = view(process.pid)
    process.communicate(b"\n")
    assert (seen.memory(0), seen.memory(1 << 40), seen.threads()) == (0, 0, 0)
