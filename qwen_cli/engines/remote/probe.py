"""What a server can do, found by asking it; what it does not tell is known of the model, or is not known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from qwen_cli.engines.core.base import Capabilities, Message, seeing
from qwen_cli.engines.parsing.chat_template import thinking_capabilities, thinking_of
from qwen_cli.engines.remote.errors import KeyRefused, NoRoute, faults
from qwen_cli.engines.remote.servers import ServerKind
from qwen_cli.errors import EndpointError, EngineError
from qwen_cli.models.catalog.families import Thinking

if TYPE_CHECKING:
    from qwen_cli.models.catalog.families import Model

Ask: TypeAlias = Callable[[str, str, Mapping[str, Any] | None], dict[str, Any]]
"""(method, path, body) of a route beside `/v1`."""


_AT_ONCE = 4  # requests that any server has room for: vLLM and SGLang take hundreds, llama-server has 4 slots
_EFFORTS = ("medium", "high", "low")  # OpenAI's `reasoning_effort`, its default first
_STOPS = 4  # OpenAI's API refuses more (its reference of `stop`), and so do servers that follow it


# Where entries of lists of models say what goes in: OpenRouter ("architecture"), Mistral, LM Studio, Ollama
# and llama.cpp ("capabilities"), Fireworks, LiteLLM ("model_info"), and those that follow them.
_INSIDE = ("architecture", "capabilities", "model_info", "info", "meta", "details", "parameters")
_INPUTS = ("input_modalities", "supported_input_modalities", "modalities", "capabilities", "features", "tags")
_SEEING = frozenset({"image", "images", "vision", "multimodal", "image-text-to-text", "vlm"})
_FLAGS = (
    *("vision", "supports_vision", "supports_image_input", "supports_images"),
    *("has_image_understanding", "use_vision", "multimodal"),
)
# Where they say which weights they serve: vLLM ("root"), SGLang and llama.cpp ("model_path"), LM Studio and
# Ollama (the architecture).
_WEIGHTS = (
    *("root", "model_path", "hugging_face_id", "hf_model_id", "base_model"),
    *("arch", "model_type", "family"),
)


def probe(
    kind: ServerKind, card: Mapping[str, Any], model: str, ask: Ask, vision: bool | None = None
) -> Capabilities:
    """Probe what `model` can do, whose entry in the list of models is `card`. `vision`: whether it sees, from
    somebody who knows."""
    reported = _reported(kind, model, ask)
    weights = [str(name) for told in (card, reported) for name in _values(told, _WEIGHTS) if name]
    known = catalogued(*weights, model)
    context = card.get("max_model_len") or (card.get("meta") or {}).get("n_ctx")
    thinking = known.thinking if known else None
    if "chat_template" in reported:
        thinking = thinking_of(reported["chat_template"], render=partial(_rendered, ask))
    elif reported.get("thinking") is not None and known is None:
        thinking = Thinking("switch") if reported["thinking"] else None
    if thinking and not kind.template_kwargs:  # OpenAI's words, and nothing said of past turns
        thinking = replace(thinking, efforts=_EFFORTS, preserve=None)
    told = next((sees for one in (reported, card) if (sees := _sees(one)) is not None), None)
    # Of what the server does not tell and nobody knows, only the server can say that it cannot see.
    sees = next((one for one in (vision, told) if one is not None), known.vision if known else True)
    names = [*map(_last, weights), *weights, model]
    return Capabilities(
        context=int(context) if context else None,
        **thinking_capabilities(thinking),
        tools=reported.get("tools") is not False,
        fim=known.fim if known else False,
        render=kind.name == "llama.cpp",
        prefill=kind.goes_on is not None,
        vision=sees,
        video_files=sees and kind.videos is not None,
        pictures=kind.pictures if sees else (),
        seeing=next((each for name in names if (each := seeing(name)).boxes), seeing("")),
        infill=True,
        concurrent_requests=_AT_ONCE,
        stop_strings=_STOPS,
        unverified=True,  # it may call its model anything
    )


def catalogued(*names: str) -> Model | None:
    """Return the model of the catalog whose weights the first of `names` that it knows names: an alias, a hub
    id, a file or a folder."""
    from qwen_cli.models.catalog import lookup

    found = (lookup.find(name) or lookup.related(_last(name).removesuffix(".gguf")) for name in names)
    return next(filter(None, found), None)


def _last(name: str) -> str:
    return name.replace("\\", "/").rstrip("/").rpartition("/")[2]


def _values(told: Mapping[str, Any], names: Sequence[str]) -> list[Any]:
    """Return what an entry, or a part of it, has under these names."""
    parts = [told, *(part for name in _INSIDE if isinstance(part := told.get(name), Mapping))]
    return [part[name] for name in names for part in parts if part.get(name) is not None]


def _sees(told: Mapping[str, Any]) -> bool | None:
    """Return whether a server says that a model sees; None where it says nothing of that."""
    flags = [flag for flag in _values(told, _FLAGS) if isinstance(flag, bool)]
    if flags:
        return any(flags)
    if told.get("type") in ("vlm", "llm"):  # LM Studio
        return told["type"] == "vlm"
    inputs = [one for one in _values(told, _INPUTS) if isinstance(one, list)]
    if any(_SEEING & {str(name).lower() for name in one} for one in inputs):
        return True
    # A list of what goes in is whole; one of abilities or tags may be of something else.
    whole = any("text" in [str(name).lower() for name in one] for one in inputs)
    return False if whole or "completion" in [name for one in inputs for name in one] else None


def _rendered(ask: Ask, messages: Sequence[Message], variables: Mapping[str, Any]) -> str | None:
    """Return what llama.cpp's server makes of messages; `None` where the model's template refuses them."""
    body = {"messages": list(messages), "chat_template_kwargs": dict(variables)}
    try:
        return str(ask("POST", "/apply-template", body)["prompt"])
    except (EngineError, KeyError):
        return None


def _reported(kind: ServerKind, model: str, ask: Ask) -> dict[str, Any]:
    """Return what the server tells beside its list of models: `vision`, `tools`, `thinking`, `chat_template`,
    and what names the weights."""
    try:
        if kind.name == "llama.cpp":  # tools/server/README.md
            props = ask("GET", "/props", None)
            # A text model may be a vision model that was started without its projector.
            sees = (props.get("modalities") or {}).get("vision")
            path = {"model_path": props.get("model_path")}
            return {"vision": sees, "chat_template": props["chat_template"], **path}
        if kind.name == "SGLang":  # srt/entrypoints/http_server.py; older releases have the second alone
            try:
                info = ask("GET", "/model_info", None)
            except EngineError:
                info = ask("GET", "/get_model_info", None)
            return {**info, "vision": info.get("has_image_understanding")}
        if kind.name == "Ollama":  # docs/api.md, "Show Model Information"
            about = ask("POST", "/api/show", {"model": model})
            family = (about.get("details") or {}).get("family")
            # llama.cpp's converter has one name for Qwen2-VL and Qwen2.5-VL.
            told = {"family": family if family != "qwen2vl" else None}
            if (can := about.get("capabilities")) is not None:
                told |= {"vision": "vision" in can, "tools": "tools" in can, "thinking": "thinking" in can}
            return told
        if kind.name == "LM Studio":  # lmstudio.ai/docs, "REST API v0"
            listed = ask("GET", "/api/v0/models", None).get("data") or []
            return next((dict(one) for one in listed if one.get("id") == model), {})
        if kind.name == "KoboldCpp":  # its API's documentation, "/api/extra/version"
            return {"vision": ask("GET", "/api/extra/version", None).get("vision")}
        if kind.name == "TabbyAPI":  # "/v1/model"
            return dict(ask("GET", "/v1/model", None))
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
