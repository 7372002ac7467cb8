"""What a bench measures, over an engine that is written down."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from qwen_cli.engines.core.base import Piece, Usage
from qwen_cli.engines.core.options import LoadOptions
from qwen_cli.tasks.bench import measure
from qwen_cli.tasks.bench.measure import Result, Row


class Engine:
    """Reads 1,000 tokens a second and writes 10."""

    model = "small"
    capabilities = SimpleNamespace(extras=("ignore_eos",))

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.closed = False

    def chat(self, messages: Sequence[Any], *, sampling: Any) -> Any:
        yield Piece("Hello")

    def complete(self, prompt: str, *, sampling: Any) -> Any:
        self.asked.append((prompt, sampling))
        tokens = len(prompt.split())
        yield Piece("word")
        yield Piece(usage=Usage(prompt_tokens=tokens + 20, cached_tokens=20, generated_tokens=32,
                                prefill_seconds=tokens / 1_000, decode_seconds=3.1))  # fmt: skip

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    made = Engine()
    weights = SimpleNamespace(architecture=SimpleNamespace(context=4_096))
    back_end = SimpleNamespace(name="llamacpp")
    monkeypatch.setattr("qwen_cli.engines.load.find", lambda options: (back_end, weights))
    opened: list[LoadOptions] = []
    monkeypatch.setattr("qwen_cli.engines.load.open_engine", lambda options: opened.append(options) or made)
    monkeypatch.setattr(measure, "_form", lambda weights, options: "Q4_K_M")
    made.opened = opened  # type: ignore[attr-defined]
    return made


def result_of(engine: Engine, lengths: Sequence[int], seconds: float = 60.0) -> Result:
    result = Result("small", "auto")
    for told in measure.measured(LoadOptions("small"), lengths, seconds=seconds):
        measure.take(result, told)
    return result


def test_rates_are_of_what_was_computed(engine: Engine) -> None:
    result = result_of(engine, [512, 128])
    assert (result.model, result.engine, result.form) == ("small", "llamacpp", "Q4_K_M")
    assert [row.tokens for row in result.rows] == [128, 512]
    # What was in a cache is not counted, nor the token that comes out of the prompt.
    assert [row.prefill for row in result.rows] == pytest.approx([1_000, 1_000])
    assert [row.decode for row in result.rows] == pytest.approx([10, 10])
    assert result.load is not None
    assert result.first_token is not None
    assert result.memory > 1 << 20
    assert engine.closed


def test_nothing_drafts_and_no_end_cuts_an_answer(engine: Engine) -> None:
    result_of(engine, [128, 1_024])
    (options,) = engine.opened  # type: ignore[attr-defined]
    assert options.draft == "off"
    assert options.context >= 1_024 + 32
    assert all(sampling.extras == {"ignore_eos": True} for _, sampling in engine.asked)


def test_no_prompt_begins_as_another_does() -> None:
    texts = [measure.prompt_of(length) for length in measure.LENGTHS]
    assert len({text.split()[0] for text in texts}) == len(texts)
    assert [len(text.split()) for text in texts] == [length - 1 for length in measure.LENGTHS]


def test_what_the_model_does_not_read_is_left_out_with_the_reason(engine: Engine) -> None:
    rows = result_of(engine, [128, 8_192]).rows
    assert rows[1] == Row(8_192, skipped="the model reads 4,000 tokens beside what it writes")


def test_what_would_take_too_long_is_left_out(engine: Engine) -> None:
    rows = result_of(engine, [1_000, 3_900], seconds=2.0).rows
    assert rows[0].prefill
    assert rows[1].skipped == "it would take longer than the time that was given"


class TestInAProcess:
    def lines(self, monkeypatch: pytest.MonkeyPatch, program: str) -> None:
        popen = measure.subprocess.Popen
        monkeypatch.setattr(
            measure.subprocess,
            "Popen",
            lambda command, **named: popen([sys.executable, "-c", program], **named),
        )

    def test_what_was_told_before_a_crash_stays(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lines(monkeypatch, 'print(\'{"load": 1.5}\', flush=True); raise SystemExit("no memory left")')
        told: list[float | None] = []
        result = measure.run(LoadOptions("small"), [128], seconds=1, tell=lambda one: told.append(one.load))
        assert (result.load, result.fault, told) == (1.5, "no memory left", [1.5])

    def test_an_interrupt_ends_the_process(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.lines(monkeypatch, "import time; print('{\"load\": 1.5}', flush=True); time.sleep(60)")
        made: list[Any] = []
        popen = measure.subprocess.Popen
        monkeypatch.setattr(
            measure.subprocess,
            "Popen",
            lambda *given, **named: made.append(popen(*given, **named)) or made[0],
        )

        def interrupt(result: Result) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            measure.run(LoadOptions("small"), [128], seconds=1, tell=interrupt)
        assert made[0].poll() is not None
