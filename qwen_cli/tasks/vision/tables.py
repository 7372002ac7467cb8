"""Tables in what a model wrote (Markdown, HTML, LaTeX) as rows of text, and rows as CSV or Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from bs4 import Tag

Rows: TypeAlias = list[list[str]]

# Columns that one cell may claim: no page has more, and a model in a loop writes colspan="99999".
_WIDEST = 100

# Group 1 is what closes.
_HTML = re.compile(r"<table\b|(</table\s*>)", re.IGNORECASE)
_TABULAR = re.compile(r"\\begin\s*\{(?:tabular[*x]?|longtable)\}|(\\end\s*\{(?:tabular[*x]?|longtable)\})")
# What stands before the first cell: a width (tabular* and tabularx), a position, the columns.
_COLUMNS = re.compile(
    r"\\begin\s*\{(?:tabular[*x]\}\s*\{[^{}]*\}|[a-z]+\})(?:\s*\[[^\]]*\])?(?:\s*\{(?:[^{}]|\{[^{}]*\})*\})?"
)
_RULE = re.compile(
    r"\\(?:hline|toprule|midrule|bottomrule|endhead|endfoot)\b|\\(?:cline|cmidrule)\s*(?:\([^)]*\))?\s*\{[^}]*\}"
)
_TABULAR_END = re.compile(r"\\end\s*\{(?:tabular[*x]?|longtable)\}\s*\Z")
# What has a meaning between cells; everything else is theirs.
_MARK = re.compile(r"\\begin\s*\{|\\end\s*\{|\\\\(?:\[[^\]]*\])?|\\.|[{}&]", re.DOTALL)
_MULTI = re.compile(r"\s*\\multi(column|row)\s*\{\s*(\d+)\s*\}\s*(?:\{[^{}]*(?:\{[^{}]*\})*[^{}]*\})\s*\{")

# Cells that a spreadsheet would run: OWASP's list ("CSV Injection") with its full-width forms.
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")
_NUMBER = re.compile(r"[-+]?\s*[$€£¥]?\s*[.,]?\d[\d., ]*(?:[eE][-+]?\d+)?[%$€£¥]?|[-+]+")


def tables(text: str) -> list[Rows]:
    """Return every table in `text`, in order: rows of cells, equally long, each cell one line of plain text.

    Understands Markdown's pipes, HTML and LaTeX's `tabular` (which Qwen3-VL writes into its Markdown, by its
    cookbook). A cell that spans several is in each of them.
    """
    positioned: list[tuple[int, Rows]] = []
    for pattern, read in ((_TABULAR, latex_rows), (_HTML, _from_html)):
        for start, end in list(_outermost(pattern, text)):
            positioned.append((text.count("\n", 0, start), read(text[start:end])))
            # Blanked, so that lines keep their numbers for what is still to be found.
            text = text[:start] + re.sub(r"[^\n]", " ", text[start:end]) + text[end:]
    positioned += _from_markdown(text)
    return [rows for _, rows in sorted(positioned, key=lambda one: one[0]) if any(rows)]


def to_csv(rows: Sequence[Sequence[str]]) -> str:
    """Return `rows` as CSV with "\\n" line ends.

    What a spreadsheet would take for a formula gets an apostrophe in front and is text there: the page that
    was read, and so the cell, may be anybody's. Numbers ("-5", "+3.2 %", "-$1,000") stay numbers.
    """
    import csv
    import io

    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([_harmless(cell) for cell in row] for row in rows)
    return out.getvalue()


def to_markdown(rows: Sequence[Sequence[str]]) -> str:
    """Return `rows` as a Markdown table; the first one is its head."""
    if not rows:
        return ""
    cells = [[" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in _even(rows)]
    head, *body = (f"| {' | '.join(row)} |" for row in cells)
    return "\n".join([head, f"|{' --- |' * len(cells[0])}", *body])


def html_rows(table: Tag) -> Rows:
    """Return the cells of one HTML table, without those of tables inside it."""
    rows: Rows = []
    claimed: dict[tuple[int, int], str] = {}  # by cells above that span several rows
    lines = [line for line in table.find_all("tr") if line.find_parent("table") is table]
    for y, line in enumerate(lines):
        row: list[str] = []
        cells = [cell for cell in line.find_all(["td", "th"]) if cell.find_parent("tr") is line]
        for cell in cells:
            while (y, len(row)) in claimed:
                row.append(claimed[y, len(row)])
            text = " ".join(cell.get_text(" ").split())
            for _ in range(_span(cell, "colspan", _WIDEST)):
                for below in range(1, _span(cell, "rowspan", len(lines) - y)):
                    claimed[y + below, len(row)] = text
                row.append(text)
        while (y, len(row)) in claimed:
            row.append(claimed[y, len(row)])
        rows.append(row)
    return _even(rows)


def latex_rows(text: str) -> Rows:
    """Return the cells of one LaTeX table, which may be cut off."""
    rows: Rows = []
    claimed: dict[tuple[int, int], str] = {}
    columns = _COLUMNS.match(text)
    lines = list(_latex_cells(text[columns.end() if columns else 0 :]))
    for y, cells in enumerate(lines):
        row: list[str] = []
        for cell in cells:
            content, wide, high = _latex_cell(cell)
            content = content or claimed.get((y, len(row)), "")  # LaTeX leaves the cells below empty
            for _ in range(wide):
                for below in range(1, min(high, len(lines) - y)):
                    claimed[y + below, len(row)] = content
                row.append(content)
        rows.append(row)
    return _even(rows)


def replace_latex(text: str) -> str:
    """Return `text` with its LaTeX tables as Markdown ones."""
    for start, end in reversed(list(_outermost(_TABULAR, text))):
        table = to_markdown(latex_rows(text[start:end]))
        text = f"{text[:start].rstrip()}\n\n{table}\n\n{text[end:].lstrip()}".strip("\n")
    return text


def _outermost(pattern: re.Pattern[str], text: str) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of each table that is in no other; one that was cut off ends with the text."""
    depth, start = 0, 0
    for match in pattern.finditer(text):
        if not match[1]:
            start = start if depth else match.start()
            depth += 1
        elif depth:
            depth -= 1
            if not depth:
                yield start, match.end()
    if depth:
        yield start, len(text)


