"""Requests computed together on the transformers engine: each gets what it would have got alone.

On a small model of random weights in float32, where the order of a sum decides between no two tokens; words
are asked of the starter.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import small_models

from qwen_cli.engines.core.base import Engine, Piece, Sampling, Usage
from qwen_cli.errors import ContextFull, UsageError

GREEDY = Sampling(temperature=0, max_tokens=8)
PROMPTS = (
    "one, two, three, four,",
    "a b c d e f g",
    "def add(a, b):\n    return",
    "Monday, Tuesday, Wednesday,",
)
SHIP: Any = [{"role": "user", "content": "Invent a name for a ship."}]


@pytest.fixture(scope="module")
def engine(starter_safetensors: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from qwen_cli.engines.load import load

    folder = small_models.make("Qwen2", tmp_path_factory.mktemp("small") / "model", starter_safetensors)
    with load(str(folder), engine="transformers", context=1024, dtype="fp32") as loaded:
        yield loaded


@pytest.fixture(scope="module")
def lanes(engine: Any) -> Iterator[list[Engine]]:
    serving = engine.serving_lanes(4)
    assert len(serving.lanes) == 4
    yield list(serving.lanes)
    serving.close()


def text(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces)


def usage(pieces: list[Piece]) -> Usage:
    assert pieces[-1].usage
    return pieces[-1].usage


def test_together_as_alone(engine: Engine, lanes: list[Engine]) -> None:
    alone = [text(list(engine.complete(prompt, sampling=GREEDY))) for prompt in PROMPTS]
    with ThreadPoolExecutor(4) as threads:
        together = list(
            threads.map(
                lambda lane, prompt: text(list(lane.complete(prompt, sampling=GREEDY))), lanes, PROMPTS
            )
        )

    assert together == alone
    assert len(set(together)) == 4


def test_each_draws_with_rules_of_its_own(engine: Engine, lanes: list[Engine]) -> None:
    hot = Sampling(temperature=1.0, top_k=0, top_p=1.0, repetition_penalty=1.2, seed=5, max_tokens=6)
    wanted = [hot, replace(hot, seed=6), GREEDY, replace(hot, min_p=0.3, presence_penalty=1.0)]
    alone = [text(list(engine.chat(SHIP, sampling=sampling))) for sampling in wanted]
    with ThreadPoolExecutor(4) as threads:
        together = list(
            threads.map(lambda lane, sampling: text(list(lane.chat(SHIP, sampling=sampling))), lanes, wanted)
        )

    assert together == alone
    assert len(set(together)) > 1


@pytest.mark.model
def test_words_and_a_schema_hold_while_others_are_free(starter_safetensors: Path) -> None:
    from qwen_cli.engines.load import load

    # Of its own: closing the lanes of a server closes their engine.
    serving = load(str(starter_safetensors), engine="transformers", context=1024).serving_lanes(2)
    lanes = serving.lanes
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 12}},
        "required": ["name"],
        "additionalProperties": False,
    }
    with ThreadPoolExecutor(1) as threads, contextlib.closing(serving):
        other = threads.submit(lambda: text(list(lanes[1].complete(PROMPTS[0], sampling=GREEDY))))
        said = text(list(lanes[0].chat(SHIP, schema=schema, sampling=replace(GREEDY, max_tokens=30))))

    assert other.result().startswith(" five, six, seven")
    jsonschema.validate(json.loads(said), schema)


def test_what_it_costs_is_counted_and_beginnings_are_shared(lanes: list[Engine]) -> None:
    prompt = "The quick brown fox jumps over the lazy dog. " * 12
    first = usage(list(lanes[0].complete(prompt, sampling=GREEDY)))
    second = usage(list(lanes[1].complete(prompt, sampling=GREEDY)))

    assert first.prompt_tokens == second.prompt_tokens == lanes[0].count_tokens(prompt)
    assert (first.generated_tokens, first.stop_reason) == (8, "length")
    assert first.cached_tokens == 0
    assert second.cached_tokens >= first.prompt_tokens - 64


def test_samples_of_one_prompt(lanes: list[Engine]) -> None:
    done = lanes[0].sample(SHIP, 3, sampling=Sampling(temperature=1.2, seed=1, max_tokens=5))

    assert len(done) == 3
    assert len({sample.text for sample in done}) > 1
    assert all(sample.mean_logprob is not None and sample.mean_logprob < 0 for sample in done)


def test_log_probabilities(lanes: list[Engine], engine: Engine) -> None:
    asked = replace(GREEDY, max_tokens=3, logprobs=2)
    ours = [one for piece in lanes[0].complete(PROMPTS[0], sampling=asked) for one in piece.logprobs]
    alone = [one for piece in engine.complete(PROMPTS[0], sampling=asked) for one in piece.logprobs]

    assert len(ours) == 3
    assert [one.token for one in ours] == [one.token for one in alone]
    for one, other in zip(ours, alone, strict=True):
        assert one.logprob == pytest.approx(other.logprob, abs=1e-3)
        assert [o.token for o in one.others] == [o.token for o in other.others]


def test_a_closed_stream_leaves_the_batch(lanes: list[Engine]) -> None:
    stream = lanes[0].complete(PROMPTS[0], sampling=Sampling(temperature=0, max_tokens=900))
    next(stream)
    stream.close()

    assert not lanes[0]._batch._rows  # type: ignore[attr-defined]
    assert text(list(lanes[0].complete(PROMPTS[0], sampling=GREEDY)))


def test_an_interrupted_stream_ends_without_usage(lanes: list[Engine]) -> None:
    stream = lanes[0].complete(PROMPTS[0], sampling=Sampling(temperature=0, max_tokens=900))
    next(stream)
    lanes[0].interrupt()

    assert all(piece.usage is None for piece in stream)


def test_what_cannot_be_is_refused_and_the_others_go_on(lanes: list[Engine]) -> None:
    with pytest.raises(ContextFull):
        list(lanes[0].complete("word " * 2000, sampling=GREEDY))
    with pytest.raises(UsageError):
        list(lanes[0].chat(SHIP, schema={"type": "nonsense"}, sampling=GREEDY))

    assert usage(list(lanes[1].complete(PROMPTS[0], sampling=GREEDY))).generated_tokens == 8
