"""llama.cpp's routes, with its names for what goes in and comes out."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import httpx
import pytest

from qwen_cli.engines.core.base import Piece, Sampling, Token, TokenLogprob, Usage
from qwen_cli.errors import ContextFull
from qwen_cli.serve.api import native
from tests.serve.played import EXTRAS, Asked, Here, Played, end, serving

ONE = TokenLogprob("y", (121,), -0.25, (TokenLogprob("y", (121,), -0.25, id=121),), 121)
HELLO = [{"role": "user", "content": "hello"}]


def said(asked: Asked) -> list[Piece]:
    known = (ONE,) if asked.sampling.logprobs is not None else ()
    tokens = (121,) if (asked.sampling.extras or {}).get("return_tokens") else ()
    usage = Usage(prompt_tokens=10, generated_tokens=3, stop_reason="stop", stop_string="\n")
    return [Piece("y", logprobs=known, tokens=tokens), Piece("es"), Piece(usage=usage)]


@pytest.fixture
def model() -> Played:
    return Played(said)


@pytest.fixture
def here(model: Played) -> Iterator[Here]:
    with serving(model) as running:
        yield running


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in text.split("\n\n") if line.startswith("data: {")]


@pytest.mark.parametrize("path", ["/completion", "/completions"])
def test_a_completion_in_its_form(here: Here, model: Played, path: str) -> None:
    answer = here.post(path, {"prompt": "one,", "n_predict": 4, "seed": 7, "stop": ["\n"]}).json()

    assert answer["content"] == "yes"
    assert (answer["tokens_predicted"], answer["tokens_evaluated"], answer["tokens_cached"]) == (3, 10, 13)
    assert (answer["stop"], answer["stop_type"], answer["stopping_word"]) == (True, "word", "\n")
    assert (answer["truncated"], answer["has_new_line"], answer["tokens"]) == (False, False, [])
    assert answer["generation_settings"]["n_predict"] == 4
    assert answer["generation_settings"]["seed"] == 7
    assert answer["prompt"] == "one,"
    assert "prompt_n" in answer["timings"]
    asked = Sampling(max_tokens=4, seed=7, stop=("\n",), extras={"return_tokens": True})
    assert model.seen[0].sampling == asked


def test_without_a_limit_there_is_none(here: Here, model: Played) -> None:
    for body in ({}, {"n_predict": -1}):
        here.post("/completion", {"prompt": "one,", **body})

    assert [asked.sampling.max_tokens for asked in model.seen] == [None, None]


def test_a_stream_brings_tokens_and_ends_with_the_rest(here: Here) -> None:
    first, second, last = events(here.post("/completion", {"prompt": "a", "stream": True}).text)

    assert (first["content"], first["tokens"], first["stop"]) == ("y", [121], False)
    assert second["content"] == "es"
    assert (last["content"], last["stop"], last["tokens_predicted"]) == ("", True, 3)


def test_the_word_that_ends_it_is_asked_for_along_with_the_tokens(here: Here, model: Played) -> None:
    answer = here.post("/completion", {"prompt": "a", "stop": ["\n"]}).json()

    assert model.seen[0].sampling.extras == {"return_tokens": True}
    assert (answer["stopping_word"], answer["tokens"]) == ("\n", [])


def test_tokens_and_their_probabilities(here: Here) -> None:
    answer = here.post("/completion", {"prompt": "a", "return_tokens": True, "n_probs": 1}).json()

    assert answer["tokens"] == [121]
    likely = {"id": 121, "token": "y", "bytes": [121], "logprob": -0.25}
    assert answer["completion_probabilities"] == [{**likely, "top_logprobs": [likely]}]


def test_probabilities_after_the_sampling_are_told_as_such(here: Here, model: Played) -> None:
    asked = {"prompt": "a", "n_probs": 1, "post_sampling_probs": True}
    answer = here.post("/completion", asked).json()

    likely = {"id": 121, "token": "y", "bytes": [121], "prob": pytest.approx(0.7788, abs=1e-4)}
    assert answer["completion_probabilities"] == [{**likely, "top_probs": [likely]}]
    assert answer["generation_settings"]["post_sampling_probs"] is True
    assert model.seen[0].sampling.extras == {"post_sampling_probs": True}
    first, *_ = events(here.post("/completion", {**asked, "stream": True}).text)
    assert first["completion_probabilities"] == answer["completion_probabilities"]


@pytest.mark.parametrize("ignores", [True, False])
def test_the_ends_that_are_ignored_are_told(here: Here, ignores: bool) -> None:
    answer = here.post("/completion", {"prompt": "a", "ignore_eos": ignores}).json()

    assert answer["generation_settings"]["ignore_eos"] is ignores
    # Each character is a token of this vocabulary: there are no special ones.
    assert answer["generation_settings"]["logit_bias"] == []


def test_the_ends_of_the_vocabulary_are_forbidden() -> None:
    class Special(Played):
        def tokenize(self, text: str, *, special: bool = True) -> list[Token]:
            known = {"<|im_end|>": 7, "<|endoftext|>": 8}
            return [(known[text], b"")] if text in known else super().tokenize(text, special=special)

    with serving(Special(said)) as here:
        asked = {"prompt": "a", "ignore_eos": True, "logit_bias": [[5, 1.5]]}
        answer = here.post("/completion", asked).json()

    told = [{"token": 5, "bias": 1.5}, {"token": 8, "bias": None}, {"token": 7, "bias": None}]
    assert answer["generation_settings"]["logit_bias"] == told


@pytest.mark.parametrize(
    ("prompt", "seen"),
    [
        ([97, 98], ["ab"]),
        ([97, "bc", 100], ["abcd"]),
        ([[97], "b"], ["a", "b"]),
        (["a", {"prompt_string": "b"}, [99, "d"]], ["a", "b", "cd"]),
        ({"prompt_string": "a"}, ["a"]),
        (["a"], ["a"]),
    ],
    ids=str,
)
def test_the_forms_of_a_prompt(here: Here, model: Played, prompt: Any, seen: list[str]) -> None:
    answer = here.post("/completion", {"prompt": prompt}).json()

    assert sorted(asked.messages[0]["content"] for asked in model.seen) == sorted(seen)
    several = isinstance(prompt, list) and not any(isinstance(one, int) for one in prompt)
    assert isinstance(answer, list) == several


@pytest.mark.parametrize(
    "prompt", [None, [], "", [1.5], [True], [[]], [5000], {"x": 1}, 7, [["a", None]]], ids=str
)
def test_what_is_no_prompt(here: Here, prompt: Any) -> None:
    answer = here.post("/completion", {"prompt": prompt})

    assert answer.status_code == 400


def test_pictures_are_for_another_route(here: Here) -> None:
    answer = here.post(
        "/completion", {"prompt": {"prompt_string": "<__media__>", "multimodal_data": ["aGk="]}}
    )

    assert answer.status_code == 400
    assert "/v1/chat/completions" in answer.json()["error"]["message"]


def test_only_the_fields_that_are_asked_for(here: Here) -> None:
    fields = ["content", "generation_settings/n_predict", "nothing"]
    answer = here.post("/completion", {"prompt": "a", "n_predict": 5, "response_fields": fields}).json()

    assert answer == {"content": "yes", "generation_settings/n_predict": 5}


def test_several_answers(here: Here) -> None:
    answers = here.post("/completion", {"prompt": "a", "n_cmpl": 3}).json()

    assert [answer["index"] for answer in answers] == [0, 1, 2]


def test_the_prompt_may_be_read_alone(here: Here) -> None:
    answer = here.post("/completion", {"prompt": "a", "n_predict": 0}).json()

    assert (answer["content"], answer["tokens_predicted"], answer["stop_type"]) == ("", 0, "limit")


@pytest.mark.parametrize(
    ("asked", "likely"),
    [({"n_probs": 3}, 3), ({"logprobs": 3}, 3), ({"n_probs": 100}, 100), ({"n_probs": 0}, None)],
    ids=str,
)
def test_how_many_likely_tokens(here: Here, model: Played, asked: dict[str, int], likely: int | None) -> None:
    here.post("/completion", {"prompt": "a", **asked})

    assert model.seen[0].sampling.logprobs == likely


@pytest.mark.parametrize(
    ("asked", "likely"),
    [
        ({"n_probs": 3}, 3),
        ({"n_probs": 0}, None),
        ({"n_probs": None}, None),
        ({"n_probs": 3, "logprobs": False}, 3),
    ],
    ids=str,
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_its_name_for_them_on_the_other_routes(
    here: Here, model: Played, path: str, asked: dict[str, Any], likely: int | None
) -> None:
    wanted = {name: value for name, value in asked.items() if name == "n_probs" or "chat" in path}
    answer = here.post(path, {"prompt": "a", "messages": HELLO, **wanted})

    assert answer.status_code == 200
    assert model.seen[0].sampling.logprobs == likely


@pytest.mark.parametrize("wrong", [-1, "many", 1.5, [3]], ids=str)
@pytest.mark.parametrize("path", ["/completion", "/v1/chat/completions", "/v1/completions"])
def test_what_is_no_number_of_likely_tokens(here: Here, path: str, wrong: Any) -> None:
    assert here.post(path, {"prompt": "a", "messages": HELLO, "n_probs": wrong}).status_code == 400


@pytest.mark.parametrize("path", ["/completion", "/v1/chat/completions", "/v1/completions"])
@pytest.mark.parametrize(
    ("asked", "extras"),
    [(False, {"cache_prompt": False}), (True, None), (None, None)],
    ids=str,
)
def test_the_cache_may_be_left_alone(
    here: Here, model: Played, path: str, asked: bool | None, extras: Any
) -> None:
    model.capabilities = replace(model.capabilities, extras=(*EXTRAS, "cache_prompt"))
    here.post(path, {"prompt": "a", "messages": HELLO, "cache_prompt": asked})

    assert model.seen[0].sampling.extras == extras


def test_an_engine_without_such_a_cache_answers_all_the_same(here: Here, model: Played) -> None:
    assert here.post("/completion", {"prompt": "a", "cache_prompt": False}).status_code == 200
    assert model.seen[0].sampling.extras is None


@pytest.mark.parametrize(
    "bias", [{"15": True}, [[15, True]], [[True, 1]], [15], "x", [[1, "x"]], [[1, 2, 3]]], ids=str
)
def test_what_is_no_bias(here: Here, bias: Any) -> None:
    assert here.post("/completion", {"prompt": "a", "logit_bias": bias}).status_code == 400


@pytest.mark.parametrize("name", ["n_predict", "max_tokens", "max_completion_tokens"])
def test_the_names_of_the_limit(here: Here, model: Played, name: str) -> None:
    here.post("/completion", {"prompt": "a", name: 7})

    assert model.seen[0].sampling.max_tokens == 7


def test_two_answers_at_the_end_are_one_too_many(here: Here) -> None:
    turns = [*HELLO, {"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}]
    answer = here.post("/v1/chat/completions", {"messages": turns})

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "messages")
    assert here.post("/v1/chat/completions", {"messages": turns[:-1]}).status_code == 200


class TestTokens:
    def test_of_a_text(self, here: Here) -> None:
        assert here.post("/tokenize", {"content": "ab"}).json() == {"tokens": [97, 98]}
        assert here.post("/tokenize", {"content": ["a", 98]}).json() == {"tokens": [97, 98]}
        assert here.post("/tokenize", {"content": ""}).json() == {"tokens": []}

    @pytest.mark.parametrize("content", [5, True, 1.5, {}, ["a", ["b"]], ["a", None]], ids=str)
    def test_what_is_no_text(self, here: Here, content: Any) -> None:
        assert here.post("/tokenize", {"content": content}).status_code == 400

    def test_with_their_pieces(self, here: Here) -> None:
        answer = here.post("/tokenize", {"content": "a", "with_pieces": True}).json()

        assert answer == {"tokens": [{"id": 97, "piece": "a"}]}

    def test_and_back(self, here: Here) -> None:
        assert here.post("/detokenize", {"tokens": [97, 98]}).json() == {"content": "ab"}

    @pytest.mark.parametrize("tokens", ["ab", [-1], [5000], ["a"], [True]], ids=str)
    def test_what_is_no_token(self, here: Here, tokens: Any) -> None:
        assert here.post("/detokenize", {"tokens": tokens}).status_code == 400


class TestOfTheServer:
    def test_a_template_is_applied(self, here: Here) -> None:
        assert here.post("/apply-template", {"messages": HELLO}).json() == {"prompt": "<user>hello"}
        tool = {"type": "function", "function": {"name": "f"}}
        answer = here.post("/apply-template", {"messages": HELLO, "tools": [tool]}).json()
        assert answer == {"prompt": "1 tools<user>hello"}

    def test_properties(self, here: Here) -> None:
        answer = httpx.get(f"{here.url}/props").json()

        assert (answer["total_slots"], answer["default_generation_settings"]["n_ctx"]) == (2, 4096)
        assert answer["modalities"] == {"vision": False, "audio": False}

    def test_slots(self, here: Here) -> None:
        answer = httpx.get(f"{here.url}/slots").json()

        assert [(one["id"], one["is_processing"], one["n_ctx"]) for one in answer] == [
            (0, False, 4096),
            (1, False, 4096),
        ]

    def test_counters_under_its_names(self, here: Here) -> None:
        here.post("/completion", {"prompt": "a"})
        lines = httpx.get(f"{here.url}/metrics").text.splitlines()

        assert "llamacpp:prompt_tokens_total 10.0" in lines
        assert "llamacpp:tokens_predicted_total 3.0" in lines
        assert "llamacpp:requests_processing 0.0" in lines
        assert "llamacpp:prompt_tokens_cached_total 0.0" in lines
        assert "# TYPE llamacpp:spec_decode_num_accepted_tokens_total counter" in lines

    def test_steps_are_told_where_the_engine_counts_them(self) -> None:
        class Counting(Played):
            def counters(self) -> dict[str, float]:
                counted = {"n_decode_total": 8.0, "n_busy_slots_per_decode": 1.5}
                return {**counted, "spec_decode_num_drafts_total": 2.0}

        with serving(Counting()) as here:
            here.post("/completion", {"prompt": "a"})
            lines = httpx.get(f"{here.url}/metrics").text.splitlines()

        assert "# TYPE llamacpp:n_tokens_max counter" in lines
        for line in (
            *("n_decode_total 8.0", "n_busy_slots_per_decode 1.5", "spec_decode_num_drafts_total 2.0"),
            *("n_tokens_max 13.0", "requests_deferred 0.0"),
        ):
            assert f"llamacpp:{line}" in lines

    def test_a_busy_engine_does_not_hold_the_counters_up(self) -> None:
        free = threading.Event()

        class Busy(Played):
            def counters(self) -> dict[str, float]:
                free.wait(60)
                return {"n_decode_total": 8.0}

        with serving(Busy()) as here:
            first = httpx.get(f"{here.url}/metrics", timeout=30).text
            free.set()
            second = httpx.get(f"{here.url}/metrics", timeout=30).text

        assert "llamacpp:n_decode_total 0.0" in first.splitlines()
        assert "llamacpp:n_decode_total 8.0" in second.splitlines()

    def test_the_counters_say_since_when(self, here: Here) -> None:
        answer = httpx.get(f"{here.url}/metrics")

        assert int(answer.headers["Process-Start-Time-Unix"]) >= 0

    @pytest.mark.parametrize("path", ["/v1/health", "/models", "/models/played"])
    def test_paths_with_and_without_v1(self, here: Here, path: str) -> None:
        assert httpx.get(f"{here.url}{path}").status_code == 200

    @pytest.mark.parametrize("action", ["save", "restore", "erase"])
    def test_slots_are_looked_after_by_the_server(self, here: Here, action: str) -> None:
        answer = here.post(f"/slots/0?action={action}", {"filename": "a.bin"})

        assert (answer.status_code, answer.json()["error"]["type"]) == (501, "not_supported_error")
        assert "by hand" in answer.json()["error"]["message"]

    def test_adapters_are_listed(self, here: Here) -> None:
        assert httpx.get(f"{here.url}/lora-adapters").json() == []

    def test_conversations_without_v1(self, here: Here) -> None:
        assert here.post("/chat/completions", {"messages": HELLO}).json()["object"] == "chat.completion"
        for path in ("/chat/completions/input_tokens", "/v1/chat/completions/input_tokens"):
            assert here.post(path, {"messages": HELLO}).json() == {"input_tokens": 10}


class TestVerbose:
    """`verbose` tells of an answer of a conversation in llama.cpp's own form too, with its prompt."""

    def test_at_once(self, here: Here) -> None:
        asked = {"messages": HELLO, "verbose": True, "max_tokens": 9, "seed": 3}
        told = here.post("/v1/chat/completions", asked).json()["__verbose"]

        assert (told["prompt"], told["content"], told["tokens_predicted"]) == ("<user>hello", "yes", 3)
        assert (told["stop_type"], told["stopping_word"]) == ("word", "\n")
        assert (told["generation_settings"]["n_predict"], told["generation_settings"]["seed"]) == (9, 3)

    def test_at_the_end_of_a_stream(self, here: Here) -> None:
        asked = {"messages": HELLO, "verbose": True, "stream": True}
        *others, last = events(here.post("/v1/chat/completions", asked).text)

        assert last["__verbose"]["prompt"] == "<user>hello"
        assert not [one for one in others if "__verbose" in one]

    def test_with_what_there_is_of_the_answer(self, here: Here) -> None:
        turns = [*HELLO, {"role": "assistant", "content": "So"}]
        answer = here.post("/v1/chat/completions", {"messages": turns, "verbose": True}).json()

        assert answer["__verbose"]["prompt"] == "<user>helloSo"

    def test_with_several_answers(self, here: Here) -> None:
        answer = here.post("/v1/chat/completions", {"messages": HELLO, "verbose": True, "n": 2}).json()

        assert len(answer["choices"]) == 2
        assert answer["__verbose"]["content"] == "yes"

    def test_of_what_follows_a_raw_prompt(self, here: Here) -> None:
        asked = {"prompt": ["a", "b"], "verbose": True, "max_tokens": 9}
        told = here.post("/v1/completions", asked).json()["__verbose"]
        *others, last = events(here.post("/v1/completions", {**asked, "prompt": "a", "stream": True}).text)

        assert (told["prompt"], told["content"], told["generation_settings"]["n_predict"]) == ("a", "yes", 9)
        assert (last["__verbose"]["prompt"], last["__verbose"]["tokens_predicted"]) == ("a", 3)
        assert not [one for one in others if "__verbose" in one]

    @pytest.mark.parametrize("no", [None, False])
    def test_not_unasked(self, here: Here, no: bool | None) -> None:
        answer = here.post("/v1/chat/completions", {"messages": HELLO, "verbose": no}).json()

        assert "__verbose" not in answer

    def test_it_is_true_or_false(self, here: Here) -> None:
        answer = here.post("/v1/chat/completions", {"messages": HELLO, "verbose": "loud"})

        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "verbose")


