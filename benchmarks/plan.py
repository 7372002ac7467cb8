"""What `qwen models plan` says against what is measured: resident memory and tokens a second.

    python benchmarks/plan.py [llamacpp bf16 fp32 8bit 4bit] [--prompt TOKENS] [--tokens N]

The starter model on llama.cpp, and its safetensors in each form on transformers. Each is loaded in a process
of its own, reads a prompt and writes an answer of 2,000 tokens together, without guesses of what comes next;
then the memory that the process holds and the speed of the last tokens are compared with the plan. Needs a
machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

FORMS = ("llamacpp", "bf16", "fp32", "8bit", "4bit")
TOTAL = 2_000  # tokens in the cache at the end
MEMORY_BAR, SPEED_BAR = 0.10, 0.25  # of what was measured


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("forms", nargs="*", metavar="FORM", help=f"of {', '.join(FORMS)}; all if not given")
    asked.add_argument("--prompt", type=int, default=0, help="tokens of the prompt (0: all but the answer)")
    asked.add_argument("--tokens", type=int, default=0, help="tokens to write (0: 64, bitsandbytes 16)")
    asked.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = asked.parse_args()
    if given.child:
        print(json.dumps(measure(given.forms[0], given.prompt, given.tokens)))
        return
    print(f"{'form':<9}{'memory: planned':>16}{'measured':>10}{'ratio':>7}"
          f"{'tokens/s: planned':>19}{'measured':>10}{'ratio':>7}")  # fmt: skip
    missed = []
    for form in given.forms or FORMS:
        tokens = given.tokens or (16 if form.endswith("bit") else 64)
        found = _in_a_process(form, given.prompt or TOTAL - tokens, tokens)
        planned = predict(form, found["context"])
        memory = planned["memory"] / found["resident"]
        speed = planned["speed"] / found["speed"]
        print(f"{form:<9}{planned['memory'] / 1e6:>13.0f} MB{found['resident'] / 1e6:>7.0f} MB{memory:>7.2f}"
              f"{planned['speed']:>19.1f}{found['speed']:>10.1f}{speed:>7.2f}", flush=True)  # fmt: skip
        missed += [f"{form} memory"] if abs(memory - 1) > MEMORY_BAR else []
        missed += [f"{form} speed"] if abs(speed - 1) > SPEED_BAR else []
    print(f"outside {MEMORY_BAR:.0%} of memory or {SPEED_BAR:.0%} of speed: {', '.join(missed) or 'none'}")


def predict(form: str, context: int) -> dict[str, float]:
    """What the plan says for the starter in `form` with `context` tokens of cache."""
    from qwen_cli.models.planning import describe, hardware, plan

    prefer: Any = "gguf" if form == "llamacpp" else "safetensors"
    found = describe.describe("starter", prefer=prefer)
    made = plan.make(
        found,
        hardware.this_machine(measure=True),
        form=found.stored if form == "llamacpp" else form,
        context=context,
    )
    assert made.speed is not None
    return {"memory": made.resident, "speed": made.speed}


def measure(form: str, prompt_tokens: int, tokens: int) -> dict[str, float]:
    """Load, read, write; in this process, which has done nothing before.

    `resident` is in bytes, `speed` in tokens a second of those after the first, `context` in tokens: what is
    allocated (llama.cpp) or used.
    """
    import time

    from qwen_cli.engines.core.base import Sampling
    from qwen_cli.engines.load import load

    llamacpp = form == "llamacpp"
    quant = form if form.endswith("bit") else None
    dtype = form if form == "fp32" else "auto"
    engine = load(
        "starter", engine="llamacpp" if llamacpp else "transformers", quant=quant, dtype=dtype, draft="off"
    )
    # Text that does not repeat itself: this project's own.
    files = sorted(Path(__file__).parent.parent.glob("qwen_cli/engines/*.py"))
    text = "\n".join(file.read_text("utf-8") for file in files)
    prompt = _cut(engine, text, prompt_tokens)
    times = []
    usage = None
    for piece in engine.complete(prompt, sampling=Sampling(temperature=0, max_tokens=tokens)):
        times.append((time.perf_counter(), time.process_time()))
        usage = piece.usage or usage
    assert usage is not None
    resident = _resident()
    context = engine.capabilities.context if llamacpp else usage.prompt_tokens + usage.generated_tokens
    written = usage.generated_tokens - 1
    return {
        "resident": resident,
        "speed": written / (times[-1][0] - times[0][0]),
        # What it would be if nothing else ran on these cores: to calibrate on a machine that is busy.
        "core_speed": written / (times[-1][1] - times[0][1]),
        "context": int(context or 0),
        "tokens": usage.prompt_tokens + usage.generated_tokens,
    }


def _cut(engine: Any, text: str, tokens: int) -> str:
    """The beginning of `text` that is about `tokens` long, and no longer."""
    low, high = 0, min(len(text), tokens * 8)
    while high - low > 8:
        middle = (low + high) // 2
        if engine.count_tokens(text[:middle]) <= tokens:
            low = middle
        else:
            high = middle
    return text[:low]


def _resident() -> int:
    import psutil

    return int(psutil.Process().memory_info().rss)


def _in_a_process(form: str, prompt: int, tokens: int) -> dict[str, float]:
    command = [sys.executable, __file__, form, "--child", "--prompt", str(prompt), "--tokens", str(tokens)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{form} failed ({done.returncode}):\n{done.stderr}")
    found = json.loads(done.stdout.strip().splitlines()[-1])
    print(f"{form}: {found}", file=sys.stderr)
    return dict(found)


if __name__ == "__main__":
    main()
