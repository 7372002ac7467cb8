"""What `qwen bench` has measured, as it is kept for the plan."""

from __future__ import annotations

from pathlib import Path

import pytest

from qwen_cli.models.planning import benched
from qwen_cli.models.planning.benched import Rates


def test_the_latest_of_each_model_form_and_engine(fresh: Path) -> None:
    rates = [Rates(512, 900.0, 20.0), Rates(2_048, 700.0, 15.0)]
    benched.remember("qwen3:4b", "Q4_K_M", "llamacpp", rates)
    benched.remember("qwen3:4b", "Q8_0", "llamacpp", rates[:1])
    assert benched.rates("qwen3:4b", "q4_k_m", "llamacpp") == tuple(rates)
    assert benched.rates("qwen3:4b", "Q4_K_M", "llama-server") == ()
    benched.remember("qwen3:4b", "Q4_K_M", "llamacpp", rates[1:])
    assert benched.rates("qwen3:4b", "Q4_K_M", "llamacpp") == tuple(rates[1:])


@pytest.mark.parametrize("text", ["", "[]", "{", '{"KEY": 3}', '{"KEY": [[1]]}', '{"KEY": [[1, "x", 2]]}'])
def test_a_file_that_is_torn_is_none(fresh: Path, text: str) -> None:
    file = benched._file()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text.replace("KEY", benched._key("m", "f", "e")))
    assert benched.rates("m", "f", "e") == ()
    benched.remember("m", "f", "e", [Rates(1, 2.0, 3.0)])
    assert benched.rates("m", "f", "e") == (Rates(1, 2.0, 3.0),)


def test_the_length_that_is_near() -> None:
    found = [Rates(512, 1, 1), Rates(2_048, 1, 1)]
    assert benched.near(found, 2_000) == found[1]
    assert benched.near(found, 16_384) is None
    assert benched.near([], 1) is None


def test_the_plan_of_this_machine_tells_what_was_measured(fresh: Path) -> None:
    from dataclasses import replace

    from qwen_cli.models.catalog import lookup
    from qwen_cli.models.planning import describe, plan
    from qwen_cli.models.planning.hardware import Machine

    model = lookup.find("qwen3:0.6b")
    assert model
    here = Machine("this machine", 32 << 30, 30 << 30, 2, 20e9)
    described = describe.of_model(model)
    before = plan.make(described, here)
    rates = [Rates(2_048, 321.0, 12.5), Rates(16_384, 200.0, 7.5)]
    benched.remember(before.name, before.form, before.engine, rates)
    after = plan.make(described, here)
    assert (after.speed, after.prompt_speed, after.benched) == (12.5, 321.0, True)
    assert not before.benched
    elsewhere = plan.make(described, replace(here, name="desktop"))
    assert (elsewhere.speed, elsewhere.benched) == (before.speed, False)
