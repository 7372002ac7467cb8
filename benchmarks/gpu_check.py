"""The checks of `gpu_check.sh`, one a process: `python benchmarks/gpu_check.py NAME`.

Exit code 77: this machine has not what the check is about; the last line says what.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

HERE = Path(__file__).resolve().parent
PROMPT = "Explain in detail how a hash table works."
TOKENS = 64


def leave_out(why: str) -> NoReturn:
    print(why)
    sys.exit(77)


def gpu() -> Any:
    """torch, where it computes on an NVIDIA or AMD GPU."""
    from qwen_cli.models.planning import gpus

    if not gpus.has_gpu():  # without the seconds that torch takes
        leave_out("there is no driver of a GPU")
    import torch

    if not torch.cuda.is_available():
        leave_out(f"torch {torch.__version__} sees no GPU")
    return torch


def weights() -> Path:
    """The starter as safetensors."""
    from qwen_cli.models.hub import starter

    folder = starter.safetensors_path()
    if not (folder / "config.json").is_file():
        leave_out("there are no safetensors of the starter: run benchmarks/decode_transformers.py once")
    return folder


def opened(**options: Any) -> Any:
    from qwen_cli.engines import load

    return load.load(str(weights()), engine="transformers", context=2_048, notice=print, **options)


def said(engine: Any, tokens: int = TOKENS) -> tuple[str, Any]:
    from qwen_cli import Sampling

    text, usage = "", None
    for piece in engine.chat(
        [{"role": "user", "content": PROMPT}],
        sampling=Sampling(temperature=0, repetition_penalty=1.0, max_tokens=tokens),
    ):
        text += piece.text
        usage = piece.usage or usage
    assert usage is not None
    return text, usage


def machine() -> None:
    """What doctor finds, and that its engines can be imported."""
    from qwen_cli.commands.models import doctor

    for finding in (*doctor.check_gpus(), *doctor.check_llama_server()):
        print(finding.name.strip(), finding.state, finding.detail, finding.advice)
    broken = [fault for name in ("llamacpp", "transformers") if (fault := doctor.import_engine(name))]
    if broken:
        raise SystemExit(broken[0].detail)
    print(doctor.check_engine("transformers").detail)


def loads(**options: Any) -> Callable[[], None]:
    def check() -> None:
        torch = gpu()
        if options.get("quant"):
            import importlib.util

            if importlib.util.find_spec("bitsandbytes") is None:
                leave_out("bitsandbytes is not installed")
        began = time.perf_counter()
        with opened(**options) as engine:
            loaded = time.perf_counter() - began
            text, usage = said(engine)
            assert text.strip(), "nothing was answered"
            peak = torch.cuda.max_memory_allocated() / 1e9
            assert peak > 0.2, f"{peak:.2f} GB are on the GPU: the model is not there"
            print(f"load {loaded:.1f} s, {usage.tokens_per_second:.0f} tok/s, {peak:.2f} GB on the GPU")

    return check


def tokens() -> None:
    """The greedy answer is that of the library's own `generate`, token for token."""
    torch = gpu()
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = weights()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, device_map="cuda:0").eval()
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": PROMPT}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    ).to("cuda:0")
    with torch.inference_mode():
        made = model.generate(**asked, do_sample=False, repetition_penalty=1.0, max_new_tokens=TOKENS)
    expected = tokenizer.decode(made[0, asked["input_ids"].shape[1] :], skip_special_tokens=True)
    del model
    torch.cuda.empty_cache()
    with opened(dtype="bf16") as engine:
        text, _ = said(engine)
    same = next((i for i, (a, b) in enumerate(zip(text, expected, strict=False)) if a != b), None)
    if text != expected:
        raise SystemExit(f"they part at character {same}: {text[: same or 0][-40:]!r}")
    print(f"{len(text)} characters are the same")


def speed() -> None:
    """Decode against `generate`, runs in turn."""
    gpu()
    done = subprocess.run(
        [sys.executable, str(HERE / "decode_transformers.py"), "--device", "cuda"],
        capture_output=True,
        text=True,
    )
    print(done.stdout.strip() or done.stderr.strip())
    if done.returncode:
        sys.exit(1)


def compiled() -> None:
    """Decoding as one CUDA graph begins as without, and after how many tokens it has paid for compiling."""
    gpu()
    with opened(dtype="bf16") as engine:
        said(engine)
        text, plain = said(engine)
    with opened(dtype="bf16", compiled=True) as engine:
        began = time.perf_counter()
        said(engine)
        first = time.perf_counter() - began
        other, graph = said(engine)
    if other[:40] != text[:40]:
        raise SystemExit(f"the compiled answer begins otherwise: {other[:40]!r}, not {text[:40]!r}")
    spent = first - TOKENS / graph.tokens_per_second
    paid = paid_after(plain.tokens_per_second, graph.tokens_per_second, spent)
    print(
        f"{plain.tokens_per_second:.0f} tok/s, {graph.tokens_per_second:.0f} compiled in {spent:.0f} s: "
        + (f"pays after {paid:,} tokens" if paid is not None else "never pays")
    )


