"""Dual chunk attention against its definition, in float64 and one query at a time."""

from __future__ import annotations

import copy
import json
import math
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import small_models
import torch
import transformers
from transformers import AttentionInterface, AttentionMaskInterface

from qwen_cli.engines.core.base import Sampling
from qwen_cli.engines.transformers import dual_chunk
from qwen_cli.engines.transformers.engine import Transformers
from qwen_cli.engines.transformers.prefix_cache import PrefixCache
from qwen_cli.errors import ModelError, UsageError
from qwen_cli.models.formats import architecture
from qwen_cli.models.formats.dual_chunk import Chunks
from qwen_cli.models.hub.resolve import Weights

CHUNKS = Chunks(48, 8, 10_000)
SHARP = Chunks(48, 8, 64)  # sharpened from 64 tokens on
THETA = 10_000.0
FIELDS = {
    "num_hidden_layers": 2,
    "vocab_size": 97,
    "max_position_embeddings": 48,
    "pad_token_id": None,
    "eos_token_id": None,
}
LENGTHS = (1, 2, 39, 40, 41, 48, 49, 50, 80, 81, 88, 89, 119, 160, 171, 257, 400)
TEXT = torch.randint(0, 97, (400,), generator=torch.Generator().manual_seed(1)).tolist()


def build(architecture: str, **more: Any) -> Any:
    torch.manual_seed(0)
    config = getattr(transformers, f"{architecture}Config")(
        **small_models.FIELDS[architecture] | FIELDS | more
    )
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for name, weights in model.named_parameters():  # as they come, attention is nearly uniform
            if "q_proj" in name or "k_proj" in name:
                weights.mul_(4)
    return model


def turned(vectors: torch.Tensor, positions: Sequence[float]) -> torch.Tensor:
    """Rotate vectors (heads × tokens × size) by positions, as the library's Llama-like models do."""
    half = vectors.shape[-1] // 2
    frequencies = THETA ** (-torch.arange(half, dtype=torch.float64) / half)
    angles = torch.tensor(positions, dtype=torch.float64)[:, None] * frequencies
    left, right = vectors[..., :half], vectors[..., half:]
    return torch.cat(
        (left * angles.cos() - right * angles.sin(), right * angles.cos() + left * angles.sin()), -1
    )


def by_definition(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, chunks: Chunks
) -> torch.Tensor:
    """Attend with vectors that are not rotated yet (heads × tokens × size), in a loop over the queries."""
    s, c = chunks.size - chunks.local, chunks.size
    groups, tokens = query.shape[0] // key.shape[0], query.shape[1]
    key = turned(key, [j % s for j in range(tokens)]).repeat_interleave(groups, 0)
    value = value.repeat_interleave(groups, 0)
    attended = torch.empty_like(query)
    for i in range(tokens):
        first = i // s * s  # of the chunk of i
        rotated = (i % s, first, i + 1), (min(i % s + s, c), first - s, first), (c, 0, first - s)
        logits = torch.cat(
            [
                torch.einsum("hqd,hkd->hk", turned(query[:, i : i + 1], [p]), key[:, max(0, start) : stop])
                for p, start, stop in reversed(rotated)
                if stop > 0
            ],
            -1,
        )
        logits = logits * query.shape[-1] ** -0.5
        m = max(1.0, 0.1 * math.log((i + 1) / chunks.original) + 1)
        attended[:, i] = torch.einsum("hk,hkd->hd", (logits * m**2).softmax(-1), value[:, : i + 1])
    return attended


def reference(model: Any, ids: Sequence[int], chunks: Chunks) -> torch.Tensor:
    """Return the logits (tokens × vocabulary, float64) of a model that attends by the definition."""

    def attend(module: Any, query: Any, key: Any, value: Any, mask: Any, **given: Any) -> Any:
        return by_definition(query[0], key[0], value[0], chunks).transpose(0, 1)[None], None

    AttentionInterface.register("by_definition", attend)
    AttentionMaskInterface.register("by_definition", lambda *args, **given: None)
    exact = copy.deepcopy(model).double()
    exact.set_attn_implementation("by_definition")
    if hasattr(exact.config, "num_experts"):
        exact.set_experts_implementation("eager")  # the others have no float64
    turn = exact.model.rotary_emb.forward
    exact.model.rotary_emb.forward = lambda states, position_ids: turn(states, position_ids * 0)
    with torch.inference_mode():
        return exact(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0]


class Case:
    """A model of an architecture: plain, with dual chunk attention, and what is right for `TEXT`."""

    def __init__(self, architecture: str) -> None:
        self.plain = build(architecture)
        self.model = copy.deepcopy(self.plain)
        dual_chunk.attach(self.model, CHUNKS)
        self.right = reference(self.plain, TEXT[:257], CHUNKS)


