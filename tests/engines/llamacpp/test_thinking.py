"""Where thinking ends in llama.cpp: at a budget, at the model's own end, before a stop string."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from qwen_cli.engines.core.base import Piece, Sampling, Usage
from qwen_cli.engines.llamacpp.engine import LlamaCpp
from qwen_cli.engines.parsing.answer import parts
from qwen_cli.engines.parsing.openai import BUDGET_MESSAGE
from qwen_cli.errors import RequestRefused
from tests.engines.conftest import weights
from tests.helpers import small_models

HELLO = [{"role": "user", "content": "Hi"}]
MARKED = [{"role": "user", "content": "What does <|im_end|> do?"}]
END = small_models.SIZES["eos_token_id"]
# After Qwen/Qwen3.5-9B's chat_template.jinja: past thinking is kept, and the prompt for an answer opens it.
OPENS = (
    "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' }}{%- if m.role == 'assistant' %}"
    "{{- '<think>\\n' + (m.reasoning_content or '').strip('\\n') + '\\n</think>\\n\\n' }}{%- endif %}"
    "{{- m.content + '<|im_end|>\\n' }}{%- endfor %}{%- if add_generation_prompt %}"
    "{{- '<|im_start|>assistant\\n' }}{%- if enable_thinking is defined and enable_thinking is false %}"
    "{{- '<think>\\n\\n</think>\\n\\n' }}{%- else %}{{- '<think>\\n' }}{%- endif %}{%- endif %}"
)
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"properties": {}}}}


def greedy(most: int = 40, **more: Any) -> Sampling:
    return Sampling(temperature=0, max_tokens=most, **more)


def usage(pieces: list[Piece]) -> Usage:
    assert pieces[-1].usage
    return pieces[-1].usage


@pytest.fixture(scope="module", params=[OPENS, small_models.ALWAYS], ids=["read by llama.cpp", "read here"])
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, starter_safetensors: Path
) -> Iterator[LlamaCpp]:
    """A model that never ends by itself, under a template that opens the thinking."""
    file = small_models.make_endless(tmp_path_factory.mktemp("endless"), starter_safetensors)
    with LlamaCpp(weights(file), context=1024, chat_template=request.param) as engine:
        yield engine


@pytest.fixture
def ends(engine: LlamaCpp, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Mapping[str, Any]]]:
    """Make the model end its first `turns` when it has said `after` (a text, "" is at once)."""

    def make(after: int, turns: int = 1) -> list[Mapping[str, Any]]:
        stream, sent = engine.slot.stream, []

        def ending(handler: str, request: Mapping[str, Any]) -> Any:
            sent.append(request)
            if len(sent) <= turns and not after:
                request = {**request, "logit_bias": [[END, 1000.0]]}
            for moment, chunk in stream(handler, request):
                choice = (chunk.get("choices") or [{}])[0]
                said = (chunk.get("timings") or {}).get("predicted_n", 0)
                if len(sent) <= turns and after and said >= after:
                    choice["finish_reason"] = "stop"
                    yield moment, chunk
                    return
                yield moment, chunk

        monkeypatch.setattr(engine.slot, "stream", ending)
        return sent

    return make


class TestBudget:
    @pytest.mark.parametrize(("messages", "budget"), [(HELLO, 3), (MARKED, 7)], ids=["", "with a mark"])
    def test_the_answer_follows_it(self, engine: LlamaCpp, messages: Any, budget: int) -> None:
        pieces = list(engine.chat(messages, thinking=budget, sampling=greedy(40)))
        answer, thought = parts(pieces)
        own = thought.removesuffix(BUDGET_MESSAGE)
        assert own != thought
        assert 0 < engine.count_tokens(own) <= budget
        assert answer
        assert "</think>" not in answer
        assert usage(pieces).generated_tokens == 40
        assert usage(pieces).stop_reason == "length"

    def test_one_of_no_tokens_leaves_the_empty_block(self, engine: LlamaCpp) -> None:
        answer, thought = parts(list(engine.chat(HELLO, thinking=0, sampling=greedy(5))))
        assert answer
        assert not thought

    def test_of_samples(self, engine: LlamaCpp) -> None:
        one = parts(list(engine.chat(HELLO, thinking=4, sampling=greedy())))
        for sample in engine.sample(HELLO, 2, thinking=4, sampling=greedy()):
            assert (sample.text, sample.thinking) == one
            assert sample.mean_logprob

    def test_what_it_computed_is_in_the_cache(self, engine: LlamaCpp) -> None:
        pieces = list(engine.chat(HELLO, thinking=7, sampling=greedy(36)))
        again = list(engine.chat(HELLO, thinking=7, sampling=greedy(36)))
        assert parts(again) == parts(pieces)
        assert usage(again).prompt_tokens == usage(pieces).prompt_tokens < 20

    def test_without_room_for_an_answer_it_is_cut(self, engine: LlamaCpp) -> None:
        pieces = list(engine.chat(HELLO, thinking=5, sampling=greedy(5)))
        assert parts(pieces)[0] == ""
        assert usage(pieces).stop_reason == "length"


class TestEnd:
    """Some models end their turn where they should end their thinking (QwenLM/Qwen3.8#216)."""

    @pytest.mark.parametrize(("messages", "after"), [(HELLO, 0), (HELLO, 6), (MARKED, 6)])
    def test_the_answer_follows(self, engine: LlamaCpp, ends: Any, messages: Any, after: int) -> None:
        sent = ends(after)
        pieces = list(engine.chat(messages, sampling=greedy(20, stop=("never",))))
        answer, thought = parts(pieces)
        assert answer
        assert bool(thought) == bool(after)
        assert len(sent) == 2
        assert usage(pieces).stop_reason == "length"
        assert usage(pieces).generated_tokens == 20
        assert len([piece for piece in pieces if piece.usage]) == 1

    def test_it_may_not_end_again_before_it_has_answered(self, engine: LlamaCpp, ends: Any) -> None:
        ends(0, turns=2)
        pieces = list(engine.chat(HELLO, sampling=greedy(20)))
        assert parts(pieces)[0].strip()
        assert usage(pieces).stop_reason == "stop"

    def test_of_samples(self, engine: LlamaCpp, ends: Any) -> None:
        ends(0)
        for sample in engine.sample(HELLO, 2, sampling=greedy(20)):
            assert sample.text
            assert not sample.thinking


class TestStops:
    def test_they_act_on_the_answer_alone(self, engine: LlamaCpp) -> None:
        said, thought = parts(list(engine.chat(HELLO, thinking=6, sampling=greedy())))
        stop = said[5:8]
        pieces = list(engine.chat(HELLO, thinking=6, sampling=greedy(stop=(thought[4:8], stop))))
        assert parts(pieces) == (said.partition(stop)[0], thought)
        assert (usage(pieces).stop_reason, usage(pieces).stop_string) == ("stop", stop)
        assert 0 < usage(pieces).generated_tokens < 40
        assert usage(pieces).prompt_tokens
        (sample,) = engine.sample(HELLO, 1, thinking=6, sampling=greedy(stop=(thought[4:8], stop)))
        assert (sample.text, sample.thinking) == parts(pieces)

    def test_without_thinking_too(self, engine: LlamaCpp) -> None:
        said, _ = parts(list(engine.chat(HELLO, thinking=0, sampling=greedy(20))))
        pieces = list(engine.chat(HELLO, thinking=0, sampling=greedy(20, stop=(said[5:8],))))
        assert parts(pieces) == (said.partition(said[5:8])[0], "")
        assert (usage(pieces).stop_reason, usage(pieces).stop_string) == ("stop", said[5:8])


SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"n": {"type": "integer", "minimum": 5, "maximum": 9}},
    "required": ["n"],
    "additionalProperties": False,
}


