"""What it takes to run a model on a machine, before anything is loaded or fetched: memory, where it goes,
speed.

`make` is the whole of it; `auto` (`models.placement`), `qwen models plan`, `qwen doctor` and the check before
a load (`models.fitting`) all ask it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf
from typing import Literal, TypeAlias

from qwen_cli.errors import UsageError
from qwen_cli.models.catalog import lookup
from qwen_cli.models.formats import config_fields, kv_types, weight_formats
from qwen_cli.models.formats.weight_formats import Engine
from qwen_cli.models.hub.resolve import FORMATS, Format
from qwen_cli.models.planning import benched, reasons, speed
from qwen_cli.models.planning.describe import Described
from qwen_cli.models.planning.hardware import Machine

Fit: TypeAlias = Literal["well", "tight", "spills", "no"]
FITS: tuple[Fit, ...] = ("well", "tight", "spills", "no")

DEFAULT_CONTEXT, MIN_CONTEXT = 16_384, 4_096  # tokens, as both local engines take where none are asked for
GOOD_CONTEXT = 8_192  # tokens; a model that has room for fewer does not fit well
TYPICAL = 2_000  # tokens of conversation at which speed is told: the cache is read for each token, too
BEARABLE = 5.0  # tokens a second: about as fast as one reads

# The share of its memory that a machine gives to a model without being short of it for other things.
_CPU_SHARE, _GPU_SHARE = 0.65, 0.9
# Resident before any weights, measured on Linux x86_64: the interpreter with xllamacpp, and with torch,
# transformers and what they import.
_RUNTIME: dict[Engine, int] = {"llamacpp": 65_000_000, "transformers": 915_000_000}
_BITSANDBYTES = 50_000_000  # bytes that importing it and its buffers add
_CUDA_CONTEXT = 500_000_000  # bytes that CUDA and its kernels take of each GPU (an allowance, not measured)
# Tokens of a prompt that are computed at once: llamacpp_load.py, prefix_cache.py.
_CHUNK: dict[Engine, tuple[int, int]] = {"llamacpp": (128, 512), "transformers": (512, 2048)}
_SPARE = (
    1.25  # transformers' cache is grown by half (engines/growing_layer.py): a quarter is spare on average
)
# Conversations and samples that llama.cpp has room for (`LoadOptions.parallel`): each has the constant states
# of linear attention for itself, while all share the keys and values.
SLOTS = 8
# A form that is better otherwise may be so many times slower than the fastest.
_SLOWEST = 3
# Weights that stay in memory while a GPU computes are copied for each token: PCIe 3.0 × 16 by its
# specification.
_LINK = 15.75e9
# How far YaRN takes every model: four times the length that it was trained at, which of 40,960 is 32,768
# (engines/core/rope.py).
_YARN = 3.2


@dataclass(frozen=True)
class Plan:
    """One model in one form on one machine. Everything is in bytes but `context` (tokens) and `speed` (tokens
    a second; None where it cannot be told). `checkpoints` are copies of running states at the ends of turns
    (hybrids). `at_most` says that the speed is memory's limit and nothing
    measured. `working` is for activations and buffers, `runtime` for the program itself. `mapped` is what
    more of its file the system counts as the program's, and takes back when memory is short; `untouched` what
    of it is never read, a token table but for a few rows. `on` tells how many bytes go where: "cuda:0",
    "cpu", "disk". `kv` is what llama.cpp keeps keys and values as, `n_cpu_moe` the layers whose experts stay
    in main memory while all else is on GPUs. `speed` is that of a conversation of `TYPICAL` tokens,
    `full_speed` that with the whole context in the cache, `prompt_speed` that of reading a prompt of
    `TYPICAL` tokens and `full_prompt_speed` that of one that fills the context;
    they are what `qwen bench` measured here where `benched`. `why` tells why this was chosen ("" where it was
    not).
    """

    name: str
    form: str
    engine: Engine
    context: int
    parameters: int
    active: int
    weights: int
    read: int
    cache_per_token: int
    cache: int
    checkpoints: int
    working: int
    runtime: int
    mapped: int
    untouched: int
    fit: Fit
    on: Mapping[str, int]
    speed: float | None
    at_most: bool
    licence: str | None = None
    model: lookup.Model | None = field(default=None, repr=False)
    kv: str = kv_types.USUAL
    n_cpu_moe: int = 0
    full_speed: float | None = None
    prompt_speed: float | None = None
    full_prompt_speed: float | None = None
    benched: bool = False
    why: str = ""

    @property
    def memory(self) -> int:
        """Return all bytes: weights, cache and its checkpoints, working memory and runtime."""
        return self.weights + self.cache + self.checkpoints + self.working + self.runtime

    @property
    def resident(self) -> int:
        """Return the bytes that the system counts as the program's on a processor (its resident set)."""
        return self.memory + self.mapped - self.untouched

    @property
    def bearable(self) -> bool:
        """Return whether it writes as fast as one reads; a GPU whose speed is not known does."""
        return self.speed >= BEARABLE if self.speed is not None else self.at_most and self.fit == "well"


