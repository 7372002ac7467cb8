"""What it takes to run a model on a machine, before anything is loaded or fetched: memory, where it goes,
speed.

`make` is the whole of it; `auto` (`models.placement`), `qwen models plan`, `qwen doctor` and the check before
a load all ask it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from qwen_cli.errors import ModelError, UsageError
from qwen_cli.models import catalog, hardware, reference, speed, weight_formats
from qwen_cli.models.described import Described, of_model, of_weights
from qwen_cli.models.hardware import Machine
from qwen_cli.models.weight_formats import Engine

if TYPE_CHECKING:
    from qwen_cli.models.reference import Format, Weights

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
_RUNTIME: dict[Engine, int] = {"llamacpp": 65_000_000, "transformers": 660_000_000}
_CUDA_CONTEXT = 500_000_000  # bytes that CUDA and its kernels take of each GPU (an allowance, not measured)
# Tokens of a prompt that are computed at once: llamacpp_load.py, prefix_cache.py.
_CHUNK: dict[Engine, tuple[int, int]] = {"llamacpp": (128, 512), "transformers": (512, 2048)}
_SPARE = (
    1.25  # transformers' cache is grown by half (engines/growing_layer.py): a quarter is spare on average
)
# Weights that stay in memory while a GPU computes are copied for each token: PCIe 3.0 × 16 by its
# specification.
_LINK = 15.75e9


@dataclass(frozen=True)
class Plan:
    """One model in one form on one machine. Everything is in bytes but `context` (tokens) and `speed` (tokens
    a second; None where it cannot be told). `at_most` says that the speed is memory's limit and nothing
    measured. `working` is for activations and buffers, `runtime` for the program itself. `on` tells how many
    bytes go where: "cuda:0", "cpu", "disk".
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
    working: int
    runtime: int
    mapped: int
    fit: Fit
    on: Mapping[str, int]
    speed: float | None
    at_most: bool
    licence: str | None = None
    model: catalog.Model | None = field(default=None, repr=False)

    @property
    def memory(self) -> int:
        """Bytes in all."""
        return self.weights + self.cache + self.working + self.runtime

    @property
    def resident(self) -> int:
        """Bytes that the system counts as the program's: with the files that it has mapped."""
        return self.memory + self.mapped

    @property
    def bearable(self) -> bool:
        """Whether it writes as fast as one reads; a GPU whose speed is not known does."""
        return self.speed >= BEARABLE if self.speed is not None else self.at_most and self.fit == "well"


def make(
    described: Described,
    machine: Machine,
    *,
    form: str | None = None,
    context: int | None = None,
    rest: str = "bf16",
    offload: bool = False,
) -> Plan:
    """The plan for `described` on `machine`.

    `form` is a name of `weight_formats` or the form that the weights are in (`None`: what `auto` would take),
    `rest` the dtype of what bitsandbytes leaves alone, `context` in tokens. `offload` lets weights go to the
    disk. Raises `UsageError` where the context is more than the model reads.
    """
    form = form or usual_form(described, machine)
    engine = described.engine_of(form)
    counted, llamacpp = described.counted, engine == "llamacpp"
    weights, read = described.bytes_in(form, rest)
    value = 2 if llamacpp else weight_formats.PLAIN.get(form, weight_formats.PLAIN[rest])
    window = _window(described, machine, context, weights, value)
    kept = counted.cache.bytes_at(window, value, llamacpp=llamacpp)
    gpu = bool(machine.gpus)
    working = _working(described, engine, value, window, gpu=gpu)
    cache = kept if llamacpp else int(kept * _SPARE)
    runtime = _RUNTIME[engine]
    on, fit = _place(machine, engine, weights, cache + working, runtime, offload=offload)
    if context is None and fit == "well" and window < min(counted.context or window, GOOD_CONTEXT):
        fit = "tight"
    usual = counted.cache.bytes_at(min(window, TYPICAL), value, llamacpp=llamacpp)
    rate = _speed(described, machine, form, rest, read, usual, on) if fit != "no" else None
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
        working=working,
        runtime=runtime,
        mapped=_mapped(described, form, rest),
        fit=fit,
        on=on,
        speed=rate,
        at_most=gpu,
        licence=described.licence,
        model=described.model,
    )


