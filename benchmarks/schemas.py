"""What grammars hold of JSON schemas: the public test suite, walked through each of them.

    pip download --no-deps --no-binary :all: jsonschema   # its folder json/ is the suite
    python benchmarks/schemas.py jsonschema-4.26.0/json [--grammar llguidance ...] [--format]

For each schema of the suite a grammar is made; for each of its instances the text is held against it, no
model chooses anything. Told for each draft: of the instances that satisfy their schema how many the grammar
lets pass (in some spacing and order of names), and of the others how many it refuses. A schema that it
cannot be made of counts as one that lets everything pass. Schemas that refer to other files are left out.

`llama.cpp` is its own converter, through a chat with xllamacpp whose answer is begun with the instance. What
xllamacpp is built with of llguidance is an older one: `pip install --target` another version to compare.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

DRAFTS = {
    "draft4": "http://json-schema.org/draft-04/schema#",
    "draft6": "http://json-schema.org/draft-06/schema#",
    "draft7": "http://json-schema.org/draft-07/schema#",
    "draft2019-09": "https://json-schema.org/draft/2019-09/schema",
    "draft2020-12": "https://json-schema.org/draft/2020-12/schema",
}
Accepts = Callable[[str], bool]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("suite", type=Path)
    parser.add_argument("--grammar", action="append", choices=MAKERS)
    parser.add_argument(
        "--format", action="store_true", help="the formats of strings, instead of the keywords"
    )
    parser.add_argument("--keywords", action="store_true", help="a row for each file of the last draft")
    asked = parser.parse_args()
    print(
        "| grammar | draft | schemas made | valid let pass | invalid refused | slowest |\n"
        + "|---|---|---|---|---|---|"
    )
    for name in asked.grammar or MAKERS:
        make = MAKERS[name]()
        for draft, uri in DRAFTS.items():
            files = sorted(
                (asked.suite / "tests" / draft / ("optional/format" if asked.format else "")).glob("*.json")
            )
            count: Counter[str] = Counter()
            rows: dict[str, Counter[str]] = {}
            for file in files:
                rows[file.stem] = _walk(make, file, uri)
                count += rows[file.stem]
                count["slow"] = max(count["slow"], rows[file.stem]["slow"])
            _tell(name, draft, count)
        if asked.keywords:
            for stem, row in rows.items():
                _tell(name, stem, row)


def _tell(name: str, what: str, count: Counter[str]) -> None:
    made = f"{count['made']} of {count['schemas']}"
    good = f"{count['passed'] / max(count['valid'], 1):.0%} of {count['valid']}"
    bad = f"{count['refused'] / max(count['invalid'], 1):.0%} of {count['invalid']}"
    print(f"| {name} | {what} | {made} | {good} | {bad} | {count['slow'] / 1000:.1f} ms |", flush=True)


def _walk(make: Callable[[dict[str, Any]], Accepts], file: Path, uri: str) -> Counter[str]:
    count: Counter[str] = Counter()
    for case in json.loads(file.read_text("utf-8")):
        schema = case["schema"]
        if not isinstance(schema, dict) or "http://localhost" in json.dumps(schema):
            continue
        count["schemas"] += 1
        began = time.perf_counter()
        try:
            accepts = make({"$schema": uri, **schema})
            count["made"] += 1
        except Exception:  # each has errors of its own
            accepts = lambda text: True  # noqa: E731
        count["slow"] = max(count["slow"], int(1e6 * (time.perf_counter() - began)))
        for test in case["tests"]:
            accepted = any(accepts(text) for text in _texts(test["data"]))
            count["valid" if test["valid"] else "invalid"] += 1
            if accepted == test["valid"]:
                count["passed" if accepted else "refused"] += 1
    return count


def _texts(data: Any) -> Iterator[str]:
    """Yield ways to write `data`."""
    orders = [data]
    if isinstance(data, dict) and len(data) <= 4:
        orders = [dict(items) for items in itertools.permutations(data.items())]
    for one in orders:
        for separators in ((", ", ": "), (",", ":")):
            for ascii in (False, True):
                yield json.dumps(one, ensure_ascii=ascii, separators=separators)


def _llguidance() -> Callable[[dict[str, Any]], Accepts]:
    import llguidance

    tokenizer = llguidance.LLTokenizer("byte")

    def make(schema: dict[str, Any]) -> Accepts:
        grammar = llguidance.LLMatcher.grammar_from_json_schema(schema, defaults=LLGUIDANCE)
        matcher = llguidance.LLMatcher(tokenizer, grammar, log_level=0)
        if matcher.is_error():
            raise ValueError(matcher.get_error())

        def accepts(text: str) -> bool:
            one = matcher.deep_copy()
            tokens = tokenizer.tokenize_str(text)
            return one.try_consume_tokens(tokens) == len(tokens) and one.is_accepting()

        return accepts

    return make


LLGUIDANCE: dict[str, Any] = {"lenient": True, "whitespace_flexible": False}


def _xgrammar() -> Callable[[dict[str, Any]], Accepts]:
    import xgrammar

    end = 256
    vocabulary = xgrammar.TokenizerInfo([bytes([i]) for i in range(256)] + [b"</s>"], stop_token_ids=[end])
    compiler = xgrammar.GrammarCompiler(vocabulary, cache_enabled=False)

    def make(schema: dict[str, Any]) -> Accepts:
        compiled = compiler.compile_json_schema(json.dumps(schema), any_whitespace=False, strict_mode=False)

        def accepts(text: str) -> bool:
            matcher = xgrammar.GrammarMatcher(compiled)
            return matcher.accept_string(text) and matcher.accept_token(end)

        return accepts

    return make


def _llamacpp() -> Callable[[dict[str, Any]], Accepts]:
    sys.path[:0] = [str(Path(__file__).parents[1] / "tests" / "helpers")]
    import small_gguf

    from qwen_cli.engines.llamacpp.engine import LlamaCpp
    from qwen_cli.models.hub import resolve

    file = small_gguf.make("Qwen2", Path(tempfile.mkdtemp()))
    engine = LlamaCpp(resolve.resolve(str(file)), context=2048, parallel=1)
    end = small_gguf.IDS["<|im_end|>"]

    def answer(schema: dict[str, Any], begun: str) -> dict[str, Any]:
        request = {
            "messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": begun}],
            "response_format": {"type": "json_schema", "json_schema": {"schema": schema}},
            "continue_final_message": True,
            "add_generation_prompt": False,
            "max_tokens": 1,
            "temperature": 0,
            "logit_bias": [[end, 1000]],
        }
        answers: list[dict[str, Any]] = []
        engine.slot.server.handle_chat_completions(request, lambda one: bool(answers.append(one)))
        return answers[0]

    def make(schema: dict[str, Any]) -> Accepts:
        schema = {name: value for name, value in schema.items() if name != "$schema"}
        if "error" in (made := answer(schema, "")) and "samplers" not in str(made):
            raise ValueError(made["error"]["message"])

        def accepts(text: str) -> bool:
            said = answer(schema, text)
            return "error" not in said and said["choices"][0]["finish_reason"] == "stop"

        return accepts

    return make


MAKERS: dict[str, Callable[[], Callable[[dict[str, Any]], Accepts]]] = {
    "llama.cpp": _llamacpp,
    "xgrammar": _xgrammar,
    "llguidance": _llguidance,
}


if __name__ == "__main__":
    main()
