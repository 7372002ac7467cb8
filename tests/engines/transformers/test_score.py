"""How likely a text that is given was, and what else evaluations ask: on small random models."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import small_models

from qwen_cli.engines.core.base import Sampling
from qwen_cli.engines.core.prompt import Tokens
from qwen_cli.errors import ContextFull, UsageError
from qwen_cli.serve.api import rerank

TEXT = "one, two, three, four, five"


@pytest.fixture(scope="module", params=["Qwen3", "Qwen3Next"])
def engine(
    request: pytest.FixtureRequest, starter_safetensors: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    from qwen_cli.engines.load import load

    folder = small_models.make(request.param, tmp_path_factory.mktemp("rated"), starter_safetensors)
    with load(str(folder), engine="transformers", context=256, dtype="fp32") as loaded:
        yield loaded


def direct(engine: Any, ids: list[int]) -> Any:
    """All log probabilities at once, from the model itself: (tokens, vocabulary)."""
    import torch

    with torch.inference_mode():
        logits = engine.network(input_ids=torch.tensor([ids])).logits[0]
        return logits.float().log_softmax(-1)


def test_a_prompt_is_rated_as_the_model_rates_it(engine: Any) -> None:
    ids = [id for id, _ in engine.tokenize(TEXT)]
    expected = direct(engine, ids)
    known = engine.score(TEXT, likely=2)

    assert [one.id for one in known] == ids[1:]
    for at, one in enumerate(known):
        assert math.isclose(one.logprob, float(expected[at][ids[at + 1]]), abs_tol=1e-4)
        values, tokens = expected[at].topk(2)
        assert [other.id for other in one.others] == tokens.tolist()
        assert math.isclose(one.others[0].logprob, float(values[0]), abs_tol=1e-4)


def test_only_the_end_of_it(engine: Any) -> None:
    ids = [id for id, _ in engine.tokenize(TEXT)]
    whole = engine.score(TEXT)

    part = engine.score(Tokens(TEXT, ids), begin=len(ids) - 2)
    assert [one.id for one in part] == ids[-2:]
    assert [round(one.logprob, 3) for one in part] == [round(one.logprob, 3) for one in whole[-2:]]


def test_what_the_last_prompt_began_with_is_not_computed_again(
    engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qwen_cli.engines.transformers.prefix_cache import PrefixCache

    step, computed = PrefixCache.step, []

    def counted(self: Any, tokens: list[int], *args: Any, **given: Any) -> Any:
        computed.append(len(tokens))
        return step(self, tokens, *args, **given)

    asked = [id for id, _ in engine.tokenize("How are you today, and where are you going?")]
    engine.score(Tokens("", [asked[-1], *asked]))  # nothing is known of what follows
    monkeypatch.setattr(PrefixCache, "step", counted)
    for ending in ([11], [12], [12, 13]):
        ids = [*asked, *ending]
        expected = direct(engine, ids)
        known = engine.score(Tokens("", ids))
        assert all(
            math.isclose(one.logprob, float(expected[at][one.id]), abs_tol=1e-4)
            for at, one in enumerate(known)
        )

    if engine.prefix_cache.croppable:  # running states do not go back
        assert computed == [len(asked), 1, 1]


def test_a_long_prompt_is_rated_in_parts(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from qwen_cli.engines.transformers import score

    monkeypatch.setattr(score, "_ROWS", 3)
    monkeypatch.setattr(score, "_READ", 5)
    ids = [id for id, _ in engine.tokenize("one two three four five six seven eight nine ten")] * 3
    expected = direct(engine, ids)
    for begin in (len(ids) - 4, 1):
        known = engine.score(Tokens("", ids), begin=begin)
        assert [one.id for one in known] == ids[begin:]
        for at, one in enumerate(known, begin - 1):
            assert math.isclose(one.logprob, float(expected[at][ids[at + 1]]), abs_tol=1e-4)


def test_tokens_are_taken_as_they_are(engine: Any) -> None:
    """Text has one way to be tokenized, tokens have others: those that were given are what counts."""
    ids = [id for one in "one" for id, _ in engine.tokenize(one)]

    assert [one.id for one in engine.score(Tokens("one", ids))] == ids[1:]
    assert engine.detokenize(ids) == "one"
    with pytest.raises(UsageError, match="no token"):
        engine.detokenize([-1])
    with pytest.raises(ContextFull):
        engine.score("one " * 400)


def test_relevance_is_yes_against_no(engine: Any) -> None:
    asked = rerank.prompt("i", "q", "d")
    ids = [id for id, _ in engine.tokenize(asked)]
    yes, no = (engine.tokenize(word)[0][0] for word in ("yes", "no"))
    after = direct(engine, ids)[-1]
    score, tokens = rerank.relevance(engine, asked)

    assert tokens == len(ids)
    assert math.isclose(score, float(after[[yes, no]].softmax(-1)[0]), abs_tol=1e-4)


def test_tokens_are_forbidden_and_preferred(engine: Any) -> None:
    def first(**extras: Any) -> int:
        sampling = Sampling(temperature=0, max_tokens=1, logprobs=0, extras=extras or None)
        pieces = list(engine.complete(TEXT, sampling=sampling))
        return next(one.id for piece in pieces for one in piece.logprobs)

    usual = first()
    assert first(logit_bias=[[usual, False]]) != usual
    assert first(logit_bias=[[engine.tokenize("x")[0][0], 100.0]]) == engine.tokenize("x")[0][0]
    assert first(logit_bias=[["x", 100.0]]) == engine.tokenize("x")[0][0]
    with pytest.raises(UsageError, match="no token"):
        first(logit_bias=[[10**6, 1.0]])


def test_a_grammar_is_kept_to(engine: Any) -> None:
    def said(grammar: str) -> str:
        sampling = Sampling(temperature=0, max_tokens=8, extras={"grammar": grammar})
        return "".join(piece.text for piece in engine.complete(TEXT, sampling=sampling))

    assert said('root ::= "yes" | "no"') in ("yes", "no")
    with pytest.raises(UsageError, match="grammar cannot be used"):
        said("root ::= this is (not")
