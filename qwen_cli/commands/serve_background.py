"""`qwen serve --daemon`: the same command once more, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from qwen_cli.commands.opening import say
from qwen_cli.errors import EngineError, QwenError

_POLL = 0.1  # seconds


def begin() -> None:
    """Start this very command in a process of its own, and wait until it serves."""
    from qwen_cli.engines import runtime, warm

    if (running := warm.asked("/engine/status")) is not None:
        raise EngineError(f"a server of yours runs already at {running['address']}", "`qwen stop` ends it")
    runtime.made()
    words = [word for word in sys.argv[1:] if word != "--daemon"]
    with os.fdopen(os.open(runtime.log_path(), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "qwen_cli", *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        while process.poll() is None:
            if (running := warm.asked("/engine/status")) is not None and running["pid"] == process.pid:
                say(f"serving at {running['address']}/v1, log in {runtime.log_path()}")
                if runtime.key_path().exists():
                    say(f"key in {runtime.key_path()}")
                return
            time.sleep(_POLL)
    except KeyboardInterrupt:
        process.terminate()
        raise
    said = runtime.log_path().read_text(errors="replace").strip().splitlines()
    raise QwenError((said[-1] if said else "it ended").removeprefix("qwen: ").rstrip("."))
