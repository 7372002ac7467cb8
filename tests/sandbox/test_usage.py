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

from qwen_cli.sandbox import usage

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


@pytest.mark.parametrize("holding", ["hold()"], indirect=True)
def test_memory_of_a_process_is_counted(holding: int) -> None:
    assert 64 * MIB < usage.memory(holding) < 128 * MIB


@pytest.mark.parametrize("holding", [LEAVE], indirect=True)
def test_memory_is_counted_after_the_first_thread_has_ended(holding: int) -> None:
    deadline = time.monotonic() + 5
    while "zombie" not in Path(f"/proc/{holding}/status").read_text() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert 64 * MIB < usage.memory(holding) < 128 * MIB
    assert usage.threads(holding) >= 1


@pytest.mark.parametrize("holding", ["os.fork() and hold() or time.sleep(60)"], indirect=True)
def test_a_family_is_all_that_a_process_has_started(holding: int) -> None:
    assert len(usage.family(holding)) == 2


def test_pages_in_swap_and_shared_pages_count_as_its_own_do() -> None:
    status = {
        "RssAnon": "100 kB",
        "RssFile": "7 kB",
        "RssShmem": "20 kB",
        "VmSwap": "3 kB",
        "VmRSS": "127 kB",
    }
    assert usage.memory_in(status) == 123 * 1024
    assert usage.memory_in({"Name": "gone"}) == 0


def test_a_process_that_is_gone_uses_nothing() -> None:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    assert (usage.memory(done.pid), usage.threads(done.pid), usage.family(done.pid)) == (0, 0, [done.pid])
