"""How plans are written: facts and tables for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from qwen_cli.commands.models.output import count, tokens, write, write_json, write_table
from qwen_cli.models.sizes import gb

if TYPE_CHECKING:
    from qwen_cli.models.formats.dual_chunk import Chunks
    from qwen_cli.models.planning.describe import Described
    from qwen_cli.models.planning.device_map import ModuleMap
    from qwen_cli.models.planning.hardware import Machine
    from qwen_cli.models.planning.plan import Plan

__all__ = ["facts", "form_facts", "machine_facts", "remark", "write_catalog", "write_json", "write_plan"]

_FITS = {"well": "fits well", "tight": "fits, little is left", "spills": "in parts", "no": "does not fit"}
_FITS_SHORT = {"well": "well", "tight": "tight", "spills": "parts", "no": "no"}
_PICTURE = (1280, 960)  # pixels of the picture whose tokens are told


def facts(plan: Plan, described: Described | None = None) -> dict[str, Any]:
    """Return a plan as JSON: sizes in bytes, speed in tokens a second."""
    shown_facts = {
        "name": plan.name,
        "licence": plan.licence,
        "parameters": plan.parameters,
        "active_parameters": plan.active,
        "context": plan.context,
        "kv_bytes_per_token": plan.cache_per_token,
        **form_facts(plan),
    }
    if described is not None:
        from qwen_cli.models.planning.describe import chunks

        counted = described.counted
        shown_facts |= {
            "context_trained": counted.context,
            "constant_state_bytes": counted.cache.constant_bytes(),
            "attention_layers": {
                "full": counted.cache.full,
                "sliding": counted.cache.sliding,
                "linear": counted.cache.linear,
            },
            "dual_chunk_attention": chunked.as_config() if (chunked := chunks(described)) else None,
            "experts": counted.experts,
            "active_experts": counted.active_experts,
            "tied_embeddings": counted.tied,
            "vision_parameters": sum(tensor.parameters for tensor in counted.vision),
            "visual_tokens": _visual_tokens(described),
            "from": described.origin,
        }
    return shown_facts


def form_facts(plan: Plan) -> dict[str, Any]:
    return {
        "form": plan.form,
        "engine": plan.engine,
        "weight_bytes": plan.weights,
        "read_bytes_per_token": plan.read,
        "kv": plan.kv if plan.engine == "llamacpp" else None,
        "kv_bytes": plan.cache,
        "n_cpu_moe": plan.n_cpu_moe,
        "checkpoint_bytes": plan.checkpoints,
        "activation_bytes": plan.working,
        "program_bytes": plan.runtime,
        "memory_bytes": plan.memory,
        "mapped_bytes": plan.mapped,
        "fit": plan.fit,
        "on": dict(plan.on),
        "tokens_per_second": round(plan.speed, 2) if plan.speed else None,
        "tokens_per_second_full_context": round(plan.full_speed, 2) if plan.full_speed else None,
        "prompt_tokens_per_second": round(plan.prompt_speed, 2) if plan.prompt_speed else None,
        "prompt_tokens_per_second_full_context": (
            round(plan.full_prompt_speed, 2) if plan.full_prompt_speed else None
        ),
        "speed_is_a_bound": plan.at_most,
        "speed_was_measured": plan.benched,
        "why": plan.why or None,
    }


def machine_facts(machine: Machine) -> dict[str, Any]:
    return {
        "name": machine.name,
        "memory_bytes": machine.memory,
        "free_bytes": machine.free,
        "cores": machine.cores,
        "bandwidth": round(machine.bandwidth),
        "bandwidth_measured": machine.measured,
        "multiply_adds_per_core": round(machine.multiplying),
        "unified_memory": machine.unified,
        "gpus": [
            {"name": g.name, "memory_bytes": g.memory, "free_bytes": g.free, "bandwidth": round(g.bandwidth)}
            for g in machine.gpus
        ],
    }


def remark(text: str) -> None:
    from qwen_cli.commands.shared.output import relay

    relay(text)


def write_plan(
    plan: Plan,
    described: Described,
    machine: Machine,
    mapped: ModuleMap | None,
    others: Sequence[Plan],
    instead: str | None,
) -> None:
    """Write what one model takes, then the same model in its other forms."""
    from qwen_cli.models.planning.describe import chunks

    counted = described.counted
    rows = [
        ("model", f"{plan.name}, {count(plan.parameters, None)} parameters{_active(plan, described)}"),
        ("licence", plan.licence or "not known"),
        ("from", described.origin),
        ("machine", _machine(machine)),
        ("weights", f"{gb(plan.weights)} as {plan.form}, for {plan.engine}"),
        ("KV cache", f"{gb(plan.cache)} at {plan.context:,} tokens of context{_kept(plan, described)}"),
        *(
            [("experts", f"those of {plan.n_cpu_moe} of {counted.layers} layers in main memory")]
            * bool(plan.n_cpu_moe)
        ),
        *(
            [("checkpoints", f"{gb(plan.checkpoints)} at most: states at the ends of turns")]
            * bool(plan.checkpoints)
        ),
        *([("long texts", _long_texts(plan, chunked))] if (chunked := chunks(described)) else []),
        ("activations", gb(plan.working)),
        ("program", gb(plan.runtime)),
        ("in all", f"{gb(plan.memory)}: {_FITS[plan.fit]}"),
        *([("prompt", _prompt(plan))] if plan.prompt_speed else []),
        ("speed", _speed(plan) + _when_full(plan)),
    ]
    if plan.why and plan.fit != "no":
        rows.insert(5, ("why", plan.why))
    if (visual := _visual_tokens(described)) and counted.merged_patch:
        rows.insert(-2, ("a picture", f"{visual:,} tokens at {_PICTURE[0]} × {_PICTURE[1]}"))
    if instead:
        rows[-1] = ("instead", instead)
    if plan.mapped:
        rows.insert(-1, ("mapped", f"{gb(plan.mapped)} more of the file, given back when memory is short"))
    for device, what in _devices(plan, mapped):
        rows.append((device, what))
    for name, value in rows:
        write(f"{name:<13}{value}")
    if len(others) > 1:
        typer.echo()
        write_table(
            ("form", "engine", "weights", "in all", "fits", "read/s", "tokens/s"),
            [
                (o.form, o.engine, gb(o.weights), gb(o.memory), _FITS[o.fit], _read(o), _rate(o))
                for o in others
            ],
            marked=lambda row: row[0] == plan.form,
        )


def write_catalog(machine: Machine, plans: Sequence[Plan], best: Mapping[str, Plan]) -> None:
    """Write the catalog as it fits a machine, and what is best for each task."""
    write_table(
        ("model", "size", "form", "memory", "context", "tokens/s", "fits", "licence"),
        [
            (
                p.name, _size(p), p.form, gb(p.memory), tokens(p.context), _rate(p), _FITS_SHORT[p.fit],
                p.licence or "?",
            )
            for p in plans
        ],
        least=("licence", "context", "form", "memory"),
    )  # fmt: skip
    typer.echo()
    write(f"{'machine':<13}{_machine(machine)}")
    for task, text in best_lines(best):
        write(f"{task:<13}{text}")


def best_lines(best: Mapping[str, Plan]) -> list[tuple[str, str]]:
    """Return a line for each task: "for chat" → "qwen3:4b as Q4_K_M, 2.5 GB, 7 tokens/s; qwen3:8b is better,
    but writes 4.0 tokens/s"."""
    from qwen_cli.models.planning.ranking import RANKED

    return [
        (
            f"for {task}",
            _best_line(best[task]) if task in best else "none fits well and is as fast as one reads",
        )
        for task in RANKED
    ]


