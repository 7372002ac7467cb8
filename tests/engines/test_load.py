"""How a model is loaded: flags that are told apart before anything is fetched, weights that fit, and those
that must not be read."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import small_models

from qwen_cli.engines.core.base import Engine, Sampling
from qwen_cli.engines.load import load
from qwen_cli.engines.transformers import device_map, quantization
from qwen_cli.engines.transformers.device_map import Places
from qwen_cli.engines.transformers.engine import Transformers
from qwen_cli.errors import EngineError, ModelError, QwenError, UsageError
from qwen_cli.models.hub.resolve import Weights

QUESTION = [{"role": "user", "content": "Name three rivers."}]


def weights(folder: Path) -> Weights:
    return Weights(folder.name, folder, "safetensors", None)


def answer(engine: Engine, tokens: int = 8) -> str:
    sampling = Sampling(temperature=0, max_tokens=tokens)
    return "".join(piece.text for piece in engine.chat(QUESTION, sampling=sampling))


def changed(folder: Path, name: str, **fields: Any) -> None:
    """Write `fields` into a JSON file of `folder`."""
    file = folder / name
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


@pytest.fixture(scope="session")
def dense(starter_safetensors: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dense") / "dense"
    # Of four bits bitsandbytes takes rows of 64 alone on CPUs with AVX-512.
    return small_models.make("Qwen2", folder, starter_safetensors, intermediate_size=128)


@pytest.fixture(scope="session")
def mixture(starter_safetensors: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_models.make("Qwen3Moe", tmp_path_factory.mktemp("mixture") / "mixture", starter_safetensors)


@pytest.fixture(scope="session")
def said(dense: Path) -> str:
    """What the dense model answers when it is loaded in the plainest way, in float32."""
    with Transformers(weights(dense), places=Places({"": "cpu"}), dtype="float32") as engine:
        return answer(engine)


@pytest.fixture
def copied(dense: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(dense, tmp_path / "copied"))


class TestFlags:
    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"device_map": "gpu"}, "got 'gpu'"),
            ({"device_map": "cuda:x"}, "got 'cuda:x'"),
            ({"device_map": "nowhere.json"}, "cannot read `device_map=nowhere.json`"),
            ({"device_map": "cpu", "max_memory": "cpu=1GiB"}, "is one already"),
            ({"max_memory": "lots"}, "got 'lots'"),
            ({"max_memory": "0=10GiB,cpu=ten"}, "got 'cpu=ten'"),
            ({"max_memory": "tpu=1GB"}, "got 'tpu=1GB'"),
            ({"dtype": "fp8"}, "got 'fp8'"),
            ({"quant": "3bit"}, "got '3bit'"),
            ({"quant": "4bit", "engine": "llamacpp"}, "llama.cpp has no 4bit"),
            ({"quant": "q4_k_m", "engine": "transformers"}, "the transformers engine has no q4_k_m"),
            ({"quant": "q8_0"}, "starter comes as Q4_K_M, not 'q8_0'"),
            ({"dtype": "bf16"}, "`dtype` needs transformers"),
            ({"device_map": "auto"}, "`device_map` needs transformers"),
            ({"compiled": True}, "`compiled` needs transformers"),
            ({"quant": "4bit", "endpoint": "http://127.0.0.1:9"}, "`quant` needs a local engine"),
        ],
    )
    def test_what_makes_no_sense_is_told_before_anything_loads(
        self, home: Path, given: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(QwenError, match=message):
            load("starter", **given)

    def test_memory_is_read_in_both_kinds_of_units(self) -> None:
        wanted = device_map.places(None, "0=10GiB, cuda:1=1.5GB,cpu=500MB", None)
        assert wanted.memory == {0: 10 * 2**30, 1: 1_500_000_000, "cpu": 500_000_000}
        assert wanted.map == "auto"

    @pytest.mark.parametrize(
        ("text", "map"),
        [("balanced", "balanced"), ("cpu", {"": "cpu"}), ("cuda", {"": 0}), ("cuda:3", {"": 3})],
    )
    def test_a_device_map_is_a_strategy_or_a_device(self, text: str, map: Any) -> None:
        assert device_map.places(text, None, None).map == map

    def test_a_gguf_of_another_file_type_is_refused(self, starter_gguf: Path, tmp_path: Path) -> None:
        file = tmp_path / "model-q4_k_m.gguf"
        file.symlink_to(starter_gguf)
        with pytest.raises(ModelError, match="is Q4_K_M, not q8_0"):
            load(str(file), quant="q8_0")

    def test_a_device_that_is_not_there_is_one_line(self, dense: Path) -> None:
        with pytest.raises(UsageError, match="there is no cuda:7"):
            load(str(dense), engine="transformers", device_map="cuda:7")


class TestMaps:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("[1]", "not an object"),
            ("{", "not JSON"),
            ('{"model": "moon"}', "goes to 'moon'"),
            ('{"model.layerz.0": "cpu", "": "cpu"}', "names model.layerz.0"),
            ('{"model": "cpu"}', "does not say where lm_head"),
        ],
    )
    def test_a_broken_map_is_one_line(self, dense: Path, tmp_path: Path, text: str, message: str) -> None:
        file = tmp_path / "map.json"
        file.write_text(text)
        with pytest.raises(UsageError, match=message):
            load(str(dense), engine="transformers", device_map=str(file))

    def test_a_map_with_layers_on_disk_gives_the_same_tokens(
        self, dense: Path, tmp_path: Path, said: str
    ) -> None:
        file = tmp_path / "map.json"
        file.write_text('{"model.embed_tokens": "cpu", "model.layers.1": "disk", "": "cpu"}')
        told: list[str] = []
        with load(
            str(dense), engine="transformers", device_map=str(file), dtype="fp32", notice=told.append
        ) as engine:
            assert answer(engine) == said
            assert engine.save_state(tmp_path / "state")  # and the prefix cache works on such a model
        with load(str(dense), engine="transformers", device_map=str(file), dtype="fp32") as engine:
            assert engine.load_state(tmp_path / "state")
            assert answer(engine) == said
        assert told == ["layers: 2 on cpu, 1 on disk, which is read for every token"]

    def test_what_does_not_fit_goes_to_disk_and_nothing_is_written(
        self, dense: Path, tmp_path: Path, said: str
    ) -> None:
        told: list[str] = []
        with load(
            str(dense),
            engine="transformers",
            max_memory="cpu=1MiB",
            dtype="fp32",
            offload_dir=tmp_path / "offload",
            notice=told.append,
        ) as engine:
            assert answer(engine) == said
            assert [path for path in (tmp_path / "offload").rglob("*") if path.is_file()] == []
        assert told == ["layers: 3 on disk, which is read for every token"]

    def test_experts_are_written_to_the_offload_folder_and_removed(
        self, mixture: Path, tmp_path: Path
    ) -> None:
        with load(str(mixture), engine="transformers", device_map="cpu", dtype="fp32") as engine:
            expected = answer(engine)
        with load(
            str(mixture),
            engine="transformers",
            max_memory="cpu=1MiB",
            dtype="fp32",
            offload_dir=tmp_path / "offload",
        ) as engine:
            assert answer(engine) == expected
            assert list((tmp_path / "offload").rglob("*experts*.safetensors"))
        assert list((tmp_path / "offload").iterdir()) == []


class TestQuantization:
    @pytest.mark.parametrize(("bits", "layer"), [("8bit", "Linear8bitLt"), ("4bit", "Linear4bit")])
    def test_bitsandbytes_answers_on_a_cpu_and_says_what_is_faster(
        self, dense: Path, bits: str, layer: str
    ) -> None:
        told: list[str] = []
        with load(str(dense), quant=bits, device_map="cpu", notice=told.append) as engine:
            projection = engine.network.model.layers[0].self_attn.q_proj  # type: ignore[attr-defined]
            assert type(projection).__name__ == layer
            assert answer(engine)
        assert told == [f"`quant={bits}` on a CPU: its GGUF on llama.cpp is faster"]

    def test_quantized_layers_stay_off_the_disk(self, dense: Path) -> None:
        with pytest.raises(EngineError, match="does not fit, and what bitsandbytes"):
            load(str(dense), quant="4bit", max_memory="cpu=1MiB")

    def test_what_bitsandbytes_is_told(self) -> None:
        import torch

        eight, four = quantization.in_bits("8bit", None), quantization.in_bits("4bit", torch.bfloat16)
        assert (eight.load_in_8bit, eight.llm_int8_threshold) == (True, 6.0)
        assert (four.bnb_4bit_quant_type, four.bnb_4bit_use_double_quant) == ("nf4", True)
        assert four.bnb_4bit_compute_dtype == torch.bfloat16

    @pytest.mark.parametrize(
        ("method", "package"),
        [
            ("awq", "gptqmodel"),
            ("gptq", "optimum and gptqmodel"),
            ("compressed-tensors", "compressed-tensors"),
            ("fbgemm_fp8", "fbgemm-gpu"),
            ("auto-round", "auto-round"),
        ],
    )
    def test_a_published_format_names_the_package_it_lacks(
        self, copied: Path, monkeypatch: pytest.MonkeyPatch, method: str, package: str
    ) -> None:
        monkeypatch.setattr(quantization.importlib.util, "find_spec", lambda name: None)
        changed(copied, "config.json", quantization_config={"quant_method": method, "bits": 4})
        with pytest.raises(EngineError, match=f"needs {package}"):
            load(str(copied), engine="transformers")

    def test_fp8_needs_its_kernels_on_gpus_that_have_fp8_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(quantization.importlib.util, "find_spec", lambda name: None)
        config = {"quantization_config": {"quant_method": "fp8"}}
        assert quantization.published(config, "it", None)
        assert quantization.published(config, "it", (8, 0))
        with pytest.raises(EngineError, match="needs kernels"):
            quantization.published(config, "it", (9, 0))

    def test_published_in_fp8_runs_on_a_cpu(self, copied: Path, said: str) -> None:
        _to_fp8(copied)
        with load(str(copied), device_map="cpu") as engine:
            assert engine.network.dtype.itemsize == 2  # type: ignore[attr-defined]
            assert answer(engine)

    def test_nothing_is_quantized_twice(self, copied: Path) -> None:
        changed(
            copied, "config.json", quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True}
        )
        with pytest.raises(UsageError, match="quantized already"):
            load(str(copied), quant="4bit")


def _to_fp8(folder: Path) -> None:
    """Rewrite a dense model as Qwen publishes FP8: blocks of 128 × 128 with a scale each."""
    import torch
    from safetensors.torch import load_file, save_file

    block = 128
    tensors = {}
    for name, tensor in load_file(folder / "model.safetensors").items():
        if not name.endswith("proj.weight"):
            tensors[name] = tensor
            continue
        rows, columns = (-(-size // block) for size in tensor.shape)
        padded = torch.zeros(rows * block, columns * block)
        padded[: tensor.shape[0], : tensor.shape[1]] = tensor
        tiles = padded.view(rows, block, columns, block)
        scale = tiles.abs().amax(dim=(1, 3)) / 448  # the largest number of e4m3
        scaled = (tiles / scale[:, None, :, None]).view_as(padded)[: tensor.shape[0], : tensor.shape[1]]
        tensors[name] = scaled.to(torch.float8_e4m3fn).contiguous()
        tensors[name + "_scale_inv"] = scale
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    settings = {"quant_method": "fp8", "weight_block_size": [block, block], "activation_scheme": "dynamic"}
    changed(folder, "config.json", quantization_config=settings)


class TestAttention:
    def test_eager_gives_the_same_tokens(self, dense: Path, said: str) -> None:
        with load(str(dense), device_map="cpu", dtype="fp32", attention="eager") as engine:
            assert engine.network.config._attn_implementation == "eager"  # type: ignore[attr-defined]
            assert answer(engine) == said

    @pytest.mark.parametrize(
        ("name", "message"), [("flash", "got 'flash'"), ("flash_attention_2", "needs a CUDA device")]
    )
    def test_what_cannot_be_is_one_line(self, dense: Path, name: str, message: str) -> None:
        with pytest.raises(UsageError, match=message):
            load(str(dense), device_map="cpu", attention=name)


class TestCompile:
    @pytest.mark.slow
    def test_the_tokens_are_the_same_and_so_are_prefixes_states_and_samples(
        self, starter_safetensors: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from qwen_cli.engines.transformers import static_cache

        # Each layer is compiled anew, into the same.
        thin = small_models.make("Qwen2", tmp_path / "thin", starter_safetensors, num_hidden_layers=1)
        with Transformers(weights(thin), places=Places({"": "cpu"}), dtype="float32") as engine:
            said = answer(engine)
        monkeypatch.setattr(static_cache, "FIRST", 32)  # so that the cache grows on the way
        with load(str(thin), device_map="cpu", dtype="fp32", compiled=True) as engine:
            assert answer(engine) == said
            assert answer(engine) == said  # from the prefix that is there
            assert engine.save_state(tmp_path / "state")
            both = engine.sample(QUESTION, 2, sampling=Sampling(temperature=0, max_tokens=8))
            assert [one.text for one in both] == [said, said]
            assert engine.load_state(tmp_path / "state")
            assert answer(engine) == said

    @pytest.mark.parametrize(
        ("architecture", "why"), [("Qwen3Next", "linear attention"), ("Qwen2_5_VL", "it sees")]
    )
    def test_what_is_no_graph_is_refused(
        self, starter_safetensors: Path, tmp_path: Path, architecture: str, why: str
    ) -> None:
        folder = small_models.make(architecture, tmp_path / "model", starter_safetensors)
        with pytest.raises(UsageError, match=why):
            load(str(folder), device_map="cpu", compiled=True)


class TestPickles:
    @pytest.fixture
    def pickled(self, copied: Path) -> Path:
        import torch
        from safetensors.torch import load_file

        torch.save(load_file(copied / "model.safetensors"), copied / "pytorch_model.bin")
        (copied / "model.safetensors").unlink()
        return copied

    def test_are_refused(self, pickled: Path) -> None:
        with pytest.raises(ModelError, match="`allow_pickle`"):
            load(str(pickled))
        with pytest.raises(EngineError):  # also by whoever goes round the reference
            Transformers(weights(pickled))

    def test_load_when_they_are_allowed(self, pickled: Path, said: str) -> None:
        with load(str(pickled), device_map="cpu", dtype="fp32", allow_pickle=True) as engine:
            assert answer(engine) == said

    def test_run_nothing_even_then(self, pickled: Path, tmp_path: Path) -> None:
        class Evil:
            def __reduce__(self) -> tuple[Any, ...]:
                return (Path.touch, (tmp_path / "ran",))

        (pickled / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": Evil()}))
        with pytest.raises(EngineError):
            load(str(pickled), allow_pickle=True)
        assert not (tmp_path / "ran").exists()


class TestRemoteCode:
    @pytest.fixture
    def foreign(self, copied: Path) -> Path:
        """The dense model as a type of its own, whose code leaves a mark when it runs."""
        (copied / "modeling_own.py").write_text(
            "from pathlib import Path\n"
            "from transformers import Qwen2Config, Qwen2ForCausalLM\n"
            f"Path({str(copied / 'ran')!r}).touch()\n"
            "class OwnConfig(Qwen2Config):\n    model_type = 'qwen_own'\n"
            "class OwnForCausalLM(Qwen2ForCausalLM):\n    config_class = OwnConfig\n"
        )
        names = {
            "AutoConfig": "modeling_own.OwnConfig",
            "AutoModelForCausalLM": "modeling_own.OwnForCausalLM",
        }
        changed(copied, "config.json", model_type="qwen_own", auto_map=names)
        return copied

    def test_its_files_are_named_and_nothing_runs(self, foreign: Path) -> None:
        asked: list[tuple[str, list[str]]] = []

        def agree(label: str, code: Any) -> bool:
            asked.append((label, list(code)))
            return False

        with pytest.raises(EngineError, match=r"modeling_own\.py.*`trust_remote_code`"):
            load(str(foreign), agree=agree)
        assert asked == [(str(foreign), ["modeling_own.py"])]
        assert not (foreign / "ran").exists()

    def test_runs_after_a_yes(self, foreign: Path, said: str) -> None:
        with load(str(foreign), device_map="cpu", dtype="fp32", agree=lambda label, code: True) as engine:
            assert answer(engine) == said
        assert (foreign / "ran").exists()

    def test_beside_a_known_model_it_is_left_alone(self, foreign: Path, said: str) -> None:
        changed(foreign, "config.json", model_type="qwen2")
        with load(str(foreign), device_map="cpu", dtype="fp32") as engine:
            assert answer(engine) == said
        assert not (foreign / "ran").exists()


class TestDamage:
    @pytest.fixture
    def sharded(self, dense: Path, tmp_path: Path) -> Path:
        from safetensors.torch import load_file, save_file

        folder = Path(shutil.copytree(dense, tmp_path / "sharded"))
        tensors = load_file(folder / "model.safetensors")
        (folder / "model.safetensors").unlink()
        index = {}
        for number, part in enumerate((sorted(tensors)[::2], sorted(tensors)[1::2]), 1):
            name = f"model-{number:05}-of-00002.safetensors"
            save_file({key: tensors[key] for key in part}, folder / name, metadata={"format": "pt"})
            index |= dict.fromkeys(part, name)
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
        return folder

    def test_a_missing_shard_is_named(self, sharded: Path) -> None:
        (sharded / "model-00002-of-00002.safetensors").unlink()
        with pytest.raises(ModelError, match=r"lacks model-00002-of-00002\.safetensors"):
            load(str(sharded))

    def test_a_shard_of_another_size_is_named(self, sharded: Path) -> None:
        with (sharded / "model-00002-of-00002.safetensors").open("r+b") as file:
            file.truncate(1_000_000)
        with pytest.raises(ModelError, match=r"model-00002-of-00002\.safetensors is truncated"):
            load(str(sharded))


_MEMORY = """
import resource, sys
import psutil
from qwen_cli import Sampling, load
from qwen_cli.errors import EngineError
from qwen_cli.tasks.chat.conversation import Conversation

