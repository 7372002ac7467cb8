"""The header of a GGUF file: metadata and tensor table, without the vocabulary, in a few milliseconds.

Layout: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little-endian).
`gguf.GGUFReader` materialises the 150,000 strings of a Qwen vocabulary and takes seconds; here arrays are
stepped over.
"""

from __future__ import annotations

import math
import mmap
import re
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qwen_cli.errors import ModelError

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_SCALAR = {kind: struct.Struct("<" + code) for kind, code in _SCALARS.items()}
_STRING, _ARRAY = 8, 9
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")

# Values per block and bytes per block of each tensor type: `GGML_QUANT_SIZES` of the gguf package.
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 40),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292),
    16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110),
    22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8),
    29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17), 40: (64, 36), 41: (128, 18),
}  # fmt: skip

# `LlamaFileType` of the gguf package: what `general.file_type` stands for.
FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S",
    12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K",
    19: "IQ2_XXS", 20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL",
    26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S", 29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16",
    36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE", 39: "NVFP4", 40: "Q1_0",
}  # fmt: skip

_SHARD = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$", re.IGNORECASE)
# Qwen2.5-Coder and Qwen3-Coder; CodeQwen1.5.
_FIRST = b"<|endoftext|>"  # of the special tokens of every Qwen
# What llama.cpp looks for in a text: unknown, control and user-defined (`llama_token_type`).
_SPECIAL = (2, 3, 4)
_KEY = re.compile(rb"[a-z0-9_.\-]{3,64}")


@dataclass(frozen=True)
class TensorEntry:
    """One line of a tensor table. `shape` begins with the inputs, as ggml's `ne`; `size` is in bytes."""

    name: str
    shape: tuple[int, ...]
    size: int


@dataclass(frozen=True)
class Header:
    """What a GGUF file says of itself. Arrays are left out of `metadata`; `arrays` has their lengths.

    `parameters` counts the weights of all shards, `size` is the bytes of all shards, `fim` says that the
    vocabulary has fill-in-the-middle tokens. `tensors` are the tables' entries of all shards.
    """

    path: Path
    metadata: dict[str, Any] = field(repr=False)
    arrays: dict[str, int] = field(repr=False)
    parameters: int
    size: int
    shards: tuple[Path, ...]
    fim: bool
    tensors: tuple[TensorEntry, ...] = field(default=(), repr=False)

    @property
    def architecture(self) -> str:
        return str(self.metadata.get("general.architecture", ""))

    def get(self, key: str, default: Any = None) -> Any:
        """Return the metadata under the architecture's own prefix: `get("block_count")`."""
        return self.metadata.get(f"{self.architecture}.{key}", default)


def read(path: Path) -> Header:
    """Return the header of `path` (of a split file: its first shard, with the others checked).

    Raises `ModelError` naming the file where it is not GGUF, is truncated, or a shard is missing.
    """
    parts = shards(path)
    first = _read_one(parts[0])
    parameters, size, tensors = first.parameters, first.size, first.tensors
    _check_numbers(first)
    for part in parts[1:]:
        other = _read_one(part)
        parameters += other.parameters
        size += other.size
        tensors += other.tensors
    return Header(parts[0], first.metadata, first.arrays, parameters, size, parts, first.fim, tensors)


# Numbers of a language model, under the prefix of its architecture: whole ones, and those that may be none.
_COUNTS = (
    "block_count", "embedding_length", "feed_forward_length", "attention.head_count",
    "attention.head_count_kv", "attention.key_length", "attention.value_length", "context_length",
    "full_attention_interval",
)  # fmt: skip
_OPTIONAL = (
    "expert_count", "expert_used_count", "nextn_predict_layers", "ssm.group_count", "ssm.state_size",
    "ssm.inner_size", "ssm.conv_kernel", "attention.sliding_window", "rope.scaling.original_context_length",
)  # fmt: skip
_REALS = ("rope.freq_base", "rope.scaling.factor")


def _check_numbers(header: Header) -> None:
    """Raise `ModelError` for a number of a model that is none: everything that is told of it is computed of
    them."""
    for name in (*_COUNTS, *_OPTIONAL, *_REALS):
        value = header.get(name)
        low = 0 if name in _OPTIONAL else 1
        whole = type(value) is int and low <= value < 1 << 31
        real = type(value) is float and math.isfinite(value) and value > 0
        if value is not None and not whole and not (name in _REALS and real):
            raise ModelError(f"{header.path} is corrupt: its {name} is {str(value)[:40]!r}", "fetch it again")
    kind = header.metadata.get("general.file_type")
    if kind is not None and type(kind) is not int:
        raise ModelError(f"{header.path} is corrupt: its file type is {str(kind)[:40]!r}", "fetch it again")


def blocks(header: Header) -> tuple[int, int]:
    """Return the layers that every token goes through, and those that only draft (multi-token prediction):
    `block_count` counts both. Raises `TypeError` where the file does not say."""
    drafts = header.get("nextn_predict_layers", 0)
    return header.get("block_count") - drafts, drafts