def paid_after(plain: float, compiled: float, spent: float) -> int | None:
    """Return after how many tokens a graph that was compiled in `spent` seconds has made up for them, from
    the tokens a second without and with it; `None` where it never does."""
    if compiled <= plain:
        return None
    return math.ceil(max(spent, 0) / (1 / plain - 1 / compiled))


def picture() -> None:
    """A question about a picture, by a small model that sees, whose weights are random."""
    gpu()
    from PIL import Image

    sys.path.insert(0, str(HERE.parent / "tests" / "helpers"))
    import small_models  # type: ignore[import-not-found]

    from qwen_cli import Sampling
    from qwen_cli.engines import load

    with tempfile.TemporaryDirectory() as kept:
        folder = Path(kept)
        model = small_models.make_seeing("Qwen3VL", folder / "model", weights())
        question = [
            {"type": "image", "image": Image.new("RGB", (256, 192), "red")},
            {"type": "text", "text": "Which colour?"},
        ]
        with load.load(str(model), engine="transformers") as engine:
            pieces = list(
                engine.chat(
                    [{"role": "user", "content": question}], sampling=Sampling(temperature=0, max_tokens=8)
                )
            )
        usage = next(piece.usage for piece in pieces if piece.usage)
    print(f"{usage.prompt_tokens} tokens of prompt, {usage.generated_tokens} written")


def batching() -> None:
    """Eight requests together say what each says alone."""
    gpu()
    from concurrent.futures import ThreadPoolExecutor

    with opened() as engine:
        alone, usage = said(engine)
        serving = engine.serving_lanes(8)
        began = time.perf_counter()
        with ThreadPoolExecutor(len(serving.lanes)) as threads:
            together = list(threads.map(said, serving.lanes))
        taken = time.perf_counter() - began
        serving.close()
    begun = [text for text, _ in together if text[:40] == alone[:40]]
    if len(begun) < len(together):
        raise SystemExit(
            f"{len(together) - len(begun)} of {len(together)} answers begin otherwise than alone"
        )
    total = sum(one.generated_tokens for _, one in together)
    print(f"{total / taken:.0f} tok/s together, {usage.tokens_per_second:.0f} alone")


def llamacpp() -> None:
    """GGUF on the GPU, in the process or by the user's llama-server."""
    from qwen_cli.engines import load
    from qwen_cli.models.planning import back_ends

    found = back_ends.installed()
    if not found.ggufs:
        leave_out("neither llama.cpp in the process nor a llama-server computes on a GPU here")
    began = time.perf_counter()
    with load.load(
        "starter", engine="llamacpp" if found.llamacpp else "llama-server", context=2_048
    ) as engine:
        loaded = time.perf_counter() - began
        _, usage = said(engine)
        print(f"{engine.name}: load {loaded:.1f} s, {usage.tokens_per_second:.0f} tok/s")


def serve() -> None:
    """`qwen serve` answers over HTTP."""
    gpu()
    command = [sys.executable, "-m", "qwen_cli", "serve", "-m", str(weights()), "--engine", "transformers",
               "--port", "0", "--api-key", "k"]  # fmt: skip
    with tempfile.TemporaryFile("w+") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, text=True)
        try:
            address = _address(server, log)
            body = json.dumps({"messages": [{"role": "user", "content": PROMPT}], "max_tokens": 16}).encode()
            headers = {"Authorization": "Bearer k", "Content-Type": "application/json"}
            request = urllib.request.Request(f"{address}/v1/chat/completions", body, headers)
            with urllib.request.urlopen(request, timeout=60) as answer:
                print(json.load(answer)["usage"])
        finally:
            server.terminate()
            server.wait(20)


def _address(server: Any, log: Any) -> str:
    import re

    for _ in range(600):
        log.seek(0)
        if found := re.search(r"http://127\.0\.0\.1:\d+", log.read()):
            return found[0]
        if server.poll() is not None:
            log.seek(0)
            raise SystemExit(log.read().strip().splitlines()[-1])
        time.sleep(0.1)
    raise SystemExit("the server said no address within a minute")


CHECKS: dict[str, Callable[[], None]] = {
    "machine": machine,
    "load-bf16": loads(dtype="bf16"),
    "load-4bit": loads(quant="4bit"),
    "load-8bit": loads(quant="8bit"),
    "device-map": loads(device_map="auto", max_memory="0=1GiB,cpu=20GiB"),
    "tokens": tokens,
    "compiled": compiled,
    "speed": speed,
    "picture": picture,
    "batching": batching,
    "llamacpp": llamacpp,
    "serve": serve,
}

if __name__ == "__main__":
    CHECKS[sys.argv[1]]()
