"""llama.cpp in a process of its own: the user's llama-server on a port of loopback, with the methods of
`xllamacpp.Server` that `Slot` calls, so that all else is the same code.

It lives no longer than this process (`keeper`), and what it writes goes to the last lines in memory.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from qwen_cli import sanitize
from qwen_cli.engines.core.draft import CONFIDENCE
from qwen_cli.errors import EngineError, UsageError
from qwen_cli.models.planning import llama_server

if TYPE_CHECKING:
    from qwen_cli.models.planning.llama_server import LlamaServer
    from qwen_cli.models.progress import Progress

OnChunk = Callable[[dict[str, Any]], bool]

_HOST = "127.0.0.1"
_LINES, _LONGEST = 200, 500  # of the log that is kept: lines, and characters of one
_SHORT = 1.0  # seconds of a load that needs no bar
_LOOK = 0.02  # seconds between two looks at a server that loads
_EXITS = 3.0  # seconds that a killed program has to be gone
_SLOWEST = 3_600.0  # seconds that a load may take, from a network drive

# What it must take for the engine to work as in the process, whatever is asked for.
_NEEDED = ("--slot-save-path", "--jinja", "--kv-unified", "--port", "--host")
# What it need not take: builds that lack these do not do what they switch off, or do it well enough.
_OPTIONAL = frozenset({
    "--fit", "--cache-ram", "--ctx-checkpoints", "--no-ui", "--no-slots", "--threads-http",
    "--no-context-shift", "--no-warmup", "--log-colors", "--offline",
})  # fmt: skip


def arguments(params: Any, program: LlamaServer) -> list[str]:
    """Return the command line that makes `program` what the `xllamacpp.CommonParams` `params` make a server
    in the process.

    Raises `EngineError` for a program that is too old, naming what it lacks, `UsageError` where it lacks what
    was asked for.
    """
    for flag in _NEEDED:
        if not program.takes(flag):
            raise EngineError(f"{program.path} has no {flag}: it is too old for this", "update llama.cpp")
    words: list[str] = []
    for flag, value in (*_plain(params), *_drafting(params), *_scaled(params)):
        if not program.takes(flag):
            if flag in _OPTIONAL:
                continue
            raise UsageError(
                f"{program.path} has no {flag}, which this needs",
                "update llama.cpp, or take `engine=llamacpp`",
            )
        words += [flag] if value is None else [flag, str(value)]
    return words


_Flags = Iterator[tuple[str, object]]


def _plain(params: Any) -> _Flags:
    yield "--model", params.model.path
    yield "--host", _HOST
    yield "--ctx-size", params.n_ctx
    yield "--parallel", params.n_parallel
    yield "--kv-unified", None
    yield "--batch-size", params.n_batch
    yield "--ubatch-size", params.n_ubatch
    yield "--slot-save-path", params.slot_save_path
    yield "--cache-ram", params.cache_ram_mib
    yield "--ctx-checkpoints", params.n_ctx_checkpoints
    yield "--threads-http", params.n_threads_http + 1  # one more for questions while the slots answer
    yield "--fit", "on" if params.fit_params else "off"
    for flag in ("--jinja", "--no-context-shift", "--no-warmup", "--no-slots", "--offline"):
        yield flag, None
    yield "--no-ui", None
    yield "--log-colors", "off"
    if (threads := params.cpuparams.n_threads) > 0:
        yield "--threads", threads
    if params.mmproj.path:
        yield "--mmproj", params.mmproj.path
    if params.chat_template:
        yield "--chat-template", params.chat_template
    if params.tensor_buft_overrides:
        yield "--override-tensor", params.tensor_buft_overrides
    for flag, kind in (("--cache-type-k", params.cache_type_k), ("--cache-type-v", params.cache_type_v)):
        if (name := kind.name.rpartition("_TYPE_")[2].lower()) != "f16":
            yield flag, name
    if params.flash_attn_type.name.endswith("_ENABLED"):
        yield "--flash-attn", "on"
    for adapter in params.lora_adapters:
        yield "--lora", adapter.path


def _drafting(params: Any) -> _Flags:
    kinds = [kind.name.rpartition("_TYPE_")[2] for kind in params.speculative.types]
    guesses = params.speculative
    for kind in kinds:
        if kind != "NONE":
            yield "--spec-type", kind.lower().replace("_", "-")
        if kind == "NGRAM_SIMPLE":
            yield "--spec-ngram-simple-size-n", guesses.ngram_simple.size_n
            yield "--spec-ngram-simple-size-m", guesses.ngram_simple.size_m
        if kind in ("DRAFT_SIMPLE", "DRAFT_MTP"):
            yield "--spec-draft-n-max", guesses.draft.n_max
        if kind == "DRAFT_SIMPLE":
            yield "--spec-draft-model", guesses.draft.mparams.path
            yield "--spec-draft-p-min", CONFIDENCE
            if (threads := guesses.draft.cpuparams.n_threads) > 0:
                yield "--spec-draft-threads", threads


def _scaled(params: Any) -> _Flags:
    kind = params.rope_scaling_type.name.rpartition("_TYPE_")[2].lower()
    if kind != "unspecified":
        yield "--rope-scaling", kind
    if kind == "yarn":
        yield "--rope-freq-scale", params.rope_freq_scale
        yield "--yarn-orig-ctx", params.yarn_orig_ctx


class Child:
    """A llama-server that runs with `words` and asks for `key`. It is killed with the last reference.

    Raises `EngineError` with its own reason where it does not come up. `label` is the model's, `size` its
    bytes, of which `progress` is told.
    """

    def __init__(
        self,
        program: Path,
        words: Sequence[str],
        *,
        key: str,
        label: str,
        size: int = 0,
        progress: Progress | None = None,
    ) -> None:
        self._key, self._program, self._label = key, program, label
        self._log: deque[str] = deque(maxlen=_LINES)
        self._port, self._up = _free_port(), False
        keeper = Path(__file__).with_name("keeper.py")
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(keeper), str(program), *words, "--port", str(self._port)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={**llama_server.environment(), "LLAMA_API_KEY": key},
                start_new_session=True,  # Ctrl-C ends an answer, not the model
            )
        except OSError as fault:
            raise EngineError(f"{program} cannot be started: {fault.strerror}") from fault
        assert self._process.stdout is not None
        # It must not hold `self`, whose end kills the program.
        self._reader = threading.Thread(
            target=_read, args=(self._process.stdout, self._log), name="llama-server", daemon=True
        )
        self._reader.start()
        self._end = weakref.finalize(self, _end, self._process)
        try:
            self._wait_until_up(size, progress)
        except BaseException:  # Ctrl-C too
            self.close()
            raise

    @property
    def listening_address(self) -> str:
        """Return where it listens. Raises `EngineError` once it has ended."""
        self._check()
        return f"http://{_HOST}:{self._port}"

    def handle_completions(self, request: Mapping[str, Any], on_chunk: OnChunk) -> None:
        """Give `on_chunk` the chunks of an answer until it returns True, or an error as one chunk. Raises
        `EngineError` where the program ends before the answer."""
        self._post("/v1/completions", request, on_chunk)

    def handle_chat_completions(self, request: Mapping[str, Any], on_chunk: OnChunk) -> None:
        """Do the same for a turn of a conversation."""
        self._post("/v1/chat/completions", request, on_chunk)

    def close(self) -> None:
        """End it, and wait until it is gone."""
        self._end()

    def _wait_until_up(self, size: int, progress: Progress | None) -> None:
        began = time.monotonic()
        while not self._healthy():
            self._check()
            if time.monotonic() - began > _SLOWEST:
                raise EngineError(f"{self._program} did not load {self._label} within an hour")
            if progress and size and time.monotonic() - began > _SHORT:
                progress(f"loading {self._label}", min(size, _resident(self._process.pid)), size)
            time.sleep(_LOOK)
        self._up = True

    def _healthy(self) -> bool:
        """Return whether the program listens, by its own word, and answers: who else might listen there is
        sent nothing."""
        listens = re.compile(rf"listening\b.*(?::|port: ){self._port}\b")
        if not any(listens.search(line) for line in list(self._log)):
            return False
        try:
            connection = self._connection()
            try:
                connection.request("GET", "/health")
                return connection.getresponse().status == 200
            finally:
                connection.close()
        except (OSError, http.client.HTTPException):
            return False

    def _check(self) -> None:
        """Raise `EngineError` where the program has ended."""
        if (code := self._process.poll()) is None:
            return
        self._reader.join(1.0)  # its last words
        doing = "while it ran" if self._up else "while it loaded"
        reason = reason_in(self._log) or f"it ended with exit code {code}"
        raise EngineError(
            f"llama-server ended {doing} {self._label}: {reason}", _hint(reason, code, self._program)
        )

    def _connection(self, timeout: float | None = None) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(_HOST, self._port, timeout=timeout)

    def _post(self, path: str, request: Mapping[str, Any], on_chunk: OnChunk) -> None:
        self._check()
        connection = self._connection()
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
        try:
            connection.request("POST", path, json.dumps(request), headers)
            response = connection.getresponse()
            if response.status != 200 or not request.get("stream"):
                on_chunk(json.loads(response.read()))
                return
            for line in response:
                chunk = _chunk_of(line)
                if chunk == {} or (chunk and (on_chunk(chunk) or "error" in chunk)):
                    return  # the connection is closed, which stops the computation
            raise ConnectionError("the answer broke off")
        except (OSError, http.client.HTTPException, ValueError) as fault:
            with suppress(subprocess.TimeoutExpired):  # a connection breaks before the program is gone
                self._process.wait(_EXITS)
            self._check()
            raise EngineError(f"llama-server did not answer {path}: {fault}") from fault
        finally:
            connection.close()


def reason_in(lines: Sequence[str]) -> str | None:
    """Return the line of a log that says why a load failed, without what stands in front of it."""
    faults = [line for line in lines if re.search(r"(?:^| )E |error|failed|cannot|unable|invalid", line)]
    for mark in (r"error loading model: *(?=.)", r"^error: *", r"^cannot be started: *", "error", ""):
        for line in faults:
            if found := re.search(mark, line, re.IGNORECASE):
                return line[found.end() :] if ":" in mark else _without_head(line)
    rest = [line for line in lines if line.strip()]
    return _without_head(rest[-1]) if rest else None


def _without_head(line: str) -> str:
    """Return a line of the log without its time and level ("0.00.123.456 E srv  load: …")."""
    return re.sub(r"^[\d. ]*\b[EWI] ", "", line).strip()


def _hint(reason: str, code: int, program: Path) -> str:
    if code == 127 or "cannot be started" in reason:
        return f"set {llama_server.VARIABLE} to a llama-server that runs here"
    if "unknown model architecture" in reason:
        return "update llama.cpp, or take `engine=llamacpp`"
    if "alloc" in reason or "memory" in reason:
        return "choose a smaller model or quantization, or a smaller `context`"
    return f"see whether {program} is a llama-server for this machine, or take `engine=llamacpp`"


def _chunk_of(line: bytes) -> dict[str, Any] | None:
    """Return the object of a line of an event stream, an empty one for its end; `None` for pings."""
    name, _, value = line.strip().partition(b":")
    if name not in (b"data", b"error"):
        return None
    if value.strip() == b"[DONE]":
        return {}
    chunk = json.loads(value)
    return {"error": chunk} if name == b"error" and "error" not in chunk else dict(chunk)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind((_HOST, 0))
        return int(one.getsockname()[1])


def _read(pipe: IO[bytes], log: deque[str]) -> None:
    """Keep the last lines that come through `pipe`, to its end."""
    rest = b""
    while block := os.read(pipe.fileno(), 1 << 16):
        *whole, rest = (rest + block).split(b"\n")
        log.extend(sanitize.one_line(line[:_LONGEST].decode("utf-8", "replace")) for line in whole)
        rest = rest[-_LONGEST:]  # dots of progress
    if rest:
        log.append(sanitize.one_line(rest.decode("utf-8", "replace")))
    pipe.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Have the keeper kill the program, and wait for both."""
    if process.stdin:
        process.stdin.close()
    try:
        process.wait(_EXITS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _resident(keeper: int) -> int:
    """Return the bytes that the program has in memory, its file's pages too."""
    import psutil

    try:
        children = psutil.Process(keeper).children()
        return sum(int(child.memory_info().rss) for child in children)
    except psutil.Error:
        return 0
