"""How a model is shared out over GPUs and machines.

Tensor parallelism cuts every layer, within a machine; pipeline parallelism gives whole layers to each group
of GPUs, and is used between machines, and within one where the heads cannot be divided and one group is too
small (vLLM's documentation, "Parallelism and Scaling").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qwen_cli.errors import ModelError, UsageError
from qwen_cli.launch.target import Target
from qwen_cli.models.formats import weight_formats
from qwen_cli.models.planning.gpus import Gpu
from qwen_cli.models.planning.plan import MIN_CONTEXT
from qwen_cli.models.sizes import gb

# vLLM takes 0.92 of a GPU (`CacheConfig.gpu_memory_utilization`), SGLang about as much.
_SHARE = 0.92
# Bytes of each GPU for activations and CUDA graphs (an allowance, not measured).
_WORKING = 2_000_000_000
_ROUND = 1024  # tokens


@dataclass(frozen=True)
class Split:
    """`tensor` GPUs share each layer, `pipeline` groups of them the layers. `experts`: whole experts are
    shared out, since they cannot be cut. `idle` GPUs of each machine are left; `context` is in tokens."""

    tensor: int
    pipeline: int
    experts: bool
    idle: int
    context: int

    @property
    def gpus(self) -> int:
        return self.tensor * self.pipeline


def work_out(
    target: Target,
    gpus: Sequence[Gpu],
    nodes: int = 1,
    *,
    form: str | None = None,
    context: int | None = None,
    longest: int = 0,
) -> Split:
    """Return the way to share out `target` in `form` (None: as it is stored) over `nodes` machines with
    `gpus` each.

    `context` in tokens; without it the `longest` that there is room for. Raises `ModelError` where it does
    not fit, `UsageError` where there is no GPU.
    """
    if not gpus:
        raise UsageError(
            "these engines run on GPUs, and this machine has none",
            "describe the one that has with `machine` and `dry_run`, or leave out `engine`",
        )
    counted = target.described.counted
    weights = target.described.bytes_in(form or target.described.stored)[0]
    room = min(gpu.memory for gpu in gpus) * _SHARE - _WORKING
    for tensor in range(len(gpus), 0, -1):
        experts = _experts_are_whole(target, tensor)
        if not divides(target, tensor, whole_experts=experts):
            continue
        for groups in dict.fromkeys((1, len(gpus) // tensor)):
            pipeline = nodes * groups
            if pipeline > counted.layers:
                continue
            left = room - weights / (tensor * pipeline)
            # Fewer KV heads than GPUs: each GPU keeps a whole one.
            shared = min(tensor, counted.cache.kv_heads) * pipeline
            held = _window(target, left * shared)
            there = held // _ROUND * _ROUND
            window = context or min(there, longest or there)
            if left > 0 and min(MIN_CONTEXT, longest or MIN_CONTEXT) <= window <= held:
                return Split(tensor, pipeline, experts, len(gpus) - tensor * groups, window)
    needed = weights + counted.cache.bytes_at(context or MIN_CONTEXT)
    each = f"{len(gpus)} × {gpus[0].name}" + (f" on each of {nodes} machines" if nodes > 1 else "")
    raise ModelError(
        f"{target.name} needs {gb(needed)} with {context or MIN_CONTEXT:,} tokens of context,"
        f" {each} have room for {gb(max(0.0, room) * len(gpus) * nodes)}",
        "take a quantized form (`quant=fp8`), a shorter `context`, or more machines (`nodes`)",
    )


def divides(target: Target, tensor: int, *, whole_experts: bool = False) -> bool:
    """Return whether every layer can be cut into `tensor` parts: query heads evenly, KV heads evenly or
    copied evenly, and the feed-forward width at the borders of quantized blocks (vLLM
    `verify_with_parallel_config`, `divide`; SGLang `models/qwen2.py`)."""
    counted, config = target.described.counted, target.config
    kv = counted.cache.kv_heads
    if counted.query_heads % tensor or (kv % tensor and tensor % kv):
        return False
    block = _block(config)
    widths = [config.get("shared_expert_intermediate_size")]
    widths += [config.get("intermediate_size")] if not counted.experts else []
    if counted.experts and not whole_experts:
        widths.append(config.get("moe_intermediate_size"))
    return all(not width or width % (tensor * block) == 0 for width in widths)


def _experts_are_whole(target: Target, tensor: int) -> bool:
    """Return whether experts are too narrow to be cut, but can be shared out (the FP8 cards of Qwen3's
    mixtures: expert parallelism, where a block of 128 does not divide their width)."""
    counted = target.described.counted
    if tensor == 1 or not counted.experts or counted.experts % tensor:
        return False
    return not divides(target, tensor)


def _block(config: dict[str, Any]) -> int:
    """Return the columns that share a scale and must stay together: 1 for plain weights."""
    quantized = config.get("quantization_config") or {}
    if block := quantized.get("weight_block_size"):
        return int(block[0])
    group = quantized.get("group_size")
    return int(group) if isinstance(group, int) and group > 0 else 1


def _window(target: Target, room: float) -> int:
    """Return the tokens of KV cache that `room` bytes hold, all GPUs together."""
    cache = target.described.counted.cache
    each = cache.bytes_per_token(weight_formats.PLAIN["bf16"])
    return int((room - cache.constant_bytes()) / each) if each else int(room)
