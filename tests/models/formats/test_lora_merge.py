"""Adapters added to the weights are what peft's own merge writes."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import small_models
import torch
from safetensors.torch import load_file, save_file

from qwen_cli.errors import ModelError, QwenError, UsageError
from qwen_cli.models.formats import lora
from qwen_cli.models.formats.lora_merge import merged
from tests.models.formats.test_lora import ALL, SETTINGS, tuned


@pytest.fixture(scope="module")
def model(starter_safetensors: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_models.make("Qwen3", tmp_path_factory.mktemp("base") / "model", starter_safetensors)


def by_peft(model: Path, folders: list[Path]) -> dict[str, torch.Tensor]:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    loaded: Any = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    for folder in folders:
        loaded = PeftModel.from_pretrained(loaded, folder).merge_and_unload()
    return dict(loaded.state_dict())


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_it_is_what_peft_writes(model: Path, settings: dict[str, Any], tmp_path: Path) -> None:
    folder = tuned(model, tmp_path / "adapter", **settings)
    out = merged(model, [folder], tmp_path / "out")
    expected = by_peft(model, [folder])
    before, after = load_file(model / "model.safetensors"), load_file(out / "model.safetensors")
    assert after.keys() == before.keys()
    assert any(not torch.equal(after[name], before[name]) for name in after)
    for name, tensor in after.items():
        assert tensor.dtype == before[name].dtype
        assert torch.equal(tensor, expected[name].to(tensor.dtype)), name


def test_all_of_several_are_added_and_the_rest_of_the_model_comes_along(model: Path, tmp_path: Path) -> None:
    folders = [
        tuned(model, tmp_path / "one", target_modules=["q_proj"]),
        tuned(model, tmp_path / "two", target_modules=ALL, alpha_pattern={"q_proj": 5}),
    ]
    out = merged(model, folders, tmp_path / "out")
    expected = by_peft(model, folders)
    for name, tensor in load_file(out / "model.safetensors").items():
        torch.testing.assert_close(tensor.float(), expected[name], rtol=1e-2, atol=1e-3)
    kept = {file.name for file in model.iterdir()}
    assert {file.name for file in out.iterdir()} == kept
    modes = [(folder / "model.safetensors").stat().st_mode for folder in (model, out)]
    assert modes[0] == modes[1]
    assert (out / "config.json").read_bytes() == (model / "config.json").read_bytes()


def test_a_model_in_several_files_stays_so(model: Path, tmp_path: Path) -> None:
    whole = load_file(model / "model.safetensors")
    split = tmp_path / "split"
    split.mkdir()
    (split / "config.json").write_bytes((model / "config.json").read_bytes())
    half = len(whole) // 2
    parts = [dict(list(whole.items())[:half]), dict(list(whole.items())[half:])]
    for number, part in enumerate(parts):
        save_file(part, split / f"model-{number}.safetensors", {"format": "pt"})
    folder = tuned(model, tmp_path / "adapter", target_modules=ALL)
    one, two = merged(model, [folder], tmp_path / "one"), merged(split, [folder], tmp_path / "two")
    found: dict[str, torch.Tensor] = {}
    for number in range(2):
        found |= load_file(two / f"model-{number}.safetensors")
    expected = load_file(one / "model.safetensors")
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_what_does_not_fit_is_told_before_anything_is_written(model: Path, tmp_path: Path) -> None:
    folder = tuned(model, tmp_path / "adapter", target_modules=["q_proj"])
    out = tmp_path / "out"
    weights = load_file(folder / lora.WEIGHTS)
    save_file({k.replace("layers.0.", "layers.9."): v for k, v in weights.items()}, folder / lora.WEIGHTS)
    assert "there is no model.layers.9.self_attn.q_proj.weight" in told(model, folder, out, ModelError)
    save_file(
        {k: v[:, :-1].contiguous() if "lora_A" in k else v for k, v in weights.items()}, folder / lora.WEIGHTS
    )
    assert "does not fit this model" in told(model, folder, out, ModelError)
    save_file(weights, folder / lora.WEIGHTS)
    quantized = tmp_path / "quantized"
    quantized.mkdir()
    (quantized / "config.json").write_text(json.dumps({"quantization_config": {"quant_method": "awq"}}))
    assert "is quantized" in told(quantized, folder, out, ModelError)
    assert "is not a LoRA adapter" in told(model, tmp_path, out, UsageError)


def test_a_folder_that_holds_something_stays_as_it_is(model: Path, tmp_path: Path) -> None:
    folder = tuned(model, tmp_path / "adapter", target_modules=["q_proj"])
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        merged(model, [folder], out)
    assert [file.name for file in out.iterdir()] == ["notes.txt"]


def test_a_full_disk_is_seen_before_and_what_was_killed_is_cleared(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tuned(model, tmp_path / "adapter", target_modules=["q_proj"])
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**10, 10**10, 10**6))
        assert "the merge needs" in told(model, folder, out, ModelError)
    killed = tmp_path / ".out.999999999.partial"
    beside = tmp_path / f".out.{os.getppid()}.partial"  # another process that is writing
    for left in (killed, beside):
        left.mkdir()
    merged(model, [folder], out)
    assert beside.is_dir()
    assert not killed.exists()


def told(model: Path, folder: Path, out: Path, kind: type[QwenError]) -> str:
    with pytest.raises(kind) as fault:
        merged(model, [folder], out)
    assert not out.exists()
    assert not list(out.parent.glob(".*partial"))
    return fault.value.message
