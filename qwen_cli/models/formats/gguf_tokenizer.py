"""A GGUF file's tokenizer as the files transformers reads.

A GGUF file holds the vocabulary, the merges and the chat template; how text is normalised and cut into words
is only a name there (`tokenizer.ggml.pre`). All text generations of Qwen share one, called "qwen2".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qwen_cli.errors import ModelError

# How Qwen cuts text into words; digits one by one (`PRETOKENIZE_REGEX` of transformers'
# tokenization_qwen2.py, the same in tokenizer.json of Qwen/Qwen2.5-7B-Instruct and in llama.cpp).
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
# As Qwen3.5 cuts it: combining marks stay with their letters (transformers' tokenization_qwen3_5.py).
MARKED_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Token types of GGUF (`llama_token_type` in llama.cpp's include/llama.h).
CONTROL, USER_DEFINED, UNUSED = 3, 4, 5


def write(metadata: Mapping[str, Any], folder: Path) -> None:
    """Write tokenizer.json and tokenizer_config.json. Raises `ModelError` for a tokenizer not Qwen's."""
    kind = (metadata.get("tokenizer.ggml.model"), metadata.get("tokenizer.ggml.pre"))
    if kind != ("gpt2", "qwen2"):
        raise ModelError(
            f"the tokenizer {kind[0]}/{kind[1]} cannot be converted", "only Qwen's own (gpt2/qwen2) can"
        )
    tokens: list[str] = metadata["tokenizer.ggml.tokens"]
    types: list[int] = metadata["tokenizer.ggml.token_type"]
    added = {i: kind for i, kind in enumerate(types) if kind in (CONTROL, USER_DEFINED)}
    _write_tokenizer(tokens, types, metadata["tokenizer.ggml.merges"], added, folder / "tokenizer.json")

    def name(role: str) -> str | None:
        number = metadata.get(f"tokenizer.ggml.{role}_token_id")
        return None if number is None else tokens[number]

    config = {
        "tokenizer_class": "Qwen2Tokenizer",
        "add_prefix_space": False,
        # Qwen's tokenizer starts no text with a token: GGUF's bos id is there for llama.cpp only.
        "add_bos_token": bool(metadata.get("tokenizer.ggml.add_bos_token", False)),
        "bos_token": name("bos") if metadata.get("tokenizer.ggml.add_bos_token") else None,
        "eos_token": name("eos"),
        "pad_token": name("padding"),
        "unk_token": None,
        "errors": "replace",
        "clean_up_tokenization_spaces": False,
        "split_special_tokens": False,
        "model_max_length": metadata.get(f"{metadata['general.architecture']}.context_length", 32_768),
        "additional_special_tokens": [tokens[i] for i, kind in added.items() if kind == CONTROL],
        "added_tokens_decoder": {
            str(i): _added(tokens[i], special=kind == CONTROL) for i, kind in added.items()
        },
    }
    if template := metadata.get("tokenizer.chat_template"):
        config["chat_template"] = template
    text = json.dumps(config, ensure_ascii=False, indent=2)
    (folder / "tokenizer_config.json").write_text(text + "\n", encoding="utf-8")


def _write_tokenizer(
    tokens: list[str], types: list[int], merges: list[str], added: Mapping[int, int], path: Path
) -> None:
    from tokenizers import (  # a native library; only conversion needs it
        AddedToken,
        Regex,
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        processors,
    )

    # Rows of the embedding that no text maps to (padding to a round number) are no part of the tokenizer.
    vocabulary = {t: i for i, t in enumerate(tokens) if types[i] != UNUSED and i not in added}
    pairs = [(left, right) for left, _, right in (merge.partition(" ") for merge in merges)]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=pairs))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(
        add_prefix_space=False, trim_offsets=False, use_regex=False
    )
    # In order of id: the library numbers added tokens by itself from the end of the vocabulary.
    tokenizer.add_tokens(
        [AddedToken(tokens[i], special=kind == CONTROL, normalized=False) for i, kind in added.items()]
    )
    for i in added:
        if tokenizer.token_to_id(tokens[i]) != i:
            raise ModelError(f"the special token {tokens[i]!r} has id {i} inside the ordinary vocabulary")
    tokenizer.save(str(path))


def _added(token: str, *, special: bool) -> dict[str, Any]:
    return {
        "content": token,
        "lstrip": False,
        "normalized": False,
        "rstrip": False,
        "single_word": False,
        "special": special,
    }
