"""A stand-in for the model hubs: a real HTTP server on loopback that serves real files.

It speaks the part of the Hugging Face hub's interface and of ModelScope's that the program uses, with ranges,
and can be told to misbehave.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "a" * 40
_LARGE = (".gguf", ".safetensors")  # what the hub keeps in LFS and names by SHA-256


class Hub(ThreadingHTTPServer):
    """`root/ORG/NAME/` are the repositories. `log` holds every request as "METHOD path range"."""

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root = root
        self.log: list[str] = []
        self.gated: set[str] = set()
        self.cut_after: int | None = None  # bytes of a body after which the connection breaks, once
        self.cut_always = False
        self.flip = False  # send one wrong byte
        self.ignore_range = False
        self.range_as_200 = False  # as ModelScope does: the range is honoured, the status says 200
        self.chunk_pause = 0.0  # seconds between chunks
        self.status: int | None = None  # answer everything with this
        self.busy = 0  # requests that are answered with 429 first
        self.retry_after = "0"  # seconds that those are told to wait
        self.sizes = True  # the listing says them
        self.heads = True  # HEAD of a file says its size
        self.range_unsaid = False  # a part is sent without Content-Range
        self.packing: dict[str, str] = {}  # what files with this ending are packed as ("gzip, gzip")
        self.body: tuple[str, bytes] | None = None  # content type and content sent instead of any large file
        self.leads_to: str | None = None  # large files redirect there
        self.entry: dict[str, Any] = {}  # over the listing's entry of each large file
        self.commit = COMMIT

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def downloads(self) -> list[str]:
        return [
            line for line in self.log if line.startswith("GET") and ("resolve" in line or "FilePath" in line)
        ]

    def files(self, repo: str) -> list[Path]:
        folder = self.root / repo
        return sorted(path for path in folder.rglob("*") if path.is_file())


@contextmanager
def serving(root: Path) -> Iterator[Hub]:
    hub = Hub(root)
    thread = threading.Thread(target=hub.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub = self.server
        hub.log.append(f"{self.command} {self.path} {self.headers.get('Range', '')}".strip())
        url = urlsplit(self.path)
        if hub.status:
            self._json(hub.status, {"error": "told to"}, **{"Retry-After": hub.retry_after})
        elif hub.busy:
            hub.busy -= 1
            self._json(429, {"error": "slow down"}, **{"Retry-After": hub.retry_after})
        elif match := re.fullmatch(
            rf"/api/(models|datasets)/([^/]+/[^/]+)/revision/(main|{COMMIT})", url.path
        ):
            self._hub_listing(match[2])
        elif match := re.fullmatch(rf"/(?:datasets/)?([^/]+/[^/]+)/resolve/{COMMIT}/(.+)", url.path):
            self._file(hub.root / match[1] / unquote(match[2]))
        elif match := re.fullmatch(r"/api/v1/models/([^/]+/[^/]+)/repo/files", url.path):
            self._modelscope_listing(match[1])
        elif match := re.fullmatch(r"/api/v1/models/([^/]+/[^/]+)/repo", url.path):
            self._file(hub.root / match[1] / parse_qs(url.query)["FilePath"][0])
        elif url.path == "/":
            self._json(200, {})
        else:
            self._json(404, {"error": "no such page"})

    def _hub_listing(self, repo: str) -> None:
        if repo in self.server.gated:
            self._json(403, {"error": "gated"}, **{"X-Error-Code": "GatedRepo"})
            return
        files = self.server.files(repo)
        if not files:
            self._json(401, {"error": "Invalid username or password."})
            return
        siblings = []
        for path in files:
            content = path.read_bytes()
            entry: dict[str, Any] = {
                "rfilename": path.relative_to(self.server.root / repo).as_posix(),
                **({"size": len(content)} if self.server.sizes else {}),
                "blobId": hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest(),
            }
            if path.suffix in _LARGE:
                entry["lfs"] = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
                entry["lfs"] |= self.server.entry
                if not self.server.sizes:
                    entry.pop("lfs")
                    entry.pop("blobId")
            siblings.append(entry)
        self._json(200, {"sha": self.server.commit, "siblings": siblings})

    def _modelscope_listing(self, repo: str) -> None:
        files = self.server.files(repo)
        if not files:
            self._json(404, {"Code": 404})
            return
        listed = [
            {
                "Path": path.relative_to(self.server.root / repo).as_posix(),
                "Size": path.stat().st_size,
                "Type": "blob",
                "Sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            }
            for path in files
        ]
        self._json(200, {"Code": 200, "Data": {"Files": [*listed, {"Path": "d", "Type": "tree", "Size": 0}]}})

    def _file(self, path: Path) -> None:
        hub = self.server
        if not path.is_file():
            self._json(404, {"error": "no such file"}, **{"X-Error-Code": "EntryNotFound"})
            return
        if path.suffix in _LARGE and hub.leads_to:
            self._json(302, {}, Location=hub.leads_to)
            return
        content = bytearray(path.read_bytes())
        kind = "application/octet-stream"
        if path.suffix in _LARGE and hub.body:
            kind, sent = hub.body
            content = bytearray(sent)
        packing = next((how for ending, how in hub.packing.items() if path.name.endswith(ending)), None)
        for _ in (packing or "").split(",") if packing else ():
            content = bytearray(gzip.compress(bytes(content)))
        whole = len(content)
        if self.command == "HEAD" and not hub.heads:
            self._json(405, {})
            return
        if hub.flip:
            content[whole // 2] ^= 0xFF
        start = 0
        if (asked := self.headers.get("Range")) and not hub.ignore_range:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])  # type: ignore[index]
            if start >= whole:
                self._json(416, {})
                return
        body = bytes(content[start:])
        self.send_response(206 if start and not hub.range_as_200 else 200)
        self.send_header("Content-Type", kind)
        if packing:
            self.send_header("Content-Encoding", packing)
        if start and not hub.range_unsaid:
            self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if hub.cut_after is not None and len(body) > hub.cut_after:
            body = body[: hub.cut_after]
            if not hub.cut_always:
                hub.cut_after = None
            self.close_connection = True
        try:
            for at in range(0, len(body), 16_384):
                self.wfile.write(body[at : at + 16_384])
                if hub.chunk_pause:
                    self.wfile.flush()
                    time.sleep(hub.chunk_pause)
        except OSError:  # the client was killed
            self.close_connection = True

    def _json(self, status: int, value: Any, **headers: str) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, text in headers.items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
