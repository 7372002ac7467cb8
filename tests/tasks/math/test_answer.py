"""Answers: which are the same."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qwen_cli.tasks.math import equality
from qwen_cli.tasks.math.answer import Judge

PAIRS: list[dict[str, Any]] = [
    json.loads(line)
    for line in (Path(__file__).parents[2] / "data" / "answer_pairs.jsonl")
    .read_text(encoding="utf-8")
    .splitlines()
]
# Judged wrongly, each by name. Unit vectors without a mark on them are letters, and i is the imaginary one.
# A product of roots is the root of a product where both are positive, which nobody says.
WRONG = {(r"\langle 3, -1\rangle", "3i - j"), (r"\sqrt{x}\sqrt{y}", r"\sqrt{xy}")}


@pytest.fixture(scope="module")
def judge() -> Iterator[Judge]:
    with Judge() as opened:
        yield opened


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("18", "18.0"),
        ("$1,234.50", "1234.5"),
        (r"\$70000", "70000"),
        ("18 eggs", "18"),
        ("12元", "12"),
        ("90°", "90"),
        ("3/4", r"\frac{3}{4}"),
        (r"\frac{1}{2}", "0.5"),
        (r"50\%", "0.5"),
        (r"2\sqrt{3}", r"\sqrt{12}"),
        (r"\{1,2\}", r"\{2,1\}"),
        ("x=5", "5"),
        (r"18\text{ dollars}", "18"),
        (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{bmatrix}1&2\\3&4\end{bmatrix}"),
        ("27.0", "27"),
    ],
)
def test_the_same_mathematics_is_equal(judge: Judge, one: str, other: str) -> None:
    assert judge.same(one, other)
    assert judge.same(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [("18", "19"), ("2x", "2"), ("0.333", "1/3"), ("(1,2)", "(2,1)"), ("1000", "1,001"), ("x+1", "y+1")],
)
def test_other_mathematics_is_not(judge: Judge, one: str, other: str) -> None:
    assert not judge.same(one, other)


@pytest.mark.parametrize("kind", sorted({row["kind"] for row in PAIRS}))
def test_a_table_of_pairs(judge: Judge, kind: str) -> None:
    """Half of the first 592 pairs were written before the code and not looked at while it was (`held_out`).
    The rest were written after it, in rounds: of 503 (`round` 2) 77 % were right at first, of 338 more (3)
    96 %, of 277 more (4) 92 %, of 882 more (5), which reach further, 86 %, of 713 more (6, 7) 94 %, of 135
    near misses (8) 87 %."""
    wrong = []
    for row in (row for row in PAIRS if row["kind"] == kind):
        wanted = row["same"] != ((row["one"], row["other"]) in WRONG)
        printed = row.get("printed", False)
        told = [judge.same(row["one"], row["other"], printed=printed)]
        told += [] if printed else [judge.same(row["other"], row["one"])]
        if set(told) != {wanted}:
            wrong.append((row["one"], row["other"], told))
    assert not wrong


# Where another digit may be the same answer: rounded or approximate values, what is not the answer itself.
INDIFFERENT = re.compile(
    r"^i\^|since|\(as |binom\{5\}|d\^2y|floor|ceil|m(?:ax|in)|because|binom\{3\}|c_1|lim|"
    r"^5_|\\approx|\\prod|\\c[au]p|^-0|frac\{0\}|C_|=.*=|V_|cdot 4 = |\{1,1,2|[0-9.]{11}"
)


@pytest.mark.parametrize("kind", sorted({row["kind"] for row in PAIRS} - {"printed"}))
def test_an_answer_with_another_digit_is_another_answer(kind: str) -> None:
    answers = {row[side] for row in PAIRS if row["kind"] == kind for side in ("one", "other")}
    for answer in sorted(a for a in answers if re.search("[0-9]", a) and not INDIFFERENT.search(a)):
        digits = [found.start() for found in re.finditer("[0-9]", answer)][:2]
        at = digits[len(answer) % len(digits)]
        other = f"{answer[:at]}{(int(answer[at]) + 1) % 10}{answer[at + 1 :]}"
        assert not equality.same(answer, other, False), (answer, other)


def test_the_table_is_large_and_nearly_all_of_it_is_right() -> None:
    assert len(PAIRS) >= 400
    assert len(WRONG) <= len(PAIRS) / 100
    assert {(row["one"], row["other"]) for row in PAIRS} >= WRONG
    assert 0.2 < sum(not row["same"] for row in PAIRS) / len(PAIRS) < 0.5
    assert sum(row.get("held_out", False) for row in PAIRS) > 250


def test_what_a_program_printed_is_python_and_what_is_boxed_is_not(judge: Judge) -> None:
    assert judge.same("x^2", "x**2", printed=True)
    assert not judge.same(r"\{1, 2\}", "(2, 1)", printed=True)
    assert judge.same("[0, 1]", "Interval(0, 1)", printed=True)
    assert judge.same("5e", "5*E", printed=True)
    assert not judge.same("5E", "5*e", printed=True), "E is a letter in LaTeX"


def test_nothing_is_computed_outside_the_sandbox() -> None:
    program = (
        "import sys, qwen_cli.tasks.math.answer; print('sympy' in sys.modules, 'math_verify' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False", "False"]


def test_without_a_sandbox_only_plain_numbers_and_equal_texts_are_equal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from qwen_cli.errors import SandboxError
    from qwen_cli.tasks.math import answer

    class Broken:
        def __init__(self, *_: Any, **__: Any) -> None: ...

        def run(self, _: str) -> None:
            raise SandboxError("no sandbox here")

        def close(self) -> None: ...

    monkeypatch.setattr(answer, "Sandbox", Broken)
    with Judge() as bare:
        assert bare.same("1,234", "1234.0") and bare.same("x", " x ")
        assert not bare.same("18", "19") and not bare.same("1/2", "0.5")


def test_an_answer_cannot_run_code_or_hang(judge: Judge) -> None:
    assert not judge.same("9^{9^{9^{9^{9}}}}", r"\frac{1}{2}")
    assert not judge.same("__import__('os').system('touch /tmp/qwen_escape')", "'''\"")
    assert not judge.same("1", "__import__('os').system('touch /tmp/qwen_escape')", printed=True)
    assert not judge.same("2", "(lambda: 2)()", printed=True)
    assert not judge.same("1", "9**9**9**9", printed=True)
    assert judge.same(r"\frac{2}{4}", "1/2")  # and the judge still works
    assert not Path("/tmp/qwen_escape").exists()


@pytest.mark.parametrize(
    "answer",
    [
        *(
            "9^9^9^9",
            "1" * 10_000,
            "0." + "3" * 10_000,
            "(" * 2_000 + ")" * 2_000,
            "\\frac{" * 400,
            "{" * 900,
        ),
        *(
            "x^2" * 600,
            "a," * 900,
            "\\pm1," * 8,
            "2^{" * 100 + "2" + "}" * 100,
            "(x+1)^{5000}",
            "1" + ":2" * 400,
        ),
        *(
            "\\binom{99999999}{4999999}",
            "1000000!",
            "\\frac{1}{0}",
            "1e999999999",
            "\x00\ud800",
            "\\",
            "和" * 999,
        ),
        *(
            "\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}^{1000000}",
            "3 \\pmod{0}",
            "5!!!!!!!!",
            "$" * 99,
            "1<" * 300,
        ),
    ],
    ids=lambda answer: ascii(answer[:20]),
)
def test_no_answer_is_too_much(judge: Judge, answer: str) -> None:
    assert not judge.same(answer, "17")
    assert not judge.same("17", answer, printed=True)
    assert judge.same(answer, answer)
    assert judge.same("1/2", "0.5"), "and the judge still works"


def test_each_pair_is_compared_once(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []
    compare = judge._compared
    monkeypatch.setattr(judge, "_compared", lambda *pair: asked.append(pair[:2]) or compare(*pair))
    for _ in range(3):
        assert judge.same("7/14", "50/100") and judge.same("50/100", "7/14")
    assert len(asked) == 1


def test_a_comparison_that_ended_badly_is_made_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    from qwen_cli.sandbox import Outcome
    from qwen_cli.tasks.math import answer

    outcomes = [Outcome("killed"), Outcome("memory"), Outcome("ok", value="True")]

    class Dying:
        def __init__(self, *_: Any, **__: Any) -> None: ...

        def run(self, _: str) -> Outcome:
            return outcomes.pop(0)

        def close(self) -> None: ...

    monkeypatch.setattr(answer, "Sandbox", Dying)
    with Judge() as judge:
        assert judge.same("x", "y")


def test_equal_answers_are_one_group_the_largest_first(judge: Judge) -> None:
    assert judge.groups(["3", r"\frac{1}{2}", "0.5", "3.0", "1/2"]) == [[1, 2, 4], [0, 3]]
    assert judge.groups(["7", "8"]) == [[0], [1]]
    assert judge.groups([]) == []


@pytest.mark.parametrize("quotient", ["1/0", r"\frac{1}{0}", r"-\frac50", "7 / 0"])
def test_what_is_divided_by_nothing_is_undefined(judge: Judge, quotient: str) -> None:
    assert judge.same(quotient, "undefined")
    assert not judge.same(quotient, "0")
