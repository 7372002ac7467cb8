"""LoRA adapters: the model with them says what peft's own says; those of another model are told."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import small_models
import torch
from gguf import GGUFWriter
from safetensors.torch import load_file

from qwen_cli.engines.core.base import Engine, Sampling
from qwen_cli.engines.llamacpp.engine import LlamaCpp
from qwen_cli.engines.transformers.engine import Transformers
from qwen_cli.errors import EngineError, UsageError
from qwen_cli.models.formats import gguf_export
from qwen_cli.models.formats.gguf_import import IN_LAYER
from qwen_cli.models.hub.resolve import Weights

GREEDY = Sampling(temperature=0.0, max_tokens=12)
PROMPT = "def total(prices):"
RANK, ALPHA = 4, 8


@pytest.fixture(scope="module")
def base(starter_safetensors: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_models.make("Qwen2", tmp_path_factory.mktemp("base"), starter_safetensors)


@pytest.fixture(scope="module")
def lora(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two random adapters, written by peft, for different layers' parts."""
    folder = tmp_path_factory.mktemp("lora")
    return (
        adapter(base, folder / "first", ["q_proj", "v_proj"], seed=1),
        adapter(base, folder / "second", ["down_proj", "v_proj"], seed=2),
    )


def adapter(base: Path, folder: Path, targets: list[str], seed: int) -> Path:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    tuned = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=targets))
    torch.manual_seed(seed)
    for name, parameter in tuned.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter.data, 0, 0.3)
    tuned.save_pretrained(folder)
    return folder


def said(engine: Engine) -> str:
    return "".join(piece.text for piece in engine.complete(PROMPT, sampling=GREEDY))


def logits(engine: Transformers) -> torch.Tensor:
    engine.prefix_cache.clear()
    return engine.prefix_cache.prefill(engine.tokenizer(PROMPT)["input_ids"])[0]


def peft_logits(base: Path, folders: tuple[Path, ...], engine: Transformers) -> torch.Tensor:
    """What the base gives with peft's layers, all adapters active."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, folders[0], adapter_name="a")
    for number, folder in enumerate(folders[1:]):
        model.load_adapter(folder, adapter_name=f"b{number}")
    model.base_model.set_adapter(["a", *(f"b{n}" for n in range(len(folders) - 1))])
    with torch.inference_mode():
        return model(torch.tensor([engine.tokenizer(PROMPT)["input_ids"]])).logits[:, -1]


@pytest.mark.parametrize("merge", [True, False, None])
def test_one_and_several_are_what_peft_computes(
    base: Path, lora: tuple[Path, Path], merge: bool | None
) -> None:
    weights = Weights("base", base, "safetensors", None)
    for folders in (lora[:1], lora):
        with Transformers(weights, dtype="fp32", context=256, adapters=folders, merge=merge) as engine:
            torch.testing.assert_close(
                logits(engine), peft_logits(base, folders, engine), rtol=1e-3, atol=1e-3
            )
            layers = [name for name, _ in engine.network.named_modules() if "lora_A" in name]
            assert bool(layers) == (merge is False)


def test_quantized_weights_keep_them_beside(base: Path, lora: tuple[Path, Path]) -> None:
    weights = Weights("base", base, "safetensors", None)
    with Transformers(weights, quant="8bit", context=256, adapters=lora) as engine:
        assert any("lora_A" in name for name, _ in engine.network.named_modules())
        assert said(engine)
        assert engine.capabilities.weights == "8bit"


class TestAnotherBase:
    def test_of_another_width(self, lora: tuple[Path, Path], starter_safetensors: Path) -> None:
        weights = Weights("starter", starter_safetensors, "safetensors", None)
        with pytest.raises(EngineError, match=r"adapter .*first does not fit this model") as fault:
            Transformers(weights, context=256, adapters=lora[:1])
        assert "\n" not in str(fault.value)

    def test_of_more_layers(self, base: Path, lora: tuple[Path, Path], tmp_path: Path) -> None:
        """peft itself passes over what it finds no place for."""
        from safetensors.torch import save_file

        folder = Path(shutil.copytree(lora[0], tmp_path / "longer"))
        tensors = load_file(folder / "adapter_model.safetensors")
        more = {name.replace("layers.0.", "layers.9."): t.clone() for name, t in tensors.items()}
        save_file(tensors | more, folder / "adapter_model.safetensors")
        weights = Weights("base", base, "safetensors", None)
        with pytest.raises(EngineError, match=r"there is no model\.layers\.9\.self_attn\.q_proj"):
            Transformers(weights, context=256, adapters=[folder])

    def test_no_adapter_at_all(self, base: Path, tmp_path: Path) -> None:
        weights = Weights("base", base, "safetensors", None)
        with pytest.raises(UsageError, match=r"no adapter_config\.json"):
            Transformers(weights, context=256, adapters=[tmp_path])


@pytest.fixture(scope="module")
def gguf(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return gguf_export.to_gguf(base, tmp_path_factory.mktemp("gguf") / "base.gguf", quant="f32")


class TestLlamaCpp:
    def test_adapters_in_gguf_say_what_peft_says(
        self, base: Path, gguf: Path, lora: tuple[Path, Path], tmp_path: Path
    ) -> None:
        files = [packed(folder, tmp_path / f"{folder.name}.gguf") for folder in lora]
        with Transformers(
            Weights("base", base, "safetensors", None), dtype="fp32", context=256, adapters=lora
        ) as engine:
            expected = said(engine)
        weights = Weights("base", gguf, "gguf", None)
        with LlamaCpp(weights, context=256, parallel=1) as engine:
            assert said(engine) != expected
        with LlamaCpp(weights, context=256, parallel=1, adapters=files) as engine:
            assert said(engine) == expected

    def test_of_another_base(self, starter_gguf: Path, lora: tuple[Path, Path], tmp_path: Path) -> None:
        file = packed(lora[0], tmp_path / "other.gguf")
        with pytest.raises(EngineError, match="cannot load starter") as fault:
            LlamaCpp(Weights("starter", starter_gguf, "gguf", None), context=256, adapters=[file])
        assert "base model" in str(fault.value)
        assert "\n" not in str(fault.value)


def packed(folder: Path, file: Path) -> Path:
    """A peft adapter in llama.cpp's form (convert_lora_to_gguf.py)."""
    ours = {theirs: name for name, theirs in IN_LAYER.items()}
    writer = GGUFWriter(str(file), "qwen2")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(ALPHA))
    for key, tensor in load_file(folder / "adapter_model.safetensors").items():
        place, _, part = key.removeprefix("base_model.model.model.layers.").partition(".lora_")
        layer, _, module = place.partition(".")
        writer.add_tensor(f"blk.{layer}.{ours[module]}.weight.lora_{part[0].lower()}", tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file
