"""The real engine, with a record of what it was asked."""

from __future__ import annotations

from qwen_cli.engines.core.base import Reuse, Sampling, Stream
from qwen_cli.engines.llamacpp.engine import LlamaCpp


class Recorded(LlamaCpp):
    """The real engine; `prompts` holds the raw prompts that it was given."""

    prompts: list[str]

    def complete(self, prompt: str, *, sampling: Sampling = Sampling(), reuse: Reuse = "prefix") -> Stream:
        self.prompts.append(prompt)
        return super().complete(prompt, sampling=sampling, reuse=reuse)
