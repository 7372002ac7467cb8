"""A run: what is known is not asked again, what fails is no answer."""

from __future__ import annotations

from dataclasses import dataclass

from examined import Examined

from qwen_cli.engines.core.base import Engine, Sampling
from qwen_cli.errors import EngineError
from qwen_cli.tasks.eval import run
from qwen_cli.tasks.eval.item import Attempt
from qwen_cli.tasks.eval.protocol import Protocol

TWICE = Protocol("chat", 0, samples=2, sampling=Sampling())


@dataclass(frozen=True)
class Echo:
    id: str
    fails: bool = False
    subject = ""
    expected = "x"

    def attempt(self, engine: Engine, protocol: Protocol, number: int, stopped: object) -> Attempt:
        if self.fails:
            raise EngineError("the engine fell over")
        return Attempt(f"{self.id}{number}", 1.0)


def test_every_item_is_asked_as_often_as_there_are_samples() -> None:
    rows = list(run.run(Examined(), [Echo("a"), Echo("b")], TWICE, {}, at_once=1))
    assert [(r["id"], r["sample"], r["answer"]) for r in rows] == [
        ("a", 0, "a0"), ("a", 1, "a1"), ("b", 0, "b0"), ("b", 1, "b1"),
    ]  # fmt: skip


def test_what_is_known_is_not_asked_again_but_what_failed_is() -> None:
    done = run.known([{"id": "a", "sample": 0, "correct": 1.0}, {"id": "b", "sample": 1, "error": "gone"}])
    rows = list(run.run(Examined(), [Echo("a"), Echo("b")], TWICE, done, at_once=1))
    assert [(r["id"], r["sample"]) for r in rows] == [("a", 1), ("b", 0), ("b", 1)]


def test_a_failure_is_told_and_the_others_go_on() -> None:
    rows = list(run.run(Examined(), [Echo("a", fails=True), Echo("b")], Protocol("chat", 0), {}, at_once=1))
    assert [r.get("error") for r in rows] == ["the engine fell over", None]
