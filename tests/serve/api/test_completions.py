"""`/v1/completions` as evaluations ask it: prompts as tokens, and how likely they were."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from qwen_cli.engines.core.base import Piece, TokenLogprob
from tests.serve.played import Asked, Here, Played, end, serving

ONE = TokenLogprob("y", (121,), -0.25, (TokenLogprob("y", (121,), -0.25),), 121)


def said(asked: Asked) -> list[Piece]:
    return [Piece("y", logprobs=(ONE,) if asked.sampling.logprobs is not None else ()), end("length")]


@pytest.fixture
def model() -> Played:
    return Played(said)


@pytest.fixture
def here(model: Played) -> Iterator[Here]:
    with serving(model) as running:
        yield running


def ask(here: Here, **body: Any) -> Any:
    answer = here.post("/v1/completions", body)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize(
    ("prompt", "seen"),
    [([97, 98], ["ab"]), ([[97, 98], [99]], ["ab", "c"]), ([[97]], ["a"]), (["a", [98]], ["a", "b"])],
    ids=str,
)
def test_prompts_as_tokens(here: Here, model: Played, prompt: Any, seen: list[str]) -> None:
    answer = ask(here, prompt=prompt, max_tokens=1)

    assert sorted(asked.messages[0]["content"] for asked in model.seen) == seen
    assert [choice["index"] for choice in answer["choices"]] == list(range(len(seen)))


def test_loglikelihood_as_lm_eval_asks_for_it(here: Here) -> None:
    body = {
        "prompt": [[97, 98, 99], [97, 98]],
        "max_tokens": 1,
        "logprobs": 1,
        "echo": True,
        "temperature": 0,
    }
    first, second = ask(here, **body)["choices"]

    assert first["text"] == "abcy"
    assert first["logprobs"]["tokens"] == ["a", "b", "c", "y"]
    assert first["logprobs"]["token_logprobs"] == [None, -1.0, -2.0, -0.25]
    assert first["logprobs"]["top_logprobs"] == [None, {"x": -0.5}, {"x": -0.5}, {"y": -0.25}]
    assert first["logprobs"]["text_offset"] == [0, 1, 2, 3]
    assert second["logprobs"]["token_logprobs"] == [None, -1.0, -0.25]


def test_an_answer_that_ends_at_once_counts(model: Played) -> None:
    """lm-eval leaves the last entry out: without one for the end it would leave out what it asked for."""
    with serving(Played(lambda asked: [end()])) as here:
        (choice,) = ask(here, prompt="ab", max_tokens=1, logprobs=1, echo=True)["choices"]

    assert choice["logprobs"]["token_logprobs"] == [None, -1.0, None]


@pytest.mark.parametrize("echo", [False, True])
def test_no_tokens(here: Here, echo: bool) -> None:
    answer = ask(here, prompt="ab", max_tokens=0, echo=echo, logprobs=1)
    (choice,) = answer["choices"]

    assert choice["text"] == ("ab" if echo else "")
    assert choice["logprobs"]["token_logprobs"] == ([None, -1.0] if echo else [])
    assert choice["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 0


def test_an_echo_streams_first(here: Here) -> None:
    text = here.post("/v1/completions", {"prompt": "ab", "echo": True, "logprobs": 0, "stream": True}).text
    chunks = [json.loads(line[6:])["choices"][0] for line in text.split("\n\n") if line.startswith("data: {")]

    assert [chunk["text"] for chunk in chunks] == ["ab", "y", ""]
    assert chunks[0]["logprobs"]["token_logprobs"] == [None, -1.0]
    assert chunks[1]["logprobs"]["text_offset"] == [2]


def test_an_echo_for_each_answer(here: Here) -> None:
    answer = ask(here, prompt=["a", "b"], n=2, echo=True, max_tokens=1)

    assert [choice["text"] for choice in answer["choices"]] == ["ay", "ay", "by", "by"]


@pytest.mark.parametrize("prompt", [[5000], [[97], [5000]], [True], [1.5], [[]], []], ids=str)
def test_what_is_no_prompt(here: Here, prompt: Any) -> None:
    assert here.post("/v1/completions", {"prompt": prompt}).status_code == 400


def test_an_engine_that_rates_nothing_says_so(model: Played) -> None:
    model.capabilities = replace(model.capabilities, tokens=False)
    with serving(model) as here:
        answer = here.post("/v1/completions", {"prompt": "ab", "echo": True, "logprobs": 1})

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "echo")


def test_no_suffix_is_no_middle(here: Here, model: Played) -> None:
    """Clients send an empty one with every request; this model cannot fill in."""
    answer = ask(here, prompt="ab", suffix="")

    assert answer["choices"][0]["text"] == "y"
    assert here.post("/v1/completions", {"prompt": "ab", "suffix": "c"}).status_code == 400
