"""What llama.cpp is told when a model is loaded: looked at before anything is read but the header."""

from __future__ import annotations

import gc
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gguf_files
import pytest

from qwen_cli.engines.core import rope
from qwen_cli.engines.core.base import Capabilities
from qwen_cli.engines.core.options import Hooks, LoadOptions
from qwen_cli.engines.llamacpp import backend, load
from qwen_cli.engines.llamacpp.engine import LlamaCpp
from qwen_cli.engines.llamacpp.load import start
from qwen_cli.engines.load import open_engine
from qwen_cli.errors import UsageError
from qwen_cli.models.catalog import lookup
from qwen_cli.models.formats import architecture
from qwen_cli.models.hub.resolve import Weights


class Told(Exception):
    """Carries the parameters in place of a start."""


@pytest.fixture(autouse=True)
def nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(params: Any, weights: Weights) -> None:
        raise Told(params)

    monkeypatch.setattr(load, "start", start)


def told(file: Path, scaling: rope.Scaling | None = None, context: int = 2048, **more: Any) -> Any:
    with pytest.raises(Told) as caught:
        LlamaCpp(Weights("model", file, "gguf", None), context=context, rope_scaling=scaling, **more)
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


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    """A file whose heads have 64 values, with experts in four layers."""
    metadata = {
        "qwen3moe.attention.key_length": 64,
        "qwen3moe.expert_count": 8,
        "qwen3moe.expert_used_count": 2,
    }
    return gguf_files.write(
        tmp_path / "wide.gguf", "qwen3moe", **metadata, **{"qwen3moe.context_length": 131_072}
    )


