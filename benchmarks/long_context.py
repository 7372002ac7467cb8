"""Long texts on the starter in transformers: ordinary attention, YaRN and dual chunk attention.

    python benchmarks/long_context.py --list    every cell, and which are done
    python benchmarks/long_context.py --run [--set near]    those that the journal lacks, in turn
    python benchmarks/long_context.py --cell dca passkey 16384 4096 512 3 4    two depths
    python benchmarks/long_context.py --table   what the journal has

A cell is a method, a measure, a length, a chunk with what chunks share (both 0 where there are none), and a
depth for a pass key. Each becomes a line of the journal (`long_context.jsonl`, `--journal`) when it is done,
so a run that was stopped goes on where it was. Each runs in a process of its own, but for the depths of one
text: they share what stands before the key.

- `perplexity`: of the last quarter of so many tokens of Python's reference (`pydoc_data.topics`), and of all.
- `passkey`: whether a number hidden in filler at one of ten depths is found; the text has the real length.
- `speed`: seconds to read so many tokens, seconds a token written after them (median of 24), and by how much
  the process grew at most.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from itertools import groupby
from pathlib import Path
from pydoc_data import topics
from statistics import median
from typing import Any

import torch
from passkey import prompt

from qwen_cli import Sampling
from qwen_cli.engines.transformers.engine import Transformers
from qwen_cli.models.catalog import lookup
from qwen_cli.models.formats import gguf_import
from qwen_cli.models.hub import starter
from qwen_cli.models.hub.resolve import Weights

TRAINED = 32_768
DEPTHS = 10
ROWS = 128  # positions whose logits are computed at once
WRITTEN = 24  # tokens, to time decoding


@dataclass(frozen=True)
class Cell:
    method: str
    measure: str
    length: int
    chunk: int = 0
    local: int = 0
    depth: int = 0


def cells(name: str) -> list[Cell]:
    """The cells of a set: `small` takes minutes, `near` an hour or so, `far` many."""
    shapes = {
        "small": [(6_144, 1_024, 128), (6_144, 2_048, 256)],
        "near": [(8_192, 4_096, 512), (16_384, 4_096, 512)],
        "far": [(40_960, 32_768, 1_024)],
    }[name]
    found = []
    for length, chunk, local in shapes:
        for method in ("plain", "yarn", "dca") if length > TRAINED else ("plain", "dca"):
            cut = (chunk, local) if method == "dca" else (0, 0)
            found.append(Cell(method, "perplexity", length, *cut))
            found += [Cell(method, "passkey", length, *cut, depth) for depth in range(DEPTHS)]
            found.append(Cell(method, "speed", length, *cut))
    return list(dict.fromkeys(found))


def main() -> None:
    flags = argparse.ArgumentParser(description="Long texts: ordinary attention, YaRN, dual chunk attention.")
    flags.add_argument("--journal", type=Path, default=Path("long_context.jsonl"))
    flags.add_argument("--set", choices=["small", "near", "far"], default="near")
    flags.add_argument("--measure", choices=["perplexity", "passkey", "speed"])
    flags.add_argument("--threads", type=int, default=0)
    flags.add_argument("--cell", nargs="+", metavar="METHOD MEASURE LENGTH [CHUNK LOCAL [DEPTH …]]")
    flags.add_argument("--list", action="store_true")
    flags.add_argument("--run", action="store_true")
    flags.add_argument("--table", action="store_true")
    given = flags.parse_args()
    done = read(given.journal)
    if given.cell:
        method, measure, *words = given.cell
        shape, depths = [int(word) for word in words[:3]], [int(word) for word in words[3:]]
        shape += [0] * (3 - len(shape))
        some = [Cell(method, measure, *shape, depth) for depth in depths or [0]]
        run(some, given.journal, given.threads)
        return
    wanted = [cell for cell in cells(given.set) if given.measure in (None, cell.measure)]
    if given.list:
        for cell in wanted:
            print("done" if cell in done else "    ", *astuple(cell))
    if given.run:
        missing = [cell for cell in wanted if cell not in done]
        for shape, some in groupby(missing, lambda cell: astuple(cell)[:-1]):
            named = [*shape, *(cell.depth for cell in some)]
            print(*named, flush=True)
            words = ["--journal", str(given.journal), "--threads", str(given.threads), "--cell"]
            subprocess.run([sys.executable, __file__, *words, *map(str, named)], check=True)
        done = read(given.journal)
    if given.table or given.run:
        table(done)


def read(journal: Path) -> dict[Cell, dict[str, Any]]:
    """What the journal has. A line that was cut off is left out."""
    done = {}
    for line in journal.read_text("utf-8").splitlines() if journal.is_file() else ():
        try:
            row = json.loads(line)
            done[Cell(**row["cell"])] = row["found"]
        except (ValueError, KeyError, TypeError):
            continue
    return done


def run(some: Sequence[Cell], journal: Path, threads: int) -> None:
    """Measure cells of one shape, and write a line when each is done."""
    if threads:
        torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder, opened(some[0], Path(folder)) as engine:
        for cell in some:
            started = time.perf_counter()
            measured = {"perplexity": perplexity, "passkey": passkey, "speed": speed}[cell.measure](
                engine, cell
            )
            found = {
                **measured,
                "seconds": round(time.perf_counter() - started, 1),
                "threads": torch.get_num_threads(),
            }
            with journal.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"cell": asdict(cell), "found": found}) + "\n")
            print(json.dumps(found), flush=True)


def opened(cell: Cell, folder: Path) -> Transformers:
    """The starter with a window for the cell, which ordinary attention has only where nobody asks."""
    weights = starter.safetensors_path()
    if not (weights / "config.json").is_file():
        gguf_import.to_safetensors(starter.fetch(), weights)
    window = cell.length + 1_024
    for file in weights.iterdir():
        if file.name != "config.json":
            (folder / file.name).symlink_to(file)
    config = json.loads((weights / "config.json").read_text("utf-8"))
    if cell.method != "yarn":
        config["max_position_embeddings"] = window
    if cell.method == "dca":
        config["dual_chunk_attention_config"] = {
            "chunk_size": cell.chunk,
            "local_size": cell.local,
            "original_max_position_embeddings": TRAINED,
        }
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    return Transformers(
        Weights("starter", folder, "safetensors", lookup.find("starter")),
        context=window,
        rope_scaling="yarn" if cell.method == "yarn" else None,
        draft=None,
    )


def text_ids(engine: Transformers, length: int) -> list[int]:
    text = "\n\n".join(topics.topics[name] for name in sorted(topics.topics))
    ids = engine._ids(text[: length * 8])[:length]
    assert len(ids) == length, "the text is too short"
    return ids


def perplexity(engine: Transformers, cell: Cell) -> dict[str, Any]:
    ids = text_ids(engine, cell.length)
    losses: list[float] = []
    for first in range(0, len(ids) - 1, ROWS):
        block = ids[first : min(first + ROWS, len(ids) - 1)]
        scores = engine.prefix_cache.step(block, rows=len(block)).log_softmax(-1)
        following = torch.tensor(ids[first + 1 : first + 1 + len(block)])
        losses += (-scores.gather(1, following[:, None])[:, 0]).tolist()
    last = losses[-len(losses) // 4 :]
    return {"last": math.exp(sum(last) / len(last)), "all": math.exp(sum(losses) / len(losses))}


def passkey(engine: Transformers, cell: Cell) -> dict[str, Any]:
    key = str(random.Random(f"{cell.length}{cell.depth}").randrange(10_000, 100_000))
    text, _ = prompt(engine._ids, cell.length, (cell.depth + 0.5) / DEPTHS, key)
    said, usage = "", None
    for piece in engine.complete(text, sampling=Sampling(temperature=0.0, max_tokens=8)):
        said += piece.text
        usage = piece.usage or usage
    assert usage is not None
    return {"found": key in said, "said": said, "tokens": usage.prompt_tokens}


def speed(engine: Transformers, cell: Cell) -> dict[str, Any]:
    ids = text_ids(engine, cell.length)
    before = peak()
    started = time.perf_counter()
    logits, _ = engine.prefix_cache.prefill(ids)
    prefill = time.perf_counter() - started
    grown = peak() - before
    each = []
    for _ in range(WRITTEN):
        started = time.perf_counter()
        logits = engine.prefix_cache.step([int(logits[0].argmax())])
        each.append(time.perf_counter() - started)
    return {"prefill": round(prefill, 3), "token": round(median(each), 4), "megabytes": round(grown / 1e6)}


def peak() -> int:
    """The most memory that this process has had, in bytes."""
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def table(done: dict[Cell, dict[str, Any]]) -> None:
    print(
        "| tokens | method | chunk | perplexity: last quarter (all) | pass keys | prefill | token | memory |"
    )
    print("|---" * 8 + "|")
    shapes = sorted({(c.length, c.chunk, c.local, c.method) for c in done})
    for shape in shapes:
        length, chunk, local, method = shape
        of: dict[str, list[dict[str, Any]]] = {"perplexity": [], "passkey": [], "speed": []}
        for cell, found in done.items():
            if (cell.length, cell.chunk, cell.local, cell.method) == shape:
                of[cell.measure].append(found)
        columns = [f"{length:,}", method, f"{chunk:,} / {local:,}" if chunk else "", "", "", "", "", ""]
        for found in of["perplexity"]:
            columns[3] = f"{found['last']:.3f} ({found['all']:.3f})"
        if keys := of["passkey"]:
            columns[4] = f"{sum(found['found'] for found in keys)} of {len(keys)}"
        for found in of["speed"]:
            written = f"{found['token'] * 1e3:.0f} ms"
            columns[5:] = [f"{found['prefill']:.1f} s", written, f"{found['megabytes']} MB"]
        print(f"| {' | '.join(columns)} |")


if __name__ == "__main__":
    main()
