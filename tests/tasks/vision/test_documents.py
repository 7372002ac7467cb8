"""Documents: what is asked of each generation, and what it wrote made clean, safe, and tables."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from qwen_cli.tasks.vision.documents import (
    Form,
    clean_html,
    clean_markdown,
    html_to_markdown,
    page,
    prompt,
    schema_prompt,
    system,
    tables,
)
from qwen_cli.tasks.vision.grounding import Convention
from qwen_cli.tasks.vision.tables import to_csv


@pytest.mark.parametrize(
    ("form", "convention", "asked"),
    [
        ("markdown", "thousand", "qwenvl markdown"),
        ("html", "thousand", "qwenvl html"),
        ("html", "absolute", "QwenVL HTML"),
        ("markdown", "absolute", "QwenVL HTML"),
        ("ocr", "absolute", "Read all texts in the image, output in lines."),
    ],
)
def test_each_generation_is_asked_in_the_words_it_was_trained_on(
    form: Form, convention: Convention, asked: str
) -> None:
    assert prompt(form, convention) == asked


def test_qwen2_vl_is_asked_in_plain_words() -> None:
    assert "Markdown" in prompt("markdown", "tags")
    assert "HTML" in prompt("html", "tags")


@pytest.mark.parametrize(
    ("form", "convention", "needed"),
    [
        ("html", "absolute", True),
        ("markdown", "absolute", True),
        ("ocr", "absolute", False),
        ("html", "thousand", False),
    ],
)
def test_only_the_parser_of_qwen25_vl_needs_a_system_message(
    form: Form, convention: Convention, needed: bool
) -> None:
    assert ("QwenVL Document Parser HTML" in (system(form, convention) or "")) is needed


PAGE = """```html
<html><body>
<h2 data-bbox="103 94 235 128">Invoice_1</h2>
<p data-bbox="1 2 3 4">A <b>bold</b> <i>word</i> and $a_1*b_2$</p>
<div class="formula"><img data-bbox="1 1 2 2"/><div>$$\\frac{a_1}{b}$$</div></div>
<div class="image"><img data-bbox="5 5 6 6" alt="A logo"/></div>
<ul><li>one</li><li>two</li></ul>
<table><tr><th rowspan="2">N</th><th colspan="2">I</th></tr><tr><td>a</td><td>b|c</td></tr></table>
</body></html>
```"""

MARKDOWN = """## Invoice\\_1

A **bold** *word* and $a_1*b_2$

$$\\frac{a_1}{b}$$

![A logo]()

- one
- two

