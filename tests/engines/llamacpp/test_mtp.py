"""The block that only drafts (multi-token prediction): sooner, and never another answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_gguf
from PIL import Image

from qwen_cli.engines.core.base import Engine, Sampling, Usage
from qwen_cli.engines.core.draft import MTP_TOKENS, Draft
from qwen_cli.engines.core.options import Hooks, LoadOptions
from qwen_cli.engines.llamacpp import load
from qwen_cli.engines.llamacpp.backend import LlamaCppBackEnd
from qwen_cli.engines.llamacpp.engine import LlamaCpp
from qwen_cli.engines.transformers.backend import TransformersBackEnd
from qwen_cli.errors import UsageError
from qwen_cli.models.formats import gguf_export
from qwen_cli.models.hub.resolve import Weights
from qwen_cli.models.planning import describe

GREEDY = Sampling(temperature=0.0, max_tokens=30)
HELLO = [{"role": "user", "content": "Hello there, how are you?"}]
PICTURE = Image.fromarray(np.random.default_rng(3).integers(0, 255, (128, 96, 3), np.uint8))
SHOWN = [{"role": "user", "content": [{"type": "image", "image": PICTURE}, {"type": "text", "text": "?"}]}]


DRAFTING = ("Qwen3_5 agrees", "Qwen3_5 random", "Qwen3_5Moe agrees", "Qwen3Next agrees")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small models whose block agrees with them most of the time, or guesses wildly."""
    place = tmp_path_factory.mktemp("mtp")
    made = {
        f"{name} {draft}": small_gguf.make(name, place / name / draft, draft=draft)
        for name, draft in map(str.split, DRAFTING)
    }
    return made | {"none": small_gguf.make("Qwen3_5", place / "none", draft=None)}


def loaded(file: Path, draft: Draft, *, seeing: bool = False) -> LlamaCpp:
    eyes = gguf_export.projector_path(file, "f32") if seeing else None
    return LlamaCpp(Weights("small", file, "gguf", None, eyes), context=1024, parallel=2, draft=draft)


def told(engine: Engine, messages: list[dict[str, Any]], sampling: Sampling = GREEDY) -> tuple[str, Usage]:
    pieces = list(engine.chat(messages, sampling=sampling))
    assert pieces[-1].usage
    return "".join(piece.text for piece in pieces), pieces[-1].usage


@pytest.mark.parametrize(
    "name", ["Qwen3_5 agrees", "Qwen3_5 random", "Qwen3_5Moe agrees", "Qwen3Next agrees"]
)
def test_the_answer_is_the_one_without(name: str, models: dict[str, Path]) -> None:
    with loaded(models[name], None) as engine:
        expected, usage = told(engine, HELLO)
        assert usage.drafted_tokens == 0
    with loaded(models[name], "mtp") as engine:
        answer, usage = told(engine, HELLO)
        assert answer == expected
        assert usage.drafted_tokens > 0
        if name.endswith("agrees"):
            assert usage.accepted_tokens > usage.drafted_tokens / 3


def test_a_conversation_with_pictures_in_it(models: dict[str, Path]) -> None:
    """Drafts go on behind a picture, and a follow-up computes what is new."""
    answers = []
    for draft in (None, "auto"):
        with loaded(models["Qwen3_5 agrees"], draft, seeing=True) as engine:
            first, usage = told(engine, SHOWN)
            assert bool(usage.accepted_tokens) == bool(draft)
            more = [*SHOWN, {"role": "assistant", "content": first}, {"role": "user", "content": "And now?"}]
            second, usage = told(engine, more)
            assert usage.cached_tokens > usage.prompt_tokens / 2
            answers.append((first, second, told(engine, HELLO)[0]))
    assert answers[0] == answers[1]


def test_the_same_seed_says_the_same(models: dict[str, Path]) -> None:
    drawn = Sampling(temperature=0.8, seed=4, max_tokens=30)
    with loaded(models["Qwen3_5 agrees"], "mtp") as engine:
        answer, usage = told(engine, HELLO, drawn)
        assert usage.drafted_tokens > 0
        assert told(engine, HELLO, drawn)[0] == answer


def test_several_samples_are_drafted_together(models: dict[str, Path]) -> None:
    with loaded(models["Qwen3_5 agrees"], "mtp") as engine:
        answers = list(engine.sample(HELLO, 3, sampling=GREEDY))
    assert len(answers) == 3
    assert len({answer.text for answer in answers}) == 1


def kinds(file: Path, draft: Draft, eyes: Path | None = None) -> tuple[list[str], int]:
    """The names of what drafts, and how many tokens at a time."""
    weights = Weights("small", file, "gguf", None, eyes)
    params = load.parameters(
        weights, context=256, adapters=(), threads=1, parallel=1, slots=file.parent, key="k", draft=draft
    )
    return [kind.name.rpartition("TYPE_")[2] for kind in params.speculative.types], load.drafted(params)


def test_the_block_drafts_wherever_there_is_one(models: dict[str, Path]) -> None:
    has, none = models["Qwen3_5 agrees"], models["none"]
    eyes = gguf_export.projector_path(has, "f32")
    assert kinds(has, "auto") == kinds(has, "mtp") == kinds(has, "auto", eyes) == (["DRAFT_MTP"], MTP_TOKENS)
    assert kinds(none, "auto")[0] == kinds(has, "ngram")[0] == ["NGRAM_SIMPLE"]
    assert kinds(none, "auto", eyes)[0] == kinds(has, None)[0] == ["NONE"]


@pytest.mark.parametrize("back_end", [LlamaCppBackEnd(), TransformersBackEnd()])
def test_without_a_block_it_is_refused_before_the_load(back_end: Any, models: dict[str, Path]) -> None:
    file = models["none"]
    gguf = Weights("small", file, "gguf", None)
    folder = Weights("small", file.parent / "model", "safetensors", None)
    weights, why = (
        (gguf, "small has no block that drafts")
        if back_end.name == "llamacpp"
        else (folder, "transformers does not run the block that drafts")
    )
    with pytest.raises(UsageError, match=f"`draft=mtp`: {why}"):
        back_end.load(weights, LoadOptions(str(file), draft="mtp"), Hooks())


def test_the_plan_counts_its_keys_and_values(models: dict[str, Path]) -> None:
    """A layer of full attention more, which keeps every token: 2 × 2 heads × 32 values of 2 bytes."""
    caches = {
        name: describe.of_weights(Weights("small", models[name], "gguf", None)).counted.cache
        for name in ("Qwen3_5 agrees", "none")
    }
    kept = {name: cache.bytes_at(1000, llamacpp=True) for name, cache in caches.items()}
    assert kept["Qwen3_5 agrees"] - kept["none"] == 1000 * 2 * 2 * 32 * 2
