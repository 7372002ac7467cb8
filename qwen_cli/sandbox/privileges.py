"""No powers, no way to regain any, and the kernel's limits. Numbers from <linux/{prctl,capability}.h>."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
from pathlib import Path

from qwen_cli.sandbox.libc import LIBC, MACHINE, check, prctl, syscall
from qwen_cli.sandbox.result import Limits

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_PR_CAPBSET_DROP, _PR_CAP_AMBIENT, _CLEAR_ALL = 24, 47, 4
_LAST_CAPABILITY = 63  # a capability set has 64 bits; the kernel refuses those it does not know
_CAPSET = {"x86_64": 126, "aarch64": 91}
_CAPABILITY_VERSION = 0x20080522

# Ids that no distribution hands out (systemd.io/UIDS-GIDS: 1879048192 and up are unused), one per process id,
# so that sandboxes of root neither share a count of processes nor own each other's files.
_FIRST_SPARE_ID = 1_879_048_192
_NICE = 10
_FIRST_TO_GO = "1000"  # OOM_SCORE_ADJ_MAX of <linux/oom.h>
_MOST_PIDS = 1 << 22  # PID_MAX_LIMIT of <linux/threads.h>
_NOBODY = 65_534
SPARE_IDS = range(_FIRST_SPARE_ID, _FIRST_SPARE_ID + _MOST_PIDS)
# MemoryError has to be reported with memory: the soft limit leaves this much for the report.
REPORT_BYTES = 16 << 20


def become_spare_user(spare: int) -> None:
    """Change from root to the user `_FIRST_SPARE_ID + spare`, or nobody where the container does not map
    that."""
    for number in (_FIRST_SPARE_ID + spare, _NOBODY):
        try:
            os.setgroups([])
            os.setresgid(number, number, number)
            os.setresuid(number, number, number)
        except OSError:
            continue
        return


def spare_id(spare: int) -> int:
    """Return the id `become_spare_user` tries first."""
    return _FIRST_SPARE_ID + spare


def renounce(*, hidden: bool) -> None:
    """Drop every capability for good, forbid new privileges, die with the parent; `hidden`: from debuggers of
    the same user, and from those who would measure it."""
    for capability in range(_LAST_CAPABILITY + 1):
        if LIBC.prctl(_PR_CAPBSET_DROP, ctypes.c_ulong(capability), 0, 0, 0) < 0:
            break  # past the last one known, or nothing to drop with
    LIBC.prctl(_PR_CAP_AMBIENT, ctypes.c_ulong(_CLEAR_ALL), 0, 0, 0)
    header = struct.pack("Ii", _CAPABILITY_VERSION, 0)
    nothing = ctypes.create_string_buffer(24)
    syscall(_CAPSET[MACHINE], ctypes.create_string_buffer(header, 8), nothing, what="capset")
    prctl(_PR_SET_NO_NEW_PRIVS, 1, what="no_new_privs")
    prctl(_PR_SET_DUMPABLE, 0 if hidden else 1, what="dumpable")
    # Last: a change of user clears it.
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, what="pdeathsig")


def give_way() -> None:
    """Run when others do not, and be the first to go where the machine has no memory left. Neither can be
    taken back without powers."""
    os.nice(_NICE)
    # While a process is not dumpable, its files in /proc are root's.
    prctl(_PR_SET_DUMPABLE, 1, what="dumpable")
    try:
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_GO)
    except OSError:
        pass  # /proc is read-only here
    finally:
        prctl(_PR_SET_DUMPABLE, 0, what="dumpable")


def hide() -> None:
    """Keep processes of the same user from tracing this one or reading its memory."""
    check(LIBC.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0), "dumpable")


def limit(limits: Limits, *, count_processes: bool) -> None:
    """Limit this process. `count_processes` where no others are counted with it."""
    size = _address_space()
    most = size + limits.memory_bytes + REPORT_BYTES
    values = {
        resource.RLIMIT_CPU: (limits.cpu_seconds, limits.cpu_seconds),
        resource.RLIMIT_AS: (most - REPORT_BYTES, most),
        resource.RLIMIT_FSIZE: (limits.file_bytes, limits.file_bytes),
        resource.RLIMIT_NOFILE: (limits.open_files, limits.open_files),
        resource.RLIMIT_CORE: (1, 1),  # none at all: with 0 a program that collects them is still started
        resource.RLIMIT_MEMLOCK: (0, 0),
        resource.RLIMIT_MSGQUEUE: (0, 0),
        resource.RLIMIT_SIGPENDING: (256, 256),
    }
    if count_processes:
        values[resource.RLIMIT_NPROC] = (limits.processes, limits.processes)
    for which, (soft, hard) in values.items():
        _, allowed = resource.getrlimit(which)
        if allowed != resource.RLIM_INFINITY:
            soft, hard = min(soft, allowed), min(hard, allowed)
        resource.setrlimit(which, (soft, hard))


def _address_space() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()
