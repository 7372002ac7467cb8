"""One more character typed after a completion: the language server against llama.cpp's `/infill`.

    python benchmarks/fim_typing.py [MODEL.gguf]

Starter model unless another is named. Both without drafts, then both with those from the text's own n-grams,
which ours makes by default; context 4,096, one slot, as many threads as cores, each side in its own process.
A prefix of 1,500 tokens is in the cache of both; then characters are typed, and after each a completion of 8
tokens is made, greedy. Both in turn; medians are compared, of the characters after which both wrote all 8 (a
completion that ends sooner is sooner there). What the server knows of its own suggestions is forgotten before
each character, or typing along one would cost nothing; that case has a line of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import statistics
import time
from typing import Any

from lsprotocol import types as lsp
from run_all import machine
from sides import Side, beside, requests

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
    flags = argparse.ArgumentParser(description="One more character typed after a completion.")
    flags.add_argument("model", nargs="?", default="starter")
    flags.add_argument("--side", choices=("ours", "peer"), help=argparse.SUPPRESS)
    flags.add_argument("--drafts", action="store_true", help=argparse.SUPPRESS)
    given = flags.parse_args()
    if given.side:
        weights = resolve.resolve(given.model)
        if given.side == "ours":
            asyncio.run(answer(weights, drafts=given.drafts))
        else:
            answer_infill(weights, drafts=given.drafts)
        return
    print(f"model {resolve.resolve(given.model).path.name}, {machine()}")
    for drafts in ([], ["--drafts"]):
        sides = {side: [given.model, "--side", side, *drafts] for side in ("ours", "peer")}
        with beside(__file__, sides) as started:
            compare(started["ours"], started["peer"], drafts=bool(drafts))


def compare(server: Side, infill: Side, *, drafts: bool) -> None:
    """Print what a character costs on both sides, with or without drafts."""
    start = server.ask({})
    prefix, pairs = start["prefix"], []
    infill.ask(prefix)
    for count in range(1, len(TYPED) + 1):
        ours = server.ask({"typed": count})
        theirs = infill.ask(prefix + TYPED[:count])
        if ours["tokens"] == theirs["tokens"] == TOKENS:
            pairs.append((ours["seconds"], theirs["seconds"]))
    along = server.ask({"along": True})["seconds"]
    ours, theirs = (statistics.median(seconds) * 1e3 for seconds in zip(*pairs, strict=True))
    counted = f"prefix {start['tokens']:,} tokens, {len(pairs)} of {len(TYPED)} characters"
    print(f"{'with' if drafts else 'without'} drafts: {counted}")
    print(f"  llama.cpp /infill   {theirs:7.0f} ms")
    print(f"  language server     {ours:7.0f} ms, ratio {ours / theirs:.2f} (bar ≤ 1.15)")
    print(f"  typed along a shown suggestion {along * 1e3:.2f} ms", flush=True)


def prefix_of(tokens: int, engine: LlamaCpp) -> str:
    """Source text of about `tokens` tokens that ends where an expression is missing."""
    text, n = "", 0
    while engine.count_tokens(text + "def last():\n    return ") < tokens:
        n += 1
        text += f"def compute_{n}(value):\n    scaled = value * {n}\n    return scaled + {n}\n\n\n"
    return text + "def last():\n    return "


async def answer(weights: Weights, *, drafts: bool) -> None:
    """Be the language server: type as many characters as is said, and tell what the last one took."""
    engine = Counting(weights, context=4096, parallel=1, draft="auto" if drafts else None)
    prefix = prefix_of(1_500, engine)
    settings = Settings(debounce_ms=0, hole_tokens=3_000, max_tokens=TOKENS, idle_ms=600_000, speculate=False)
    session = Session(engine, print, settings, engine.interrupt)
    now = suggested = ""
    for request, reply in requests():
        if not request:
            now = prefix
            session.opened(URI, prefix + SUFFIX, 1)
            suggested = await ask(session, now)
            reply({"prefix": prefix, "tokens": engine.count_tokens(prefix)})
            continue
        if "along" in request:
            insert(session, now, suggested[0], len(TYPED) + 2)
            now += suggested[0]
        else:
            insert(session, now, TYPED[request["typed"] - 1], request["typed"] + 1)
            now = prefix + TYPED[: request["typed"]]
            session.suggestions = Suggestions()
        started = time.perf_counter()
        told = await ask(session, now)
        seconds = time.perf_counter() - started
        assert "along" not in request or told == suggested[1:], (told, suggested)
        suggested = told
        reply({"seconds": seconds, "tokens": engine.tokens})
    session.close()
    engine.close()


def answer_infill(weights: Weights, *, drafts: bool) -> None:
    """Be llama.cpp's server: complete behind the text that is asked for."""
    peer = Infill(str(weights.path), drafts=drafts)
    for prefix, reply in requests():
        started = time.perf_counter()
        tokens = peer.ask(prefix)
        reply({"seconds": time.perf_counter() - started, "tokens": tokens})
    peer.close()


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
