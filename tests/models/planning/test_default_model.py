"""Which model is used when none is named, and that finding out costs next to nothing."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf_files
import pytest
from hub_server import Hub

from qwen_cli.commands.shared import engine
from qwen_cli.models.catalog import lookup
from qwen_cli.models.formats.weight_formats import Engine
from qwen_cli.models.hub import resolve, starter
from qwen_cli.models.hub.resolve import Format, Weights
from qwen_cli.models.planning import default_model, gpus, hardware
from qwen_cli.models.planning.gpus import Gpu
from qwen_cli.models.planning.hardware import Machine

GB = 10**9


def some_machine(kind: str, memory: int, cores: int) -> Machine:
    """A machine with so many GB, those of the GPU where it has one."""
    if kind == "cpu":
        return Machine("m", memory * GB, memory * GB * 9 // 10, cores, hardware.assumed_bandwidth(cores))
    gpu = Gpu("GPU", memory * GB, memory * GB * 95 // 100, 1e12)
    return Machine("m", 64 * GB, 58 * GB, cores, hardware.assumed_bandwidth(cores), (gpu,))


@pytest.fixture
def processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with 24 GB, two cores and no GPU."""
    monkeypatch.setattr(default_model, "machine", lambda: some_machine("cpu", 24, 2))


@pytest.fixture
def starter_wheels(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Placing the starter is put down here; fetching it for real is tests/models/test_starter.py's matter."""
    calls: list[str] = []

    def fetch(progress: object = None) -> Path:
        calls.append("fetch")
        starter.path().parent.mkdir(parents=True)
        file = gguf_files.write(starter.path())
        monkeypatch.setattr(starter, "SIZE", file.stat().st_size)
        return file

    monkeypatch.setattr(starter, "fetch", fetch)
    return calls


def test_without_a_hub_and_with_nothing_here_it_is_the_starter(
    fresh: Path, processor: None, starter_wheels: list[str]
) -> None:
    notices: list[str] = []
    weights = default_model.default_model(notice=notices.append)
    assert weights.label == "starter"
    assert notices == ["hub not reachable, using the starter model (Qwen2.5-Coder-0.5B-Instruct, 491 MB)"]
    assert starter_wheels == ["fetch"]

    again = default_model.default_model(notice=notices.append)
    assert again == weights
    assert len(notices) == 1 and starter_wheels == ["fetch"]


def test_offline_asks_nobody(
    hub: Hub, processor: None, starter_wheels: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert default_model.default_model().label == "starter"
    assert hub.log == []


def test_with_a_hub_the_best_fit_is_fetched_and_said(hub: Hub, processor: None) -> None:
    notices: list[str] = []
    weights = default_model.default_model(notice=notices.append)
    assert weights.label == "qwen3.5:4b"
    assert notices == ["fetching qwen3.5:4b (3.6 GB, made by unsloth), the best fit for this machine"]

    hub.log.clear()
    assert default_model.default_model(notice=notices.append) == weights
    assert hub.log == [] and len(notices) == 1


def test_what_is_here_is_taken_without_asking_the_network(
    hub: Hub, processor: None, starter_wheels: list[str]
) -> None:
    starter.fetch()
    assert default_model.default_model().label == "starter"
    assert hub.log == []
    resolve.resolve("qwen3:0.6b")
    hub.log.clear()
    assert default_model.default_model().label == "qwen3:0.6b"
    resolve.resolve("qwen3:4b")
    hub.log.clear()
    assert default_model.default_model().label == "qwen3:4b"
    assert hub.log == []


def test_an_older_generation_that_is_here_is_better_than_the_starter(
    hub: Hub, processor: None, starter_wheels: list[str]
) -> None:
    starter.fetch()
    resolve.resolve("qwen2:1.5b")
    hub.log.clear()
    assert default_model.default_model().label == "qwen2:1.5b"
    assert hub.log == []


def test_what_somebody_else_published_is_taken_too(
    hub: Hub, processor: None, starter_wheels: list[str]
) -> None:
    theirs = hub.root / "someone/Qwen3.5-4B-GGUF"
    theirs.mkdir(parents=True)
    for quant in ("Q4_K_M", "UD-Q4_K_XL"):
        gguf_files.write(theirs / f"Qwen3.5-4B-{quant}.gguf", "qwen35", vocabulary=[quant] * 9)
        resolve.resolve(f"someone/Qwen3.5-4B-GGUF:{quant}")
    resolve.resolve("qwen3:4b")
    hub.log.clear()
    assert default_model.default_model().label == "someone/Qwen3.5-4B-GGUF"
    assert hub.log == []


def test_a_hub_that_hangs_is_not_waited_for(
    fresh: Path, processor: None, starter_wheels: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert default_model.default_model().label == "starter"


def test_a_hub_that_refuses_is_done_without(fresh: Path, processor: None, starter_wheels: list[str]) -> None:
    assert default_model.default_model().label == "starter"


@pytest.mark.parametrize(
    ("kind", "memory", "cores", "form", "name"),
    [
        ("cpu", 4, 2, "gguf", "qwen3.5:0.8b"),
        ("cpu", 8, 4, "gguf", "qwen3.5:4b"),
        ("cpu", 24, 2, "gguf", "qwen3.5:4b"),
        ("cpu", 16, 8, "gguf", "qwen3.5:9b"),
        ("cpu", 32, 8, "gguf", "qwen3.5:9b"),
        ("cpu", 64, 16, "gguf", "qwen3.6:35b-a3b"),
        ("cpu", 128, 32, "gguf", "qwen3.5:122b-a10b"),
        ("gpu", 8, 8, "safetensors", "qwen3.5:4b"),  # in four bits
        ("gpu", 24, 8, "safetensors", "qwen3.8:27b"),  # in four bits
        ("gpu", 80, 16, "safetensors", "qwen3.8:27b"),
        ("gpu", 24, 8, "gguf", "qwen3.8:27b"),
        ("gpu", 48, 8, "gguf", "qwen3.8:27b"),
    ],
)
def test_what_suits_a_machine(kind: str, memory: int, cores: int, form: Format, name: str) -> None:
    assert next(default_model.suited_models((form,), some_machine(kind, memory, cores))).name == name


def test_a_tiny_machine_gets_the_starter(
    hub: Hub, starter_wheels: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(default_model, "machine", lambda: some_machine("cpu", 1, 1))
    assert not list(default_model.suited_models(("gguf",)))
    assert default_model.default_model().label == "starter"


def test_this_machine_is_told_truly() -> None:
    found = default_model.machine()
    assert found.memory > GB and 0 < found.free <= found.memory
    assert 1 <= found.cores <= (os.cpu_count() or 1)
    if not Path("/proc/driver/nvidia/version").exists() and sys.platform == "linux":
        assert (found.gpus, default_model.preferred_format()) == ((), "gguf")


def test_choosing_imports_nothing_heavy(starter_gguf: Path) -> None:
    probe = """
import sys
from qwen_cli.models.planning import default_model as placement
weights = placement.default_model()
heavy = {"torch", "transformers", "huggingface_hub", "httpx", "rich", "psutil", "filelock", "subprocess"}
print(sorted(heavy & set(sys.modules)), weights.format)
"""
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("[] "), done.stdout


class TestATask:
    """Which model a command with a task of its own takes where none is named."""

    @pytest.fixture
    def here(self, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
        """Say which models are here; one with a "+" has its projector, one with a "/" is safetensors."""

        def put(
            *names: str,
            gpu: bool = False,
            memory: int = 24,
            cores: int = 2,
            engines: tuple[Engine, ...] = hardware.ENGINES,
        ) -> None:
            found = []
            for name in names:
                bare = name.rstrip("+/")
                form: Any = "safetensors" if name.endswith("/") else "gguf"
                projector = Path("mmproj.gguf") if name.endswith("+") else None
                found.append(Weights(bare, Path(bare), form, lookup.find(bare), projector))
            monkeypatch.setattr(resolve, "local", lambda: found)
            monkeypatch.setattr(gpus, "has_gpu", lambda: gpu)
            machine = some_machine("gpu" if gpu else "cpu", memory, cores)
            machine = replace(machine, gpu_engines=frozenset(engines))
            monkeypatch.setattr(default_model, "machine", lambda: machine)

        return put

    @pytest.mark.parametrize(
        ("task", "names", "chosen"),
        [
            ("code", (), "starter"),
            ("code", ("qwen3:8b",), "starter"),
            ("code", ("qwen2.5-coder:0.5b", "qwen2.5-coder:1.5b"), "qwen2.5-coder:1.5b"),
            ("code", ("qwen2.5-coder:3b", "qwen2.5-coder:3b-base"), "qwen2.5-coder:3b-base"),
            ("code", ("qwen2.5-coder:1.5b", "qwen2.5-coder:32b"), "qwen2.5-coder:1.5b"),
            ("edit", ("qwen2.5-coder:3b-base", "qwen2.5-coder:1.5b"), "qwen2.5-coder:1.5b"),
            ("edit", ("qwen2.5-coder:3b-base",), "starter"),
            ("math", (), None),
            ("math", ("qwen2.5:7b", "qwen2.5-coder:3b"), None),
            ("math", ("qwen3.5:4b", "qwen2.5-math:7b", "qwen3:1.7b"), "qwen3.5:4b"),
            ("math", ("qwen2.5-math:1.5b", "qwen2.5-math:7b", "qwen3:32b"), "qwen2.5-math:7b"),
            ("math", ("qwen3:32b",), "qwen3:32b"),  # slow, but it runs
            ("math", ("qwen3:235b-a22b",), None),  # it does not run here
            ("math", ("qwen2.5-math:7b-base", "qwen2.5-math:1.5b"), "qwen2.5-math:1.5b"),
            ("vision", ("qwen3:8b",), "qwen3.5:4b"),
            ("vision", ("qwen2.5-vl:7b",), "qwen3.5:4b"),  # without its projector it is blind
            ("vision", ("qwen2.5-vl:7b", "qwen2.5-vl:3b/"), "qwen2.5-vl:3b"),
            ("vision", ("qwen2.5-vl:3b+", "qwen3.5:2b+", "qwen2-vl:2b+"), "qwen3.5:2b"),
            ("vision", ("qwen3.8:27b+", "qwen3.5:4b+"), "qwen3.5:4b"),  # as fast as one reads
            ("vision", ("qwen3-vl:235b-a22b-instruct+",), "qwen3.5:4b"),  # it does not run here
        ],
    )
    def test_takes_the_best_here_that_can(
        self, here: Callable[..., None], task: Any, names: tuple[str, ...], chosen: str | None
    ) -> None:
        here(*names)
        assert default_model.for_task(task) == chosen
        here(*reversed(names))
        assert default_model.for_task(task) == chosen

    def test_a_gpu_is_quick_enough_for_any_that_fits_it(self, here: Callable[..., None]) -> None:
        here("qwen2.5-coder:1.5b", "qwen2.5-coder:32b", gpu=True, memory=48)
        assert default_model.for_task("code") == "qwen2.5-coder:32b"
        here("qwen2.5-coder:1.5b", "qwen2.5-coder:32b", gpu=True, memory=8)
        assert default_model.for_task("code") == "qwen2.5-coder:1.5b"

    def test_pytorch_on_the_processor_leaves_no_gpu_unused(self, here: Callable[..., None]) -> None:
        both = ("qwen2.5-coder:1.5b", "qwen2.5-coder:3b/", "qwen3:1.7b/", "qwen3:0.6b")
        here(*both, gpu=True, memory=12, cores=16, engines=("llamacpp",))
        assert default_model.for_task("code") == "qwen2.5-coder:1.5b"
        assert getattr(default_model._best_suited(resolve.local()), "label", "") == "qwen3:0.6b"
        here(*both, gpu=True, memory=12, cores=16)
        assert default_model.for_task("code") == "qwen2.5-coder:3b"
        assert getattr(default_model._best_suited(resolve.local()), "label", "") == "qwen3:1.7b"
        # With nothing else here it answers, and nothing is fetched that nobody asked for.
        here("qwen2.5-coder:3b/", gpu=True, memory=12, cores=16, engines=("llamacpp",))
        assert default_model.for_task("code") == "qwen2.5-coder:3b"

    def test_four_bits_are_for_a_gpu_that_transformers_computes_on(self, here: Callable[..., None]) -> None:
        whole = Weights("qwen3:14b", Path("x"), "safetensors", lookup.find("qwen3:14b"))
        for engines, quant in ((("transformers",), "4bit"), (("llamacpp",), None), ((), None)):
            here(gpu=True, memory=24, cores=16, engines=engines)
            assert default_model.quantization(whole) == quant

    @pytest.mark.parametrize(
        ("gpu", "memory", "cores", "chosen"),
        [(False, 2, 2, "qwen3.5:0.8b"), (False, 16, 8, "qwen3.5:9b"), (True, 80, 16, "qwen3.8:27b")],
    )
    def test_eyes_are_fetched_that_suit_the_machine(
        self, here: Callable[..., None], gpu: bool, memory: int, cores: int, chosen: str
    ) -> None:
        here(gpu=gpu, memory=memory, cores=cores)
        assert default_model.for_task("vision") == chosen

    def test_what_counts_as_quick_is_what_computes_a_token(self, here: Callable[..., None]) -> None:
        here("qwen2.5-coder:3b", "qwen3-coder:30b-a3b")
        known = lookup.find("qwen3-coder:30b-a3b")
        assert known and known.fim
        assert default_model.for_task("code") == "qwen3-coder:30b-a3b"

    @pytest.mark.parametrize("settings", [{"model": "a"}, {"endpoint": "http://x"}, {"engine": "remote"}])
    def test_what_is_named_or_elsewhere_is_left_alone(
        self, here: Callable[..., None], settings: dict[str, Any]
    ) -> None:
        here()
        before = dict(settings)
        engine.choose_model(settings, "code")
        assert settings == before