class TestKeysAndValues:
    @pytest.mark.parametrize("kv", ["f16", "bf16", "q8_0", "q4_0"])
    def test_both_are_kept_as_asked_for(self, wide: Path, kv: str) -> None:
        import xllamacpp

        kind = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{kv.upper()}")
        params = told(wide, kv=kv)
        assert (params.cache_type_k, params.cache_type_v) == (kind, kind)
        flash = xllamacpp.llama_flash_attn_type
        wanted = flash.LLAMA_FLASH_ATTN_TYPE_ENABLED if "q" in kv else flash.LLAMA_FLASH_ATTN_TYPE_AUTO
        assert params.flash_attn_type == wanted

    @pytest.mark.parametrize(("free", "kv"), [(900, "f16"), (500, "q8_0"), (300, "q4_0")])
    def test_by_itself_it_is_what_holds_the_context(
        self, wide: Path, monkeypatch: pytest.MonkeyPatch, free: int, kv: str
    ) -> None:
        """Each token takes 4 × 2 × 2 × 64 values: 131,072 of them 268 MB as f16."""
        monkeypatch.setattr(load, "_SMALL_CACHE", 2**20)
        monkeypatch.setattr(load, "_free_beside", lambda shape: free * 2**20 * 256 // 900)
        weights = Weights("model", wide, "gguf", None)
        assert load.kv_type(weights, weights.architecture, 131_072, None) == kv
        assert load.kv_type(weights, weights.architecture, 131_072, "bf16") == "bf16"
        assert load.kv_type(weights, weights.architecture, None, None) == "f16"

    def test_it_is_told_what_was_chosen_for_the_context(
        self, wide: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Engine:
            kv = "q8_0"
            capabilities = Capabilities(context=131_072)

            def __init__(self, weights: Weights, **told: Any) -> None: ...

        monkeypatch.setattr("qwen_cli.engines.llamacpp.engine.LlamaCpp", Engine)
        notices: list[str] = []
        hooks = Hooks(notice=notices.append)
        open_engine(LoadOptions(str(wide)), hooks)
        assert notices == [
            "keys and values are kept as q8_0, so that 131,072 tokens of context fit: `kv=f16` keeps them "
            "whole"
        ]
        open_engine(LoadOptions(str(wide), kv="q8_0"), hooks)
        assert len(notices) == 1

    def test_heads_that_are_no_whole_blocks_are_refused(self, tmp_path: Path) -> None:
        small = gguf_files.write(tmp_path / "small.gguf")
        with pytest.raises(UsageError, match=r"`kv=q4_0` is for heads of 32 values .* model has 8"):
            LlamaCpp(Weights("model", small, "gguf", None), kv="q4_0")

    def test_each_format_is_another_cache(self, wide: Path) -> None:
        settings = [load.key_settings(told(wide, kv=kv)) for kv in ("f16", "bf16", "q8_0", "q4_0")]
        assert all(one not in settings[:place] for place, one in enumerate(settings))
        assert load.key_settings(told(wide)) == settings[0]


class TestExperts:
    @pytest.fixture
    def gpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import xllamacpp

        kind = xllamacpp.ggml_backend_dev_type.GGML_BACKEND_DEVICE_TYPE_GPU
        monkeypatch.setattr(xllamacpp, "get_device_info", lambda: [{"type": kind}])

    @pytest.mark.usefixtures("gpu")
    @pytest.mark.parametrize(("given", "layers"), [(None, 0), (0, 0), (1, 1), (3, 3), (99, 4)])
    def test_those_of_the_first_layers_stay_in_memory(
        self, wide: Path, given: int | None, layers: int
    ) -> None:
        overrides = [one for one in told(wide, n_cpu_moe=given).tensor_buft_overrides.split(",") if one]
        assert len(overrides) == layers
        for layer, override in enumerate(overrides):
            pattern, buffer = override.split("=")
            assert buffer == "CPU"
            for part in ("up", "down", "gate", "gate_up"):
                assert re.search(pattern, f"blk.{layer}.ffn_{part}_exps.weight")
                assert not re.search(pattern, f"blk.1{layer}.ffn_{part}_exps.weight")
            for other in ("ffn_gate_inp", "ffn_up_shexp", "attn_q", "ffn_up"):
                assert not re.search(pattern, f"blk.{layer}.{other}.weight")

    def test_without_a_gpu_there_is_nothing_to_move(self, wide: Path) -> None:
        with pytest.raises(UsageError, match=r"llama\.cpp sees none here"):
            LlamaCpp(Weights("model", wide, "gguf", None), n_cpu_moe=2)

    @pytest.mark.usefixtures("gpu")
    def test_a_dense_model_is_refused(self, tmp_path: Path) -> None:
        dense = gguf_files.write(tmp_path / "dense.gguf")
        with pytest.raises(UsageError, match="`n_cpu_moe=2` is for models with experts, model has none"):
            LlamaCpp(Weights("model", dense, "gguf", None), n_cpu_moe=2)


ENDING = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@contextmanager
def handled(number: int, handler: Any) -> Iterator[None]:
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("number", ENDING)
@pytest.mark.parametrize("ends", [True, False])
def test_a_signal_while_a_model_loads_ends_a_program_at_once_and_waits_in_any_other(
    ends: bool, number: int
) -> None:
    """llama.cpp holds the interpreter's lock: a handler of Python's would run after the load."""

    def handler(number: int, frame: Any) -> None: ...

    handler.ends_program = ends  # type: ignore[attr-defined]
    with handled(number, handler):
        with load._signals_held() as noted:
            while_loading = signal.getsignal(number)
            if not ends:
                signal.raise_signal(number)
        assert signal.getsignal(number) is handler
    assert (while_loading is signal.SIG_DFL) is ends
    assert noted == ([] if ends else [number])


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_that_waited_is_handled_and_the_server_that_starts_is_not_torn_down(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[str] = []

    class Server:
        def __init__(self, params: Any) -> None:
            signal.raise_signal(number)

        def __del__(self) -> None:
            ended.append("torn down")

    def stop(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    monkeypatch.setattr("xllamacpp.Server", Server)
    with handled(number, stop), pytest.raises(SystemExit, match=str(128 + number)):
        start(None, Weights("model", Path("x"), "gguf", None))
    gc.collect()
    assert ended == []


def test_a_signal_that_nobody_minds_ends_no_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a shell's background jobs ignore Ctrl-C."""
    monkeypatch.setattr("xllamacpp.Server", lambda params: signal.raise_signal(signal.SIGINT) or "server")
    with handled(signal.SIGINT, signal.SIG_IGN):
        assert start(None, Weights("model", Path("x"), "gguf", None)) == "server"
    heard: list[int] = []
    with handled(signal.SIGINT, lambda number, frame: heard.append(number)):
        assert start(None, Weights("model", Path("x"), "gguf", None)) == "server"
    assert heard == [signal.SIGINT]


def test_the_programs_own_signals_only_end_it() -> None:
    from qwen_cli.commands import main

    assert main._interrupt.ends_program  # type: ignore[attr-defined]
    assert main._leave.ends_program  # type: ignore[attr-defined]


def test_a_model_of_a_million_tokens_is_told_to_get_worse_beyond_its_chunks(tmp_path: Path) -> None:
    million = Weights("million", tmp_path / "x.gguf", "gguf", lookup.find("qwen2.5-1m:7b"))
    assert "beyond 262,144 tokens million gets worse" in (backend.unchunked(million, 262_145) or "")
    assert backend.unchunked(million, 262_144) is None
    assert backend.unchunked(million, None) is None
    other = Weights("other", tmp_path / "x.gguf", "gguf", lookup.find("qwen3:8b"))
    assert backend.unchunked(other, 999_999) is None
