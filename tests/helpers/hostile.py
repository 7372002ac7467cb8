"""What somebody hostile may hand to the program as a file, and the program run on it, timed and weighed."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import pkgutil
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import ordinary

SECONDS = float(
    os.environ.get("QWEN_HOSTILE_SECONDS", "20")
)  # until a run is ended, on a machine that does other things too

# What takes long to import, or is a program.
_LEFT_OUT = {"__main__", "transformers", "llamacpp", "sandbox", "compute", "reward_network"}


@dataclass(frozen=True)
class Ended:
    """How a run ended. `code` is negative for a signal, `None` where it had to be ended after `SECONDS`;
    `memory` is the most that it or a child of its had in use, in bytes."""

    code: int | None
    out: str
    err: str
    seconds: float
    memory: int


# Kinds of file: each makes `path`, or returns another to be used in its place.

Maker = Callable[[Path], Path | None]


def _written(data: bytes) -> Maker:
    def make(path: Path) -> None:
        path.write_bytes(data)

    return make


def _folder(path: Path) -> None:
    path.mkdir()


def _loop(path: Path) -> None:
    path.symlink_to(path)


def _dangling(path: Path) -> None:
    path.symlink_to(path.with_name("is not there"))


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


def _closed(path: Path) -> None:
    path.write_text("text\n")
    path.chmod(0)


def _below_a_file(path: Path) -> Path:
    path.write_text("text\n")
    return path / "below"


def _named(name: bytes | str) -> Maker:
    """A file whose name is hostile and whose content is damaged for all readers."""

    def make(path: Path) -> Path:
        named = path.with_name(os.fsdecode(name) + path.suffix)
        named.write_bytes(b"\xff\xfe\x00 no format at all \x1b[31m")
        return named

    return make


def _elsewhere(path: str) -> Maker:
    return lambda _: Path(path)


def _nested(opening: bytes, depth: int = 100_000) -> Maker:
    return _written(opening * depth)


KINDS: dict[str, Maker] = {
    "fifo": lambda path: os.mkfifo(path),
    "socket": _socket,
    "folder": _folder,
    "link to itself": _loop,
    "dangling link": _dangling,
    "below a file": _below_a_file,
    "no permission": _closed,
    "sparse terabyte": _sparse,
    "/dev/zero": _elsewhere("/dev/zero"),
    "/dev/tty": _elsewhere("/dev/tty"),
    "/proc/self/mem": _elsewhere("/proc/self/mem"),
    "/proc/kmsg": _elsewhere("/proc/kmsg"),
    "/proc/self/fd": _elsewhere("/proc/self/fd/0"),
    "long name": lambda path: path.with_name("n" * 300 + path.suffix),
    "long path": lambda path: path.parent.joinpath(*["d" * 200] * 25, path.name),
    "empty": _written(b""),
    "zeros": _written(bytes(5000)),
    "noise": _written(bytes((i * i * 7 + i // 3) % 256 for i in range(5000))),
    "utf-16": _written("qu'il ñ [1, 2]\n".encode("utf-16") * 40),
    "latin-1": _written("caf\xe9 = 1\n".encode("latin-1")),
    "escapes": _written(b"\x1b]0;owned\x07\x1b[2J\x9b31m \xe2\x80\xae" * 30),
    "nested lists": _nested(b"["),
    "nested objects": _nested(b'{"a":'),
    "nested quotes": _written(b'{"a": "' + b'\\"' * 50_000),
    "big number": _written(b"1" * 100_000),
    "big text": _written(b"a = 1\n" * (40 << 20 // 6)),
    "one line": _written(b"x" * (30 << 20)),
    "json of the wrong shape": _written(b'[null, 1e999, {"": [[], {}]}, "\\ud800", NaN]'),
    "json null": _written(b"null"),
    "lone surrogate": _written(b'{"a": "\\ud83d", "messages": "\\ud83d", "name": "\\udc00"}'),
    "deep toml": _written(b"a" + b".a" * 20_000 + b" = 1\n"),
    "name with a newline": _named("a\nqwen: done"),
    "name with escapes": _named("a\x1b]0;owned\x07\x1b[2J\x9b"),
    "name that is no utf-8": _named(b"a\xff\xfe"),
    "name that turns round": _named("a\u202egpj\u200b\U000e0041"),
    "name like a flag": _named("--yes"),
}


class Programs:
    """Runs the program, forked from a process that has imported the libraries it stands on. Close it."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    "import hostile, sys; hostile.serve(int(sys.argv[1]))",
                    str(theirs.fileno()),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
                start_new_session=True,  # without a terminal
            )

    def run(
        self, *arguments: str, folder: Path, env: Mapping[str, str], stdin: bytes = b"", user: bool = False
    ) -> Ended:
        """Run `qwen` in `folder`; as an ordinary user if `user`, where the tests are run by root."""
        with contextlib.ExitStack() as files:
            streams = [files.enter_context(tempfile.TemporaryFile()) for _ in range(3)]
            streams[0].write(stdin)
            streams[0].seek(0)
            words = [os.fsencode(word).hex() for word in arguments]
            request = {"words": words, "env": dict(env), "folder": str(folder), "user": user}
            with tempfile.TemporaryFile() as asked:
                asked.write(json.dumps(request).encode())
                asked.seek(0)
                socket.send_fds(self._socket, [b"?"], [asked.fileno(), *(s.fileno() for s in streams)])
            code, seconds, memory = json.loads(self._socket.recv(200))
            texts = []
            for stream in streams[1:]:
                stream.seek(0)
                texts.append(stream.read().decode(errors="surrogateescape"))
        return Ended(code, texts[0], texts[1], seconds, memory)

    def close(self) -> None:
        self._socket.close()
        self._process.wait(timeout=30)