def _even(rows: Sequence[Sequence[str]]) -> Rows:
    """Return `rows` with the short ones filled up with empty cells."""
    width = max((len(row) for row in rows), default=0)
    return [[*row, *[""] * (width - len(row))] for row in rows]


def _span(cell: Tag, name: str, most: int) -> int:
    value = str(cell.get(name, "")).strip()
    return max(1, min(int(value), most)) if value.isdecimal() and len(value) < 6 else 1


def _from_html(text: str) -> Rows:
    from bs4 import BeautifulSoup, Tag

    table = BeautifulSoup(text, "html.parser").find("table")
    return html_rows(table) if isinstance(table, Tag) else []


def _from_markdown(text: str) -> Iterator[tuple[int, Rows]]:
    from markdown_it import MarkdownIt

    rows: Rows = []
    line = 0
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.type == "table_open":
            rows, line = [], token.map[0] if token.map else 0
        elif token.type == "tr_open":
            rows.append([])
        elif token.type == "inline" and token.level and rows:
            # `content` is also what is in formulas; only emphasis and <br> are not text.
            parts = (
                " " if child.type in ("softbreak", "hardbreak", "html_inline") else child.content
                for child in token.children or ()
            )
            rows[-1].append(" ".join("".join(parts).split()))
        elif token.type == "table_close":
            yield line, _even(rows)
            rows = []


def _latex_cells(text: str) -> Iterator[list[str]]:
    depth, start = 0, 0
    row: list[str] = []
    text = _TABULAR_END.sub("", _RULE.sub(" ", text))
    for mark in _MARK.finditer(text):
        sign = mark[0]
        if sign.startswith("\\begin") or sign == "{":
            # The brace of \begin{…} closes by itself, its environment with \end{…}: both are one level.
            depth += 2 if sign != "{" else 1
        elif sign == "}":
            depth -= 1
        elif sign.startswith("\\end"):
            pass  # its own brace opened nothing: "}" takes the level of the environment
        elif depth <= 0 and (sign == "&" or sign.startswith("\\\\")):
            row.append(text[start : mark.start()])
            start = mark.end()
            if sign != "&":
                yield row
                row = []
    if row or text[start:].strip():
        yield [*row, text[start:]]


def _latex_cell(cell: str) -> tuple[str, int, int]:
    """Return (plain text, columns, rows) of one cell."""
    wide = high = 1
    while match := _MULTI.match(cell):
        number = max(1, min(int(match[2][:4]), _WIDEST))
        wide, high = (number, high) if match[1] == "column" else (wide, number)
        cell = cell[match.end() :].rstrip().removesuffix("}")
    return _plain(cell), wide, high


def _plain(cell: str) -> str:
    """Return a cell without LaTeX's commands; formulas stay as they are."""
    if "\\" in cell or "~" in cell or "{" in cell:
        from pylatexenc.latex2text import LatexNodes2Text

        try:
            cell = LatexNodes2Text(math_mode="verbatim").latex_to_text(cell)
        except RecursionError:  # a model in a loop opens brace after brace
            cell = re.sub(r"\\[a-zA-Z]+|[{}]", " ", cell)
    return " ".join(cell.split())


def _harmless(cell: str) -> str:
    begins = cell.lstrip().startswith(_FORMULA) or cell.startswith(("\t", "\r"))
    return f"'{cell}" if begins and not _NUMBER.fullmatch(cell.strip()) else cell
