"""What the shell offers for words that are not flags: names of models, settings, sessions and the like.

Each takes what was typed so far. Nothing here may fail, or import what takes long: a broken file offers
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from qwen_cli import settings
from qwen_cli.errors import QwenError

FILE_TYPES = ("q4_k_m", "q5_k_m", "q6_k", "q8_0", "f16", "bf16")


def among(*words: str) -> Callable[[str], list[str]]:
    """Return what the shell offers for an option whose usual values are `words`."""

    def begun(incomplete: str) -> list[str]:
        return _begun(words, incomplete)

    return begun


def models(incomplete: str) -> list[str]:
    """Offer names of models: a person's own, `starter`, the catalog's."""
    from qwen_cli.models.catalog import lookup

    return _begun((*_aliases(), "starter", *(model.name for model in lookup.MODELS)), incomplete.lower())


def drafts(incomplete: str) -> list[str]:
    """Offer what may draft tokens."""
    return _begun(("auto", "off", "mtp", "ngram"), incomplete) + models(incomplete)


def local_models(incomplete: str) -> list[str]:
    """Offer the models on this machine, by names that resolve to them."""
    from qwen_cli.models.hub import resolve

    here = {weights.label: None for weights in resolve.local()}
    return _begun((*_aliases(), *here), incomplete)


def aliases(incomplete: str) -> list[str]:
    """Offer names that a person has given to models."""
    return _begun(_aliases(), incomplete)


def engines(incomplete: str) -> list[str]:
    """Offer what runs a model, engines of other packages too."""
    return _begun(settings.choices("engine"), incomplete)


def endpoints(incomplete: str) -> list[str]:
    """Offer names of servers."""
    from qwen_cli import endpoints as servers

    return _begun(_unless_broken(servers.named), incomplete)


def sessions(incomplete: str) -> list[str]:
    """Offer names of saved conversations."""
    from qwen_cli.tasks.chat import sessions as saved

    return _begun(_unless_broken(saved.names), incomplete)


def templates(incomplete: str) -> list[str]:
    """Offer names of templates."""
    from qwen_cli.tasks.chat import templates as known

    return _begun(_unless_broken(known.known), incomplete)


def parameters(ctx: Any, incomplete: str) -> list[str]:
    """Offer the variables of the template that stands in the line, as NAME=."""
    from qwen_cli.tasks.chat import templates as known

    given = ctx.params.get("template") or ()
    try:
        wanted = known.load(str(given[-1] if isinstance(given, (list, tuple)) and given else given))
    except QwenError:
        return []
    return _begun((f"{name}=" for name in wanted.variables if name != known.INPUT), incomplete)


def settings_names(incomplete: str) -> list[str]:
    """Offer names of settings."""
    return _begun(settings.SETTINGS, incomplete)


def setting_values(ctx: Any, incomplete: str) -> list[str]:
    """Offer values of the setting that stands in the line."""
    name = ctx.params.get("name")
    if name in ("model", "endpoint"):
        return {"model": models, "endpoint": endpoints}[name](incomplete)
    return _begun(settings.choices(name), incomplete) if name in settings.SETTINGS else []


def _begun(words: Iterable[str], incomplete: str) -> list[str]:
    return [word for word in dict.fromkeys(words) if word.startswith(incomplete)]


def _aliases() -> list[str]:
    from qwen_cli import aliases as own

    return [*_unless_broken(own.named)]


def _unless_broken(names: Callable[[], Iterable[str]]) -> Iterable[str]:
    try:
        return names()
    except QwenError:
        return ()