| N | I | I |
| --- | --- | --- |
| N | a | b\\|c |"""


def test_html_keeps_its_places_only_where_they_are_wanted() -> None:
    assert clean_html(PAGE).startswith('<h2 data-bbox="103 94 235 128">Invoice_1</h2>')
    without = clean_html(PAGE, boxes=False)
    assert "data-bbox" not in without
    assert "```" not in without
    assert '<th rowspan="2">N</th>' in without


@pytest.mark.parametrize(
    ("html", "gone"),
    [
        ("<p>a</p><script>alert(1)</script>", "alert"),
        ("<p>a</p><style>p{color:red}</style>", "color"),
        ("<p onclick='x()' OnMouseOver=y()>a</p>", "on"),
        ("<p>a</p><iframe src='//x'>in</iframe>", "in"),
        ("<p>a<svg onload=x><text>t</text></svg></p>", "svg"),
        ('<p>a<a href="javascript:x()">l</a></p>', "javascript"),
        ('<p>a<a href=" JaVaScRiPt:x()">l</a></p>', "cript"),
        ("<p>a</p><img src='http://x/y.png' alt='z'>", "http"),
        ("<p>a</p><img src=x onerror=alert(1)>", "alert"),
        ("<p style='background:url(//x)'>a</p>", "url"),
        ("<p>a</p><form action=//x><input name=q></form>", "form"),
        ("<p>a</p><meta http-equiv=refresh content='0;url=//x'>", "meta"),
        ("<p>a</p><scr<script>ipt>alert(1)</scr</script>ipt>", "<script"),
    ],
)
def test_html_off_a_page_can_do_nothing(html: str, gone: str) -> None:
    cleaned = clean_html(html)
    assert gone not in cleaned
    assert "<p" in cleaned
    assert "a" in cleaned


def test_html_that_was_cut_off_is_closed() -> None:
    assert clean_html("```html\n<table><tr><td>1") == "<table><tbody><tr><td>1</td></tr></tbody></table>"


def test_a_whole_page_says_its_encoding_and_loads_nothing() -> None:
    whole = page("<p>é</p>", "a <b> & c")
    assert '<meta charset="utf-8">' in whole
    assert "default-src 'none'" in whole
    assert "<title>a &lt;b&gt; &amp; c</title>" in whole
    assert "<p>é</p>" in whole


def test_html_becomes_markdown() -> None:
    assert html_to_markdown(PAGE) == MARKDOWN


def test_the_text_of_html_without_end_is_kept() -> None:
    assert html_to_markdown("<div>" * 5_000 + "text") == "text"


def test_markdown_asked_of_a_model_that_writes_html_is_markdown() -> None:
    assert clean_markdown(PAGE) == MARKDOWN
    assert clean_markdown('<h2 data-bbox="1 2 3 4">T</h2>') == "## T"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("```markdown\n# T\n\ntext\n```", "# T\n\ntext"),
        ("```markdown\n# T\n\ntext", "# T\n\ntext"),
        ("Here it is:\n```markdown\n# T\n```\nAnything else?", "# T"),
        ("```markdown\n# T\n\n```python\nx\n```\n\nend\n```", "# T\n\n```python\nx\n```\n\nend"),
        ("# T\n\n```python\nx\n```", "# T\n\n```python\nx\n```"),
        ("# T\n\n<!-- Image (115, 270, 475, 495) -->\n\ntext", "# T\n\ntext"),
        ("<!-- Table (1,2,3,4) -->\n| a |\n| --- |\n| 1 |", "| a |\n| --- |\n| 1 |"),
        ("a\n\n<!-- a remark -->\n\nb", "a\n\n<!-- a remark -->\n\nb"),
        ("<br> begins it", "<br> begins it"),
    ],
)
def test_markdown_loses_what_is_round_it_and_nothing_else(text: str, clean: str) -> None:
    assert clean_markdown(text) == clean


LATEX = r"""\begin{tabular}{|c|c|c|}
\hline
\multirow{2}{*}{\textbf{Name}} & \multicolumn{2}{c|}{Sales \& cost} \\
\cline{2-3}
 & 2023 & 2024 \\ \hline