def linear_state(header: Header) -> dict[str, int]:
    """Return what each layer of linear attention keeps, in the fields of `parameters.Cache`; zeros without
    such layers (llama.cpp's src/llama-hparams.cpp, n_embd_r and n_embd_s)."""
    group, state = header.get("ssm.group_count", 0), header.get("ssm.state_size", 0)
    inner = header.get("ssm.inner_size", 0)
    return {
        "conv_channels": inner + 2 * group * state,
        "conv_kernel": header.get("ssm.conv_kernel", 0),
        "state_values": state * inner,
    }


def shards(path: Path) -> tuple[Path, ...]:
    """Return all files of the split model that `path` belongs to, in order; `(path,)` for a single file.

    Raises `ModelError` where one is missing.
    """
    if not (match := _SHARD.search(path.name)):
        return (path,)
    count = int(match[2])
    suffix = path.name[match.end() - len(".gguf") :]  # in its own letter case
    names = [f"{path.name[: match.start()]}-{i:05d}-of-{count:05d}{suffix}" for i in range(1, count + 1)]
    parts = tuple(path.with_name(name) for name in names)
    if missing := [part.name for part in parts if not part.is_file()]:
        raise ModelError(
            f"{path.name} is one of {count} files and {missing[0]} is missing",
            f"put all {count} parts into {path.parent}",
        )
    return parts


def special_tokens(path: Path) -> tuple[str, ...]:
    """Return how the special tokens of a GGUF file are spelt, those too that count as text (`<think>`). A few
    milliseconds: they stand at the end of Qwen's vocabularies. Raises `ModelError`."""
    first = shards(path)[0]
    try:
        with first.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _special_tokens(data)
    except (OSError, struct.error, UnicodeDecodeError) as error:
        raise ModelError(f"cannot read the vocabulary of {path}: {error}", "fetch it again") from None


def _special_tokens(data: mmap.mmap) -> tuple[str, ...]:
    kinds, tokens = _array_at(data, b"tokenizer.ggml.token_type"), _array_at(data, b"tokenizer.ggml.tokens")
    if not kinds or not tokens:
        return ()
    count, begin = kinds
    hits = [hit for kind in _SPECIAL if (hit := _aligned(data, kind, begin, begin + 4 * count)) is not None]
    if not hits:
        return ()
    first = min(hits)
    types = struct.unpack_from(f"<{count - first}i", data, begin + 4 * first)
    special = [first + number for number, kind in enumerate(types) if kind in _SPECIAL]
    begin, position = 0, tokens[1]
    # Stepping over 150,000 strings takes 40 ms: begin at the one that is looked for, if that is the first.
    hit = data.find(_U64.pack(len(_FIRST)) + _FIRST, position)
    if hit >= 0 and _ends(data, hit, count - special[0]):
        begin, position = special[0], hit
    wanted, spelt = set(special), []
    for number in range(begin, special[-1] + 1):
        length = _U64.unpack_from(data, position)[0]
        if number in wanted:
            spelt.append(data[position + 8 : position + 8 + length].decode("utf-8", "replace"))
        position += 8 + length
    return tuple(spelt)


def _aligned(data: mmap.mmap, value: int, begin: int, end: int) -> int | None:
    """Return the first place of `value` in an array of 32-bit integers."""
    wanted, position = _U32.pack(value), begin
    while (hit := data.find(wanted, position, end)) >= 0:
        if (hit - begin) % 4 == 0:
            return (hit - begin) // 4
        position = hit + 1
    return None


def _array_at(data: mmap.mmap, key: bytes) -> tuple[int, int] | None:
    """Return the length and the place of the first element of the array called `key`."""
    hit = data.find(_U64.pack(len(key)) + key)
    if hit < 0:
        return None
    start = hit + 8 + len(key)
    if _U32.unpack_from(data, start)[0] != _ARRAY:
        return None
    return _U64.unpack_from(data, start + 8)[0], start + 16


def _ends(data: mmap.mmap, position: int, strings: int) -> bool:
    """Return whether an array ends after as many more `strings`: a key comes next."""
    try:
        for _ in range(strings):
            position += 8 + _U64.unpack_from(data, position)[0]
        length = _U64.unpack_from(data, position)[0]
        return length <= 64 and bool(_KEY.fullmatch(data[position + 8 : position + 8 + length]))
    except (struct.error, IndexError, OverflowError):
        return False


def _read_one(path: Path) -> Header:
    try:
        size = path.stat().st_size
        if size < 24:
            raise ModelError(f"{path} is not a GGUF file ({size} bytes)", "give a .gguf file of a Qwen model")
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if data[:4] != b"GGUF":
                raise ModelError(
                    f"{path} is not a GGUF file (it begins with {data[:4]!r})",
                    "give a .gguf file, or a folder with config.json",
                )
            return _parse(path, data, size)
    except OSError as error:
        raise ModelError(
            f"cannot read {path}: {error.strerror}", "check the path and its permissions"
        ) from None


