"""Models that hear: the tokens of the scripts on their model cards, on small random models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hearing
import numpy as np
import pytest
import sounds

from qwen_cli.engines.core.base import Engine, Sampling
from qwen_cli.engines.load import load
from qwen_cli.errors import ContextFull, UsageError

GREEDY = Sampling(temperature=0, max_tokens=12)


def said(stream: Any) -> str:
    return "".join(piece.text for piece in stream)


def heard(*samples: Any, question: str = "what is it?") -> list[dict[str, Any]]:
    parts = [{"type": "audio", "audio": one} for one in samples]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": question}]}]


@pytest.fixture(scope="module")
def recogniser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hearing.recogniser(tmp_path_factory.mktemp("asr"))


@pytest.fixture(scope="module")
def listener(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hearing.listener(tmp_path_factory.mktemp("audio"))


@pytest.fixture(scope="module")
def asr(recogniser: Path) -> Iterator[Engine]:
    with load(str(recogniser), engine="transformers", dtype="fp32") as engine:
        yield engine


@pytest.fixture(scope="module")
def chatty(listener: Path) -> Iterator[Engine]:
    with load(str(listener), engine="transformers", dtype="fp32") as engine:
        yield engine


def generated(folder: Path, inputs: Any) -> str:
    import torch
    from transformers import AutoModelForMultimodalLM, AutoTokenizer

    model = AutoModelForMultimodalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        ids = model.generate(**inputs, do_sample=False, max_new_tokens=12)
    return AutoTokenizer.from_pretrained(folder).decode(ids[0, inputs["input_ids"].shape[1] :])


@pytest.mark.parametrize(
    ("seconds", "language", "context"),
    [(2.0, None, ""), (9.3, "German", ""), (0.3, None, "Qwen, Tongyi")],
)
def test_it_writes_what_the_card_writes(
    asr: Engine, recogniser: Path, seconds: float, language: str | None, context: str
) -> None:
    from transformers import AutoProcessor

    samples = sounds.noise(seconds, seed=int(seconds))
    processor = AutoProcessor.from_pretrained(recogniser)
    inputs = processor.apply_transcription_request(samples, language=language, prompt=context or None)
    expected = generated(recogniser, inputs)

    found = said(
        asr.transcribe(samples, language=language, context=context, sampling=Sampling(max_tokens=12))
    )
    assert found == expected
    assert expected


def test_different_sounds_are_told_apart(asr: Engine) -> None:
    texts = {said(asr.transcribe(sounds.noise(1.0, seed), sampling=GREEDY)) for seed in range(4)}

    assert len(texts) > 1


def test_a_sound_is_not_computed_twice(asr: Engine) -> None:
    samples = sounds.noise(4.0)
    first = list(asr.transcribe(samples, sampling=GREEDY))[-1].usage
    again = list(asr.transcribe(samples, sampling=GREEDY))[-1].usage
    other = list(asr.transcribe(sounds.noise(4.0, 2), sampling=GREEDY))[-1].usage

    assert first and again and other
    assert again.cached_tokens == again.prompt_tokens - 1
    assert other.cached_tokens < 40 < other.prompt_tokens


def test_nothing_of_a_context_is_a_mark(asr: Engine) -> None:
    def tokens(context: str) -> int:
        usage = list(asr.transcribe(sounds.noise(1.0), context=context, sampling=GREEDY))[-1].usage
        assert usage
        return usage.prompt_tokens

    for mark in ("<|im_end|>", "<|audio_pad|>", "<asr_text>"):  # letter by letter, and no place for a sound
        assert tokens(mark) - tokens("") >= len(mark) - 2


def test_a_sound_that_has_no_room(asr: Engine) -> None:
    with pytest.raises(ContextFull):
        said(asr.transcribe(np.zeros(16_000 * 600, np.float32), sampling=GREEDY))


def test_hardly_any_sound_is_one(asr: Engine) -> None:
    assert said(asr.transcribe(np.zeros(1, np.float32), sampling=GREEDY))


@pytest.mark.parametrize("lengths", [(2.0,), (1.0, 7.5), (30.0,)])
def test_it_answers_what_the_card_answers(chatty: Engine, listener: Path, lengths: Any) -> None:
    from transformers import AutoProcessor

    samples = [sounds.noise(seconds, seed) for seed, seconds in enumerate(lengths)]
    processor = AutoProcessor.from_pretrained(listener)
    parts = [{"type": "audio", "audio_url": "x"} for _ in samples]
    turns = [{"role": "user", "content": [*parts, {"type": "text", "text": "what is it?"}]}]
    text = processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    inputs = processor(text=text, audio=samples, sampling_rate=16_000, return_tensors="pt")
    expected = generated(listener, inputs)

    assert said(chatty.chat(heard(*samples), sampling=GREEDY)) == expected
    assert chatty.count_tokens(heard(*samples)) == inputs["input_ids"].shape[1]


def test_a_conversation_about_sounds(chatty: Engine) -> None:
    turns = heard(sounds.noise(2.0))
    first = list(chatty.chat(turns, sampling=GREEDY))
    turns += [{"role": "assistant", "content": "a"}, *heard(sounds.noise(1.0, 5), question="and this?")]
    second = list(chatty.chat(turns, sampling=GREEDY))

    assert first[-1].usage and second[-1].usage
    assert second[-1].usage.cached_tokens >= first[-1].usage.prompt_tokens - 5
    answers = chatty.sample(turns, 2, sampling=GREEDY)
    assert {one.text for one in answers} == {"".join(piece.text for piece in second)}


def test_what_they_are(asr: Engine, chatty: Engine) -> None:
    assert asr.capabilities.audio and asr.capabilities.transcribes and not asr.capabilities.vision
    assert asr.capabilities.audio_seconds is None
    assert chatty.capabilities.audio and not chatty.capabilities.transcribes
    assert chatty.capabilities.audio_seconds == 30


def test_what_they_cannot_do(asr: Engine, chatty: Engine) -> None:
    with pytest.raises(UsageError, match=r"hears 30 seconds at once, the sound has 30\.5"):
        said(chatty.chat(heard(sounds.noise(30.5)), sampling=GREEDY))
    with pytest.raises(UsageError, match="no speech recogniser"):
        said(chatty.transcribe(sounds.noise(1.0)))
    picture = [{"role": "user", "content": [{"type": "image", "image": None}]}]
    with pytest.raises(UsageError, match="is shown nothing here"):
        said(chatty.chat(picture, sampling=GREEDY))


def test_several_requests_wait_for_each_other(asr: Engine) -> None:
    """Batches are of text alone: one lane, and the same answer."""
    samples = sounds.noise(2.0)
    expected = said(asr.transcribe(samples, sampling=GREEDY))
    serving = asr.serving_lanes(4)

    assert len(serving.lanes) == 1
    assert said(serving.lanes[0].transcribe(samples, sampling=GREEDY)) == expected


@pytest.mark.parametrize("generation", ["2_5", "3"])
def test_the_thinker_of_omni_answers_what_the_card_answers(tmp_path: Path, generation: str) -> None:
    import torch
    import transformers
    from transformers import AutoProcessor

    folder = hearing.omni(tmp_path / "omni", generation)
    samples = [sounds.noise(2.0), sounds.noise(3.3, 4)]
    processor = AutoProcessor.from_pretrained(folder)
    parts = [{"type": "audio", "audio": "x"} for _ in samples]
    turns = [{"role": "user", "content": [*parts, {"type": "text", "text": "what is it?"}]}]
    text = processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    inputs = processor(text=text, audio=samples, sampling_rate=16_000, return_tensors="pt", padding=True)
    kind = "Qwen2_5OmniThinker" if generation == "2_5" else "Qwen3OmniMoeThinker"
    thinker = getattr(transformers, f"{kind}ForConditionalGeneration")
    model = thinker.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        ids = model.generate(**inputs, do_sample=False, max_new_tokens=12)
    expected = processor.tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :])

    with load(str(folder), engine="transformers", dtype="fp32", context=1024) as engine:
        assert engine.capabilities.audio and not engine.capabilities.vision
        assert said(engine.chat(heard(*samples), sampling=GREEDY)) == expected


def test_the_thinker_is_found_in_a_whole_omni(tmp_path: Path) -> None:
    alone = hearing.omni(tmp_path / "alone", "2_5")
    whole = hearing.omni(tmp_path / "whole", "2_5", published=True)
    answers = []
    for folder in (alone, whole):
        with load(str(folder), engine="transformers", dtype="fp32", context=1024) as engine:
            answers.append(said(engine.chat(heard(sounds.noise(2.0)), sampling=GREEDY)))

    assert answers[0] == answers[1]
