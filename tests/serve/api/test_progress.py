"""How far a request has come, in llama.cpp's fields, on every route that streams."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from qwen_cli.engines.core.base import Piece, Progress
from tests.serve.played import Asked, Here, Played, end, serving

ASKS: dict[str, dict[str, Any]] = {
    "/completion": {"prompt": "a"},
    "/v1/completions": {"prompt": "a"},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "a"}]},
    "/v1/responses": {"input": "a"},
}
READ = [Progress(10, 2, read, prefill_seconds=read / 100) for read in (2, 10)]
FIELDS = [
    {"total": 10, "cache": 2, "processed": 2, "time_ms": 20},
    {"total": 10, "cache": 2, "processed": 10, "time_ms": 100},
]


def said(asked: Asked) -> list[Piece]:
    """It tells as much as an engine is asked to."""
    more = asked.sampling.extras or {}
    pieces = [Piece(progress=one) for one in READ] if more.get("return_progress") else []
    for number, text in enumerate(("ye", "s"), 1):
        now = replace(READ[-1], generated_tokens=number, decode_seconds=(number - 1) / 10)
        pieces.append(Piece(text, progress=now if more.get("timings_per_token") else None))
    return [*pieces, end()]


@pytest.fixture(scope="module")
def here() -> Iterator[Here]:
    with serving(Played(said)) as running:
        yield running


def chunks(here: Here, path: str, **more: Any) -> list[dict[str, Any]]:
    text = here.post(path, {**ASKS[path], "stream": True, **more}).text
    lines = [line for line in text.splitlines() if line.startswith("data: {")]
    return [json.loads(line[6:]) for line in lines]


def text_of(chunk: dict[str, Any]) -> str:
    """The text that a chunk of any of the routes brings."""
    if "choices" in chunk:
        (choice,) = chunk["choices"] or [{}]
        return choice.get("text") or choice.get("delta", {}).get("content") or ""
    return chunk.get("content") or (chunk["delta"] if chunk.get("type", "").endswith("text.delta") else "")


@pytest.mark.parametrize("path", ASKS)
class TestOnEachRoute:
    def test_the_prompt_is_followed_as_it_is_read(self, here: Here, path: str) -> None:
        came = chunks(here, path, return_progress=True)

        assert [one["prompt_progress"] for one in came if "prompt_progress" in one] == FIELDS
        assert "".join(map(text_of, came)) == "yes"

    def test_each_token_comes_with_the_timings_so_far(self, here: Here, path: str) -> None:
        came = [one for one in chunks(here, path, timings_per_token=True) if text_of(one)]

        assert [one["timings"]["predicted_n"] for one in came] == [1, 2]
        assert [one["timings"]["predicted_per_second"] for one in came] == [0.0, 10.0]
        assert [one["timings"]["prompt_n"] for one in came] == [8, 8]

    def test_both_tell_what_reading_has_taken(self, here: Here, path: str) -> None:
        came = chunks(here, path, timings_per_token=True, return_progress=True)
        timings = [one["timings"] for one in came if "prompt_progress" in one]

        assert [(one["prompt_n"], one["predicted_n"]) for one in timings] == [(0, 0), (8, 0)]

    def test_a_prompt_that_is_read_alone_is_followed_too(self, here: Here, path: str) -> None:
        if path == "/v1/responses":
            pytest.skip("OpenAI's newer route has no such request")
        name = "max_tokens" if path.startswith("/v1") else "n_predict"
        came = chunks(here, path, return_progress=True, **{name: 0})

        assert [one["prompt_progress"] for one in came if "prompt_progress" in one] == FIELDS
        assert "".join(map(text_of, came)) == ""

    @pytest.mark.parametrize("no", [{}, {"return_progress": False, "timings_per_token": False}], ids=str)
    def test_nothing_is_told_unasked(self, here: Here, path: str, no: dict[str, bool]) -> None:
        came = chunks(here, path, **no)

        assert not [one for one in came if "prompt_progress" in one or ("timings" in one and text_of(one))]

    def test_an_answer_at_once_has_no_progress(self, here: Here, path: str) -> None:
        answer = here.post(path, {**ASKS[path], "return_progress": True, "timings_per_token": True})

        assert answer.status_code == 200
        assert "prompt_progress" not in answer.text

    @pytest.mark.parametrize("wrong", ["maybe", 3, []], ids=str)
    def test_the_switches_are_true_or_false(self, here: Here, path: str, wrong: Any) -> None:
        assert here.post(path, {**ASKS[path], "return_progress": wrong}).status_code == 400


@pytest.mark.parametrize("path", ASKS)
def test_an_engine_that_tells_nothing_answers_all_the_same(path: str) -> None:
    model = Played(said)
    model.capabilities = replace(model.capabilities, extras=())
    with serving(model) as here:
        came = chunks(here, path, return_progress=True, timings_per_token=True)

    assert "".join(map(text_of, came)) == "yes"
    assert not [one for one in came if "prompt_progress" in one]


def test_each_piece_in_its_own_form_tells_of_the_prompt(here: Here) -> None:
    *pieces, last = chunks(here, "/completion")

    assert [one["tokens_evaluated"] for one in [*pieces, last]] == [10, 10, 10]
    assert not [one for one in pieces if "prompt_progress" in one or "timings" in one]


def test_the_last_chunk_of_a_conversation_tells_usage_and_timings(here: Here) -> None:
    path = "/v1/chat/completions"
    *_, last = chunks(here, path, timings_per_token=True, stream_options={"include_usage": True})

    assert (last["choices"], last["usage"]["completion_tokens"], last["timings"]["predicted_n"]) == ([], 3, 3)


@pytest.mark.parametrize(("tokens", "rate"), [(0, 0.0), (1, 0.0), (2, 2.0), (5, 8.0)])
def test_rates_are_over_steps_as_the_first_token_comes_with_the_prompt(tokens: int, rate: float) -> None:
    from qwen_cli.engines.core.base import Usage
    from qwen_cli.serve.api.native_form import timings

    made = timings([Usage(prompt_tokens=4, generated_tokens=tokens, prefill_seconds=2, decode_seconds=0.5)])

    assert (made["predicted_per_second"], made["prompt_per_second"]) == (rate, 2.0)
    assert made["predicted_per_token_ms"] == (500 / (tokens - 1) if tokens > 1 else 0.0)
