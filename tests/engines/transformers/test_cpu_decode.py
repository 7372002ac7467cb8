"""One token on a processor is computed otherwise than the library does it, to the same numbers."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from qwen_cli.engines.transformers import cpu_decode
from qwen_cli.engines.transformers.load import model
from qwen_cli.engines.transformers.prefix_cache import PrefixCache
from qwen_cli.models.hub.resolve import Weights


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("places", [1, 5])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("kv_heads", [2, 14])
def test_attention_is_that_of_the_library(rows: int, places: int, masked: bool, kv_heads: int) -> None:
    torch.manual_seed(0)
    query = torch.randn(rows, 14, places, 64)
    buffers = torch.randn(2, rows, kv_heads, 40, 64)
    key, value = buffers[..., :33, :]  # windows into larger buffers, as the cache has them
    mask = torch.rand(rows, 1, places, 33) > 0.3 if masked else None
    module = SimpleNamespace(num_key_value_groups=14 // kv_heads, is_causal=places > 1)
    key, value = (key, value) if places == 1 else (key[..., :places, :], value[..., :places, :])
    mask = mask[..., : key.shape[2]] if mask is not None else None
    found, _ = cpu_decode.attention(module, query, key, value, mask, scaling=0.11, dropout=0.0)  # type: ignore[arg-type]
    known, _ = sdpa_attention_forward(module, query, key, value, mask, scaling=0.11, dropout=0.0)  # type: ignore[arg-type]
    assert found.shape == known.shape == (rows, places, 14, 64)
    torch.testing.assert_close(found, known)


def test_two_threads_leave_onednn_as_it_was() -> None:
    """The switch is one for the process: whoever leaves last puts it back."""
    model = SimpleNamespace(dtype=torch.bfloat16)
    before = torch.backends.mkldnn.enabled
    one, other = (cpu_decode.products(model, torch.tensor([[5]])) for _ in range(2))
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    assert not torch.backends.mkldnn.enabled
    other.__exit__(None, None, None)
    assert torch.backends.mkldnn.enabled is before


@pytest.fixture(scope="module")
def starter(starter_safetensors: Path) -> PrefixCache:
    return PrefixCache(model(Weights("starter", starter_safetensors, "safetensors", None)))


def test_a_step_gives_the_logits_that_the_library_gives(starter: PrefixCache) -> None:
    text = list(range(1000, 1300))
    starter.prefill(text)
    step = starter.step([5])
    assert torch.backends.mkldnn.enabled
    with torch.inference_mode():
        known = starter.model(torch.tensor([[*text, 5]]), logits_to_keep=1).logits[0].float()
    # bfloat16 has 8 bits: two ways to the same number differ in the last of them
    assert (step - known).abs().max() < 0.03 * known.abs().max()
    assert step.argmax() == known.argmax()


def test_products_are_computed_otherwise_for_one_token_alone(starter: PrefixCache) -> None:
    def by_onednn(tokens: list[list[int]]) -> bool:
        with cpu_decode.products(starter.model, torch.tensor(tokens)):
            return bool(torch.backends.mkldnn.enabled)

    assert not by_onednn([[5]])
    assert by_onednn([[5, 6]]) and by_onednn([[5], [6]])
    with pytest.raises(KeyError), cpu_decode.products(starter.model, torch.tensor([[5]])):
        raise KeyError
    assert torch.backends.mkldnn.enabled
