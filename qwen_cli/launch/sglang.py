"""The command line of `sglang serve`: its flags are those of SGLang 0.5.23 (`sglang/srt/server_args.py`,
`sglang/srt/arg_groups/fields/`); a test holds every one against them."""

from __future__ import annotations

import json
from pathlib import Path

from qwen_cli.launch import command as launch_command
from qwen_cli.launch.command import DTYPES, Command, LaunchOptions, method, rank

# Qwen3-2507's cards ("Processing Ultra-Long Texts"); SGLang 0.5.19 is the last release with the backend.
_DUAL_CHUNK = ("--attention-backend", "dual_chunk_flash_attn", "--chunked-prefill-size", "131072")


def command(
    options: LaunchOptions, *, keys: Path | None = None, nodes: int = 1, node: int = 0, first: str = ""
) -> Command:
    """Return what starts it, on machine `node` of `nodes` that meet at `first` ("host:port").

    SGLang takes its key as a flag or from a file: `keys` is the file; without it the flag is shown with the
    variable that `qwen serve` reads.
    """
    target, split, model = options.target, options.split, options.target.model
    words = ["sglang", "serve", "--model-path", target.place]
    if ":" not in target.name:  # which SGLang keeps for model:adapter
        words += ["--served-model-name", target.name]
    elif model:
        words += ["--served-model-name", model.repo]
    words += ["--host", options.host, "--port", str(options.port), "--context-length", str(split.context)]
    words += ["--tp-size", str(split.tensor)]
    if split.pipeline > 1:
        words += ["--pp-size", str(split.pipeline)]
    if nodes > 1:
        words += ["--nnodes", str(nodes), "--node-rank", str(node), "--dist-init-addr", first]
    if split.experts:
        words += ["--ep-size", str(split.tensor)]
    if (name := method(options.quant, "sglang")[0]) is not None:
        words += ["--quantization", name]
    if kind := DTYPES[options.dtype]:
        words += ["--dtype", kind]
    if overrides := options.overrides:
        words += ["--json-model-override-args", json.dumps(overrides)]
    if target.dual_chunk:
        words += _DUAL_CHUNK
    if parser := launch_command.reasoning(model, "sglang"):
        words += ["--reasoning-parser", parser]
    if parser := launch_command.tools(model, "sglang"):
        words += ["--tool-call-parser", parser]
    if options.adapters:
        words += ["--enable-lora", "--max-lora-rank", str(max(rank(path) for path in options.adapters))]
        words += ["--lora-paths", *(f"{path.name}={path}" for path in options.adapters)]
    if options.drafted:  # one path of tokens, and the one that the model adds itself
        words += ["--speculative-algorithm", "NEXTN", "--speculative-num-steps", str(options.drafted)]
        words += ["--speculative-eagle-topk", "1"]
        words += ["--speculative-num-draft-tokens", str(options.drafted + 1)]
    if options.trust_remote_code:
        words.append("--trust-remote-code")
    words.append("--enable-cache-report")
    if options.keyed and node == 0:
        words += ["--config", str(keys)] if keys else ["--api-key", "$QWEN_SERVE_KEY"]
    return Command((*words, *options.extra))
