"""Requests to llama.cpp's server, in the process or the user's own (`child`): which stream into one of its
slots, and what only its listener offers."""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from qwen_cli.engines.llamacpp import requests
from qwen_cli.engines.llamacpp.pool import Claim, Pool
from qwen_cli.errors import EngineError, QwenError, RequestRefused

# How long a cancelled stream waits for llama.cpp to stop. A decode step takes less; a prefill batch may take
# longer, and then it ends in the background and the next request waits for it.
_CANCEL_SECONDS = 0.5

# What the prompt of a request is made of.
_RENDERED = ("messages", "tools", "chat_template_kwargs", "continue_final_message", "add_generation_prompt")


_PREFIX = "llamacpp:"  # of its counters


def _is_last(chunk: Mapping[str, Any]) -> bool:
    return not chunk["choices"] or bool(chunk["choices"][0]["finish_reason"])


def _cut(timings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the last chunk of an answer that had to end where llama.cpp would have gone on."""
    return {"choices": [{"index": 0, "delta": {}, "text": "", "finish_reason": "length"}], "timings": timings}


def ask(
    server: Any, key: str, method: str, path: str, body: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return what the listener of a `server` with `key` answers. Raises `EngineError`, and the error that the
    answer tells of."""
    import http.client  # 15 ms, not needed for a first token

    host, port = server.listening_address.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port))
    try:
        headers = {"Authorization": f"Bearer {key}"}
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        response = connection.getresponse()
        answer: dict[str, Any] = json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise EngineError(f"llama.cpp did not answer {path}: {error}") from error
    finally:
        connection.close()
    if response.status != 200:
        raise requests.fault(answer["error"])
    return answer


def _closed() -> EngineError:
    return EngineError("the engine is closed", "load the model again")