def make(
    described: Described,
    machine: Machine,
    *,
    form: str | None = None,
    context: int | None = None,
    rest: str = "bf16",
    offload: bool = False,
    kv: str | None = None,
    n_cpu_moe: int | None = None,
) -> Plan:
    """Return the plan for `described` on `machine`.

    `form` is a name of `weight_formats` or the form that the weights are in (`None`: what `auto` would take),
    `rest` the dtype of what bitsandbytes leaves alone, `context` in tokens. `offload` lets weights go to the
    disk. `kv` and `n_cpu_moe` are as in `LoadOptions`, for llama.cpp: keys and values are quantized by
    themselves where the model fits for it, to q8_0 also where all of it is on GPUs then. Raises `UsageError`
    where the context is more than the model reads, and for what its engine or the model does not have.
    """
    free = form is None
    if form is None:
        form = usual_form(described, machine, context=context)
    _check_llamacpps(described, form, kv, n_cpu_moe)
    made = partial(
        _make, described, machine, form, context=context, rest=rest, offload=offload, n_cpu_moe=n_cpu_moe
    )
    plan = _with_kv(_as_benched(made(kv=kv or kv_types.USUAL), machine), made, described, kv)
    if free:
        why = reasons.of_form(plan, machine, free=_is_published(described))
        plan = replace(plan, why=why)
    return plan


def _with_kv(plan: Plan, made: Callable[..., Plan], described: Described, kv: str | None) -> Plan:
    """Return `plan`, or that with keys and values quantized for which the model fits, where nobody said how
    they are kept. `made` makes one for another `kv`."""
    if kv is not None or plan.engine != "llamacpp":
        return plan
    for smaller in kv_types.quantized(described.counted.cache.head_dim):
        if plan.fit == "no" or (plan.fit == "spills" and smaller == kv_types.QUANTIZED[0]):
            other = made(kv=smaller)
            whole = other.fit in ("well", "tight")
            if whole or (plan.fit == "no" and other.fit != "no"):
                return other
    return plan


def _as_benched(plan: Plan, machine: Machine) -> Plan:
    """Return `plan` with the speeds that were measured on this machine, where they were."""
    if not machine.here or plan.fit == "no":
        return plan
    names = ("llamacpp", "llama-server") if plan.engine == "llamacpp" else (plan.engine,)
    found = [rates for name in names if (rates := benched.rates(plan.name, plan.form, name))]
    usual = [one for rates in found if (one := benched.near(rates, min(plan.context, TYPICAL)))]
    if not usual:
        return plan
    best = max(usual, key=lambda one: one.decode)
    full = [one for rates in found if (one := benched.near(rates, plan.context))]
    return replace(
        plan,
        speed=best.decode,
        prompt_speed=best.prefill,
        full_speed=max(one.decode for one in full) if full else None,
        full_prompt_speed=max(one.prefill for one in full) if full else None,
        at_most=False,
        benched=True,
    )


def _check_llamacpps(described: Described, form: str, kv: str | None, n_cpu_moe: int | None) -> None:
    """Raise `UsageError` for an option of llama.cpp's that has no meaning here."""
    given = [
        f"`{name}={value}`" for name, value in (("kv", kv), ("n_cpu_moe", n_cpu_moe)) if value is not None
    ]
    if given and described.engine_of(form) != "llamacpp":
        raise UsageError(
            f"{given[0]} is for llama.cpp, {described.name} as {form} runs with transformers",
            "leave it out, or name a GGUF file type, such as `quant=q4_k_m`",
        )
    if kv:
        kv_types.check_heads(kv, described.counted.cache.head_dim, described.name)
    if n_cpu_moe and not described.counted.experts:
        raise UsageError(
            f"`n_cpu_moe={n_cpu_moe}` is for models with experts, {described.name} has none", "leave it out"
        )


