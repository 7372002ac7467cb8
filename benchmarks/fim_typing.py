"""One more character typed after a completion: the language server against llama.cpp's `/infill`.

    python benchmarks/fim_typing.py [MODEL.gguf]

Starter model unless another is named. Both without drafts, then both with those from the text's own n-grams,
which ours makes by default. A prefix of 1,500 tokens is in the cache of both; then characters are
typed, and after each a completion of 8 tokens is made, greedy. Both run in turn; medians are compared, of
the characters after which both wrote all 8 (a completion that ends sooner is sooner there).
What the server knows of its own suggestions is forgotten before each character, or typing along one would
cost nothing; that case has a line of its own.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import statistics
import sys
import time
from typing import Any

from lsprotocol import types as lsp

from qwen_cli.engines.core.base import Reuse, Sampling, Stream
from qwen_cli.engines.llamacpp.engine import LlamaCpp
from qwen_cli.lsp.cache import Suggestions
from qwen_cli.lsp.session import Session
from qwen_cli.lsp.settings import Settings
from qwen_cli.models.hub import resolve
from qwen_cli.models.hub.resolve import Weights

TOKENS = 8
TYPED = "max(compute_7(3), "
URI = "file:///nowhere/typing.py"
SUFFIX = """

def main():
    print(last())
    print(compute_1(2))


if __name__ == '__main__':
    main()
"""


class Counting(LlamaCpp):
    """The engine, telling how many tokens the last completion took."""

    tokens = 0

    def complete(self, prompt: str, *, sampling: Sampling = Sampling(), reuse: Reuse = "prefix") -> Stream:
        self.tokens = 0
        for piece in super().complete(prompt, sampling=sampling, reuse=reuse):
            self.tokens += bool(piece.text)
            yield piece


def main() -> None:
    weights = resolve.resolve(sys.argv[1] if len(sys.argv) > 1 else "starter")
    print(f"model {weights.path.name}")
    for drafts in (False, True):
        compare(weights, drafts=drafts)


def compare(weights: Weights, *, drafts: bool) -> None:
    """Print what a character costs on both sides, with or without drafts."""
    engine = Counting(weights, context=4096, parallel=1, draft="auto" if drafts else None)
    prefix = prefix_of(1_500, engine)
    peer = Infill(str(weights.path), drafts=drafts)
    tokens = engine.count_tokens(prefix)
    pairs, along = asyncio.run(typing(engine, peer, prefix))
    peer.close()
    engine.close()
    ours, theirs = (statistics.median(seconds) * 1e3 for seconds in zip(*pairs, strict=True))
    counted = f"prefix {tokens:,} tokens, {len(pairs)} of {len(TYPED)} characters"
    print(f"{'with' if drafts else 'without'} drafts: {counted}")
    print(f"  llama.cpp /infill   {theirs:7.0f} ms")
    print(f"  language server     {ours:7.0f} ms, ratio {ours / theirs:.2f} (bar ≤ 1.15)")
    print(f"  typed along a shown suggestion {along * 1e3:.2f} ms")


def prefix_of(tokens: int, engine: LlamaCpp) -> str:
    """Source text of about `tokens` tokens that ends where an expression is missing."""
    text, n = "", 0
    while engine.count_tokens(text + "def last():\n    return ") < tokens:
        n += 1
        text += f"def compute_{n}(value):\n    scaled = value * {n}\n    return scaled + {n}\n\n\n"
    return text + "def last():\n    return "


async def typing(engine: Counting, peer: Infill, prefix: str) -> tuple[list[tuple[float, float]], float]:
    """Seconds after each character with the server and with the peer, and for one that was suggested."""
    settings = Settings(debounce_ms=0, hole_tokens=3_000, max_tokens=TOKENS, idle_ms=600_000, speculate=False)
    session = Session(engine, print, settings, engine.interrupt)
    session.opened(URI, prefix + SUFFIX, 1)
    await ask(session, prefix)
    peer.ask(prefix)
    pairs = []
    for n in range(1, len(TYPED) + 1):
        insert(session, prefix + TYPED[: n - 1], TYPED[n - 1], n + 1)
        session.suggestions = Suggestions()
        now = prefix + TYPED[:n]
        started = time.perf_counter()
        suggested = await ask(session, now)
        ours = time.perf_counter() - started
        started = time.perf_counter()
        generated = peer.ask(now)
        theirs = time.perf_counter() - started
        if engine.tokens == generated == TOKENS:
            pairs.append((ours, theirs))
    insert(session, now, suggested[0], len(TYPED) + 2)
    started = time.perf_counter()
    rest = await ask(session, now + suggested[0])
    along = time.perf_counter() - started
    assert rest == suggested[1:], (rest, suggested)
    session.close()
    return pairs, along


def insert(session: Session, before: str, text: str, version: int) -> None:
    at = position(before)
    change = lsp.TextDocumentContentChangePartial(range=lsp.Range(at, at), text=text)
    document = lsp.VersionedTextDocumentIdentifier(version, URI)
    session.changed(lsp.DidChangeTextDocumentParams(document, [change]))


async def ask(session: Session, before: str) -> str:
    context = lsp.InlineCompletionContext(lsp.InlineCompletionTriggerKind.Invoked)
    params = lsp.InlineCompletionParams(context, lsp.TextDocumentIdentifier(URI), position(before))
    answer = await session.complete(params)
    return str(answer.items[0].insert_text) if answer and answer.items else ""


def position(before: str) -> lsp.Position:
    line = before[before.rfind("\n") + 1 :]
    return lsp.Position(before.count("\n"), len(line))


class Infill:
    """llama.cpp's server with its own defaults, and its `/infill` route with `cache_prompt`. With `drafts`
    those of the same kind as ours, as llama.cpp sets them up."""

    def __init__(self, model: str, *, drafts: bool) -> None:
        import xllamacpp

        params = xllamacpp.CommonParams()
        params.model.path = model
        params.n_ctx = 4096
        params.n_parallel = 1
        params.verbosity = -1
        if drafts:
            kinds = xllamacpp.common_speculative_type
            params.speculative.types = [kinds.COMMON_SPECULATIVE_TYPE_NGRAM_SIMPLE]
        self._server: Any = xllamacpp.Server(params)
        host, port = self._server.listening_address.removeprefix("http://").split(":")
        self._connection = http.client.HTTPConnection(host, int(port))

    def ask(self, prefix: str) -> int:
        """The tokens that were generated."""
        body = {
            "input_prefix": prefix,
            "input_suffix": SUFFIX,
            "n_predict": TOKENS,
            "temperature": 0,
            "cache_prompt": True,
        }
        self._connection.close()  # it may have been idle too long
        self._connection.request("POST", "/infill", json.dumps(body), {"Content-Type": "application/json"})
        answer: dict[str, Any] = json.loads(self._connection.getresponse().read())
        return int(answer["tokens_predicted"])

    def close(self) -> None:
        self._connection.close()
        self._server = None


if __name__ == "__main__":
    main()