def _parse(path: Path, data: mmap.mmap, size: int) -> Header:
    version = _U32.unpack_from(data, 4)[0]
    if version not in (2, 3):
        raise ModelError(
            f"{path} is GGUF version {version}, only 2 and 3 are known", "convert it with a newer llama.cpp"
        )
    try:
        try:
            header, end = _walk(path, data, size, jump=True)
        except (struct.error, UnicodeDecodeError, KeyError):
            # The short cut over string arrays landed badly; step through them one by one.
            header, end = _walk(path, data, size, jump=False)
    except (struct.error, UnicodeDecodeError, KeyError, IndexError, OverflowError, RecursionError):
        raise ModelError(
            f"{path} is truncated or corrupt: its header does not end within {size:,} bytes", "fetch it again"
        ) from None
    if end > size:
        raise ModelError(
            f"{path} is truncated: {size:,} bytes, its tensor table says {end:,}", "fetch it again"
        )
    return header


def _walk(path: Path, data: mmap.mmap, size: int, *, jump: bool) -> tuple[Header, int]:
    """Return the header, and where the last tensor ends in the file."""
    tensor_count, pair_count = struct.unpack_from("<QQ", data, 8)
    position = 24
    metadata: dict[str, Any] = {}
    arrays: dict[str, int] = {}
    for _ in range(pair_count):
        key, position = _string(data, position)
        kind = _U32.unpack_from(data, position)[0]
        position += 4
        if kind == _STRING:
            metadata[key], position = _string(data, position)
        elif kind == _ARRAY:
            arrays[key], position = _skip_array(data, position, jump)
        else:
            metadata[key] = _SCALAR[kind].unpack_from(data, position)[0]
            position += _SCALAR[kind].size
    # The length before the text tells the token from one that merely contains it.
    fim = any(
        data.find(_U64.pack(len(t)) + t, 0, position) >= 0 for t in (b"<|fim_prefix|>", b"<fim_prefix>")
    )

    parameters = end = 0
    tensors: list[TensorEntry] = []
    for _ in range(tensor_count):
        name, position = _string(data, position)
        dimensions = _U32.unpack_from(data, position)[0]
        if dimensions > 8:
            raise KeyError(dimensions)
        shape = struct.unpack_from(f"<{dimensions}Q", data, position + 4)
        kind, offset = struct.unpack_from("<IQ", data, position + 4 + 8 * dimensions)
        position += 16 + 8 * dimensions
        count = math.prod(shape)
        per_block, block_bytes = _BLOCKS.get(kind, (1, 0))  # a type newer than this table: size unknown
        parameters += count
        tensors.append(TensorEntry(name, shape, count // per_block * block_bytes))
        end = max(end, offset + tensors[-1].size)
    alignment = metadata.get("general.alignment", 32)
    if type(alignment) is not int or alignment < 1:
        raise KeyError(alignment)
    start = (position + alignment - 1) // alignment * alignment
    header = Header(path, metadata, arrays, parameters, size, (path,), fim, tuple(tensors))
    return header, start + end if tensor_count else position


def _string(data: mmap.mmap, position: int) -> tuple[str, int]:
    length = _U64.unpack_from(data, position)[0]
    end = position + 8 + length
    if end > len(data):
        raise struct.error("string runs past the end")
    return data[position + 8 : end].decode(), end


def _skip_array(data: mmap.mmap, position: int, jump: bool) -> tuple[int, int]:
    """Return the length of the array at `position`, and where it ends."""
    kind, count = struct.unpack_from("<IQ", data, position)
    position += 12
    if kind in _SCALAR:
        return count, position + count * _SCALAR[kind].size
    if kind == _ARRAY:
        for _ in range(count):
            _, position = _skip_array(data, position, jump)
        return count, position
    if kind != _STRING:
        raise KeyError(kind)
    if jump and count > 10_000 and (next_key := _next_key(data, position)):
        return count, next_key
    unpack = _U64.unpack_from
    for _ in range(count):
        position += 8 + unpack(data, position)[0]
    return count, position


def _next_key(data: mmap.mmap, position: int) -> int | None:
    """Return where the next `tokenizer.` key begins after a large array of strings.

    A search costs 2 ms where stepping over 150,000 strings in Python costs 40. It cannot be wrong
    silently: a false hit breaks the walk, which is then done step by step.
    """
    while (hit := data.find(b"tokenizer.", position)) >= 0:
        start = hit - 8
        length = _U64.unpack_from(data, start)[0]
        if length <= 64 and _KEY.fullmatch(data[hit : hit + length]):
            kind = _U32.unpack_from(data, hit + length)[0]
            if kind <= 12:
                return start
        position = hit + 1
    return None
