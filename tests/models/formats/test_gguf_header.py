"""Reading the header of a GGUF file: quickly, and with a clear word where the file is broken."""

from __future__ import annotations

import json
import struct
import tempfile
from pathlib import Path
from typing import Any

import gguf_files
import pytest
from gguf import GGML_QUANT_SIZES, GGUFValueType, GGUFWriter, LlamaFileType
from hypothesis import given
from hypothesis import strategies as st

from qwen_cli.errors import ModelError
from qwen_cli.models.formats import architecture, gguf_header
from qwen_cli.models.planning import describe


def test_says_what_the_starter_says_of_itself(starter_gguf: Path) -> None:
    header = gguf_header.read(starter_gguf)
    assert header.architecture == "qwen2"
    assert header.get("block_count") == 24
    assert header.get("attention.head_count_kv") == 2
    assert header.metadata["general.file_type"] == 15
    assert header.metadata["tokenizer.chat_template"].startswith("{%- if tools %}")
    assert header.arrays["tokenizer.ggml.tokens"] == 151_936
    assert header.size == 491_400_064
    assert header.fim


def test_names_the_special_tokens(starter_gguf: Path, starter_safetensors: Path) -> None:
    added = json.loads((starter_safetensors / "tokenizer.json").read_text("utf-8"))["added_tokens"]
    found = gguf_header.special_tokens(starter_gguf)
    assert list(found) == [token["content"] for token in sorted(added, key=lambda token: token["id"])]


def test_names_special_tokens_wherever_they_stand(tmp_path: Path) -> None:
    tokens = ["a", "<think>", "<|endoftext|>", "b", "<unk>", "[PAD5]", "<|im_end|>", "c"]
    path = tmp_path / "odd.gguf"
    writer = GGUFWriter(path, "qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types([1, 4, 1, 1, 2, 5, 3, 1])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    assert gguf_header.special_tokens(path) == ("<think>", "<unk>", "<|im_end|>")


def test_is_quick_because_it_steps_over_the_vocabulary(
    starter_gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[bool] = []
    walk = gguf_header._walk

    def watched(*given: Any, jump: bool) -> Any:
        modes.append(jump)
        return walk(*given, jump=jump)

    monkeypatch.setattr(gguf_header, "_walk", watched)
    gguf_header.read(starter_gguf)
    assert modes == [True], "the short cut landed well: nothing was read token by token"


def test_reads_the_same_with_and_without_the_short_cut(starter_gguf: Path) -> None:
    import mmap

    with starter_gguf.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        size = starter_gguf.stat().st_size
        quick = gguf_header._walk(starter_gguf, data, size, jump=True)
        slow = gguf_header._walk(starter_gguf, data, size, jump=False)
    assert quick == slow


def test_a_token_that_looks_like_a_key_does_not_mislead_it(tmp_path: Path) -> None:
    words = [f"word{i}" for i in range(12_000)]
    # As bytes in the file this token is length 16 + text + the next token's length: nearly a key.
    words[6000] = "tokenizer.x.trap"
    path = gguf_files.write(tmp_path / "m.gguf", vocabulary=words)
    header = gguf_header.read(path)
    assert header.metadata["tokenizer.chat_template"] == "{{ messages }}"
    assert header.parameters == 64 * 32 + 32
    assert not header.fim


def test_sees_fim_tokens_only_where_they_are_tokens(tmp_path: Path) -> None:
    has = gguf_files.write(tmp_path / "a.gguf", vocabulary=["a", "<|fim_prefix|>", "b"])
    mentions = gguf_files.write(tmp_path / "b.gguf", vocabulary=["a", "x<|fim_prefix|>y", "b"])
    assert gguf_header.read(has).fim
    assert not gguf_header.read(mentions).fim


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.99])
def test_a_truncated_file_is_named_and_refused(tmp_path: Path, share: float) -> None:
    whole = gguf_files.write(tmp_path / "whole.gguf", vocabulary=["a", "b", "c"]).read_bytes()
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(whole[: max(30, int(len(whole) * share))])
    with pytest.raises(ModelError, match=r"cut\.gguf is truncated") as caught:
        gguf_header.read(cut)
    assert caught.value.hint


def test_a_truncated_starter_is_refused_with_both_sizes(starter_gguf: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    with starter_gguf.open("rb") as file:
        cut.write_bytes(file.read(20_000_000))
    with pytest.raises(ModelError, match="20,000,000 bytes, its tensor table says 491,400,064"):
        gguf_header.read(cut)


@pytest.mark.parametrize("content", [b"", b"GGUF", b"PK\x03\x04" + b"x" * 100, b"#!/bin/sh\n" * 10])
def test_a_file_that_is_not_gguf_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="not a GGUF file"):
        gguf_header.read(path)


def test_garbage_after_the_magic_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(b"GGUF\x03\x00\x00\x00" + b"\xff" * 4000)
    with pytest.raises(ModelError, match=r"bad\.gguf is truncated or corrupt"):
        gguf_header.read(path)


