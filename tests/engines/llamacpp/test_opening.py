"""An opening whose state was kept is not computed again, and the answer is what it would have been."""

from __future__ import annotations

from pathlib import Path

import pytest

from qwen_cli.engines.core.base import Piece, Sampling
from qwen_cli.engines.llamacpp.engine import LlamaCpp
from qwen_cli.tasks.chat import opening, sessions
from qwen_cli.tasks.chat.conversation import Conversation

GREEDY = Sampling(temperature=0, max_tokens=12, logprobs=1)


def answer(engine: LlamaCpp) -> list[Piece]:
    engine.slot.erase()  # as in a new process
    talk = Conversation(engine, sampling=GREEDY)
    events = opening.begun(talk, talk.send("What is a hash table, and where is one used?"), 1e9)
    return [event for event in events if isinstance(event, Piece)]


@pytest.mark.model
def test_the_answer_is_the_same_to_the_bit(
    quick_llamacpp: LlamaCpp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QWEN_HOME", str(tmp_path))
    read = opening.text(Conversation(quick_llamacpp))
    assert read.endswith("You are a helpful assistant.<|im_end|>\n<|im_start|>user")

    first = answer(quick_llamacpp)
    (kept,) = sessions.files_folder().glob("*.kv")
    written = kept.stat().st_ino
    second = answer(quick_llamacpp)

    assert kept.stat().st_ino == written
    assert [piece.logprobs for piece in first] == [piece.logprobs for piece in second]
    for pieces in (first, second):
        usage = pieces[-1].usage
        assert usage is not None and usage.cached_tokens == quick_llamacpp.count_tokens(read)
