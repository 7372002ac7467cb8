"""What a server is asked, in OpenAI's words and in those that its kind has beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qwen_cli.engines.core.base import Capabilities, Message, Sampling, budget_of, is_off, without_thinking
from qwen_cli.engines.core.content import clip_of, is_sent_as_file, parts_of
from qwen_cli.engines.core.template import TemplateKwargs, check
from qwen_cli.engines.parsing.openai import wire_messages
from qwen_cli.engines.remote.servers import ServerKind
from qwen_cli.errors import EndpointError, UsageError

_STANDARD = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "seed", "max_tokens")


def defaults(model: str, kind: ServerKind) -> tuple[Sampling, Sampling]:
    """Return (thinking, not thinking): what `model` is asked with where nothing is said, namely what a server
    does not know of the card's recommendation. It reads a file that has no name for a presence penalty, and
    one set of settings, which is for thinking. `qwen serve` knows the card."""
    from qwen_cli.models.catalog import lookup

    known = lookup.find(model)
    if known is None or kind.name == "qwen serve":
        return Sampling(), Sampling()
    usual = Sampling(presence_penalty=known.sampling.get("presence_penalty") or None)
    return usual, without_thinking(known, usual)


def settings(model: str, sampling: Sampling, kind: ServerKind) -> dict[str, Any]:
    """Return which model, how to sample tokens and when to stop."""
    request: dict[str, Any] = {"model": model}
    request |= {name: v for name in _STANDARD if (v := getattr(sampling, name)) is not None}
    if sampling.stop:
        request["stop"] = list(sampling.stop)
    request["extra_body"] = {
        field: v for name, field in kind.extras.items() if (v := getattr(sampling, name)) is not None
    }
    return request


def chat(
    messages: Sequence[Message], settings: Mapping[str, Any], kind: ServerKind, can: Capabilities
) -> dict[str, Any]:
    """Build the request for a turn of a conversation. Raises `UsageError` without a message."""
    if not messages:
        raise UsageError("there is no message to answer", "say something first")
    request = {"messages": turns(messages, kind, can), **settings}
    if kind.videos and (frames := _frames(messages)):
        request["extra_body"] |= kind.videos(frames)
        if pixels := _pixels(messages):
            # Qwen3-VL's processor takes all frames together, those before it each (transformers).
            most = pixels * (frames if can.seeing.source_times else 1)
            size = {"shortest_edge": min(most, pixels), "longest_edge": most}
            request["extra_body"]["mm_processor_kwargs"] = {"videos_kwargs": {"size": size}}
    return request


def least_visual_tokens(messages: Sequence[Message], can: Capabilities) -> int:
    """Return the tokens that the pictures of `messages` take at least, whatever server shows them: it may
    make them smaller, to the 64 tokens of small models at most. 0 without a picture."""
    parts = [part for message in messages for part in parts_of(message)]
    images = [part["image"] for part in parts if part.get("type") == "image"]
    area = can.seeing.unit**2
    return sum(min(image.width * image.height // area, 64) for image in images)


def turns(messages: Sequence[Message], kind: ServerKind, can: Capabilities) -> list[dict[str, Any]]:
    """Return `messages` as a server of this kind takes them."""
    return wire_messages(messages, files=can.video_files, reasoning=kind.reasoning)


def template_kwargs(wanted: bool | int | None, given: TemplateKwargs, can: Capabilities) -> dict[str, Any]:
    """Return the variables of the chat template. What is not said is left to the server."""
    own = dict(given or {})
    check(own)
    if wanted is not None:
        own["enable_thinking"] = not is_off(wanted)
    if can.thinking == "always" and own.get("enable_thinking") is False:
        del own["enable_thinking"]  # templates refuse it
    return own


def thinking(
    request: dict[str, Any],
    wanted: bool | int | None,
    given: TemplateKwargs,
    kind: ServerKind,
    can: Capabilities,
    endpoint: str,
) -> dict[str, Any]:
    """Return `request` with thinking as it is `wanted`, and what is `given` to the template. Raises
    `EndpointError` for what the server does not take."""
    extra: dict[str, Any] = request["extra_body"]
    own = template_kwargs(wanted, given, can)
    if kind.template_kwargs and own:
        extra["chat_template_kwargs"] = own
    elif not kind.template_kwargs:
        switched_off = own.pop("enable_thinking", None) is False and can.thinking is not None
        effort = own.pop("reasoning_effort", kind.no_thinking if switched_off else None)
        if effort is not None:
            request["reasoning_effort"] = effort
        if own:
            names = ", ".join(sorted(own))
            raise EndpointError(f"{kind.name} at {endpoint} takes no template variables, got {names}")
    budget = budget_of(wanted)
    if budget is not None and budget > 0:
        if kind.budget is None:
            raise EndpointError(
                f"{kind.name} at {endpoint} takes no thinking budget", "turn thinking on or off instead"
            )
        extra |= kind.budget(budget)
    return request


def _frames(messages: Sequence[Message]) -> int:
    """Return the maximum of frames that are to be seen of a video which is sent as a file; 0 without one."""
    return max((len(clip_of(part).indices) for part in _files(messages)), default=0)


def _pixels(messages: Sequence[Message]) -> int:
    """Return the maximum of pixels that are to be seen of a frame of one; 0 where that is the server's to
    choose."""
    return max((part.get("pixels", 0) for part in _files(messages)), default=0)


def _files(messages: Sequence[Message]) -> list[Mapping[str, Any]]:
    """Return the videos that are sent as files."""
    videos = [part for message in messages for part in parts_of(message) if part.get("type") == "video"]
    return [part for part in videos if is_sent_as_file(part)]
