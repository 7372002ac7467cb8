"""Tensors of a checkpoint under GGUF's names, in the shapes and order that llama.cpp computes with.

What its converter does to them (`conversion/qwen.py` and `conversion/qwen3vl.py` in llama.cpp): a test
compares every tensor. Most are only renamed; the linear attention of Qwen3-Next and Qwen3.5 is rearranged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from qwen_cli.errors import ModelError
from qwen_cli.models.formats import config_fields

if TYPE_CHECKING:
    import numpy as np

    from qwen_cli.models.formats.safetensors_reader import Stored

Change: TypeAlias = "Callable[[np.ndarray], np.ndarray]"
HYBRID = ("qwen3next", "qwen35", "qwen35moe")
# The block that only drafts (multi-token prediction), behind the model's own layers in GGUF.
_DRAFTING = {
    "fc": "eh_proj",
    "pre_fc_norm_embedding": "enorm",
    "pre_fc_norm_hidden": "hnorm",
    "norm": "shared_head.norm",
}


@dataclass(frozen=True)
class Named:
    """A tensor of a GGUF file. `shape` is what is written, `parts` are the tensors of the checkpoint stacked
    in it (one, or one of each expert), `change` what is done to each matrix of theirs (rows × columns; a
    vector is one row)."""

    name: str
    shape: tuple[int, ...]
    parts: tuple[Stored, ...]
    change: Change | None = None


@dataclass(frozen=True)
class _Heads:
    """The heads of linear attention: how many `keys` and `values`, and how wide each is. `tiled` says that
    llama.cpp repeats the key heads one after the other, for which value heads are sorted otherwise."""

    keys: int
    values: int
    key_width: int
    value_width: int
    tiled: bool

    def of_values(self, width: int, start: int = 0) -> np.ndarray:
        """Return which row comes where of the value heads, `width` rows each, that begin at row `start`."""
        import numpy as np

        rows = start + np.arange(self.values * width).reshape(self.keys, -1, width)
        return (rows.swapaxes(0, 1) if self.tiled else rows).ravel()

    def of_all(self) -> np.ndarray:
        """Return which row comes where of queries, keys and values in one matrix."""
        import numpy as np

        before = 2 * self.keys * self.key_width
        return np.concatenate([np.arange(before), self.of_values(self.value_width, before)])

    def of_groups(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows of queries, keys and values, and those of the gates, where each key head has its
        own query, key, values and gates in a row (Qwen3-Next)."""
        import numpy as np

        wide = self.values // self.keys * self.value_width
        edges = [self.key_width, 2 * self.key_width, 2 * self.key_width + wide]
        rows = np.arange(self.keys * (edges[-1] + wide)).reshape(self.keys, -1)
        *mixed, gates = (part.ravel() for part in np.split(rows, edges, axis=1))
        return np.concatenate(mixed), gates


def draft_layers(stored: Mapping[str, Stored]) -> int:
    """Return how many blocks of a checkpoint only draft (`mtp.layers.N`)."""
    numbers = {
        int(name.partition("mtp.layers.")[2].partition(".")[0]) for name in stored if "mtp.layers." in name
    }
    return max(numbers, default=-1) + 1


def of_text(
    architecture: str, config: Mapping[str, Any], stored: Mapping[str, Stored], *, tied: bool
) -> Iterator[Named]:
    """Yield the tensors of the text model and of its drafting block.

    Raises `ModelError` for a tensor that GGUF has no name for, `KeyError` where `config` lacks a field or an
    expert is missing.
    """
    layers = config["num_hidden_layers"]
    named = namer(architecture, layers + draft_layers(stored))
    heads = _heads(architecture, config) if architecture in HYBRID else None
    # Qwen3-VL's published mixtures have the matrices of their experts the other way round.
    turned = architecture == "qwen3vlmoe" and any(
        ".mlp.experts.down_proj" in name and tensor.shape[-1] == config["hidden_size"]
        for name, tensor in stored.items()
    )
    experts: dict[str, dict[int, Stored]] = {}
    for own_name, tensor in stored.items():
        name = own_name.replace("language_model.", "")
        if "visual." in name or (tied and name == "lm_head.weight"):
            continue
        name = _behind(name, layers)
        before, mark, after = name.partition(".mlp.experts.")
        if mark and after[0].isdigit():
            expert, _, rest = after.partition(".")
            experts.setdefault(f"{before}.mlp.experts.{rest}", {})[int(expert)] = tensor
            continue
        if mark and not name.endswith(".weight"):
            name = f"{name}.weight"  # newer experts have no suffix
        if mark:
            placed = _stacked(name, tensor, config["hidden_size"], turned=turned)
        elif heads and ".linear_attn." in name:
            placed = _linear(name, tensor, heads)
        elif heads and name.endswith("norm.weight"):
            placed = iter([Named(name, tensor.shape, (tensor,), _one_more)])
        else:
            placed = iter([Named(name, tensor.shape, (tensor,))])
        for one in placed:
            yield replace(one, name=named(one.name))
    for name, parts in experts.items():
        every = tuple(parts[i] for i in range(config_fields.experts(config)))
        yield Named(named(name), (len(every), *every[0].shape), every)


