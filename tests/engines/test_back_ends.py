"""Who loads a model: the three back ends that are built in, and those that other packages offer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import other_package
import pytest
from other_package import offers

from qwen_cli import settings
from qwen_cli.engines import load
from qwen_cli.engines.core.base import Engine
from qwen_cli.engines.core.options import Hooks, LoadOptions
from qwen_cli.errors import EngineError, UsageError
from qwen_cli.models.hub import resolve
from qwen_cli.models.planning import default_model, fit


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages, in which one offers engines."""
    other_package.install(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, other_package.MODULE, raising=False)
    return tmp_path


def says(engine: Engine) -> str:
    return "".join(piece.text for piece in engine.chat([{"role": "user", "content": "Who are you?"}]))


class TestAnotherPackage:
    def test_its_engine_is_asked_for_by_name(self, package: Path) -> None:
        told: list[str] = []
        with load.load("fake:one", engine="fake", context=99, notice=told.append) as engine:
            assert (engine.name, says(engine)) == ("fake", "I am fake:one, context 99.")
        assert told == ["loading fake:one"]
        import fake_qwen_engine  # type: ignore[import-not-found]

        assert fake_qwen_engine.seen == [(None, LoadOptions("fake:one", engine="fake", context=99))]

    def test_it_takes_what_it_accepts(self, package: Path) -> None:
        assert says(load.open_engine(LoadOptions("fake:two"))) == "I am fake:two, context None."

    def test_what_it_does_not_accept_goes_to_those_built_in(self, package: Path) -> None:
        with pytest.raises(UsageError, match=r"needs a local engine"):
            load.load("other", endpoint="http://127.0.0.1:9", quant="4bit")

    def test_what_it_does_not_accept_by_name_is_told(self, package: Path) -> None:
        with pytest.raises(UsageError, match="the engine fake does not take `context`"):
            load.load("other", engine="fake", context=5)

    def test_an_engine_that_nobody_offers_is_refused_with_those_there_are(self, package: Path) -> None:
        with pytest.raises(UsageError, match=r"unknown engine 'fak'.*auto, .*, remote, fake, files"):
            load.load(engine="fak")

    def test_it_may_be_an_object_already(self, package: Path) -> None:
        offers(package, "fake = fake_qwen_engine:made")
        assert load.back_ends()["fake"].name == "fake"

    def test_names_of_those_built_in_are_taken(self, package: Path) -> None:
        offers(package, "llamacpp = fake_qwen_engine:Fake", "auto = fake_qwen_engine:Fake")
        assert type(load.back_ends()["llamacpp"]).__module__ == "qwen_cli.engines.llamacpp.backend"
        assert list(load.back_ends()) == ["llamacpp", "llama-server", "transformers", "remote"]

    @pytest.mark.parametrize(
        ("value", "why"),
        [
            ("fake_qwen_engine:Missing", "Missing"),
            ("not_installed:Fake", "not_installed"),
            ("fake_qwen_engine:OnFiles", "'files'"),
            ("fake_qwen_engine:seen", "name"),
        ],
    )
    def test_one_that_is_broken_is_named_and_takes_nothing_away(
        self, package: Path, value: str, why: str
    ) -> None:
        offers(package, f"fake = {value}")
        with pytest.raises(EngineError, match=f"the engine fake of fake-qwen-engine cannot be used.*{why}"):
            load.load("fake:one", engine="fake")
        told: list[str] = []
        with pytest.raises(UsageError, match="needs a local engine"):
            options = LoadOptions(endpoint="http://127.0.0.1:9", quant="4bit")
            load.open_engine(options, Hooks(notice=told.append))
        assert len(told) == 1 and "fake-qwen-engine" in told[0]

    def test_it_gets_the_weights_that_it_takes(self, package: Path, home: Path) -> None:
        load.load("starter", engine="files")
        weights = sys.modules["fake_qwen_engine"].seen[0][0]
        assert (weights.format, weights.label) == ("gguf", "starter")

    def test_a_command_loads_with_it(self, package: Path, home: Path) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "qwen_cli", "chat", "--engine", "fake", "-m", "fake:one", "Who?"],
            env={**os.environ, "PYTHONPATH": str(package)},
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stdout.strip()) == (0, "I am fake:one, context None."), done.stderr
        assert "loading fake:one" in done.stderr

    def test_its_name_is_one_that_settings_take(self, package: Path) -> None:
        assert settings.check("engine", "fake") == "fake"
        offers(package)
        with pytest.raises(UsageError, match=r"engine must be one of auto, .*, remote, got 'fake'"):
            settings.check("engine", "fake")


