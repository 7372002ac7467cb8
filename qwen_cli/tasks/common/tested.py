"""Programs with tests in them, run in the sandbox and nowhere else."""

from __future__ import annotations

import secrets


def failure(program: str, seconds: float) -> str | None:
    """Return why `program`, a model's with its tests, fails within `seconds`; `None` where it passes. Raises
    `SandboxError` on a machine that cannot contain programs."""
    from qwen_cli.sandbox import Limits, Sandbox

    # Its last expression is a word the program cannot know: one that leaves early has not passed.
    word = secrets.token_hex(8)
    with Sandbox(Limits(wall_seconds=seconds)) as sandbox:
        outcome = sandbox.run(f"{program}\n{word!r}\n")
    if outcome.status == "ok" and outcome.value == repr(word):
        return None
    return outcome.error or ("it left before its tests" if outcome.status == "ok" else outcome.status)
