"""`qwen serve` against llama.cpp's own server and against the bare engine, on the starter model.

    python benchmarks/serve.py [throughput] [first] [warm]

Throughput: eight clients at once, streams, both servers running and asked in turn. First token: what HTTP and
the queue add to the engine's own, the prompt in the cache. Warm: `qwen chat "hi"` with a server, and without.
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ThreadPoolExecutor

from processes import QWEN, alternate, median, report
from serving import CONTEXT, Served, llamacpp, ours, streamed

CLIENTS = 8
TOKENS = 64
ROUNDS = 5
QUESTIONS = [
    "Explain in detail how a hash table works.",
    "Write a Python function that sorts a list by merging.",
    "Tell a long story about a lighthouse keeper.",
    "List and explain ten rules of good design.",
    "How does a bicycle stay upright? Explain in detail.",
    "Describe the water cycle step by step.",
    "Write a letter to a friend about a journey by train.",
    "What happens when a computer starts? Explain each step.",
]


def main() -> None:
    parts = sys.argv[1:] or ["throughput", "first", "warm"]
    if "throughput" in parts:
        throughput()
    if "first" in parts:
        first_token()
    if "warm" in parts:
        warm()


def throughput() -> None:
    with ours("--parallel", str(CLIENTS)) as mine, llamacpp() as peer:
        _together(mine)
        _together(peer)
        pairs = [(_together(mine), _together(peer)) for _ in range(ROUNDS)]
    speeds = [median([pair[side] for pair in pairs]) for side in (0, 1)]
    report(f"throughput, {CLIENTS} clients", *speeds, "tok/s", "≥ 0.97")


def first_token() -> None:
    """Each alone: another model in memory would disturb the caches of the processor."""
    from qwen_cli.engines.core.base import Sampling
    from qwen_cli.engines.load import load

    question = [{"role": "user", "content": QUESTIONS[0]}]
    with load("starter", context=CONTEXT) as engine:
        times = []
        for _ in range(21):
            began = time.perf_counter()
            stream = engine.chat(question, sampling=Sampling(temperature=0, max_tokens=2))
            next(stream)
            times.append(time.perf_counter() - began)
            list(stream)
    own = median(times[1:])
    with ours() as server:
        through = median([streamed(server, QUESTIONS[0], 2)[0] for _ in range(21)][1:])
    print(
        f"first token, warm: engine {own * 1e3:.1f} ms, through the server {through * 1e3:.1f} ms,"
        f" {(through - own) * 1e3:+.1f} ms (bar ≤ +15 ms)"
    )


def warm() -> None:
    import os

    asked = [*QWEN, "chat", "hi", "--model", "starter", "--temperature", "0", "--max-tokens", "4"]
    with ours() as server:
        os.environ |= server.environ
        mine, cold = alternate(asked, [*asked, "--no-server"], ROUNDS)
    times = [median([run.first for run in runs]) for runs in (mine, cold)]
    report('first token of `qwen chat "hi"`, warm against cold', *times, "s", "≤ 0.33")


def _together(server: Served) -> float:
    """Tokens a second of all clients together."""
    began = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as clients:
        came = clients.map(lambda question: streamed(server, question, TOKENS)[1], QUESTIONS)
        return sum(came) / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
