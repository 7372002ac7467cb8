"""Models that answer nobody say so, and what they are for, before anything is fetched."""

from __future__ import annotations

import pytest

from qwen_cli.errors import UsageError
from qwen_cli.models.catalog import answers, lookup


@pytest.mark.parametrize(
    ("reference", "says"),
    [
        ("qwen3-embedding:0.6b", r"an embedding model: .* `qwen serve` answers /v1/embeddings"),
        ("Qwen/Qwen3-Embedding-8B-GGUF:Q8_0", "qwen3-embedding:8b is an embedding model"),
        ("hf.co/someone/Qwen3-Embedding-4B-GGUF", "qwen3-embedding:4b is an embedding model"),
        ("/models/Qwen3-Embedding-0.6B-Q8_0.gguf", "qwen3-embedding:0.6b is an embedding model"),
        ("qwen3-vl-embedding:2b", "a server of vLLM runs it"),
        ("qwen3-reranker:4b", "a reranker: it scores texts"),
        ("qwen3-vl-reranker:8b", "a reranker: it scores texts"),
        ("Qwen3-ASR-1.7B", "a speech recogniser.*`qwen listen FILE`"),
        ("Qwen/Qwen3-ASR-0.6B-hf", "a speech recogniser"),
        ("qwen3-omni:30b-a3b-thinking", "a model for speech"),
        ("qwen2.5-math-prm:7b", "a reward model: .* `qwen math` takes it"),
    ],
)
def test_a_model_that_answers_nobody_is_refused_in_one_line(reference: str, says: str) -> None:
    with pytest.raises(UsageError, match=rf"(?i){says}.*such as qwen3\.5:4b") as caught:
        answers.check(reference)
    assert caught.value.exit_code == 2 and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "reference",
    [
        "qwen3.8:27b",
        "qvq:72b",
        "qwen3guard-gen:0.6b",
        "qwen2.5-omni:7b",
        "qwen2-audio:7b",
        "qwen3:8b-base",
        "starter",
        "mine",
    ],
)
def test_the_others_are_let_through(reference: str) -> None:
    answers.check(reference)


def test_speech_is_written_down_by_who_asks_for_it() -> None:
    answers.check("qwen3-asr:0.6b", hears=True)
    answers.check("qwen2-audio:7b", hears=True)
    with pytest.raises(UsageError, match="/v1/embeddings"):
        answers.check("qwen3-embedding:0.6b", hears=True)


def test_vectors_are_given_for_texts_alone() -> None:
    answers.check("qwen3-embedding:0.6b", vectors=True)
    assert answers.gives_vectors("hf.co/Qwen/Qwen3-Embedding-8B-GGUF:Q8_0")
    assert answers.has_vectors_as_gguf("qwen3-embedding:0.6b")
    assert not answers.has_vectors_as_gguf("qwen3-reranker:0.6b")
    for silent in ("qwen3-vl-embedding:2b", "qwen3-vl-reranker:2b"):
        assert not answers.gives_vectors(silent)
        with pytest.raises(UsageError, match=r"(?i)a server of vLLM"):
            answers.check(silent, vectors=True)
    assert not answers.gives_vectors("qwen3.5:9b")


def test_rerankers_are_served_and_answer_nobody() -> None:
    answers.check("qwen3-reranker:0.6b", vectors=True)
    with pytest.raises(UsageError, match="/v1/rerank"):
        answers.check("qwen3-reranker:0.6b")


def test_every_model_either_answers_or_is_known_to_be_silent() -> None:
    spoken = {"chat", "code", "math", "guard", "base"}
    for model in lookup.MODELS:
        assert bool(spoken & set(model.tasks)) != bool(answers.silent_task(model)), model.name
