"""Guesses of what comes next: what is guessed, how much, and that the text stays what it is without them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import small_models

from qwen_cli.engines.core.base import Engine, Sampling, Usage
from qwen_cli.engines.llamacpp.engine import LlamaCpp
from qwen_cli.engines.transformers.engine import Transformers
from qwen_cli.engines.transformers.speculative import FIRST, LEAST, MOST, PAUSE, Lookup, Pace, Steps
from qwen_cli.errors import EngineError, UsageError
from qwen_cli.models.catalog import lookup as catalog_lookup
from qwen_cli.models.hub.resolve import Weights

CODE = """def load(path):
    rows = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            name, value = line.split(",")
            rows.append((name, float(value)))
    return dict(rows)
"""
EDIT = [
    {
        "role": "user",
        "content": f"Call the function load_prices. Answer with the code only.\n\n```python\n{CODE}```",
    }
]
GREEDY = Sampling(temperature=0.0, max_tokens=40)


def said(engine: Engine, sampling: Sampling = GREEDY) -> tuple[str, Usage]:
    text, usage = "", Usage()
    for piece in engine.chat(EDIT, sampling=sampling):
        text += piece.text
        usage = piece.usage or usage
    return text, usage


class TestLookup:
    def guess(self, text: str, limit: int = 8, lookup: Lookup | None = None) -> str:
        return bytes((lookup or Lookup(0.1)).draft(list(text.encode()), limit)).decode()

    def test_what_followed_the_same_words_before(self) -> None:
        assert self.guess("one two three; one t") == "wo three"

    def test_nothing_where_the_words_are_new(self) -> None:
        assert self.guess("one two three; fou") == ""

    def test_the_place_that_has_most_in_common_is_taken(self) -> None:
        assert self.guess("a.set(1) b.set(2) c.get(3) b.set(", 1) == "2"

    def test_a_copy_is_followed_across_a_change(self) -> None:
        lookup = Lookup(0.1)
        source = "alpha beta gamma delta|"
        assert self.guess(f"{source}alpha", 5, lookup) == " beta"
        # "beta" has become "bX": the next letter that is in the source again continues it
        assert self.guess(f"{source}alpha bX", 5, lookup) == ""
        assert self.guess(f"{source}alpha bXa", 5, lookup) == " gamm"


class TestPace:
    def test_more_after_what_was_right_and_less_after_what_was_not(self) -> None:
        pace = Pace(cost=0.1)
        assert pace.next() == FIRST
        pace.judge(4, 4)
        assert pace.next() == 8
        for _ in range(5):
            pace.judge(pace.next(), pace.next())
        assert pace.next() == MOST
        pace.judge(MOST, 3)
        assert pace.next() == 4
        pace.judge(4, 0)
        assert pace.next() == LEAST

    def test_it_rests_where_guesses_do_not_pay_and_longer_each_time(self) -> None:
        pace = Pace(cost=0.5)
        rests = []
        for _ in range(2):
            pace.judge(4, 0)
            rest = 0
            while not pace.next():
                rest += 1
            rests.append(rest)
        assert rests == [PAUSE, 2 * PAUSE]


@pytest.fixture(scope="module")
def starter(starter_safetensors: Path) -> Weights:
    return Weights("starter", starter_safetensors, "safetensors", catalog_lookup.find("starter"))


@pytest.fixture(scope="module", params=["transformers", "llamacpp"])
def plain(
    request: pytest.FixtureRequest, starter: Weights, starter_gguf: Path
) -> Iterator[tuple[type, Weights, str, Usage]]:
    """The engine's class and weights, and what it says without guesses."""
    kind = Transformers if request.param == "transformers" else LlamaCpp
    weights = starter if kind is Transformers else Weights("starter", starter_gguf, "gguf", starter.model)
    with kind(weights, context=1024, draft=None) as engine:
        yield kind, weights, *said(engine)


