"""Sounds in the messages of a request: OpenAI's `input_audio`, vLLM's `audio_url`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from qwen_cli.engines.core.base import Capabilities
from qwen_cli.engines.core.content import parts_of
from qwen_cli.errors import UsageError
from qwen_cli.serve.api.errors import Refused

MOST_SECONDS = 3_600
"""Seconds of all sounds of a request at most: 230 MB of samples."""

_KINDS = ("input_audio", "audio_url")
_FORMATS = ("wav", "mp3", "flac", "ogg", "opus", "m4a", "mp4", "aac", "webm")
_PATIENCE = 60.0  # seconds for all addresses of a request
_LARGEST = 64 << 20  # bytes of what they give
_DECODING = threading.Lock()  # one at a time: a sound is large once decoded


def is_one(part: Any) -> bool:
    """Return whether a content part, as it was sent, is a sound."""
    return isinstance(part, Mapping) and part.get("type") in _KINDS


def checked(part: Mapping[str, Any]) -> dict[str, Any]:
    """Return a part that is a sound as an `audio_url`. Nothing is fetched or decoded. Raises `Refused`."""
    kind = part["type"]
    inner = part.get(kind)
    if kind == "audio_url":
        if not isinstance(inner, Mapping) or not isinstance(inner.get("url"), str):
            raise Refused(400, "audio_url must be an object with a url", param="messages")
        return {"type": "audio_url", "audio_url": {"url": inner["url"]}}
    if not isinstance(inner, Mapping) or not isinstance(inner.get("data"), str):
        raise Refused(400, "input_audio must be an object with data and format", param="messages")
    form = inner.get("format", "wav")
    if form not in _FORMATS:
        raise Refused(400, f"input_audio.format must be one of {', '.join(_FORMATS)}", param="messages")
    data = inner["data"]
    url = data if data.startswith("data:") else f"data:audio/{form};base64,{data}"
    return {"type": "audio_url", "audio_url": {"url": url}}


def are_in(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether there is a sound in `messages`."""
    return any(is_one(part) for message in messages for part in parts_of(message))


def check(messages: Sequence[Mapping[str, Any]], can: Capabilities) -> None:
    """Raise `UsageError` for a sound that the model cannot hear, or that is at no address of the web: nothing
    is fetched or decoded for it."""
    for message in messages:
        for part in parts_of(message):
            if not is_one(part):
                continue
            if not can.audio:
                raise UsageError("this model hears no sound", "name one that does (qwen2-audio:7b)")
            url = str(part["audio_url"]["url"])
            if not url.lower().startswith(("http://", "https://", "data:")):
                raise UsageError(f"{url[:60]!r} is no address of a sound", "send http(s) or data:")


def decoded(
    messages: Sequence[Mapping[str, Any]], *, allow_local_urls: bool, stopped: Callable[[], bool]
) -> list[dict[str, Any]]:
    """Return `messages` with their sounds as engines take them: fetched from the public web, and decoded.
    Raises `UsageError`, also where `stopped` says that nobody waits any more."""
    left, until, seconds = _LARGEST, time.monotonic() + _PATIENCE, float(MOST_SECONDS)
    turns = []
    for message in messages:
        content: list[Any] = []
        for part in parts_of(message):
            if is_one(part):
                data, name = _fetched(part["audio_url"]["url"], left, until, allow_local_urls, stopped)
                left -= len(data)
                samples = _samples(data, name, seconds, stopped)
                seconds -= len(samples) / 16_000
                part = {"type": "audio", "audio": samples}
            content.append(part)
        turns.append({**message, "content": content} if content else dict(message))
    return turns


def _fetched(
    url: str, most_bytes: int, until: float, allow_local_urls: bool, stopped: Callable[[], bool]
) -> tuple[bytes, str]:
    from qwen_cli.media import fetch

    if url[:5].lower() == "data:":
        return fetch.from_data_url(url).data, "the sound"
    found = fetch.fetch(
        url,
        allow_local=allow_local_urls,
        most_bytes=most_bytes,
        seconds=max(0.0, until - time.monotonic()),
        accept="audio/*, video/*, */*;q=0.1",
        stopped=stopped,
    )
    return found.data, found.name or "the sound"


def _samples(data: bytes, name: str, most_seconds: float, stopped: Callable[[], bool]) -> Any:
    from qwen_cli.media import audio

    with _DECODING:
        if stopped():
            raise UsageError("the request for the sounds was cancelled", "ask again")
        sound = audio.decode(data, name, most_seconds=most_seconds)
    if sound.remark:  # nobody would read of it
        raise UsageError(sound.remark, "send it whole")
    return sound.samples
