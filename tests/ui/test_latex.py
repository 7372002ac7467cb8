"""Formulas as Unicode, alone and in a text."""

from __future__ import annotations

import pytest

from qwen_cli.ui import blocks
from qwen_cli.ui.latex import unicode


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


def shown(text: str) -> str:
    """`text` as Markdown with its formulas as Unicode: what its inline tokens say, a line each."""
    found = []
    for block in blocks.parse(text, formulas=True):
        for token in block.tokens:
            children = token.children or []
            if token.type == "inline":
                found.append("".join("\n" if t.type.endswith("break") else t.content for t in children))
    return "\n".join(found)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        (r"so $x^2$ costs $5 and $10.", "so x² costs $5 and $10."),
        (r"\(16 - 3 = 13\) eggs", "16 - 3 = 13 eggs"),
        ("\\[\n\\alpha_{ij}\n\\]\nthen", "αᵢⱼ\nthen"),
        (r"thus \boxed{\frac{3}{4}}.", "thus 3/4."),
        (r"\boxed{\frac{1}{\sqrt{2^{n_{1}}}}}", "1/√(2^(n₁))"),
        (r"\boxed{1 is open", r"\boxed{1 is open"),
        ("no formula\nat all", "no formula\nat all"),
        (r"an open \( one", r"an open \( one"),
        (r"a $\overline{AB}$ and $\sqrt$ stay", r"a $\overline{AB}$ and $\sqrt$ stay"),
        ("run `echo $A$` and ``x=`$B$` ``, then $x^2$", "run echo $A$ and x=`$B$` , then x²"),
        ("echo $A$B, US$5 to CA$10 or $x$y", "echo $A$B, US$5 to CA$10 or $x$y"),
        ("$5, $6 and $7 (not $8)", "$5, $6 and $7 (not $8)"),
        ("$5 for tea, or 10$", "$5 for tea, or 10$"),
        ("cp $SRC_DIR/$DST_DIR $HOME_DIR$", "cp $SRC_DIR/$DST_DIR $HOME_DIR$"),
        ("其中$x_1$是整数，共$5$元", "其中x₁是整数，共5元"),
        ("価格は$5で、$10ではない", "価格は$5で、$10ではない"),
        ("价格$5，不是10$", "价格$5，不是10$"),
        ("값은 $x^2$이다", "값은 x²이다"),
        ("the $n$th term, the $2k$nd, echo $A$s", "the nth term, the 2knd, echo $A$s"),
        (r"escaped \[link\](url), \(\) and \[ \]", r"escaped \[link\](url), \(\) and \[ \]"),
        (r"nothing: $\boxed{}$, ${}$, \boxed{}", r"nothing: $\boxed{}$, ${}$, \boxed{}"),
        ("| $|x|$ | $\\|v\\|$ |\n|---|---|\n| $5 | $|a|+|b|$ |", "|x|\n‖v‖\n$5\n|a|+|b|"),
        ("| `$a|b$` | $x$ |\n|---|---|---|\n| 5$ | 7$ |", "`$a\nb$`\nx\n5$\n7$\n"),
        ("so $`x^2`$ it is", "so x² it is"),
        (r"$5~\text{cm}$, $\textcolor{red}{x}+{\color{blue} y}$", "5 cm, x+y"),
        ("kill $$ or $$ twice", "kill $$ or $$ twice"),
        (r"it costs \$5 and \$6", "it costs $5 and $6"),
        (r"$\$5 \cdot 3 = \$15$", "$5 · 3 = $15"),
        (r"$a*b*c$ and \(x_1 + x_2\)", "a*b*c and x₁ + x₂"),
        ("($x$, $y_1$): $f(x)$.", "(x, y₁): f(x)."),
        ("$$\n\\frac{1}{2}\n$$", "1/2"),
        (r"grep '\(foo\|bar\)' file", r"grep '\(foo\|bar\)' file"),
        (r"\begin{align*} x &= 1 \\ y &= 2 \end{align*}", "x = 1\ny = 2"),
    ],
)
def test_formulas_in_a_text(text: str, seen: str) -> None:
    assert shown(text) == seen
