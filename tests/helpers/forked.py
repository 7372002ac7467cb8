"""The program in a process of its own, forked from one that has imported what takes seconds.

To import torch and transformers is four fifths of what a short `qwen vision` computes. Only they are imported
before: the package, its settings and its globals are new in each process, and it ends as any other does.
"""

from __future__ import annotations

import contextlib
import json
import os
import runpy
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

_SERVER = "import forked, sys; forked.serve(int(sys.argv[1]))"
_LIMIT = 300  # seconds of one run


class Forks:
    """The process that others are forked from. Close it."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(_LIMIT)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _SERVER, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
            )

    def run(self, *arguments: str, stdin: bytes, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """Run `qwen` with these arguments in the working folder of this process."""
        with contextlib.ExitStack() as files:
            streams = [files.enter_context(tempfile.TemporaryFile()) for _ in range(3)]
            streams[0].write(stdin)
            for stream in streams:
                stream.seek(0)
            request = json.dumps({"arguments": arguments, "env": env, "folder": str(Path.cwd())}).encode()
            with tempfile.TemporaryFile() as asked:
                asked.write(request)
                asked.seek(0)
                socket.send_fds(self._socket, [b"?"], [asked.fileno(), *(one.fileno() for one in streams)])
            code = int(self._socket.recv(16))
            told = []
            for stream in streams[1:]:
                stream.seek(0)
                told.append(stream.read().decode())
        return subprocess.CompletedProcess(["qwen", *arguments], code, *told)

    def close(self) -> None:
        self._socket.close()
        self._process.wait(timeout=30)


def serve(number: int) -> None:
    """Fork a process for each request of the socket `number` (a descriptor), and tell its exit code."""
    import transformers.models.qwen2.modeling_qwen2
    import transformers.models.qwen2_5_vl.modeling_qwen2_5_vl
    import transformers.models.qwen2_5_vl.processing_qwen2_5_vl
    import transformers.models.qwen2_vl.image_processing_qwen2_vl
    import transformers.models.qwen2_vl.video_processing_qwen2_vl  # noqa: F401

    with socket.socket(fileno=number) as asking:
        while True:
            _, files, _, _ = socket.recv_fds(asking, 1, 4)
            if not files:
                return
            child = os.fork()
            if child:
                for file in files:
                    os.close(file)
                _, status = os.waitpid(child, 0)
                asking.send(str(os.waitstatus_to_exitcode(status)).encode())
                continue
            with os.fdopen(files[0], "rb") as content:
                request = json.loads(content.read())
            for standard, file in enumerate(files[1:]):
                os.dup2(file, standard)
                os.close(file)
            break
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.path[0] = ""  # as `python -m` has it
    sys.argv[1:] = request["arguments"]
    runpy.run_module("qwen_cli", run_name="__main__", alter_sys=True)
