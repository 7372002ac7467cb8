"""What it takes to run a model, told from its configuration: memory, where it goes, what fits instead."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf_files
import pytest
from hub_server import Hub
from machines import GB, known, laptop, with_gpu

from qwen_cli import paths
from qwen_cli.errors import ModelError, UsageError
from qwen_cli.models.catalog import lookup, published
from qwen_cli.models.formats import architecture, weight_formats
from qwen_cli.models.hub.resolve import Weights
from qwen_cli.models.planning import back_ends, describe, device_map, hardware, measured, plan, ranking
from qwen_cli.models.planning import fit as planning_fit
from qwen_cli.models.planning.gpus import Gpu
from qwen_cli.models.planning.hardware import Machine

# The bytes of the files that Qwen publishes are written down in the catalog; the rules know nothing of them.
# 6 MB of each are the vocabulary. Left out: a file that was made by other rules.
_FILES = [m for m in lookup.MODELS if m.gguf_bytes and m.name != "qwen2.5:72b" and not m.community]
_DYNAMIC = [m for m in lookup.MODELS if m.gguf_bytes and m.community]


@pytest.mark.parametrize("model", _FILES, ids=lambda model: model.name)
def test_a_gguf_is_as_large_as_llamacpp_makes_it(model: lookup.Model) -> None:
    text = replace(describe.of_model(model), size=None)
    text = replace(text, counted=replace(text.counted, vision=()))  # eyes come as a file of their own
    size, _ = text.bytes_in(model.quant)
    assert model.gguf_bytes
    assert 0 < model.gguf_bytes - size < 7_000_000


@pytest.mark.parametrize("model", _DYNAMIC, ids=lambda model: model.name)
def test_a_dynamic_quantization_is_told_within_an_eighth(model: lookup.Model) -> None:
    text = describe.of_model(model)
    size, _ = replace(text, counted=replace(text.counted, vision=())).bytes_in(model.quant)
    assert size == pytest.approx(model.gguf_bytes, rel=0.125)


def test_the_starter_is_told_from_its_header(starter_gguf: Path) -> None:
    found = describe.describe("starter")
    size, read = found.bytes_in("Q4_K_M")
    assert size == starter_gguf.stat().st_size
    # Of the token table one row is read, and nothing of the vocabulary in the header.
    assert read < size - 93_000_000
    by_rule = replace(known("qwen2.5-coder:0.5b"), size=None)
    assert by_rule.bytes_in("Q4_K_M")[1] == read
    made = plan.make(found, laptop())
    assert (made.engine, made.form, made.context) == ("llamacpp", "Q4_K_M", 16_384)
    assert made.cache == 16_384 * 12_288
    assert made.fit == "well" and made.speed and made.speed > 20


def test_bytes_in_each_form() -> None:
    found = known("qwen3:8b")
    counted = found.counted
    assert found.bytes_in("fp32")[0] == 4 * counted.parameters
    assert found.bytes_in("bf16")[0] == 2 * counted.parameters
    linear = sum(t.parameters for t in counted.tensors if t.linear)
    rest = counted.parameters - linear
    scales = sum(4 * t.rows for t in counted.tensors if t.linear)
    assert found.bytes_in("8bit")[0] == linear + scales + 2 * rest
    assert found.bytes_in("4bit")[0] == pytest.approx(linear * (0.5 + 1 / 64 + 4 / 64 / 256) + 2 * rest)
    assert found.bytes_in("8bit", "fp32")[0] == linear + scales + 4 * rest
    # The token table is not read, the output layer is.
    assert found.bytes_in("bf16")[1] == 2 * (counted.parameters - 151_936 * 4096)


def test_bitsandbytes_takes_as_many_bytes_as_it_is_said_to() -> None:
    import bitsandbytes.functional as functional
    import torch

    torch.manual_seed(0)
    packed, state = functional.quantize_4bit(
        torch.randn(1024, 2048), quant_type="nf4", compress_statistics=True
    )
    held = packed.numel() + state.absmax.numel() + 4 * state.state2.absmax.numel()
    tensor = next(t for t in known("qwen3:8b").counted.tensors if t.linear)
    bits = weight_formats._bits(replace(tensor, rows=1024, columns=2048), "4bit", "bf16")
    assert held == pytest.approx(bits / 8 * 1024 * 2048, rel=1e-3)


def test_routed_experts_are_no_linear_layers_for_bitsandbytes() -> None:
    found = known("qwen3:30b-a3b")
    assert found.bytes_in("4bit")[0] > 0.9 * found.bytes_in("bf16")[0]


def test_a_mixture_reads_the_experts_that_are_asked() -> None:
    size, read = known("qwen3:30b-a3b").bytes_in("Q4_K_M")
    assert size == 18_556_685_824
    assert 1.7 * GB < read < 2.2 * GB


def test_vision_models_bring_their_eyes() -> None:
    found = known("qwen3-vl:8b-instruct")
    eyes = sum(t.parameters for t in found.counted.vision)
    assert eyes == 576_388_336
    assert found.bytes_in("Q4_K_M")[0] == pytest.approx(5_027_784_800 + 2 * eyes, rel=0.01)
    assert found.counted.merged_patch == 32
    assert known("qwen2.5-vl:7b").counted.merged_patch == 28


@pytest.mark.parametrize(
    ("name", "form", "machine", "fit", "on"),
    [
        ("qwen3:8b", "Q4_K_M", laptop(24), "well", {"cpu"}),
        ("qwen3:8b", "bf16", laptop(24), "tight", {"cpu"}),
        ("qwen3:8b", "fp32", laptop(24), "no", {"cpu", "disk"}),
        ("qwen3:8b", "bf16", with_gpu(24), "well", {"cuda:0"}),
        ("qwen3:14b", "bf16", with_gpu(24), "spills", {"cuda:0", "cpu"}),
        ("qwen3:14b", "bf16", with_gpu(24, 2), "well", {"cuda:0", "cuda:1"}),
        ("qwen2.5:72b", "bf16", with_gpu(24), "no", {"cuda:0", "cpu", "disk"}),
    ],
)
def test_where_it_goes(name: str, form: str, machine: Machine, fit: str, on: set[str]) -> None:
    made = plan.make(known(name), machine, form=form)
    assert (made.fit, set(made.on)) == (fit, on)
    assert sum(made.on.values()) == made.memory - made.runtime


def test_what_does_not_fit_goes_to_the_disk_where_that_is_allowed() -> None:
    made = plan.make(known("qwen3:8b"), laptop(16), form="bf16", offload=True)
    assert made.fit == "spills" and made.on["disk"] > 1 * GB and made.speed is None


def test_a_long_context_grows_the_cache() -> None:
    found = known("qwen3:8b")
    short, long = (plan.make(found, laptop(), context=n) for n in (4096, 40_960))
    assert long.cache == 10 * short.cache
    with pytest.raises(UsageError, match="trained for 40,960 tokens of context, 40,961 were asked for"):
        plan.make(found, laptop(), context=40_961)
    hybrid = known("qwen3-next:80b-a3b-instruct")
    short, long = (plan.make(hybrid, laptop(96), context=n) for n in (4096, 40_960))
    assert long.cache - short.cache == 36_864 * 24_576


def test_the_context_is_shortened_where_memory_is_short() -> None:
    made = plan.make(known("qwen1.5:14b"), laptop(16))
    assert made.context == 4096 and made.fit == "tight"


def test_a_processor_is_slower_the_more_is_read() -> None:
    speeds = [
        plan.make(known(f"qwen3:{size}"), laptop(64, 8)).speed or 0.0 for size in ("0.6b", "4b", "8b", "32b")
    ]
    assert speeds == sorted(speeds, reverse=True)
    mixture = plan.make(known("qwen3:30b-a3b"), laptop(64, 8)).speed
    assert mixture and mixture > 5 * speeds[-1]
    faster = replace(laptop(64, 8), bandwidth=200e9, cores=32)
    assert (plan.make(known("qwen3:32b"), faster).speed or 0) > 2 * speeds[-1]


def test_a_gpu_is_as_fast_as_its_memory_at_most() -> None:
    made = plan.make(known("qwen3:8b"), with_gpu(24), form="bf16")
    assert made.at_most and made.speed
    assert made.speed == pytest.approx(1e12 / (made.read + 2000 * made.cache_per_token))
    half = plan.make(known("qwen3:14b"), with_gpu(24), form="bf16")
    assert half.speed and half.speed < 10  # what is in memory is copied for each token
    unknown = replace(with_gpu(24), gpus=(Gpu("GPU", 24 * GB, 23 * GB),))
    assert plan.make(known("qwen3:8b"), unknown, form="bf16").speed is None
    assert plan.make(known("qwen3:8b"), unknown, form="bf16").bearable


def test_before_a_load_that_cannot_fit_the_nearest_that_does_is_named() -> None:
    def says(name: str, form: str, machine: Machine, **more: Any) -> str:
        found = known(name)
        with pytest.raises(ModelError) as fault:
            planning_fit.check(found, machine, plan.make(found, machine, form=form, **more))
        assert "\n" not in str(fault.value)
        return str(fault.value)

    assert says("qwen3:8b", "fp32", laptop(24)).startswith(
        "qwen3:8b as fp32 needs 35.3 GB with 4,096 tokens of context, laptop has 21.6 GB free. "
        "Use `engine=llamacpp`, which needs "
    )
    assert "use `quant=8bit`" in says("qwen3:8b-base", "bf16", laptop(16)).replace("Use", "use")
    assert "Use `context=4096`" in says("qwen1.5:7b", "Q4_K_M", laptop(8), context=32_768)
    assert "Use qwen3:14b, which needs 11.9 GB" in says("qwen3:235b-a22b", "Q4_K_M", laptop(24))
    assert "No model of the catalog" in says("qwen3:235b-a22b", "Q4_K_M", laptop(1, 1))


def test_what_fits_is_let_through_and_shortness_is_remarked() -> None:
    found = known("qwen3:8b")
    assert planning_fit.check(found, laptop(), plan.make(found, laptop())) is None
    busy = replace(laptop(), free=5 * GB)
    remark = planning_fit.check(found, busy, plan.make(found, busy))
    assert remark and "5.0 GB are free now" in remark


def test_a_fetch_that_cannot_fit_is_refused_before_it_begins(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qwen_cli.engines import load

    monkeypatch.setattr(hardware, "this_machine", lambda **_: laptop(4))
    with pytest.raises(ModelError, match=r"qwen3:32b as Q4_K_M needs .* laptop has 4\.0 GB"):
        load.load("qwen3:32b", engine="llamacpp")
    assert hub.log == []


def test_a_load_that_cannot_fit_is_refused(
    fresh: Path, starter_safetensors: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qwen_cli.engines import load

    poor = Machine("this machine", 2 * GB, GB, 2, 24e9)
    monkeypatch.setattr(hardware, "this_machine", lambda **_: poor)
    monkeypatch.setattr(hardware, "free_memory", lambda: GB)
    with pytest.raises(ModelError, match=r"needs 2.* this machine has 1\.0 GB free"):
        load.load(str(starter_safetensors), engine="transformers")


def test_the_best_for_each_task() -> None:
    best = ranking.best(laptop(24, 2))
    assert {task: found.name for task, found in best.items()} == {
        "chat": "qwen3.5:4b",
        "code": "qwen2.5-coder:7b",
        "math": "qwen3.5:4b",
        "vision": "qwen3.5:4b",
    }
    assert ranking.best(laptop(1, 1)) == {}
    on_gpu = ranking.best(with_gpu(80))
    assert on_gpu["chat"].name == "qwen3.8:27b"
    assert all(lookup.find(name) for names in ranking.RANKED.values() for name in names)


def test_every_model_that_does_a_task_has_a_place_in_its_ranking() -> None:
    for task, names in ranking.RANKED.items():
        order = [model.name for model in ranking.ordered(task)]
        assert order[: len(names)] == list(names)
        assert len(set(order)) == len(order)
        able = [m for m in lookup.MODELS if task in m.tasks and not m.base and published.has_shape(m)]
        assert set(order) >= {m.name for m in able}


def test_the_table_begins_with_what_fits_well() -> None:
    plans = ranking.table(laptop())
    order = [(plan.FITS.index(p.fit), p.fit == "well" and not p.bearable) for p in plans]
    assert order == sorted(order)
    first = [p.parameters for p in plans if p.fit == "well" and p.bearable]
    assert first == sorted(first, reverse=True) and len(first) > 5
    named = {plan.name for plan in plans}
    assert {"qwen3.8:27b", "qwen3.8:2.4t-a95b", "qvq:72b", "qwen3guard-gen:8b"} <= named
    silent = {"qwen3-embedding:8b", "qwen2.5-math-prm:7b", "qwen3-asr:0.6b", "qwen3:8b-base"}
    assert not silent & named and len(named) == len(plans)


@pytest.mark.parametrize("name", ["qwen3-asr:1.7b", "qwen3-omni:30b", "Qwen/Qwen2-Audio-7B-Instruct"])
def test_what_has_no_known_shape_is_refused_with_its_licence(fresh: Path, name: str) -> None:
    with pytest.raises(ModelError, match=r"the shape of qwen\S+ \(Apache-2\.0\) is not known here") as caught:
        describe.describe(name)
    assert "\n" not in str(caught.value)


def folder(path: Path, config: dict[str, Any], **files: Any) -> Path:
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(config))
    for name, content in files.items():
        (path / name.replace("_json", ".json")).write_text(json.dumps(content))
    return path


def test_a_folder_without_weights_is_enough(tmp_path: Path) -> None:
    model = lookup.find("qwen3:8b")
    assert model
    path = folder(tmp_path / "mine", published.config(model))
    found = describe.describe(str(path))
    assert (found.counted.parameters, found.stored, found.engine) == (8_190_735_360, "bf16", "transformers")


def test_published_quantizations_are_as_large_as_their_index_says(tmp_path: Path) -> None:
    model = lookup.find("qwen2.5:7b")
    assert model
    config = {**published.config(model), "quantization_config": {"quant_method": "awq", "bits": 4}}
    path = folder(tmp_path / "awq", config)
    (path / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": 5_570_000_000}})
    )
    found = describe.describe(str(path))
    made = plan.make(found, with_gpu(24))
    assert (made.form, made.engine, made.weights) == ("awq", "transformers", 5_570_000_000)
    assert made.parameters == 7_615_616_512


def test_a_config_that_lacks_fields_is_one_line(tmp_path: Path) -> None:
    path = folder(tmp_path / "m", {"model_type": "qwen3", "hidden_size": 64, "num_hidden_layers": 2})
    with pytest.raises(ModelError, match="num_attention_heads"):
        describe.describe(str(path))


def test_a_gguf_of_a_mixture_and_of_a_hybrid(tmp_path: Path) -> None:
    path = gguf_files.write(
        tmp_path / "m.gguf",
        "qwen3next",
        **{
            "qwen3next.full_attention_interval": 4,
            "qwen3next.ssm.conv_kernel": 4,
            "qwen3next.ssm.inner_size": 64,
            "qwen3next.ssm.state_size": 16,
            "qwen3next.ssm.group_count": 2,
        },
    )
    cache = describe.of_weights(Weights("m", path, "gguf", None)).counted.cache
    assert (cache.full, cache.linear) == (1, 3)
    # llama.cpp: (kernel - 1) × (inner + 2 × groups × state) inputs and state × inner values, in float32
    assert cache.constant_bytes(llamacpp=True) == 3 * 4 * (3 * (64 + 2 * 2 * 16) + 16 * 64)
    assert architecture.read(path).running_state == cache.constant_bytes(llamacpp=True)


def test_a_hybrid_has_checkpoints_and_each_slot_a_state() -> None:
    found = known("qwen3.5:27b")
    cache = found.counted.cache
    state = cache.constant_bytes(llamacpp=True)
    # 48 layers: 3 inputs of 2 × 16 × 128 + 48 × 128 channels, and 48 heads of 128 × 128, in float32
    assert state == 48 * 4 * (3 * (2 * 16 * 128 + 48 * 128) + 48 * 128 * 128)
    made = plan.make(found, laptop(64))
    assert made.engine == "llamacpp"
    assert made.checkpoints == cache.checkpoint_bytes(llamacpp=True) == 6 * state
    assert made.cache == cache.bytes_per_token() * made.context + 8 * state
    parts = made.weights + made.cache + made.working + made.runtime
    assert made.memory == parts + made.checkpoints == sum(made.on.values()) + made.runtime + made.checkpoints

    on_gpu = plan.make(found, with_gpu(80))  # where the checkpoints are not
    assert sum(on_gpu.on.values()) == on_gpu.weights + on_gpu.cache + on_gpu.working
    assert plan.make(known("qwen3:8b"), laptop()).checkpoints == 0


def test_the_hub_is_asked_for_small_files_only(hub: Hub, repos: Path) -> None:
    model = lookup.find("qwen3:4b")
    assert model
    repo = repos / "someone/their-qwen"
    folder(repo, published.config(model))
    (repo / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": 8_044_936_192}})
    )
    (repo / "model-00001-of-00002.safetensors").write_bytes(b"\0" * 1000)
    found = describe.describe("someone/their-qwen")
    assert found.counted.parameters == 4_022_468_096 and found.size == 8_044_936_192
    assert not [line for line in hub.downloads() if ".safetensors " in f"{line} "]
    hub.log.clear()
    assert describe.describe("someone/their-qwen").counted == found.counted
    assert hub.log == []


def test_without_a_hub_the_published_files_are_used_and_said(fresh: Path) -> None:
    found = describe.describe("qwen3:8b")
    assert found.counted.parameters == 8_190_735_360
    assert found.note == "no model hub can be reached: qwen3:8b is planned as it was published"
    with pytest.raises(ModelError, match="no model hub can be reached"):
        describe.describe("someone/else")
    community = describe.describe("unsloth/Qwen3-8B-GGUF:Q5_K_M")
    assert (community.stored, community.engine) == ("Q5_K_M", "llamacpp")
    assert community.bytes_in("Q5_K_M")[0] == known("qwen3:8b").bytes_in("Q5_K_M")[0]
    packed = describe.describe("Qwen/Qwen2.5-7B-Instruct-AWQ")
    assert (packed.stored, packed.engine) == ("awq 4 bits", "transformers")
    assert 5 * GB < packed.bytes_in(packed.stored)[0] < 6.5 * GB
    with pytest.raises(ModelError, match="there is no model 'qwen9'"):
        describe.describe("qwen9")


def test_a_machine_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "desktop.toml"
    file.write_text(
        'memory = "64GB"\ncores = 8\nbandwidth = "80GB/s"\n'
        '[[gpus]]\nname = "RTX 4090"\nmemory = "24GiB"\nbandwidth = "1008GB/s"\n'
    )
    found = hardware.read(file)
    assert (found.name, found.memory, found.cores, found.bandwidth) == ("desktop", 64 * GB, 8, 80 * GB)
    assert found.gpus[0].memory == 24 * 2**30 and found.gpus[0].bandwidth == 1008 * GB
    same = tmp_path / "desktop.json"
    same.write_text(
        json.dumps(
            {
                "memory": 64 * GB,
                "cores": 8,
                "bandwidth": 80 * GB,
                "gpus": [{"name": "RTX 4090", "memory": "24GiB", "bandwidth": "1008 GB/s"}],
            }
        )
    )
    assert hardware.read(same) == found


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("memory = ", "is not valid TOML"),
        ("cores = 8", "does not give memory"),
        ('memory = "much"\ncores = 8', "memory must be a size, got 'much'"),
        ('memory = "8GB"\ncores = "eight"', "cores must be a whole number above 0, got 'eight'"),
        ('memory = "8GB"\ncores = 8\nspeed = 3', "has a field 'speed'"),
        ('memory = "8GB"\ncores = 8\ngpus = 3', "gpus must be a list of tables"),
        ('memory = "8GB"\ncores = 8\n[[gpus]]\nname = "x"', "does not give memory"),
    ],
)
def test_a_malformed_machine_file_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "m.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=says) as fault:
        hardware.read(file)
    assert "\n" not in str(fault.value)


def test_a_machine_file_that_is_not_there() -> None:
    with pytest.raises(UsageError, match=r"cannot read the machine file nowhere\.toml"):
        hardware.read(Path("nowhere.toml"))


# Tokens a second on one Zen 4 core (benchmarks/plan.py with a shape): read, and written behind so many.
MEASURED = [
    ("qwen2.5-coder:0.5b", "Q4_K_M", 264, 82.9, 28.6),
    ("qwen2.5-coder:0.5b", "Q6_K", 264, 103.1, 28.8),
    ("qwen2.5-coder:0.5b", "Q8_0", 264, 96.6, 26.4),
    ("qwen2.5-coder:0.5b", "Q8_0", 1032, 92.8, 22.5),  # this and the next were not fitted to
    ("qwen2.5-coder:0.5b", "Q4_K_M", 1048, 79.4, 24.7),
    ("qwen2.5-coder:0.5b", "Q4_K_M", 8216, 46.7, 6.4),
    ("qwen2.5-coder:1.5b", "Q4_K_M", 518, 39.0, 15.9),
    ("qwen2.5-coder:1.5b", "Q4_K_M", 132, 38.7, 18.4),
    ("qwen2.5-coder:1.5b", "Q6_K", 132, 37.8, 13.4),
    ("qwen2.5-coder:1.5b", "Q8_0", 132, 27.3, 10.3),
]


@pytest.mark.parametrize(("name", "form", "context", "read", "written"), MEASURED)
def test_speed_on_a_processor_is_within_a_quarter_of_what_was_measured(
    name: str, form: str, context: int, read: float, written: float
) -> None:
    core = Machine("core", 24 * GB, 20 * GB, 1, 23.5e9, measured=True, multiplying=44.1e9)
    made = plan.make(known(name), core, form=form, context=context)
    assert made.full_speed == pytest.approx(written, rel=0.25)
    assert made.full_prompt_speed == pytest.approx(read, rel=0.25)


def test_long_prompts_are_read_more_slowly() -> None:
    """Each token is multiplied with those before it."""
    core = Machine("core", 24 * GB, 20 * GB, 1, 23.5e9, measured=True, multiplying=44.1e9)
    made = plan.make(known("qwen2.5-coder:0.5b"), core, form="Q8_0", context=16_384)
    assert made.prompt_speed and made.full_prompt_speed
    assert made.full_prompt_speed < made.prompt_speed * 0.7


def test_a_llama_server_of_the_processor_s_own_reads_faster_and_writes_as_fast() -> None:
    core = Machine("core", 24 * GB, 20 * GB, 1, 23.5e9, measured=True, multiplying=44.1e9)
    for form, faster in (("Q4_K_M", 1.4), ("bf16", 1.0)):
        made, wide = (
            plan.make(known("qwen2.5-coder:1.5b"), machine, form=form)
            for machine in (core, replace(core, wide=True))
        )
        assert made.prompt_speed and wide.prompt_speed == pytest.approx(made.prompt_speed * faster)
        assert wide.speed == made.speed


@pytest.mark.parametrize("name", ["qwen2.5-coder:0.5b", "qwen2.5-coder:1.5b", "qwen3:8b"])
@pytest.mark.parametrize("context", [1_024, 8_192])
def test_llamacpp_reads_long_texts_faster_than_transformers(name: str, context: int) -> None:
    """So `auto` needs no rule of its own for them."""
    core = Machine("core", 64 * GB, 60 * GB, 1, 23.5e9, measured=True, multiplying=44.1e9)
    rates = [
        plan.make(known(name), core, form=form, context=context).full_prompt_speed
        for form in ("Q4_K_M", "bf16")
    ]
    assert rates[0] and rates[1] and rates[0] > 1.5 * rates[1]


@pytest.mark.parametrize(
    ("gpu", "why", "wide"), [(False, "AVX512", True), (False, None, False), (True, "AVX512", False)]
)
def test_what_the_user_s_llama_server_computes_with_is_known(
    gpu: bool, why: str | None, wide: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = hardware.Found((Gpu("card", 8 * GB, 8 * GB),) if gpu else ())
    monkeypatch.setattr(hardware, "found_gpus", lambda memory: found)
    monkeypatch.setattr(back_ends, "outside", lambda: why)
    assert hardware.this_machine().wide is wide


def test_this_machine_is_measured_and_remembered(fresh: Path) -> None:
    cores = hardware.usable_cores()
    assert measured.remembered(cores) is None
    assert hardware.this_machine().measured is False
    found = hardware.this_machine(measure=True)
    assert found.measured and 1 * GB < found.bandwidth < 2000 * GB
    assert 1e9 < found.multiplying < 1e12
    assert measured.remembered(cores) == measured.Measured(found.bandwidth, found.multiplying)
    assert measured.remembered(cores + 1) is None
    again = hardware.this_machine()
    assert again == replace(found, free=again.free)
    kept = paths.data_folder() / "machine.json"
    for broken in ("{", "[]", '{"bandwidth": {"1": 2e10}}', f'{{"{cores}": [[0, 1]]}}', f'{{"{cores}": 3}}'):
        kept.write_text(broken)
        assert measured.remembered(cores) is None
    assert hardware.this_machine(measure=True).measured


def test_one_slow_moment_does_not_count(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for value in (40e9, 41e9, 9e9, 42e9, 43e9, 44e9):
        monkeypatch.setattr(measured, "measure", lambda cores, value=value: measured.Measured(value, 5e10))
        found = measured.measure_and_remember(2)
    assert found == measured.remembered(2) == measured.Measured(42e9, 5e10)  # of the last five


def test_accelerates_map_on_a_model_without_weights() -> None:
    model = lookup.find("qwen2.5:0.5b")
    assert model
    config = published.config(model)
    whole = device_map.infer(config, laptop(), {"cpu": 8 * GB}, "bf16", "bf16")
    # and a few bytes for the frequencies of the positions
    assert whole.sizes["cpu"] == pytest.approx(2 * 494_032_768, rel=1e-6)
    assert device_map.describe(whole) == {"cpu": "all of it"}
    double = device_map.infer(config, laptop(), {"cpu": 8 * GB}, "fp32", "fp32")
    assert double.sizes["cpu"] == pytest.approx(4 * 494_032_768, rel=1e-6)
    part = device_map.infer(config, with_gpu(24), {0: GB // 2, "cpu": GB // 4}, "bf16", "bf16")
    assert list(part.sizes) == ["cuda:0", "cpu", "disk"]
    assert part.sizes["cuda:0"] <= GB // 2 and part.sizes["cpu"] <= GB // 4
    assert "layers 0-" in device_map.describe(part)["cuda:0"]
    eight = device_map.infer(config, laptop(), {"cpu": 8 * GB}, "8bit", "bf16")
    linear = sum(t.parameters for t in known("qwen2.5:0.5b").counted.tensors if t.linear)
    assert eight.sizes["cpu"] == pytest.approx(linear + 2 * (494_032_768 - linear), rel=1e-5)
    with pytest.raises(ModelError, match="cannot build a model of type 'qwen99'"):
        device_map.infer({**config, "model_type": "qwen99"}, laptop(), None, "bf16", "bf16")


def test_a_stretched_model_has_the_context_that_it_is_stretched_to() -> None:
    """`--rope-scaling yarn`: the check before a load knows it too."""
    with pytest.raises(UsageError, match="trained for 40,960 tokens"):
        plan.make(known("qwen3:8b"), laptop(64, 8), context=100_000)
    long = describe.stretched(known("qwen3:8b"), 100_000)
    assert plan.make(long, laptop(64, 8), context=100_000).context == 100_000
    assert describe.stretched(known("qwen3:8b"), 8_000) == known("qwen3:8b")


def test_a_large_model_is_let_through_as_long_as_it_is_stretched(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = gguf_files.write(tmp_path / "Qwen3-8B-Q4_K_M.gguf", "qwen3")  # of 2,048 tokens
    weights = Weights(str(file), file, "gguf", None)
    monkeypatch.setattr(planning_fit.hardware, "free_memory", lambda: 0)
    monkeypatch.setattr(planning_fit.hardware, "this_machine", lambda **given: laptop(64, 8))
    made, _ = planning_fit.before_load(weights, context=8192, scaled=True)
    assert made and made.context == 8192
    with pytest.raises(UsageError, match="trained for 2,048 tokens"):
        planning_fit.before_load(weights, context=8192)
