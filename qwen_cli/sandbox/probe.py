"""Which containment layers this machine offers, asked of the kernel itself."""

from __future__ import annotations

import functools
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_PR_GET_SECCOMP = 21  # include/uapi/linux/prctl.h

# In a fresh process: one that has left its namespaces cannot go back, and a user namespace needs one thread.
_TRIAL = """
import sys
sys.path.insert(0, sys.argv[1])
from qwen_cli.sandbox import namespaces
print(namespaces.why_not() or "ok")
"""


@dataclass(frozen=True)
class Layers:
    """What the kernel grants this user. `landlock` is the ABI version, 0 where there is none; `refusal` what
    was said when namespaces were asked for; `seatbelt` is macOS's only layer."""

    namespaces: bool
    landlock: int
    seccomp: bool
    refusal: str = ""
    seatbelt: bool = False

    @property
    def level(self) -> str:
        """Return `full`, `partial` (namespaces, or Landlock with seccomp, or sandbox-exec), or `none`: code
        would not be run."""
        if self.namespaces and self.landlock and self.seccomp:
            return "full"
        if self.namespaces or (self.landlock and self.seccomp) or self.seatbelt:
            return "partial"
        return "none"


@dataclass(frozen=True)
class Layer:
    """One layer for a report. `advice` says how to get it where it is missing."""

    name: str
    active: bool
    detail: str
    advice: str = ""


@functools.cache
def probe() -> Layers:
    """Ask the running kernel, once in a process. Nothing of this process is changed."""
    if sys.platform != "linux":
        from qwen_cli.sandbox import seatbelt

        held = sys.platform == "darwin" and seatbelt.why_not() is None
        return Layers(namespaces=False, landlock=0, seccomp=False, seatbelt=held)
    from qwen_cli.sandbox import landlock, seccomp
    from qwen_cli.sandbox.libc import LIBC

    answer = _try_namespaces()
    return Layers(
        namespaces=answer == "ok",
        landlock=landlock.abi(),
        seccomp=seccomp.supported() and LIBC.prctl(_PR_GET_SECCOMP, 0, 0, 0, 0) >= 0,
        refusal="" if answer == "ok" else answer,
    )


def check() -> list[Layer]:
    """Return each layer with what it does here, or with what would bring it."""
    limits = Layer("limits", True, "time, memory, processes, files, output; no privileges")
    if sys.platform == "darwin":
        from qwen_cli.sandbox import seatbelt

        refusal = seatbelt.why_not()
        held = "a profile that holds: tried" if refusal is None else refusal
        advice = "" if refusal is None else "use a Linux container"
        return [Layer("sandbox-exec", refusal is None, held, advice), limits]
    if sys.platform != "linux":
        return [Layer("platform", False, platform.system(), "run qwen in WSL 2 (`wsl --install`)")]
    layers = probe()
    return [
        Layer(
            "namespaces",
            layers.namespaces,
            "own files, processes, network, ids" if layers.namespaces else layers.refusal,
            "" if layers.namespaces else _namespace_advice(),
        ),
        Layer(
            "Landlock",
            layers.landlock > 0,
            f"ABI {layers.landlock}" if layers.landlock else "not in this kernel, or not switched on",
            "" if layers.landlock else "a kernel from 5.13 on, with `landlock` in the boot option `lsm=`",
        ),
        Layer(
            "seccomp",
            layers.seccomp,
            "system calls from a list of what is allowed"
            if layers.seccomp
            else f"not on {platform.machine()}",
            "" if layers.seccomp else "x86_64 or aarch64, and a kernel with CONFIG_SECCOMP_FILTER",
        ),
        limits,
    ]


def _try_namespaces() -> str:
    root = str(Path(__file__).resolve().parents[2])
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _TRIAL, root],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as fault:
        return str(fault)
    return done.stdout.strip() or "the attempt ended without an answer"


def _namespace_advice() -> str:
    def setting(name: str) -> str:
        try:
            return Path("/proc/sys", name).read_text().strip()
        except OSError:
            return ""

    # The first is Ubuntu's from 23.10 on, the second Debian's and Arch's, the third every kernel's.
    if setting("kernel/apparmor_restrict_unprivileged_userns") == "1":
        return "`sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0` lets user namespaces work"
    if setting("kernel/unprivileged_userns_clone") == "0":
        return "`sudo sysctl kernel.unprivileged_userns_clone=1` lets user namespaces work"
    if setting("user/max_user_namespaces") == "0":
        return "`sudo sysctl user.max_user_namespaces=15000` lets user namespaces work"
    return (
        "in a container, start it with permission for `unshare` and `mount` (for Docker: a seccomp profile)"
    )