def _make(
    described: Described,
    machine: Machine,
    form: str,
    *,
    context: int | None,
    rest: str,
    offload: bool,
    kv: str,
    n_cpu_moe: int | None,
) -> Plan:
    """Return the plan for what is chosen: see `make`."""
    engine = described.engine_of(form)
    machine = machine.seen_by(engine)
    counted, llamacpp = described.counted, engine == "llamacpp"
    weights, read = described.bytes_in(form, rest)
    value: float = weight_formats.PLAIN.get(form, weight_formats.PLAIN[rest])
    if llamacpp:
        value = kv_types.BYTES[kv]
    window = _window(described, machine, context, weights, value)
    kept = counted.cache.bytes_at(window, value, llamacpp=llamacpp)
    if llamacpp:
        kept += (SLOTS - 1) * counted.cache.constant_bytes(value, llamacpp=True)
    checkpoints = counted.cache.checkpoint_bytes(value, llamacpp=llamacpp)
    gpu = bool(machine.gpus)
    working = _working(described, engine, value, window, gpu=gpu)
    cache = kept if llamacpp else int(kept * _SPARE)
    runtime = _RUNTIME[engine] + (_BITSANDBYTES if form in weight_formats.BITSANDBYTES else 0)
    mapped, untouched = _mapped(described, form, rest)
    beside = runtime + checkpoints  # in main memory, wherever the model computes
    on, fit = _place(machine, engine, weights, cache + working, beside, offload=offload)
    shares = {device: size / sum(on.values()) for device, size in on.items()}
    moved = _experts_moved(described, machine, weights, cache + working, n_cpu_moe) if llamacpp else None
    if moved:
        on, shares = moved.on, moved.shares
        fit = "spills" if moved.fits and moved.on["cpu"] + beside <= machine.memory * 19 // 20 else "no"
    if context is None and fit == "well" and window < min(counted.context or window, GOOD_CONTEXT):
        fit = "tight"
    usual = counted.cache.bytes_at(min(window, TYPICAL), value, llamacpp=llamacpp)
    rate = full = prompt = whole_prompt = None
    if fit != "no":
        rate = _speed(described, machine, form, rest, read, usual, shares)
        whole = counted.cache.bytes_at(window, value, llamacpp=llamacpp)
        full = _speed(described, machine, form, rest, read, whole, shares)
        if not machine.gpus and "disk" not in on:
            prompt = speed.of_prompt(machine, described, form, tokens=min(window, TYPICAL))
            whole_prompt = speed.of_prompt(machine, described, form, tokens=window)
    return Plan(
        name=described.name,
        form=form,
        engine=engine,
        context=window,
        parameters=counted.parameters,
        active=counted.active,
        weights=weights,
        read=read,
        cache_per_token=counted.cache.bytes_per_token(value),
        cache=cache,
        checkpoints=checkpoints,
        working=working,
        runtime=runtime,
        mapped=mapped,
        untouched=untouched,
        fit=fit,
        on=on,
        speed=rate,
        at_most=gpu,
        licence=described.licence,
        model=described.model,
        kv=kv,
        n_cpu_moe=moved.layers if moved else 0,
        full_speed=full,
        prompt_speed=prompt,
        full_prompt_speed=whole_prompt,
    )


@dataclass(frozen=True)
class _Moved:
    """The experts of the first `layers` layers in main memory, all else on the GPUs: `on` in bytes, `shares`
    of what is read for a token. `fits` says that the GPUs have room for theirs."""

    layers: int
    on: dict[str, int]
    shares: dict[str, float]
    fits: bool


