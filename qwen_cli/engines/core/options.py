"""How a model is loaded: one value that the library, the commands, the daemon and `qwen serve` share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qwen_cli import aliases
from qwen_cli.engines.core import rope
from qwen_cli.errors import UsageError
from qwen_cli.models.formats import kv_types, weight_formats

if TYPE_CHECKING:
    from qwen_cli.models.progress import Progress

BITS = ("none", "8bit", "4bit")
"""Quantizations that are made while weights load (bitsandbytes); every other `quant` is a GGUF file type."""
DTYPES = {
    "auto": "auto",
    "bf16": "bfloat16",
    "fp16": "float16",
    "fp32": "float32",
    "bfloat16": "bfloat16",
    "float16": "float16",
    "float32": "float32",
}
"""How a number format may be called, and what torch calls it."""
ATTENTION = ("auto", "eager", "sdpa", "flash_attention_2", "flash_attention_3")
TRANSFORMERS_ONLY = (
    "dtype",
    "device_map",
    "max_memory",
    "offload_dir",
    "attention",
    "compiled",
    "allow_pickle",
)
LLAMACPP_ONLY = ("kv", "n_cpu_moe")


def torch_dtype(name: str) -> str:
    """Return torch's name of a number format. Raises `UsageError`."""
    if name.lower() not in DTYPES:
        raise UsageError(f"`dtype` must be auto, bf16, fp16 or fp32, got {name!r}")
    return DTYPES[name.lower()]


def check_attention(name: str) -> None:
    """Raise `UsageError` unless `name` is one of `ATTENTION`."""
    if name not in ATTENTION:
        raise UsageError(f"`attention` must be {', '.join(ATTENTION)}, got {name!r}")


def _about(*kinds: type, lasting: bool = True, sent: bool = True) -> dict[str, Any]:
    """Describe an option: what it may be, whether it makes a difference to a model once it is loaded, and
    whether another process is told it."""
    return {"kinds": kinds, "lasting": lasting, "sent": sent}


