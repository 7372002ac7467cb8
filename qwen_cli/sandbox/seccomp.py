"""An allow-list of system calls, as a BPF program. Numbers are those of <linux/{audit,filter,seccomp}.h>."""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from qwen_cli.sandbox import syscalls
from qwen_cli.sandbox.libc import MACHINE, prctl

_ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}  # AUDIT_ARCH_*, column of the table
_X32 = 0x40000000  # __X32_SYSCALL_BIT: the 32-bit-pointer twin of every x86_64 call
_FIRST_UNIFIED = 424  # pidfd_send_signal: from here on one number for all architectures

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # BPF_LD|W|ABS, BPF_JMP|…, BPF_RET
_AND = 0x54  # BPF_ALU|AND|K
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000  # SECCOMP_RET_*

_NEW_NAMESPACE = 0x7E020000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
_CLONE_THREAD = 0x00010000
# Shared memory without a file keeps all its pages while one of them is mapped, and then neither the limit on
# address space nor the count of resident pages sees the others. MAP_SHARED_VALIDATE has MAP_SHARED's bit.
_MAP_SHARED, _MAP_ANONYMOUS = 0x01, 0x20
# F_DUPFD … F_SETLKW, the open-file-description locks, F_DUPFD_CLOEXEC. Not F_SETOWN and F_SETSIG: they make
# the kernel send signals to others; not F_SETPIPE_SZ: memory that no limit counts.
_FCNTL = (0, 1, 2, 3, 4, 5, 6, 7, 36, 37, 38, 1030)
_IOCTL = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)  # TCGETS TIOCGWINSZ FIONREAD FIONBIO FIO(N)CLEX
# PR_GET_DUMPABLE, SET_NAME, GET_NAME, GET_SECCOMP, CAPBSET_READ, GET_NO_NEW_PRIVS, SET_VMA (glibc's malloc)
_PRCTL = (3, 15, 16, 21, 23, 39, 0x53564D41)

_O_ACCMODE, _O_WRONLY, _O_RDWR, _O_TRUNC = 0o3, 0o1, 0o2, 0o1000
_O_TMPFILE = 0o20000000  # the bit that O_DIRECTORY has not, the same on both architectures
_OWNER = 0o700  # read, write, enter
_PRIO_PROCESS = 0
# WAIT, WAKE, REQUEUE, CMP_REQUEUE, WAKE_OP, WAIT_BITSET, WAKE_BITSET of <linux/futex.h>, below its two flags.
# Not the locks that lend priority: they look up processes by number, and holes in the kernel were there.
_FUTEX, _FUTEX_COMMAND = (0, 1, 3, 4, 5, 9, 10), 0x7F
_OTHERS_CLOCKS = 12  # from here on <linux/time.h> has none; negative ones are those of processes

_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2

Instruction = tuple[int, int, int, int]


def supported() -> bool:
    """Return whether the table of system calls covers this processor."""
    return MACHINE in _ARCHITECTURES


def program(*, own_root: bool, own_processes: bool, machine: str = MACHINE) -> list[Instruction]:
    """Build the filter. `own_root` and `own_processes` say which namespaces already hold the caller."""
    audit, column = _ARCHITECTURES[machine]
    free = dict(syscalls.ALWAYS)
    if own_root:
        free |= syscalls.WITH_OWN_ROOT
    if own_processes:
        free |= syscalls.WITH_OWN_PROCESSES
    code: list[Instruction] = [
        # A call through another ABI (int 0x80, x32) has other numbers: nothing honest makes one.
        (_LOAD, 0, 0, _ARCH),
        (_EQUAL, 1, 0, audit),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    if machine == "x86_64":
        code += [(_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, _KILL)]
    for numbers in free.values():
        if numbers[column] >= 0:
            code += [(_EQUAL, 0, 1, numbers[column]), (_RETURN, 0, 0, _ALLOW)]
    for name, check in _checks(own_root, own_processes).items():
        if (number := syscalls.BY_ARGUMENT[name][column]) >= 0:
            code += [(_EQUAL, 0, len(check), number), *check]
    # Younger calls are answered "not there", so that libc falls back to what is: clone3 → clone.
    code += [(_AT_LEAST, 0, 1, _FIRST_UNIFIED), _refuse(errno.ENOSYS), _refuse(errno.EPERM)]
    return code


def apply(*, own_root: bool, own_processes: bool) -> None:
    """Put the filter on this process and all it will start, for good. Needs no_new_privs."""
    code = b"".join(struct.pack("HBBI", *i) for i in program(own_root=own_root, own_processes=own_processes))
    buffer = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))  # struct sock_fprog
    fprog = ctypes.create_string_buffer(header, len(header))
    prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(fprog), what="seccomp")


