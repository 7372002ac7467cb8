"""The warmed process: imports what calculations need once, then forks a contained copy for each request.

Started by `template` with an empty environment and one thread: it must stay the only one, because a fork
copies no other.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys

from qwen_cli.sandbox import confine, namespaces, privileges, runner, supervisor
from qwen_cli.sandbox.result import Limits

# Before the first request, and then, while nobody asks, what fewer programs need.
_FIRST = (
    "mpmath",
    "sympy",
    "numpy",
    "fractions",
    "decimal",
    "itertools",
    "collections",
    "statistics",
    "random",
)
# What runs for the first time imports more, and fills caches.
_EXERCISES = (
    "import sympy; x = sympy.Symbol('x'); sympy.solve(x**2 - 2); sympy.integrate(x * sympy.sin(x), x)",
    "import sympy; x = sympy.Symbol('x'); sympy.simplify(sympy.sin(x)**2); sympy.factorint(91)",
    "import numpy; numpy.linalg.solve(numpy.eye(2), numpy.ones(2)); numpy.roots([1, 0, -1])",
)
_LATER = (
    "scipy.special",
    "scipy.linalg",
    "scipy.optimize",
    "scipy.integrate",
    "scipy.stats",
    "matplotlib.font_manager",
    "matplotlib.pyplot",
)


def main(control_fd: int, search_path: list[str]) -> None:
    """Serve requests until the caller closes its end of `control_fd`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.path[:] = search_path
    why_not = namespaces.why_not()
    privileges.hide()
    runner.sweep(supervisor.PREFIX, privileges.SPARE_IDS if os.geteuid() == 0 else range(0))
    gc.disable()
    control = socket.socket(fileno=control_fd)
    for name in _FIRST:
        _warm(f"import {name}")
    readable = confine.readable_paths(search_path)
    waiting = [*_EXERCISES, *(f"import {name}" for name in _LATER)]
    while True:
        if waiting and not select.select([control], [], [], 0)[0]:
            _warm(waiting.pop(0))
            continue
        message, fds, _, _ = socket.recv_fds(control, 65_536, 3)
        if not message:
            return
        request = json.loads(message)
        while waiting and request["everything"]:
            _warm(waiting.pop(0))
        _fork(control, fds, request, readable, why_not)
        _reap()


def _warm(step: str) -> None:
    try:
        exec(step, {})  # noqa: S102 - one of ours
    except Exception:
        return  # not installed, or broken: code that imports it will be told
    finally:
        gc.collect()
        gc.freeze()  # a collection in a fork would touch, and so copy, every page


def _fork(control: socket.socket, fds: list[int], request: dict, readable: list, why_not: str | None) -> None:
    child = os.fork()
    if child:
        for fd in fds:
            os.close(fd)
        return
    try:
        control.close()
        own = socket.socket(fileno=fds[0])
        without = set(request["without"])
        supervisor.supervise(
            own,
            fds[1],
            fds[2],
            Limits(**request["limits"]),
            readable,
            why_not is None and "namespaces" not in without,
            without,
        )
    finally:
        os._exit(0)


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
    except ChildProcessError:
        return