def test_an_unknown_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "new.gguf"
    path.write_bytes(b"GGUF\x09\x00\x00\x00" + b"\0" * 100)
    with pytest.raises(ModelError, match="version 9"):
        gguf_header.read(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="No such file"):
        gguf_header.read(tmp_path / "gone.gguf")


def test_a_split_model_counts_all_its_files(tmp_path: Path) -> None:
    first = gguf_files.write(tmp_path / "m-00001-of-00002.gguf", vocabulary=["a"])
    second = gguf_files.write(tmp_path / "m-00002-of-00002.gguf")
    header = gguf_header.read(second)
    assert header.path == first
    assert header.shards == (first, second)
    assert header.parameters == 2 * (64 * 32 + 32)
    assert header.size == first.stat().st_size + second.stat().st_size


def test_a_split_model_with_a_missing_file_is_refused(tmp_path: Path) -> None:
    first = gguf_files.write(tmp_path / "m-00001-of-00003.gguf")
    gguf_files.write(tmp_path / "m-00003-of-00003.gguf")
    with pytest.raises(ModelError, match=r"m-00002-of-00003\.gguf is missing"):
        gguf_header.read(first)


def test_a_split_model_with_a_truncated_part_is_refused(tmp_path: Path) -> None:
    first = gguf_files.write(tmp_path / "m-00001-of-00002.gguf")
    second = tmp_path / "m-00002-of-00002.gguf"
    second.write_bytes(first.read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"m-00002-of-00002\.gguf is truncated"):
        gguf_header.read(first)


def test_the_tables_are_those_of_the_gguf_package() -> None:
    ours = {kind: gguf_header._BLOCKS.get(int(kind)) for kind in GGML_QUANT_SIZES}
    assert ours == GGML_QUANT_SIZES
    names = {int(f): f.name.replace("MOSTLY_", "").replace("ALL_", "") for f in LlamaFileType}
    assert {k: v for k, v in names.items() if k < 100} == gguf_header.FILE_TYPES


@pytest.mark.parametrize("alignment", [0, -1, 2.5, "32", True])
def test_an_alignment_that_is_none_is_refused(tmp_path: Path, alignment: Any) -> None:
    path = gguf_files.write(tmp_path / "m.gguf", **{"x.padding" + ".0000": 7})
    header = path.read_bytes()
    name = struct.pack("<Q", 14) + b"x.padding.0000" + struct.pack("<II", 4, 7)
    assert name in header
    kinds = {int: (5, "<i"), float: (6, "<f"), bool: (7, "<?")}
    if isinstance(alignment, str):
        value = struct.pack("<IQ", 8, len(alignment)) + alignment.encode()
    else:
        kind, code = kinds[type(alignment)]
        value = struct.pack("<I", kind) + struct.pack(code, alignment)
    path.write_bytes(header.replace(name, struct.pack("<Q", 17) + b"general.alignment" + value))
    with pytest.raises(ModelError, match=r"m\.gguf is truncated or corrupt"):
        gguf_header.read(path)


@pytest.mark.parametrize("value", ["x", "", -5, 0, 2.5, float("nan"), float("inf"), True])
@pytest.mark.parametrize(
    "name", ["block_count", "embedding_length", "attention.head_count", "attention.head_count_kv"]
)
def test_numbers_that_are_none_are_refused_in_one_line(tmp_path: Path, name: str, value: Any) -> None:
    numbers = {"block_count": 4, "embedding_length": 32, "attention.head_count": 4}
    numbers |= {"attention.head_count_kv": 2, "attention.key_length": 8}
    writer = GGUFWriter(str(tmp_path / "m.gguf"), "qwen3")
    for key, number in (numbers | {name: value}).items():
        writer.add_key_value(f"qwen3.{key}", number, _kind(number))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(
        ModelError, match=r"m\.gguf (is corrupt: its .* is|does not give its layers)"
    ) as caught:
        architecture.read(tmp_path / "m.gguf")
    assert "\n" not in str(caught.value)


def _kind(value: Any) -> GGUFValueType:
    kinds = {str: GGUFValueType.STRING, int: GGUFValueType.INT32, float: GGUFValueType.FLOAT32}
    return {**kinds, bool: GGUFValueType.BOOL}[type(value)]


@given(st.data())
def test_whatever_a_header_says_it_is_read_or_refused_in_one_line(data: st.DataObject) -> None:
    """Any bytes of it may be any others: counts, lengths, kinds."""
    content = bytearray(_SOUND)
    end = content.index(b"output_norm.weight") + 60
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(4, end))
        new = data.draw(
            st.one_of(
                st.binary(min_size=1, max_size=8),
                st.sampled_from([b"\xff" * 8, b"\0" * 8, struct.pack("<Q", 2**62), struct.pack("<I", 9) * 2]),
            )
        )
        content[at : at + len(new)] = new
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "m.gguf")
        path.write_bytes(content)
        for read in (architecture.read, lambda path: describe.describe(str(path))):
            try:
                read(path)
            except ModelError as fault:
                assert "\n" not in str(fault)


def _sound() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return gguf_files.write(Path(folder, "m.gguf"), "qwen3", vocabulary=["a", "b"]).read_bytes()


_SOUND = _sound()
