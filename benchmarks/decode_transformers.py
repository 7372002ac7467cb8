"""Decode speed of the transformers engine against a model card's script: plain `model.generate`.

    python benchmarks/decode_transformers.py [--device cuda]

The starter's weights as safetensors, greedy, the same prompt, runs taken in turn in one process, medians.
The texts must be equal.
"""

import sys
import time

import torch
from processes import median, report
from transformers import AutoModelForCausalLM, AutoTokenizer, TextIteratorStreamer

from qwen_cli import Sampling
from qwen_cli.engines.transformers.engine import Transformers
from qwen_cli.models.catalog import lookup
from qwen_cli.models.formats import gguf_import
from qwen_cli.models.hub import starter
from qwen_cli.models.hub.resolve import Weights

PROMPT = "Explain in detail how a hash table works."
TOKENS = 48
ROUNDS = 11


def main() -> None:
    folder = starter.safetensors_path()
    if not (folder / "config.json").is_file():
        gguf_import.to_safetensors(starter.fetch(), folder)
    engine = Transformers(Weights("starter", folder, "safetensors", lookup.find("starter")))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    device = sys.argv[2] if sys.argv[1:2] == ["--device"] else "cpu"
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).eval().to(device)
    ours: list[float] = []
    peer: list[float] = []
    for round_ in range(ROUNDS + 1):
        text, speed = run_engine(engine)
        expected, peer_speed = run_generate(model, tokenizer)
        if text != expected:
            raise SystemExit(f"the texts differ:\n{text!r}\n{expected!r}")
        if round_:  # the first one warms up
            ours.append(speed)
            peer.append(peer_speed)
    report("decode, transformers engine", median(ours), median(peer), "tok/s", "≥ 1.0")


def run_engine(engine: Transformers) -> tuple[str, float]:
    """Text and tokens a second of the engine."""
    text, usage = "", None
    for piece in engine.chat(
        [{"role": "user", "content": PROMPT}],
        sampling=Sampling(temperature=0, repetition_penalty=1.0, max_tokens=TOKENS),
    ):
        text += piece.text
        usage = piece.usage or usage
    assert usage is not None
    return text, usage.tokens_per_second


def run_generate(model: AutoModelForCausalLM, tokenizer: AutoTokenizer) -> tuple[str, float]:
    """Text and tokens a second of `generate`, from its first token on, as the engine's are counted."""
    inputs = tokenizer.apply_chat_template(
        [{"role": "user", "content": PROMPT}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    ).to(model.device)
    moments: list[float] = []

    class Clock(TextIteratorStreamer):
        def put(self, value: torch.Tensor) -> None:
            moments.append(time.perf_counter())

        def end(self) -> None:
            pass

    out = model.generate(
        **inputs,
        do_sample=False,
        temperature=None,
        top_p=None,
        top_k=None,
        repetition_penalty=1.0,
        max_new_tokens=TOKENS,
        streamer=Clock(tokenizer),
    )
    new = out[0, inputs["input_ids"].shape[1] :]
    # The streamer is given the prompt first, then each token.
    return tokenizer.decode(new, skip_special_tokens=True), (len(new) - 1) / (moments[-1] - moments[1])


if __name__ == "__main__":
    main()
