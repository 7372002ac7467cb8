"""A batch of `qwen math` against a server, one at a time and eight at once; the peer is a plain client.

    python benchmarks/endpoint.py [--requests 24]

The server is llama.cpp's own with 8 slots, in a process of its own. The three take turns on the same
problems, each answer of the same length; requests a second are of the median round.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai

from qwen_cli.engines.core.base import Sampling
from qwen_cli.engines.remote.engine import Remote
from qwen_cli.models.hub import starter
from qwen_cli.tasks.common.jsonl import Journal
from qwen_cli.tasks.math import batch, prompts, solve

SLOTS, ROUNDS, TOKENS, KEY = 8, 3, 32, "benchmark-key"
SERVER = """
import json, sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.n_ctx, params.n_parallel = sys.argv[1], 8192, int(sys.argv[2])
params.kv_unified, params.api_keys, params.verbosity = True, [sys.argv[3]], -1
server = xllamacpp.Server(params)
print(json.dumps(server.listening_address), flush=True)
sys.stdin.read()
"""


def ours(url: str, problems: list[batch.Problem], at_once: int) -> float:
    """Seconds of a batch as `qwen math --file --mode cot` does it, journal and all."""
    way = solve.SolveOptions(mode="cot", sampling=Sampling(temperature=0, max_tokens=TOKENS))
    with (
        tempfile.TemporaryDirectory() as folder,
        Journal(Path(folder) / "out.jsonl", "qwen math") as book,
        Remote(url, api_key=KEY) as engine,
    ):
        book.begin({"model": engine.model})
        started = time.perf_counter()
        for row in batch.solve_all(engine, problems, way, at_once=at_once):
            assert "error" not in row, row
            book.add(row)
        seconds = time.perf_counter() - started
        assert len(book.rows) == len(problems)
    return seconds


def plain(url: str, problems: list[batch.Problem]) -> float:
    """Seconds of the same requests by the official client on eight threads."""
    client = openai.OpenAI(base_url=f"{url}/v1", api_key=KEY)

    def ask(problem: batch.Problem) -> str:
        messages = prompts.messages(problem.problem, "cot", "en", specialist=False)
        stream = client.chat.completions.create(
            model="m", messages=messages, temperature=0, max_tokens=TOKENS, stream=True
        )
        return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)

    started = time.perf_counter()
    with ThreadPoolExecutor(SLOTS) as threads:
        assert all(threads.map(ask, problems))
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=24)
    count = parser.parse_args().requests
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(starter.fetch()), str(SLOTS), KEY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    assert process.stdout
    url = json.loads(process.stdout.readline())
    problems = [batch.Problem(str(n), f"What is {n} plus {3 * n}? Explain.", None) for n in range(count)]
    plain(url, problems[:SLOTS])  # what all prompts begin with is in every slot
    taken: dict[str, list[float]] = {
        "one at a time": [],
        "eight at once": [],
        "plain client, eight at once": [],
    }
    for _ in range(ROUNDS):
        taken["one at a time"].append(ours(url, problems, 1))
        taken["eight at once"].append(ours(url, problems, SLOTS))
        taken["plain client, eight at once"].append(plain(url, problems))
    process.stdin.close()
    process.wait()
    for name, seconds in taken.items():
        rounds = ", ".join(f"{each:.1f}" for each in sorted(seconds))
        print(f"{name:<30}{count / statistics.median(seconds):6.2f} requests/s   ({rounds} s)")
    middle = {name: statistics.median(seconds) for name, seconds in taken.items()}
    print(f"eight against one: {middle['one at a time'] / middle['eight at once']:.2f} times as many")
    print(f"against the plain client: {middle['plain client, eight at once'] / middle['eight at once']:.2f}")


if __name__ == "__main__":
    main()
