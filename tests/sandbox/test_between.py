"""Between two runs nothing of a solution runs: its threads stand still, what it has started is gone."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import pytest

from qwen_cli.sandbox import Limits, Sandbox

COUNT = """
import threading, time
n = 0
def count():
    global n
    while True:
        n += 1
        time.sleep(0.001)
threading.Thread(target=count, daemon=True).start()
"""
# The runner ends what its block has started, unless the block has seen to it that it does not.
CHILD = """
import os, sys, time, ctypes
frame = sys._getframe()
while frame:
    frame.f_globals.get("_end_children") and frame.f_globals.update(_end_children=lambda: None)
    frame = frame.f_back
r, w = os.pipe()
os.set_blocking(r, False)
for _ in range(3):
    if os.fork() == 0:
        ctypes.CDLL(None).prctl(15, b"qwen-between", 0, 0, 0)
        while True:
            os.write(w, b"x")
            time.sleep(0.001)
time.sleep(0.05)
"""

ways = pytest.mark.parametrize("how", ["full", "fallback", "off"])


def sandbox(how: str) -> Sandbox:
    without = ("namespaces",) if how == "fallback" else ()
    return Sandbox(Limits(wall_seconds=20), contained=how != "off", _without=without)


@ways
def test_threads_stand_still_and_go_on(how: str) -> None:
    with sandbox(how) as box:
        box.run(COUNT)
        box.run("1")
        before = int(box.run("n").value or "")
        time.sleep(0.5)
        after = int(box.run("n").value or "")
        later = int(box.run("time.sleep(0.3); n").value or "")
    assert after - before < 100
    assert later - after > 5


def test_processes_that_outlive_their_block_are_ended() -> None:
    with sandbox("full") as box:
        assert box.run(CHILD).status == "ok"
        time.sleep(0.2)
        assert not named("qwen-between")
        assert box.run("6 * 7").value == "42"


def test_it_is_the_first_to_go_and_the_last_to_run() -> None:
    with sandbox("full") as box:
        box.run("import ctypes; ctypes.CDLL(None).prctl(15, b'qwen-between', 0, 0, 0)")
        (process,) = named("qwen-between")
        assert (process / "oom_score_adj").read_text() == "1000\n"
        nice = int((process / "stat").read_text().rpartition(")")[2].split()[16])
        assert nice == min(19, os.nice(0) + 10)


def test_a_disk_that_others_fill_meanwhile_ends_no_program() -> None:
    with sandbox("fallback").open() as box, tempfile.TemporaryFile() as others:
        os.posix_fallocate(others.fileno(), 0, 200 << 20)
        time.sleep(0.5)  # in which it is looked at
        first = box.run("6 * 7")
        time.sleep(0.5)  # until it stands still
        os.posix_fallocate(others.fileno(), 0, 400 << 20)
        second = box.run("6 * 7")
    assert (first.value, second.value) == ("42", "42")


def named(name: str) -> list[Path]:
    """The /proc folders of living processes of that name."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            state = (process / "stat").read_text().rpartition(")")[2].split()[0]
            if (process / "comm").read_text() == f"{name}\n" and state != "Z":
                found.append(process)
        except OSError:
            continue
    return found