def serve(number: int) -> None:
    """Fork a process for each request of the socket `number` (a descriptor), and tell how it ended."""
    import openai  # noqa: F401
    import PIL.Image

    import qwen_cli

    PIL.Image.init()
    for module in pkgutil.walk_packages(qwen_cli.__path__, "qwen_cli."):
        if not set(module.name.split(".")) & _LEFT_OUT:
            importlib.import_module(module.name)
    with socket.socket(fileno=number) as asking:
        while True:
            _, files, _, _ = socket.recv_fds(asking, 1, 4)
            if not files:
                return
            begun = time.monotonic()
            child = os.fork()
            if not child:
                asking.close()
                _become(files)
                break
            for file in files:
                os.close(file)
            asking.send(json.dumps(_awaited(child, begun)).encode())


def _awaited(child: int, begun: float) -> tuple[int | None, float, int]:
    handle = os.pidfd_open(child)
    ended = select.select([handle], [], [], SECONDS)[0]
    os.close(handle)
    if not ended:
        os.killpg(child, signal.SIGKILL)
    _, status, used = os.wait4(child, 0)
    code = os.waitstatus_to_exitcode(status) if ended else None
    return code, time.monotonic() - begun, used.ru_maxrss * 1024


def _become(files: Sequence[int]) -> None:
    os.setpgid(0, 0)
    with os.fdopen(files[0], "rb") as content:
        request = json.loads(content.read())
    for standard, file in enumerate(files[1:]):
        os.dup2(file, standard)
        os.close(file)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # More than any run may take: the machine is not to suffer from one that does.
    resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
    os.environ.clear()
    os.environ.update(request["env"])
    if request["user"] and os.geteuid() == 0:
        ordinary.check(ordinary.LIBC.unshare(ordinary.NEWNS), "unshare")
        ordinary.mount("none", "/", None, ordinary.REC | ordinary.PRIVATE)
        ordinary.lay_open([Path(sys.base_prefix), Path(sys.prefix), Path(__file__).parents[2]])
        os.setgroups([])
        os.setresgid(ordinary.SPARE, ordinary.SPARE, ordinary.SPARE)
        os.setresuid(ordinary.SPARE, ordinary.SPARE, ordinary.SPARE)
    os.chdir(request["folder"])
    sys.argv = ["qwen", *(os.fsdecode(bytes.fromhex(word)) for word in request["words"])]
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
    from qwen_cli.commands.main import main

    try:
        main()
    except SystemExit as leaving:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(leaving.code if isinstance(leaving.code, int) else 1)  # to free all modules takes longest


@contextlib.contextmanager
def answering() -> Iterator[str]:
    """A server that answers "Hi" to all that is asked; yields its address."""
    listening = ThreadingHTTPServer(("127.0.0.1", 0), _Answer)
    threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.server_port}/v1"
    finally:
        listening.shutdown()
        listening.server_close()


class _Answer(BaseHTTPRequestHandler):
    def log_message(self, *args: object) -> None: ...

    def do_GET(self) -> None:
        card = {"id": "Qwen/Qwen2.5-VL-7B-Instruct", "object": "model", "created": 1, "owned_by": "vllm"}
        found = self.path == "/v1/models"
        self._write(200 if found else 404, "application/json", json.dumps({"data": [card]} if found else {}))

    def do_POST(self) -> None:
        left = int(self.headers["Content-Length"])
        head = b""
        while left:
            piece = self.rfile.read(min(left, 1 << 20))
            head, left = head or piece, left - len(piece)
        base = {"id": "x", "created": 1, "model": "m", "object": "chat.completion.chunk"}
        said, last = ("text", "") if "completions" in self.path and "chat" not in self.path else ("delta", {})
        hi: dict[str, Any] = {"index": 0, said: "Hi" if said == "text" else {"content": "Hi"}}
        choices = [hi, {"index": 0, said: last, "finish_reason": "stop"}]
        usage = {"prompt_tokens": 20, "completion_tokens": 7, "total_tokens": 27}
        chunks = [
            *({**base, "choices": [choice]} for choice in choices),
            {**base, "choices": [], "usage": usage},
        ]
        told = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
        self._write(200, "text/event-stream", told)

    def _write(self, status: int, kind: str, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())
