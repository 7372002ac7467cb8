"""How `qwen models` writes what it found: facts, tables, JSON. Nothing in it reaches a terminal raw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import typer

from qwen_cli.commands.shared.output import print_json
from qwen_cli.models.sizes import gb

if TYPE_CHECKING:
    from qwen_cli.models.catalog.lookup import Model
    from qwen_cli.models.formats.architecture import Architecture
    from qwen_cli.models.hub.resolve import Weights


def facts(known: Model | None, weights: Weights | None, shape: Architecture | None) -> dict[str, Any]:
    found_facts: dict[str, Any] = {
        "name": known.name if known else weights.label if weights else None,
        "licence": known.licence if known else shape.licence if shape else None,
        "tasks": list(known.tasks) if known else [],
        "context": (shape and shape.context) or (known.context if known else None),
        "parameters": known.parameters if known else shape.parameters if shape else None,
        "active_parameters": known.active if known else None,
        "thinking": known.thinking_mode if known else None,
        "thinks_by_default": known.thinking.default if known and known.thinking else None,
        "thinking_efforts": list(known.thinking.efforts) if known and known.thinking else [],
        "fill_in_the_middle": known.fim if known else bool(shape and shape.fim),
        "vision": known.vision if known else bool(shape and shape.vision),
        "sampling": {**(known.sampling if known else {}), **(shape.sampling if shape else {})},
        "sampling_without_thinking": dict(known.plain_sampling or {}) if known else {},
        "sampling_for_code": dict(known.code_sampling or {}) if known else {},
        "repo": known.repo if known else None,
        "gguf_repo": known.gguf_repo if known else None,
        "gguf_by": known.community if known else None,
    }
    if shape and weights:
        found_facts |= {
            "architecture": shape.model_type,
            "layers": shape.layers,
            "query_heads": shape.query_heads,
            "kv_heads": shape.kv_heads,
            "head_dim": shape.head_dim,
            "hidden_size": shape.hidden,
            "vocabulary": shape.vocabulary,
            "experts": shape.experts,
            "active_experts": shape.active_experts,
            "kv_bytes_per_token": shape.kv_bytes_per_token(),
            "kv_saving": round(shape.kv_saving, 2),
            "rope_base": shape.rope_base,
            "rope_scaling": shape.rope_scaling,
            "dual_chunk_attention": shape.dual_chunk.facts() if shape.dual_chunk else None,
            "chat_template": bool(shape.chat_template),
            "quantization": shape.quantization,
        } | describe(weights)
        found_facts.pop("label")
    return found_facts


def fact(name: str, value: Any) -> str | None:
    """Return a fact as a person reads it; None where there is nothing to say."""
    if name == "experts" and not value:
        return "none, every weight is used for each token"
    if value in (None, [], {}, 0) or (value is False and name != "chat_template"):
        return None
    if name == "kv_saving":
        return f"{value:g}× smaller than one KV head per query head"
    if name == "kv_bytes_per_token":
        return f"{value:,} bytes (16-bit)"
    if name == "bytes":
        return f"{size(value)} ({value:,} bytes)"
    if name in ("parameters", "active_parameters"):
        return count(value, None)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(
            f"{key} {item:g}" if isinstance(item, float) else f"{key} {item}" for key, item in value.items()
        )
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return (
        f"{value:,}" if isinstance(value, int) else f"{value:,g}" if isinstance(value, float) else str(value)
    )


def describe(weights: Weights) -> dict[str, Any]:
    return {
        "label": weights.label,
        "format": weights.format,
        "quant": weights.quant,
        "bytes": weights.size,
        "path": str(weights.path),
        "mmproj": str(weights.mmproj) if weights.mmproj else None,
    }


def count(parameters: int | None, active: int | None) -> str:
    if parameters is None:
        return "?"
    text = f"{parameters / 1e12:.3g}T" if parameters >= 1e12 else f"{parameters / 1e9:.3g}B"
    return f"{text} ({active / 1e9:.3g}B active)" if active else text


def size(number: int | None) -> str:
    return "?" if number is None else gb(number)


def tokens(number: int | None) -> str:
    if number is None:
        return "?"
    return f"{number // 1024}K" if number % 1024 == 0 else f"{number // 1000}K"


def here(present: list[dict[str, Any]]) -> str:
    return ", ".join(f"{item['quant'] or item['format']} {size(item['bytes'])}" for item in present)


def clean(text: str) -> str:
    from qwen_cli.sanitize import strip_escapes

    return strip_escapes(text)


def write(text: str) -> None:
    typer.echo(clean(text))


def write_json(value: Any) -> None:
    print_json(value)


_RIGHT = ("size", "download", "context", "weights", "in all", "memory", "read/s", "tokens/s")  # numbers


def write_table(
    head: tuple[str, ...],
    rows: Sequence[tuple[str, ...]],
    *,
    least: Sequence[str] = (),
    marked: Callable[[tuple[str, ...]], bool] = lambda row: False,
) -> None:
    """Write a table where a person looks, lines with tabs where a program reads.

    `least` are the columns that make way where the window is too narrow for all, the least important first;
    no cell is cut, and the last one may take several lines. `marked` tells which rows are bold.
    """
    import sys

    if not sys.stdout.isatty():
        for row in rows:
            write("\t".join(row))
        return
    # rich only where something is drawn
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    cells = [[clean(cell) for cell in row] for row in rows]
    columns = list(range(len(head)))
    gap = _gap(head, cells, columns, console.width)
    if gap is None:  # the last column is a list: its items stand below each other first
        cells = [[*row[:-1], row[-1].replace(", ", "\n")] for row in cells]
        gap = _gap(head, cells, columns, console.width)
    for name in least:
        if gap is None:
            columns.remove(head.index(name))
            gap = _gap(head, cells, columns, console.width)
    table = Table(box=None, pad_edge=False, padding=(0, gap or 1, 0, 0))
    for i in columns:
        table.add_column(
            head[i],
            justify="right" if head[i] in _RIGHT else "left",
            overflow="fold",
            no_wrap=head[i] != "here",
        )
    for row, texts in zip(rows, cells, strict=True):
        table.add_row(*(Text(texts[i]) for i in columns), style="bold" if marked(row) else "")
    console.print(table)


def _gap(head: Sequence[str], cells: Sequence[Sequence[str]], shown: Sequence[int], width: int) -> int | None:
    """Return how many spaces go between the columns `shown`: 2, or 1 where `width` is short, or None where
    they do not fit at all."""
    from rich.cells import cell_len

    widest = [
        max(cell_len(line) for row in (head, *cells) for line in row[column].split("\n")) for column in shown
    ]
    return next((gap for gap in (2, 1) if sum(widest) + gap * (len(shown) - 1) <= width), None)
