"""What llama.cpp is told when a model is loaded: looked at before anything is read but the header."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf_files
import pytest

from qwen_cli.engines.core import rope
from qwen_cli.engines.core.options import LoadOptions
from qwen_cli.engines.llamacpp import load
from qwen_cli.engines.llamacpp.engine import LlamaCpp
from qwen_cli.engines.load import open_engine
from qwen_cli.models.formats import architecture
from qwen_cli.models.hub.resolve import Weights


class Told(Exception):
    """Carries the parameters in place of a start."""


@pytest.fixture(autouse=True)
def nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(params: Any, weights: Weights) -> None:
        raise Told(params)

    monkeypatch.setattr(load, "start", start)


def told(file: Path, scaling: rope.Scaling | None, context: int = 2048) -> Any:
    with pytest.raises(Told) as caught:
        LlamaCpp(Weights("model", file, "gguf", None), context=context, rope_scaling=scaling)
    return caught.value.args[0]


@pytest.fixture
def stretched(tmp_path: Path) -> Path:
    """A file that says that its positions are stretched four times."""
    metadata = {
        "qwen2.context_length": 131_072,
        "qwen2.rope.scaling.type": "yarn",
        "qwen2.rope.scaling.factor": 4.0,
        "qwen2.rope.scaling.original_context_length": 32_768,
    }
    return gguf_files.write(tmp_path / "stretched.gguf", **metadata)


def kind(name: str) -> Any:
    import xllamacpp

    return getattr(xllamacpp.llama_rope_scaling_type, f"LLAMA_ROPE_SCALING_TYPE_{name}")


@pytest.mark.parametrize(("scaling", "name"), [(None, "UNSPECIFIED"), ("none", "NONE"), ("yarn", "YARN")])
def test_a_file_that_is_stretched_is_so_unless_it_is_not_to_be(
    stretched: Path, scaling: rope.Scaling | None, name: str
) -> None:
    params = told(stretched, scaling, context=65_536 if scaling == "yarn" else 2048)
    assert params.rope_scaling_type == kind(name)


@pytest.mark.parametrize("scaling", [None, "none", "yarn"])
def test_a_file_that_is_not_stretched_stays_so(tmp_path: Path, scaling: rope.Scaling | None) -> None:
    file = gguf_files.write(tmp_path / "plain.gguf", **{"qwen2.context_length": 32_768})
    params = told(file, scaling)
    assert params.rope_scaling_type in (kind("UNSPECIFIED"), kind("NONE"))
    assert params.yarn_orig_ctx == 0


def test_what_the_file_says_is_read_once(stretched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[Path] = []
    read = architecture.read
    monkeypatch.setattr(architecture, "read", lambda path: reads.append(path) or read(path))
    with pytest.raises(Told):
        open_engine(LoadOptions(str(stretched), context=512, rope_scaling="none"))
    assert reads == [stretched]
    weights = Weights("model", stretched, "gguf", None)
    assert weights.architecture is weights.architecture
    assert reads == [stretched] * 2


def test_another_scaling_is_another_cache(stretched: Path) -> None:
    assert load.key_settings(told(stretched, None)) != load.key_settings(told(stretched, "none"))


def hybrid(path: Path, layers: int, inner: int) -> Path:
    """A file of a hybrid with heads of 128, three of four layers linear (Qwen3.5's shapes)."""
    metadata = {
        "qwen35.block_count": layers,
        "qwen35.full_attention_interval": 4,
        "qwen35.ssm.conv_kernel": 4,
        "qwen35.ssm.inner_size": inner,
        "qwen35.ssm.state_size": 128,
        "qwen35.ssm.group_count": 16,
    }
    return gguf_files.write(path, "qwen35", **metadata)


@pytest.mark.parametrize(("layers", "inner", "checkpoints", "samples"), [(24, 2048, 26, 8), (64, 6144, 6, 3)])
def test_the_checkpoints_of_a_hybrid_are_bounded_in_memory(
    tmp_path: Path, layers: int, inner: int, checkpoints: int, samples: int
) -> None:
    """Those of a 0.8B and of a 27B, of which llama.cpp's own number would take 5 GB."""
    file = hybrid(tmp_path / "hybrid.gguf", layers, inner)
    params = told(file, None)
    assert params.n_ctx_checkpoints == checkpoints
    state = architecture.read(file).running_state
    assert params.n_ctx_checkpoints * state < 10**9
    assert load.samples_together(state, 8) == samples
    assert load.samples_together(0, 8) == 8