@pytest.fixture(scope="module", params=["Qwen2", "Qwen3", "Qwen3Moe"])
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield Case(request.param)
    torch.set_num_threads(threads)


def logits(model: Any, ids: Sequence[int]) -> torch.Tensor:
    with torch.inference_mode():
        return model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0]


def close(found: torch.Tensor, right: torch.Tensor) -> None:
    assert (found.double() - right).abs().max() < 1e-5


class TestDefinition:
    def test_every_length_is_right(self, case: Case) -> None:
        for length in LENGTHS:
            if length <= 257:
                close(logits(case.model, TEXT[:length]), case.right[:length])

    def test_it_differs_from_ordinary_attention_beyond_a_chunk(self, case: Case) -> None:
        assert (logits(case.plain, TEXT[:257]) - case.right)[100:].abs().max() > 1e-2

    @pytest.mark.parametrize("length", [1, 40, 41, 48, 49])
    def test_within_a_chunk_and_a_token_it_is_ordinary_attention(self, case: Case, length: int) -> None:
        close(logits(case.model, TEXT[:length]), logits(case.plain, TEXT[:length]))

    def test_a_longer_text_is_right_and_sharpened(self) -> None:
        plain = build("Qwen3")
        model = copy.deepcopy(plain)
        dual_chunk.attach(model, SHARP)
        close(logits(model, TEXT), reference(plain, TEXT, SHARP))

    def test_bfloat16_is_as_near_as_its_eight_bits(self, case: Case) -> None:
        half = copy.deepcopy(case.plain).bfloat16()
        dual_chunk.attach(half, CHUNKS)
        plain = copy.deepcopy(case.plain).bfloat16()
        wrong = (logits(half, TEXT[:257]).double() - case.right).abs().mean()
        usual = (logits(plain, TEXT[:40]).double() - case.right[:40]).abs().mean()
        assert wrong < 3 * usual


