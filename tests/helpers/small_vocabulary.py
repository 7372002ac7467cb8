"""The starter's tokenizer cut to its most frequent words: it is loaded in hundredths of a second, and small
models with it choose among thousands of tokens, not hundreds of thousands."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

# A merge of Qwen's BPE makes the token of the next number: the first numbers are a vocabulary of their own.
WORDS = 12_000
_BYTES = 256
# Where the special tokens of Qwen2 to Qwen3 begin (<|endoftext|>), and thus how far each of them moves.
_SPECIAL = 151_643
SIZE = 12_032  # with the special tokens; a multiple of 32, padded as the published models are


def number(published: int) -> int:
    """The number here of a special token whose number in the published models is `published`."""
    return published - _SPECIAL + WORDS


def write(starter: Path, folder: Path, template: str | None = None) -> None:
    """Write tokenizer.json and tokenizer_config.json into `folder`, cut from those of the folder `starter`,
    with `template` in the place of its chat template where one is given."""
    tokenizer, settings = _cut(starter)
    (folder / "tokenizer.json").write_text(tokenizer)
    own = {"chat_template": template} if template else {}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | own))


@functools.cache
def _cut(starter: Path) -> tuple[str, dict[str, Any]]:
    tokenizer = json.loads((starter / "tokenizer.json").read_text())
    model = tokenizer["model"]
    model["vocab"] = {word: at for word, at in model["vocab"].items() if at < WORDS}
    model["merges"] = model["merges"][: WORDS - _BYTES]
    for token in tokenizer["added_tokens"]:
        token["id"] = number(token["id"])
    settings = json.loads((starter / "tokenizer_config.json").read_text())
    known = settings["added_tokens_decoder"]
    settings["added_tokens_decoder"] = {str(number(int(at))): token for at, token in known.items()}
    return json.dumps(tokenizer), settings
