"""HTML of a document, as Qwen2.5-VL writes it, as Markdown."""

from __future__ import annotations

import re
from typing import Any

from bs4 import BeautifulSoup
from markdownify import MarkdownConverter

from qwen_cli.tasks.vision import tables

_FORMULA = re.compile(r"(\$\$.+?\$\$|\$[^$\n]+\$|\\\(.+?\\\)|\\\[.+?\\\])", re.DOTALL)


class _Converter(MarkdownConverter):
    """markdownify with what documents need: formulas as they are, and merged cells of tables filled."""

    def escape(self, text: str, parent_tags: Any) -> str:
        parts = _FORMULA.split(text)  # every second one is a formula, where "_" is no emphasis
        for index in range(0, len(parts), 2):
            # It is there; markdownify's stub leaves it out.
            parts[index] = super().escape(parts[index], parent_tags)  # type: ignore[misc]
        return "".join(parts)

    def convert_table(self, el: Any, text: str, parent_tags: Any) -> str:
        return f"\n\n{tables.to_markdown(tables.html_rows(el))}\n\n"

    def convert_img(self, el: Any, text: str, parent_tags: Any) -> str:
        # A page's picture has no address; what is left of it is its description.
        alt = " ".join(str(el.get("alt") or "").split())
        return f"![{alt}]()" if alt else ""

    def convert_div(self, el: Any, text: str, parent_tags: Any) -> str:
        text = text.strip()
        if "formula" in (el.get("class") or ()) and text and "$" not in text and "\\[" not in text:
            text = f"$${el.get_text().strip()}$$"
        return f"\n\n{text}\n\n" if text else ""


def convert(html: str) -> str:
    """Return HTML as Markdown; it must be clean already (`documents.clean_html`)."""
    soup = BeautifulSoup(html, "html.parser")
    try:
        text = _Converter(heading_style="atx", bullets="-", escape_misc=False).convert_soup(soup)
    except RecursionError:  # a model in a loop opens element after element; its text is what there is
        text = soup.get_text("\n")
    return re.sub(r"\n{3,}", "\n\n", text).strip()
