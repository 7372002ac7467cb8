"""What a server can do, found by asking it; what it does not tell is known of the model, or is not known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from qwen_cli.engines.core.base import Capabilities, seeing
from qwen_cli.engines.parsing.think_tags import thinking_mode
from qwen_cli.engines.remote.errors import KeyRefused, NoRoute, faults
from qwen_cli.engines.remote.servers import ServerKind
from qwen_cli.errors import EndpointError, EngineError

Ask: TypeAlias = Callable[[str, str, Mapping[str, Any] | None], dict[str, Any]]
"""(method, path, body) of a route beside `/v1`."""


_AT_ONCE = 4  # requests that any server has room for: vLLM and SGLang take hundreds, llama-server has 4 slots
_STOPS = 4  # OpenAI's API refuses more (its reference of `stop`), and so do servers that follow it


def probe(kind: ServerKind, card: Mapping[str, Any], model: str, ask: Ask) -> Capabilities:
    """Probe what `model` can do, whose entry in the list of models is `card`."""
    from qwen_cli.models.catalog import lookup

    known = lookup.find(model)
    reported = _reported(kind, model, ask)
    context = card.get("max_model_len") or (card.get("meta") or {}).get("n_ctx")
    thinking: Literal["switch", "always"] | None = known.thinking_mode if known else None
    if "chat_template" in reported:
        thinking = thinking_mode(reported["chat_template"])
    elif reported.get("thinking") is not None and known is None:
        thinking = "switch" if reported["thinking"] else None
    sees = reported.get("vision")
    if sees is None:
        sees = known.vision if known else "vl" in model.lower()
    return Capabilities(
        context=int(context) if context else None,
        thinking=thinking,
        tools=reported.get("tools") is not False,
        fim=known.fim if known else False,
        render=kind.name == "llama.cpp",
        vision=sees,
        video_files=sees and kind.videos is not None,
        pictures=kind.pictures if sees else (),
        seeing=seeing(model),
        infill=True,
        concurrent_requests=_AT_ONCE,
        stop_strings=_STOPS,
        unverified=True,  # it may call its model anything
    )


def _reported(kind: ServerKind, model: str, ask: Ask) -> dict[str, Any]:
    """Return those of `vision`, `tools`, `thinking` and `chat_template` that the server tells."""
    try:
        if kind.name == "llama.cpp":  # tools/server/README.md
            props = ask("GET", "/props", None)
            # A text model may be a vision model that was started without its projector.
            sees = (props.get("modalities") or {}).get("vision")
            return {"vision": sees, "chat_template": props["chat_template"]}
        if kind.name == "SGLang":  # srt/entrypoints/http_server.py; older releases have the second alone
            try:
                info = ask("GET", "/model_info", None)
            except EngineError:
                info = ask("GET", "/get_model_info", None)
            return {"vision": info.get("has_image_understanding")}
        if kind.name == "Ollama":  # docs/api.md, "Show Model Information"
            can = ask("POST", "/api/show", {"model": model}).get("capabilities")
            if can is not None:
                return {"vision": "vision" in can, "tools": "tools" in can, "thinking": "thinking" in can}
    except KeyRefused:
        raise
    except EngineError:  # an older release, or a proxy that lets /v1 pass alone
        pass
    return {}


def listed(ask: Callable[[], Any], wanted: str | None, endpoint: str) -> list[dict[str, Any]]:
    """Return the list of models that `ask` gets with the official client, `wanted` alone where a server has
    none.

    Raises `EndpointError` for what is no such server.
    """
    import openai

    try:
        with faults(endpoint):
            return [model.model_dump() for model in ask().data or ()]
    except NoRoute:
        if wanted is None:
            raise EndpointError(
                f"{endpoint} lists no models", "name a `model`, or correct `endpoint`"
            ) from None
        return [{"id": wanted}]
    except (openai.OpenAIError, AttributeError) as error:  # a listing of another shape, a web page
        raise EndpointError(f"{endpoint} is not an OpenAI-compatible server", "check `endpoint`") from error


def chosen(cards: Sequence[Mapping[str, Any]], wanted: str | None, endpoint: str) -> dict[str, Any]:
    """Return the wanted one of a server's models, or its first. Raises `EndpointError` naming those
    served."""
    if not cards:
        raise EndpointError(f"{endpoint} serves no model", "load one there first")
    if wanted is None:
        return dict(cards[0])
    for card in cards:
        if names(card["id"]) & names(wanted):
            return dict(card)
    served = ", ".join(str(card["id"]) for card in cards[:8]) + (", …" if len(cards) > 8 else "")
    raise EndpointError(f"{endpoint} does not serve {wanted!r}", f"it serves {served}")


def names(model: str) -> set[str]:
    """Return what a served model may be called: its id, its hub id by our alias, the name of its file."""
    from qwen_cli.models.catalog import lookup

    known = lookup.find(model)
    aliases = {model, Path(model).name, Path(model).name.removesuffix(".gguf")}
    return {name.lower() for name in aliases | ({known.repo} if known else set())}
