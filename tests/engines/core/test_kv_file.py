"""Saved KV caches: taken only where they are whole and everything that a key comes from is the same."""

from __future__ import annotations

import json
import os
import resource
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import small_models
from hypothesis import given
from hypothesis import strategies as st

from qwen_cli.engines.core import kv_file
from qwen_cli.engines.core.base import Engine, Sampling, Usage
from qwen_cli.engines.llamacpp import load
from qwen_cli.engines.llamacpp.engine import LlamaCpp
from qwen_cli.engines.transformers.device_map import Places
from qwen_cli.engines.transformers.engine import Transformers
from qwen_cli.errors import EngineError
from qwen_cli.models.formats import gguf_export
from qwen_cli.models.hub.resolve import Weights
from tests.engines.transformers.test_adapters import adapter, packed

PROMPT = "One, two, three, four, five, six, seven, eight, nine, ten, eleven, " * 8
SHORT = Sampling(temperature=0, max_tokens=2)

Make = Callable[..., Engine]


@pytest.fixture(scope="module")
def base(starter_safetensors: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_models.make(
        "Qwen2", tmp_path_factory.mktemp("base"), starter_safetensors, intermediate_size=128
    )


@pytest.fixture(scope="module")
def gguf(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return gguf_export.to_gguf(base, tmp_path_factory.mktemp("gguf") / "base.gguf", quant="f32")


def on_llamacpp(path: Path, **settings: Any) -> LlamaCpp:
    return LlamaCpp(Weights("base", path, "gguf", None), **{"context": 512, "parallel": 2, **settings})


def on_transformers(path: Path, **settings: Any) -> Transformers:
    weights = Weights("base", path, "safetensors", None)
    return Transformers(weights, places=Places({"": "cpu"}), **{"context": 512, **settings})


def answered(engine: Engine) -> Usage:
    *_, last = engine.complete(PROMPT, sampling=SHORT)
    assert last.usage
    return last.usage


def saved(engine: Engine, path: Path) -> Path:
    """The KV cache of an answer, in `path`; the engine is closed."""
    with engine:
        answered(engine)
        assert engine.save_state(path)
    return path


def takes(engine: Engine, state: Path) -> bool:
    """Whether it takes the cache, and says so truly: what it took is not computed again. It is closed."""
    with engine:
        taken = engine.load_state(state)
        assert (answered(engine).cached_tokens > 0) is taken
    return taken


def tune(file: Path) -> None:
    """Change weights in the middle of `file`, and nothing else that one sees of it."""
    times = file.stat()
    with file.open("r+b") as content:
        content.seek(times.st_size // 2)
        content.write(bytes(1_000_000))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


@contextmanager
def disk_full_at(size: int) -> Iterator[None]:
    """No file grows beyond `size` bytes: the rest of what is written is lost, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class TestSeal:
    @pytest.fixture
    def state(self, tmp_path: Path) -> Path:
        path = tmp_path / "some.kv"
        path.write_bytes(os.urandom(5_000))
        kv_file.seal(path, "me")
        return path

    def test_a_whole_file_of_the_same_owner_is_taken(self, state: Path) -> None:
        assert kv_file.sealed(state, "me")
        assert not kv_file.sealed(state, "you")

    @given(st.data())
    def test_nothing_less_and_nothing_changed(
        self, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
    ) -> None:
        path = tmp_path_factory.mktemp("kv") / "some.kv"
        path.write_bytes(bytes(range(200)))
        kv_file.seal(path, "me")
        whole = path.read_bytes()
        at = data.draw(st.integers(0, len(whole) - 1))
        bit = data.draw(st.integers(0, 7))

        path.write_bytes(whole[:at])
        assert not kv_file.sealed(path, "me")
        path.write_bytes(whole[:at] + whole[at + 1 :])
        assert not kv_file.sealed(path, "me")
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
        # The note is JSON: what changes no value of it changes nothing.
        assert not kv_file.sealed(path, "me") or at >= 200
        assert not kv_file.sealed(path, "you")

    @given(st.binary(max_size=300))
    def test_any_bytes_are_looked_at_without_a_fault(
        self, tmp_path_factory: pytest.TempPathFactory, content: bytes
    ) -> None:
        path = tmp_path_factory.mktemp("kv") / "some.kv"
        for end in (b"", b"\xff\xff\xff\xffqwenkv02", b"\x05\x00\x00\x00qwenkv02"):
            path.write_bytes(content + end)
            assert not kv_file.sealed(path, "me")

    def test_what_is_no_file_is_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.kv")
        for path in (tmp_path, tmp_path / "pipe.kv", tmp_path / "missing.kv"):
            assert not kv_file.sealed(path, "me")


class TestOwner:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        path = tmp_path / "weights"
        path.write_bytes(os.urandom(9_000_000))
        return path

    @pytest.mark.parametrize("at", [0, 1_048_576, 4_500_000, 8_999_000])
    def test_a_matrix_anywhere_in_the_weights_counts(self, file: Path, at: int) -> None:
        """Merged or tuned weights have the size and the beginning of those they were made from."""
        before = kv_file.owner(kv_file.stamps([file]), {})
        times = file.stat()
        content = bytearray(file.read_bytes())
        content[at : at + 40_000] = os.urandom(len(content[at : at + 40_000]))
        file.write_bytes(content)
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))

        assert kv_file.owner(kv_file.stamps([file]), {}) != before

    def test_a_file_that_was_put_in_the_place_of_the_loaded_one(self, file: Path) -> None:
        loaded = kv_file.stamps([file])
        before = kv_file.owner(loaded, {})
        content = file.read_bytes()
        file.write_bytes(content[:4_000_000] + b"?" + content[4_000_001:])
        os.utime(file, ns=(1, 1))
        now = kv_file.stamps([file])

        assert kv_file.owner(now, {}) not in (before, kv_file.owner(loaded, {}))

    def test_every_setting_and_the_order_of_files_count(self, file: Path, tmp_path: Path) -> None:
        other = tmp_path / "adapter"
        other.write_bytes(b"adapter")
        owners = [
            kv_file.owner(kv_file.stamps(files), settings)
            for files in ([file], [file, other], [other, file])
            for settings in ({}, {"rope": None}, {"rope": {"factor": 2.0}}, {"rope": {"factor": 4.0}})
        ]
        assert len(set(owners)) == len(owners)

    def test_weights_that_are_gone_are_named(self, file: Path) -> None:
        loaded = kv_file.stamps([file])
        file.unlink()
        with pytest.raises(EngineError, match=r"weights cannot be read any more"):
            kv_file.owner(loaded, {})


class TestWritten:
    def test_beside_the_target_for_this_user_alone(self, tmp_path: Path) -> None:
        target = tmp_path / "new" / "talk.kv"
        before = os.umask(0)
        try:
            with kv_file.written(target) as half:
                assert half.parent == target.parent
                assert stat.S_IMODE(half.stat().st_mode) == 0o600
                half.write_bytes(b"state")
                half.chmod(0o644)
                assert not target.exists()
        finally:
            os.umask(before)
        assert target.read_bytes() == b"state"
        assert stat.S_IMODE(target.stat().st_mode) == 0o600
        assert stat.S_IMODE(target.parent.stat().st_mode) == 0o700
        assert list(target.parent.iterdir()) == [target]

    @pytest.mark.parametrize(
        "fault", [OSError(28, "No space left on device"), EngineError("x"), KeyboardInterrupt()]
    )
    def test_a_failure_leaves_the_old_file_and_nothing_else(
        self, tmp_path: Path, fault: BaseException
    ) -> None:
        target = tmp_path / "talk.kv"
        target.write_bytes(b"old")
        with pytest.raises((EngineError, KeyboardInterrupt)), kv_file.written(target) as half:
            half.write_bytes(b"new")
            raise fault
        assert target.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [target]

    def test_what_a_killed_process_left_goes_with_the_next(self, tmp_path: Path) -> None:
        target = tmp_path / "talk.kv"
        left, running, of_another = (
            tmp_path / f".{name}.saving" for name in ("talk.kv.left", "talk.kv.runs", "talk2.kv.left")
        )
        for file in (left, running, of_another):
            file.write_bytes(b"half")
        os.utime(left, (1, 1))
        os.utime(of_another, (1, 1))
        with kv_file.written(target):
            pass
        assert sorted(tmp_path.iterdir()) == sorted([target, running, of_another])

    def test_a_folder_that_cannot_be_written_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        said = r"KV cache could not be written to .*talk\.kv"
        with pytest.raises(EngineError, match=said), kv_file.written(tmp_path / "file" / "talk.kv"):
            pass


@pytest.mark.parametrize("kind", ["llamacpp", "transformers"])
class TestFullDisk:
    @pytest.fixture
    def engine(self, kind: str, base: Path, gguf: Path) -> Iterator[Engine]:
        with on_llamacpp(gguf) if kind == "llamacpp" else on_transformers(base) as engine:
            answered(engine)
            yield engine

    def test_part_of_a_cache_is_never_kept(self, engine: Engine, tmp_path: Path) -> None:
        """Also where only closing the file fails (llama.cpp says that it has written all), or the seal."""
        target = tmp_path / "sessions" / "talk.kv"
        assert engine.save_state(target)
        whole = target.read_bytes()
        for missing in (*range(1, 400, 57), 1_000, 3_000, len(whole) // 2, len(whole)):
            with (
                disk_full_at(len(whole) - missing),
                pytest.raises(EngineError, match=r"could (not )?be written to") as fault,
            ):
                engine.save_state(target)
            assert "\n" not in str(fault.value)
            assert target.read_bytes() == whole
            assert list(target.parent.iterdir()) == [target]
        assert engine.load_state(target)

    def test_for_this_user_alone_and_not_in_tmp(
        self, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        target = tmp_path / "talk.kv"
        before = os.umask(0)
        try:
            assert engine.save_state(target)
        finally:
            os.umask(before)
        assert stat.S_IMODE(target.stat().st_mode) == 0o600
        if isinstance(engine, LlamaCpp):
            assert list(Path(engine._slots.name).iterdir()) == []

    def test_a_file_cut_or_damaged_anywhere_is_refused(self, engine: Engine, tmp_path: Path) -> None:
        """llama.cpp would end the process over most of these."""
        target = tmp_path / "talk.kv"
        assert engine.save_state(target)
        whole = target.read_bytes()
        places = (*range(0, 2_000, 33), len(whole) // 3, len(whole) // 2, len(whole) - 300)
        for at in places:
            target.write_bytes(whole[:at])
            assert not engine.load_state(target)
            target.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
            assert not engine.load_state(target)
        target.write_bytes(whole)
        assert engine.load_state(target)

    def test_without_weights_nothing_is_taken(self, engine: Engine, tmp_path: Path) -> None:
        target = tmp_path / "talk.kv"
        assert engine.save_state(target)
        engine._files = tuple((tmp_path / "gone", *rest) for _, *rest in engine._files)  # type: ignore
        assert not engine.load_state(target)


def test_lanes_begin_cold_where_the_disk_has_no_room_for_a_copy(gguf: Path) -> None:
    with on_llamacpp(gguf) as engine:
        prompt_tokens = answered(engine).prompt_tokens
        with disk_full_at(10_000):
            lanes = engine.lanes(2, warm=True)
        assert [answered(lane).cached_tokens for lane in lanes] == [prompt_tokens - 1, 0]
        assert list(Path(engine._slots.name).iterdir()) == []


class TestWhatAKeyComesFrom:
    """A cache that was computed otherwise gives wrong answers without a sign."""

    def test_llamacpp(self, base: Path, gguf: Path, tmp_path: Path) -> None:
        state = saved(on_llamacpp(gguf), tmp_path / "talk.kv")
        lora = packed(adapter(base, tmp_path / "lora", ["q_proj", "v_proj"], seed=1), tmp_path / "lora.gguf")
        tuned = tmp_path / "tuned.gguf"
        shutil.copy2(gguf, tuned)
        tune(tuned)

        assert takes(on_llamacpp(gguf), state)
        assert takes(on_llamacpp(gguf, context=1_024, parallel=1, draft=None), state)  # only room
        assert not takes(on_llamacpp(gguf, context=4_096, rope_scaling="yarn"), state)
        assert not takes(on_llamacpp(gguf, adapters=[lora]), state)
        assert not takes(on_llamacpp(tuned), state)
        assert not takes(on_llamacpp(gguf, kv="bf16"), state)

        stretched = saved(on_llamacpp(gguf, context=4_096, rope_scaling="yarn"), tmp_path / "yarn.kv")
        assert takes(on_llamacpp(gguf, context=4_096, rope_scaling="yarn"), stretched)
        assert not takes(on_llamacpp(gguf, context=8_192, rope_scaling="yarn"), stretched)
        assert not takes(on_llamacpp(gguf), stretched)

    def test_llamacpps_parameters(self, gguf: Path, tmp_path: Path) -> None:
        import xllamacpp

        def parameters() -> Any:
            return load.parameters(
                Weights("base", gguf, "gguf", None),
                context=512,
                adapters=(),
                threads=None,
                parallel=1,
                slots=tmp_path,
                key="k",
            )

        plain = load.key_settings(parameters())
        assert load.key_settings(parameters()) == plain
        changes: dict[str, Any] = {
            "rope_freq_base": 1_000_000.0,
            "rope_freq_scale": 0.5,
            "yarn_orig_ctx": 1_024,
            "yarn_attn_factor": 0.7,
            "cache_type_k": xllamacpp.ggml_type.GGML_TYPE_Q8_0,
            "cache_type_v": xllamacpp.ggml_type.GGML_TYPE_Q8_0,
            "flash_attn_type": xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED,
            "lora_adapters": [xllamacpp.CommonAdapterLoraInfo(path="x", scale=0.5)],
        }
        for name, value in changes.items():
            changed = parameters()
            setattr(changed, name, value)
            assert load.key_settings(changed) != plain, name

    def test_another_projector(self, gguf: Path, tmp_path: Path) -> None:
        from qwen_cli.engines.llamacpp.engine import _files

        projector = tmp_path / "mmproj.gguf"
        projector.write_bytes(b"GGUF")
        with_it = Weights("base", gguf, "gguf", None, mmproj=projector)
        assert projector in _files(with_it, ())

    def test_all_parts_of_a_split_model(self, tmp_path: Path) -> None:
        from qwen_cli.engines.llamacpp.engine import _files

        parts = [tmp_path / f"big-0000{number}-of-00002.gguf" for number in (1, 2)]
        for part in parts:
            part.write_bytes(b"GGUF")
        assert list(_files(Weights("big", parts[0], "gguf", None), ())) == parts

    def test_transformers(self, base: Path, tmp_path: Path) -> None:
        state = saved(on_transformers(base), tmp_path / "talk.kv")
        lora = adapter(base, tmp_path / "lora", ["q_proj", "v_proj"], seed=1)

        assert takes(on_transformers(base), state)
        assert takes(on_transformers(base, context=1_024, attention="eager", draft=None), state)
        for settings in (
            {"quant": "8bit"},
            {"quant": "4bit"},
            {"dtype": "fp32"},
            {"context": 4_096, "rope_scaling": "yarn"},
            {"adapters": [lora]},
        ):
            assert not takes(on_transformers(base, **settings), state), settings

        merged = saved(on_transformers(base, adapters=[lora]), tmp_path / "merged.kv")
        assert takes(on_transformers(base, adapters=[lora], merge=True), merged)
        assert not takes(on_transformers(base, adapters=[lora], merge=False), merged)
        assert not takes(on_transformers(base), merged)
        stronger = tmp_path / "stronger"
        shutil.copytree(lora, stronger)
        file = stronger / "adapter_config.json"
        times = file.stat()
        file.write_text(json.dumps(json.loads(file.read_text()) | {"lora_alpha": 16}))
        os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert not takes(on_transformers(base, adapters=[stronger]), merged)

        stretched = saved(on_transformers(base, context=4_096, rope_scaling="yarn"), tmp_path / "yarn.kv")
        assert takes(on_transformers(base, context=4_096, rope_scaling="yarn"), stretched)
        assert not takes(on_transformers(base, context=8_192, rope_scaling="yarn"), stretched)

    def test_other_weights_of_the_same_shape(
        self, base: Path, starter_safetensors: Path, tmp_path: Path
    ) -> None:
        state = saved(on_transformers(base), tmp_path / "talk.kv")
        other = tmp_path / "other"
        shutil.copytree(base, other)
        tune(other / "model.safetensors")
        assert not takes(on_transformers(other), state)
