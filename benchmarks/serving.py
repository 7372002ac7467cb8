"""Servers for the benchmarks beside this file: ours, and llama.cpp's own."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from qwen_cli.models.hub import starter

CONTEXT = 16_384

# One for all: making one reads certificates, which takes longer than a first token.
CLIENT = httpx.Client(limits=httpx.Limits(max_connections=64))

# llama.cpp's server with eight slots, as its wheel starts it; `fit_params` only makes its start slower. Where
# the benchmark is pinned to fewer cores it gets as many threads as there are cores, as ours does.
_PEER = """
import json, os, sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.n_ctx, params.n_parallel = sys.argv[1], int(sys.argv[2]), 8
params.api_keys, params.verbosity, params.fit_params = [sys.argv[3]], -1, False
params.kv_unified = True
allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
if allowed < os.cpu_count():
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = allowed
server = xllamacpp.Server(params)
print(json.dumps(server.listening_address), flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True)
class Served:
    """An address, its key, the process, what commands need to find it, and what it has written."""

    url: str
    key: str
    pid: int
    environ: dict[str, str]
    log: Path = Path(os.devnull)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}


@contextmanager
def ours(*flags: str, model: str = "starter") -> Iterator[Served]:
    """`qwen serve`, ready."""
    runtime = tempfile.mkdtemp(prefix="qs-")
    log = Path(runtime) / "log"
    key = secrets.token_hex(8)
    environ = {**os.environ, "XDG_RUNTIME_DIR": runtime, "QWEN_SERVE_KEY": key}
    words = ["serve", model, "--port", "0", "--context", str(CONTEXT), *flags]
    with log.open("wb") as written:
        process = subprocess.Popen([sys.executable, "-m", "qwen_cli", *words], stderr=written, env=environ)
    try:
        while "serving at " not in (said := log.read_text()):
            assert process.poll() is None, f"the server did not start: {said}"
            time.sleep(0.05)
        url = said.partition("serving at ")[2].split()[0].removesuffix("/v1")
        yield Served(url, key, process.pid, environ, log)
    finally:
        process.terminate()
        process.wait(60)
        shutil.rmtree(runtime, ignore_errors=True)


@contextmanager
def llamacpp() -> Iterator[Served]:
    """llama.cpp's own server in a process of its own, with eight slots."""
    key = secrets.token_hex(8)
    process = subprocess.Popen(
        [sys.executable, "-c", _PEER, str(starter.fetch()), str(CONTEXT), key],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        yield Served(json.loads(process.stdout.readline()), key, process.pid, dict(os.environ))
    finally:
        assert process.stdin
        process.stdin.close()
        process.wait(60)


def streamed(server: Served, question: str, tokens: int) -> tuple[float, int]:
    """Ask once; seconds to the first token, and how many came."""
    body = {
        "model": "starter",
        "messages": [{"role": "user", "content": question}],
        "temperature": 0,
        "max_tokens": tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    began, first, came = time.perf_counter(), 0.0, 0
    url = f"{server.url}/v1/chat/completions"
    with CLIENT.stream("POST", url, json=body, headers=server.headers, timeout=600) as answer:
        assert answer.status_code == 200, answer.read()
        for line in answer.iter_lines():
            if not line.startswith("data: {"):
                continue
            chunk = json.loads(line[6:])
            if chunk["choices"] and chunk["choices"][0]["delta"].get("content"):
                first = first or time.perf_counter() - began
            if chunk.get("usage"):
                came = chunk["usage"]["completion_tokens"]
    return first, came


def resident_bytes(pid: int) -> int:
    """Memory of a process that is not shared with a file."""
    import psutil

    used = psutil.Process(pid).memory_info()
    return int(used.rss - getattr(used, "shared", 0))