class Slot:
    """Slot `number` of `server`, an `xllamacpp.Server` or `child.Child` whose listener wants `key`. One
    stream at a time.

    `folder` is where the server looks for KV caches; nobody else may look into it. `pool` is the room that
    all slots share.
    """

    def __init__(self, server: Any, key: str, number: int, folder: Path, pool: Pool) -> None:
        self.server: Any = server
        self.number = number
        self.pool = pool
        self.key = key
        self._folder = folder
        self._worker: threading.Thread | None = None
        self._starting = threading.Lock()  # of the worker: nobody waits for one that has not begun
        self._shut = False
        self._cancelled = threading.Event()

    def another(self, number: int) -> Slot:
        """Return another slot of the same server."""
        return Slot(self.server, self.key, number, self._folder, self.pool)

    @property
    def used(self) -> bool:
        """Return whether a stream has ever begun here."""
        return self._worker is not None

    @property
    def busy(self) -> bool:
        """Return whether a computation runs, that of a closed stream too."""
        return self._worker is not None and self._worker.is_alive()

    def stream(
        self, handler: str, request: Mapping[str, Any]
    ) -> Generator[tuple[float, dict[str, Any]], None, None]:
        """Yield the chunks of llama.cpp's answer with the moment each came; closing it cancels the
        computation.

        It begins when there is room for it beside what other slots compute. Where its room ends before the
        answer does, the last chunk is as of one whose context is full. Raises `ContextFull`, `EngineError`.

        The call into llama.cpp blocks, so it has a thread of its own. Its callback stops the computation by
        returning True: after the running decode step, or the running prefill batch.
        """
        self.wait()
        if self._shut:
            raise _closed()
        chunks: SimpleQueue[tuple[float, dict[str, Any]] | Exception | None] = SimpleQueue()
        cancelled = self._cancelled = threading.Event()
        pool = self.pool
        claim = Claim(lambda: self.count(request), request.get("max_tokens"), request.get("n", 1))
        lease = pool.take(self.number, claim, cancelled, lambda slot: self.another(slot).erase())
        if lease is None:
            return
        timings: dict[str, Any] = {}

        def on_chunk(chunk: dict[str, Any]) -> bool:
            chunks.put((time.perf_counter(), chunk))
            progress = chunk.get("prompt_progress")
            if progress and claim.answers == 1:
                pool.settle(lease, progress["total"])
            timings.update(chunk.get("timings") or {})
            if pool.grows(claim) and "timings" in chunk and not _is_last(chunk):
                return not pool.grow(lease, timings["predicted_n"]) or cancelled.is_set()
            return cancelled.is_set()

        server = self.server
        counted = request.get("timings_per_token", False) or pool.grows(claim)
        sent = {**request, "id_slot": self.number, "timings_per_token": counted}

        def work() -> None:
            try:
                getattr(server, handler)(sent, on_chunk)
                if lease.full and not cancelled.is_set():
                    chunks.put((time.perf_counter(), _cut(timings)))
            except Exception as error:  # carried to the caller's thread
                chunks.put(error)
            finally:
                pool.give_back(lease, timings.get("predicted_n") if claim.answers == 1 else None)
            chunks.put(None)

        try:
            worker = self._begin(work)
        except (EngineError, RuntimeError):  # nobody else would give the room back
            pool.give_back(lease)
            raise
        try:
            while (item := chunks.get()) is not None:
                if isinstance(item, QwenError):
                    raise item
                if isinstance(item, Exception):
                    raise RequestRefused(requests.refusal(str(item))) from item
                if "error" in item[1]:
                    raise requests.fault(item[1]["error"])
                yield item
        finally:
            cancelled.set()
            worker.join(_CANCEL_SECONDS)

    def _begin(self, work: Callable[[], None]) -> threading.Thread:
        """Run `work` in a thread. Raises `EngineError` once the slot is shut, `RuntimeError` where no thread
        is to be had."""
        worker = threading.Thread(target=work, name="llama.cpp", daemon=True)
        with self._starting:
            if self._shut:
                raise _closed()
            worker.start()
            self._worker = worker
        return worker

    def cancel(self) -> None:
        """End the running stream, from any thread."""
        self._cancelled.set()
        self.pool.wake()

    def shut(self) -> None:
        """Begin nothing more, and end the running stream, from any thread."""
        with self._starting:
            self._shut = True
        self.cancel()

    def wait(self, seconds: float | None = None) -> None:
        """Wait for the end of a cancelled computation: one stream at a time uses the slot."""
        with self._starting:
            worker = self._worker
        if worker is not None:
            worker.join(seconds)

    def save(self, path: Path) -> int:
        """Write the KV cache into the empty file `path`: how many tokens it holds.

        Raises `EngineError` where not all of it could be written: llama.cpp does not notice that closing the
        file failed, and says how much it was to be.
        """
        try:
            done = self._act("save", path)
        except EngineError as error:
            raise EngineError(
                f"the KV cache could not be written to {path.parent}: {error.message}", "make room there"
            ) from error
        there = path.stat().st_size
        if done["n_saved"] and there != done["n_written"]:
            raise EngineError(
                f"{there:,} of {done['n_written']:,} bytes of the KV cache could be written to {path.parent}",
                "make room there",
            )
        return int(done["n_saved"])

    def restore(self, path: Path) -> int:
        """Take the KV cache from `path`, which must be whole: llama.cpp ends the process over one that is cut
        off. How many tokens it holds. Raises `EngineError` where there is no room for it."""
        held = int(self._act("restore", path)["n_restored"])
        self.pool.hold(self.number, held)
        return held

    def copy_to(self, others: Iterable[Slot]) -> None:
        """Give `others` a copy of the KV cache. Raises `EngineError` where memory or disk have no room."""
        try:
            handle, name = tempfile.mkstemp(dir=self._folder)  # for this user alone
        except OSError as error:
            raise EngineError(f"no file can be made in {self._folder}: {error.strerror}") from error
        os.close(handle)
        try:
            if self.save(Path(name)):
                for other in others:
                    other.restore(Path(name))
        finally:
            Path(name).unlink()

    def erase(self) -> None:
        """Forget the KV cache."""
        self.wait()
        self.http("POST", f"/slots/{self.number}?action=erase", {})

    def count(self, request: Mapping[str, Any]) -> int:
        """Count the tokens of the prompt of a request."""
        if "messages" in request:
            sent = {key: request[key] for key in _RENDERED if key in request}
            return int(self.http("POST", "/chat/completions/input_tokens", sent)["input_tokens"])
        if isinstance(request["prompt"], list):  # tokens already
            return len(request["prompt"])
        body = {"content": request["prompt"], "add_special": True, "parse_special": True}
        return len(self.http("POST", "/tokenize", body)["tokens"])

    def counters(self) -> dict[str, float]:
        """Return what llama.cpp has counted, under its names without their prefix."""
        if (server := self.server) is None:
            return {}
        told = server.handle_metrics()
        lines = (told.decode() if isinstance(told, bytes) else str(told)).splitlines()
        values = [line.removeprefix(_PREFIX).split(" ") for line in lines if line.startswith(_PREFIX)]
        return {name: float(value) for name, value in values if "{" not in name}

    def _act(self, action: str, path: Path) -> dict[str, Any]:
        """Save or restore (the `action`) the KV cache of this slot, in `path`: the server takes only names of
        a folder, but follows links."""
        self.wait()
        link = self._folder / f"slot-{self.number}"
        link.unlink(missing_ok=True)
        link.symlink_to(path.resolve())
        try:
            return self.http("POST", f"/slots/{self.number}?action={action}", {"filename": link.name})
        finally:
            link.unlink(missing_ok=True)

    def http(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Request what only llama.cpp's listener offers: tokenizing, properties, slots. Raises
        `EngineError`."""
        if (server := self.server) is None:
            raise _closed()
        return ask(server, self.key, method, path, body)
