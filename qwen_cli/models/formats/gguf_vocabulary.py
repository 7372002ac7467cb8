"""The files of a tokenizer as the metadata of a GGUF file: the other way round from `gguf_tokenizer`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from qwen_cli.errors import ModelError
from qwen_cli.models.formats.gguf_tokenizer import CONTROL, MARKED_WORDS, UNUSED, USER_DEFINED, WORDS

NORMAL = 1
# How text is cut into words, and llama.cpp's name for it.
_PRE = {WORDS: "qwen2", MARKED_WORDS: "qwen35"}
# Special tokens that are not marked as such (`does_token_look_special` of llama.cpp's converter).
_LOOKS_SPECIAL = re.compile(r"<\|.*\|>|<｜.*｜>|<pad>|<mask>|<2mass>|\[@BOS@\]")


def write(writer: Any, folder: Path, size: int) -> None:
    """Write the tokenizer of `folder` into `writer` (gguf.GGUFWriter). `size` is the rows of the token table.

    Raises `ModelError` where the tokenizer is not one of Qwen's.
    """
    tokenizer = json_of(folder / "tokenizer.json")
    settings = json_of(folder / "tokenizer_config.json")
    model = tokenizer["model"]
    if model.get("type") != "BPE" or (pre := _pre(tokenizer)) is None:
        raise ModelError(f"the tokenizer in {folder} is not Qwen's", "only Qwen's own can be written as GGUF")
    tokens, types = [f"[PAD{i}]" for i in range(size)], [UNUSED] * size
    for token, number in model["vocab"].items():
        tokens[number], types[number] = token, NORMAL
    for added in tokenizer["added_tokens"]:
        special = added["special"] or _LOOKS_SPECIAL.fullmatch(added["content"])
        tokens[added["id"]], types[added["id"]] = added["content"], CONTROL if special else USER_DEFINED
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in model["merges"]])
    numbers = {token: i for i, token in enumerate(tokens)}
    config = json_of(folder / "config.json")
    text = config.get("text_config") or {}
    for role, add in (("eos", writer.add_eos_token_id), ("pad", writer.add_pad_token_id)):
        number = numbers.get(_text(settings.get(f"{role}_token")))
        if number is None:
            number = config.get(f"{role}_token_id", text.get(f"{role}_token_id"))
        if isinstance(number, int):
            add(number)
    # Qwen begins no text with a token; llama.cpp wants to know one all the same (its converter:
    # config.json's).
    begin = config.get("bos_token_id", text.get("bos_token_id"))
    if (begin := numbers.get("<|endoftext|>") if begin is None else begin) is not None:
        writer.add_bos_token_id(begin)
    writer.add_add_bos_token(bool(settings.get("add_bos_token")))
    file = folder / "chat_template.jinja"
    template = file.read_text("utf-8") if file.is_file() else settings.get("chat_template")
    if isinstance(template, str):
        writer.add_chat_template(template)


def json_of(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file. Raises `ModelError`."""
    try:
        loaded = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{path.parent} has no {path.name}", "fetch the model again") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read {path}: {error}", "fetch it again") from None
    if not isinstance(loaded, dict):
        raise ModelError(f"{path} is not a JSON object", "fetch it again")
    return loaded


def _pre(tokenizer: dict[str, Any]) -> str | None:
    """Return llama.cpp's name for how the tokenizer cuts text into words."""
    steps = (tokenizer.get("pre_tokenizer") or {}).get("pretokenizers") or [
        tokenizer.get("pre_tokenizer") or {}
    ]
    patterns = [step["pattern"]["Regex"] for step in steps if "Regex" in step.get("pattern", {})]
    return next((_PRE[pattern] for pattern in patterns if pattern in _PRE), None)


def _text(token: Any) -> str:
    return str(token["content"]) if isinstance(token, dict) else str(token)