def _heads(architecture: str, config: Mapping[str, Any]) -> _Heads:
    return _Heads(
        config["linear_num_key_heads"],
        config["linear_num_value_heads"],
        config["linear_key_head_dim"],
        config["linear_value_head_dim"],
        tiled=architecture != "qwen3next",
    )


def _behind(name: str, layers: int) -> str:
    """Return the name of a drafting block's tensor as that of one more layer behind `layers`."""
    own = name.removeprefix("model.")
    if not own.startswith("mtp."):
        return name
    _, part, rest = own.split(".", 2)
    if part == "layers":
        number, _, rest = rest.partition(".")
        return f"model.layers.{layers + int(number)}.{rest}"
    return f"model.layers.{layers}.{_DRAFTING.get(part, part)}.{rest}"


def _stacked(name: str, tensor: Stored, hidden: int, *, turned: bool) -> Iterator[Named]:
    """Yield the stacked experts: gate and up, which are stored as one (experts × 2·width × hidden), become
    two. `turned` has the last two axes the other way round."""
    if "gate_up_proj" not in name:
        if turned:
            count, rows, columns = tensor.shape
            yield Named(name, (count, columns, rows), (tensor,), _transposed)
        else:
            yield Named(name, tensor.shape, (tensor,))
        return
    for half, projection in enumerate(("gate_proj", "up_proj")):
        target = name.replace("gate_up_proj", projection)
        if turned:
            width = tensor.shape[-1] // 2
            yield Named(target, (tensor.shape[0], width, hidden), (tensor,), _half_transposed(half, width))
        else:
            part = tensor.half(half)
            yield Named(target, part.shape, (part,))


def _linear(name: str, tensor: Stored, heads: _Heads) -> Iterator[Named]:
    """Yield a tensor of linear attention as llama.cpp wants it: its rows, or its columns, in the order of
    `heads`."""
    shape, parts = tensor.shape, (tensor,)
    if name.endswith(".A_log"):
        order = heads.of_values(1)
        yield Named(name, shape, parts, lambda rows: _minus_exp(rows[:, order]))
    elif name.endswith(".dt_bias"):
        target = name.removesuffix("dt_bias") + "dt_proj.bias"
        yield Named(target, shape, parts, _columns(heads.of_values(1)))
    elif ".in_proj_qkvz." in name:
        mixed, gates = heads.of_groups()
        for kind, order in (("qkv", mixed), ("z", gates)):
            yield Named(name.replace("qkvz", kind), (len(order), shape[1]), parts, _rows(order))
    elif ".in_proj_qkv." in name:
        yield Named(name, shape, parts, _rows(heads.of_all()))
    elif ".conv1d." in name:
        flat = replace(tensor, shape=(shape[0], shape[-1]))  # one input channel for each output
        yield Named(name, flat.shape, (flat,), _rows(heads.of_all()))
    elif ".in_proj_z." in name:
        yield Named(name, shape, parts, _rows(heads.of_values(heads.value_width)))
    elif ".in_proj_a." in name or ".in_proj_b." in name:
        yield Named(name, shape, parts, _rows(heads.of_values(1)))
    elif ".out_proj." in name:
        yield Named(name, shape, parts, _columns(heads.of_values(heads.value_width)))
    else:
        yield Named(name, shape, parts)


def _rows(order: np.ndarray) -> Change:
    return lambda matrix: matrix[order]


def _columns(order: np.ndarray) -> Change:
    return lambda matrix: matrix[:, order]


def _one_more(matrix: np.ndarray) -> np.ndarray:
    """Return the weights of a norm that the checkpoint keeps as their distance from 1."""
    return matrix + 1


def _minus_exp(matrix: np.ndarray) -> np.ndarray:
    import numpy as np

    rates: np.ndarray = -np.exp(matrix)
    return rates


def _transposed(matrix: np.ndarray) -> np.ndarray:
    return matrix.T


def _half_transposed(half: int, width: int) -> Change:
    return lambda matrix: matrix[:, half * width : (half + 1) * width].T


def namer(architecture: str, layers: int) -> Callable[[str], str]:
    """Return what gives tensors of a checkpoint their names in GGUF. Raises `ModelError` for one that has
    none."""
    from gguf import MODEL_ARCH, MODEL_ARCH_NAMES, get_tensor_name_map

    number = next(arch for arch, name in MODEL_ARCH_NAMES.items() if name == architecture)
    names = get_tensor_name_map(MODEL_ARCH(number), layers)
    return lambda name: _gguf_name(names, name)


def _gguf_name(names: Any, name: str) -> str:
    stem, _, ending = name.rpartition(".")
    layer, _, part = stem.removeprefix("model.layers.").partition(".")
    if part in _DRAFTING.values() and layer.isdigit():  # older gguf packages know them of other models only
        return f"blk.{layer}.nextn.{part.replace('.', '_')}.{ending}"
    target = names.get_name(name, try_suffixes=(".weight", ".bias"))
    if target is None:
        raise ModelError(f"the model has a tensor that GGUF has no name for: {name}")
    return str(target)
