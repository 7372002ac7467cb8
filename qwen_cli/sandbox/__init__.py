"""Containment of model-written Python.

    with Sandbox(Limits(wall_seconds=5)) as box:
        box.run("from sympy import *; x = symbols('x')")
        print(box.run("solve(x**2 - 2)").value)        # [-sqrt(2), sqrt(2)]

One solution is one `Sandbox`: names stay from run to run. `warm()` starts the shared parent process ahead of
time, so that nobody waits for it. What is promised and what is not: docs/sandbox.md.
"""

from __future__ import annotations

from qwen_cli.errors import SandboxError
from qwen_cli.sandbox.forkserver_client import warm
from qwen_cli.sandbox.result import Limits, Outcome, Status
from qwen_cli.sandbox.sandbox import Sandbox

__all__ = ["Limits", "Outcome", "Sandbox", "SandboxError", "Status", "warm"]