def _best_line(plan: Plan) -> str:
    return f"{plan.name} as {plan.form}, {gb(plan.memory)}, {_speed(plan)}; {plan.why}"


def _size(plan: Plan) -> str:
    """Return the parameters as the names of the models give them: 30.5B-A3.4B."""
    whole = count(plan.parameters, None)
    return whole if plan.active == plan.parameters else f"{whole}-A{plan.active / 1e9:.2g}B"


def _active(plan: Plan, described: Described) -> str:
    if plan.active == plan.parameters:
        return ""
    counted = described.counted
    return (
        f", {count(plan.active, None)} used for a token "
        f"({counted.active_experts} of {counted.experts} experts)"
    )


def _kept(plan: Plan, described: Described) -> str:
    from qwen_cli.models.formats import kv_types
    from qwen_cli.models.planning.plan import SLOTS

    cache = described.counted.cache
    text = f", {plan.cache_per_token:,} bytes a token"
    if plan.kv != kv_types.USUAL:
        text += f" as {plan.kv}"
    if cache.sliding:
        text += f", {cache.sliding} layers keep {cache.window:,} tokens"
    if cache.linear:
        text += f" in {cache.full} layers, {cache.linear} keep a constant state"
        text += f" for each of {SLOTS} slots" if plan.engine == "llamacpp" else ""
    return text