def same_layers(found: PrefixCache, right: PrefixCache) -> None:
    """Compare keys and values."""
    assert found.ids == right.ids
    for one, other in zip(found.layers, right.layers, strict=True):
        torch.testing.assert_close(one.keys, other.keys, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(one.values, other.values, atol=1e-5, rtol=1e-5)


@pytest.fixture(scope="module")
def whole(case: Case) -> PrefixCache:
    cache = PrefixCache(case.model)
    close(cache.prefill(TEXT[:171])[0], case.right[170:171])
    return cache


class TestCaches:
    @pytest.mark.parametrize("blocks", [[171], [1, 38, 3, 9, 41, 79], [48, 1, 39, 83]])
    def test_odd_blocks_come_to_one_prefill(self, case: Case, whole: PrefixCache, blocks: list[int]) -> None:
        cache, start = PrefixCache(case.model), 0
        for block in blocks:
            found = cache.step(TEXT[start : start + block], rows=block)
            close(found, case.right[start : start + block])
            start += block
        same_layers(cache, whole)

    def test_token_by_token(self, case: Case, whole: PrefixCache) -> None:
        cache = PrefixCache(case.model)
        for i in range(129):
            close(cache.step([TEXT[i]]), case.right[i : i + 1])
        cache.prefill(TEXT[:171])
        same_layers(cache, whole)

    @pytest.mark.parametrize("length", [161, 120, 81, 40, 3])
    def test_cropped(self, case: Case, whole: PrefixCache, length: int) -> None:
        cache = PrefixCache(case.model)
        cache.prefill(TEXT[:171])
        cache.crop(length)
        close(cache.prefill(TEXT[:171])[0], case.right[170:171])
        same_layers(cache, whole)

    def test_reading_is_told(self, case: Case) -> None:
        cache = PrefixCache(case.model)
        cache.prefill(TEXT[:20])
        cache._chunk = 40
        told: list[tuple[int, int, int]] = []
        cache.reading = lambda *progress: told.append(progress)
        cache.prefill(TEXT[:100])
        assert told == [(20, done, 100) for done in (20, 60, 100)]

    def test_saved_and_resumed(self, case: Case, whole: PrefixCache, tmp_path: Path) -> None:
        assert whole.save(tmp_path / "text.kv", "me")
        cache = PrefixCache(case.model)
        assert cache.load(tmp_path / "text.kv", "me", 1_000)
        logits, cached = cache.prefill(TEXT[:257])
        assert cached == 171
        close(logits, case.right[256:257])

    def test_samples_that_go_on_together(self, case: Case) -> None:
        cache = PrefixCache(case.model)
        cache.prefill(TEXT[:79])
        samples = cache.branch(3)
        for i in range(79, 83):
            found = samples.step([TEXT[i], 5, TEXT[i]])
            close(found[[0, 2]], case.right[[i, i]])

    @pytest.mark.parametrize("told", [True, False])
    @pytest.mark.parametrize("side", ["before", "behind"])
    def test_rows_of_unequal_length(self, case: Case, told: bool, side: str) -> None:
        lengths = (171, 41, 90, 1)
        rows = torch.zeros(4, 171, dtype=torch.long)
        mask = torch.zeros(4, 171, dtype=torch.long)
        spans = [slice(171 - n, 171) if side == "before" else slice(0, n) for n in lengths]
        for row, span in enumerate(spans):
            rows[row, span], mask[row, span] = torch.tensor(TEXT[: lengths[row]]), 1
        positions = {"position_ids": (mask.cumsum(1) - 1).clamp(min=0)} if told else {}
        with torch.inference_mode():
            out = case.model(input_ids=rows, attention_mask=mask, use_cache=True, **positions)
            if side == "before":  # and on from there, in the cache of the batch
                held = out.get("cache") or out.past_key_values
                more = torch.tensor([[TEXT[n]] for n in lengths])
                longer = torch.cat([mask, torch.ones(4, 1, dtype=torch.long)], 1)
                name = "cache" if "cache" in out else "past_key_values"
                on = case.model(input_ids=more, attention_mask=longer, **{name: held}).logits
                close(on[:, 0], case.right[list(lengths)])
        for row, span in enumerate(spans):
            close(out.logits[row, span], case.right[: lengths[row]])


def test_masks_of_another_kind_are_refused(case: Case) -> None:
    ids = torch.tensor([[1, 2, 3]])
    with pytest.raises(ValueError, match="not within"):
        case.model(input_ids=ids, attention_mask=torch.tensor([[1, 0, 1]]))
    with pytest.raises(ValueError, match="rows × tokens"):
        case.model(input_ids=ids, attention_mask=torch.zeros(1, 1, 3, 3))


class TestKernels:
    """Where torch has no fused attention, and which it has on CUDA."""

    @pytest.mark.parametrize("causal", [False, True])
    def test_products_of_matrices_come_to_the_same(
        self, causal: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        torch.manual_seed(0)
        query, key, value = torch.randn(3, 2, 4, 50, 16)
        right = dual_chunk.fused(query, key, value, 0.3, causal=causal)
        monkeypatch.setattr(dual_chunk, "_SCORES", 2 * 4 * 50 * 7)  # seven queries at once
        for one, other in zip(dual_chunk.plain(query, key, value, 0.3, causal=causal), right, strict=True):
            torch.testing.assert_close(one, other)

    @pytest.mark.parametrize(
        ("device", "flash", "efficient", "kind"),
        [
            ("cpu", True, True, "cpu"),
            ("mps", True, True, "plain"),
            ("cuda", True, True, "flash"),
            ("cuda", False, True, "efficient"),
            ("cuda", False, False, "plain"),
        ],
    )
    def test_which_is_taken(
        self, device: str, flash: bool, efficient: bool, kind: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        there = SimpleNamespace(
            SDPAParams=lambda *given: given,
            can_use_flash_attention=lambda given: flash,
            can_use_efficient_attention=lambda given: efficient,
        )
        monkeypatch.setattr(torch.backends, "cuda", there)
        tensor: Any = SimpleNamespace(device=SimpleNamespace(type=device))
        assert dual_chunk.kernel(tensor, tensor, tensor, causal=True) == kind

    @pytest.mark.parametrize("kind", ["flash", "efficient"])
    def test_torch_takes_what_they_are_called_with(self, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """On `meta` nothing is computed, but the operators look at what they get, and say what they give."""
        query, key, value = torch.empty(3, 1, 2, 40, 64, dtype=torch.bfloat16, device="meta")
        monkeypatch.setattr(dual_chunk, "kernel", lambda *given, causal: kind)
        found, sums = dual_chunk.fused(query[:, :, :33], key, value, 0.125)
        assert (found.shape, sums.shape) == ((1, 2, 33, 64), (1, 2, 33))
        assert sums.dtype == torch.float32


class TestLoading:
    """What is asked for, or said by the model's files, reaches the model; what does not go together is
    refused."""

    @pytest.fixture(scope="class")
    @staticmethod
    def folder(starter_safetensors: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return small_models.make(
            "Qwen3", tmp_path_factory.mktemp("short"), starter_safetensors, max_position_embeddings=64
        )

    @pytest.fixture(scope="class")
    @staticmethod
    def million(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """The same, whose config.json says how it reads longer texts."""
        copied = tmp_path_factory.mktemp("million")
        shutil.copytree(folder, copied, dirs_exist_ok=True)
        config = json.loads((copied / "config.json").read_text())
        config |= {"dual_chunk_attention_config": CHUNKS.as_config(), "max_position_embeddings": 300}
        (copied / "config.json").write_text(json.dumps(config))
        return copied

    @staticmethod
    def loaded(folder: Path, **options: Any) -> Transformers:
        return Transformers(Weights("small", folder, "safetensors", None), dtype="fp32", **options)

    def chunks(self, folder: Path, **options: Any) -> dict[str, int] | None:
        with self.loaded(folder, **options) as engine:
            chunks: dict[str, int] | None = engine._key_settings["dca"]
            return chunks

    def test_asked_for(self, folder: Path) -> None:
        with self.loaded(folder, rope_scaling="dca", context=200) as engine:
            assert engine.capabilities.context == 200
            text = engine.complete("one two three " * 30, sampling=Sampling(0.0, max_tokens=8))
            usage = [piece.usage for piece in text if piece.usage][-1]
            assert usage.prompt_tokens > 64
            assert usage.generated_tokens
            assert len(engine.serving_lanes(4).lanes) == 1  # one after the other
        sizes = {"local_size": 2, "original_max_position_embeddings": 64}
        assert self.chunks(folder, rope_scaling="dca", context=200) == {"chunk_size": 64, **sizes}
        assert self.chunks(folder, rope_scaling="dca", context=200, dca_chunk=32) == {
            "chunk_size": 32,
            **sizes,
            "local_size": 1,
        }
        assert self.chunks(folder, rope_scaling="dca", context=64) is None

    def test_said_by_the_files(self, million: Path) -> None:
        assert self.chunks(million) == CHUNKS.as_config()
        assert self.chunks(million, context=49) == CHUNKS.as_config()
        assert self.chunks(million, context=48) is None
        assert self.chunks(million, context=48, attention="eager") is None
        assert self.chunks(million, rope_scaling="none") is None

    def test_a_saved_cache_is_of_the_same_chunks(self, million: Path, tmp_path: Path) -> None:
        state = tmp_path / "talk.kv"
        with self.loaded(million) as engine:
            list(engine.complete("one two three " * 30, sampling=Sampling(0.0, max_tokens=2)))
            assert engine.save_state(state)
            assert engine.load_state(state)
        for other in ({"rope_scaling": "dca", "dca_chunk": 32}, {"rope_scaling": "yarn", "context": 250}):
            with self.loaded(million, **other) as engine:
                assert not engine.load_state(state)

    @pytest.mark.parametrize("option", [{"attention": "eager"}, {"compiled": True}])
    def test_what_does_not_go_with_it(self, folder: Path, million: Path, option: dict[str, Any]) -> None:
        with pytest.raises(UsageError, match="does not go with dual chunk attention"):
            self.loaded(folder, rope_scaling="dca", context=200, **option)
        with pytest.raises(UsageError, match="context=48"):
            self.loaded(million, **option)

    def test_files_that_are_wrong(self, folder: Path, tmp_path: Path) -> None:
        shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
        config = json.loads((tmp_path / "config.json").read_text())
        for wrong in (
            {"chunk_size": 48, "local_size": 24},
            {"chunk_size": "48", "local_size": 8},
            {"x": 1},
            5,
        ):
            (tmp_path / "config.json").write_text(
                json.dumps({**config, "dual_chunk_attention_config": wrong})
            )
            with pytest.raises(ModelError, match=r"config\.json"):
                architecture.read(tmp_path)

    def test_the_other_config_of_qwen3_2507(self, folder: Path, tmp_path: Path) -> None:
        shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
        chunks = Chunks(64, 8, 64).as_config()
        longer = {"dual_chunk_attention_config": chunks, "max_position_embeddings": 250}
        (tmp_path / "config_1m.json").write_text(json.dumps(longer))
        assert self.chunks(tmp_path) is None
        with self.loaded(tmp_path, rope_scaling="dca") as engine:
            assert engine.capabilities.context == 250
            assert engine._key_settings["dca"] == chunks

    def test_layers_that_slide(self) -> None:
        sliding = build("Qwen2", use_sliding_window=True, sliding_window=8, max_window_layers=1)
        with pytest.raises(UsageError, match="Use `rope_scaling=yarn`"):
            dual_chunk.attach(sliding, CHUNKS)
