"""A speech recogniser whose transcripts are written down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from qwen_cli.engines.core.base import Capabilities, Piece, Sampling, Stream, Usage
from tests.serve.played import Played

CAN = Capabilities(4096, audio=True, transcribes=True)


@dataclass
class Recogniser(Played):
    """Says one of `texts` to each sound, a character at a time. `heard` are the sounds and what was asked."""

    texts: Sequence[str] = ("language English<asr_text>hello there",)
    heard: list[dict[str, Any]] = field(default_factory=list)
    capabilities: Capabilities = CAN
    stop: Any = "stop"

    def transcribe(
        self, samples: Any, *, language: Any = None, context: str = "", sampling: Any = None
    ) -> Stream:
        text = self.texts[len(self.heard) % len(self.texts)]
        self.heard.append(
            {"samples": samples, "language": language, "context": context, "sampling": sampling}
        )
        for one in text:
            yield Piece(one)
        yield Piece(usage=Usage(prompt_tokens=10, generated_tokens=len(text), stop_reason=self.stop))


def with_context(tokens: int) -> Capabilities:
    """What such a model can do in so many tokens."""
    return replace(CAN, context=tokens)


GREEDY = Sampling(temperature=0.0)