class TestChoice:
    @pytest.mark.parametrize(
        ("options", "name"),
        [
            ({"model": "starter"}, "llamacpp"),
            ({"model": "starter", "engine": "llamacpp"}, "llamacpp"),
            ({"model": "starter", "quant": "q4_k_m"}, "llamacpp"),
        ],
    )
    def test_the_form_of_the_weights_decides(self, home: Path, options: dict[str, str], name: str) -> None:
        back_end, weights = load.find(LoadOptions(**options))  # type: ignore[arg-type]
        assert back_end.name == name
        assert weights and weights.format == back_end.format

    @pytest.mark.parametrize("engine", ["auto", "remote"])
    def test_an_endpoint_takes_a_server(self, engine: str) -> None:
        back_end, weights = load.find(LoadOptions(endpoint="http://127.0.0.1:9", engine=engine))
        assert (back_end.name, weights) == ("remote", None)

    def test_what_is_named_is_not_looked_for_among_packages(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(load, "_offered", lambda: pytest.fail("packages were searched"))
        assert load.find(LoadOptions(endpoint="http://127.0.0.1:9", engine="remote"))[0].name == "remote"

    @pytest.mark.parametrize(
        "name",
        ["draft", "rope_scaling", "dca_chunk", "adapters", "quant", "merge", "dtype", "kv", "n_cpu_moe"],
    )
    def test_what_a_server_would_ignore_is_refused(self, name: str) -> None:
        value = {"adapters": [Path("a")], "draft": "ngram", "quant": "4bit", "dtype": "bf16", "merge": True,
                 "kv": "q8_0", "n_cpu_moe": 4, "dca_chunk": 4096}  # fmt: skip
        given = {name: value.get(name, "yarn")}
        with pytest.raises(UsageError, match=f"`{name}` needs a local engine"):
            load.load("m", endpoint="http://127.0.0.1:9", **given)

    def test_an_option_that_there_is_not_is_an_error_of_the_program(self) -> None:
        with pytest.raises(TypeError, match=r"load\(\) got an unexpected keyword argument 'contxt'"):
            load.load("starter", contxt=5)


class TestOneModel:
    """What a server keeps loaded is told apart by what makes a difference."""

    def of(self, **options: object) -> frozenset[tuple[str, str]]:
        wanted = LoadOptions("starter", **options)  # type: ignore[arg-type]
        back_end, weights = load.find(wanted)
        assert weights
        return load.identity(back_end, weights, wanted)

    def test_the_same_weights_asked_for_otherwise(self, home: Path) -> None:
        same = self.of()
        assert self.of(engine="llamacpp") == same
        assert self.of(quant="q4_k_m") == same == self.of(quant="Q4_K_M")
        assert self.of(parallel=2, api_key="k") == same

    def test_another_context_or_draft(self, home: Path) -> None:
        assert len({self.of(), self.of(context=512), self.of(draft="off"), self.of(context=513)}) == 4


@pytest.mark.parametrize(
    ("model", "form", "strict"),
    [
        ("qwen3.8:27b", "safetensors", False),
        ("hf.co/unsloth/Qwen3.8-27B-GGUF:UD-Q4_K_XL", "gguf", True),
        ("qwen3.5:9b-q8_0", "gguf", True),
        ("qwen3-embedding:0.6b", "gguf", True),  # vectors come of GGUF, also where there is a GPU
    ],
)
def test_which_form_of_weights_a_name_asks_for(
    monkeypatch: pytest.MonkeyPatch, model: str, form: str, strict: bool
) -> None:
    asked: list[tuple[object, object]] = []

    def look(name: str, *, prefer: str, strict: bool, **more: object) -> None:
        asked.append((prefer, strict))
        raise EngineError("enough")

    monkeypatch.setattr(resolve, "resolve", look)
    monkeypatch.setattr(fit, "before_fetch", lambda *_, **__: None)
    monkeypatch.setattr(default_model, "preferred_format", lambda name: "safetensors")
    with pytest.raises(EngineError, match="enough"):
        load.find(LoadOptions(model))
    assert asked == [(form, strict)]
