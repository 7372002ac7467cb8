"""How fast prompts are read by what `auto` takes, against llama.cpp in the process.

    QWEN_LLAMA_SERVER=PATH python benchmarks/prefill.py [--rounds N] [--tokens N] [--own-time] [--ours ENGINE]

Starter model, context 4,096 or more, no drafts, as many threads as cores, each side in its own process, in
turn, medians; no prompt begins as another. `auto` takes a llama-server with instructions of this processor
that the wheel was not built for; `--ours transformers` compares that. `--own-time` counts the time of the
processes and not the clock's, on one core (`taskset -c 0`) of a machine that does other work.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from processes import median, report
from run_all import machine
from sides import beside, requests


def main() -> None:
    flags = argparse.ArgumentParser(description="Prompts by what `auto` takes, against the wheel.")
    flags.add_argument("--rounds", type=int, default=5)
    flags.add_argument("--tokens", type=int, default=1_024)
    flags.add_argument("--own-time", action="store_true")
    flags.add_argument("--ours", default="auto", metavar="ENGINE", help="what is compared with the wheel")
    flags.add_argument("--engine", help=argparse.SUPPRESS)
    given = flags.parse_args()
    if given.engine:
        answer(given.engine, max(4_096, 2 * given.tokens))
        return
    kind = "own" if given.own_time else "clock"
    asked = {"ours": given.ours, "peer": "llamacpp"}
    tokens = ["--tokens", str(given.tokens)]
    with beside(__file__, {side: ["--engine", engine, *tokens] for side, engine in asked.items()}) as sides:
        engines: dict[str, str] = {}
        took: dict[str, list[float]] = {side: [] for side in sides}
        for number in range(given.rounds + 1):
            for name, side in sides.items():
                said = side.ask({"number": number, "tokens": given.tokens})
                took[name] += [said["tokens"] / said[kind]] if number else []  # the first one warms up
                engines[name] = said["engine"]
    print(f"{machine()}; `{given.ours}` took {engines['ours']}")
    report(f"prompts of {said['tokens']:,} tokens read by `{given.ours}`, against the wheel",
           median(took["ours"]), median(took["peer"]), "tok/s", "≥ 1.3")  # fmt: skip


def answer(name: str, context: int) -> None:
    """Be one side: read the prompt that is asked for."""
    from qwen_cli.engines.core.base import Sampling
    from qwen_cli.engines.load import load

    files = sorted(Path(__file__).parent.parent.glob("qwen_cli/engines/**/*.py"))
    code = "\n".join(file.read_text("utf-8") for file in files)
    with load("starter", engine=name, context=context, draft="off") as engine:
        for request, reply in requests():
            length = 3 * request["tokens"]  # letters: this code has about three a token
            prompt = code[request["number"] * length :][:length]
            begun = time.perf_counter(), _own()
            usage = [piece.usage for piece in engine.complete(prompt, sampling=Sampling(max_tokens=1))][-1]
            assert usage
            reply({
                "engine": engine.name,
                "tokens": usage.prompt_tokens - usage.cached_tokens,
                "clock": time.perf_counter() - begun[0],
                "own": _own() - begun[1],
            })  # fmt: skip


def _own() -> float:
    """Return the seconds that this process and those it started have computed."""
    import psutil

    here = psutil.Process()
    times = [each.cpu_times() for each in (here, *here.children(recursive=True))]
    return sum(one.user + one.system for one in times)


if __name__ == "__main__":
    main()