def usual_form(described: Described, machine: Machine) -> str:
    """What `auto` takes: the files that are here as they are; else safetensors for a GPU, GGUF for none."""
    if described.model and machine.gpus and described.origin.startswith("the published"):
        return "bf16"
    return described.stored


def _window(described: Described, machine: Machine, wanted: int | None, weights: int, value: int) -> int:
    trained = described.counted.context or DEFAULT_CONTEXT
    if wanted is not None:
        if not 0 < wanted <= trained:
            raise UsageError(
                f"{described.name} was trained for {trained:,} tokens of context, {wanted:,} were asked for",
                f"use --context {trained} or less",
            )
        return wanted
    window = min(trained, DEFAULT_CONTEXT)
    room = max(machine.free, *(gpu.free for gpu in machine.gpus), 0) if machine.gpus else machine.free
    while window > MIN_CONTEXT and described.counted.cache.bytes_at(window, value) > (room - weights) // 2:
        window //= 2
    return window


def _working(described: Described, engine: Engine, value: int, window: int, *, gpu: bool) -> int:
    """Bytes of activations while a prompt is read, the largest thing that is computed: a chunk of it through
    one layer, with llama.cpp's logits for each of its tokens, and the eyes for one picture of 1,024
    tokens."""
    counted = described.counted
    chunk = min(_CHUNK[engine][gpu], window)
    if engine == "llamacpp":
        layer = chunk * 4 * (6 * counted.hidden + 2 * counted.intermediate)
        return layer + chunk * 4 * counted.vocabulary
    layer = chunk * value * (8 * counted.hidden + 3 * counted.intermediate)
    eyes = 4096 * value * 12 * counted.hidden if counted.vision else 0
    return layer + eyes + chunk * window * value


def _mapped(described: Described, form: str, rest: str) -> int:
    """Bytes of a safetensors file beside those of its tensors that are used as they are: weights that are not
    quantized keep the whole file mapped, unless they are stored in another dtype than is computed in."""
    if form not in weight_formats.BITSANDBYTES or described.size is None or described.config is None:
        return 0
    stored = str(described.config.get("dtype") or described.config.get("torch_dtype"))
    if stored not in ("bfloat16", "float16") or weight_formats.parse(stored) != rest:
        return 0
    return max(0, described.size - weight_formats.unquantized(described.counted, rest))


def _place(
    machine: Machine, engine: Engine, weights: int, beside: int, runtime: int, *, offload: bool
) -> tuple[dict[str, int], Fit]:
    """What goes where: the GPUs first, in order, then memory, then (with `offload`) the disk."""
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
    in_memory = min(left, max(0, most - runtime))
    on["mps" if machine.unified else "cpu"] = in_memory
    if left > in_memory:
        on["disk"] = left - in_memory
        return on, "spills" if offload and engine == "transformers" else "no"
    if on.keys() - {"cpu", "mps"}:
        return on, "spills"
    return on, "well" if left + runtime <= _CPU_SHARE * machine.memory else "tight"


def _speed(
    described: Described,
    machine: Machine,
    form: str,
    rest: str,
    read: int,
    kept: int,
    on: Mapping[str, int],
) -> float | None:
    if "disk" in on:
        return None
    whole = sum(on.values())
    on_gpus = 0.0
    for index, gpu in enumerate(() if machine.unified else machine.gpus):
        if (part := on.get(f"cuda:{index}", 0)) and not gpu.bandwidth:
            return None
        on_gpus += (read + kept) * part / whole / gpu.bandwidth if part else 0.0
    in_memory = on.get("cpu", 0) / whole
    if machine.unified:
        return 1 / ((read + kept) / machine.bandwidth)
    if not machine.gpus or (in_memory and described.engine_of(form) == "llamacpp"):
        alone = speed.on_processor(machine, described, form, read=read, kept=kept, rest=rest)
        return 1 / (on_gpus + in_memory / alone)
    return 1 / (on_gpus + in_memory * read / _LINK)