class TestSchema:
    """It holds for what follows the thinking: the answer is asked for apart."""

    @pytest.fixture(autouse=True)
    def whole(self, engine: LlamaCpp) -> None:
        if not engine.capabilities.whole_schemas:
            pytest.skip("llama.cpp's own grammar holds it, thinking and all")

    @pytest.fixture
    def closes(self, engine: LlamaCpp, monkeypatch: pytest.MonkeyPatch) -> list[Mapping[str, Any]]:
        """Make the model close its thinking after six tokens and begin to answer."""
        stream, sent = engine.slot.stream, []

        def closing(handler: str, request: Mapping[str, Any]) -> Any:
            sent.append(request)
            for moment, chunk in stream(handler, request):
                choice = (chunk.get("choices") or [{}])[0]
                if len(sent) == 1 and (chunk.get("timings") or {}).get("predicted_n", 0) >= 6:
                    if handler == "handle_completions":
                        choice["text"] = "\n</think>\n\nSure"
                    else:
                        choice["delta"] = {"content": "Sure"}
                yield moment, chunk

        monkeypatch.setattr(engine.slot, "stream", closing)
        return sent

    @pytest.mark.parametrize("messages", [HELLO, MARKED], ids=["", "with a mark"])
    def test_after_thinking_that_ended(self, engine: LlamaCpp, closes: Any, messages: Any) -> None:
        pieces = list(engine.chat(messages, schema=SCHEMA, sampling=greedy(60)))
        answer, thought = parts(pieces)
        assert thought
        assert 5 <= json.loads(answer)["n"] <= 9  # "Sure" is gone
        assert len(closes) == 2
        assert "grammar" not in closes[0]
        assert usage(pieces).stop_reason == "stop"
        assert len([piece for piece in pieces if piece.usage]) == 1

    def test_after_a_budget(self, engine: LlamaCpp) -> None:
        pieces = list(engine.chat(HELLO, schema=SCHEMA, thinking=3, sampling=greedy(80)))
        assert parts(pieces)[1].endswith(BUDGET_MESSAGE)
        assert 5 <= json.loads(parts(pieces)[0])["n"] <= 9

    def test_after_the_model_ended_in_it(self, engine: LlamaCpp, ends: Any) -> None:
        ends(6)
        assert (
            5 <= json.loads(parts(list(engine.chat(HELLO, schema=SCHEMA, sampling=greedy(60))))[0])["n"] <= 9
        )

    def test_without_thinking(self, engine: LlamaCpp) -> None:
        answer, thought = parts(list(engine.chat(HELLO, schema=SCHEMA, thinking=0, sampling=greedy(60))))
        assert not thought
        assert 5 <= json.loads(answer)["n"] <= 9

    def test_without_room_for_an_answer_it_is_cut(self, engine: LlamaCpp, closes: Any) -> None:
        pieces = list(engine.chat(HELLO, schema=SCHEMA, sampling=greedy(6)))
        assert parts(pieces)[0] == ""
        assert usage(pieces).stop_reason == "length"

    def test_what_no_grammar_can_be_made_of_is_refused(self, engine: LlamaCpp) -> None:
        with pytest.raises(RequestRefused, match="the JSON schema cannot be used: "):
            list(engine.chat(HELLO, schema={"type": "nonsense"}, sampling=greedy(6)))
