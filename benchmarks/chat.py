"""`qwen chat` against bare scripts: first token of a cold process, decode speed, memory.

    python benchmarks/chat.py [--rounds N] [--prompt TEXT]
    python benchmarks/chat.py --own-time [--rounds N] [--prompt TEXT]

Starter model, greedy, the same prompt, context and threads, no drafts on either side, each run a process of
its own, runs taken in turn, medians. The peers: a script over xllamacpp, the same library; the llama-server
that QWEN_LLAMA_SERVER names; node-llama-cpp where NODE_LLAMA_CPP names the folder it was installed in.
What was computed of the system prompt is kept by `qwen chat` and taken for each run after the first one,
which warms up; the peers keep nothing.

With `--own-time` the first token is told in the time of the processes, each pinned to one core (`taskset`):
for a machine that does other work. Answers have two tokens then, and of the peers it is the script alone, one
process as `qwen chat` is.
"""

import argparse
import os
import shutil
import sys
from pathlib import Path

from processes import BARE, QWEN, Run, alternate, median, report

from qwen_cli.models.hub import starter

PROMPT = "Explain in detail how a hash table works."
TOKENS = 128
CONTEXT = 16_384
ROUNDS = 7
HERE = Path(__file__).parent


def main() -> None:
    flags = argparse.ArgumentParser(description="`qwen chat` against bare scripts.")
    flags.add_argument("--rounds", type=int, default=ROUNDS)
    flags.add_argument("--prompt", default=PROMPT)
    flags.add_argument("--own-time", action="store_true")
    given = flags.parse_args()
    path = str(starter.fetch())
    tokens = 2 if given.own_time else TOKENS
    for name, engine, peer in peers(path, given.prompt, tokens)[: 1 if given.own_time else None]:
        pinned = ["taskset", "-c", "0"] if given.own_time else []
        command = [*pinned, *ask(engine, given.prompt, tokens)]
        ours, theirs = alternate(command, [*pinned, *peer], given.rounds)
        if given.own_time:
            own = [median([run.own for run in side]) for side in (ours, theirs)]
            report(f"first token, cold process, in its own time, against {name}", *own, "s", "≤ 0.90")
        else:
            table(name, ours, theirs)


def ask(engine: str, prompt: str, tokens: int) -> list[str]:
    """Our side of it."""
    flags = {"--model": "starter", "--engine": engine, "--temperature": "0", "--max-tokens": str(tokens),
             "--context": str(CONTEXT), "--draft": "off"}  # fmt: skip
    return [*QWEN, "chat", prompt, *(word for pair in flags.items() for word in pair)]


def peers(path: str, prompt: str, tokens: int) -> list[tuple[str, str, list[str]]]:
    """Name of each peer that is here, the engine that runs the same library, and its command."""
    last = [path, prompt, str(tokens), str(CONTEXT)]
    found = [("a bare xllamacpp script", "llamacpp", [*BARE, *last])]
    if program := shutil.which(os.environ.get("QWEN_LLAMA_SERVER", "")):
        script = str(HERE / "bare_llama_server.py")
        found.append(("a bare llama-server", "llama-server", [sys.executable, script, program, *last]))
    if os.environ.get("NODE_LLAMA_CPP") and (node := shutil.which("node")):
        found.append(("node-llama-cpp", "auto", [node, str(HERE / "bare_node.mjs"), *last]))
    return found


def table(name: str, ours: list[Run], theirs: list[Run]) -> None:
    first = [median([run.first for run in side]) for side in (ours, theirs)]
    speed = [median([_speed(run) for run in side]) for side in (ours, theirs)]
    memory = [median([run.peak_bytes for run in side]) / 1e6 for side in (ours, theirs)]
    report(f"first token, cold process, against {name}", *first, "s", "≤ 0.90")
    report(f"decode, against {name}", *speed, "tok/s", "≥ 1.0")
    print(f"peak memory, against {name}: {memory[0] - memory[1]:+.0f} MB (bar ≤ +60 MB)")


def _speed(run: Run) -> float:
    return (TOKENS - 1) / (run.last - run.first)


if __name__ == "__main__":
    main()
