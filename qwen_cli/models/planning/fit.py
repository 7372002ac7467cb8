"""Whether a model fits, asked before memory or a download is spent on it, and what fits instead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qwen_cli.errors import ModelError
from qwen_cli.models.catalog import lookup, published
from qwen_cli.models.formats import kv_types, weight_formats
from qwen_cli.models.hub import resolve
from qwen_cli.models.hub.resolve import FORMATS, Format
from qwen_cli.models.planning import gpus, hardware
from qwen_cli.models.planning.hardware import Machine
from qwen_cli.models.sizes import gb

if TYPE_CHECKING:  # what counts is imported where there is something to count, on no other first token's way
    from qwen_cli.models.hub.resolve import Weights
    from qwen_cli.models.planning.describe import Described
    from qwen_cli.models.planning.plan import Plan


def before_load(
    weights: Weights, *, form: str | None = None, rest: str = "bf16", scaled: bool = False, **wanted: Any
) -> tuple[Plan | None, str | None]:
    """Check, before weights that are here are loaded, that they fit.

    Return the plan, and a remark where memory will be short. `form`, `rest` and what else is `wanted` as in
    `make`; where positions are `scaled` the context may be longer than the model was trained for. A
    model that takes less than a quarter of the free memory with its context, where one is asked for, is let
    through without counting (`None`): it stands on the way to the first token. Raises `ModelError` where it
    cannot fit, with the nearest that does.
    """
    longest = (wanted.get("context") or 0) * weights.architecture.kv_bytes_per_token()
    if (weights.size + longest) * 4 < hardware.free_memory() and not gpus.has_gpu():
        return None, None
    from qwen_cli.models.planning.describe import of_weights, stretched
    from qwen_cli.models.planning.plan import make

    described, machine = of_weights(weights), hardware.this_machine()
    if scaled:
        described = stretched(described, wanted.get("context"))
    plan = make(described, machine, form=form, rest=rest, **wanted)
    return plan, check(described, machine, plan)


def before_fetch(
    name: str, *, prefer: Format | None, quant: str | None = None, context: int | None = None, **wanted: Any
) -> None:
    """Check that a model of the catalog which is not here fits, before gigabytes of it are fetched.

    `prefer` is the form that would be fetched (`None`: what suits this machine), `quant` a GGUF file type,
    "8bit", "4bit" or "none", as a file type in `name` is. Raises `ModelError` where the model cannot fit,
    with the nearest that does.
    """
    model = lookup.find(name)
    quant = quant or lookup.spelled(name)[1]
    if model is None or not published.has_shape(model) or _is_here(model):
        return
    from qwen_cli.models.planning.describe import of_model
    from qwen_cli.models.planning.plan import make, usual_form

    described, machine = of_model(model), hardware.this_machine()
    context = min(context, model.context) if context else None
    form = usual_form(described, machine, context=context, formats=(prefer,) if prefer else FORMATS)
    if quant and quant.lower() != "none":
        form = quant.lower() if quant.lower() in weight_formats.BITSANDBYTES else quant.upper()
    elif quant:
        form = "bf16"
    check(described, machine, make(described, machine, form=form, context=context, **wanted))


def _is_here(model: lookup.Model) -> bool:
    return bool(resolve.find_local(model, "gguf") or resolve.find_local(model, "safetensors"))


def check(described: Described, machine: Machine, plan: Plan) -> str | None:
    """Return None where a plan fits, a remark where memory will be short. Raises `ModelError` where it cannot
    fit."""
    if plan.fit == "no":
        raise ModelError(
            f"{plan.name} as {plan.form} needs {gb(plan.memory)} with {plan.context:,} tokens of context, "
            f"{machine.name} has {_room(machine, plan)}",
            nearest(described, machine, plan),
        )
    seen = machine.seen_by(plan.engine)
    if plan.memory > machine.free and (seen.unified or not seen.gpus):
        return f"{plan.name} needs {gb(plan.memory)}, {gb(machine.free)} are free now: close other programs"
    return None


def _room(machine: Machine, plan: Plan) -> str:
    machine = machine.seen_by(plan.engine)
    own = () if machine.unified else machine.gpus
    gpus = f"{gb(sum(gpu.free for gpu in own))} of GPU memory and " if own else ""
    if plan.engine == "llamacpp":
        return f"{gpus}{gb(machine.memory)}"
    return f"{gpus}{gb(machine.free)} free"


def nearest(described: Described, machine: Machine, plan: Plan) -> str:
    """Return what to do instead of a plan that does not fit: another form, a shorter context, a smaller
    model."""
    from qwen_cli.models.planning.describe import of_model
    from qwen_cli.models.planning.plan import MIN_CONTEXT, make

    counted, model = described.counted, described.model
    if plan.n_cpu_moe:
        freely = make(described, machine, form=plan.form, context=plan.context)
        if freely.fit != "no" and freely.n_cpu_moe != plan.n_cpu_moe:
            more = freely.n_cpu_moe
            return f"use `n_cpu_moe={more}`" if more else "leave `n_cpu_moe` out"
    if plan.kv not in kv_types.QUANTIZED:
        for kv in kv_types.quantized(counted.cache.head_dim) if plan.engine == "llamacpp" else ():
            smaller = make(described, machine, form=plan.form, context=plan.context, kv=kv)
            if smaller.fit in ("well", "tight"):
                return f"use `kv={kv}`, which needs {gb(smaller.memory)}"
    on_gpus = machine.gpus and "transformers" in machine.gpu_engines and "llamacpp" not in machine.gpu_engines
    if plan.engine == "transformers" and not on_gpus and model and model.gguf_repo:
        # On the same devices llama.cpp is faster than bitsandbytes, on a processor several times.
        file = make(of_model(model), machine, form=model.quant)
        if file.fit in ("well", "tight"):
            return f"use `engine=llamacpp`, which needs {gb(file.memory)} as {file.form}"
    if plan.engine == "transformers":
        for form in weight_formats.BITSANDBYTES:
            smaller = make(described, machine, form=form, context=plan.context)
            if smaller.fit in ("well", "tight"):
                return f"use `quant={form}`, which needs {gb(smaller.memory)}"
    if plan.context > MIN_CONTEXT and counted.cache.bytes_per_token():
        short = make(described, machine, form=plan.form, context=MIN_CONTEXT)
        if short.fit in ("well", "tight"):
            return f"use `context={MIN_CONTEXT}`, which needs {gb(short.memory)}"
    if plan.engine == "llamacpp":
        for form in ("Q4_K_M", "Q3_K_M", "Q2_K"):
            smaller = make(described, machine, form=form, context=min(plan.context, MIN_CONTEXT))
            if smaller.weights < plan.weights and smaller.fit in ("well", "tight"):
                return f"a GGUF of type {form} would fit with {gb(smaller.memory)}"
    if other := _smaller(described, machine, plan):
        return f"use {other.name}, which needs {gb(other.memory)} as {other.form}"
    return "no model of the catalog that is like it fits this machine"


def _smaller(described: Described, machine: Machine, plan: Plan) -> Plan | None:
    """Return the best model for the same tasks that fits and is smaller; of the same family if there is one,
    and as GGUF if this one is."""
    from qwen_cli.models.planning import ranking
    from qwen_cli.models.planning.describe import of_model
    from qwen_cli.models.planning.plan import make

    model = described.model
    tasks = set(model.tasks if model else ("chat",))
    family = model.family if model else ""
    ranked = next((task for task in ("vision", "chat", "math", "code") if task in tasks), None)
    others = ranking.ordered(ranked) if ranked else [m for m in lookup.MODELS if published.has_shape(m)]
    fitting = []
    for other in others:
        if other.parameters < plan.parameters and tasks <= set(other.tasks):
            form = other.quant if plan.engine == "llamacpp" and other.gguf_repo else None
            candidate = make(of_model(other), machine, form=form)
            if candidate.fit == "well":
                fitting.append(candidate)
    return next((one for one in fitting if one.name.startswith(f"{family}:")), next(iter(fitting), None))