def _experts_moved(
    described: Described, machine: Machine, weights: int, beside: int, wanted: int | None
) -> _Moved | None:
    """Return where all goes with the experts of `wanted` layers in main memory, or of as few as leave room
    for the rest on the GPUs (llama.cpp fits it so: common/fit.cpp). `None` where none are moved: the GPUs
    hold all, not even the rest, or there are none.

    Experts take the same share of the weights as of the parameters: quantizations treat them alike."""
    counted = described.counted
    gpus = () if machine.unified else machine.gpus
    if not gpus or not counted.experts or wanted == 0:
        return None
    rooms = [max(0, gpu.free - _CUDA_CONTEXT) for gpu in gpus]
    stored, used = dict.fromkeys(range(counted.layers), 0), dict.fromkeys(range(counted.layers), 0)
    for tensor in counted.tensors:
        if tensor.copies > 1 and tensor.layer in stored:
            stored[tensor.layer] += tensor.parameters
            used[tensor.layer] += tensor.active
    total, active = counted.parameters, counted.active
    for layers in range(counted.layers + 1) if wanted is None else (min(wanted, counted.layers),):
        away = weights * sum(stored[layer] for layer in range(layers)) // total
        left = weights - away + beside
        if wanted is None and left > sum(rooms):
            continue
        if not away:
            return None
        read = sum(used[layer] for layer in range(layers)) / active
        on, shares = {}, {}
        for index, room in enumerate(rooms):
            on[f"cuda:{index}"] = left * room // max(1, sum(rooms))
            shares[f"cuda:{index}"] = (1 - read) * room / max(1, sum(rooms))
        return _Moved(layers, {**on, "cpu": away}, {**shares, "cpu": read}, left <= sum(rooms))
    return None


def usual_form(
    described: Described,
    machine: Machine,
    *,
    context: int | None = None,
    formats: Collection[Format] = FORMATS,
) -> str:
    """Return the form that `auto` takes: the files that are here as they are; else, of those `formats` in
    which the model is published, the one that runs best on this machine.

    A GGUF comes first, then the weights as published, then these in four bits where the GPUs do not hold
    them otherwise; but none where another writes three times as fast. Without a GPU a GGUF is always faster:
    PyTorch on the processor is none where llama.cpp computes on a GPU.
    """
    if not described.model or not _is_published(described):
        return described.stored
    # Many models of experts have these in one tensor, which bitsandbytes leaves alone: the plan counts it.
    forms = ["bf16", "4bit"] if "safetensors" in formats or described.stored == "bf16" else []
    if "gguf" in formats and described.stored != "bf16":
        forms.insert(0, described.stored)
    if not machine.gpus:
        return forms[0]
    plans = [make(described, machine, form=form, context=context) for form in forms]
    if any(plan.engine == "llamacpp" for plan in plans):
        plans = [plan for plan in plans if not machine.wasted_by(plan.engine)]
    if any(plan.form == "bf16" and plan.fit == "well" for plan in plans):
        plans = [plan for plan in plans if plan.form != "4bit"]
    fastest = max(_rate(plan) for plan in plans)
    able = [plan for plan in plans if plan.fit != "no" and _rate(plan) * _SLOWEST >= fastest]
    easily = [plan for plan in able if plan.fit == "well"]
    return (easily or able or plans)[0].form


def _is_published(described: Described) -> bool:
    """Return whether a model is described as it was published, not by files that are here."""
    return described.model is not None and described.origin.startswith("the published")


def _rate(plan: Plan) -> float:
    """Return the tokens a second to compare plans by: all is quick on a GPU of which no speed is known."""
    if plan.speed is not None:
        return plan.speed
    return inf if plan.bearable else 0.0


def _window(described: Described, machine: Machine, wanted: int | None, weights: int, value: float) -> int:
    trained = described.counted.context or DEFAULT_CONTEXT
    if wanted is not None:
        if not 0 < wanted <= trained:
            further = ", or add `rope_scaling=yarn`" if wanted <= trained * _YARN else ""
            raise UsageError(
                f"{described.name} was trained for {trained:,} tokens of context, {wanted:,} were asked for",
                f"use `context={trained}` or less{further}",
            )
        return wanted
    window = min(trained, DEFAULT_CONTEXT)
    room = max(machine.free, *(gpu.free for gpu in machine.gpus), 0) if machine.gpus else machine.free
    while window > MIN_CONTEXT and described.counted.cache.bytes_at(window, value) > (room - weights) // 2:
        window //= 2
    return window


