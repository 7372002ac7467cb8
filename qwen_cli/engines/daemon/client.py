"""A model that a server of the same user has loaded already (`qwen serve`), as an engine like the others.

The server speaks the engine protocol on a socket that only its user can open. Nothing is loaded here, and
what it answers is what the engine behind it would have answered in this process.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import struct
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from qwen_cli.engines.core.base import Completion, Engine, EngineBase, Message, Reuse, Sampling, Stream
from qwen_cli.engines.core.options import LoadOptions
from qwen_cli.engines.daemon import paths, wire
from qwen_cli.errors import EngineError, QwenError

if TYPE_CHECKING:
    from qwen_cli.media.audio import Samples

_LOST = "the server closed the connection before the answer was complete"


def connect(
    options: LoadOptions, *, notice: Callable[[str], None] = lambda text: None
) -> DaemonEngine | None:
    """Return the model that `options` name, on the server of this user.

    `None` where none runs, or it cannot have this model: then it is to be loaded here, and what is wrong with
    it shows there.
    """
    path = paths.socket_path()
    if not (paths.HAS_SOCKETS and path.exists() and paths.is_private(path.parent)):
        return None
    body = {"version": wire.VERSION, "options": options.to_wire()}
    try:
        for answer in _lines(path, "/engine/open", body):
            if "notice" in answer:
                notice(answer["notice"])
            if "opened" in answer:
                return DaemonEngine(path, answer["opened"])
    except (QwenError, OSError, http.client.HTTPException, ValueError, KeyError):
        pass
    return None


class DaemonEngine(EngineBase):
    """A model on the server at `path`. See `protocol.Engine` for what each method promises.

    `opened` is what the server told of it.
    """

    def __init__(self, path: Path, opened: Mapping[str, Any], session: str | None = None) -> None:
        self._path = path
        self._opened = opened
        self._session = session or uuid4().hex
        self._running: _Connection | None = None
        self.name = opened["name"]
        self.model = opened["model"]
        self.capabilities = replace(
            wire.capabilities_in(opened["capabilities"]), interrupt=True, tokens=False
        )
        self.defaults = wire.sampling_in(opened["defaults"])
        self.plain_defaults = wire.sampling_in(opened["plain_defaults"])

    def chat(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        schema: Mapping[str, Any] | None = None,
        sampling: Sampling = Sampling(),
        thinking: bool | int | None = None,
        template_kwargs: Mapping[str, Any] | None = None,
    ) -> Stream:
        given = {
            "prompt": messages,
            "tools": list(tools) if tools else None,
            "schema": schema,
            "sampling": asdict(sampling),
            "thinking": thinking,
            "template_kwargs": template_kwargs,
        }
        return self._stream("chat", given)

    def complete(self, prompt: str, *, sampling: Sampling = Sampling(), reuse: Reuse = "prefix") -> Stream:
        return self._stream("complete", {"prompt": prompt, "sampling": asdict(sampling), "reuse": reuse})

    def transcribe(
        self,
        samples: Samples,
        *,
        language: str | None = None,
        context: str = "",
        sampling: Sampling = Sampling(),
    ) -> Stream:
        given = {
            "samples": wire.samples_out(samples),
            "language": language,
            "context": context,
            "sampling": asdict(sampling),
        }
        return self._stream("transcribe", given)

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        thinking: bool | int | None = None,
        template_kwargs: Mapping[str, Any] | None = None,
    ) -> str:
        given = {
            "prompt": messages,
            "tools": list(tools) if tools else None,
            "thinking": thinking,
            "template_kwargs": template_kwargs,
        }
        return wire.text_in(self._ask("render", given)["text"])

    def sample(
        self,
        prompt: str | Sequence[Message],
        n: int,
        *,
        sampling: Sampling = Sampling(),
        thinking: bool | int | None = None,
        template_kwargs: Mapping[str, Any] | None = None,
    ) -> list[Completion]:
        given = {
            "prompt": prompt,
            "n": n,
            "sampling": asdict(sampling),
            "thinking": thinking,
            "template_kwargs": template_kwargs,
        }
        return [wire.completion_in(done) for done in self._ask("sample", given)["done"]]

    def count_tokens(
        self,
        prompt: str | Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        template_kwargs: Mapping[str, Any] | None = None,
    ) -> int:
        given = {
            "prompt": prompt,
            "tools": list(tools) if tools else None,
            "template_kwargs": template_kwargs,
        }
        return int(self._ask("count_tokens", given)["tokens"])

    def lanes(self, n: int, *, warm: bool = False) -> list[Engine]:
        """Return as many connections as the server has lanes; it copies the KV caches that requests begin
        alike with by itself, `warm` or not."""
        most = min(n, self._opened["lanes"])
        return [self, *(DaemonEngine(self._path, self._opened) for _ in range(most - 1))]

    def save_state(self, path: Path) -> bool:
        return bool(self._ask("save_state", {"path": str(path.resolve())})["done"])

    def load_state(self, path: Path) -> bool:
        return bool(self._ask("load_state", {"path": str(path.resolve())})["done"])

    def interrupt(self) -> None:
        if running := self._running:
            running.abort()

    def close(self) -> None:
        self.interrupt()

    def _stream(self, what: str, given: Mapping[str, Any]) -> Stream:
        """Yield pieces as they come. Closing it closes the connection, which is how the server learns to
        stop."""
        with self._body(given) as body:
            connection = _Connection(self._path)
            self._running = connection
            try:
                ended = False
                for said in connection.lines(self._route(what), body):
                    piece = wire.piece_in(said)
                    ended = piece.usage is not None
                    yield piece
                if not ended and not connection.aborted:
                    raise EngineError(_LOST, "`qwen ps` shows whether it runs")
            except (OSError, http.client.HTTPException, ValueError) as fault:
                if not connection.aborted:
                    raise EngineError(f"{_LOST}: {fault}", "`qwen ps` shows whether it runs") from fault
            finally:
                self._running = None
                connection.close()

    def _ask(self, what: str, given: Mapping[str, Any]) -> dict[str, Any]:
        try:
            with self._body(given) as body:
                return next(_lines(self._path, self._route(what), body))
        except (OSError, http.client.HTTPException, ValueError, StopIteration) as fault:
            raise EngineError(
                f"the server did not answer: {fault}", "`qwen ps` shows whether it runs"
            ) from fault

    def _route(self, what: str) -> str:
        return f"/engine/{self._opened['id']}/{what}"

    @contextmanager
    def _body(self, given: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield what is sent; the files that it names are there until it is done with."""
        prompt = given.get("prompt", "")
        shows = not isinstance(prompt, str) and any(
            part.get("type") == "video"
            for message in prompt
            if isinstance(message.get("content"), list)
            for part in message["content"]
        )
        if not shows:
            yield {**given, "session": self._session, "prompt": wire.prompt_out(prompt, Path())}
            return
        with tempfile.TemporaryDirectory(prefix="frames-", dir=self._path.parent) as scratch:
            yield {**given, "session": self._session, "prompt": wire.prompt_out(prompt, Path(scratch))}


