"""From what is asked for to a loaded engine: which back end, which weights.

Four back ends are built in; other packages offer theirs as entry points of the group `qwen.engines`
(docs/python-api.md has one).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from qwen_cli.engines.core import rope
from qwen_cli.engines.core.backend import GROUP, BackEnd
from qwen_cli.engines.core.base import Capabilities, Engine, seeing
from qwen_cli.engines.core.options import Hooks, LoadOptions
from qwen_cli.engines.core.unloaded import Unloaded
from qwen_cli.engines.llamacpp.backend import LlamaCppBackEnd, LlamaServerBackEnd, fault_of_start
from qwen_cli.engines.remote.backend import RemoteBackEnd
from qwen_cli.engines.transformers.backend import TransformersBackEnd
from qwen_cli.errors import EngineError, ModelError, UsageError
from qwen_cli.models.catalog import answers, lookup

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from qwen_cli.engines.core.embedder import Embedder
    from qwen_cli.models.hub.resolve import Format, Weights
    from qwen_cli.models.progress import Progress

_LLAMACPP, _TRANSFORMERS, _REMOTE = LlamaCppBackEnd(), TransformersBackEnd(), RemoteBackEnd()
_LLAMA_SERVER = LlamaServerBackEnd()
_BUILT_IN: dict[str, BackEnd] = {
    each.name: each for each in (_LLAMACPP, _LLAMA_SERVER, _TRANSFORMERS, _REMOTE)
}
_AUTO = "auto"
DEFAULT_CONTEXT = 16_384  # tokens, as both local engines take where none are asked for
_DRAFTS = ("auto", "off", "mtp", "ngram")  # what drafts that is no model


def load(
    model: str | None = None,
    *,
    notice: Callable[[str], None] = Hooks.notice,
    progress: Progress | None = None,
    agree: Callable[[str, Sequence[str]], bool] = Hooks.agree,
    **options: Any,
) -> Engine:
    """Load `model` (an alias, hub id, folder or .gguf file; `None` picks one for this machine).

    `options` are fields of `LoadOptions` (`context=4096`), the others those of `Hooks`. Raises `UsageError`,
    `ModelError`, `DownloadError`, `EngineError`, `EndpointError`.
    """
    return open_engine(_options(model, options), Hooks(notice, progress, agree))


def open_engine(
    options: LoadOptions = LoadOptions(), hooks: Hooks = Hooks(), *, scores: bool = False
) -> Engine:
    """Load what `options` ask for; with `scores` it may be a model that does nothing else. Raises as `load`
    does, before anything is fetched for a model that answers nobody."""
    from qwen_cli.models.planning import hardware

    with hardware.one_look():
        return _opened(options, hooks, scores=scores)


def _opened(options: LoadOptions, hooks: Hooks, *, scores: bool) -> Engine:
    from qwen_cli.models.formats import read_ahead
    from qwen_cli.models.planning import hardware

    here = options.engine in (_AUTO, *_BUILT_IN) and options.engine != _REMOTE.name and not options.endpoint
    if options.model and here:
        answers.check(options.model, hears=True, vectors=scores)
    back_end, weights = find(options, hooks)
    if weights is not None:
        read_ahead.start(weights.files, hardware.free_memory())
        options.refuse(("vision",), "is for a server", "leave it out: the weights say whether they see")
        options = _quantized(options, back_end, weights, hooks)
        if unused := unused_gpu(back_end.name):
            hooks.notice(unused)
    try:
        return back_end.load(weights, options, hooks)
    except (EngineError, UsageError) as fault:
        if back_end is not _LLAMA_SERVER or options.engine != _AUTO:
            raise
        hooks.notice(fault_of_start(fault))
        return _LLAMACPP.load(weights, options, hooks)


def look(options: LoadOptions) -> Engine:
    """Return what `options` ask for without loading or fetching it: it answers nothing, and has the
    capabilities that its files tell of pictures, of a model that is not here those that the catalog tells.
    Raises `ModelError`, `UsageError`."""
    from qwen_cli.models.hub import resolve
    from qwen_cli.models.planning import default_model

    assert options.model, "which model is chosen by who asks"
    answers.check(options.model, hears=True)
    chosen = _chosen(options, Hooks())
    form = chosen.format if chosen else _form(options)
    try:
        weights = resolve.resolve(
            options.model,
            prefer=form or default_model.preferred_format(options.model),
            strict=form is not None,
            quant=options.file_type,
            download=False,
        )
    except ModelError:
        known = lookup.find(options.model)
        if known is None:
            raise
        context = options.context or min(known.context, DEFAULT_CONTEXT)
        sees = (
            replace(seeing(known.name), least=8, most=4_096) if form != "safetensors" else seeing(known.name)
        )
        return Unloaded(
            chosen.name if chosen else _AUTO,
            known.name,
            Capabilities(
                context=context,
                vision=known.vision,
                video=form == "safetensors",
                seeing=sees,
                audio=bool({"audio", "transcription"} & set(known.tasks)) and form != "gguf",
                transcribes="transcription" in known.tasks and form != "gguf",
            ),
        )
    return Unloaded(
        (_LLAMACPP if weights.format == "gguf" else _TRANSFORMERS).name,
        weights.label,
        _capabilities(weights, options),
    )


def _capabilities(weights: Weights, options: LoadOptions) -> Capabilities:
    """Return what `weights` can be shown, and how much of it."""
    shape = rope.extended(
        weights.architecture, options.rope_scaling, options.context, weights.label, options.dca_chunk
    )
    if weights.format == "gguf":
        from qwen_cli.engines.llamacpp import engine, load

        drafting = options.draft in ("auto", "mtp")
        kv = load.kv_type(weights, shape, options.context, options.kv, drafting=drafting)
        context = load.context_size(weights, shape, options.context, kv, drafting=drafting)
        return Capabilities(context=context, vision=weights.mmproj is not None, seeing=engine.sight(weights))
    from qwen_cli.engines.transformers.vision import has_processor

    sees = shape.vision and has_processor(weights.path)
    return Capabilities(
        context=options.context or shape.context,
        vision=sees,
        video=sees,
        seeing=seeing(shape.model_type),
        audio=shape.audio,
        transcribes=shape.model_type == "qwen3_asr",
    )


def _check_others(options: LoadOptions) -> None:
    """Raise for adapters and a draft model that are not there, before gigabytes of the model are fetched."""
    for path in options.adapters:
        if not path.expanduser().exists():
            raise UsageError(f"there is no adapter {path}", "give the path of a LoRA adapter")
    if options.draft not in _DRAFTS:
        from qwen_cli.models.hub import resolve

        try:
            resolve.checked(options.draft)
        except ModelError as fault:
            raise ModelError(f"`draft={options.draft}`: {fault.message}", fault.hint) from None


def find(options: LoadOptions, hooks: Hooks = Hooks()) -> tuple[BackEnd, Weights | None]:
    """Return who loads what `options` ask for, and the weights, fetched if they are not here; `None` for a
    back end that finds the model itself. Raises as `load` does."""
    back_end = _chosen(options, hooks)
    if back_end is not None and back_end.format is None:
        return back_end, None
    rope.checked(options.rope_scaling, options.dca_chunk)
    _check_others(options)
    form = back_end.format if back_end else _form(options)
    if form == _LLAMACPP.format:
        _LLAMACPP.accepts(options)
    weights = _weights(options, form, hooks)
    if back_end is None:
        back_end = _for_gguf() if weights.format == "gguf" else _TRANSFORMERS
    return back_end, weights


def _for_gguf() -> BackEnd:
    """Return who computes GGUF files by itself: llama.cpp in the process, unless the user's llama-server has
    a GPU or instructions that it lacks."""
    from qwen_cli.models.planning import back_ends

    return _LLAMA_SERVER if back_ends.outside() else _LLAMACPP


def gives_vectors(path: Path) -> bool:
    """Return whether the weights at `path` (a GGUF file or a folder) were made to give vectors, or scores by
    a head of their own."""
    if path.suffix == ".gguf":
        from qwen_cli.engines.llamacpp import embedding as gguf

        return gguf.is_for(path)
    from qwen_cli.engines.transformers import embedding

    return embedding.is_for(path)


def ranks(path: Path) -> bool:
    """Return whether the weights at `path` score documents by a head of their own."""
    from qwen_cli.engines.llamacpp import embedding

    return embedding.ranks(path)


def embedder(weights: Weights, *, dtype: str = "auto") -> Embedder:
    """Load an embedding model; `dtype` is for one in safetensors. Raises `UsageError` for a model that was
    trained to write, `ModelError`, `EngineError`."""
    if weights.format == "gguf":
        from qwen_cli.engines.llamacpp.embedding import Embedder as Gguf

        return Gguf(weights)
    from qwen_cli.engines.transformers.embedding import Embedder as Folder

    return Folder(weights, dtype=dtype)


def unused_gpu(engine: str) -> str | None:
    """Return a remark where a GPU is here that a local engine, as it is installed, does not compute on."""
    from qwen_cli.models.planning import gpus, hardware

    if not gpus.has_gpu() or engine not in hardware.ENGINES:
        return None
    from qwen_cli.models.planning import back_ends

    found = hardware.found_gpus(hardware.memory())
    uses = engine in found.engines
    if engine == "llamacpp" and uses:  # else it is the user's llama-server that does
        uses = bool(back_ends.installed().llamacpp)
    if not found.gpus or uses:
        return None
    if engine == "transformers" and "llamacpp" in found.engines:
        return f"{found.gpus[0].name} is not used by PyTorch as it is installed; llama.cpp runs a GGUF on it"
    return f"{found.gpus[0].name} is not used: {engine} is installed for the processor; see `qwen doctor`"


def identity(back_end: BackEnd, weights: Weights, options: LoadOptions) -> frozenset[tuple[str, str]]:
    """Return what makes a loaded model what it is: two loads with the same of it are one."""
    lasting = {**options.identity(), "engine": back_end.name, "path": str(weights.path.resolve())}
    if weights.format == "gguf":
        lasting.pop("quant", None)  # that of the file
    return frozenset(lasting.items())


def back_ends() -> dict[str, BackEnd]:
    """Return every back end by name, those of other packages first. Raises `EngineError` for one that cannot
    be used."""
    loaded = {point.name: _loaded(point) for point in _offered().values()}
    return {**loaded, **_BUILT_IN}


def _chosen(options: LoadOptions, hooks: Hooks) -> BackEnd | None:
    """Return the back end that `engine` names, or that takes the options by itself; `None` where the form of
    the weights decides. Raises `UsageError`, `EngineError`."""
    if options.engine in _BUILT_IN:
        named = _BUILT_IN[options.engine]
        if options.endpoint and named is not _REMOTE:
            raise UsageError(
                f"`engine={options.engine}` runs on this machine, `endpoint` elsewhere", "drop one of the two"
            )
        named.accepts(options)
        _check_quant(options)
        return named
    offered = _offered()
    if options.engine != _AUTO:
        if options.engine not in offered:
            names = ", ".join((_AUTO, *_BUILT_IN, *offered))
            raise UsageError(f"unknown engine {options.engine!r}", f"choose one of {names}")
        named = _loaded(offered[options.engine])
        if not named.accepts(options):
            given = ", ".join(f"`{name}`" for name in options.given() if name not in ("engine", "model"))
            raise UsageError(
                f"the engine {named.name} does not take {given or 'this model'}", "choose another engine"
            )
        return named
    for point in offered.values():
        try:
            back_end = _loaded(point)
        except EngineError as fault:  # a package that is broken takes nobody's engine away
            hooks.notice(str(fault))
            continue
        if back_end.accepts(options):
            return back_end
    if _REMOTE.accepts(options):
        return _REMOTE
    _TRANSFORMERS.accepts(options)  # tells what makes no sense before anything is fetched
    return None


def _offered() -> dict[str, EntryPoint]:
    """Return the entry points of other packages by name. Names of those built in are taken."""
    if not _is_offered():
        return {}
    from importlib.metadata import entry_points

    taken = {_AUTO, *_BUILT_IN}
    return {point.name: point for point in entry_points(group=GROUP) if point.name not in taken}


def _is_offered() -> bool:
    """Return whether an installed package may offer a back end, from the files that say so: with what it
    imports `importlib.metadata` takes 15 ms of a first token for it."""
    group = f"[{GROUP}]".encode()
    for place in map(Path, sys.path):
        if place.is_file():  # an archive
            return True
        for kind in ("dist-info", "egg-info"):
            for said in place.glob(f"*.{kind}/entry_points.txt"):
                with suppress(OSError):
                    if group in said.read_bytes():
                        return True
    return False


def _loaded(point: EntryPoint) -> BackEnd:
    """Return the back end that a package offers. Raises `EngineError`."""
    try:
        offered: Any = point.load()
        back_end = offered() if isinstance(offered, type) else offered
        if back_end.name != point.name or not callable(back_end.accepts) or not callable(back_end.load):
            raise TypeError(f"it is called {back_end.name!r}")
        _ = back_end.format
    except Exception as fault:  # whatever another package's code raises
        from qwen_cli import sanitize

        package = point.dist.name if point.dist else point.value
        raise EngineError(
            f"the engine {point.name} of {package} cannot be used: {sanitize.error_line(fault)}",
            f"update or remove {package}",
        ) from fault
    return cast("BackEnd", back_end)


def _options(model: str | None, options: Mapping[str, Any]) -> LoadOptions:
    try:
        return LoadOptions(model, **options)
    except TypeError as fault:
        raise TypeError(str(fault).replace("LoadOptions.__init__()", "load()")) from None


def _weights(options: LoadOptions, form: Format | None, hooks: Hooks) -> Weights:
    """Return the weights, in `form` if one is wanted. Raises `ModelError`, `DownloadError`."""
    from qwen_cli.models.hub import resolve
    from qwen_cli.models.planning import default_model, fit

    model = options.model
    if model is None:
        chosen = default_model.default_model(prefer=form, notice=hooks.notice, progress=hooks.progress)
        if chosen.format == (form or chosen.format) and options.file_type in (None, chosen.quant):
            return chosen
        model = chosen.model.name if chosen.model else chosen.label
    if not options.placed:
        wanted: dict[str, Any] = {"kv": options.kv, "n_cpu_moe": options.n_cpu_moe}
        fit.before_fetch(model, prefer=form, quant=options.quant, context=options.context, **wanted)
    return resolve.resolve(
        model,
        prefer=form or default_model.preferred_format(model),
        strict=form is not None,
        quant=options.file_type,
        pickle=options.allow_pickle,
        progress=hooks.progress,
    )


def _quantized(options: LoadOptions, back_end: BackEnd, weights: Weights, hooks: Hooks) -> LoadOptions:
    """Return `options` with the quantization that lets a GPU hold the weights, where nobody said how they are
    loaded."""
    said = options.quant or options.placed or options.dtype != "auto" or options.adapters
    if said or options.engine != _AUTO or back_end is not _TRANSFORMERS:
        return options
    from qwen_cli.models.planning import default_model

    quant = default_model.quantization(weights, options.context)
    if quant is None:
        return options
    hooks.notice(f"{weights.label} is loaded in {quant[0]} bits: the GPU has no room for all of its 16")
    return replace(options, quant=quant)


def _check_quant(options: LoadOptions) -> None:
    """Raise `UsageError` for a quantization that the named engine does not have."""
    if options.engine in (_LLAMACPP.name, _LLAMA_SERVER.name) and options.bits not in (None, "none"):
        raise UsageError(
            f"llama.cpp has no {options.quant}", "name a GGUF file type, such as `quant=q4_k_m` or q8_0"
        )
    if options.engine == _TRANSFORMERS.name and options.file_type:
        raise UsageError(f"the transformers engine has no {options.quant}", "use `quant=none`, 8bit or 4bit")


def _form(options: LoadOptions) -> Format | None:
    """Return the form of weights that a quantization wants, an option that one engine alone has, the model's
    name with a file type in it, or a model that gives vectors; `None` where either will do."""
    if options.file_type or options.kv is not None or options.n_cpu_moe is not None:
        return "gguf"
    if options.bits not in (None, "none"):
        return "safetensors"
    if options.model and (lookup.spelled(options.model)[1] or answers.has_vectors_as_gguf(options.model)):
        return "gguf"
    if options.rope_scaling == "dca" or options.dca_chunk:
        return "gguf" if (options.model or "").lower().endswith(".gguf") else "safetensors"
    return None
