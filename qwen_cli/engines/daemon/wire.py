"""What goes over the socket between a command and the server that has its model: the protocol, as JSON."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qwen_cli.engines.core.base import (
    Capabilities,
    Completion,
    Message,
    Piece,
    Progress,
    Sampling,
    Seeing,
    TokenLogprob,
    ToolCall,
    Usage,
)
from qwen_cli.engines.core.prompt import Prompt
from qwen_cli.errors import ContextFull, EngineError, QwenError, RequestRefused, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

    from qwen_cli.media.audio import Samples
    from qwen_cli.media.video import Clip

VERSION = 6
"""Of what is said here. A command and a server of different versions do not talk with each other."""


def line(value: Mapping[str, Any]) -> bytes:
    """Encode one value of a stream of them."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def piece_out(piece: Piece) -> dict[str, Any]:
    sent: dict[str, Any] = {"text": piece.text}
    if piece.kind != "answer":
        sent["kind"] = piece.kind
    if piece.call:
        sent["call"] = asdict(piece.call)
    if piece.usage:
        sent["usage"] = asdict(piece.usage)
    if piece.logprobs:
        sent["logprobs"] = [asdict(one) for one in piece.logprobs]
    if piece.tokens:
        sent["tokens"] = list(piece.tokens)
    if piece.progress:
        sent["progress"] = asdict(piece.progress)
    return sent


def piece_in(sent: Mapping[str, Any]) -> Piece:
    call, usage, progress = sent.get("call"), sent.get("usage"), sent.get("progress")
    return Piece(
        sent["text"],
        sent.get("kind", "answer"),
        ToolCall(**call) if call else None,
        Usage(**usage) if usage else None,
        tuple(_logprob_in(one) for one in sent.get("logprobs") or ()),
        tuple(sent.get("tokens") or ()),
        Progress(**progress) if progress else None,
    )


def _logprob_in(sent: Mapping[str, Any]) -> TokenLogprob:
    others = tuple(_logprob_in(other) for other in sent["others"])
    return TokenLogprob(sent["token"], tuple(sent["bytes"]), sent["logprob"], others, sent["id"])


def completion_out(done: Completion) -> dict[str, Any]:
    return asdict(done)


def completion_in(sent: Mapping[str, Any]) -> Completion:
    return Completion(**{**sent, "usage": Usage(**sent["usage"])})


def sampling_in(sent: Mapping[str, Any]) -> Sampling:
    return Sampling(**{**sent, "stop": tuple(sent.get("stop") or ())})


def capabilities_in(sent: Mapping[str, Any]) -> Capabilities:
    own = {name: tuple(sent[name]) for name in ("efforts", "pictures", "extras")} | {
        "seeing": Seeing(**sent["seeing"])
    }
    return Capabilities(**{**sent, **own})


def fault_out(fault: QwenError) -> dict[str, Any]:
    sent: dict[str, Any] = {"message": fault.message, "hint": fault.hint, "kind": "engine"}
    if isinstance(fault, ContextFull):
        sent |= {"kind": "context", "needed": fault.needed, "limit": fault.limit}
    elif isinstance(fault, UsageError):
        sent["kind"] = "usage"
    elif isinstance(fault, RequestRefused):
        sent["kind"] = "refused"
    return {"error": sent}


def fault_in(sent: Mapping[str, Any]) -> QwenError:
    if sent["kind"] == "context":
        return ContextFull(sent["needed"], sent["limit"])
    kinds = {"usage": UsageError, "refused": RequestRefused}
    return kinds.get(sent["kind"], EngineError)(sent["message"], sent["hint"])


def prompt_out(prompt: str | Sequence[Message], scratch: Path) -> Any:
    """Encode a raw prompt with its plain spans, or messages with what they show. The frames of videos go
    through files in `scratch`, a folder that the caller removes after the answer: they may be gigabytes."""
    if isinstance(prompt, str):
        return text_out(prompt)
    return [{**message, "content": _content_out(message.get("content"), scratch)} for message in prompt]


def prompt_in(sent: Any) -> Any:
    """Decode what `prompt_out` encoded."""
    if isinstance(sent, list):
        return [{**message, "content": _content_in(message["content"])} for message in sent]
    return text_in(sent)


def text_out(text: str) -> Any:
    """Encode a text, with its plain spans where it has some."""
    return {"text": str(text), "plain": text.plain} if isinstance(text, Prompt) else text


def text_in(sent: Any) -> Any:
    """Decode what `text_out` encoded."""
    if not isinstance(sent, dict):
        return sent
    return Prompt(sent["text"], [(start, stop) for start, stop in sent["plain"]])


def _content_out(content: Any, scratch: Path) -> Any:
    return [_part_out(part, scratch) for part in content] if isinstance(content, list) else text_out(content)


def _content_in(content: Any) -> Any:
    return [_part_in(part) for part in content] if isinstance(content, list) else text_in(content)


def _part_out(part: Mapping[str, Any], scratch: Path) -> dict[str, Any]:
    if part["type"] == "image":
        return {**part, "image": _picture_out(part["image"])}
    if part["type"] == "video":
        rest = {name: value for name, value in part.items() if name not in ("video", "file")}
        return {**rest, "video": _clip_out(part["video"], scratch)}
    return {**part, "text": text_out(part["text"])} if "text" in part else dict(part)


def _part_in(part: Mapping[str, Any]) -> dict[str, Any]:
    if part["type"] == "image":
        return {**part, "image": _picture_in(part["image"])}
    if part["type"] == "video":
        return {**part, "video": _clip_in(part["video"])}
    return {**part, "text": text_in(part["text"])} if "text" in part else dict(part)


def samples_out(samples: Samples) -> str:
    """Encode a sound, value for value."""
    return base64.b64encode(samples.astype("<f4", copy=False).tobytes()).decode()


def samples_in(sent: str) -> Samples:
    """Decode what `samples_out` encoded."""
    import numpy as np

    return np.frombuffer(base64.b64decode(sent), dtype="<f4").astype(np.float32)


def _picture_out(image: Image) -> dict[str, Any]:
    written = BytesIO()
    image.save(written, "PNG", compress_level=1)  # without loss: a warm answer is the cold one
    return {"png": base64.b64encode(written.getvalue()).decode()}


def _picture_in(sent: Mapping[str, Any]) -> Image:
    from PIL import Image

    image = Image.open(BytesIO(base64.b64decode(sent["png"])))
    image.load()
    return image


def _clip_out(clip: Clip, scratch: Path) -> dict[str, Any]:
    frames = clip.frames.contiguous().numpy()
    file = scratch / f"{len(list(scratch.iterdir()))}.frames"
    frames.tofile(file)
    return {
        "name": clip.name,
        "frames": {"file": str(file), "shape": list(frames.shape)},
        "indices": list(clip.indices),
        "fps": clip.fps,
        "sampled_fps": clip.sampled_fps,
        "height": clip.height,
        "width": clip.width,
        "path": str(clip.path) if clip.path else None,
    }


def _clip_in(sent: Mapping[str, Any]) -> Clip:
    import numpy as np
    import torch

    from qwen_cli.media.video import Clip

    frames = np.fromfile(sent["frames"]["file"], dtype=np.uint8).reshape(sent["frames"]["shape"])
    path = Path(sent["path"]) if sent["path"] else None
    given = {**sent, "frames": torch.from_numpy(frames), "indices": tuple(sent["indices"]), "path": path}
    return Clip(**given)
