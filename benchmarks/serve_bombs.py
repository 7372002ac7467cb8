"""What tries to stop `qwen serve`, among honest traffic: schemas, bodies, heads, pictures, choices, floods.

    python benchmarks/serve_bombs.py [--rules] [WORD…]     # bombs whose names hold one of the words; else all

The server has a small model of random weights that sees, and is asked by honest clients for the starter: a
short chat twice a second, `/health` fifty times. A row tells of each bomb what became of it, how long that
took, the honest requests beside it, `/health` in ms (median, p99, longest), and the memory of the server.

`--rules`: an engine that answers by rules stands for both models, so that all but llama.cpp is tried.

Must hold: every honest request is answered (one that is turned away for a full queue asks again, as clients
do), p99 of `/health` below 250 ms, memory back to within 100 MB of what it was, no more than 1 MB of log.
"""

from __future__ import annotations

import base64
import gzip
import http.client
import io
import json
import multiprocessing
import os
import signal
import socket
import statistics
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
from serving import Served, ours, resident_bytes

HEALTH, MEMORY, LOG = 0.250, 100e6, 1 << 20
PROBES = 100  # of `/health` beside each bomb, at least
PATIENCE = 60.0  # seconds for an honest client to be answered
LONGEST = 30.0  # seconds for a bomb; what it holds is let go then
HELLO = [{"role": "user", "content": "Say yes."}]
CHAT = "/v1/chat/completions"


