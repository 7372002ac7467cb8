"""Minutes of mixed load on `qwen serve`: clients that drop half-way, that read slowly, that send nonsense.

    python benchmarks/serve_load.py [MINUTES]

Must hold: no crash, no leak over 50 MB, every well-formed request of a client that waits is answered.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable

import httpx
from serving import Served, ours, resident_bytes, streamed

CLIENTS = 8
WORDS = ["river", "stone", "lantern", "harbour", "orchard", "winter", "copper", "signal", "meadow", "anchor"]
LEAK = 50e6
SETTLING = 0.25  # of the time, until caches and pools have their size


def main() -> None:
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    with ours("--max-body", "1", "--parallel", "4") as server:
        counted: Counter[str] = Counter()
        lost: list[str] = []
        until = time.monotonic() + minutes * 60
        threads = [
            threading.Thread(target=client, args=(server, until, random.Random(seed), counted, lost))
            for seed in range(CLIENTS)
        ]
        for thread in threads:
            thread.start()
        time.sleep(minutes * 60 * SETTLING)
        settled = resident_bytes(server.pid)
        for thread in threads:
            thread.join()
        time.sleep(2)
        grown = resident_bytes(server.pid) - settled
        alive = httpx.get(f"{server.url}/health").status_code == 200
        text = httpx.get(f"{server.url}/metrics", headers=server.headers).text
    print(f"{minutes:g} minutes: " + ", ".join(f"{count} {what}" for what, count in sorted(counted.items())))
    print(f"alive: {alive}; memory after settling: {grown / 1e6:+.1f} MB (bar ≤ +50 MB)")
    idle = 'qwen_running{model="starter"} 0.0' in text
    print(f"computed for nobody at the end: {'nothing' if idle else 'something'}")
    print(
        f"well-formed requests that were not answered: {len(lost)}"
        + "".join(f"\n  {one}" for one in lost[:5])
    )
    if lost or not alive or grown > LEAK:
        raise SystemExit(1)


def client(
    server: Served, until: float, chance: random.Random, counted: Counter[str], lost: list[str]
) -> None:
    """One client, doing this and that."""
    doings: list[Callable[[Served, random.Random], None]] = [
        whole,
        stream,
        stream,
        drop,
        drop,
        slow,
        nonsense,
        oversize,
        infill,
        several,
    ]
    while time.monotonic() < until:
        doing = chance.choice(doings)
        try:
            doing(server, chance)
            counted[doing.__name__] += 1
        except Exception as fault:  # whatever it is: it is told
            lost.append(f"{doing.__name__}: {type(fault).__name__} {str(fault)[:200]}")


def question(chance: random.Random) -> str:
    return "Write about " + " ".join(chance.choice(WORDS) for _ in range(chance.randint(3, 60)))


def post(server: Served, path: str, body: object, status: int = 200) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    while True:
        answer = httpx.post(f"{server.url}{path}", content=content, headers=server.headers, timeout=600)
        if answer.status_code != 429:
            break
        time.sleep(int(answer.headers["retry-after"]))
    assert answer.status_code == status, f"{answer.status_code} {answer.text[:200]}"
    return answer


def whole(server: Served, chance: random.Random) -> None:
    body = {"messages": [{"role": "user", "content": question(chance)}], "max_tokens": chance.randint(1, 40)}
    assert post(server, "/v1/chat/completions", body).json()["choices"][0]["finish_reason"]


def several(server: Served, chance: random.Random) -> None:
    body = {"prompt": question(chance), "n": 3, "max_tokens": 8, "temperature": 1}
    assert len(post(server, "/v1/completions", body).json()["choices"]) == 3


def stream(server: Served, chance: random.Random) -> None:
    assert streamed(server, question(chance), chance.randint(1, 60))[1] > 0


def drop(server: Served, chance: random.Random) -> None:
    body = {"prompt": question(chance), "max_tokens": 2000, "stream": True}
    with httpx.stream(
        "POST", f"{server.url}/v1/completions", json=body, headers=server.headers, timeout=600
    ) as answer:
        for _, _line in zip(range(chance.randint(0, 12)), answer.iter_lines(), strict=False):
            continue


def slow(server: Served, chance: random.Random) -> None:
    body = {"prompt": question(chance), "max_tokens": 40, "stream": True}
    last = ""
    with httpx.stream(
        "POST", f"{server.url}/v1/completions", json=body, headers=server.headers, timeout=600
    ) as answer:
        for line in answer.iter_lines():
            last = line or last
            time.sleep(0.05)
    assert last == "data: [DONE]", last


def infill(server: Served, chance: random.Random) -> None:
    name = chance.choice(WORDS)
    body = {"input_prefix": f"def {name}(a, b):\n", "input_suffix": "\n", "prompt": "    ", "n_predict": 24}
    assert "content" in post(server, "/infill", body).json()


def nonsense(server: Served, chance: random.Random) -> None:
    content = chance.choice([b"{", b"[]", b"\x00\xff", b'{"messages": 7}', b"[" * 5000, b'{"prompt": {}}'])
    post(server, "/v1/chat/completions", content, 400)


def oversize(server: Served, chance: random.Random) -> None:
    post(server, "/v1/completions", b" " * 1_200_000, 413)


if __name__ == "__main__":
    main()
