"""Loading with the transformers engine: time and memory against `from_pretrained`, layers on disk, four bits.

    python benchmarks/load.py            # all
    python benchmarks/load.py load disk 4bit

The starter's weights as safetensors (1.26 GB in bfloat16); for 4bit random weights in the shape of
Qwen2.5-1.5B, made in a temporary folder and removed. Each figure is of a process of its own. Memory is what
is resident beyond the interpreter with torch and transformers imported; the pages of a mapped file count.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from processes import median, report

from qwen_cli.models.formats import gguf_import
from qwen_cli.models.hub import starter

PROMPT = "What is the capital of France?"
ROUNDS = 5
# config.json of Qwen/Qwen2.5-1.5B-Instruct.
SHAPE = {
    "hidden_size": 1536,
    "intermediate_size": 8960,
    "num_hidden_layers": 28,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "vocab_size": 151_936,
    "tie_word_embeddings": True,
    "max_position_embeddings": 32_768,
    "eos_token_id": 151_645,
}


def main() -> None:
    folder = starter.safetensors_path()
    if not (folder / "config.json").is_file():
        gguf_import.to_safetensors(starter.fetch(), folder)
    wanted = sys.argv[1:] or ["load", "disk", "4bit"]
    if "load" in wanted:
        _load(folder)
    if "disk" in wanted:
        _disk(folder)
    if "4bit" in wanted:
        _four_bits(folder)


def _load(folder: Path) -> None:
    weights = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    _run("peer", folder, {})  # the file is in the page cache from here on
    ours, peers = [], []
    for _ in range(ROUNDS):
        ours.append(_run("ours", folder, {"dtype": "bf16"}))
        peers.append(_run("peer", folder, {}))
    seconds = median([run["load"] for run in ours]), median([run["load"] for run in peers])
    report("load with tokenizer, against from_pretrained", *seconds, "s", "≤ 1.10")
    _memory("peak of load and eight tokens", median([run["peak"] for run in ours]), weights, 1.15)


def _disk(folder: Path) -> None:
    plain = _run("ours", folder, {"dtype": "fp32"})
    disk = _run("ours", folder, {"dtype": "fp32", "max_memory": "cpu=1GiB"})
    if plain["text"] != disk["text"]:
        raise SystemExit(f"the texts differ:\n{plain['text']!r}\n{disk['text']!r}")
    print(f"float32 with --max-memory cpu=1GiB: {disk['notice']}; the same text: {disk['text']!r}")
    for name, run in (("all in memory", plain), ("on disk", disk)):
        print(
            f"  {name}: load {run['load']:.1f} s, {run['speed']:.2f} tok/s, resident while it answers"
            f" {run['settled'] / 1e9:.2f} GB, peak while it loads {run['loading'] / 1e9:.2f} GB, of that"
            f" {run['loading_own'] / 1e9:.2f} GB its own and not pages of the file"
        )
    _memory("resident with layers on disk", disk["settled"], 1.4e9, 1.0)


def _four_bits(folder: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="qwen-load-") as place:
        made = Path(place) / "qwen2-1.5b-random"
        subprocess.run([sys.executable, __file__, "make", str(made), str(folder)], check=True)
        run = _run("ours", made, {"quant": "4bit"})
    print(
        f"1.5B of random weights in 4 bits through bitsandbytes ({run['layer']}): load {run['load']:.1f} s,"
        f" first token after {run['first']:.1f} s, {run['speed']:.2f} tok/s,"
        f" resident {run['settled'] / 1e9:.2f} GB, peak {run['peak'] / 1e9:.2f} GB; {run['notice']}"
    )


def _memory(what: str, seen: float, base: float, times: float) -> None:
    print(f"{what}: {seen / 1e9:.2f} GB, {seen / base:.2f} × {base / 1e9:.2f} GB (bar ≤ {times:.2f})")


def _run(kind: str, folder: Path, given: dict[str, str]) -> dict[str, Any]:
    """Load and answer in a process of its own."""
    command = [sys.executable, __file__, kind, str(folder), json.dumps(given)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


@contextmanager
def _watched(seen: dict[str, int]) -> Iterator[None]:
    """Fill `seen` with the peaks of what is resident and of what of it belongs to no file, in bytes."""
    going, process = True, psutil.Process()

    def look() -> None:
        while going:
            memory = process.memory_info()
            own = memory.rss - getattr(memory, "shared", 0)  # pages of files, on Linux
            seen["all"], seen["own"] = max(seen["all"], memory.rss), max(seen["own"], own)
            time.sleep(0.01)

    seen.update(all=0, own=0)
    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield
    finally:
        going = False
        watcher.join()


def ours(folder: Path, given: dict[str, str]) -> dict[str, Any]:
    import torch  # noqa: F401
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: F401  (both sides start with these)

    from qwen_cli import Sampling, load

    base, told = psutil.Process().memory_info(), []
    loading, answering = {"all": 0, "own": 0}, {"all": 0, "own": 0}
    start = time.perf_counter()
    with _watched(loading):
        engine = load(str(folder), engine="transformers", draft="off", notice=told.append, **given)  # type: ignore[arg-type]
    loaded = time.perf_counter() - start
    text, usage = "", None
    with _watched(answering):
        for piece in engine.chat(
            [{"role": "user", "content": PROMPT}], sampling=Sampling(temperature=0, max_tokens=8)
        ):
            text += piece.text
            usage = piece.usage or usage
    assert usage
    layer = engine.network.model.layers[0].self_attn.q_proj  # type: ignore[attr-defined]
    return {
        "load": loaded,
        "first": usage.prefill_seconds,
        "speed": usage.tokens_per_second,
        "text": text,
        "notice": "; ".join(told),
        "layer": type(layer).__name__,
        "loading": loading["all"] - base.rss,
        "loading_own": loading["own"] - (base.rss - getattr(base, "shared", 0)),
        "settled": answering["all"] - base.rss,
        "peak": max(loading["all"], answering["all"]) - base.rss,
    }


def peer(folder: Path) -> dict[str, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    start = time.perf_counter()
    with _watched({}):  # it takes as long as ours is watched
        AutoTokenizer.from_pretrained(folder)
        AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.bfloat16, device_map={"": "cpu"}, attn_implementation="sdpa"
        )
    return {"load": time.perf_counter() - start}


def make(folder: Path, tokens: Path) -> None:
    """Random weights in the shape of Qwen2.5-1.5B, with the starter's tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, Qwen2Config

    torch.manual_seed(1)
    AutoModelForCausalLM.from_config(Qwen2Config(**SHAPE), dtype=torch.bfloat16).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tokens / name, folder)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["ours", folder, given]:
            print(json.dumps(ours(Path(folder), json.loads(given))))
        case ["peer", folder, _]:
            print(json.dumps(peer(Path(folder))))
        case ["make", folder, tokens]:
            make(Path(folder), Path(tokens))
        case _:
            main()