def _working(described: Described, engine: Engine, value: float, window: int, *, gpu: bool) -> int:
    """Return the bytes of activations while a prompt is read, the largest thing that is computed: a chunk of
    it through one layer, with llama.cpp's logits for each of its tokens, and the eyes for one picture of
    1,024 tokens."""
    counted = described.counted
    chunk = min(_CHUNK[engine][gpu], window)
    if engine == "llamacpp":
        return chunk * 4 * (6 * counted.hidden + 2 * counted.intermediate + counted.vocabulary)
    layer = chunk * value * (8 * counted.hidden + 3 * counted.intermediate)
    eyes = 4096 * value * 12 * counted.hidden if counted.vision else 0
    return int(layer + eyes + chunk * window * value)


def _mapped(described: Described, form: str, rest: str) -> tuple[int, int]:
    """Return `Plan.mapped` and `Plan.untouched`. Weights that are not quantized and keep their dtype are used
    where they are, in the mapped safetensors file; the whole file stays mapped then, quantized weights too.
    llama.cpp has all of its file read ahead."""
    config, counted = described.config, described.counted
    if described.engine_of(form) == "llamacpp" or described.size is None or config is None:
        return 0, 0
    stored = config_fields.dtype(config_fields.text(config)) or ""
    computed = form if form in weight_formats.PLAIN else rest
    if {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32"}.get(stored) != computed:
        return 0, 0
    table = 0 if counted.tied else counted.vocabulary * counted.hidden * weight_formats.PLAIN[computed]
    if form not in weight_formats.BITSANDBYTES:
        return 0, table
    return max(0, described.size - weight_formats.unquantized(counted, rest)), table


def _place(
    machine: Machine, engine: Engine, weights: int, beside: int, runtime: int, *, offload: bool
) -> tuple[dict[str, int], Fit]:
    """Return what goes where: the GPUs first, in order, then memory, then (with `offload`) the disk."""
    left, on = weights + beside, {}
    for index, gpu in enumerate(() if machine.unified else machine.gpus):
        taken = min(left, max(0, gpu.free - _CUDA_CONTEXT))
        if taken > 0:
            on[f"cuda:{index}"] = taken
        left -= taken
    if machine.gpus and not machine.unified and left <= 0:
        room = sum(gpu.memory for gpu in machine.gpus)
        return on, "well" if weights + beside <= _GPU_SHARE * room else "tight"
    # llama.cpp maps its file: what other programs hold now can make way for it.
    most = machine.memory * 19 // 20 if engine == "llamacpp" else machine.free
    most = min(most, machine.free) if offload else most
    # Limits that were given are for weights alone, as accelerate takes them.
    in_memory = min(left, most if offload else max(0, most - runtime))
    on[("mps" if machine.apples else "gpu") if machine.unified else "cpu"] = in_memory
    if left > in_memory:
        on["disk"] = left - in_memory
        return on, "spills" if offload and engine == "transformers" else "no"
    if on.keys() - {"cpu", "mps"} and not machine.unified:
        return on, "spills"
    return on, "well" if left + runtime <= _CPU_SHARE * machine.memory else "tight"


def _speed(
    described: Described,
    machine: Machine,
    form: str,
    rest: str,
    read: int,
    kept: int,
    shares: Mapping[str, float],
) -> float | None:
    """Return the tokens a second, where `shares` of what is read for each are on which device."""
    if "disk" in shares:
        return None
    on_gpus = 0.0
    for index, gpu in enumerate(() if machine.unified else machine.gpus):
        if (part := shares.get(f"cuda:{index}", 0)) and not gpu.bandwidth:
            return None
        on_gpus += (read + kept) * part / gpu.bandwidth if part else 0.0
    in_memory = shares.get("cpu", 0)
    if machine.unified:  # a processor need not have all that the memory gives
        return max(machine.bandwidth, machine.gpus[0].bandwidth) / (read + kept)
    if not machine.gpus or (in_memory and described.engine_of(form) == "llamacpp"):
        alone = speed.on_processor(machine, described, form, read=read, kept=kept, rest=rest)
        return 1 / (on_gpus + in_memory / alone)
    return 1 / (on_gpus + in_memory * read / _LINK)