def ask(text):
    return "".join(getattr(event, "text", "") for event in conversation.send(text))

# float32 and eager: what fails then is torch's own allocator, which can be asked again.
how = {"device_map": "cpu", "context": 2000, "dtype": "fp32", "attention": "eager", "draft": "off"}
with load(sys.argv[1], **how) as engine:
    conversation = Conversation(engine)
    conversation.sampling = Sampling(temperature=0, max_tokens=4)
    ask("Hello")
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + 2**22, limits[1]))
    try:
        ask("word " * 1500)
    except EngineError as fault:
        print(fault)
    resource.setrlimit(resource.RLIMIT_AS, limits)
    ask("And now?")
    print([message["role"] for message in conversation.messages])
"""


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="the limit is Linux's")
def test_running_out_of_memory_is_one_line_and_the_conversation_goes_on(dense: Path) -> None:
    import os
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-c", _MEMORY, str(dense)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        # Large blocks come from the system, not from what was freed before: the limit is met for certain.
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"},
    )
    assert done.returncode == 0, done.stderr
    fault, roles = done.stdout.strip().splitlines()[-2:]
    assert fault.startswith("cpu ran out of memory with a prompt of 1,5")
    assert "`dtype=bf16` or `context=" in fault
    assert roles.startswith("['user', 'assistant'")
    assert roles.endswith("'user', 'assistant']")
