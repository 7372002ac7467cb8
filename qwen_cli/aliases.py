"""Names that a person gives to models: `[aliases]` in the settings file.

They hold wherever a model is named, and are stronger than names of the catalog.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from qwen_cli import settings
from qwen_cli.errors import QwenError, UsageError

_NAME = re.compile(r"[A-Za-z0-9][\w.:-]*")
_TAKEN = ("auto", "off", "mtp", "ngram", "none", "starter")  # words that options take in place of a model


def named() -> dict[str, str]:
    """Return {alias: model}. Raises `UsageError` for a table that is none."""
    table = settings.read().get(settings.ALIASES, {})
    if not isinstance(table, dict) or not all(isinstance(model, str) and model for model in table.values()):
        raise UsageError(
            f'[{settings.ALIASES}] of the settings file must be lines NAME = "MODEL"',
            "see `qwen config path`",
        )
    return dict(table)


def meant(model: str) -> str:
    """Return the model that `model` is an alias of; itself where it is none, or the file is broken."""
    with suppress(QwenError):
        return named().get(model.strip(), model)
    return model


def meant_if_given(model: str | None) -> str | None:
    """Return the model that `model` is an alias of, `None` for none."""
    return None if model is None else meant(model)


def add(name: str, model: str) -> Path:
    """Let `name` mean `model`. Returns the settings file. Raises `UsageError`."""
    check(name)
    if model in named():
        raise UsageError(f"{model!r} is an alias itself", f"name the model: {named()[model]}")
    if not model.strip() or model == name:
        raise UsageError(f"{name!r} would mean {model!r}", "name a model")

    def write(document: Any) -> None:
        import tomlkit

        document.setdefault(settings.ALIASES, tomlkit.table())[name] = model

    return settings.change(write)


def remove(name: str) -> Path:
    """Forget an alias. Returns the settings file. Raises `UsageError` for one that there is not."""
    find(name)

    def write(document: Any) -> None:
        del document[settings.ALIASES][name]
        if not document[settings.ALIASES]:
            del document[settings.ALIASES]

    return settings.change(write)


def find(name: str) -> str:
    """Return the model of alias `name`. Raises `UsageError` with the nearest there is."""
    known = named()
    if name in known:
        return known[name]
    import difflib

    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known) or 'none'}"
    raise UsageError(f"there is no alias {name!r}", hint)


def check(name: str) -> None:
    """Raise `UsageError` for what no model may be called."""
    if not _NAME.fullmatch(name) or name.lower().endswith(".gguf"):
        raise UsageError(
            f"{name!r} is no name for a model", "begin with a letter or digit, go on with those and . : - _"
        )
    if name.lower() in _TAKEN:
        raise UsageError(f"{name!r} already means something", "choose another name")