@dataclass
class Target:
    """The server as a bomb sees it. `seeing` is the name of its model that sees, `web` the address of a
    picture that never comes."""

    server: Served
    seeing: str
    web: str
    held: list[socket.socket] = field(default_factory=list)

    @property
    def place(self) -> tuple[str, int]:
        host, port = self.server.url.removeprefix("http://").split(":")
        return host, int(port)

    def connect(self, seconds: float = LONGEST) -> socket.socket:
        made = socket.create_connection(self.place, timeout=seconds)
        self.held.append(made)
        return made

    def let_go(self) -> None:
        while self.held:
            self.held.pop().close()

    def head(self, path: str, *lines: str, method: str = "POST") -> bytes:
        """The beginning of a request with the key."""
        key = f"Authorization: Bearer {self.server.key}"
        return "\r\n".join((f"{method} {path} HTTP/1.1", "Host: localhost", key, *lines, "", "")).encode()

    def post(self, path: str, body: Any, seconds: float = LONGEST, **headers: str) -> str:
        """The status and the beginning of the answer, or what became of it."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection = http.client.HTTPConnection(*self.place, timeout=seconds)
        try:
            connection.request("POST", path, data, {**self.server.headers, **headers})
            answer = connection.getresponse()
            text = answer.read(1 << 16).decode("utf-8", "replace")
            with suppress(ValueError, KeyError, TypeError):
                text = json.loads(text)["error"]["message"]
            return f"{answer.status} {text}"
        except TimeoutError:
            return f"left after {seconds:g} s"
        except (OSError, http.client.HTTPException) as fault:
            return f"closed ({type(fault).__name__})"
        finally:
            connection.close()

    def many(self, path: str, bodies: Sequence[Any], at_once: int, seconds: float = LONGEST) -> str:
        """How often each status came."""
        with ThreadPoolExecutor(at_once) as clients:
            answers = list(clients.map(lambda body: self.post(path, body, seconds), bodies))
        counted = Counter(answer.partition(" ")[0] for answer in answers)
        return ", ".join(f"{count} × {what}" for what, count in counted.most_common())


Bomb = Callable[[Target], str]
BOMBS: dict[str, Bomb] = {}


def bomb(name: str) -> Callable[[Bomb], Bomb]:
    def known(function: Bomb) -> Bomb:
        BOMBS[name] = function
        return function

    return known


def structured(target: Target, *schemas: Any, **more: Any) -> str:
    answers = []
    for schema in schemas:
        form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
        body = {"model": "starter", "messages": HELLO, "max_tokens": 4, "response_format": form, **more}
        answers.append(target.post(CHAT, body)[:60])
    return "; ".join(answers)


def doubling(depth: int) -> dict[str, Any]:
    """A schema of 2^depth ways."""
    parts = {f"a{n}": {"anyOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(depth)}
    return {"$ref": "#/$defs/a0", "$defs": {**parts, f"a{depth}": {"type": "string"}}}


def nested(depth: int) -> Any:
    schema: Any = {"type": "string"}
    for _ in range(depth):
        schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
    return schema


BOMBS |= {
    "schema: enum of 2,000 values": lambda t: structured(t, {"enum": [f"value {n}" for n in range(2_000)]}),
    "schema: enum of 20,000 values": lambda t: structured(t, {"enum": [f"value {n}" for n in range(20_000)]}),
    "schema: three enums of 9,000 long values": lambda t: structured(
        t, *[{"enum": [f"{n} {k} " * 200 for n in range(9_000)]} for k in range(3)]
    ),
    "schema: nested 30 deep": lambda t: structured(t, nested(30)),
    "schema: refers to itself": lambda t: structured(
        t, {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, {"items": {"$ref": "#"}}
    ),
    "schema: 2^30 ways": lambda t: structured(t, doubling(30)),
    "schema: patterns that backtrack": lambda t: structured(
        t,
        *[{"type": "string", "pattern": p} for p in ("^(a+)+$", "^(a|a)*$", "(x+x+)+y", "^(([a-z])+.)+$")],
    ),
    "schema: patterns of a million states": lambda t: structured(
        t,
        *[{"type": "string", "pattern": p} for p in ("^(a{1000}){1000}$", "^[a-z]{1000000}$", "(.?){9999}")],
    ),
    "schema: minItems of 10^9": lambda t: structured(
        t, *[{"type": "array", name: 10**9} for name in ("minItems", "maxItems")]
    ),
    "schema: lengths of 10^9": lambda t: structured(
        t, *[{"type": "string", name: 10**9} for name in ("minLength", "maxLength")]
    ),
    "schema: 4,000 properties": lambda t: structured(
        t, {"properties": {f"p{n}": {"type": "string"} for n in range(4_000)}, "minProperties": 3_999}
    ),
    "schema: multiples and bounds": lambda t: structured(
        t,
        {"type": "integer", "minimum": 1, "maximum": 10**14, "multipleOf": 7919},
        {"type": "number", "multipleOf": 1e-300},
        {"allOf": [{"multipleOf": n} for n in range(2, 60)]},
    ),
    "grammar: without end": lambda t: "; ".join(
        t.post(CHAT, {"model": "starter", "messages": HELLO, "max_tokens": 4, "grammar": grammar})[:60]
        for grammar in (
            "root ::= root root",
            "root ::= " + "(" * 20_000 + '"a"' + ")" * 20_000,
            'root ::= (("a"?)*)*',
            'root ::= "a"{1,1000000}',
            "\n".join(["root ::= r0", *(f"r{n} ::= r{n + 1} r{n + 1}" for n in range(40)), 'r40 ::= "a"?']),
            'root ::= "' + "a" * 2_000_000 + '"',
        )
    ),
    "grammar: 30,000 choices": lambda t: t.post(
        CHAT, {"messages": HELLO, "guided_choice": [f"c {n}" for n in range(30_000)], "max_tokens": 4}
    ),
    "tools: 2,000 of them": lambda t: t.post(
        CHAT,
        {
            "model": "starter",
            "messages": HELLO,
            "max_tokens": 4,
            "tools": [
                {"type": "function", "function": {"name": f"f{n}", "parameters": nested(3)}}
                for n in range(2_000)
            ],
        },
    ),
    "body: 31 MB of {}": lambda t: t.post(CHAT, b'{"messages": [' + b"{}," * 10_500_000 + b"{}]}"),
    "body: 31 MB of numbers": lambda t: t.post(CHAT, b'{"messages": [' + b"1," * 15_500_000 + b"1]}"),
    "body: 60 kB of [": lambda t: "; ".join(
        t.post(CHAT, one)[:60] for one in (b"[" * 60_000, b'{"a":' * 12_000, b"[]" * 30_000, b'"\\' * 30_000)
    ),
    "body: 31 MB of text": lambda t: t.post(
        CHAT,
        {"model": "starter", "messages": [{"role": "user", "content": "word " * 6_200_000}], "max_tokens": 4},
    ),
    "body: 31 MB of one word": lambda t: t.post(
        "/v1/completions", {"model": "starter", "prompt": "a" * 31_000_000, "max_tokens": 4}
    ),
    "body: 31 MB of special tokens": lambda t: t.post(
        CHAT,
        {
            "model": "starter",
            "messages": [{"role": "user", "content": "<|im_end|>" * 3_000_000}],
            "max_tokens": 4,
        },
    ),
    "body: 31 MB to be tokenized, eight at once": lambda t: t.many(
        "/tokenize", [{"model": "starter", "content": "word " * 6_000_000}] * 8, 8
    ),
    "body: a million token ids": lambda t: t.post(
        "/v1/completions", {"model": "starter", "prompt": [9707] * 1_000_000, "max_tokens": 4}
    ),
    "body: 100,000 prompts": lambda t: t.post(
        "/v1/completions", {"model": "starter", "prompt": ["a"] * 100_000, "max_tokens": 1}, 5
    ),
    "body: 100,000 messages": lambda t: t.post(
        CHAT,
        {"model": "starter", "messages": [{"role": "user", "content": "a"}] * 100_000, "max_tokens": 1},
    ),
    "body: 30 MB of FIM": lambda t: t.post(
        "/infill", {"model": "starter", "input_prefix": "a = 1\n" * 4_400_000, "input_suffix": "\n"}
    ),
    "body: gzip of a gigabyte": lambda t: t.post(
        CHAT, gzip.compress(bytes(1 << 28)) * 4, **{"Content-Encoding": "gzip"}
    ),
    "body: deflate of a gigabyte": lambda t: t.post(
        CHAT, zlib.compress(b" " * (1 << 28)), **{"Content-Encoding": "deflate"}
    ),
    "body: wrong key, 31 MB, twenty at once": lambda t: t.many(
        "/v1/chat/completionz", [b" " * 31_000_000] * 20, 20
    ),
    "stop: 50,000 strings": lambda t: t.post(
        CHAT,
        {"model": "starter", "messages": HELLO, "max_tokens": 8, "stop": [f"s{n}" for n in range(50_000)]},
    ),
    "stop: one of 10 MB": lambda t: t.post(
        CHAT, {"model": "starter", "messages": HELLO, "max_tokens": 8, "stop": ["a" * 10_000_000]}
    ),
    "logit_bias: 150,000 entries": lambda t: t.post(
        CHAT,
        {
            "model": "starter",
            "messages": HELLO,
            "max_tokens": 4,
            "logit_bias": {str(n): 1 for n in range(150_000)},
        },
    ),
    "prompt: longer than the context, twenty at once": lambda t: t.many(
        "/v1/completions", [{"model": "starter", "prompt": "one two " * 20_000, "max_tokens": 4}] * 20, 20
    ),
    "n: 73 to 128 choices, streamed": lambda t: t.many(
        CHAT,
        [
            {"model": "starter", "messages": HELLO, "max_tokens": 1, "n": n, "stream": True}
            for n in (73, 100, 128)
        ],
        1,
    ),
    "models: 700 requests for one that is not there": lambda t: t.many(
        CHAT, [{"model": "x" * 1000 + str(n), "messages": HELLO} for n in range(700)], 100
    ),
}


def png(wide: int, high: int) -> bytes:
    """A white picture: a few kB for what is 32 MB of pixels."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None
    written = io.BytesIO()
    Image.new("1", (wide, high)).save(written, "PNG")
    return written.getvalue()


