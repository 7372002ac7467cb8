"""GPUs whose memory is the machine's: Jetson, GB10, the small ones in processors. It is not counted twice."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from machines import GB, known

from qwen_cli.commands.models import doctor, plan_output
from qwen_cli.models.planning import back_ends, fit, gpus, hardware, llama_server, plan
from qwen_cli.models.planning.back_ends import BackEnds
from qwen_cli.models.planning.gpus import Gpu
from qwen_cli.models.planning.hardware import Machine
from qwen_cli.models.planning.llama_server import LlamaServer

CARD = Gpu("RTX 4090", 24 * GB, 23 * GB, 1008e9)
SMALL = Gpu("AMD Radeon 780M", 16 * GB, 15 * GB, unified=True)

VULKAN = """\
ggml_vulkan: Found 2 Vulkan devices:
ggml_vulkan: 0 = AMD Radeon 780M Graphics (RADV PHOENIX) (radv) | uma: 1 | fp16: 1 | bf16: 0 | warp size: 64
ggml_vulkan: 1 = AMD Radeon RX 7900 XTX (RADV NAVI31) (radv) | uma: 0 | fp16: 1 | bf16: 0 | warp size: 64
"""
SMALL_ONE = "  Vulkan0: AMD Radeon 780M Graphics (RADV PHOENIX) (15944 MiB, 15000 MiB free)\n"
LARGE_ONE = "  Vulkan1: AMD Radeon RX 7900 XTX (RADV NAVI31) (24560 MiB, 24000 MiB free)\n"


class TestLlamaServersDevices:
    def test_vulkan_says_which_share_the_memory(self) -> None:
        (found,) = llama_server.gpus_of(f"{VULKAN}Available devices:\n{SMALL_ONE}")
        assert (found.name, found.unified) == ("AMD Radeon 780M Graphics (RADV PHOENIX)", True)
        (found,) = llama_server.gpus_of(f"Available devices:\n{SMALL_ONE}", VULKAN)  # as it starts
        assert found.unified
        (found,) = llama_server.gpus_of(f"Available devices:\n{SMALL_ONE}")
        assert not found.unified

    def test_a_small_one_beside_a_large_one_is_not_taken(self) -> None:
        (found,) = llama_server.gpus_of(f"{VULKAN}Available devices:\n{SMALL_ONE}{LARGE_ONE}")
        assert (found.name, found.unified) == ("AMD Radeon RX 7900 XTX (RADV NAVI31)", False)

    @pytest.mark.parametrize(
        ("name", "shared"),
        [("Orin", True), ("NVIDIA GB10", True), ("NVIDIA Thor", True), ("NVIDIA RTX 4090", False)],
    )
    def test_cuda_names_those_that_share_it(self, name: str, shared: bool) -> None:
        told = f"Available devices:\n  CUDA0: {name} (62841 MiB, 50000 MiB free)\n"
        (found,) = llama_server.gpus_of(told)
        assert found.unified is shared


class TestNvidia:
    """Their management library, which has no memory to tell of where it is the machine's."""

    class Library:
        def __init__(self, code: int) -> None:
            self.code = code

        def __getattr__(self, name: str) -> Callable[..., int]:
            def call(*given: Any) -> int:
                if name == "nvmlDeviceGetCount_v2":
                    given[0]._obj.value = 1
                if name == "nvmlSystemGetCudaDriverVersion_v2":
                    given[0]._obj.value = 13000
                if name == "nvmlDeviceGetName":
                    given[1].value = b"NVIDIA GB10"
                if name == "nvmlDeviceGetMemoryInfo":
                    given[1]._obj.total, given[1]._obj.free = (0, 0) if self.code else (24 * GB, 20 * GB)
                    return self.code
                return 0

            return call

    @pytest.fixture(autouse=True)
    def no_jetson(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(gpus, "_MODEL", tmp_path / "model")
        monkeypatch.setattr(gpus, "_RELEASE", tmp_path / "release")
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    @pytest.mark.parametrize(
        ("code", "found"),
        [
            (0, ((Gpu("NVIDIA GB10", 24 * GB, 20 * GB),), 13)),
            (3, ((Gpu("NVIDIA GB10", 0, 0, unified=True),), 13)),  # NVML_ERROR_NOT_SUPPORTED
            (15, ((), 13)),  # NVML_ERROR_GPU_IS_LOST
        ],
    )
    def test_without_memory_to_tell_of_it_is_the_machines(
        self, monkeypatch: pytest.MonkeyPatch, code: int, found: object
    ) -> None:
        monkeypatch.setattr(ctypes, "CDLL", lambda name: self.Library(code))
        assert gpus.nvidia() == found

    def test_a_jetson_without_the_library_is_known_by_its_system(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def none(name: str) -> None:
            raise OSError(name)

        monkeypatch.setattr(ctypes, "CDLL", none)
        assert gpus.nvidia() == ((), None)
        (tmp_path / "model").write_text("NVIDIA Jetson AGX Orin Developer Kit\0")
        (tmp_path / "release").write_text("# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic\n")
        orin = Gpu("NVIDIA Jetson AGX Orin Developer Kit", 0, 0, unified=True)
        assert gpus.nvidia() == ((orin,), 12)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        assert gpus.nvidia() == ((), None)


class TestThisMachine:
    @pytest.fixture(autouse=True)
    def sixty_gigabytes(self, fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(gpus, "has_gpu", lambda: True)
        monkeypatch.setattr(gpus, "is_apple", lambda: False)
        monkeypatch.setattr(gpus, "amd", lambda: ())
        monkeypatch.setattr(gpus, "nvidia", lambda: ((), None))
        monkeypatch.setattr(hardware, "memory", lambda: 64 * GB)
        monkeypatch.setattr(hardware, "free_memory", lambda: 40 * GB)

    def test_what_nvidia_shares_is_what_the_machine_has(self, monkeypatch: pytest.MonkeyPatch) -> None:
        gb10 = Gpu("NVIDIA GB10", 0, 0, unified=True)
        monkeypatch.setattr(gpus, "nvidia", lambda: ((gb10,), 13))
        monkeypatch.setattr(back_ends, "installed", lambda: BackEnds((gb10,), "cuda 13.0"))
        found = hardware.this_machine()
        assert found.unified and found.gpu_engines == {"llamacpp", "transformers"}
        assert found.gpus == (Gpu("NVIDIA GB10", 64 * GB, 40 * GB, unified=True),)

    def test_what_a_processors_gpu_is_given_is_no_more_than_is_free(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(back_ends, "installed", lambda: BackEnds((SMALL,), "cpu"))
        found = hardware.this_machine()
        assert found.unified and found.gpu_engines == {"llamacpp"}
        assert (found.gpus[0].memory, found.gpus[0].free) == (16 * GB, 16 * GB)

    def test_one_beside_a_card_is_left_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(gpus, "nvidia", lambda: ((CARD,), 13))
        monkeypatch.setattr(back_ends, "installed", lambda: BackEnds((SMALL,), "cuda 13.0"))
        assert hardware.this_machine().unified is False


class TestPlan:
    """The same model on a machine that shares its memory, and on one that does not."""

    GPU = Gpu("NVIDIA GB10", 32 * GB, 28 * GB, 273e9, unified=True)
    SHARING = Machine("small", 32 * GB, 28 * GB, 20, 100e9, (GPU,), measured=True, unified=True)

    def test_it_is_counted_once(self) -> None:
        made = plan.make(known("qwen3:32b"), self.SHARING, form="Q4_K_M")
        assert made.on.keys() == {"gpu"} and made.fit == "tight"  # of 32, not of 64
        assert plan.make(known("qwen3:32b"), self.SHARING, form="Q8_0").fit == "no"

    def test_its_speed_is_that_of_the_memory_whoever_measured_it(self) -> None:
        made = plan.make(known("qwen3:8b"), self.SHARING, form="Q4_K_M")
        assert made.speed and made.at_most and 40 < made.speed < 60

    def test_a_load_counts_what_others_hold(self) -> None:
        described = known("qwen3:8b")
        busy = Machine("this machine", 32 * GB, 5 * GB, 20, 100e9, (self.GPU,), measured=True, unified=True)
        made = plan.make(described, busy, form="Q4_K_M")
        assert "5.0 GB are free now" in (fit.check(described, busy, made) or "")
        large = known("qwen3:235b-a22b")
        with pytest.raises(fit.ModelError, match=r"this machine has 32\.0 GB\."):
            fit.check(large, busy, plan.make(large, busy))


def test_it_is_said_that_the_memory_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    found = hardware.Found((SMALL,), "other", None, frozenset({"llamacpp"}))
    monkeypatch.setattr(hardware, "found_gpus", lambda memory: found)
    assert doctor.check_gpus()[0].detail == "AMD Radeon 780M, up to 16.0 GB of the memory"
    told = plan_output._machine(TestPlan.SHARING)
    assert told == (
        "small: 32.0 GB of memory (28.0 GB free), 20 cores, 100 GB/s, NVIDIA GB10 sharing it, 273 GB/s"
    )
    assert plan_output.machine_facts(TestPlan.SHARING)["unified_memory"] is True


class TestFreeMemory:
    """What does not change is kept until the machine is started anew, what is free is asked again."""

    def test_llamacpps_gpus_are_asked_again_for_it(
        self, fresh: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        told = [((Gpu("Arc", 12 * GB, free),), frozenset[str]()) for free in (9 * GB, 2 * GB)]
        monkeypatch.setattr(back_ends, "_llamacpp", lambda: told.pop(0))
        assert back_ends.installed().llamacpp[0].free == 9 * GB
        assert back_ends.installed().llamacpp[0].free == 9 * GB  # nobody asked
        assert back_ends.ggufs_now()[0].free == 2 * GB

    def test_so_are_those_of_a_llama_server(self, monkeypatch: pytest.MonkeyPatch) -> None:
        server = LlamaServer(Path("/x"), gpus=(CARD,))
        monkeypatch.setattr(back_ends, "installed", lambda: BackEnds((), None, server))
        told = [f"  CUDA0: RTX 4090 (22888 MiB, {free} MiB free)\n" for free in (1000, 0)] + [""]
        monkeypatch.setattr(llama_server, "_said", lambda path, given: (told.pop(0), ""))
        assert back_ends.ggufs_now()[0].free == 1000 << 20
        assert back_ends.ggufs_now()[0].free == 0
        assert back_ends.ggufs_now() == (CARD,)  # it did not answer

    def test_one_that_shares_the_machines_memory_need_not_be(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(back_ends, "installed", lambda: BackEnds((SMALL,), None))
        monkeypatch.setattr(back_ends, "_llamacpp", lambda: pytest.fail("asked"))
        assert back_ends.ggufs_now() == (SMALL,)


@pytest.mark.parametrize(
    ("inside", "outside", "taken"),
    [
        ((SMALL,), (CARD,), (CARD,)),
        ((CARD,), (SMALL,), (CARD,)),
        ((SMALL,), (SMALL,), (SMALL,)),
        ((), (), ()),
    ],
)
def test_a_card_is_better_than_a_gpu_in_the_processor(
    inside: tuple[Gpu, ...], outside: tuple[Gpu, ...], taken: tuple[Gpu, ...]
) -> None:
    found = BackEnds(inside, None, LlamaServer(Path("/x"), gpus=outside), frozenset({"AVX2"}))
    assert found.ggufs == taken
    assert found.outside() == (CARD.name if outside == (CARD,) else None)
