"""How a solution looks on a terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from qwen_cli.commands.math.output import SolutionView
from qwen_cli.engines.core.base import Piece
from qwen_cli.tasks.math.solve import Checked
from qwen_cli.tasks.math.tir import Solution


def recorded_view() -> tuple[SolutionView, io.StringIO]:
    written = io.StringIO()
    return SolutionView(Console(file=written, force_terminal=True, width=80, color_system=None)), written


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (r"\dfrac{3}{4}", "3/4"),
        (r"\frac{x+1}{2}", "(x+1)/2"),
        (r"50\%", "50%"),
        (r"\sqrt", r"\sqrt"),
        (r"0.\overline{3}", r"0.\overline{3}"),
        (r"\frac{-b\pm\sqrt{b^2-4ac}}{2a}", "(-b ± √(b²-4ac))/(2a)"),
        ("[red]5[/red]", "[red]5[/red]"),
    ],
)
def test_the_frame_shows_the_answer_that_it_is(answer: str, said: str) -> None:
    shown, written = recorded_view()
    shown.answer(Checked(Solution("", answer), "code"))
    assert f"│  {said}   code agrees  │" in written.getvalue()


def test_formulas_of_the_solution_are_unicode_and_its_code_is_not_touched() -> None:
    shown, written = recorded_view()
    for letter in "As $x^2$ is \\(\\frac{1}{2}\\):\n\n```python\nprint('$x^2$')\n```\n":
        shown.show(Piece(letter))
    shown.end()
    text = written.getvalue()
    assert "As x² is 1/2:" in text
    assert "print('$x^2$')" in text