def looking(model: str, *urls: str, **more: Any) -> dict[str, Any]:
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    content = [*parts, {"type": "text", "text": "What is it?"}]
    return {
        "model": model,
        "messages": [{"role": "user", "content": content}],
        "max_tokens": 2,
        "temperature": 0,
        **more,
    }


def inline(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


BOMBS |= {
    "picture: 30 MB of base64, for a model that sees none": lambda t: t.post(
        CHAT, looking("starter", inline(bytes(22_000_000)))
    ),
    "picture: 30 MB of base64 that is none": lambda t: t.post(
        CHAT, looking(t.seeing, inline(bytes(22_000_000)))
    ),
    "picture: 30,000 by 30,000": lambda t: t.post(CHAT, looking(t.seeing, inline(png(30_000, 30_000)))),
    "picture: a hundred, together within the limits": lambda t: t.post(
        CHAT, looking(t.seeing, *[inline(png(1_500, 1_500))] * 100)
    ),
    "picture: twenty of 13,000 by 13,000": lambda t: t.post(
        CHAT, looking(t.seeing, *[inline(png(13_000, 13_000))] * 20)
    ),
    "picture: 540 requests, n: 2, one that never comes": lambda t: t.many(
        CHAT, [looking(t.seeing, t.web, n=2)] * 540, 540, 10
    ),
    "picture: 540 streams, n: 2, one that never comes": lambda t: t.many(
        CHAT, [looking(t.seeing, t.web, n=2, stream=True)] * 540, 540, 10
    ),
}


@bomb("body: chunks without end, fifty at once")
def endless(target: Target) -> str:
    return dripped(target, target.head(CHAT, "Transfer-Encoding: chunked"), b"1\r\n \r\n", 50, 8)


@bomb("body: chunks without end, without a key")
def endless_unkeyed(target: Target) -> str:
    head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    return dripped(target, head, b"1\r\n \r\n", 50, 8)


@bomb("body: a gigabyte, without a key")
def long_unkeyed(target: Target) -> str:
    one = target.connect()
    one.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\n")
    return f"closed after {pushed(one, bytes(1 << 20), 1000):,} bytes"


@bomb("head: without end")
def long_head(target: Target) -> str:
    one = target.connect()
    one.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: ")
    return f"closed after {pushed(one, b'a' * 100_000, 1000):,} bytes"


@bomb("head: half a million headers")
def many_headers(target: Target) -> str:
    one = target.connect()
    one.sendall(b"GET /health HTTP/1.1\r\n")
    return f"closed after {pushed(one, b'a: b' + chr(13).encode() + chr(10).encode(), 500_000):,} bytes"


@bomb("head: slow-loris, 300 at once")
def loris(target: Target) -> str:
    return dripped(target, b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: ", b"a", 300, 8)


@bomb("connection: 900 half open")
def half_open(target: Target) -> str:
    for _ in range(900):
        target.connect()
    time.sleep(5)
    return f"{sum(map(is_open, target.held))} open after 5 s"


@bomb("connection: more than the server may open")
def all_files(target: Target) -> str:
    process = psutil.Process(target.server.pid)
    before = process.rlimit(psutil.RLIMIT_NOFILE)
    process.rlimit(psutil.RLIMIT_NOFILE, (200, before[1]))
    try:
        for _ in range(400):
            target.connect()
        time.sleep(8)
        return f"{sum(map(is_open, target.held))} open after 8 s, {process.num_fds()} files"
    finally:
        process.rlimit(psutil.RLIMIT_NOFILE, before)


@bomb("connection: 30,000 pipelined requests, not read")
def pipelined(target: Target) -> str:
    one = target.connect(8)
    return f"took {pushed(one, target.head('/v1/models', method='GET') * 100, 300):,} bytes"


@bomb("connection: WebSocket upgrades")
def upgrades(target: Target) -> str:
    lines = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: x", "Sec-WebSocket-Version: 13")
    return said(target, *[target.head("/health", *lines, method="GET")] * 200)


@bomb("connection: lengths that are wrong")
def lengths(target: Target) -> str:
    heads = (
        target.head(CHAT, "Content-Length: -1"),
        target.head(CHAT, "Content-Length: 5", "Content-Length: 6") + b"{}   ",
        target.head(CHAT, "Content-Length: 99999999999999999999999"),
        target.head(CHAT, "Content-Length: 5", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
        target.head(CHAT, "Content-Length: 2") + b"{}" + bytes(100),
        target.head(CHAT, "Transfer-Encoding: chunked") + b"ffffffffffffffffff\r\n",
        target.head(CHAT, "Expect: 100-continue", "Content-Length: 100"),
    )
    return said(target, *heads)


@bomb("connection: TLS, HTTP/2 and other bytes")
def other_bytes(target: Target) -> str:
    hello = bytes.fromhex("16030100a5010000a10303") + os.urandom(160)
    http2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    return said(target, *[hello, http2, b"SSH-2.0-x\r\n", bytes(1000), b"GET /health\r\n\r\n"] * 20)


@bomb("clients: 200 leave at every stage")
def leaving(target: Target) -> str:
    body = json.dumps({"model": "starter", "messages": HELLO, "max_tokens": 2000, "stream": True}).encode()
    whole = target.head(CHAT, f"Content-Length: {len(body)}") + body
    for at in range(200):
        with suppress(OSError), target.connect() as one:
            one.sendall(whole[: 1 + len(whole) * (at % 20) // 10])
            if at % 20 > 10:
                one.recv(100 * (at % 3))
    return "left"


@bomb("clients: fifty do not read their streams")
def not_reading(target: Target) -> str:
    body = json.dumps({"model": "starter", "messages": HELLO, "max_tokens": 40, "stream": True}).encode()
    for _ in range(50):
        target.connect().sendall(target.head(CHAT, f"Content-Length: {len(body)}") + body)
    time.sleep(15)
    return "not read for 15 s"


@bomb("clients: 400 ask at once, among them much nonsense")
def flood(target: Target) -> str:
    bodies: list[Any] = [{"model": "starter", "messages": HELLO, "max_tokens": 1}] * 40
    return target.many(CHAT, [*bodies, *[b"\x00", b"[", {"messages": 7}, {"prompt": {}}] * 90], 100)


@bomb("log: 3,000 requests that are wrong in every way")
def logged(target: Target) -> str:
    wrong = [b"{", {"messages": [{"role": "x"}]}, {"model": "\x1b[2J", "messages": HELLO}]
    return target.many(CHAT, wrong * 1_000, 20)


def dripped(target: Target, head: bytes, drip: bytes, connections: int, seconds: float) -> str:
    """What became of connections that get a drop twice a second."""
    made = [target.connect() for _ in range(connections)]
    for one in made:
        one.sendall(head)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for one in made:
            with suppress(OSError):
                one.sendall(drip)
        time.sleep(0.5)
    return f"{sum(map(is_open, made))} open after {seconds:g} s"


def is_open(one: socket.socket) -> bool:
    """Whether the other side has not closed."""
    try:
        one.setblocking(False)
        return one.recv(1, socket.MSG_PEEK) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def pushed(one: socket.socket, data: bytes, times: int) -> int:
    """The bytes that were taken before the other side closed, or takes no more."""
    taken = 0
    with suppress(OSError):
        for _ in range(times):
            one.sendall(data)
            taken += len(data)
    return taken


def said(target: Target, *sent: bytes) -> str:
    """How often each first line came."""
    counted: Counter[str] = Counter()
    for data in sent:
        with target.connect(3) as one:
            try:
                one.sendall(data)
                counted[one.recv(200).partition(b"\r\n")[0].decode("latin-1") or "closed"] += 1
            except TimeoutError:
                counted["nothing in 3 s"] += 1
            except OSError:
                counted["closed"] += 1
    return ", ".join(f"{count} × {what}" for what, count in counted.most_common())


@dataclass(frozen=True)
class Honest:
    """An honest request: when it was begun (seconds of the clock), how long it took, and what went wrong."""

    kind: str
    began: float
    seconds: float
    fault: str = ""


def honest(url: str, key: str, kind: str, every: float, told: Any) -> None:
    """Ask for ever, in a process of its own, and tell how it went."""
    host, port = url.removeprefix("http://").split(":")
    headers = {"Authorization": f"Bearer {key}", "User-Agent": "honest"}
    body = json.dumps({"model": "starter", "messages": HELLO, "max_tokens": 2, "temperature": 0})
    parent = os.getppid()
    while os.getppid() == parent:
        began, clock, fault = time.time(), time.monotonic(), "not answered"
        while time.monotonic() - clock < PATIENCE:
            connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE)
            try:
                if kind == "health":
                    connection.request("GET", "/health")
                else:
                    connection.request("POST", CHAT, body, headers)
                answer = connection.getresponse()
                answer.read()
                if answer.status == 429:
                    time.sleep(min(2.0, float(answer.headers["retry-after"])))
                    continue
                fault = "" if answer.status == 200 else str(answer.status)
            except OSError as error:
                fault = f"{type(error).__name__}: {error}"
            finally:
                connection.close()
            break
        told.put(Honest(kind, began, time.monotonic() - clock, fault))
        time.sleep(every)


class Watch:
    """Hears of the honest clients."""

    def __init__(self, server: Served) -> None:
        context = multiprocessing.get_context("spawn")
        self._told = context.Queue()
        self._clients = [
            context.Process(
                target=honest, args=(server.url, server.key, kind, every, self._told), daemon=True
            )
            for kind, every in (("health", 0.02), ("chat", 0.5), ("chat", 0.5))
        ]
        self.heard: list[Honest] = []
        for client in self._clients:
            client.start()

    def close(self) -> None:
        for client in self._clients:
            client.terminate()

    def since(self, began: float) -> list[Honest]:
        """What was asked since `began` and has been answered, once there is enough of it."""
        late = time.monotonic() + 2 * PATIENCE
        while time.monotonic() < late:
            with suppress(Exception):
                while True:
                    self.heard.append(self._told.get(timeout=0.2))
                    if self._told.empty():
                        break
            mine = [one for one in self.heard if one.began + one.seconds >= began]
            kinds = Counter(one.kind for one in mine)
            if kinds["health"] >= PROBES and kinds["chat"] >= 2:
                return mine
        return [one for one in self.heard if one.began + one.seconds >= began]


class NeverComes:
    """A web server that takes requests and does not answer."""

    def __init__(self) -> None:
        going = self._going = threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                going.wait(60)

            def log_message(self, *anything: Any) -> None: ...

        class Server(ThreadingHTTPServer):
            request_queue_size = 600
            daemon_threads = True

            def handle_error(self, *anything: Any) -> None: ...

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/x.png"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._going.set()
        self._server.shutdown()


@contextmanager
def attacked(*, rules: bool) -> Iterator[Target]:
    """A server with a small model that sees."""
    sys.path[:0] = [str(Path(__file__).parents[1] / "tests" / "helpers"), str(Path(__file__).parents[1])]
    from qwen_cli import paths

    web = NeverComes()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as folder:
        if rules:
            import rules_engine

            os.environ |= rules_engine.install(Path(folder))
            model, flags = "starter", ["--engine", rules_engine.NAME]
        else:
            import seeing_gguf

            starter = paths.data_folder() / "models" / "starter-safetensors"
            model, flags = str(seeing_gguf.make(Path(folder), starter)[0]), ["--context", "4096"]
        with ours("--allow-local-urls", *flags, model=model) as server:
            yield Target(server, model, web.url)
    web.close()


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the server ends too
    words = [word for word in sys.argv[1:] if word != "--rules"]
    chosen = {name: one for name, one in BOMBS.items() if not words or any(word in name for word in words)}
    failed: list[str] = []
    health: list[float] = []
    with attacked(rules="--rules" in sys.argv) as target:
        watch = Watch(target.server)
        watch.since(time.time())  # the starter is loaded
        for name, one in {"nothing": lambda t: "", **chosen}.items():
            wrong, probes = row(name, one, target, watch)
            health += probes
            failed += wrong
        watch.close()
    p99 = statistics.quantiles(health, n=100)[98]
    print(f"\n{len(chosen)} bombs; /health over all: p99 {1e3 * p99:.0f} ms (bar < {1e3 * HEALTH:.0f} ms)")
    print("\n".join(failed) or "all held")
    raise SystemExit(1 if failed or p99 >= HEALTH else 0)


def row(name: str, one: Bomb, target: Target, watch: Watch) -> tuple[list[str], list[float]]:
    """Throw a bomb and print how it went; what did not hold, and how long `/health` took beside it."""
    memory, log, began = resident_bytes(target.server.pid), target.server.log.stat().st_size, time.time()
    try:
        became = one(target)
    except OSError as fault:
        became = f"{type(fault).__name__}: {fault}"
    took = time.time() - began
    beside = watch.since(began)
    target.let_go()
    grown = settled(target.server.pid, memory)
    written = target.server.log.stat().st_size - log
    probes = [asked.seconds for asked in beside if asked.kind == "health"]
    chats = [asked for asked in beside if asked.kind == "chat"]
    p99 = statistics.quantiles(probes, n=100)[98] if len(probes) > 1 else PATIENCE
    faults = [f"{name}: {asked.kind} was not answered ({asked.fault})" for asked in beside if asked.fault]
    if len(probes) < PROBES or len(chats) < 2:
        faults.append(f"{name}: {len(probes)} + {len(chats)} honest requests were answered")
    if p99 >= HEALTH:
        faults.append(f"{name}: p99 of /health {1e3 * p99:.0f} ms")
    if grown > MEMORY:
        faults.append(f"{name}: {grown / 1e6:+.0f} MB of memory")
    if written > LOG:
        faults.append(f"{name}: {written:,} bytes of log")
    ms = " / ".join(
        f"{1e3 * value:.0f}" for value in (statistics.median(probes or [0]), p99, max(probes or [0]))
    )
    print(
        f"{'  ' if not faults else '! '}{name:55} {took:5.1f} s  health {ms} ms  chats {len(chats)},"
        f" longest {max((c.seconds for c in chats), default=0):.1f} s  {grown / 1e6:+.0f} MB,"
        f" log {written:,}  | {' '.join(became.split())[:160]}",
        flush=True,
    )
    return faults, probes


def settled(pid: int, before: int) -> int:
    """Bytes more than `before` that the server still has, once it has had some time."""
    late = time.monotonic() + 12
    while (grown := resident_bytes(pid) - before) > MEMORY / 2 and time.monotonic() < late:
        time.sleep(0.5)
    return grown


if __name__ == "__main__":
    main()