A\_b & 50\% & $x_{1}$ \\ \hline
\end{tabular}"""
_LATEX_ROWS = [["Name", "Sales & cost", "Sales & cost"], ["Name", "2023", "2024"], ["A_b", "50%", "$x_{1}$"]]


def test_latex_tables_become_markdown_ones() -> None:
    """As Qwen3-VL writes them into its Markdown."""
    text = clean_markdown(f"before\n<!-- Table (86, 259, 913, 415) -->\n{LATEX}\nafter")
    assert text == (
        "before\n\n| Name | Sales & cost | Sales & cost |\n| --- | --- | --- |\n| Name | 2023 | 2024 |\n"
        "| A_b | 50% | $x_{1}$ |\n\nafter"
    )


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("| a | b |\n|---|:-:|\n| **1** | x\\|y |\n| 2 |", [["a", "b"], ["1", "x|y"], ["2", ""]]),
        ("a | b\n--- | ---\n`1` | $x_1$", [["a", "b"], ["1", "$x_1$"]]),
        ("```markdown\n| a |\n| --- |\n| 1<br>2 |\n```", [["a"], ["1 2"]]),
        ("<table><tr><td>1</td><td>2\n 3</td></tr></table>", [["1", "2 3"]]),
        (
            '<table><thead><tr><th rowspan="2">N</th><th colspan="2">I</th></tr></thead>'
            "<tr><td>a</td><td>b</td></tr><tr><td>1</td></tr></table>",
            [["N", "I", "I"], ["N", "a", "b"], ["1", "", ""]],
        ),
        (
            "<table><tr><td rowspan=3>x</td><td>1</td><td rowspan=2>y</td></tr><tr><td>2</td></tr></table>",
            [["x", "1", "y"], ["x", "2", "y"]],
        ),
        ("<table><tr><td><table><tr><td>in</td></tr></table></td><td>out</td></tr></table>", [["in", "out"]]),
        ("<table><tr><td>cut</td><td>of", [["cut", "of"]]),
        (LATEX, _LATEX_ROWS),
        (LATEX[: LATEX.index("\\hline\n\\end")], _LATEX_ROWS),
        (
            r"\begin{tabular*}{\textwidth}{ll} {a & b} & c \\ d & \begin{tabular}{c}e\\f\end{tabular}"
            r"\end{tabular*}",
            [["a b", "c"], ["d", "e f"]],
        ),
    ],
)
def test_a_table_is_rows_of_plain_text(text: str, rows: list[list[str]]) -> None:
    assert tables(text) == [rows]


def test_tables_of_every_kind_come_in_order() -> None:
    text = (
        f"# T\n\n| a |\n|---|\n| 1 |\n\n<table><tr><td>2</td></tr></table>\n\n{LATEX}\n\n| b |\n|---|\n| 3 |"
    )
    assert tables(text) == [[["a"], ["1"]], [["2"]], _LATEX_ROWS, [["b"], ["3"]]]


@pytest.mark.parametrize("text", ["", "no | table", "a\n---\nb", "<table></table>", "```\nx = 1\n```"])
def test_no_table_is_an_empty_list(text: str) -> None:
    assert tables(text) == []


def test_a_cell_cannot_claim_a_million_columns() -> None:
    assert len(tables('<table><tr><td colspan="1000000" rowspan="65534">x</td></tr></table>')[0][0]) <= 100


@pytest.mark.parametrize(
    "cell", ["-5", "+3.2 %", "-1,234.56", "-$5", "-.5", "+1e-3", "-", "--", "+49 30 1234", "a=b"]
)
def test_numbers_stay_numbers_in_csv(cell: str) -> None:
    assert to_csv([[cell, "x"]]) == (f'"{cell}",x\n' if "," in cell else f"{cell},x\n")


@pytest.mark.parametrize(
    "cell", ["=1+1", "=cmd|' /C calc'!A0", "+cmd", "-2+3", "@SUM(A1)", " =x", "\t=x", "＝1", "-A1"]
)
def test_formulas_are_text_in_csv(cell: str) -> None:
    (row,) = csv.reader(io.StringIO(to_csv([[cell]])))
    assert row == [f"'{cell}"]


def test_csv_quotes_what_needs_it() -> None:
    assert to_csv([["a", 'say "x"'], ["1,5", "two\nlines"]]) == 'a,"say ""x"""\n"1,5","two\nlines"\n'
    assert to_csv([]) == ""


RECEIPT: dict[str, Any] = {
    "type": "object",
    "description": "A receipt.",
    "$defs": {
        "item": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "parts": {"type": "array", "items": {"$ref": "#/$defs/item"}},
            },
        }
    },
    "properties": {
        "total": {"type": "number", "description": "what was paid"},
        "date": {"type": "string", "format": "date"},
        "currency": {"enum": ["EUR", "USD"]},
        "items": {"type": "array", "items": {"$ref": "#/$defs/item"}},
        "note": {"anyOf": [{"type": "null"}, {"type": "string"}], "description": "written by hand"},
    },
}


def test_a_schema_is_asked_for_with_its_keys_and_what_they_mean() -> None:
    described, asked = schema_prompt(RECEIPT).split("\n")
    assert described == "A receipt."
    words, example = asked.split(": ", 1)
    assert words == "Extract the key-value information in the format"
    assert json.loads(example) == {
        "total": "what was paid (number)",
        "date": "string; date",
        "currency": "one of EUR, USD",
        "items": [{"name": "string", "parts": [""]}],
        "note": "written by hand (string)",
    }
