"""Python files that come with weights and would run if they were trusted (transformers' `auto_map`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qwen_cli import reading


def required_code(folder: Path) -> list[str]:
    """Return what has to run for `folder` to load: its .py files, and other repositories as "org/name".

    Empty where the library knows the model itself: whatever code lies beside the weights is then left alone.
    """
    config, tokens = _json(folder / "config.json"), _json(folder / "tokenizer_config.json")
    named = [*_classes(config.get("auto_map")), *_classes(tokens.get("auto_map"))]
    if not named:
        return []
    # 1 s with what it imports: only where there is code.
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    if config.get("model_type") in CONFIG_MAPPING_NAMES:
        return []
    foreign = {name.partition("--")[0] for name in named if "--" in name}
    own = any("--" not in name for name in named)
    # All files of its own: those that are named import the others.
    return (sorted(path.name for path in folder.glob("*.py")) if own else []) + sorted(foreign)


def _classes(named: Any) -> Iterator[str]:
    """Yield the classes in an `auto_map`: one each, or a slow and a fast tokenizer."""
    if isinstance(named, str):
        yield named
    elif isinstance(named, (dict, list)):
        for value in named.values() if isinstance(named, dict) else named:
            yield from _classes(value)


def _json(path: Path) -> dict[str, Any]:
    try:
        parsed = reading.parsed_json(reading.read(path))
    except (OSError, ValueError):
        return {}
    return parsed if isinstance(parsed, dict) else {}