def request(
    path: str, body: Mapping[str, Any] | None = None, *, seconds: float | None = None
) -> dict[str, Any] | None:
    """Return what the server of this user answers to one question; `None` where none runs, or it does not
    answer within so many seconds."""
    where = paths.socket_path()
    if not (paths.HAS_SOCKETS and where.exists() and paths.is_private(where.parent)):
        return None
    try:
        return next(_lines(where, path, body or {}, seconds), None)
    except (OSError, http.client.HTTPException, ValueError):
        return None


def holder() -> int | None:
    """Return the number of the process that is the server of this user, also while it loads its first model,
    and where it no longer answers; `None` where there is none."""
    from filelock import FileLock, Timeout

    if not (paths.is_private(paths.folder()) and paths.lock_path().exists()):
        return None
    try:
        with FileLock(paths.lock_path(), timeout=0):
            return None
    except (Timeout, OSError):
        pass
    try:
        return int(paths.pid_path().read_text())
    except (OSError, ValueError):  # it has the lock, and has not said so yet
        return None


def _lines(
    path: Path, route: str, body: Mapping[str, Any], seconds: float | None = None
) -> Iterator[dict[str, Any]]:
    connection = _Connection(path, seconds)
    try:
        yield from connection.lines(route, body)
    finally:
        connection.close()


class _Connection(http.client.HTTPConnection):
    """One request over the socket."""

    def __init__(self, path: Path, seconds: float | None = None) -> None:
        super().__init__("localhost", timeout=seconds)
        self._socket_path = path
        self.aborted = False

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._socket_path))
        if not _is_mine(self.sock):
            raise OSError("the socket is another user's")

    def lines(self, route: str, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the values that are answered. Raises the error that is one of them."""
        sent = json.dumps(body, ensure_ascii=False).encode()
        self.request("POST", route, sent, {"Content-Type": "application/json"})
        answer = self.getresponse()
        while line := answer.readline():
            said = json.loads(line)
            if "error" in said:
                raise wire.fault_in(said["error"])
            yield said

    def abort(self) -> None:
        """End the answer from another thread, which waits in it."""
        self.aborted = True
        if (sock := self.sock) is not None:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:  # closed already
                return


def _is_mine(sock: socket.socket) -> bool:
    """Return whether the listening process is this user's, where the system tells."""
    if not hasattr(socket, "SO_PEERCRED"):  # macOS: the folder is this user's alone, which has to do
        return True
    _, user, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return bool(user == os.getuid())
