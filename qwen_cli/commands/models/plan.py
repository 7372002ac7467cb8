"""`qwen models plan`: what a model takes and how fast it would be, before anything is fetched."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from qwen_cli import aliases
from qwen_cli import settings as user_settings
from qwen_cli.commands.models import plan_output
from qwen_cli.commands.shared import complete, options
from qwen_cli.commands.shared.flags import spelled
from qwen_cli.engines.core import rope
from qwen_cli.errors import UsageError

if TYPE_CHECKING:
    from qwen_cli.models.planning.describe import Described
    from qwen_cli.models.planning.device_map import ModuleMap
    from qwen_cli.models.planning.hardware import Machine
    from qwen_cli.models.planning.plan import Plan


def plan(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL]",
            help="Model alias (qwen3:8b), hub id, folder or .gguf file; all known if not given.",
            autocompletion=complete.models,
            callback=aliases.meant_if_given,
        ),
    ] = None,
    context: Annotated[
        int | None,
        typer.Option(
            "--context",
            help="Size of the context window in tokens; 16,384 if not given, or the model's maximum if less.",
        ),
    ] = None,
    quant: Annotated[
        str | None,
        typer.Option(
            "--quant",
            help="Quantization of the weights: none, 8bit, 4bit, or a GGUF file type such as q5_k_m; all if "
            "not given.",
        ),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option("--dtype", help="Number format to compute in: bf16, fp16 or fp32 (transformers)."),
    ] = None,
    max_memory: Annotated[
        str | None,
        typer.Option(
            "--max-memory",
            help="Maximum memory for weights on each device, such as 0=10GiB,cpu=20GiB; the rest "
            "stays on disk.",
        ),
    ] = None,
    kv: Annotated[
        str | None,
        typer.Option(
            "--kv",
            help="Number format of the KV cache: f16, bf16, q8_0 or q4_0; f16 if not given, or what makes "
            "the context fit (llamacpp).",
        ),
    ] = None,
    n_cpu_moe: Annotated[
        int | None,
        typer.Option(
            "--n-cpu-moe",
            min=0,
            help="Keep the experts of the first N layers in main memory and all else on the GPU; as many as "
            "necessary if not given (llamacpp).",
        ),
    ] = None,
    rope_scaling: options.RopeScaling = None,
    dca_chunk: options.DcaChunk = None,
    machine: Annotated[
        Path | None,
        typer.Option("--machine", help="File that describes another machine to plan for (.toml or .json)."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Plan what a model would need and how fast it would be on this machine, before it is downloaded.

    Without a model, list all known ones by how well they fit, and the best for chat, code, math and vision.

    Examples:
      qwen models plan
      qwen models plan qwen3:32b --quant q4_k_m --context 32768
    """
    if context is not None:
        user_settings.check("context", context)
    scaling = rope.checked(rope_scaling, dca_chunk)
    there = _machine(machine)
    if model is None:
        if given := [
            n
            for n, v in (
                ("--quant", quant),
                ("--dtype", dtype),
                ("--max-memory", max_memory),
                ("--kv", kv),
                ("--n-cpu-moe", n_cpu_moe),
                ("--rope-scaling", rope_scaling),
            )
            if v is not None
        ]:
            raise UsageError(f"{given[0]} needs a model", "name one, or leave the flag out")
        _catalog(there, context, as_json)
        return
    stretch = _Stretch(scaling, dca_chunk)
    _one(model, there, context, quant, dtype, max_memory, stretch, as_json, _for_llamacpp(kv, n_cpu_moe))


class _Stretch(NamedTuple):
    """How positions are to go beyond those that a model was trained at; `chunk` as in `rope.extended`."""

    scaling: rope.Scaling | None
    chunk: int | None


def _for_llamacpp(kv: str | None, n_cpu_moe: int | None) -> dict[str, Any]:
    """Return the options that llama.cpp alone has, as `plan.make` takes them. Raises `UsageError`."""
    from qwen_cli.models.formats import kv_types

    given = {"kv": kv_types.checked(kv) if kv is not None else None, "n_cpu_moe": n_cpu_moe}
    return {name: value for name, value in given.items() if value is not None}


def _machine(file: Path | None) -> Machine:
    from qwen_cli.models.planning import hardware

    return hardware.read(file) if file else hardware.this_machine(measure=True)


def _catalog(machine: Machine, context: int | None, as_json: bool) -> None:
    from qwen_cli.models.planning import ranking

    plans, best = ranking.table(machine, context), ranking.best(machine)
    if as_json:
        plan_output.write_json(
            {
                "machine": plan_output.machine_facts(machine),
                "best": {task: plan.name for task, plan in best.items()},
                "why": {task: plan.why for task, plan in best.items()},
                "models": [plan_output.facts(plan) for plan in plans],
            }
        )
        return
    plan_output.write_catalog(machine, plans, best)


