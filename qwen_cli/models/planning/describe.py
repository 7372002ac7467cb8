"""What is known of a model without its weights: from files that are here, from the hub's small files, or as
published."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qwen_cli.errors import DownloadError, ModelError
from qwen_cli.models.catalog import lookup, published
from qwen_cli.models.formats import config_fields, dual_chunk, gguf_header, parameters, weight_formats
from qwen_cli.models.formats.architecture import Architecture
from qwen_cli.models.formats.parameters import Cache, Counted
from qwen_cli.models.formats.tensors import Tensor
from qwen_cli.models.hub import resolve, store

if TYPE_CHECKING:
    from qwen_cli.models.formats.dual_chunk import Chunks
    from qwen_cli.models.formats.weight_formats import Engine
    from qwen_cli.models.hub.resolve import Format, Weights
    from qwen_cli.models.hub.sources import Listing, RemoteFile

_UNREACHED = "no model hub can be reached"
_INDEX = "model.safetensors.index.json"
# The published GGUF files of these have an output layer of their own, which their safetensors do not.
_UNTIED_GGUF = ("qwen2.5:", "qwen2.5-coder:", "qwen1.5:0.5b")


@dataclass(frozen=True)
class Described:
    """A model taken apart, and the form its weights are in: `stored` as `weight_formats` calls it, or the
    name of a published quantization ("awq"). `size` and `read` are its bytes, whole and for one token, where
    files say them. `origin` tells where all this is from, `note` what a person should know of that.
    """

    name: str
    counted: Counted
    stored: str
    engine: Engine
    origin: str
    licence: str | None = None
    model: lookup.Model | None = None
    config: Mapping[str, Any] | None = None
    size: int | None = None
    read: int | None = None
    note: str | None = None

    def engine_of(self, form: str) -> Engine:
        """Return which engine runs the weights in `form`."""
        return self.engine if form == self.stored else weight_formats.engine_of(form)

    def bytes_in(self, form: str, rest: str = "bf16") -> tuple[int, int]:
        """Return the bytes of all weights in `form`, and of those read for one token of text. `rest` is the
        dtype of what bitsandbytes leaves alone."""
        counted = self.counted
        if self.engine_of(form) == "llamacpp" and counted.tied and self._untied_in_gguf():
            counted = parameters.untied(counted)
        known = weight_formats.nearest(form)
        total = weight_formats.total_bytes(counted, known, rest)
        read = weight_formats.read_bytes(counted, known, rest)
        # Files of plain weights hold what is loaded in another dtype, perhaps: those are counted.
        if form != self.stored or self.size is None or form in weight_formats.PLAIN:
            return total, read
        return self.size, self.read or round(read * self.size / total)

    def _untied_in_gguf(self) -> bool:
        return self.model is not None and self.model.name.startswith(_UNTIED_GGUF)


def describe(name: str, *, prefer: Format = "gguf", quant: str | None = None) -> Described:
    """Return the model called `name` (alias, hub id, folder, .gguf file). `prefer` is the form to look at
    where both are here; `quant` a GGUF file type.

    A model that is not here is asked of the hub, config.json and tensor index only, and where no hub can be
    reached taken as published. Raises `ModelError`.
    """
    folder = Path(name).expanduser()
    if (folder / "config.json").is_file() and not any(folder.glob("*.safetensors")):
        return of_folder(folder, name)
    try:
        return of_weights(resolve.resolve(name, prefer=prefer, quant=quant, download=False))
    except ModelError:
        bare, file_type = lookup.spelled(name)
        repo = bare if "/" in bare else None
        model = lookup.find(bare)
        is_path = resolve.as_path(name) is not None
        absent = model or (repo and re.fullmatch(r"[\w.-]+/[\w.-]+", repo) and not is_path)
        if not absent:
            raise
    return _elsewhere(name, repo, model, quant or file_type)


def of_model(model: lookup.Model, note: str | None = None) -> Described:
    """Return a model of the catalog as published: its GGUF where there is one, else its safetensors."""
    config = published.config(model)
    stored = model.quant if model.gguf_repo else "bf16"
    return Described(
        name=model.name,
        counted=parameters.count(config, model.repo),
        stored=stored,
        engine=weight_formats.engine_of(stored),
        origin="the published config.json",
        licence=model.licence,
        model=model,
        config=config,
        # What Qwen publishes, which of a vision model is without its eyes; a community makes files anew.
        size=None if model.vision or model.community else model.gguf_bytes,
        note=note,
    )


def shape(described: Described) -> Architecture:
    """Return what is known of the shape of a model, as far as its positions go."""
    counted, config = described.counted, described.config or {}
    rope = config_fields.rope(config_fields.text(config))
    return Architecture(
        model_type=str(config.get("model_type", "")),
        layers=counted.layers,
        hidden=counted.hidden,
        query_heads=counted.query_heads,
        kv_heads=counted.cache.kv_heads,
        head_dim=counted.cache.head_dim,
        context=counted.context,
        rope_scaling=rope if rope["rope_type"] != "default" else None,
        dual_chunk=chunks(described),
    )


def chunks(described: Described) -> Chunks | None:
    """Return how texts beyond the length that a model was trained at are cut; `None` where they are not."""
    return dual_chunk.read(config_fields.text(described.config or {}))


def stretched(described: Described, context: int | None) -> Described:
    """Return a model with a window of `context` tokens, where that is more than it was trained for."""
    counted = described.counted
    if context is None or counted.context is None or context <= counted.context:
        return described
    return replace(described, counted=replace(counted, context=context))


def chunked(described: Described, shape: Architecture) -> Described:
    """Return a model with the window of `shape` and its dual chunk attention, where it has that."""
    if shape.dual_chunk is None:
        return described
    config = {**(described.config or {}), "dual_chunk_attention_config": shape.dual_chunk.as_config()}
    return replace(stretched(described, shape.context), config=config)


def of_weights(weights: Weights) -> Described:
    """Return the weights that are here. Raises `ModelError`."""
    if weights.format == "gguf":
        return _of_gguf(weights)
    return of_folder(weights.path, weights.label, weights.model, weights.architecture)


def of_folder(
    folder: Path, name: str, model: lookup.Model | None = None, shape: Architecture | None = None
) -> Described:
    """Return a folder with a config.json, weights or none; `shape` is its architecture where that has been
    read. Raises `ModelError`."""
    from qwen_cli.models.formats import architecture

    shape = shape or architecture.read(folder)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    model = model or lookup.related(folder.resolve().name)
    return Described(
        name=name,
        counted=parameters.count(config, str(folder / "config.json")),
        stored=_stored(config),
        engine="transformers",
        origin=str(folder / "config.json"),
        licence=model.licence if model else shape.licence,
        model=model,
        config=config,
        size=shape.size or _indexed(folder),
    )


def _of_gguf(weights: Weights) -> Described:
    header = gguf_header.read(weights.path)
    counted = _counted_gguf(header)
    known = gguf_header.FILE_TYPES.get(header.metadata.get("general.file_type", -1))
    eyes = weights.mmproj.stat().st_size if weights.mmproj else 0
    active = sum(
        entry.size * counted.active_experts // max(1, counted.experts)
        if _is_experts(entry.name)
        else entry.size
        for entry in header.tensors
        if counted.tied or entry.name != "token_embd.weight"
    )
    return Described(
        name=weights.label,
        counted=counted,
        stored=(known or weights.quant or "F16").upper(),
        engine="llamacpp",
        origin=str(weights.path),
        licence=weights.model.licence if weights.model else header.metadata.get("general.license"),
        model=weights.model,
        size=header.size + eyes,
        read=active,
    )


def _is_experts(name: str) -> bool:
    return "_exps" in name


def _counted_gguf(header: gguf_header.Header) -> Counted:
    """Return the tensors of a GGUF file as they stand in its table, what is kept from its metadata."""
    get = header.get
    experts, used = get("expert_count", 0), get("expert_used_count", 0)
    tensors = []
    for entry in header.tensors:
        match = re.match(r"(?:blk\.(\d+)\.)?(.+?)(\.weight|\.bias)?$", entry.name)
        assert match  # the pattern takes any name
        copies = experts if _is_experts(entry.name) and experts else 1
        columns = entry.shape[0]
        rows = 1
        for length in entry.shape[1:]:
            rows *= length
        tensors.append(
            Tensor(
                match[2] + ("_bias" if match[3] == ".bias" else ""),
                rows // copies,
                columns,
                int(match[1]) if match[1] else -1,
                copies,
                used if copies > 1 else 1,
                linear=rows > 1 and copies == 1,
            )
        )
    hidden, heads = get("embedding_length"), get("attention.head_count")
    layers, drafting = gguf_header.blocks(header) if get("block_count") else (0, 0)
    if not (layers and hidden and heads):
        raise ModelError(
            f"{header.path} does not give its layers and heads", "it is not a complete language model"
        )
    every = get("full_attention_interval", 1)
    full = layers // every
    return Counted(
        tensors=tuple(tensors),
        vision=(),
        tied=not any(tensor.name == "output" for tensor in tensors),
        cache=Cache(
            full=full,
            kv_heads=get("attention.head_count_kv", heads),
            head_dim=get("attention.key_length") or hidden // heads,
            linear=layers - full,
            drafting=drafting,
            **gguf_header.linear_state(header),
        ),
        hidden=hidden,
        intermediate=get("feed_forward_length", 0),
        layers=layers,
        query_heads=heads,
        vocabulary=header.arrays.get("tokenizer.ggml.tokens", 0),
        experts=experts,
        active_experts=used,
        context=get("context_length"),
    )


def _stored(config: Mapping[str, Any]) -> str:
    quantized = config.get("quantization_config") or (config.get("text_config") or {}).get(
        "quantization_config"
    )
    if quantized:
        return str(quantized.get("quant_method", "quantized"))
    # The engine computes plain weights in bfloat16, whatever they are stored in.
    return "bf16"


def _indexed(folder: Path) -> int | None:
    """Return the bytes of the weights that the tensor index names, which need not be here."""
    try:
        return int(json.loads((folder / _INDEX).read_text("utf-8"))["metadata"]["total_size"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _elsewhere(name: str, repo: str | None, model: lookup.Model | None, quant: str | None) -> Described:
    """Return a model that is not here: from the hub's small files, else as published."""
    model = model or lookup.related(repo or name)
    wanted = model.repo if model and (repo is None or "gguf" in repo.lower()) else str(repo)
    why = None
    folder = _with_config(store.snapshot(wanted))
    if folder is None:
        try:
            folder = _fetched(wanted)
        except DownloadError as fault:
            why = fault
    if folder is not None:
        described = of_folder(folder, model.name if model else name, model)
        as_published = of_model(model) if model else None
        if as_published and as_published.stored != "bf16" and described.stored == "bf16":
            described = replace(
                as_published, counted=described.counted, config=described.config, origin=described.origin
            )
        return _as_form(described, None, quant)
    if model is None:
        raise why or ModelError(f"{name} is not known", "run `qwen models list`")
    reason = _UNREACHED if why is None or _UNREACHED in why.message else why.message
    return _as_form(of_model(model, f"{reason}: {model.name} is planned as it was published"), repo, quant)


