"""What llama.cpp keeps where: keys and values in fewer bits, experts in main memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from machines import GB, known, laptop, with_gpu

from qwen_cli.errors import ModelError, UsageError
from qwen_cli.models.formats import kv_types
from qwen_cli.models.planning import fit as planning_fit
from qwen_cli.models.planning import plan
from qwen_cli.models.planning.hardware import Machine
from qwen_cli.models.planning.plan import Plan


def planned(name: str, machine: Machine, form: str = "Q4_K_M", **more: Any) -> Plan:
    return plan.make(known(name), machine, form=form, **more)


def refused(name: str, machine: Machine, **more: Any) -> str:
    with pytest.raises(ModelError) as fault:
        planning_fit.check(known(name), machine, planned(name, machine, **more))
    return str(fault.value)


class TestKeysAndValues:
    @pytest.mark.parametrize(("kv", "bytes_of_32"), [("f16", 64), ("bf16", 64), ("q8_0", 34), ("q4_0", 18)])
    def test_each_format_takes_its_blocks(self, kv: str, bytes_of_32: int) -> None:
        made = planned("qwen3:8b", laptop(64), context=8_192, kv=kv)
        assert made.cache == 8_192 * 2 * 36 * 8 * 128 * bytes_of_32 // 32
        assert made.kv == kv
        assert made.memory == made.weights + made.cache + made.working + made.runtime

    def test_running_states_are_kept_whole(self) -> None:
        whole, packed = (planned("qwen3.5:9b", laptop(64), context=8_192, kv=kv) for kv in ("f16", "q8_0"))
        grown = 8_192 * 2 * 8 * 4 * 256 * 2  # 8 of 32 layers keep all tokens
        assert whole.cache - packed.cache == grown - grown * 34 // 64
        assert whole.checkpoints == packed.checkpoints

    @pytest.mark.parametrize(("memory", "kv"), [(32, "f16"), (16, "q8_0"), (12, "q4_0")])
    def test_no_fewer_bits_than_fit(self, memory: int, kv: str) -> None:
        made = planned("qwen1.5:7b", laptop(memory), context=32_768)
        assert made.kv == kv and made.fit != "no"

    def test_what_does_not_fit_either_way_is_told_as_it_was_asked_for(self) -> None:
        made = planned("qwen1.5:7b", laptop(8), context=32_768)
        assert (made.fit, made.kv) == ("no", "f16")

    def test_eight_bits_are_taken_where_they_keep_all_on_the_gpu(self) -> None:
        made = planned("qwen3:8b", with_gpu(10), context=32_768)
        assert made.kv == "q8_0" and set(made.on) == {"cuda:0"}
        asked = planned("qwen3:8b", with_gpu(10), context=32_768, kv="f16")
        assert asked.kv == "f16" and asked.fit == "spills"

    def test_four_bits_are_not_taken_for_speed(self) -> None:
        made = planned("qwen3:8b", with_gpu(8), context=32_768)
        assert made.fit == "spills" and made.kv == "f16"
        assert planned("qwen3:8b", with_gpu(8), context=32_768, kv="q4_0").fit in ("well", "tight")

    def test_the_nearest_names_the_format_that_fits(self) -> None:
        assert "Use `kv=q8_0`, which needs" in refused("qwen1.5:7b", laptop(16), context=32_768, kv="f16")

    def test_small_heads_are_kept_whole(self) -> None:
        found = known("qwen1.5:7b")
        cache = replace(found.counted.cache, head_dim=80, kv_heads=52)
        small = replace(found, counted=replace(found.counted, cache=cache))
        assert plan.make(small, laptop(16), form="Q4_K_M", context=32_768).kv == "f16"
        with pytest.raises(UsageError, match=r"`kv=q8_0` is for heads of 32 values or a multiple.* has 80"):
            plan.make(small, laptop(16), form="Q4_K_M", kv="q8_0")

    @pytest.mark.parametrize("option", [{"kv": "q8_0"}, {"kv": "f16"}, {"n_cpu_moe": 4}, {"n_cpu_moe": 0}])
    def test_transformers_has_neither(self, option: dict[str, Any]) -> None:
        name = next(iter(option))
        with pytest.raises(UsageError, match=rf"`{name}=\w+` is for llama.cpp, qwen3:30b-a3b as bf16 runs"):
            planned("qwen3:30b-a3b", laptop(), "bf16", **option)


class TestExperts:
    @pytest.mark.parametrize("name", ["qwen3:30b-a3b", "qwen3.5:35b-a3b", "qwen3-coder:30b-a3b"])
    def test_as_few_as_leave_room_for_the_rest(self, name: str) -> None:
        machine = with_gpu(12)
        made = planned(name, machine, context=8_192)
        room = machine.gpus[0].free - GB // 2
        assert made.fit == "spills" and 0 < made.n_cpu_moe < known(name).counted.layers
        assert made.on["cuda:0"] <= room
        fewer = planned(name, machine, context=8_192, n_cpu_moe=made.n_cpu_moe - 1, kv="f16")
        assert fewer.on["cuda:0"] > room and fewer.fit == "no"
        assert sum(made.on.values()) == pytest.approx(made.weights + made.cache + made.working, abs=4)

    def test_it_is_faster_than_whole_layers_in_memory(self) -> None:
        made, layers = (planned("qwen3:30b-a3b", with_gpu(12), context=8_192, n_cpu_moe=n) for n in (None, 0))
        assert layers.n_cpu_moe == 0 and layers.fit == "spills"
        assert made.speed and layers.speed and made.speed > layers.speed

    @pytest.mark.parametrize(
        ("name", "machine"),
        [("qwen3:30b-a3b", with_gpu(32)), ("qwen3:30b-a3b", laptop(64)), ("qwen3:32b", with_gpu(12))],
    )
    def test_none_are_moved_where_it_is_no_use(self, name: str, machine: Machine) -> None:
        assert planned(name, machine).n_cpu_moe == 0

    def test_more_layers_than_there_are_mean_all(self) -> None:
        made = planned("qwen3:30b-a3b", with_gpu(12), n_cpu_moe=99)
        assert made.n_cpu_moe == 48 and made.fit == "spills"

    def test_several_gpus_share_the_rest(self) -> None:
        made = planned("qwen3-next:80b-a3b-instruct", with_gpu(12, 2), context=4_096)
        assert set(made.on) == {"cuda:0", "cuda:1", "cpu"} and made.fit == "spills"
        assert made.on["cuda:0"] == made.on["cuda:1"]

    def test_too_few_are_told_with_those_that_do(self) -> None:
        enough = planned("qwen3:30b-a3b", with_gpu(12), context=8_192).n_cpu_moe
        told = refused("qwen3:30b-a3b", with_gpu(12), context=8_192, n_cpu_moe=1)
        assert f"Use `n_cpu_moe={enough}`" in told

    def test_a_dense_model_has_none(self) -> None:
        with pytest.raises(UsageError, match="`n_cpu_moe=4` is for models with experts, qwen3:8b has none"):
            planned("qwen3:8b", with_gpu(12), n_cpu_moe=4)


def test_a_format_is_known_by_its_name() -> None:
    assert kv_types.checked("Q8_0") == "q8_0"
    for wrong in ("q8", "fp16", "q5_1", ""):
        with pytest.raises(UsageError, match="`kv` must be f16, bf16, q8_0 or q4_0"):
            kv_types.checked(wrong)