def _one(
    name: str,
    machine: Machine,
    context: int | None,
    quant: str | None,
    dtype: str | None,
    max_memory: str | None,
    stretch: _Stretch,
    as_json: bool,
    llamacpps: Mapping[str, Any],
) -> None:
    from qwen_cli.commands.shared.output import relay
    from qwen_cli.engines.transformers import device_map
    from qwen_cli.models.formats import weight_formats
    from qwen_cli.models.planning import describe, fit, hardware
    from qwen_cli.models.planning import plan as planning_plan
    from qwen_cli.ui.progress import Waiting

    form, rest = _form(quant, dtype)
    most = device_map.places(None, max_memory, None).memory if max_memory is not None else None
    if most is not None:
        machine = hardware.limited(machine, most)
    wanted = weight_formats.engine_of(form) if form else None
    prefer: Literal["gguf", "safetensors"] = (
        "safetensors"
        if wanted == "transformers"
        or most is not None
        or stretch.scaling == "dca"
        or (machine.gpus and not llamacpps)
        else "gguf"
    )
    with Waiting(f"looking at {name} …", relay):
        described = describe.describe(name, prefer=prefer, quant=form if wanted == "llamacpp" else None)
    described = _scaled(described, stretch, context)
    if (
        form is None
        and (most is not None or stretch.scaling == "dca")
        and described.engine_of(described.stored) == "llamacpp"
        and described.config
    ):
        form = "bf16"  # the limits are accelerate's, the attention is of the same engine
    if form is None and llamacpps:
        form = described.stored
    one = planning_plan.make(
        described, machine, form=form, context=context, rest=rest, offload=most is not None, **llamacpps
    )
    if stretch.scaling == "dca" and one.engine == "llamacpp":
        raise UsageError("llama.cpp has no dual chunk attention", "use `rope_scaling=yarn`, or safetensors")
    if described.note:
        plan_output.remark(described.note)
    mapped = None
    if one.engine == "transformers" and described.config and (machine.gpus or most is not None):
        mapped = _mapped(described, machine, most, one, rest)
    instead = spelled(fit.nearest(described, machine, one)) if one.fit == "no" else None
    others = _others(described, machine, one, context, rest, is_given=form is not None or bool(llamacpps))
    if as_json:
        plan_output.write_json(
            {
                **plan_output.facts(one, described),
                "machine": plan_output.machine_facts(machine),
                "device_map": dict(mapped.modules) if mapped else None,
                "forms": [plan_output.form_facts(other) for other in others],
                "instead": instead,
                "note": described.note,
            }
        )
        return
    plan_output.write_plan(one, described, machine, mapped, others, instead)


def _scaled(described: Described, stretch: _Stretch, context: int | None) -> Described:
    """Return the model with the window that it has for `context` tokens. Raises `UsageError`."""
    from qwen_cli.models.planning import describe

    trained = described.counted.context
    if stretch.scaling == "dca" and described.config:
        shape = rope.extended(describe.shape(described), "dca", context, described.name, stretch.chunk)
        return describe.chunked(described, shape)
    if trained is None or stretch.scaling != "yarn":
        return described
    return describe.stretched(described, rope.reach(trained, context, described.name))


def _form(quant: str | None, dtype: str | None) -> tuple[str | None, str]:
    """Return the form that the two flags ask for, and the dtype of what is not quantized."""
    from qwen_cli.models.formats import weight_formats

    rest = weight_formats.parse(dtype) if dtype and dtype.lower() != "auto" else "bf16"
    if rest not in weight_formats.PLAIN:
        raise UsageError(f"--dtype must be auto, bf16, fp16 or fp32, got {dtype!r}")
    if quant is None:
        return (rest if dtype and dtype.lower() != "auto" else None), rest
    if quant.lower() == "none":
        return rest, rest
    form = weight_formats.parse(quant)
    if form in weight_formats.PLAIN:
        raise UsageError(f"--quant {quant} is a dtype", f"use --dtype {form}")
    if dtype and weight_formats.engine_of(form) == "llamacpp":
        raise UsageError(f"--dtype is for safetensors, --quant {quant} for GGUF", "give one of the two")
    return form, rest


def _mapped(
    described: Described, machine: Machine, most: dict[int | str, int] | None, one: Plan, rest: str
) -> ModuleMap | None:
    from qwen_cli.commands.shared.output import relay
    from qwen_cli.models.formats import weight_formats
    from qwen_cli.models.planning import device_map as planning_device_map
    from qwen_cli.ui.progress import Waiting

    assert described.config is not None
    if one.form not in weight_formats.PLAIN and one.form not in weight_formats.BITSANDBYTES:
        return None  # published quantizations: their own loaders say what is where
    with Waiting("asking accelerate where it would go …", relay):
        return planning_device_map.infer(described.config, machine, most, one.form, rest)


def _others(
    described: Described, machine: Machine, one: Plan, context: int | None, rest: str, *, is_given: bool
) -> list[Plan]:
    """Return the same model in every other form it can be had in, the larger first; only the one that was
    asked for."""
    from qwen_cli.models.formats import weight_formats
    from qwen_cli.models.planning import plan as planning_plan

    if is_given:
        return [one]
    # Processors have no fast kernels for float16, GPUs have all of them.
    plain = ("fp32", "bf16", "fp16") if machine.gpus else ("fp32", "bf16")
    forms = [*plain, *weight_formats.BITSANDBYTES] if described.config else []
    if not described.config or described.model is None or described.model.gguf_repo:
        forms += weight_formats.OFFERED
    plans = [
        planning_plan.make(described, machine, form=form, context=context, rest=rest)
        for form in dict.fromkeys([one.form, *forms])
    ]
    return sorted(plans, key=lambda each: -each.weights)