def test_a_word_that_ends_it_is_not_the_end_of_the_turn() -> None:
    with serving(Played(lambda asked: [Piece("y"), end("length")])) as here:
        assert here.post("/completion", {"prompt": "a"}).json()["stop_type"] == "limit"
    with serving(Played(lambda asked: [Piece("y"), end()])) as here:
        assert here.post("/completion", {"prompt": "a"}).json()["stop_type"] == "eos"


def test_a_prompt_that_is_too_long_is_told_in_numbers() -> None:
    def full(asked: Asked) -> str:
        raise ContextFull(5000, 4096)

    with serving(Played(full)) as here:
        for path in ("/completion", "/v1/chat/completions", "/v1/completions"):
            answer = here.post(path, {"prompt": "a", "messages": HELLO})
            error = answer.json()["error"]
            assert answer.status_code == 400
            assert (error["n_prompt_tokens"], error["n_ctx"]) == (5000, 4096)
            assert (error["type"], error["code"]) == ("exceed_context_size_error", "context_length_exceeded")


@pytest.mark.parametrize(
    ("chunk", "field"),
    [
        ({}, "text"),
        ({"filename": "ok"}, "text"),
        ({"text": None}, "text"),
        ({"filename": 123, "text": "abc"}, "filename"),
        ({"text": ["abc"]}, "text"),
        ("abc", ""),
    ],
    ids=str,
)
def test_context_of_a_hole_is_text(here: Here, chunk: Any, field: str) -> None:
    answer = here.post("/infill", {"input_prefix": "a", "input_extra": [chunk]})

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == f"input_extra.0.{field}".rstrip(".")


def test_what_is_too_long_is_not_tokenized(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight times 31 MB took fourteen gigabytes."""
    monkeypatch.setattr(native, "_MOST_TOKENIZED", 1_000)
    for content in ("a" * 1_001, ["a" * 600, 98, "a" * 400]):
        answer = here.post("/tokenize", {"content": content})
        assert answer.status_code == 400
        assert "1,001 characters, more than 1,000" in answer.json()["error"]["message"]
    assert here.post("/tokenize", {"content": "a" * 1_000}).status_code == 200


def test_a_client_that_leaves_ends_it() -> None:
    counted: list[int] = []

    class Slow(Played):
        def detokenize(self, ids: Sequence[int]) -> str:
            counted.append(1)
            time.sleep(0.05)
            return "a"

    with serving(Slow()) as here:
        with pytest.raises(httpx.ReadTimeout):
            here.post("/tokenize", {"content": [98] * 10_000}, timeout=0.5)
        time.sleep(0.3)
        before = len(counted)
        time.sleep(0.3)
        assert len(counted) == before
