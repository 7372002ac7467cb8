"""An answer put back into its problem. The model is written down; programs run in the real sandbox."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest
from scripted import Scripted, end

from qwen_cli.commands.math import output
from qwen_cli.engines.core.base import Piece
from qwen_cli.errors import EngineError
from qwen_cli.tasks.common.drain import drain
from qwen_cli.tasks.math import solve, verify
from qwen_cli.tasks.math.answer import Judge

PROBLEM = "Twice a number and 3 are 11. What is the number?"


def block(program: str) -> str:
    return f"I test it.\n```python\n{program}\n```\n"


def says(*texts: str) -> Scripted:
    engine = Scripted(*([Piece(text), end()] for text in texts))
    engine.capabilities = replace(engine.capabilities, thinking=None)
    return engine


def verified(answer: str, *texts: str, **options: Any) -> verify.Verification:
    return drain(verify.verify(says(*texts), PROBLEM, answer, "en", **options))


@pytest.mark.parametrize(
    ("answer", "program", "verdict", "why"),
    [
        ("4", "print(2 * answer + 3 == 11)", "holds", ""),
        ("5", "print(2 * answer + 3 == 11)", "fails", ""),
        ("4", "2 * answer + 3 == 11", "holds", ""),  # its value
        ("4", "answer = 5\nprint(2 * answer + 3 == 11)", "holds", ""),  # ours stands
        (r"\frac{8}{2}", "print(2 * answer + 3 == 11)", "holds", ""),
        (r"\sqrt{16}", "print(2 * answer + 3 == 11)", "holds", ""),
        ("0.5", "print(4 * answer == 2)", "holds", ""),
        ("4", "print(True)", "open", "the program does not use the answer"),
        ("4", "answers = [4]\nprint(4 in answers)", "open", "the program does not use the answer"),
        ("4", "print(answer == answer)", "open", "the program takes a wrong answer too"),
        ("4", "answer = 4\nprint(answer > 0)", "open", "the program takes a wrong answer too"),
        ("4", "def test(answer):\n  return 2 * answer == 8\nprint(test(4))", "open", "a wrong answer too"),
        ("4", "assert answer == 4\nprint(True)", "holds", "a wrong one ends it"),
        ("4", "print(2 * answer)", "open", "no verdict"),
        ("4", "print(1 / (answer - 4))", "open", "no verdict"),
        ("4", "while answer: pass", "open", "no verdict"),
        ("Tuesday", "print(answer == 'Tuesday')", "holds", "a wrong one was not tried"),
        (r"\text{Tuesday}", "print(answer == 'Tuesday')", "holds", "a wrong one was not tried"),
        ("5 cm", "print(answer == 4)", "open", "the answer is text"),
        ("Tuesday", "print(answer == 2)", "open", "the answer is text"),
    ],
)
def test_a_verdict_is_worth_what_its_program_is(answer: str, program: str, verdict: str, why: str) -> None:
    found = verified(answer, *[block(program)] * 2)
    assert found.verdict == verdict
    assert why in found.why
    assert bool(why) == bool(found.why)


def test_a_program_that_fails_is_written_again() -> None:
    engine = says(block("print(ansver)"), block("print(answer)"), block("print(2 * answer + 3 == 11)"))
    engine.answers[1:2] = [[Piece(block("print('answer', 2 * answer + 3 == 11)\nprint(answer == 4)")), end()]]
    found = drain(verify.verify(engine, PROBLEM, "4", "en"))
    assert (found.verdict, found.tokens) == ("open", 3), "it never used the answer"
    engine = says(block("print(answer.value)"), block("print(2 * answer + 3 == 11)"))
    found = drain(verify.verify(engine, PROBLEM, "4", "en"))
    assert (found.verdict, found.tokens) == ("holds", 6)
    told = engine.seen[1][0][-1]["content"]
    assert told.startswith("```output\nAttributeError")


def test_a_solution_s_own_program_proves_nothing() -> None:
    found = verified("4", block("print(2 * answer + 3 == 11)"), known=["print(2 * answer + 3 == 11)\n"])
    assert (found.verdict, found.why) == ("open", "the program is that of the solution")


def test_without_a_program_it_stays_open() -> None:
    assert verified("4", "True, as 8 and 3 are 11.").words == "not put back (no program was written)"


def test_what_it_asks_knows_nothing_of_the_solution() -> None:
    engine = says(block("print(2 * answer + 3 == 11)"))
    drain(verify.verify(engine, PROBLEM, "4", "zh"))
    ((system, asked), _) = engine.seen[0][0], None
    assert "代回" in system["content"]
    assert asked["content"] == f"问题: {PROBLEM}\n\n答案: 4"


class TestSolving:
    def test_it_is_told_in_text_and_in_json(self, capsys: pytest.CaptureFixture[str]) -> None:
        engine = says("So \\boxed{5}.", block("print(2 * answer + 3 == 11)"))
        options = solve.SolveOptions(mode="cot", verify=True)
        with Judge() as judge:
            checked = drain(solve.solve(engine, PROBLEM, judge, options))  # type: ignore[arg-type]
        assert checked.words == "not verified; put back, it does not hold"
        output.as_json(checked, engine)  # type: ignore[arg-type]
        told = json.loads(capsys.readouterr().out)
        assert told["check"] == "unverified"
        assert told["verification"] == asdict(checked.verification)
        assert told["verification"]["verdict"] == "fails"

    def test_without_an_answer_or_a_wish_there_is_none(self) -> None:
        for text, wish in (("None.", True), ("\\boxed{4}", False)):
            options = solve.SolveOptions(mode="cot", verify=wish)
            with Judge() as judge:
                checked = drain(solve.solve(says(text), PROBLEM, judge, options))  # type: ignore[arg-type]
            assert checked.verification is None

    def test_an_engine_that_fails_then_loses_no_answer(self) -> None:
        engine = says("\\boxed{4}")
        engine.answers.append([EngineError("the server is gone")])
        with Judge() as judge:
            checked = drain(solve.solve(engine, PROBLEM, judge, solve.SolveOptions(mode="cot", verify=True)))  # type: ignore[arg-type]
        assert (checked.answer, checked.words) == ("4", "not verified; not put back (the server is gone)")