def test_the_greedy_text_is_the_same_and_sooner_there(plain: tuple[type, Weights, str, Usage]) -> None:
    kind, weights, text, usage = plain
    assert usage.drafted_tokens == 0
    with kind(weights, context=1024, draft="ngram") as engine:
        again, guessed = said(engine)
    assert again == text
    assert guessed.generated_tokens == usage.generated_tokens
    assert 0 < guessed.accepted_tokens <= guessed.drafted_tokens
    assert guessed.accepted_tokens > usage.generated_tokens / 3


def test_a_model_drafts_for_itself(plain: tuple[type, Weights, str, Usage]) -> None:
    kind, weights, text, _ = plain
    with kind(weights, context=1024, draft=weights) as engine:
        again, guessed = said(engine, replace(GREEDY, max_tokens=20))
    assert guessed.generated_tokens == 20
    assert text.startswith(again)
    assert guessed.accepted_tokens > guessed.drafted_tokens * 0.8


@pytest.fixture(scope="module")
def small(starter_safetensors: Path, tmp_path_factory: pytest.TempPathFactory) -> Weights:
    folder = small_models.make("Qwen3", tmp_path_factory.mktemp("qwen3"), starter_safetensors)
    return Weights("small", folder, "safetensors", None)


class TestTransformers:
    def test_drawn_tokens_are_the_same_too(self, small: Weights) -> None:
        """The choices are made as without guesses, with the same random numbers."""
        drawn = Sampling(temperature=0.3, seed=4, max_tokens=48)
        texts = []
        for draft in (None, "ngram"):
            with Transformers(small, dtype="fp32", context=512, draft=draft) as engine:
                pieces = list(engine.complete("ab ab ab ab ab ab ab ab", sampling=drawn))
                texts.append("".join(piece.text for piece in pieces))
        assert texts[0] == texts[1]

    def test_wrong_guesses_leave_no_trace(self, small: Weights) -> None:
        """A random model rarely repeats itself: most guesses are taken back, the text stays."""

        class Wrong:
            cost = 0.0

            def draft(self, text: list[int], limit: int) -> list[int]:
                return [7, 8, 9][:limit]

        with Transformers(small, dtype="fp32", context=512, draft=None) as engine:
            prompt = engine.tokenizer("def f(x):")["input_ids"]
            wanted = [int(t) for t in self.greedy(engine, prompt, None)]
            assert [int(t) for t in self.greedy(engine, prompt, Wrong())] == wanted
            assert engine.prefix_cache.ids[: len(prompt)] == prompt

    def greedy(self, engine: Transformers, prompt: list[int], drafter: object) -> list[int]:
        engine.prefix_cache.clear()
        logits, _ = engine.prefix_cache.prefill(prompt)
        steps = Steps(engine.prefix_cache, drafter, 512, engine._vocabulary_size)  # type: ignore[arg-type]
        found: list[int] = []
        while len(found) < 24:
            found.append(int(logits.argmax(-1)))
            logits = steps.after(found[-1])
        steps.settle()
        assert engine.prefix_cache.ids == [*prompt, *found]
        return found

    def test_linear_attention_takes_no_guesses(self, starter_safetensors: Path, tmp_path: Path) -> None:
        folder = small_models.make("Qwen3Next", tmp_path, starter_safetensors)
        weights = Weights("hybrid", folder, "safetensors", None)
        with Transformers(weights, context=256) as engine:
            assert engine._draft is None
        with pytest.raises(UsageError, match=r"hybrid takes no drafts: its linear attention"):
            Transformers(weights, context=256, draft="ngram")

    def test_another_vocabulary_is_told(self, small: Weights, starter: Weights, tmp_path: Path) -> None:
        folder = tmp_path / "other"
        folder.mkdir()
        for file in small.path.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        settings = json.loads((folder / "tokenizer.json").read_text())
        numbers = settings["model"]["vocab"]
        numbers["Ġreturn"], numbers["Ġimport"] = numbers["Ġimport"], numbers["Ġreturn"]
        (folder / "tokenizer.json").write_text(json.dumps(settings))
        other = Weights("other", folder, "safetensors", None)
        with pytest.raises(EngineError, match=r"other cannot draft for small: their tokens differ"):
            Transformers(small, context=256, draft=other)
