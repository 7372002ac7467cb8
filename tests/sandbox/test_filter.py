"""The filter of system calls, run through a small interpreter of BPF, and its table against the headers."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest

from qwen_cli.sandbox import seccomp, syscalls

ALLOW, KILL, EPERM = 0x7FFF0000, 0x80000000, 0x00050000 | errno.EPERM
ENOSYS, ENOMEM = 0x00050000 | errno.ENOSYS, 0x00050000 | errno.ENOMEM
ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}


def verdict(machine: str, number: int, *arguments: int, arch: int | None = None, own: bool = True) -> int:
    """What the kernel would do with the call."""
    words = {0: number, 4: arch or ARCH[machine]}
    words |= {16 + 8 * i: argument & 0xFFFFFFFF for i, argument in enumerate(arguments)}
    program = seccomp.program(own_root=own, own_processes=own, machine=machine)
    at = value = 0
    while True:
        code, if_true, if_false, k = program[at]
        at += 1
        if code == 0x06:
            return k
        if code == 0x20:
            value = words.get(k, 0)
        else:
            holds = {0x15: value == k, 0x35: value >= k, 0x45: bool(value & k)}[code]
            at += if_true if holds else if_false


@pytest.mark.parametrize("column", [0, 1], ids=["x86_64", "aarch64"])
def test_what_python_needs_passes(column: int) -> None:
    machine = ("x86_64", "aarch64")[column]
    for numbers in syscalls.ALWAYS.values():
        if numbers[column] >= 0:
            assert verdict(machine, numbers[column]) == ALLOW


@pytest.mark.parametrize(
    ("x86_64", "aarch64"),
    [
        (41, 198),
        (42, 203),
        (53, 199),
        (59, 221),
        (101, 117),
        (165, 40),
        (272, 97),
        (321, 280),
        (250, 219),
        (46, 211),
    ],
    ids=[
        "socket",
        "connect",
        "socketpair",
        "execve",
        "ptrace",
        "mount",
        "unshare",
        "bpf",
        "keyctl",
        "sendmsg",
    ],
)
def test_dangerous_calls_are_refused(x86_64: int, aarch64: int) -> None:
    assert verdict("x86_64", x86_64) == verdict("aarch64", aarch64) == EPERM


@pytest.mark.parametrize(
    "number", [425, 435, 434, 437, 999], ids=["io_uring", "clone3", "pidfd", "openat2", "new"]
)
def test_younger_calls_are_not_there(number: int) -> None:
    assert verdict("x86_64", number) == verdict("aarch64", number) == ENOSYS


def test_other_entries_to_the_kernel_end_the_process() -> None:
    assert verdict("x86_64", 20, arch=0x40000003) == KILL  # AUDIT_ARCH_I386
    assert verdict("x86_64", 0x40000000 | 39) == KILL
    assert verdict("aarch64", 20, arch=0x40000028) == KILL  # AUDIT_ARCH_ARM


def test_clone_makes_threads_and_children_but_no_namespaces() -> None:
    thread = 0x00010000 | 0x100
    assert verdict("x86_64", 56, thread) == ALLOW
    assert verdict("x86_64", 56, 17) == ALLOW
    assert verdict("x86_64", 56, 0x10000000 | 17) == EPERM
    assert verdict("x86_64", 56, 17, own=False) == 0x00050000 | errno.EAGAIN
    assert verdict("x86_64", 56, thread, own=False) == ALLOW
    assert verdict("x86_64", 57, own=False) == EPERM  # fork


@pytest.mark.parametrize(("machine", "number"), [("x86_64", 9), ("aarch64", 222)])
def test_memory_is_shared_through_files_only(machine: str, number: int) -> None:
    shared, private, validate, anonymous = 0x01, 0x02, 0x03, 0x20
    noreserve, populate, stack, huge, sync = 0x4000, 0x8000, 0x20000, 0x40000, 0x80000
    for more in (0, noreserve, populate, stack, huge, sync, 1 << 40, 26 << 26):
        for kind in (shared, validate):
            assert verdict(machine, number, 0, 1, 3, kind | anonymous | more) == ENOMEM
            assert verdict(machine, number, 0, 1, 3, kind | more) == ALLOW
        assert verdict(machine, number, 0, 1, 3, private | anonymous | more) == ALLOW
        assert verdict(machine, number, 0, 1, 3, private | more) == ALLOW


def test_without_a_pid_namespace_only_itself_can_be_signalled() -> None:
    assert verdict("x86_64", 62, os.getpid(), own=False) == ALLOW
    for pid in (1, 0, -1, os.getppid()):
        assert verdict("x86_64", 62, pid, own=False) == EPERM
        assert verdict("x86_64", 62, pid) == ALLOW


def test_without_a_root_of_its_own_modes_and_times_stay() -> None:
    for name in ("chmod", "utimensat", "truncate"):
        number = syscalls.WITH_OWN_ROOT[name][0]
        assert verdict("x86_64", number, own=False) == EPERM


@pytest.mark.parametrize(("machine", "column"), [("x86_64", 0), ("aarch64", 1)])
def test_the_table_has_the_headers_numbers(machine: str, column: int) -> None:
    if not HEADERS[machine].is_file():
        pytest.skip("no kernel headers here")
    text = HEADERS[machine].read_text()
    numbers = dict(re.findall(r"#define __NR(?:3264)?_(\w+) (\d+)\s", text))
    tables = (syscalls.ALWAYS, syscalls.WITH_OWN_ROOT, syscalls.WITH_OWN_PROCESSES, syscalls.BY_ARGUMENT)
    for table in tables:
        for name, row in table.items():
            known = numbers.get({"newfstatat": "newfstatat"}.get(name, name))
            if known is None and machine == "aarch64" and name == "newfstatat":
                known = numbers["fstatat"]
            assert row[column] == int(known if known is not None else -1), name
