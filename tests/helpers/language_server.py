"""The language server with an engine that answers what is written down, for clients that start a process:

python language_server.py ANSWER_OF_CHAT ANSWER_OF_COMPLETION
"""

from __future__ import annotations

import sys

from filling import Filling

from qwen_cli.engines.core.base import Message, Piece, Stream, Usage
from qwen_cli.lsp.server import serve
from qwen_cli.lsp.settings import Settings


class Both(Filling):
    """Completes and chats."""

    def __init__(self, chat: str, completion: str) -> None:
        super().__init__(completion)
        self.said = chat

    def chat(self, messages: list[Message], **given: object) -> Stream:  # type: ignore[override]
        self.seen.append(([dict(m) for m in messages], None))
        yield Piece(self.said)
        yield Piece(usage=Usage(prompt_tokens=1, generated_tokens=1))

    def count_tokens(self, prompt: object, **given: object) -> int:  # type: ignore[override]
        return super().count_tokens(prompt) if isinstance(prompt, str) else 1  # type: ignore[arg-type]


def main() -> None:
    """Serve until the editor leaves."""
    serve(Both(*sys.argv[1:3]), settings=Settings(debounce_ms=0, idle_ms=600_000, speculate=False))


if __name__ == "__main__":
    main()