def before_load(
    weights: Weights, *, form: str | None = None, rest: str = "bf16", context: int | None = None
) -> str | None:
    """Asked before weights that are here are loaded: None where they fit, a remark where memory will be
    short.

    `form` as in `make`. A model that takes less than a quarter of the free memory is let through without
    counting: it stands on the way to the first token. Raises `ModelError` where it cannot fit, with the
    nearest that does.
    """
    if weights.size * 4 < hardware.free_memory() and not hardware.has_gpu():
        return None
    described, machine = of_weights(weights), hardware.this_machine()
    return check(described, machine, make(described, machine, form=form, context=context, rest=rest))


def before_fetch(name: str, *, prefer: Format, quant: str | None = None, context: int | None = None) -> None:
    """Asked before gigabytes are fetched: of models in the catalog that are not here. `prefer` is the form
    that would be fetched, `quant` a GGUF file type, "8bit", "4bit" or "none".

    Raises `ModelError` where the model cannot fit, with the nearest that does.
    """
    model = catalog.find(name)
    if model is None or _is_here(model):
        return
    gguf = prefer == "gguf" and model.gguf_repo is not None
    form = model.quant if gguf else "bf16"
    if quant and quant.lower() != "none":
        form = quant.lower() if quant.lower() in weight_formats.BITSANDBYTES else quant.upper()
    described, machine = of_model(model), hardware.this_machine()
    context = min(context, model.context) if context else None
    check(described, machine, make(described, machine, form=form, context=context))


def _is_here(model: catalog.Model) -> bool:
    return bool(reference.find_local(model, "gguf") or reference.find_local(model, "safetensors"))


def check(described: Described, machine: Machine, plan: Plan) -> str | None:
    """None where a plan fits, a remark where memory will be short. Raises `ModelError` where it cannot
    fit."""
    if plan.fit == "no":
        raise ModelError(
            f"{plan.name} as {plan.form} needs {gb(plan.memory)} with {plan.context:,} tokens of context, "
            f"{machine.name} has {_room(machine, plan)}",
            nearest(described, machine, plan),
        )
    if plan.memory > machine.free and not machine.gpus:
        return f"{plan.name} needs {gb(plan.memory)}, {gb(machine.free)} are free now: close other programs"
    return None


def _room(machine: Machine, plan: Plan) -> str:
    gpus = f"{gb(sum(gpu.free for gpu in machine.gpus))} of GPU memory and " if machine.gpus else ""
    if plan.engine == "llamacpp":
        return f"{gpus}{gb(machine.memory)}"
    return f"{gpus}{gb(machine.free)} free"


def nearest(described: Described, machine: Machine, plan: Plan) -> str:
    """What to do instead of a plan that does not fit: another form, a shorter context, a smaller model."""
    counted, model = described.counted, described.model
    if plan.engine == "transformers" and not machine.gpus and model and model.gguf_repo:
        # On a processor llama.cpp is several times as fast as bitsandbytes.
        file = make(of_model(model), machine, form=model.quant)
        if file.fit in ("well", "tight"):
            return f"use --engine llamacpp, which needs {gb(file.memory)} as {file.form}"
    if plan.engine == "transformers":
        for form in weight_formats.BITSANDBYTES:
            smaller = make(described, machine, form=form, context=plan.context)
            if smaller.fit in ("well", "tight"):
                return f"use --quant {form}, which needs {gb(smaller.memory)}"
    if plan.context > MIN_CONTEXT and counted.cache.bytes_per_token():
        short = make(described, machine, form=plan.form, context=MIN_CONTEXT)
        if short.fit in ("well", "tight"):
            return f"use --context {MIN_CONTEXT}, which needs {gb(short.memory)}"
    if plan.engine == "llamacpp":
        for form in ("Q4_K_M", "Q3_K_M", "Q2_K"):
            smaller = make(described, machine, form=form, context=min(plan.context, MIN_CONTEXT))
            if smaller.weights < plan.weights and smaller.fit in ("well", "tight"):
                return f"a GGUF of type {form} would fit with {gb(smaller.memory)}"
    if other := _smaller(described, machine, plan):
        return f"use {other.name}, which needs {gb(other.memory)} as {other.form}"
    return "no model of the catalog that is like it fits this machine"


