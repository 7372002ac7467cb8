"""Safetensors to GGUF: what comes out is what llama.cpp runs, and says what the original says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_models
from gguf import GGMLQuantizationType
from gguf.quants import dequantize

from qwen_cli.engines.core.base import Engine, Sampling
from qwen_cli.engines.llamacpp.engine import LlamaCpp
from qwen_cli.engines.transformers.engine import Transformers
from qwen_cli.errors import ModelError, UsageError
from qwen_cli.models.formats import architecture, gguf_export, gguf_header, gguf_import, gguf_quants
from qwen_cli.models.hub.resolve import Weights


def contents(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    reader = gguf_import._reader(path)
    return {k: f.contents() for k, f in reader.fields.items()}, {t.name: t for t in reader.tensors}


def said(engine: Engine, tokens: int = 12) -> str:
    sampling = Sampling(temperature=0.0, max_tokens=tokens)
    return "".join(piece.text for piece in engine.complete("def total(prices):", sampling=sampling))


@pytest.fixture(scope="module")
def exported(starter_safetensors: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return gguf_export.to_gguf(
        starter_safetensors, tmp_path_factory.mktemp("gguf") / "starter-q4_k_m.gguf", quant="q4_k_m"
    )


def test_the_tokenizer_is_the_one_the_starter_came_with(exported: Path, starter_gguf: Path) -> None:
    ours, theirs = contents(exported)[0], contents(starter_gguf)[0]
    keys = [key for key in theirs if key.startswith(("tokenizer.", "qwen2.", "general.file_type"))]
    assert len(keys) > 15
    assert {key: ours.get(key) for key in keys} == {key: theirs[key] for key in keys}


def test_it_is_as_large_as_the_official_file_of_its_type(exported: Path, starter_gguf: Path) -> None:
    assert exported.stat().st_size == pytest.approx(starter_gguf.stat().st_size, rel=0.001)
    assert gguf_header.FILE_TYPES[contents(exported)[0]["general.file_type"]] == "Q4_K_M"


def test_llamacpp_answers_with_it(exported: Path) -> None:
    with LlamaCpp(Weights("starter", exported, "gguf", None), context=512, parallel=1) as engine:
        question = [{"role": "user", "content": "What is the capital of France? One word."}]
        pieces = engine.chat(question, sampling=Sampling(temperature=0.0, max_tokens=8))
        assert "Paris" in "".join(piece.text for piece in pieces)


@pytest.mark.parametrize("architecture", ["Qwen2", "Qwen3", "Qwen3Moe"])
def test_both_engines_say_the_same(architecture: str, starter_safetensors: Path, tmp_path: Path) -> None:
    folder = small_models.make(architecture, tmp_path / "model", starter_safetensors)
    file = gguf_export.to_gguf(folder, tmp_path / "model.gguf", quant="f32")
    with Transformers(Weights("small", folder, "safetensors", None), dtype="fp32", context=256) as engine:
        expected = said(engine)
    with LlamaCpp(Weights("small", file, "gguf", None), context=256, parallel=1) as engine:
        assert said(engine) == expected


def greedy(engine: Engine) -> list[tuple[str, float]]:
    """Text and log probability of each token of a short answer."""
    question = [{"role": "user", "content": "Name the planets of the solar system in order."}]
    sampling = Sampling(temperature=0.0, repetition_penalty=1.0, max_tokens=12, logprobs=1)
    pieces = engine.chat(question, sampling=sampling)
    return [(entry.token, entry.logprob) for piece in pieces for entry in piece.logprobs or ()]


def test_the_starter_says_the_same_on_both_engines(starter_safetensors: Path, tmp_path: Path) -> None:
    file = gguf_export.to_gguf(starter_safetensors, tmp_path / "starter-f16.gguf", quant="f16")
    with Transformers(
        Weights("starter", starter_safetensors, "safetensors", None), dtype="fp32", context=256, draft=None
    ) as engine:
        expected = greedy(engine)
    with LlamaCpp(Weights("starter", file, "gguf", None), context=256, parallel=1, draft=None) as engine:
        found = greedy(engine)
    file.unlink()
    assert len(expected) == 12
    assert [token for token, _ in found] == [token for token, _ in expected]
    # f16 keeps 11 bits of a weight; llama.cpp's cache and what it multiplies with are rounded to as many.
    assert [value for _, value in found] == pytest.approx([value for _, value in expected], abs=0.05)


def test_recommended_sampling_goes_there_and_back(starter_safetensors: Path, tmp_path: Path) -> None:
    """All of it, penalties too; 0.7 is 0.7 again."""
    folder = small_models.make("Qwen3", tmp_path / "model", starter_safetensors)
    file = folder / "generation_config.json"
    end = json.loads(file.read_text())["eos_token_id"]
    wanted = {"temperature": 0.7, "top_p": 0.8, "top_k": 20, "min_p": 0.05, "repetition_penalty": 1.07}
    wanted["presence_penalty"] = 1.5
    file.write_text(json.dumps({"eos_token_id": end, "do_sample": True, **wanted}))
    made = gguf_export.to_gguf(folder, tmp_path / "model.gguf")
    assert architecture.read(made).sampling == wanted
    back = gguf_import.to_safetensors(made, tmp_path / "back")
    assert architecture.read(back).sampling == wanted
    file.write_text(json.dumps({"eos_token_id": end, "do_sample": False, "temperature": 0.7}))
    greedy = gguf_export.to_gguf(folder, tmp_path / "greedy.gguf")
    assert architecture.read(greedy).sampling == {"temperature": 0.0}


def test_there_and_back_again(starter_safetensors: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    folder = small_models.make("Qwen3", tmp_path / "model", starter_safetensors)
    file = gguf_export.to_gguf(folder, tmp_path / "model.gguf")
    back = gguf_import.to_safetensors(file, tmp_path / "back")
    before, after = load_file(folder / "model.safetensors"), load_file(back / "model.safetensors")
    assert all(bool((after[name] == tensor).all()) for name, tensor in before.items() if name in after)
    assert before.keys() - after.keys() <= {"lm_head.weight"}


@pytest.mark.parametrize("name", [n for n in gguf_quants.RECIPES if n.startswith("q")])
def test_packed_numbers_are_near_what_they_were(name: str) -> None:
    rows = np.random.default_rng(1).normal(size=(4, 512)).astype(np.float32)
    kind = gguf_quants.kind(gguf_quants.recipe(name), "blk.0.attn_q.weight", rows.shape, 24, tied=False)
    packed = np.frombuffer(gguf_quants.pack(rows, kind), np.uint8).reshape(4, -1)
    error = float(np.sqrt(((dequantize(packed, GGMLQuantizationType[kind]) - rows) ** 2).mean()))
    bits = gguf_quants.nbytes(kind, rows.shape) * 8 / rows.size
    assert error < 2.0 ** (1.5 - bits), f"{kind}, {bits:.2f} bits a weight"


class TestRefused:
    @pytest.fixture
    def folder(self, starter_safetensors: Path, tmp_path: Path) -> Path:
        return small_models.make("Qwen2", tmp_path / "model", starter_safetensors)

    def test_a_type_that_is_not_written(self, folder: Path, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"cannot write the quantization 'iq2_xs'"):
            gguf_export.to_gguf(folder, tmp_path / "m.gguf", quant="iq2_xs")

    def test_a_file_that_is_there(self, folder: Path, tmp_path: Path) -> None:
        (tmp_path / "m.gguf").write_text("mine")
        with pytest.raises(UsageError, match="exists already"):
            gguf_export.to_gguf(folder, tmp_path / "m.gguf")
        assert (tmp_path / "m.gguf").read_text() == "mine"

    def test_another_architecture(self, starter_safetensors: Path, tmp_path: Path) -> None:
        folder = small_models.make("Qwen2VL", tmp_path / "model", starter_safetensors)
        with pytest.raises(ModelError, match=r"'qwen2_vl', which cannot be written as GGUF"):
            gguf_export.to_gguf(folder, tmp_path / "m.gguf")

    def test_weights_that_are_not_whole(self, folder: Path, tmp_path: Path) -> None:
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-100])
        with pytest.raises(ModelError, match="truncated"):
            gguf_export.to_gguf(folder, tmp_path / "m.gguf")
        assert sorted(p.name for p in tmp_path.iterdir()) == ["model"]

    def test_a_tokenizer_that_is_not_qwens(self, folder: Path, tmp_path: Path) -> None:
        settings = json.loads((folder / "tokenizer.json").read_text())
        settings["model"]["type"] = "Unigram"
        (folder / "tokenizer.json").write_text(json.dumps(settings))
        with pytest.raises(ModelError, match="is not Qwen's"):
            gguf_export.to_gguf(folder, tmp_path / "m.gguf")
        assert sorted(p.name for p in tmp_path.iterdir()) == ["model"]

    def test_experts_that_llamacpp_would_weigh_otherwise(
        self, starter_safetensors: Path, tmp_path: Path
    ) -> None:
        folder = small_models.make("Qwen2Moe", tmp_path / "model", starter_safetensors)
        with pytest.raises(ModelError, match="weighs its experts otherwise"):
            gguf_export.to_gguf(folder, tmp_path / "m.gguf")
        shutil.rmtree(folder)
