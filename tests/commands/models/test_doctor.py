"""`qwen doctor`: findings about this very machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from qwen_cli.commands import main
from qwen_cli.commands.models import doctor
from qwen_cli.sandbox import attack_suite, probe


def test_the_report_covers_what_a_person_needs(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    three = ["network", "read_secrets", "write_outside"]  # all of them run in tests/sandbox
    monkeypatch.setattr(attack_suite, "names", lambda: three)
    monkeypatch.setattr("sys.argv", ["qwen", "doctor", "--attacks", "--json"])
    with pytest.raises(SystemExit) as left:
        main.main()
    told = capsys.readouterr()
    assert (left.value.code or 0, told.err) == (0, "")
    found = {finding["name"]: finding for finding in json.loads(told.out)}
    assert {"qwen", "processor", "gpu", "memory", "disk", "model hub", "models", "sandbox"} <= set(found)
    for engine in ("llamacpp", "transformers", "remote"):
        assert found[f"engine {engine}"]["state"] == "ok"
    assert "starter (gguf)" in found["models"]["detail"]
    assert found["attacks"]["detail"] == "3 of 3 blocked"
    assert [found[f"  {layer.name}"]["state"] == "ok" for layer in probe.check()] == [
        layer.active for layer in probe.check()
    ]


def test_an_escape_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    escaped = [
        attack_suite.Verdict("reads", "ok", 0.1),
        attack_suite.Verdict("network", "ok", 0.1, "ESCAPED: connected"),
    ]
    monkeypatch.setattr(attack_suite, "run", lambda: escaped)
    (finding,) = doctor.check_attacks()
    assert finding.state == "bad"
    assert finding.detail == "1 of 2 blocked; network: ESCAPED: connected"


def test_the_engines_are_told_without_being_imported() -> None:
    looked = "from qwen_cli.commands.models import doctor; import sys; found = doctor.examine()"
    heavy = "print([name for name in ('torch', 'transformers', 'openai', 'numpy') if name in sys.modules])"
    measured = "from qwen_cli.models.planning import hardware; hardware.this_machine(measure=True)"
    subprocess.run([sys.executable, "-c", measured], check=True)  # with numpy, once on a machine
    done = subprocess.run(
        [sys.executable, "-c", f"{looked}; {heavy}"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_what_the_engines_are_is_what_their_libraries_say() -> None:
    import torch
    import transformers

    assert (
        doctor.check_engine("transformers").detail == f"{transformers.__version__}, torch {torch.__version__}"
    )


@pytest.mark.parametrize("name", ["torch", "torchvision", "accelerate"])
def test_a_library_that_an_engine_lacks_is_named_with_what_brings_it(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    there = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda package: None if package == name else there(package))
    finding = doctor.check_engine("transformers")
    assert (finding.state, finding.detail) == ("bad", f"{name} is not installed")
    assert finding.advice.startswith("run `pip install ")


def test_a_library_that_breaks_when_it_is_imported_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(doctor._ENGINES, "remote", ("no_such_module",))
    finding = doctor.import_engine("remote")
    assert finding
    assert (finding.state, finding.detail) == (
        "bad",
        "cannot be imported: ModuleNotFoundError: No module named 'no_such_module'",
    )
    assert finding.advice.startswith("run `pip install ")
    monkeypatch.setitem(doctor._ENGINES, "remote", ("json",))
    assert doctor.import_engine("remote") is None


def test_every_no_has_what_to_do(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setattr("qwen_cli.models.hub.sources.hub_reachable", lambda timeout: False)
    monkeypatch.setattr("qwen_cli.models.hub.resolve.local", list)
    monkeypatch.setattr("qwen_cli.models.planning.ranking.best", lambda machine: {})
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1 << 20))
    monkeypatch.setattr(doctor, "_version", lambda package: None)
    (home / "config.toml").write_text("model = ")
    noes = [one for one in doctor.examine() if one.state != "ok"]
    assert {"disk", "engine llamacpp", "model hub", "models", "best models", "settings"} <= {
        one.name for one in noes
    }
    assert [one.name for one in noes if not one.advice] == []
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert doctor.check_hub().advice == "run `unset HF_HUB_OFFLINE TRANSFORMERS_OFFLINE`"


def test_a_broken_settings_file_is_a_finding(home: Path) -> None:
    (home / "config.toml").write_text("model = ")
    assert doctor.check_settings().state == "bad"


@pytest.mark.skipif(sys.platform != "linux", reason="asks the Linux kernel")
def test_the_sandbox_level_follows_from_its_layers() -> None:
    found = probe.probe()
    assert found.level in ("full", "partial", "none")
    assert (found.level == "none") == (not found.namespaces and not (found.landlock and found.seccomp))
