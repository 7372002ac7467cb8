"""Documents read from pictures: what each generation is asked, and what it wrote made clean.

What a model reads off a page is untrusted: the page may be anybody's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from html import escape
from typing import Any, Literal, TypeAlias

from qwen_cli.tasks.common import lenient_json
from qwen_cli.tasks.vision import tables as vision_tables
from qwen_cli.tasks.vision.grounding import Convention
from qwen_cli.tasks.vision.tables import Rows

Form: TypeAlias = Literal["ocr", "markdown", "html"]
"""What a document is wanted as: plain text, Markdown or HTML."""

# QwenLM/Qwen2.5-VL cookbooks/document_parsing.ipynb, the system message beside "QwenVL HTML".
_PARSER = (
    "You are an AI specialized in recognizing and extracting text from images. Your mission is to analyze "
    "the image document and generate the result in QwenVL Document Parser HTML format using specified tags "
    "while maintaining user privacy and data integrity."
)
# QwenLM/Qwen3-VL cookbooks/ocr.ipynb, the full-page prompt for text in several languages.
_TEXT = (
    "Please output only the text content from the image without any additional descriptions or formatting."
)
# QwenLM/Qwen2.5-VL cookbooks/ocr.ipynb.
_LINES = "Read all texts in the image, output in lines."
LINES_WITH_BOXES = (
    "Spotting all the text in the image with line-level, and output in JSON format as "
    "[{'bbox_2d': [x1, y1, x2, y2], 'text_content': 'text'}, ...]."
)
"""Lines of text with their boxes: cookbooks/ocr.ipynb of QwenLM/Qwen3-VL; Qwen2.5-VL's is the same up to
"JSON format"."""

# Qwen2-VL was trained on neither format; these words are ours.
_OWN = (
    "Convert the document in the image to {form}, with all its text, headings, lists and tables. "
    "Output only the {form}."
)

# QwenVL Markdown marks places with comments: "<!-- Table (86, 259, 913, 415) -->" (document_parsing.ipynb).
_PLACE = re.compile(r"[ \t]*<!--\s*[A-Za-z ]*\(\s*\d+(?:\s*,\s*\d+){3}\s*\)\s*-->[ \t]*")

# An HTML document's beginning, or that of one of its parts as the parser format writes it.
_IS_HTML = re.compile(r"<(?:!doctype\b|html\b|body\b|[a-z][a-z0-9]*\s[^<>]*data-bbox)", re.IGNORECASE)

# Elements whose text goes with them, and what is kept of the others. An image's address is not: a model
# cannot know one, and fetching one tells its owner that the page was opened.
_DROPPED = frozenset(
    {"embed", "head", "iframe", "math", "noscript", "object", "script", "style", "svg", "template", "title"}
)
_CELL = {"colspan", "rowspan", "align", "valign"}
_KEPT = {
    "*": {"class", "style", "lang", "dir"},
    "a": {"href", "title"},
    "img": {"alt", "width", "height"},
    "td": _CELL,
    "th": {*_CELL, "scope"},
    "ol": {"start", "type"},
    "li": {"value"},
}
_STYLES = {"text-align", "font-weight", "font-style", "text-decoration", "vertical-align"}
# Where an element is on the page, in pixels as the model saw it (2.5) or thousandths (3).
_BOXES = {"data-bbox", "data-polygon"}


def prompt(form: Form, convention: Convention | None) -> str:
    """Return the words that ask the generation of `convention` for a document as `form`; `system` goes with
    them.

    Qwen3-VL and later have words for both formats ("qwenvl markdown", "qwenvl html":
    cookbooks/document_parsing.ipynb in QwenLM/Qwen3-VL and Model Studio's guide). Qwen2.5-VL has them for
    HTML ("QwenVL HTML", the same notebook of QwenLM/Qwen2.5-VL), of which `clean_markdown` makes Markdown.
    Qwen2-VL, and what is not known (`None`), have none.
    """
    if form == "ocr":
        return _TEXT if convention == "thousand" else _LINES
    if convention == "thousand":
        return f"qwenvl {form}"
    if convention == "absolute":
        return "QwenVL HTML"
    return _OWN.format(form="Markdown" if form == "markdown" else "HTML")


def system(form: Form, convention: Convention | None) -> str | None:
    """Return the system message that `prompt` needs before it; `None` where it needs none."""
    return _PARSER if convention == "absolute" and form != "ocr" else None


def clean_html(text: str, *, boxes: bool = True) -> str:
    """Return the HTML in an answer as a fragment that is safe to open: without code fence, scripts, style
    sheets, frames, handlers (`on…`) and addresses of images. Without `boxes` also without `data-bbox`.

    Elements that were cut off are closed. `page` makes a whole file of it.
    """
    import nh3

    kept = {**_KEPT, "*": _KEPT["*"] | _BOXES} if boxes else _KEPT
    return nh3.clean(
        lenient_json.unfenced(text, "html"),
        tags=nh3.ALLOWED_TAGS - _DROPPED,
        clean_content_tags=set(_DROPPED),
        attributes=kept,
        url_schemes={"http", "https", "mailto"},
        filter_style_properties=_STYLES,
    ).strip()


def page(fragment: str, title: str) -> str:
    """Return a clean fragment as an HTML file: with its encoding, and nothing in it may run or load."""
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        '<!DOCTYPE html>\n<html>\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f"<title>{escape(title)}</title>\n</head>\n<body>\n{fragment}\n</body>\n</html>\n"
    )


def html_to_markdown(text: str) -> str:
    """Return the HTML in an answer as Markdown: headings, paragraphs, lists, tables (merged cells are
    filled), emphasis, formulas, and images by their description."""
    from qwen_cli.tasks.vision import html_markdown

    return html_markdown.convert(clean_html(text, boxes=False))


def clean_markdown(text: str) -> str:
    """Return the Markdown in an answer without a fence round it and without the comments that say where
    things are; tables that Qwen3-VL writes in LaTeX become Markdown ones. HTML, which is what Qwen2.5-VL can
    be asked for, is converted."""
    text = lenient_json.unfenced(text, "markdown", "md", "html")
    if _IS_HTML.match(text):
        return html_to_markdown(text)
    return re.sub(r"\n{3,}", "\n\n", vision_tables.replace_latex(_PLACE.sub("", text))).strip()


def tables(text: str) -> list[Rows]:
    """Return every table in an answer (Markdown, HTML or LaTeX): rows of cells of plain text, merged ones
    filled."""
    return vision_tables.tables(lenient_json.unfenced(text, "markdown", "md", "html", "latex"))


def schema_prompt(schema: Mapping[str, Any]) -> str:
    """Return what is asked beside decoding that is constrained to a JSON schema: the keys and what they mean.

    Constrained decoding tells a model what it may write, not what is wanted. The words are those of Qwen's
    cookbook (QwenLM/Qwen3-VL cookbooks/ocr.ipynb, "Visual information extraction"), the values say what goes
    there. `schema` is one that `json_schema.checked` let pass.
    """
    described = str(schema.get("description") or "").strip()
    filled = json.dumps(_filled(schema, schema), ensure_ascii=False)
    request = f"Extract the key-value information in the format: {filled}"
    return f"{described}\n{request}" if described else request


def _filled(schema: Any, root: Mapping[str, Any], within: tuple[str, ...] = ()) -> Any:
    """Return an example of `schema` whose values are words about them. `within` are the references that are
    open."""
    if not isinstance(schema, Mapping):
        return ""
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/") and reference not in within:
        target: Any = root
        for part in reference[2:].split("/"):
            target = (
                target.get(part.replace("~1", "/").replace("~0", "~"))
                if isinstance(target, Mapping)
                else None
            )
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        return _filled({**(target or {}), **rest}, root, (*within, reference))
    if isinstance(properties := schema.get("properties"), Mapping):
        return {key: _filled(value, root, within) for key, value in properties.items()}
    if "items" in schema:
        return [_filled(schema["items"], root, within)]
    for key in ("anyOf", "oneOf", "allOf"):
        choices = [
            one for one in schema.get(key) or () if isinstance(one, Mapping) and one.get("type") != "null"
        ]
        if choices:
            own = {"description": schema["description"]} if "description" in schema else {}
            return _filled({**choices[0], **own}, root, within)
    return _words(schema)


def _words(schema: Mapping[str, Any]) -> str:
    """Return what goes where `schema` is: its description, type and choices."""
    kinds = schema.get("type", [])
    kind = " or ".join(kinds if isinstance(kinds, list) else [kinds])
    choices = ", ".join(str(one) for one in schema.get("enum") or ())
    hint = "; ".join(
        part for part in (kind, str(schema.get("format") or ""), choices and f"one of {choices}") if part
    )
    described = str(schema.get("description") or schema.get("title") or "").strip()
    return f"{described} ({hint})" if described and hint else described or hint
