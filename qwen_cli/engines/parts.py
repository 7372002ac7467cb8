"""Content parts of a message: text, pictures, videos, as the engines take them.

OpenAI's own are `{"type": "text", "text": …}` and `{"type": "image_url", "image_url": {"url": "data:…"}}`.
Beside them stand two that hold what is loaded already: `{"type": "image", "image": <PIL image>}` (with
`min_pixels` and `max_pixels` where they are not the model's own) and `{"type": "video", "video": <Clip>}`.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from io import BytesIO
from typing import TYPE_CHECKING, Any, TypeAlias

from qwen_cli.errors import UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

    from qwen_cli.media.video import Clip

Part: TypeAlias = Mapping[str, Any]


def picture_of(part: Part) -> Image:
    """The picture of an `image` or `image_url` part. Raises `UsageError` for one that cannot be read, and
    for an address: an engine fetches nothing."""
    if part["type"] == "image":
        return part["image"]
    from qwen_cli.media import pictures

    address = part["image_url"]
    url = address["url"] if isinstance(address, Mapping) else str(address)
    head, _, data = url.partition(";base64,")
    if not head.startswith("data:"):
        raise UsageError(f"an engine fetches no pictures, got {url[:60]!r}", "give the picture itself")
    try:
        return pictures.decode(base64.b64decode(data, validate=True), "the picture")
    except ValueError as error:
        raise UsageError("the picture is not base64", "send it again") from error


def clip_of(part: Part) -> Clip:
    """The clip of a `video` part."""
    return part["video"]


def wire(part: Part) -> list[dict[str, Any]]:
    """`part` as a server takes it: pictures as `data:` addresses, a video as its frames with their times."""
    if part["type"] == "image":
        return [_address(part["image"])]
    if part["type"] != "video":
        return [dict(part)]
    from PIL import Image

    shown: list[dict[str, Any]] = []
    clip = clip_of(part)
    for frame, seconds in zip(clip.frames, clip.times, strict=True):
        # Qwen3-VL's own form of a time, which the others read as text.
        shown.append({"type": "text", "text": f"<{seconds:.1f} seconds>"})
        shown.append(_address(Image.fromarray(frame.permute(1, 2, 0).numpy())))
    return shown


def _address(image: Image) -> dict[str, Any]:
    written = BytesIO()
    image.save(written, "PNG", compress_level=1)  # lossless: a model reads small print
    data = base64.b64encode(written.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
