"""What loading leaves out of xllamacpp's defaults (docs/engines.md): each setting in processes of their own.

    python benchmarks/load_settings.py [--rounds N]

Starter model, no drafts, a prompt of 39 tokens; each process is pinned to one core (`taskset`) and its own
time is told, so that others may work beside it: seconds of the load, those from the start of the process to
the first token, and the peak of memory. Medians of runs taken in turn.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from typing import Any

from processes import median
from run_all import machine

from qwen_cli.models.hub import starter

PROMPT = "Explain in detail how a hash table works."
DEFAULTS: dict[str, Any] = {}
PLAIN = {"fit_params": False}
COLD = {**PLAIN, "warmup": False}
USED = {**COLD, "n_ctx": 16_384, "n_parallel": 8, "kv_unified": True, "n_batch": 128, "n_ubatch": 128}
SETTINGS = {
    "xllamacpp's defaults (context 32,768)": DEFAULTS,
    "`fit_params` off": PLAIN,
    "… and `warmup` off": COLD,
    "… and context 16,384": {**COLD, "n_ctx": 16_384},
    "… and context 8,192": {**COLD, "n_ctx": 8_192},
    "context 16,384, 8 slots sharing one cache, batches of 128 (what is used)": USED,
}


def main() -> None:
    flags = argparse.ArgumentParser(description="What loading leaves out, setting by setting.")
    flags.add_argument("--rounds", type=int, default=5)
    flags.add_argument("--child", help=argparse.SUPPRESS)
    given = flags.parse_args()
    path = str(starter.fetch())
    if given.child:
        print(json.dumps(measure(path, json.loads(given.child))))
        return
    found: dict[str, list[dict[str, float]]] = {name: [] for name in SETTINGS}
    for _ in range(given.rounds):
        for name, settings in SETTINGS.items():
            command = ["taskset", "-c", "0", sys.executable, __file__, "--child", json.dumps(settings)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found[name].append(json.loads(done.stdout.splitlines()[-1]))
    print(f"{machine()}; one core, medians of {given.rounds}\n")
    print("| setting | load | first token after process start | peak memory |\n|---|---|---|---|")
    for name, runs in found.items():
        load, first, peak = (median([run[kind] for run in runs]) for kind in ("load", "first", "peak"))
        print(f"| {name} | {load:.2f} s | {first:.2f} s | {peak:.0f} MB |")


def measure(path: str, settings: dict[str, Any]) -> dict[str, float]:
    """Load with `settings` and ask, in this process, which has done nothing before."""
    import resource

    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path, params.verbosity, params.n_ctx = path, -1, 32_768
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    for name, value in settings.items():
        setattr(params, name, value)
    begun = time.process_time()
    server = xllamacpp.Server(params)
    load = time.process_time() - begun
    first: list[float] = []

    def heard(chunk: dict[str, Any]) -> None:
        if any(choice["delta"].get("content") for choice in chunk.get("choices", [])):
            first.append(time.process_time())

    said = {"messages": [{"role": "user", "content": PROMPT}], "max_tokens": 2, "stream": True}
    server.handle_chat_completions(said, heard)
    return {
        "load": load,
        "first": first[0],
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
    }


if __name__ == "__main__":
    main()
