"""Presence and frequency penalties count what was generated, the repetition penalty the prompt too: on every
engine that computes here, token for token.

Small models of random weights, the same numbers in both files. They do not repeat themselves, so penalties
below their neutral value, which reward repetition, are tried beside the usual ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import exact
import pytest
import small_models
from hypothesis import given
from hypothesis import strategies as st

from qwen_cli.engines.core.base import Engine, Sampling
from qwen_cli.engines.llamacpp import penalties
from qwen_cli.engines.llamacpp.engine import LlamaCpp
from qwen_cli.engines.llamacpp.reader import Asked
from qwen_cli.engines.parsing.answer import parts
from qwen_cli.engines.transformers.engine import Transformers
from qwen_cli.models.formats import gguf_export
from qwen_cli.models.hub.resolve import Weights
from tests.engines.conftest import weights

ASKED = [{"role": "user", "content": "Name the planets of the solar system, the planets of the system."}]
COUNTING = "one, two, three, four, one, two, three, four, one,"
GREEDY = Sampling(temperature=0.0, max_tokens=24)
PENALTIES = {
    "presence": Sampling(presence_penalty=1.5),
    "presence rewarded": Sampling(presence_penalty=-2.0),
    "frequency": Sampling(frequency_penalty=0.7),
    "frequency rewarded": Sampling(frequency_penalty=-2.0),
    "both": Sampling(presence_penalty=-1.25, frequency_penalty=0.2),
    "repetition rewarded": Sampling(repetition_penalty=0.7),
    "all": Sampling(repetition_penalty=0.8, presence_penalty=1.125, frequency_penalty=0.05),
    "all rewarded": Sampling(repetition_penalty=0.85, presence_penalty=-1.0, frequency_penalty=-0.1),
}


# Weights with which no two tokens of these answers are closer than 0.008.
WIDTHS = {"Qwen2": 268, "Qwen3": 212}


@pytest.fixture(scope="module", params=WIDTHS)
def pair(
    request: pytest.FixtureRequest, starter_safetensors: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Transformers, LlamaCpp]]:
    place = tmp_path_factory.mktemp("pair")
    width = WIDTHS[request.param]
    folder = small_models.make(request.param, place / "model", starter_safetensors, intermediate_size=width)
    file = gguf_export.to_gguf(folder, place / "model.gguf", quant="f32")
    with exact.attention():
        other = LlamaCpp(Weights("small", file, "gguf", None), context=512, parallel=4)
    with other, Transformers(Weights("small", folder, "safetensors", None), dtype="fp32", context=512) as one:
        yield one, other


def text(engine: Engine, prompt: str | list[dict[str, str]], sampling: Sampling) -> str:
    pieces = (
        engine.complete(prompt, sampling=sampling)
        if isinstance(prompt, str)
        else engine.chat(prompt, sampling=sampling)
    )
    return "".join(piece.text for piece in pieces)


@pytest.mark.parametrize("prompt", [ASKED, COUNTING], ids=["chat", "raw"])
@pytest.mark.parametrize("name", PENALTIES)
def test_both_engines_mean_the_same(
    pair: tuple[Transformers, LlamaCpp], name: str, prompt: str | list[dict[str, str]]
) -> None:
    one, other = pair
    sampling = PENALTIES[name].over(GREEDY)
    assert text(other, prompt, sampling) == text(one, prompt, sampling)


@pytest.fixture(scope="module")
def thinkers(
    starter_safetensors: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Transformers, LlamaCpp]]:
    folder = tmp_path_factory.mktemp("thinkers")
    file = small_models.make_endless(folder, starter_safetensors)
    opens = small_models.ALWAYS
    with (
        Transformers(weights(folder / "model"), context=512, dtype="float32", chat_template=opens) as one,
        LlamaCpp(weights(file), context=512, chat_template=opens) as other,
    ):
        yield one, other


def test_what_was_thought_counts_in_the_answer(thinkers: tuple[Transformers, LlamaCpp]) -> None:
    """llama.cpp is asked for the answer anew where it ended the thinking."""
    sampling = PENALTIES["frequency rewarded"].over(replace(GREEDY, max_tokens=50))
    for engine in thinkers:
        answer, thought = parts(list(engine.chat(ASKED, thinking=8, sampling=sampling)))
        assert thought.split().count("the") > 1  # in the words that end it
        assert set(answer.split()) == {"the"}


def test_what_is_rewarded_shows(pair: tuple[Transformers, LlamaCpp]) -> None:
    """The comparison above would hold of penalties that do nothing."""
    for engine in pair:
        plain = text(engine, ASKED, GREEDY)
        for name in ("presence rewarded", "frequency rewarded", "repetition rewarded"):
            assert text(engine, ASKED, PENALTIES[name].over(GREEDY)) != plain


def test_through_drafts_too(llamacpp: LlamaCpp, starter_gguf: Path) -> None:
    """What is copied from the prompt is guessed ahead, for which llama.cpp copies its samplers."""
    line = "The quick brown fox jumps over the lazy dog while the old grey cat sleeps near the warm fire.\n"
    sampling = Sampling(temperature=0.0, presence_penalty=0.4, frequency_penalty=0.05, max_tokens=36)
    pieces = list(llamacpp.complete(line * 4, sampling=sampling))
    with LlamaCpp(weights(starter_gguf), context=512, parallel=1, draft=None) as alone:
        expected = text(alone, line * 4, sampling)
    assert pieces[-1].usage and pieces[-1].usage.accepted_tokens > 0
    assert "".join(piece.text for piece in pieces) == expected


def test_each_request_has_its_own(pair: tuple[Transformers, LlamaCpp]) -> None:
    """Several at once, with and without, and the samples of one prompt."""
    one, other = pair
    settings = [sampling.over(GREEDY) for sampling in (*PENALTIES.values(), Sampling())]
    expected = [text(one, ASKED, sampling) for sampling in settings]
    lanes = other.lanes(3)
    told: list[str] = []
    with ThreadPoolExecutor(3) as threads:
        for at in range(0, len(settings), 3):
            some = settings[at : at + 3]
            told += threads.map(lambda lane, sampling: text(lane, ASKED, sampling), lanes, some)
    assert told == expected
    rewarded = PENALTIES["presence rewarded"].over(GREEDY)
    assert {one.text for one in other.sample(ASKED, 6, sampling=rewarded)} == {expected[1]}


@pytest.mark.model
@pytest.mark.parametrize("name", ["llamacpp", "transformers_engine", "warm"])
@pytest.mark.parametrize(
    "prompt", [COUNTING, "the the the the the", "def f(x):\n    return x\n\ndef f(x):\n"]
)
def test_the_first_token_is_not_punished(request: pytest.FixtureRequest, name: str, prompt: str) -> None:
    """Nothing was generated yet, whatever the prompt says."""
    engine = request.getfixturevalue(name)
    first = replace(GREEDY, max_tokens=1)
    for penalty in (Sampling(presence_penalty=2.0), Sampling(frequency_penalty=2.0), PENALTIES["both"]):
        assert text(engine, prompt, penalty.over(first)) == text(engine, prompt, first)


@pytest.mark.model
@pytest.mark.parametrize("name", ["llamacpp", "transformers_engine", "warm"])
def test_what_was_generated_is_punished_also_where_the_prompt_has_it(
    request: pytest.FixtureRequest, name: str
) -> None:
    engine = request.getfixturevalue(name)
    prompt = "ha ha ha ha ha ha ha ha ha ha"
    said = text(engine, prompt, replace(GREEDY, max_tokens=8))
    assert said == " ha" * 8
    assert text(engine, prompt, Sampling(frequency_penalty=2.0).over(GREEDY)).count(" ha") < 8
    assert text(engine, prompt, Sampling(presence_penalty=2.0).over(GREEDY)) != said


def test_typical_sampling_itself_still_works(llamacpp: LlamaCpp) -> None:
    """Whoever asks llama.cpp for it gets it, after its function was replaced."""
    text(llamacpp, COUNTING, Sampling(presence_penalty=1.0).over(GREEDY))
    request = llamacpp._completion_request(COUNTING, Sampling(temperature=1.0, max_tokens=3, seed=1))
    told = llamacpp._stream(Asked("handle_completions", {**request, "typical_p": 0.01}))
    assert "".join(piece.text for piece in told) == " two, three"


@given(st.integers(-2000, 2000), st.integers(-2000, 2000))
def test_a_request_hands_over_both(presence: int, frequency: int) -> None:
    import struct

    number = penalties._number(presence / 1000, frequency / 1000)
    (kept,) = struct.unpack("f", struct.pack("f", number))  # as llama.cpp keeps it
    assert kept < 0
    assert penalties._penalties(kept) == pytest.approx((presence / 1000, frequency / 1000))


class TestWithoutFunctions:
    """A library that lends none of its functions."""

    @pytest.fixture(autouse=True)
    def lends_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(penalties._hook, "_works", False)

    def test_llamacpps_own_look_at_little(self) -> None:
        assert penalties.fields(None, 1.5, None, 4096) == {
            "repeat_last_n": 64,
            "presence_penalty": 1.5,
            "frequency_penalty": 0.0,
        }

    def test_beside_a_repetition_penalty_at_all(self) -> None:
        said = penalties.fields(1.1, 0.0, 0.5, 4096)
        assert (said["repeat_last_n"], said["repeat_penalty"], said["frequency_penalty"]) == (4096, 1.1, 0.5)
