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
        elif code == 0x54:
            value &= k
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


EACCES, EINVAL, EOPNOTSUPP = (
    0x00050000 | number for number in (errno.EACCES, errno.EINVAL, errno.EOPNOTSUPP)
)
ROWS = syscalls.BY_ARGUMENT
machines = pytest.mark.parametrize(("machine", "column"), [("x86_64", 0), ("aarch64", 1)])


@machines
@pytest.mark.parametrize("own", [True, False])
def test_a_file_is_cut_only_where_it_is_opened_to_be_written(machine: str, column: int, own: bool) -> None:
    cutting, reading, writing, both, neither = 0o1000, 0, 1, 2, 3
    for name, before in (("open", ()), ("openat", (-100 & 0xFFFFFFFF,))):
        number = ROWS[name][column]
        if number < 0:
            continue
        for more in (0, 0o100, 0o2000, 0o2000000, 0o400000, 1 << 40):
            for mode in (reading, neither):
                assert verdict(machine, number, *before, 1, mode | cutting | more, own=own) == EACCES
                assert verdict(machine, number, *before, 1, mode | more, own=own) == ALLOW
            for mode in (writing, both):
                assert verdict(machine, number, *before, 1, mode | cutting | more, own=own) == ALLOW


@machines
def test_on_the_disk_of_the_host_every_file_has_a_name_and_every_folder_an_owner_who_can_look(
    machine: str, column: int
) -> None:
    nameless = 0o20200000 | 2
    assert verdict(machine, ROWS["openat"][column], 1, 1, nameless, 0o600) == ALLOW
    assert verdict(machine, ROWS["openat"][column], 1, 1, nameless, 0o600, own=False) == EOPNOTSUPP
    folder = ROWS["mkdirat"][column]
    for mode, open_ in (
        (0o700, True),
        (0o777, True),
        (0o1755, True),
        (0o300, False),
        (0o077, False),
        (0, False),
    ):
        assert verdict(machine, folder, 1, 1, mode) == ALLOW
        assert verdict(machine, folder, 1, 1, mode, own=False) == (ALLOW if open_ else EACCES)
    for mask, open_ in ((0o077, True), (0o022, True), (0, True), (0o777, False), (0o400, False)):
        assert verdict(machine, ROWS["umask"][column], mask, own=False) == (ALLOW if open_ else EPERM)
    assert verdict(machine, syscalls.WITH_OWN_ROOT["fallocate"][column], 3, 0, 0, 1, own=False) == EPERM


@machines
@pytest.mark.parametrize(
    "name",
    ["getpgid", "getsid", "sched_getaffinity", "sched_getparam", "sched_getscheduler", "kill", "tgkill"],
)
def test_without_a_pid_namespace_nothing_is_told_of_others(machine: str, column: int, name: str) -> None:
    number = ROWS[name][column]
    assert verdict(machine, number, os.getpid(), own=False) == ALLOW
    for pid in (1, os.getppid(), 99_999):
        assert verdict(machine, number, pid, own=False) == EPERM
        assert verdict(machine, number, pid) == ALLOW


@machines
def test_clocks_and_priorities_are_its_own(machine: str, column: int) -> None:
    for name in ("clock_gettime", "clock_getres", "clock_nanosleep"):
        for clock in range(12):
            assert verdict(machine, ROWS[name][column], clock, own=False) == ALLOW
        for pid in (1, os.getppid()):
            assert verdict(machine, ROWS[name][column], (~pid << 3) | 2, own=False) == EINVAL
    priority = ROWS["getpriority"][column]
    assert verdict(machine, priority, 0, 0, own=False) == ALLOW
    assert verdict(machine, priority, 0, 1, own=False) == EPERM
    assert verdict(machine, priority, 1, 0, own=False) == verdict(machine, priority, 2, 0, own=False) == EPERM


@machines
def test_of_futexes_those_without_priorities(machine: str, column: int) -> None:
    for flags in (0, 128, 256, 384):
        for command in range(14):
            wanted = ALLOW if command in (0, 1, 3, 4, 5, 9, 10) else ENOSYS
            assert verdict(machine, ROWS["futex"][column], 0, command | flags) == wanted


@machines
def test_pages_of_files_are_not_moved_into_pipes(machine: str, column: int) -> None:
    for row in ((40, 71), (275, 76), (276, 77), (278, 75)):  # sendfile, splice, tee, vmsplice
        assert verdict(machine, row[column]) == EPERM


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