def _as_form(described: Described, repo: str | None, quant: str | None) -> Described:
    """Return `described` in the form that a file type or a repository's name gives ("…-AWQ",
    "…-GPTQ-Int4")."""
    if quant and quant.upper() != described.stored:
        return replace(described, stored=quant.upper(), engine="llamacpp", size=None)
    if repo and (packed := re.search(r"awq|gptq|fp8|int[48]|[48]bit", repo, re.IGNORECASE)):
        bits = re.search(r"int8|8bit|fp8", repo, re.IGNORECASE)
        return replace(
            described,
            stored=f"{packed[0].lower()}{'' if bits else ' 4 bits'}",
            engine="transformers",
            size=None,
        )
    return described


def _with_config(folder: Path | None) -> Path | None:
    return folder if folder and (folder / "config.json").is_file() else None


def _fetched(repo: str) -> Path:
    """Return the snapshot of `repo` with its config.json and tensor index: some kilobytes. Raises
    `DownloadError`."""
    from qwen_cli.models.hub import download, sources

    source = sources.reachable()
    if source is None:
        raise DownloadError(
            f"{repo} is not on this machine and {_UNREACHED}",
            "check the network and proxy, or name a model of `qwen models list`",
        )
    return download.pull(repo, _small, source=source)


def _small(listing: Listing) -> list[RemoteFile]:
    files = [file for file in listing.files if file.path in ("config.json", _INDEX)]
    if not any(file.path == "config.json" for file in files):
        raise DownloadError(
            f"{listing.repo} has no config.json",
            "name its safetensors repository, or fetch the file and name it",
        )
    return files
