"""What `qwen models plan` says against what is measured: resident memory and tokens a second.

    python benchmarks/plan.py [llamacpp bf16 fp32 8bit 4bit] [--prompt TOKENS] [--tokens N]
    python benchmarks/plan.py --shape qwen2.5-coder:1.5b [--quants q4_k_m,q6_k,q8_0] [--contexts 1024,8192]

The starter model on llama.cpp, and its safetensors in each form on transformers. Each is loaded in a process
of its own, reads a prompt and writes an answer of 2,000 tokens together, without guesses of what comes next;
then the memory that the process holds and the speed of the last tokens are compared with the plan.

With `--shape` it is llama.cpp with random weights in the shape of a published model (`shaped`), for each file
type and length how fast a prompt is read and what follows is written. Needs a machine that does nothing else;
with `--own-time` one core will do (`taskset -c 0`), whose time is counted and not the clock's.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

FORMS = ("llamacpp", "bf16", "fp32", "8bit", "4bit")
TOTAL = 2_000  # tokens in the cache at the end
WRITTEN = 24  # tokens behind a prompt, with `--shape`
MEMORY_BAR, SPEED_BAR = 0.10, 0.25  # of what was measured


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("forms", nargs="*", metavar="FORM", help=f"of {', '.join(FORMS)}; all if not given")
    asked.add_argument("--prompt", type=int, default=0, help="tokens of the prompt (0: all but the answer)")
    asked.add_argument("--tokens", type=int, default=0, help="tokens to write (0: 64, bitsandbytes 16)")
    asked.add_argument("--shape", metavar="MODEL", help="of the catalog: random weights in its shape")
    asked.add_argument("--quants", default="q4_k_m,q6_k,q8_0", help="file types of GGUF, for --shape")
    asked.add_argument("--contexts", default="1024,8192", help="tokens of prompts, for --shape")
    asked.add_argument("--own-time", action="store_true", help="count the process's time, on one core")
    asked.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    asked.add_argument("--file", help=argparse.SUPPRESS)
    given = asked.parse_args()
    if given.file:
        print(json.dumps(rates(given.file, given.prompt, given.tokens)))
        return
    if given.shape:
        contexts = [int(length) for length in given.contexts.split(",")]
        compare_shape(given.shape, given.quants.split(","), contexts, own=given.own_time)
        return
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


def compare_shape(name: str, quants: list[str], contexts: list[int], *, own: bool) -> None:
    """Print what is planned and measured for the file types and lengths of one shape."""
    import shaped
    from run_all import machine

    from qwen_cli.models.planning import describe, hardware, plan, speed

    here = hardware.this_machine(measure=True)
    if own and here.cores != 1:
        raise SystemExit("the process's own time is a core's: pin it to one, as `taskset -c 0` does")
    speeds = f"{here.bandwidth / 1e9:.0f} GB/s, {here.multiplying / 1e9:.0f}e9 products a second"
    print(f"{name}, {machine()}: {speeds}")
    print(f"{'file':<9}{'context':>8}" + "".join(f"{kind + ': planned':>18}{'measured':>10}{'ratio':>7}"
                                                   for kind in ("read", "written")))  # fmt: skip
    missed = []
    with tempfile.TemporaryDirectory() as scratch:
        source = shaped.folder(name, Path(scratch) / name.replace(":", "-"))
        for quant in quants:
            file = shaped.gguf(source, quant)
            described = describe.describe(str(file), prefer="gguf")
            for context in contexts:
                found = _answer([str(file), str(context)], own=own)
                made = plan.make(described, here, form=described.stored, context=context + WRITTEN)
                planned = {
                    "read": speed.of_prompt(here, described, described.stored, tokens=context) or 0,
                    "written": made.full_speed or 0,
                }
                line = f"{quant:<9}{context:>8,}"
                for kind, rate in planned.items():
                    ratio = rate / found[kind]
                    line += f"{rate:>18.1f}{found[kind]:>10.1f}{ratio:>7.2f}"
                    missed += [f"{quant} {context} {kind}"] if abs(ratio - 1) > SPEED_BAR else []
                print(line, flush=True)
            file.unlink()
    print(f"outside {SPEED_BAR:.0%}: {', '.join(missed) or 'none'}")


def _answer(arguments: list[str], *, own: bool) -> dict[str, float]:
    """Return the tokens a second of `rates` in a process of its own, by the clock or by its `own` time."""
    file, context = arguments
    command = [sys.executable, __file__, "--file", file, "--prompt", context, "--tokens", str(WRITTEN)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{file} failed ({done.returncode}):\n{done.stderr}")
    found = json.loads(done.stdout.strip().splitlines()[-1])
    print(found, file=sys.stderr)
    kind = "own" if own else "clock"
    return {"read": found[f"read_{kind}"], "written": found[f"written_{kind}"]}


def rates(file: str, prompt_tokens: int, tokens: int) -> dict[str, float]:
    """Load a GGUF file, read a prompt, write behind it; in this process. Tokens a second by the clock and by
    the time of this process."""
    import time

    from qwen_cli.engines.core.base import Sampling
    from qwen_cli.engines.load import load

    engine = load(file, engine="llamacpp", context=prompt_tokens + tokens + 64, draft="off")
    prompt = _cut(engine, _own_text(), prompt_tokens)
    times = [(time.perf_counter(), time.process_time())]
    usage = None
    for piece in engine.complete(prompt, sampling=Sampling(temperature=0, max_tokens=tokens)):
        if piece.text or not usage:
            times.append((time.perf_counter(), time.process_time()))
        usage = piece.usage or usage
    assert usage is not None
    begun, first, last = times[0], times[1], times[-1]
    written = usage.generated_tokens - 1
    return {
        "read_clock": usage.prompt_tokens / (first[0] - begun[0]),
        "read_own": usage.prompt_tokens / (first[1] - begun[1]),
        "written_clock": written / (last[0] - first[0]),
        "written_own": written / (last[1] - first[1]),
        "tokens": usage.prompt_tokens + usage.generated_tokens,
    }


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
    prompt = _cut(engine, _own_text(), prompt_tokens)
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


def _own_text() -> str:
    """Text that does not repeat itself: this project's own."""
    files = sorted(Path(__file__).parent.parent.glob("qwen_cli/engines/**/*.py"))
    return "\n".join(file.read_text("utf-8") for file in files)


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
