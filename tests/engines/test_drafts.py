"""Drafts from the prompt's own n-grams change the speed, never the text."""

from __future__ import annotations

from pathlib import Path

from qwen_cli.engines.llamacpp import LlamaCpp
from qwen_cli.engines.protocol import Sampling
from qwen_cli.models import reference

ROW = "    rows.append(Row(name={0!r}, value=read({0!r}), unit=units.get({0!r}, 'none')))\n"
PROMPT = (
    "def rows(read, units):\n    rows = []\n"
    + "".join(ROW.format(name) for name in ("a", "b", "c"))
    + "    rows.append(Row(name='d',"
)


def test_greedy_text_is_the_same_with_drafts(starter_gguf: Path) -> None:
    weights = reference.resolve(str(starter_gguf))
    texts = []
    for draft in (None, "ngram"):
        with LlamaCpp(weights, context=512, parallel=1, draft=draft) as engine:
            pieces = engine.complete(PROMPT, sampling=Sampling(temperature=0.0, max_tokens=32))
            texts.append("".join(piece.text for piece in pieces))
    assert texts[0] == texts[1]
    assert "read('d')" in texts[0]  # the text did repeat itself
