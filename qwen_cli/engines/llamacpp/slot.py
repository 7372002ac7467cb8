"""The talk with llama.cpp's server in the process: requests that stream into one of its slots, and what only
its listener offers."""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from collections.abc import Generator, Iterable, Mapping
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from qwen_cli.engines.llamacpp import requests
from qwen_cli.errors import EngineError, RequestRefused

# How long a cancelled stream waits for llama.cpp to stop. A decode step takes less; a prefill batch may take
# longer, and then it ends in the background and the next request waits for it.
_CANCEL_SECONDS = 0.5


class Slot:
    """Slot `number` of `server`, an `xllamacpp.Server` whose listener wants `key`. One stream at a time.

    `folder` is where the server looks for KV caches; nobody else may look into it.
    """

    def __init__(self, server: Any, key: str, number: int, folder: Path) -> None:
        self.server: Any = server
        self.number = number
        self._key = key
        self._folder = folder
        self._worker: threading.Thread | None = None
        self._cancelled = threading.Event()

    def another(self, number: int) -> Slot:
        """Another slot of the same server."""
        return Slot(self.server, self._key, number, self._folder)

    @property
    def used(self) -> bool:
        """Whether a stream has ever begun here."""
        return self._worker is not None

    @property
    def busy(self) -> bool:
        """Whether a computation runs, that of a closed stream too."""
        return self._worker is not None and self._worker.is_alive()

    def stream(
        self, handler: str, request: Mapping[str, Any]
    ) -> Generator[tuple[float, dict[str, Any]], None, None]:
        """Chunks of llama.cpp's answer with the moment each came; closing it cancels the computation.

        The call into llama.cpp blocks, so it has a thread of its own. Its callback stops the computation by
        returning True: after the running decode step, or the running prefill batch.
        """
        self.wait()
        chunks: SimpleQueue[tuple[float, dict[str, Any]] | Exception | None] = SimpleQueue()
        cancelled = self._cancelled = threading.Event()

        def on_chunk(chunk: dict[str, Any]) -> bool:
            chunks.put((time.perf_counter(), chunk))
            return cancelled.is_set()

        server = self.server

        def work() -> None:
            try:
                getattr(server, handler)({**request, "id_slot": self.number}, on_chunk)
            except Exception as error:  # carried to the caller's thread
                chunks.put(error)
            chunks.put(None)

        self._worker = threading.Thread(target=work, name="llama.cpp", daemon=True)
        self._worker.start()
        try:
            while (item := chunks.get()) is not None:
                if isinstance(item, Exception):
                    raise RequestRefused(requests.refusal(str(item))) from item
                if "error" in item[1]:
                    raise requests.fault(item[1]["error"])
                yield item
        finally:
            cancelled.set()
            self._worker.join(_CANCEL_SECONDS)

    def cancel(self) -> None:
        """End the running stream, from any thread."""
        self._cancelled.set()

    def wait(self, seconds: float | None = None) -> None:
        """Wait for the end of a cancelled computation: one stream at a time uses the slot."""
        if self._worker is not None:
            self._worker.join(seconds)

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
        return int(self._act("restore", path)["n_restored"])

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

    def _act(self, action: str, path: Path) -> dict[str, Any]:
        """ "save" or "restore" the KV cache of this slot, in `path`: the server takes only names of a folder,
        but follows links."""
        self.wait()
        link = self._folder / f"slot-{self.number}"
        link.unlink(missing_ok=True)
        link.symlink_to(path.resolve())
        try:
            return self.http("POST", f"/slots/{self.number}?action={action}", {"filename": link.name})
        finally:
            link.unlink(missing_ok=True)

    def http(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What only llama.cpp's listener offers: tokenizing, properties, slots. Raises `EngineError`."""
        import http.client  # 15 ms, not needed for a first token

        host, port = self.server.listening_address.removeprefix("http://").split(":")
        connection = http.client.HTTPConnection(host, int(port))
        try:
            headers = {"Authorization": f"Bearer {self._key}"}
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
