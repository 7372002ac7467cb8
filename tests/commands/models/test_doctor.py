"""`qwen doctor`: findings about this very machine."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from qwen_cli.commands.models import doctor
from qwen_cli.sandbox import attack_suite, probe


def test_the_report_covers_what_a_person_needs(qwen) -> None:
    done = qwen("doctor", "--json")
    assert done.returncode == 0
    assert done.stderr == ""
    found = {finding["name"]: finding for finding in json.loads(done.stdout)}
    assert {"qwen", "processor", "gpu", "memory", "disk", "model hub", "models", "sandbox"} <= set(found)
    for engine in ("llamacpp", "transformers", "remote"):
        assert found[f"engine {engine}"]["state"] == "ok"
    assert "starter (gguf)" in found["models"]["detail"]
    attacks = len(attack_suite.names())
    assert found["attacks"]["detail"] == f"{attacks} of {attacks} blocked"
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


def test_an_engine_that_cannot_be_imported_is_a_finding() -> None:
    finding = doctor.check_engine("imaginary", "import no_such_module")
    assert finding.state == "bad"
    assert finding.advice


def test_a_broken_settings_file_is_a_finding(home: Path) -> None:
    (home / "config.toml").write_text("model = ")
    assert doctor.check_settings().state == "bad"


@pytest.mark.skipif(sys.platform != "linux", reason="asks the Linux kernel")
def test_the_sandbox_level_follows_from_its_layers() -> None:
    found = probe.probe()
    assert found.level in ("full", "partial", "none")
    assert (found.level == "none") == (not found.namespaces and not (found.landlock and found.seccomp))
