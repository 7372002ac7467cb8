"""Run a program that ends when its starter does, however that ends: `python -I -S keeper.py COMMAND…`.

Standard input is a pipe whose other end the starter alone holds: when that is closed, by the system at the
latest, the program is killed. Should this process be killed, Linux kills the program. Run as a file, so that
it begins in a few milliseconds; nothing of this package is imported.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading

_PDEATHSIG = 1  # PR_SET_PDEATHSIG of linux/prctl.h


def _end_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL)


def main() -> int:
    """Return the exit code of the program."""
    try:
        child = subprocess.Popen(
            sys.argv[1:],
            stdin=subprocess.DEVNULL,
            # This process has no other thread yet.
            preexec_fn=_end_with_parent if os.name == "posix" else None,
        )
    except OSError as fault:
        print(f"cannot be started: {fault.strerror}", file=sys.stderr, flush=True)
        return 127

    def watch() -> None:
        while os.read(0, 4096):
            pass
        child.kill()

    threading.Thread(target=watch, daemon=True).start()
    code = child.wait()
    return 128 - code if code < 0 else code


if __name__ == "__main__":
    os._exit(main())  # the thread may be reading
