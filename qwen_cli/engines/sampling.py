"""Where sampling settings come from when the caller gives none, and what greedy means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from qwen_cli.engines.protocol import Sampling


def recommended(*sources: Mapping[str, Any] | None) -> Sampling:
    """The first of `sources` that says anything: the weights' own settings, then the catalog's."""
    known = {f.name for f in fields(Sampling)} - {"seed", "max_tokens", "stop"}
    for source in sources:
        if found := {name: value for name, value in (source or {}).items() if name in known}:
            return Sampling(**found)
    return Sampling()


def effective(given: Sampling, defaults: Sampling) -> Sampling:
    """`given` over `defaults`; greedy takes penalties only as given.

    Penalties come with a model's recommendation for random sampling. Under `temperature` 0 they would make
    the answer differ from the model's most likely one without anybody having asked for it.
    """
    merged = given.over(defaults)
    return merged if merged.temperature != 0 else given.over(Sampling(temperature=0.0))
