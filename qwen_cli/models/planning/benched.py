"""What `qwen bench` has measured on this machine: kept beside the models, for the plan to use.

The file holds one entry for each model, form and engine, of the latest bench.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from qwen_cli import paths
from qwen_cli.models.planning import hardware


@dataclass(frozen=True)
class Rates:
    """Tokens a second: `decode` behind and `prefill` of a prompt of so many tokens."""

    tokens: int
    prefill: float
    decode: float


def remember(name: str, form: str, engine: str, rates: Sequence[Rates]) -> None:
    """Keep the rates of a model in one form on one engine. A folder that cannot be written keeps none."""
    if not rates:
        return
    file = _file()
    known = _known(file)
    known[_key(name, form, engine)] = [[one.tokens, one.prefill, one.decode] for one in rates]
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        paths.replace(file, json.dumps(known))


def rates(name: str, form: str, engine: str) -> tuple[Rates, ...]:
    """Return what was measured, shortest prompt first; () for nothing."""
    file = _file()
    try:
        state = file.stat()
    except OSError:
        return ()
    listed = _read(file, state.st_mtime_ns, state.st_size).get(_key(name, form, engine))
    try:
        found = [
            Rates(int(tokens), float(prefill), float(decode)) for tokens, prefill, decode in listed or ()
        ]
    except (TypeError, ValueError):
        return ()
    return tuple(sorted((one for one in found if one.prefill > 0 < one.decode), key=lambda one: one.tokens))


def near(found: Sequence[Rates], tokens: int) -> Rates | None:
    """Return the rates at the length nearest to `tokens`, no more than twice as far; `None` for none."""
    one = min(found, key=lambda one: abs(one.tokens - tokens), default=None)
    return one if one and tokens <= 2 * one.tokens and one.tokens <= 2 * tokens else None


def _key(name: str, form: str, engine: str) -> str:
    # More cores than were there then make another machine.
    return f"{name}|{form.lower()}|{engine}|{hardware.usable_cores()}"


@lru_cache(4)
def _read(file: Path, changed: int, size: int) -> dict[str, Any]:
    return _known(file)


def _known(file: Path) -> dict[str, Any]:
    try:
        known = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _file() -> Path:
    return paths.data_folder() / "bench.json"
