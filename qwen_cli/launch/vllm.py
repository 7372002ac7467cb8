"""The command line of `vllm serve`: its flags are those of vLLM 0.33.0 (`vllm/engine/arg_utils.py`,
`vllm/entrypoints/common/cli_args.py`); a test holds every one against them."""

from __future__ import annotations

import json

from qwen_cli.launch import command as launch_command
from qwen_cli.launch.command import DTYPES, Command, LaunchOptions, method, rank

# The ranks that vLLM has kernels for (`config/lora.py`).
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
# Qwen2.5-1M's card: the last release with these kernels is 0.10.2, on its older engine.
_DUAL_CHUNK = {"VLLM_ATTENTION_BACKEND": "DUAL_CHUNK_FLASH_ATTN", "VLLM_USE_V1": "0"}
_DUAL_CHUNK_FLAGS = ("--enforce-eager", "--enable-chunked-prefill", "--max-num-batched-tokens", "131072")


def command(options: LaunchOptions, *, ray: bool = False) -> Command:
    """Return what starts it; with `ray` on all machines of the Ray cluster that this one belongs to."""
    target, split, model = options.target, options.split, options.target.model
    words = ["vllm", "serve", target.place, "--served-model-name", target.name]
    words += [target.place] if target.place != target.name else []
    words += ["--host", options.host, "--port", str(options.port), "--max-model-len", str(split.context)]
    words += ["--tensor-parallel-size", str(split.tensor)]
    if split.pipeline > 1:
        words += ["--pipeline-parallel-size", str(split.pipeline)]
    if ray:
        words += ["--distributed-executor-backend", "ray"]
    if split.experts:
        words.append("--enable-expert-parallel")
    if (name := method(options.quant, "vllm")[0]) is not None:
        words += ["--quantization", name]
    if kind := DTYPES[options.dtype]:
        words += ["--dtype", kind]
    if overrides := options.overrides:
        words += ["--hf-overrides", json.dumps(overrides)]
    if target.dual_chunk:
        words += _DUAL_CHUNK_FLAGS
    if parser := launch_command.reasoning(model, "vllm"):
        words += ["--reasoning-parser", parser]
    if parser := launch_command.tools(model, "vllm"):
        words += ["--enable-auto-tool-choice", "--tool-call-parser", parser]
    if target.sees:
        # Without it vLLM refuses requests that say how many frames of a video to look at.
        words.append("--trust-request-mm-kwargs")
    if options.adapters:
        highest = max(rank(path) for path in options.adapters)
        words += [
            "--enable-lora",
            "--max-lora-rank",
            str(next(r for r in (*_RANKS, highest) if r >= highest)),
        ]
        words += ["--lora-modules", *(f"{path.name}={path}" for path in options.adapters)]
    if options.drafted:  # without the number vLLM does not start
        drafting = {"method": "mtp", "num_speculative_tokens": options.drafted}
        words += ["--speculative-config", json.dumps(drafting)]
    if options.trust_remote_code:
        words.append("--trust-remote-code")
    words += ["--enable-prompt-tokens-details", *options.extra]
    return Command(
        tuple(words), _DUAL_CHUNK if target.dual_chunk else {}, "VLLM_API_KEY" if options.keyed else None
    )