@dataclass(frozen=True)
class LoadOptions:
    """Which model is loaded, by which engine, and how. Raises `UsageError` for a value that no engine takes.

    `model` is an alias, hub id, folder or .gguf file; `None` picks one for this machine. `engine` "auto"
    takes a server where there is an `endpoint`, `transformers` for safetensors or where it alone computes on
    the GPU, else `llamacpp`; a back end that another package offers is asked first. `api_key` and `headers`
    are for the endpoint. `context` is in tokens, `None` as many as suit the machine.

    `quant` is "none", "8bit" or "4bit" (transformers) or a GGUF file type ("q4_k_m"). `dtype`, `device_map`
    ("auto", "cuda:1", a .json file), `max_memory` ("0=10GiB,cpu=20GiB"), `offload_dir`, `attention` and
    `compiled` are for transformers, as is `allow_pickle`, without which weights must be safetensors. Code
    that comes with weights runs with `trust_remote_code`. With `merge` adapters are added to the weights
    (`None`: unless these are quantized). What drafts tokens is `draft`: "mtp" (the model's own block for it),
    "ngram", the name of a smaller model, "off", or what costs least ("auto"). `rope_scaling` "yarn" stretches
    the window to `context`, "dca" (transformers) lets it grow by dual chunk attention, in chunks of
    `dca_chunk` tokens (`None`: those of the model's files, else the length that it was trained for), "none"
    takes back what the files do. llama.cpp decodes `parallel`
    samples together, keeps keys and values as `kv` ("f16", "bf16", "q8_0", "q4_0"; `None`: f16, or what makes
    the context fit), and the experts of the first `n_cpu_moe` layers in main memory, all else on the GPU
    (`None`: those that the GPU has no room for). `vision` says whether a server's model sees (`None`: as the
    server tells).
    """

    model: str | None = field(default=None, metadata=_about(str, lasting=False))
    engine: str = field(default="auto", metadata=_about(str))
    endpoint: str | None = field(default=None, metadata=_about(str, lasting=False, sent=False))
    api_key: str | None = field(default=None, repr=False, metadata=_about(str, lasting=False, sent=False))
    headers: Mapping[str, str] = field(
        default_factory=dict,
        repr=False,
        hash=False,
        metadata=_about(Mapping, lasting=False, sent=False),
    )
    context: int | None = field(default=None, metadata=_about(int))
    quant: str | None = field(default=None, metadata=_about(str))
    dtype: str = field(default="auto", metadata=_about(str))
    device_map: str | None = field(default=None, metadata=_about(str))
    max_memory: str | None = field(default=None, metadata=_about(str))
    offload_dir: Path | None = field(default=None, metadata=_about(Path))
    attention: str = field(default="auto", metadata=_about(str))
    compiled: bool = field(default=False, metadata=_about(bool))
    adapters: Sequence[Path] = field(default=(), metadata=_about(tuple))
    merge: bool | None = field(default=None, metadata=_about(bool))
    draft: str = field(default="auto", metadata=_about(str))
    rope_scaling: rope.Scaling | None = field(default=None, metadata=_about(str))
    dca_chunk: int | None = field(default=None, metadata=_about(int))
    kv: str | None = field(default=None, metadata=_about(str))
    n_cpu_moe: int | None = field(default=None, metadata=_about(int))
    trust_remote_code: bool = field(default=False, metadata=_about(bool))
    allow_pickle: bool = field(default=False, metadata=_about(bool, lasting=False))
    parallel: int = field(default=8, metadata=_about(int, lasting=False))
    vision: bool | None = field(default=None, metadata=_about(bool, lasting=False, sent=False))

    def __post_init__(self) -> None:
        adapters = self.adapters
        listed = isinstance(adapters, Sequence) and not isinstance(adapters, str)
        if not listed or not all(isinstance(one, (str, Path)) for one in adapters):
            raise UsageError(f"`adapters` must be a list of paths, got {adapters!r}")
        self._put("adapters", tuple(Path(one) for one in adapters))
        if isinstance(self.offload_dir, str):
            self._put("offload_dir", Path(self.offload_dir))
        for option in fields(self):
            value, kinds = getattr(self, option.name), option.metadata["kinds"]
            wrong = not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)
            if wrong and not (value is None and option.default is None):
                words = " or ".join(_KINDS.get(kind, kind.__name__) for kind in kinds)
                raise UsageError(f"`{option.name}` must be {words}, got {value!r}")
        for name in ("context", "parallel", "dca_chunk"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"`{name}` must be at least 1, got {value}")
        if self.n_cpu_moe is not None and self.n_cpu_moe < 0:
            raise UsageError(f"`n_cpu_moe` must be 0 or more, got {self.n_cpu_moe}")
        if self.kv is not None:
            self._put("kv", kv_types.checked(self.kv))
        torch_dtype(self.dtype)
        check_attention(self.attention)
        if self.quant and not self.bits and not weight_formats.is_file_type(self.quant):
            raise UsageError(
                f"`quant` must be none, 8bit, 4bit or a GGUF file type such as q4_k_m, got {self.quant!r}"
            )
        rope.checked(self.rope_scaling)
        for name in ("model", "draft"):  # names that a person has given to models
            value = getattr(self, name)
            if value:
                self._put(name, aliases.meant(value))

    @property
    def bits(self) -> str | None:
        """Return the quantization that is made while weights load, if one of `BITS` is asked for."""
        quant = (self.quant or "").lower()
        return quant if quant in BITS else None

    @property
    def file_type(self) -> str | None:
        """Return the GGUF file type, if one is asked for."""
        return self.quant if self.quant and not self.bits else None

    @property
    def placed(self) -> bool:
        """Return whether it is said what goes to which device."""
        return self.device_map is not None or self.max_memory is not None

    def given(self) -> dict[str, Any]:
        """Return the options that say anything: those that are not as they are by default."""
        return {
            option.name: value
            for option in fields(self)
            if (value := getattr(self, option.name)) != _default(option) and value != ""
        }

    def refuse(self, names: Sequence[str], why: str, hint: str) -> None:
        """Raise `UsageError` for the first of `names` that was given."""
        for name in self.given():
            if name in names:
                raise UsageError(f"`{name}` {why}", hint)

    def identity(self) -> dict[str, str]:
        """Return what of this makes a difference to a model once it is loaded, as text: two loads of the same
        weights by the same engine with the same of it are one."""
        identity = {}
        for option in fields(self):
            if option.metadata["lasting"] and option.name in self.given():
                identity[option.name] = _as_text(option.name, getattr(self, option.name))
        return identity

    def to_wire(self) -> dict[str, Any]:
        """Return what is given as JSON has it. Paths hold in another process's folder too; what is for a
        server elsewhere, its key before all, is left out."""
        told = {option.name for option in fields(self) if option.metadata["sent"]}
        return {name: _sent(name, value) for name, value in self.given().items() if name in told}

    @classmethod
    def from_wire(cls, sent: Any) -> LoadOptions:
        """Return what `to_wire` made. Raises `UsageError` for anything else."""
        told = {option.name for option in fields(cls) if option.metadata["sent"]}
        if not isinstance(sent, dict):
            raise UsageError(f"loading options must be an object, got {sent!r}")
        if unknown := set(sent) - told:
            raise UsageError(f"there is no loading option {min(unknown)!r}", f"there are {', '.join(told)}")
        return cls(**sent)

    def _put(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)


@dataclass(frozen=True)
class Hooks:
    """Who is asked and told while a model loads: `notice` receives one-line remarks, `progress` the bytes of
    downloads. `agree` is told the label of weights and the Python files that come with them, and says whether
    they may run."""

    notice: Callable[[str], None] = lambda text: None
    progress: Progress | None = None
    agree: Callable[[str, Sequence[str]], bool] = lambda label, code: False


_KINDS = {str: "a text", int: "a whole number", bool: "true or false", Path: "a path", Mapping: "a mapping"}


def _default(option: Any) -> Any:
    return option.default if option.default is not MISSING else option.default_factory()


def _as_text(name: str, value: Any) -> str:
    """Return an option as one text, the same for all ways to write it."""
    if name == "dtype":
        return torch_dtype(value)
    if name == "quant":
        return str(value).lower()
    if name == "adapters":
        return "\n".join(str(path.resolve()) for path in value)
    return str(value.resolve()) if isinstance(value, Path) else str(value)


def _sent(name: str, value: Any) -> Any:
    if name == "adapters":
        return [str(path.absolute()) for path in value]
    if isinstance(value, Path):
        return str(value.absolute())
    if name in ("model", "draft"):
        from qwen_cli.models.hub import resolve

        path = resolve.as_path(value)
        return str(path.absolute()) if path else value
    if name == "device_map" and value.endswith(".json"):
        return str(Path(value).expanduser().absolute())
    return value
