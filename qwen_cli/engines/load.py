"""From what a person asked for to a loaded engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast, get_args

from qwen_cli.engines.core import rope
from qwen_cli.engines.core.base import Engine
from qwen_cli.engines.transformers import device, quantization, remote_code
from qwen_cli.engines.transformers.device_map import Places, places
from qwen_cli.errors import EngineError, ModelError, UsageError

if TYPE_CHECKING:
    from qwen_cli.engines.core.draft import Draft
    from qwen_cli.models.hub.resolve import Format, Weights
    from qwen_cli.models.progress import Progress

EngineName: TypeAlias = Literal["auto", "llamacpp", "transformers", "remote"]


def load(
    model: str | None = None,
    *,
    engine: EngineName = "auto",
    endpoint: str | None = None,
    api_key: str | None = None,
    headers: Mapping[str, str] | None = None,
    context: int | None = None,
    adapters: Sequence[Path] = (),
    quant: str | None = None,
    dtype: str = "auto",
    device_map: str | None = None,
    max_memory: str | None = None,
    offload_dir: Path | None = None,
    attention: str = "auto",
    compiled: bool = False,
    trust_remote_code: bool = False,
    agree: Callable[[str, Sequence[str]], bool] = lambda label, code: False,
    allow_pickle: bool = False,
    merge: bool | None = None,
    draft: str = "auto",
    rope_scaling: str | None = None,
    parallel: int = 8,
    notice: Callable[[str], None] = lambda text: None,
    progress: Progress | None = None,
) -> Engine:
    """Load `model` (an alias, hub id, folder or .gguf file; `None` picks one for this machine).

    `engine` "auto" takes `remote` with an `endpoint`, `transformers` for a safetensors folder or where a GPU
    is present, else `llamacpp`. `headers` are sent to the endpoint with each request. `context` is in
    tokens. `notice` receives one-line remarks.
    `quant` is "none", "8bit" or "4bit" (transformers) or a GGUF file type ("q4_k_m"). `dtype`, `device_map`
    ("auto", "cuda:1", a .json file), `max_memory` ("0=10GiB,cpu=20GiB"), `offload_dir` and `attention` are
    for transformers, as is `allow_pickle`, without which weights must be safetensors. Weights with code of
    their own load with `trust_remote_code`, or where `agree`, told their label and the files, says so.
    With `merge` adapters are added to the weights (`None`: unless these are quantized). Tokens are
    drafted ahead by `draft`: "ngram", the name of a smaller model, "off", or what costs nothing ("auto").
    `rope_scaling` "yarn" stretches the window to `context`, "none" takes back what the files stretch it by.
    llama.cpp decodes `parallel` samples together.
    Raises `UsageError`, `ModelError`, `DownloadError`, `EngineError`, `EndpointError`.
    """
    if engine not in get_args(EngineName):
        raise UsageError(f"unknown engine {engine!r}", f"choose one of {', '.join(get_args(EngineName))}")
    ours = {
        "dtype": dtype != "auto",
        "device_map": device_map,
        "max_memory": max_memory,
        "offload_dir": offload_dir,
        "attention": attention != "auto",
        "compiled": compiled,
        "allow_pickle": allow_pickle,
    }
    if engine == "remote" or (engine == "auto" and endpoint):
        if not endpoint:
            raise UsageError("the remote engine needs an address", "give its `endpoint`")
        _refuse(
            {"draft": draft not in ("auto", "off"), "rope_scaling": rope_scaling},
            "needs a local engine",
            "start the server with it",
        )
        if adapters:
            raise UsageError("`adapters` needs a local engine", "load the adapter on the server")
        _refuse({"quant": quant, **ours}, "needs a local engine", "load the model so on the server")
        from qwen_cli.engines.remote.engine import Remote

        return Remote(endpoint, model=model, api_key=api_key, headers=headers, notice=notice)
    if endpoint:
        raise UsageError(
            f"`engine={engine}` runs on this machine, `endpoint` elsewhere", "drop one of the two"
        )

    from qwen_cli.models.formats import architecture

    wanted = places(device_map, max_memory, offload_dir)
    dtype = quantization.dtype(dtype)
    device.check_attention(attention)
    weights = _weights(model, engine, quant, allow_pickle, context, wanted, notice, progress)
    scaling = rope.checked(rope_scaling)
    if scaling and (harm := rope.notice(architecture.read(weights.path), scaling, weights.label)):
        notice(harm)
    guesser = _guesser(draft, weights.format, progress)
    if engine == "transformers" or (engine == "auto" and weights.format == "safetensors"):
        if weights.format != "safetensors":
            raise EngineError(
                f"the transformers engine needs safetensors, {weights.label} is GGUF",
                f"run `qwen models convert {weights.label}` once",
            )
        if not trust_remote_code and (code := remote_code.wanted(weights.path)):
            trust_remote_code = agree(weights.label, code)
            if not trust_remote_code:
                raise EngineError(
                    f"{weights.label} needs code of its own to run: {', '.join(code)}",
                    "read it, then give `trust_remote_code`",
                )
        _check_room(weights, quant, dtype, context, wanted, notice)
        from qwen_cli.engines.transformers.engine import Transformers

        return Transformers(
            weights,
            context=context,
            adapters=adapters,
            merge=merge,
            draft=guesser,
            rope_scaling=scaling,
            dtype=dtype,
            quant=quant.lower() if quant else "none",
            places=wanted,
            attention=attention,
            compiled=compiled,
            trust_remote_code=trust_remote_code,
            allow_pickle=allow_pickle,
            notice=notice,
        )
    if weights.format != "gguf":
        raise EngineError(
            f"llama.cpp needs a GGUF file, {weights.label} is safetensors", "use `engine=transformers`"
        )
    _refuse(ours, f"needs transformers, {weights.label} runs with llama.cpp", "add `engine=transformers`")
    _check_room(weights, None, "auto", context, wanted, notice)
    from qwen_cli.engines.llamacpp.engine import LlamaCpp

    if merge is not None:
        raise UsageError(
            f"`merge={merge}` is for transformers, {weights.label} runs with llama.cpp",
            "leave it out: llama.cpp computes adapters beside the weights",
        )
    return LlamaCpp(
        weights,
        context=context,
        adapters=adapters,
        parallel=parallel,
        draft=guesser,
        rope_scaling=scaling,
    )


# What makes no difference to a model once it is loaded.
_PASSING = (
    "agree",
    "allow_pickle",
    "api_key",
    "endpoint",
    "headers",
    "model",
    "notice",
    "parallel",
    "progress",
)


def resolved(
    settings: Mapping[str, Any],
    notice: Callable[[str], None] = lambda text: None,
    progress: Progress | None = None,
) -> tuple[Weights, dict[str, Any]]:
    """Return the weights that `settings` (parameters of `load`) name, and what of the others makes a
    difference: two loads of the same weights with the same of it give the same engine. Raises as `load`
    does."""
    nothing: tuple[object, ...] = (None, "auto", False, "", [], ())
    given = {name: value for name, value in settings.items() if value not in nothing}
    wanted = places(given.get("device_map"), given.get("max_memory"), given.get("offload_dir"))
    weights = _weights(
        given.get("model"),
        given.get("engine", "auto"),
        given.get("quant"),
        bool(given.get("allow_pickle")),
        given.get("context"),
        wanted,
        notice,
        progress,
    )
    lasting = {name: value for name, value in given.items() if name not in _PASSING}
    lasting["engine"] = "llamacpp" if weights.format == "gguf" else "transformers"
    if weights.format == "gguf":
        lasting.pop("quant", None)  # that of the file
    return weights, lasting


def _guesser(name: str, form: Format, progress: Progress | None) -> Draft:
    """Return what `name` has draft tokens. A smaller model's weights are needed in the `form` of the large.
    Raises `ModelError`."""
    if name == "off":
        return None
    if name in ("auto", "ngram"):
        return cast('Literal["auto", "ngram"]', name)
    from qwen_cli.models.hub import resolve

    try:
        return resolve.resolve(name, prefer=form, strict=True, progress=progress)
    except ModelError as fault:
        raise ModelError(f"`draft={name}`: {fault.message}", "Name a model that is here, or ngram") from None


def _refuse(given: Mapping[str, object], why: str, hint: str) -> None:
    """Raise `UsageError` for the first option that was given."""
    for name, value in given.items():
        if value:
            raise UsageError(f"`{name}` {why}", hint)


def _weights(
    model: str | None,
    engine: EngineName,
    quant: str | None,
    allow_pickle: bool,
    context: int | None,
    wanted: Places,
    notice: Callable[[str], None],
    progress: Progress | None,
) -> Weights:
    from qwen_cli.models.hub import resolve
    from qwen_cli.models.planning import default_model, fit

    form = _form(engine, quant)
    prefer = form or default_model.preferred_format()
    file_type = quant if quant and quant.lower() not in quantization.BITS else None
    if model is None:
        chosen = default_model.default_model(prefer=prefer, notice=notice, progress=progress)
        if chosen.format == (form or chosen.format) and file_type in (None, chosen.quant):
            return chosen
        model = chosen.model.name if chosen.model else chosen.label
    if not (wanted.map or wanted.memory):
        fit.before_fetch(model, prefer=prefer, quant=quant, context=context)
    return resolve.resolve(
        model,
        prefer=prefer,
        strict=form is not None,
        quant=file_type,
        pickle=allow_pickle,
        progress=progress,
    )


def _check_room(
    weights: Weights,
    quant: str | None,
    dtype: str,
    context: int | None,
    wanted: Places,
    notice: Callable[[str], None],
) -> None:
    """Say where memory will be short. Raises `ModelError` where `weights` cannot fit; not where it was said
    what goes where."""
    if wanted.map or wanted.memory:
        return
    from qwen_cli.models.formats import weight_formats
    from qwen_cli.models.planning import fit

    number = None if dtype == "auto" else weight_formats.parse(dtype)
    bits = quant.lower() if quant and quant.lower() != "none" else None
    if remark := fit.before_load(weights, form=bits or number, rest=number or "bf16", context=context):
        notice(remark)


def _form(engine: EngineName, quant: str | None) -> Literal["gguf", "safetensors"] | None:
    """Return the form of weights that engine and quantization want; `None` where either will do."""
    from qwen_cli.models.hub import store

    bits = quant is not None and quant.lower() in quantization.BITS
    if quant and not bits and store.quant_of(f"model-{quant}.gguf") is None:
        raise UsageError(
            f"`quant` must be none, 8bit, 4bit or a GGUF file type such as q4_k_m, got {quant!r}"
        )
    if engine == "llamacpp" and quant and bits and quant != "none":
        raise UsageError(f"llama.cpp has no {quant}", "name a GGUF file type, such as `quant=q4_k_m` or q8_0")
    if engine == "transformers" and quant and not bits:
        raise UsageError(f"the transformers engine has no {quant}", "use `quant=none`, 8bit or 4bit")
    if engine == "llamacpp" or (quant and not bits):
        return "gguf"
    return "safetensors" if engine == "transformers" or (quant and quant != "none") else None