def _smaller(described: Described, machine: Machine, plan: Plan) -> Plan | None:
    """The largest model for the same tasks that fits and is smaller; of the same family if there is one, and
    as
    GGUF if this one is."""
    model = described.model
    tasks = set(model.tasks if model else ("chat",))
    family = model.family if model else ""
    fitting = []
    for other in catalog.MODELS:
        if other.parameters < plan.parameters and tasks <= set(other.tasks):
            form = other.quant if plan.engine == "llamacpp" and other.gguf_repo else None
            found = make(of_model(other), machine, form=form)
            if found.fit == "well":
                fitting.append(found)
    return max(
        fitting, key=lambda found: (found.name.startswith(f"{family}:"), found.parameters), default=None
    )


# Which model is better at what, best first: within a generation the larger one, then the newer generation.
RANKED: dict[str, tuple[str, ...]] = {
    "chat": (
        "qwen3:235b-a22b-instruct-2507", "qwen3-next:80b-a3b-instruct", "qwen3:30b-a3b-instruct-2507",
        "qwen3:32b", "qwen3:30b-a3b", "qwen3:14b", "qwen3:8b", "qwen3:4b-instruct-2507",
        "qwen3:4b", "qwen3:1.7b", "qwen3:0.6b",
    ),
    "code": (
        "qwen3-coder:480b-a35b", "qwen3-coder-next:80b-a3b", "qwen3-coder:30b-a3b", "qwen2.5-coder:32b",
        "qwen2.5-coder:14b", "qwen2.5-coder:7b", "qwen2.5-coder:3b", "qwen2.5-coder:1.5b",
        "qwen2.5-coder:0.5b",
    ),
    "math": (
        "qwen3:235b-a22b-thinking-2507", "qwen3-next:80b-a3b-thinking", "qwq:32b",
        "qwen3:30b-a3b-thinking-2507", "qwen3:30b-a3b", "qwen3:14b", "qwen3:8b", "qwen3:4b-thinking-2507",
        "qwen3:4b", "qwen2.5-math:1.5b", "qwen3:1.7b", "qwen3:0.6b",
    ),
    "vision": (
        "qwen3-vl:235b-a22b-instruct", "qwen3-vl:32b-instruct", "qwen3-vl:30b-a3b-instruct",
        "qwen3-vl:8b-instruct", "qwen3-vl:4b-instruct", "qwen3-vl:2b-instruct",
    ),
}  # fmt: skip


def best(machine: Machine) -> dict[str, Plan]:
    """For each task the best model that fits well and writes as fast as one reads, with its plan."""
    found: dict[str, Plan] = {}
    for task, names in RANKED.items():
        for name in names:
            model = catalog.find(name)
            plan = make(of_model(model), machine) if model else None
            if plan and plan.fit == "well" and plan.bearable:
                found[task] = plan
                break
    return found


def table(machine: Machine, context: int | None = None) -> list[Plan]:
    """Every model of the catalog that one talks with: what fits well and is fast enough first, then what
    fits,
    then the others; the larger before the smaller. `context` in tokens, or as much as each reads."""
    plans = [
        make(of_model(model), machine, context=min(context, model.context) if context else None)
        for model in catalog.MODELS
        if not model.base and "reward" not in model.tasks
    ]
    return sorted(
        plans,
        key=lambda plan: (
            FITS.index(plan.fit) if plan.bearable or plan.fit != "well" else 0.5,
            -plan.parameters,
        ),
    )


def gb(number: float) -> str:
    """Bytes as a person reads them."""
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.0f} MB"