def _checks(own_root: bool, own_processes: bool) -> dict[str, list[Instruction]]:
    """Return what follows a matching number of `BY_ARGUMENT`; each ends in a return."""
    checks = {
        "fcntl": _argument_in(1, _FCNTL),
        "ioctl": _argument_in(1, _IOCTL),
        "prctl": _argument_in(0, _PRCTL),
        "prlimit64": _argument_in(0, (0,)),
        "clone": [
            (_LOAD, 0, 0, _ARGUMENTS),
            (_ANY_BIT, 0, 1, _NEW_NAMESPACE),
            _refuse(errno.EPERM),
            *([] if own_processes else [(_ANY_BIT, 1, 0, _CLONE_THREAD), _refuse(errno.EAGAIN)]),
            (_RETURN, 0, 0, _ALLOW),
        ],
        "mmap": [
            (_LOAD, 0, 0, _ARGUMENTS + 8 * 3),
            (_ANY_BIT, 0, 2, _MAP_ANONYMOUS),
            (_ANY_BIT, 0, 1, _MAP_SHARED),
            _refuse(errno.ENOMEM),
            (_RETURN, 0, 0, _ALLOW),
        ],
    }
    checks["futex"] = _argument_in(1, _FUTEX, mask=_FUTEX_COMMAND, fault=errno.ENOSYS)
    checks |= {"open": _opening(1, own_root), "openat": _opening(2, own_root)}
    checks |= {"mkdir": _folder_mode(1, own_root), "mkdirat": _folder_mode(2, own_root)}
    free: list[Instruction] = [(_RETURN, 0, 0, _ALLOW)]
    checks["umask"] = (
        free
        if own_root
        else [(_LOAD, 0, 0, _ARGUMENTS), (_ANY_BIT, 0, 1, _OWNER), _refuse(errno.EPERM), *free]
    )
    itself = (0, os.getpid())
    for name in ("getpgid", "getsid", "sched_getaffinity", "sched_getparam", "sched_getscheduler"):
        checks[name] = free if own_processes else _argument_in(0, itself)
    checks["getpriority"] = free
    if (
        not own_processes
    ):  # itself is the one process that may be signalled, or asked about: others are all alike
        checks |= {"kill": _argument_in(0, itself[1:]), "tgkill": _argument_in(0, itself[1:])}
        only_processes: list[Instruction] = [
            (_LOAD, 0, 0, _ARGUMENTS),
            (_EQUAL, 1, 0, _PRIO_PROCESS),
            _refuse(errno.EPERM),
        ]
        checks["getpriority"] = [*only_processes, *_argument_in(1, itself)]
    for name in ("clock_gettime", "clock_getres", "clock_nanosleep"):
        checks[name] = (
            free
            if own_processes
            else [(_LOAD, 0, 0, _ARGUMENTS), (_AT_LEAST, 0, 1, _OTHERS_CLOCKS), _refuse(errno.EINVAL), *free]
        )
    return checks


def _opening(index: int, own_root: bool) -> list[Instruction]:
    """Limit what open(2) may do, its flags being argument `index`: cut files only that it opens to write.

    Landlock knows cutting from ABI 3 on, and asks for no right where a file is opened for neither reading nor
    writing. A file without a name is counted nowhere on the host's disk.
    """
    load: Instruction = (_LOAD, 0, 0, _ARGUMENTS + 8 * index)
    nameless = [] if own_root else [(_ANY_BIT, 0, 1, _O_TMPFILE), _refuse(errno.EOPNOTSUPP)]
    return [
        load,
        *nameless,
        (_ANY_BIT, 0, 4, _O_TRUNC),
        (_AND, 0, 0, _O_ACCMODE),
        (_EQUAL, 2, 0, _O_WRONLY),
        (_EQUAL, 1, 0, _O_RDWR),
        _refuse(errno.EACCES),
        (_RETURN, 0, 0, _ALLOW),
    ]


def _folder_mode(index: int, own_root: bool) -> list[Instruction]:
    """Refuse folders of the host that their owner cannot look into: they could be neither counted nor
    removed."""
    if own_root:
        return [(_RETURN, 0, 0, _ALLOW)]
    return [
        (_LOAD, 0, 0, _ARGUMENTS + 8 * index),
        (_AND, 0, 0, _OWNER),
        (_EQUAL, 1, 0, _OWNER),
        _refuse(errno.EACCES),
        (_RETURN, 0, 0, _ALLOW),
    ]


def _argument_in(
    index: int, values: tuple[int, ...], *, mask: int = 0xFFFFFFFF, fault: int = errno.EPERM
) -> list[Instruction]:
    # The kernel reads these arguments as 32-bit numbers: the low half is all, and comes first.
    code: list[Instruction] = [(_LOAD, 0, 0, _ARGUMENTS + 8 * index), (_AND, 0, 0, mask)]
    for value in values:
        code += [(_EQUAL, 0, 1, value), (_RETURN, 0, 0, _ALLOW)]
    return [*code, _refuse(fault)]


def _refuse(number: int) -> Instruction:
    return (_RETURN, 0, 0, _ERRNO | number)