def _long_texts(plan: Plan, chunked: Chunks) -> str:
    if plan.engine == "llamacpp":
        return f"no dual chunk attention in llama.cpp: beyond {chunked.original:,} tokens use transformers"
    return f"dual chunk attention beyond {chunked.size:,} tokens, {chunked.local:,} of them shared by chunks"


def _machine(machine: Machine) -> str:
    how = "measured" if machine.measured and machine.here else "" if machine.measured else "assumed"
    parts = [
        f"{machine.name}: {gb(machine.memory)} of memory ({gb(machine.free)} free)",
        f"{machine.cores} core{'s' if machine.cores != 1 else ''}",
        f"{machine.bandwidth / 1e9:.0f} GB/s {how}".strip(),
        *(
            (f"{gpu.name} sharing it" if machine.unified else f"{gpu.name} with {gb(gpu.memory)}")
            + (f", {gpu.bandwidth / 1e9:.0f} GB/s" if gpu.bandwidth else "")
            for gpu in machine.gpus
        ),
    ]
    return ", ".join(parts) + _used_by(machine)


def _used_by(machine: Machine) -> str:
    """Return which engines have a use for the GPUs, where not all do."""
    from qwen_cli.models.planning import hardware

    engines = [name for name in hardware.ENGINES if name in machine.gpu_engines]
    if not machine.gpus or len(engines) == len(hardware.ENGINES):
        return ""
    return f" (used by {engines[0]} alone)" if engines else " (used by nothing here: see `qwen doctor`)"


def _devices(plan: Plan, mapped: ModuleMap | None) -> list[tuple[str, str]]:
    """Return what goes where, if that is more than one place or accelerate was asked."""
    from qwen_cli.models.planning import device_map

    if mapped is not None:
        return [
            (f"on {device}", f"{gb(mapped.sizes[device])}: {what}")
            for device, what in device_map.describe(mapped).items()
        ]
    if len(plan.on) < 2 or plan.fit == "no":
        return []
    return [(f"on {device}", gb(size)) for device, size in plan.on.items()]


def _visual_tokens(described: Described) -> int | None:
    unit = described.counted.merged_patch
    if unit is None:
        return None
    from qwen_cli.media import smart_resize

    return smart_resize.tokens(*smart_resize.fitted(*_PICTURE, unit), unit)


def _speed(plan: Plan) -> str:
    if plan.speed is None:
        return "not told: the disk limits it" if "disk" in plan.on else "not told: the GPU's is not known"
    if plan.benched:
        return f"{_number(plan.speed)} tokens/s, as measured"
    return f"{'at most' if plan.at_most else 'about'} {_number(plan.speed)} tokens/s"


def _prompt(plan: Plan) -> str:
    """Return how fast a prompt is read, and one that fills the context where that is to be seen."""
    assert plan.prompt_speed
    text = f"about {_number(plan.prompt_speed)} tokens/s are read"
    full = plan.full_prompt_speed
    return f"{text}, {_number(full)} of a full context" if full and full < 0.95 * plan.prompt_speed else text


def _read(plan: Plan) -> str:
    return _number(plan.prompt_speed) if plan.prompt_speed else "–"


def _when_full(plan: Plan) -> str:
    """Return what becomes of the speed once the whole context is in the cache, where that is to be seen."""
    if plan.speed is None or plan.full_speed is None or plan.full_speed > 0.95 * plan.speed:
        return ""
    return f", {_number(plan.full_speed)} when the context is full"


def _rate(plan: Plan) -> str:
    return f"{'≤ ' if plan.at_most else ''}{_number(plan.speed)}" if plan.speed else "–"


def _number(value: float) -> str:
    return f"{value:.1f}" if value < 10 else f"{value:.0f}"
