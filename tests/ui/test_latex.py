"""Formulas as Unicode, whole and in pieces."""

from __future__ import annotations

import pytest

from qwen_cli.ui.latex import Formulas, shown, unicode


@pytest.mark.parametrize(
    ("formula", "text"),
    [
        (r"x^2 + \frac{1}{2}", "x² + 1/2"),
        (r"\left(\frac{a}{b}\right)^{2n}", "(a/b)²ⁿ"),
        (r"\sqrt{x^2+1} \le \pi", "√(x²+1) ≤ π"),
        (r"\sum_{i=1}^{n} i^2", "∑ᵢ₌₁ⁿ i²"),
        (r"x^{\frac12}", "x^(1/2)"),
        (r"\text{total} = 12", "total = 12"),
        (r"\frac{1", r"\frac{1"),
        ("18", "18"),
        (r"\dfrac{3}{4}", "3/4"),
        (r"\frac{x+1}{2}", "(x+1)/2"),
        (r"50\%", "50%"),
        ("50%", "50%"),
        (r"\sqrt", r"\sqrt"),
        (r"0.\overline{3}", r"0.\overline{3}"),
        (r"5 \unknown{x} + \frac12", r"5 \unknown{x} + \frac12"),
        ("12 eggs & 3 hens", "12 eggs & 3 hens"),
    ],
)
def test_a_formula(formula: str, text: str) -> None:
    assert unicode(formula) == text


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        (r"so $x^2$ costs $5 and $10.", "so x² costs $5 and $10."),
        (r"\(16 - 3 = 13\) eggs", "16 - 3 = 13 eggs"),
        ("\\[\n\\alpha_{ij}\n\\]\nthen", "αᵢⱼ\nthen"),
        (r"thus \boxed{\frac{3}{4}}.", "thus 3/4."),
        ("```python\nx = '$a^2$'\n```\n$a^2$", "```python\nx = '$a^2$'\n```\na²"),
        ("no formula\nat all\n", "no formula\nat all\n"),
        (r"an open \( one", r"an open \( one"),
        (r"a $\overline{AB}$ and $\sqrt$ stay", r"a $\overline{AB}$ and $\sqrt$ stay"),
        ("run `echo $A$` and ``x=`$B$` ``, then $x^2$", "run `echo $A$` and ``x=`$B$` ``, then x²"),
        ("echo $A$B, US$5 to CA$10 or $x$y", "echo $A$B, US$5 to CA$10 or $x$y"),
        ("$5, $6 and $7 (not $8)", "$5, $6 and $7 (not $8)"),
        ("$5 for tea, or 10$", "$5 for tea, or 10$"),
        ("cp $SRC_DIR/$DST_DIR $HOME_DIR$", "cp $SRC_DIR/$DST_DIR $HOME_DIR$"),
        (r"it costs \$5 and \$6", r"it costs \$5 and \$6"),
        (r"$\$5 \cdot 3 = \$15$", "$5 · 3 = $15"),
        ("($x$, $y_1$): $f(x)$.", "(x, y₁): f(x)."),
        ("$$\n\\frac{1}{2}\n$$", "1/2"),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_text_in_pieces(text: str, seen: str, size: int) -> None:
    stream = Formulas()
    pieces = [stream.feed(text[at : at + size]) for at in range(0, len(text), size)]
    assert "".join([*pieces, stream.finish()]) == seen


def test_plain_text_is_not_held_back() -> None:
    stream = Formulas()
    assert stream.feed("Janet sells ") == "Janet sells "
    assert stream.feed("eggs for $") == ""
    assert stream.feed("2 each.\n") == "eggs for $2 each.\n"


def test_a_display_formula_that_never_ends_does_not_swallow_the_answer() -> None:
    stream = Formulas()
    text = "\\[\n" + "a + b\n" * 500
    assert len(stream.feed(text)) > len(text) // 2
    assert shown("\\[ open") == "\\[ open"
