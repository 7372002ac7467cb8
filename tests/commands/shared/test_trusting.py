"""Code that comes with weights, asked about on a real terminal."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pexpect
import pytest
import small_models


@pytest.fixture
def foreign(starter_safetensors: Path, tmp_path: Path) -> Path:
    """A small model of a type that the library does not know."""
    folder = small_models.make("Qwen2", tmp_path / "foreign", starter_safetensors)
    (folder / "modeling_own.py").write_text(
        "from transformers import Qwen2Config, Qwen2ForCausalLM\n"
        "class OwnConfig(Qwen2Config):\n    model_type = 'qwen_own'\n"
        "class OwnForCausalLM(Qwen2ForCausalLM):\n    config_class = OwnConfig\n"
    )
    config = json.loads((folder / "config.json").read_text())
    names = {"AutoConfig": "modeling_own.OwnConfig", "AutoModelForCausalLM": "modeling_own.OwnForCausalLM"}
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "qwen_own", "auto_map": names}))
    return folder


@pytest.mark.parametrize(("answer", "code"), [("n", 1), ("y", 0)])
def test_a_person_is_shown_the_files_and_asked(home: Path, foreign: Path, answer: str, code: int) -> None:
    child = pexpect.spawn(
        sys.executable,
        ["-m", "qwen_cli", "chat", "-m", str(foreign), "--max-tokens", "3", "--raw", "hi"],
        timeout=200,
        encoding="utf-8",
    )
    child.expect(r"Run it\?")
    assert "modeling_own.py" in child.before
    child.sendline(answer)
    rest = child.read()
    child.close()
    assert child.exitstatus == code, rest
    assert ("--trust-remote-code" in rest) == (answer == "n")
