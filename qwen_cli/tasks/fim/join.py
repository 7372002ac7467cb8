"""How whole lines meet the text on both sides of a hole."""

from __future__ import annotations

from qwen_cli.tasks.fim.prompt import Hole
from qwen_cli.tasks.fim.syntax import Style


def joined(hole: Hole, text: str, style: Style) -> str:
    """Return `text` with the line end, or the lack of one, that the text on both sides of `hole` asks for."""
    line = hole.prefix[hole.prefix.rfind("\n") + 1 :]
    rest = hole.suffix.partition("\n")[0]
    body = text.rstrip("\n") if style.prose else text.rstrip()
    if not line:
        # A place for whole lines. What follows keeps its own line; a file that ends its lines goes on so.
        ends_line = bool(rest) or not hole.suffix
        return body + "\n" if body and ends_line else body
    if rest.strip() and not line.strip() and body and "\n" in text[len(body) :]:
        # White space before the cursor, code after it: whole lines were written.
        return f"{body}\n{line}"
    return body
