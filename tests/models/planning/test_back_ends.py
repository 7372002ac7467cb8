"""What the installed libraries compute on, and what to do about it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from qwen_cli.commands.models import doctor
from qwen_cli.engines import load
from qwen_cli.models.planning import back_ends, gpus, hardware
from qwen_cli.models.planning.back_ends import BackEnds
from qwen_cli.models.planning.gpus import Gpu
from qwen_cli.models.planning.hardware import Found

CARD = Gpu("RTX 4090", 24 * 10**9, 23 * 10**9, 1008e9)


def device(kind: str) -> dict[str, Any]:
    """What `xllamacpp.get_device_info` tells of a device."""
    return {
        "name": kind,
        "description": f"some {kind}",
        "memory_free": 5,
        "memory_total": 9,
        "type": f"ggml_backend_dev_type.GGML_BACKEND_DEVICE_TYPE_{kind}",
    }


def test_llamacpps_gpus_are_those_with_memory_of_their_own() -> None:
    devices = [device(kind) for kind in ("GPU", "IGPU", "ACCEL", "CPU")]
    assert back_ends.gpus_of(devices) == (Gpu("some GPU", 9, 5),)
    assert back_ends.gpus_of(devices[1:]) == (Gpu("some IGPU", 9, 5, unified=True),)
    assert back_ends.gpus_of(devices[2:]) == ()


def test_this_llamacpp_and_this_torch_are_asked(fresh: Path) -> None:
    found = back_ends.installed()
    assert found.torch == back_ends.torch_build()
    assert back_ends.installed() == found
    (fresh / "back_ends.json").write_text('{"of": 3}') if fresh.is_dir() else None
    assert back_ends.installed() == found


@pytest.mark.parametrize(
    ("version", "build"),
    [
        ("cuda: Optional[str] = '13.0'\nhip: Optional[str] = None\nxpu: Optional[str] = None\n", "cuda 13.0"),
        ("cuda: Optional[str] = None\nhip: Optional[str] = '7.1.25424'\n", "rocm 7.1"),
        ("cuda = None\nrocm: Optional[str] = '7.2.4'\nhip = None\n", "rocm 7.2"),
        ("cuda: Optional[str] = None\nxpu: Optional[str] = '20250200'\n", "xpu"),
        ("__version__ = '2.14.1+cpu'\ncuda: Optional[str] = None\nhip: Optional[str] = None\n", "cpu"),
    ],
)
def test_what_torch_is_built_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, build: str
) -> None:
    (tmp_path / "version.py").write_text(version)
    monkeypatch.setattr(back_ends, "_folder", lambda name: tmp_path)
    monkeypatch.setattr(back_ends.sys, "platform", "linux")
    assert back_ends.torch_build() == build


@pytest.mark.parametrize(
    ("torch", "maker", "driver", "computes"),
    [
        ("cuda 13.0", "nvidia", 13, True),
        ("cuda 13.0", "nvidia", 12, False),
        ("cuda 12.8", "nvidia", 13, True),
        ("cuda 13.0", "amd", None, False),
        ("rocm 7.1", "amd", None, True),
        ("mps", "apple", None, True),
        ("cpu", "nvidia", 13, False),
        (None, "nvidia", 13, False),
        ("xpu", "other", None, False),
    ],
)
def test_whether_torch_computes_on_a_gpu(
    torch: str | None, maker: str, driver: int | None, computes: bool
) -> None:
    assert BackEnds((), torch).torch_computes_on(maker, driver) is computes


@pytest.mark.parametrize(
    ("chosen", "left"),
    [
        (None, "abc"), ("", ""), ("-1", ""), ("1", "b"), ("2,0", "ca"), ("0,7,1", "a"), ("GPU-b", "b"),
        ("0,0", "a"), ("GPU-x", ""), (" 1 , 2", "bc"),
    ],
)  # fmt: skip
def test_cuda_visible_devices_is_obeyed(chosen: str | None, left: str) -> None:
    three = {f"GPU-{name}": Gpu(name, 1, 1) for name in "abc"}
    assert "".join(gpu.name for gpu in gpus.visible(three, chosen).values()) == left


class TestAmd:
    """Three GPUs and a processor, as the driver writes them; ROCm counts its nodes, not the cards."""

    @pytest.fixture(autouse=True)
    def driver(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(gpus, "_NODES", tmp_path / "nodes")
        monkeypatch.setattr(gpus, "_CARDS", tmp_path / "drm")
        for name in ("CUDA", "HIP", "ROCR"):
            monkeypatch.delenv(f"{name}_VISIBLE_DEVICES", raising=False)
        self.card(tmp_path, 130, "a", 16, "c0ffee")
        self.card(tmp_path, 128, "small", 1, "")
        self.card(tmp_path, 129, "b", 24, "beef")
        for node, minor in enumerate((0, 130, 128, 129)):
            folder = tmp_path / "nodes" / str(node)
            folder.mkdir(parents=True)
            (folder / "properties").write_text(f"simd_count 4\ndrm_render_minor {minor}\nname x y\n")

    def card(self, root: Path, minor: int, name: str, memory: int, serial: str) -> None:
        device = root / "drm" / f"renderD{minor}" / "device"
        device.mkdir(parents=True)
        (root / "drm" / f"card{minor - 128}").symlink_to(device.parent)
        (device / "mem_info_vram_total").write_text(f"{memory << 30}\n")
        (device / "mem_info_vram_used").write_text(f"{1 << 30}\n")
        (device / "product_name").write_text(f"{name}\n")
        if serial:
            (device / "unique_id").write_text(f"{serial}\n")

    @pytest.mark.parametrize(
        ("chosen", "left"),
        [
            ({}, "ab"),
            ({"HIP": ""}, ""),
            ({"ROCR": ""}, ""),
            ({"HIP": "2"}, "b"),
            ({"HIP": "1"}, ""),  # the small one, which has no memory of its own
            ({"HIP": "2,0"}, "ba"),
            ({"ROCR": "2,0"}, "ba"),
            ({"ROCR": "GPU-beef"}, "b"),
            ({"HIP": "GPU-beef,GPU-c0ffee"}, "ba"),
            ({"HIP": "0,7,2"}, "a"),  # up to the first that names none
            ({"HIP": "-1"}, ""),
            ({"ROCR": "2,0", "HIP": "1"}, "a"),  # HIP counts what ROCr leaves
            ({"ROCR": "0", "HIP": "GPU-beef"}, ""),
            ({"CUDA": "2"}, "b"),  # HIP reads it where it has none of its own
            ({"CUDA": "2", "HIP": "0"}, "a"),
            ({"CUDA": "", "HIP": "0"}, "a"),
        ],
    )
    def test_visible_devices_are_obeyed(
        self, monkeypatch: pytest.MonkeyPatch, chosen: dict[str, str], left: str
    ) -> None:
        for name, value in chosen.items():
            monkeypatch.setenv(f"{name}_VISIBLE_DEVICES", value)
        assert "".join(gpu.name for gpu in gpus.amd()) == left

    def test_without_its_compute_driver_cards_are_counted(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(gpus, "_NODES", tmp_path / "none")
        assert [(gpu.name, gpu.free >> 30) for gpu in gpus.amd()] == [("b", 23), ("a", 15)]
        monkeypatch.setenv("HIP_VISIBLE_DEVICES", "1")
        assert [gpu.name for gpu in gpus.amd()] == ["b"]


@pytest.mark.parametrize("name", ["CUDA", "HIP", "ROCR", "GGML_VK"])
def test_libraries_are_asked_again_where_other_gpus_are_chosen(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv(f"{name}_VISIBLE_DEVICES", raising=False)
    marks = [back_ends._mark()]
    for value in ("", "0"):
        monkeypatch.setenv(f"{name}_VISIBLE_DEVICES", value)
        marks.append(back_ends._mark())
    assert len({tuple(mark) for mark in marks}) == 3


def test_the_driver_is_asked_once_in_a_load(monkeypatch: pytest.MonkeyPatch, fresh: Path) -> None:
    asked: list[int] = []

    def nvidia() -> tuple[tuple[Gpu, ...], int]:
        asked.append(1)
        return (CARD,), 13

    monkeypatch.setattr(gpus, "has_gpu", lambda: True)
    monkeypatch.setattr(gpus, "nvidia", nvidia)
    machine = hardware.memory()
    with hardware.one_look():
        assert [hardware.found_gpus(machine).gpus for _ in range(4)] == [(CARD,)] * 4
        with hardware.one_look():  # a load inside of what chooses the model
            hardware.this_machine()
        hardware.found_gpus(machine)
    assert len(asked) == 1
    hardware.found_gpus(machine)  # memory is free again
    assert len(asked) == 2


def test_a_load_is_one_look(monkeypatch: pytest.MonkeyPatch, fresh: Path) -> None:
    looks: list[bool] = []

    def find(options: Any, hooks: Any) -> Any:
        looks.append(hardware._seen.get() is not None)
        return SimpleNamespace(name="remote", load=lambda *given: "engine"), None

    monkeypatch.setattr(load, "find", find)
    load.open_engine()
    assert looks == [True]


class TestWhatIsTold:
    def found(self, monkeypatch: pytest.MonkeyPatch, *engines: Any, **more: Any) -> None:
        told = Found((CARD,), **{"maker": "nvidia", "driver": 13, **more}, engines=frozenset(engines))
        monkeypatch.setattr(gpus, "has_gpu", lambda: True)
        monkeypatch.setattr(hardware, "found_gpus", lambda memory: told)

    def test_a_gpu_that_an_engine_has_no_use_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.found(monkeypatch, "transformers")
        assert load.unused_gpu("transformers") is None
        assert load.unused_gpu("remote") is None
        remark = load.unused_gpu("llamacpp")
        assert remark == "RTX 4090 is not used: llamacpp is installed for the processor; see `qwen doctor`"
        self.found(monkeypatch, "llamacpp")
        remark = load.unused_gpu("transformers")
        assert remark == "RTX 4090 is not used by PyTorch as it is installed; llama.cpp runs a GGUF on it"

    def test_doctor_names_the_command_for_each_engine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(back_ends, "torch_build", lambda: "cuda 13.0")
        monkeypatch.setattr(doctor.sys, "platform", "linux")
        self.found(monkeypatch, driver=12)
        card, llamacpp, transformers = doctor.check_gpus()
        assert (card.state, card.detail) == ("ok", "RTX 4090, 24.0 GB")
        assert llamacpp.advice.endswith("https://xorbitsai.github.io/xllamacpp/whl/cu128`")
        assert transformers.detail == "PyTorch is built for cuda 13.0, the driver runs CUDA 12"
        assert "pytorch.org/get-started" in transformers.advice

        self.found(monkeypatch, "llamacpp", "transformers")
        assert [one.detail for one in doctor.check_gpus()[1:]] == ["computes on it"] * 2

        monkeypatch.setattr(back_ends, "torch_build", lambda: "cpu")
        self.found(monkeypatch)
        assert doctor.check_gpus()[1].advice.endswith("/cu132`")
        assert doctor.check_gpus()[2].advice == "run `pip install --force-reinstall torch torchvision`"


def test_what_does_not_fit_a_gpu_is_loaded_in_four_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    from qwen_cli.engines.core.options import Hooks, LoadOptions
    from qwen_cli.models.planning import default_model

    monkeypatch.setattr(default_model, "quantization", lambda weights, context: "4bit")
    told: list[str] = []
    weights: Any = SimpleNamespace(label="qwen3:14b")

    def quant(**options: Any) -> str | None:
        given = LoadOptions("qwen3:14b", **options)
        return load._quantized(given, load._TRANSFORMERS, weights, Hooks(told.append)).quant

    assert quant() == "4bit"
    assert told == ["qwen3:14b is loaded in 4 bits: the GPU has no room for all of its 16"]
    assert quant(quant="8bit") == "8bit"
    assert quant(dtype="bf16") is quant(device_map="auto") is quant(engine="transformers") is None
