"""Content parts of a message: text, pictures, videos, sounds, as the engines take them.

OpenAI's own are `{"type": "text", "text": …}` and `{"type": "image_url", "image_url": {"url": "data:…"}}`.
Beside them stand two that hold what is loaded already: `{"type": "image", "image": <PIL image>}` (with
`min_pixels` and `max_pixels` where they are not the model's own; for a server `encoded`, the picture's file
as a `data:` address, or `lossy` for one that was a JPEG) and `{"type": "video", "video": <Clip>}`, with
`file` (a path, or an address on the web) where the clip is all of it, and `pixels`, those of each frame as it
is to be seen. A sound is `{"type": "audio", "audio": <samples of media.audio>}`.
"""

from __future__ import annotations

import base64
import functools
import mimetypes
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from qwen_cli.errors import UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

    from qwen_cli.media.video import Clip

Part: TypeAlias = Mapping[str, Any]

LARGEST_FILE = 64 << 20
"""Bytes of a video that is sent as a whole: a request holds a third more, here and on the server."""


def picture_of(part: Part) -> Image:
    """Return the picture of an `image` or `image_url` part. Raises `UsageError` for one that cannot be read,
    and for an address: an engine fetches nothing."""
    if part["type"] == "image":
        return part["image"]
    address = part["image_url"]
    return _decoded(address["url"] if isinstance(address, Mapping) else str(address))


@functools.lru_cache(maxsize=8)  # a conversation shows its pictures again with every turn
def _decoded(url: str) -> Image:
    from qwen_cli.media import images

    head, _, data = url.partition(";base64,")
    if not head.startswith("data:"):
        raise UsageError(f"an engine fetches no pictures, got {url[:60]!r}", "give the picture itself")
    try:
        return images.decode(base64.b64decode(data, validate=True), "the picture")
    except ValueError as error:
        raise UsageError("the picture is not base64", "send it again") from error


def clip_of(part: Part) -> Clip:
    """Return the clip of a `video` part."""
    return part["video"]


def is_sent_as_file(part: Part) -> bool:
    """Return whether a server that takes videos gets this one whole: where all of it is asked about, by its
    address on the web, or a small file as it is."""
    file = part.get("file")
    return isinstance(file, str) or (isinstance(file, Path) and file.stat().st_size <= LARGEST_FILE)


def wire(part: Part, *, files: bool = False) -> list[dict[str, Any]]:
    """Return `part` as a server takes it: pictures as `data:` addresses, a video as its frames with their
    times; as a file where the server takes `files` and it can be sent so."""
    if part["type"] == "image":
        if "encoded" in part:
            return [{"type": "image_url", "image_url": {"url": part["encoded"]}}]
        return [_address(part["image"], lossy=part.get("lossy", False))]
    if part["type"] == "audio":
        from qwen_cli.media import audio

        data = base64.b64encode(audio.as_wav(part["audio"])).decode()
        return [{"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}]
    if part["type"] != "video":
        return [dict(part)]
    if files and is_sent_as_file(part):
        file = part["file"]
        url = file if isinstance(file, str) else _file_address(file)
        return [{"type": "video_url", "video_url": {"url": url}}]
    from PIL import Image

    parts: list[dict[str, Any]] = []
    clip = clip_of(part)
    for frame, seconds in zip(clip.frames, clip.times, strict=True):
        # Qwen3-VL's own form of a time, which the others read as text.
        parts.append({"type": "text", "text": f"<{seconds:.1f} seconds>"})
        parts.append(_address(Image.fromarray(frame.permute(1, 2, 0).numpy())))
    return parts


def _file_address(file: Path) -> str:
    kind = mimetypes.guess_type(file.name)[0] or ""
    data = base64.b64encode(file.read_bytes()).decode()
    return f"data:{kind if kind.startswith('video/') else 'video/mp4'};base64,{data}"


def _address(image: Image, *, lossy: bool = False) -> dict[str, Any]:
    written = BytesIO()
    if lossy:  # a photograph as PNG is ten times as large, and shows a JPEG's faults just the same
        image.save(written, "JPEG", quality=95, subsampling=0)
    else:
        image.save(written, "PNG", compress_level=1)  # lossless: a model reads small print
    data = base64.b64encode(written.getvalue()).decode()
    form = "jpeg" if lossy else "png"
    return {"type": "image_url", "image_url": {"url": f"data:image/{form};base64,{data}"}}


def visual_parts(messages: Sequence[Mapping[str, Any]]) -> list[Part]:
    """Return the pictures, videos and sounds of all messages, in their order."""
    return [part for message in messages for part in parts_of(message) if part.get("type") != "text"]


def parts_of(message: Mapping[str, Any]) -> list[Any]:
    """Return the parts of a message; none of one that is a text."""
    content = message.get("content")
    return content if isinstance(content, list) else []
