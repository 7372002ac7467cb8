"""The user's own llama-server: found, asked, and taken where it has more than the wheel."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fake_llama_server
import pytest

from qwen_cli.commands.models import doctor
from qwen_cli.engines import load
from qwen_cli.engines.core.options import Hooks, LoadOptions
from qwen_cli.errors import EngineError
from qwen_cli.models.planning import back_ends, hardware, llama_server
from qwen_cli.models.planning.back_ends import BackEnds
from qwen_cli.models.planning.gpus import Gpu
from qwen_cli.models.planning.llama_server import LlamaServer

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the program is a script")
CARD = Gpu("NVIDIA RTX 4090", 24217 << 20, 23000 << 20)
WHEEL = frozenset({"SSE3", "AVX", "AVX2", "FMA"})


@pytest.fixture(autouse=True)
def nowhere(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(llama_server.VARIABLE, raising=False)
    monkeypatch.delenv("FAKE_LLAMA_SERVER", raising=False)
    monkeypatch.setattr(llama_server, "_PLACES", (str(fresh / "homebrew"),))
    monkeypatch.setenv("PATH", f"{fresh / 'bin'}{os.pathsep}{os.environ['PATH']}")


class TestFinding:
    def test_what_the_variable_names_comes_first(self, fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        fake_llama_server.put(fresh / "bin")
        own = fake_llama_server.put(fresh, "my-build")
        monkeypatch.setenv(llama_server.VARIABLE, str(own))
        assert llama_server.find() == own

    def test_the_path_comes_before_homebrews_places(self, fresh: Path) -> None:
        brewed = fake_llama_server.put(fresh / "homebrew")
        assert llama_server.find() == brewed
        first = fake_llama_server.put(fresh / "bin")
        assert llama_server.find() == first

    def test_none_is_looked_for_with_off(self, fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        fake_llama_server.put(fresh / "bin")
        monkeypatch.setenv(llama_server.VARIABLE, "OFF")
        assert llama_server.find() is None

    @pytest.mark.parametrize("engine", ["llama-server"])
    def test_one_that_is_not_there_is_said_before_anything_is_fetched(
        self, monkeypatch: pytest.MonkeyPatch, engine: str
    ) -> None:
        with pytest.raises(EngineError, match=r"no llama-server on PATH. Install llama.cpp"):
            load.find(LoadOptions("qwen3:8b", engine=engine))
        monkeypatch.setenv(llama_server.VARIABLE, "/no/such/llama-server")
        with pytest.raises(EngineError, match="there is no program /no/such/llama-server"):
            load.find(LoadOptions("qwen3:8b", engine=engine))


class TestProbing:
    def test_it_says_what_it_is(self, fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FAKE_LLAMA_SERVER", "gpu")
        path = fake_llama_server.put(fresh)
        told = llama_server.probe(path)
        assert (told.path, told.build, told.gpus, told.fault) == (path, "11549 (abc1234)", (CARD,), "")
        assert told.takes("--kv-unified")
        assert told.takes("--no-warmup")
        assert not told.takes("--frobnicate")
        assert {"AVX2", "AVX512"} <= told.kernels
        assert "AMX_INT8" not in told.kernels
        assert LlamaServer.from_json(told.to_json()) == told

    @pytest.mark.parametrize("content", ["#!/no/such/interpreter\n", "#!/bin/sh\necho broken >&2; exit 3\n"])
    def test_one_that_does_not_run_is_a_fault(self, fresh: Path, content: str) -> None:
        path = fresh / "llama-server"
        path.write_text(content)
        path.chmod(0o755)
        assert llama_server.probe(path).fault in ("No such file or directory", "broken")

    def test_devices_are_those_with_memory(self) -> None:
        said = (
            "Available devices:\n  Vulkan0: AMD Radeon RX (TM) 7900 (24560 MiB, 24000 MiB free)\n"
            "  BLAS: OpenBLAS (0 MiB, 0 MiB free)\n  MTL0: Apple M3 (12124 MiB, 12124 MiB free)\n"
        )
        assert [gpu.name for gpu in llama_server.gpus_of(said)] == ["AMD Radeon RX (TM) 7900", "Apple M3"]
        assert llama_server.gpus_of("Available devices:\n  (none)\n") == ()

    def test_it_is_asked_once_until_it_is_replaced(
        self, fresh: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path, asked = fake_llama_server.put(fresh / "bin"), []

        def probe(path: Path) -> LlamaServer:
            asked.append(path)
            return LlamaServer(path, stamp=llama_server.stamp(path))

        monkeypatch.setattr(llama_server, "probe", probe)
        assert back_ends.installed() == back_ends.installed()
        assert len(asked) == 1
        path.write_text("another")
        back_ends.installed()
        assert len(asked) == 2


def server(*kernels: str, gpus: tuple[Gpu, ...] = (), fault: str = "") -> LlamaServer:
    return LlamaServer(Path("/x"), gpus=gpus, kernels=WHEEL | {*kernels}, fault=fault)


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (BackEnds((), None, None, WHEEL), None),
        (BackEnds((), None, server(), WHEEL), None),
        (BackEnds((), None, server("AVX512"), WHEEL), "AVX512"),
        (BackEnds((), None, server("AVX512", "AMX_INT8"), WHEEL | {"AVX512"}), "AMX_INT8"),
        (BackEnds((), None, server("AVX_VNNI"), WHEEL), None),
        (BackEnds((), None, server(gpus=(CARD,)), WHEEL), CARD.name),
        (BackEnds((CARD,), None, server("AVX512", gpus=(CARD,)), WHEEL), None),
        (BackEnds((), None, server("AVX512", gpus=(CARD,), fault="broken"), WHEEL), None),
        (BackEnds((), None, server("AVX512"), frozenset()), None),  # what the wheel has is not known
    ],
)
def test_it_is_taken_where_it_has_more(found: BackEnds, why: str | None) -> None:
    assert found.outside() == why


class TestAuto:
    """`auto` on a machine whose llama-server has instructions that the wheel lacks."""

    @pytest.fixture
    def wide(self, fresh: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
        fake_llama_server.put(fresh / "bin")
        monkeypatch.setattr(back_ends, "installed", lambda: BackEnds((), None, server("AVX512"), WHEEL))
        gguf = SimpleNamespace(format="gguf", label="small", model=None, files=())
        monkeypatch.setattr(load, "_weights", lambda options, form, hooks: gguf)
        taken: list[Any] = []
        monkeypatch.setattr(load._LLAMACPP.__class__, "load", lambda self, *given: taken.append(self.name))
        return taken

    def test_it_computes_gguf_files(self, wide: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
        load.open_engine(LoadOptions("small.gguf"))
        load.open_engine(LoadOptions("small.gguf", engine="llamacpp"))
        monkeypatch.setenv(llama_server.VARIABLE, "off")
        load.open_engine(LoadOptions("small.gguf"))
        assert wide == ["llama-server", "llamacpp", "llamacpp"]

    def test_one_that_does_not_come_up_is_told_and_done_without(
        self, wide: list[Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fails(*given: Any) -> None:
            raise EngineError("llama-server ended while it loaded small: no CUDA", "update it")

        monkeypatch.setattr(load._LLAMA_SERVER.__class__, "load", fails)
        told: list[str] = []
        load.open_engine(LoadOptions("small.gguf"), Hooks(told.append))
        assert told == [
            "llama-server ended while it loaded small: no CUDA; llama.cpp in the process is taken"
        ]
        assert wide == ["llamacpp"]
        with pytest.raises(EngineError, match="no CUDA"):  # one that was asked for
            load.open_engine(LoadOptions("small.gguf", engine="llama-server"))


def test_its_gpu_is_one_that_the_plan_counts_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware.gpus, "has_gpu", lambda: True)
    monkeypatch.setattr(hardware.gpus, "is_apple", lambda: False)
    monkeypatch.setattr(hardware.gpus, "nvidia", lambda: ((CARD,), 12))
    monkeypatch.setattr(back_ends, "installed", lambda: BackEnds((), "cpu", server(gpus=(CARD,)), WHEEL))
    assert hardware.found_gpus(1 << 34).engines == {"llamacpp"}


class TestDoctor:
    def test_it_says_what_is_there_and_what_it_is_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        found = BackEnds((), None, server("AVX512"), WHEEL)
        monkeypatch.setattr(back_ends, "installed", lambda: found)
        monkeypatch.setattr(llama_server, "find", lambda: Path("/x"))
        (finding,) = doctor.check_llama_server()
        assert finding.state == "ok"
        assert finding.detail.endswith("taken for GGUF files: it has AVX512")

    def test_one_that_does_not_run_has_its_advice(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(back_ends, "installed", lambda: BackEnds((), None, server(fault="broken"), WHEEL))
        monkeypatch.setattr(llama_server, "find", lambda: Path("/x"))
        (finding,) = doctor.check_llama_server()
        assert (finding.state, finding.detail) == ("note", "/x does not run: broken")
        assert "QWEN_LLAMA_SERVER" in finding.advice

    def test_nothing_is_said_where_there_is_none_and_none_would_help(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(doctor, "_wider_than_the_wheel", lambda: None)
        assert doctor.check_llama_server() == []
        monkeypatch.setattr(doctor, "_wider_than_the_wheel", lambda: "AVX-512")
        (finding,) = doctor.check_llama_server()
        assert finding.state == "note"
        assert "brew install llama.cpp" in finding.advice
