"""Which kept settings hold for `qwen vision`."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from scripted import Scripted, end

from qwen_cli.commands.vision import command
from qwen_cli.engines.core.base import Piece, Sampling


@pytest.mark.parametrize(
    ("flags", "temperature"),
    [({"words": ["red.png", "What is it?"]}, 0.9), ({"words": ["red.png"], "ocr": True}, 0.0)],
)
def test_a_temperature_kept_for_talking_is_for_questions_alone(
    flags: dict[str, Any], temperature: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (56, 56), "red").save(tmp_path / "red.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QWEN_CONFIG", str(tmp_path / "config.toml"))
    for name, value in {
        "temperature": "0.9",
        "presence_penalty": "1",
        "seed": "5",
        "max_tokens": "99",
    }.items():
        monkeypatch.setenv(f"QWEN_{name.upper()}", value)

    def asked(**more: Any) -> Sampling:
        engine = Scripted([Piece("Red."), end()], context=4096)
        engine.capabilities = replace(engine.capabilities, vision=True, thinking=None)
        monkeypatch.setattr(command, "open_engine", lambda *_, **__: nullcontext(engine))
        command.vision(model="qwen2.5-vl:3b", **flags, **more)
        return engine.asked[0][0]

    kept = asked()
    assert (kept.temperature, kept.seed, kept.max_tokens) == (temperature, 5, 99)
    assert (kept.presence_penalty is None) == (temperature == 0)
    assert asked(temperature=0.3).temperature == 0.3
