"""What every engine promises (engines/core/base.py), asked of each: on the same real weights where it
shows in the words, else on a small model of random ones."""

from __future__ import annotations

import json
from collections.abc import Iterable

import jsonschema
import pytest

from qwen_cli.engines.core.base import Engine, Piece, Sampling, Usage
from qwen_cli.errors import ContextFull, QwenError

GREEDY = Sampling(temperature=0, max_tokens=12)
CAPITAL = [{"role": "user", "content": "What is the capital of France? Answer in one short sentence."}]
COUNTING = "one, two, three, four, five, six, seven, eight, nine, ten, one, two, three, four,"


def text(pieces: Iterable[Piece]) -> str:
    return "".join(piece.text for piece in pieces if piece.kind == "answer")


def usage(pieces: list[Piece]) -> Usage:
    """The last piece's, and only the last has one."""
    assert [piece.usage is not None for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    found = pieces[-1].usage
    assert found
    return found


@pytest.fixture(scope="module")
def asked_once() -> dict[int, list[Piece]]:
    """The answers to `CAPITAL` so far, by the `id` of the engine."""
    return {}


@pytest.fixture
def capital(engine: Engine, asked_once: dict[int, list[Piece]]) -> list[Piece]:
    """What this engine answers to `CAPITAL`."""
    if id(engine) not in asked_once:
        asked_once[id(engine)] = list(engine.chat(CAPITAL, sampling=GREEDY))
    return asked_once[id(engine)]


class TestStreaming:
    def test_an_answer_comes_in_pieces_and_ends_with_usage(self, capital: list[Piece]) -> None:
        assert "Paris" in text(capital)
        assert len([piece for piece in capital if piece.text]) >= 3
        assert usage(capital).stop_reason == "stop"

    def test_usage_counts_the_tokens(self, engine: Engine, capital: list[Piece]) -> None:
        counted = usage(capital)
        assert counted.prompt_tokens == engine.count_tokens(CAPITAL)
        answer = engine.count_tokens(text(capital))
        assert answer <= counted.generated_tokens <= answer + 1  # the end of turn may be counted
        assert counted.prefill_seconds > 0
        assert counted.decode_seconds > 0

    def test_a_raw_prompt_is_continued_without_a_template(self, engine: Engine) -> None:
        pieces = list(engine.complete(COUNTING, sampling=GREEDY))

        assert text(pieces).startswith(" five, six")
        assert usage(pieces).prompt_tokens == engine.count_tokens(COUNTING)

    def test_special_tokens_in_a_raw_prompt_are_tokens(self, engine: Engine) -> None:
        assert engine.count_tokens("<|fim_prefix|>") == 1

    @pytest.mark.parametrize("words", ["你好，世界！", "안녕하세요 여러분", "👩‍🚀 🏳️‍🌈 🦉"])
    def test_characters_arrive_whole(self, engine: Engine, words: str) -> None:
        prompt = f"echo: {words}\nsay: {words}\necho: {words}\nsay: {words}\necho: {words}\nsay:"
        pieces = list(engine.complete(prompt, sampling=Sampling(temperature=0, max_tokens=40, stop=("\n",))))

        assert text(pieces).strip() == words
        for piece in pieces:
            assert "�" not in piece.text
            piece.text.encode()  # a lone surrogate would not encode

    def test_a_limit_in_the_middle_of_a_character_drops_its_half(self, engine: Engine) -> None:
        prompt = "🦉🦚🦉🦚🦉🦚🦉🦚🦉🦚"
        for limit in range(1, 6):
            said = text(engine.complete(prompt, sampling=Sampling(temperature=0, max_tokens=limit)))
            assert "�" not in said


class TestStopping:
    def test_the_token_limit_is_kept_and_named(self, quick_engine: Engine) -> None:
        pieces = list(quick_engine.complete(COUNTING, sampling=Sampling(temperature=0, max_tokens=5)))

        assert usage(pieces).generated_tokens == 5
        assert usage(pieces).stop_reason == "length"

    @pytest.mark.parametrize("stop", [" seven", "six, se", ", seven, ei", "\n"])
    def test_a_stop_string_ends_the_text_before_it(self, engine: Engine, stop: str) -> None:
        """Also where it begins or ends inside a token, or spans several; no part of it is ever shown."""
        whole = " five, six, seven, eight, nine, ten"
        sampling = Sampling(temperature=0, max_tokens=14, stop=(stop, "|never|"))
        pieces = list(engine.complete(COUNTING, sampling=sampling))

        assert text(pieces) == (whole[: whole.index(stop)] if stop in whole else text(pieces))
        assert usage(pieces).stop_reason == ("stop" if stop in whole else "length")

    def test_what_only_looks_like_a_stop_string_is_shown(self, engine: Engine) -> None:
        sampling = Sampling(temperature=0, max_tokens=6, stop=(" five, six, zebra",))

        assert text(engine.complete(COUNTING, sampling=sampling)).startswith(" five, six, seven")

    def test_a_full_context_is_named(self, quick_engine: Engine) -> None:
        engine = quick_engine
        assert engine.capabilities.context
        line = "one, two, three, four, five, six, seven, eight, nine, ten, "
        per_line = engine.count_tokens(line * 2) - engine.count_tokens(line)
        prompt = line * ((engine.capabilities.context - 12) // per_line)

        pieces = list(engine.complete(prompt, sampling=Sampling(temperature=0)))

        counted = usage(pieces)
        assert counted.stop_reason == "context"
        assert counted.prompt_tokens + counted.generated_tokens >= engine.capabilities.context - 1

    def test_a_prompt_that_does_not_fit_is_refused_with_both_numbers(self, quick_engine: Engine) -> None:
        engine = quick_engine
        long = [{"role": "user", "content": "word " * 2500}]

        with pytest.raises(ContextFull) as refusal:
            list(engine.chat(long, sampling=GREEDY))
        assert refusal.value.limit == engine.capabilities.context
        assert refusal.value.needed == engine.count_tokens(long)

    def test_nothing_to_answer_is_refused(self, quick_engine: Engine) -> None:
        with pytest.raises(QwenError):
            list(quick_engine.chat([], sampling=GREEDY))
        with pytest.raises(QwenError):
            list(quick_engine.complete("", sampling=GREEDY))


class TestCancelling:
    def test_a_closed_stream_computes_nothing_more_and_the_next_request_works(self, engine: Engine) -> None:
        """What was computed is in the KV cache: a request for the longer text finds no more than that."""
        prompt = "The numbers are " + COUNTING
        stream = engine.complete(prompt, sampling=Sampling(temperature=0, max_tokens=400))
        seen = next(stream).text + next(stream).text
        stream.close()
        assert list(stream) == []

        longer = prompt + " five, six, seven, eight, nine, ten, one, two, three, four, five, six, seven,"
        pieces = list(engine.complete(longer, sampling=Sampling(temperature=0, max_tokens=1)))

        assert longer.startswith(prompt + seen)
        prompt_tokens = engine.count_tokens(prompt)
        # Two pieces were taken; one token may have been under way, and one piece may hold two tokens.
        assert prompt_tokens <= usage(pieces).cached_tokens <= prompt_tokens + 6

    def test_closing_before_the_first_piece_is_fine(self, engine: Engine, capital: list[Piece]) -> None:
        """And what is asked then is answered as it was before."""
        engine.chat(CAPITAL, sampling=GREEDY).close()

        assert text(engine.chat(CAPITAL, sampling=GREEDY)) == text(capital)


class TestSampling:
    STORY = ({"role": "user", "content": "Invent a name for a ship and one for its captain."},)
    HOT = Sampling(temperature=1.0, top_p=1.0, top_k=0, repetition_penalty=1.0, max_tokens=10)

    def said(self, engine: Engine, seed: int) -> str:
        from dataclasses import replace

        return text(engine.chat(self.STORY, sampling=replace(self.HOT, seed=seed)))

    def test_a_seed_reproduces_and_another_differs(self, quick_engine: Engine) -> None:
        engine = quick_engine
        self.said(engine, 1)  # the prompt is cached from here on
        first = self.said(engine, 1)

        assert self.said(engine, 1) == first
        assert len({first, self.said(engine, 2), self.said(engine, 3)}) > 1

    def test_greedy_is_deterministic(self, engine: Engine) -> None:
        greedy = Sampling(temperature=0, max_tokens=6)
        assert text(engine.chat(self.STORY, sampling=greedy)) == text(
            engine.chat(self.STORY, sampling=greedy)
        )

    @pytest.mark.parametrize("prompt", [COUNTING, CAPITAL], ids=["raw", "messages"])
    def test_samples_of_one_prompt_share_its_prefill(self, quick_engine: Engine, prompt: object) -> None:
        from dataclasses import replace

        engine = quick_engine
        done = engine.sample(prompt, 3, sampling=replace(self.HOT, seed=7, max_tokens=6))  # type: ignore[arg-type]

        assert len(done) == 3
        for sample in done:
            assert sample.text
            assert sample.mean_logprob is not None
            assert sample.mean_logprob < 0
            assert 0 < sample.usage.generated_tokens <= 6
            assert sample.usage.prompt_tokens == engine.count_tokens(prompt)  # type: ignore[arg-type]

    def test_more_samples_than_fit_at_once(self, quick_engine: Engine) -> None:
        done = quick_engine.sample(CAPITAL, 10, sampling=Sampling(temperature=1.0, max_tokens=1, seed=1))

        assert len(done) == 10


class TestConversation:
    def test_only_the_new_turn_is_prefilled(self, engine: Engine) -> None:
        turns = [{"role": "system", "content": "Answer in at most five words."}]
        cached = []
        for question in ("Name a river in Egypt.", "And one in Brazil?", "And one in China?"):
            turns.append({"role": "user", "content": question})
            before = engine.count_tokens(turns[:-1]) if len(turns) > 2 else 0
            pieces = list(engine.chat(turns, sampling=GREEDY))
            turns.append({"role": "assistant", "content": text(pieces)})
            counted = usage(pieces)
            cached.append(counted.cached_tokens)
            # The history ends where its template does; the generation prompt after it is not part of it.
            assert counted.cached_tokens >= before - 8
            assert counted.prompt_tokens - counted.cached_tokens < 40

        assert cached[0] < cached[1] < cached[2]

    def test_a_schema_holds(self, engine: Engine) -> None:
        schema = {
            "type": "object",
            "properties": {
                "city": {"type": "string", "maxLength": 20},
                "population": {"type": "integer"},
                "capital": {"type": "boolean"},
            },
            "required": ["city", "population", "capital"],
            "additionalProperties": False,
        }
        asked = [{"role": "user", "content": "Say something about Paris."}]

        pieces = list(engine.chat(asked, schema=schema, sampling=Sampling(temperature=0, max_tokens=80)))

        jsonschema.validate(json.loads(text(pieces)), schema)

    def test_it_says_what_its_weights_are_held_in(self, engine: Engine) -> None:
        held = engine.capabilities.weights
        assert held in ("Q4_K_M", "bfloat16", "float32") or (held is None and engine.capabilities.unverified)

    def test_a_model_without_thinking_gives_none(self, quick_engine: Engine) -> None:
        assert quick_engine.capabilities.thinking is None
        pieces = list(quick_engine.chat(CAPITAL, sampling=GREEDY, thinking=False))

        assert {piece.kind for piece in pieces} == {"answer"}
        assert "<think>" not in text(pieces)

    def test_a_tool_is_called(self, engine: Engine) -> None:
        tool = {
            "type": "function",
            "function": {
                "name": "weather",
                "description": "The weather in a city",
                "parameters": {
                    "type": "object",
                    "properties": {"city": {"type": "string"}},
                    "required": ["city"],
                },
            },
        }

        asked = [{"role": "user", "content": "What is the weather in Paris?"}]

        pieces = list(engine.chat(asked, tools=[tool], sampling=Sampling(temperature=0, max_tokens=60)))

        calls = [piece.call for piece in pieces if piece.call]
        assert [(call.name, call.arguments) for call in calls] == [("weather", {"city": "Paris"})]
        assert calls[0].id
        assert text(pieces) == ""
        assert usage(pieces).stop_reason == "tool_calls"


class TestRendering:
    def test_the_prompt_that_is_told_is_the_one_that_chat_sends(
        self, engine: Engine, capital: list[Piece]
    ) -> None:
        prompt = engine.render(CAPITAL)

        assert engine.capabilities.render
        assert engine.count_tokens(prompt) == engine.count_tokens(CAPITAL)
        assert text(engine.complete(prompt, sampling=GREEDY)) == text(capital)

    def test_an_answer_is_gone_on_with_from_the_cache(self, engine: Engine, capital: list[Piece]) -> None:
        prompt = engine.render(CAPITAL)
        said = text(capital)
        list(engine.complete(prompt, sampling=Sampling(temperature=0, max_tokens=1)))
        pieces = list(engine.complete(f"{prompt}{said} The capital of Italy is", sampling=GREEDY))

        assert "Rome" in text(pieces)
        assert usage(pieces).cached_tokens >= engine.count_tokens(prompt) - 1


def test_lanes_answer_at_once_and_as_the_engine_would(engine: Engine) -> None:
    from concurrent.futures import ThreadPoolExecutor

    lanes = engine.lanes(3)
    prompts = [COUNTING, "a b c d e f a b c d e f a b", COUNTING][: len(lanes)]
    alone = [text(engine.complete(prompt, sampling=GREEDY)) for prompt in prompts]
    with ThreadPoolExecutor(len(lanes)) as threads:
        together = threads.map(
            lambda lane, prompt: text(lane.complete(prompt, sampling=GREEDY)), lanes, prompts
        )

    assert list(together) == alone
