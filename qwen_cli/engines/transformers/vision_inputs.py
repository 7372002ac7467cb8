"""Pictures and videos as a vision encoder takes them, by the library's own processors."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from qwen_cli.engines.core.content import Part, picture_of
from qwen_cli.media import smart_resize

if TYPE_CHECKING:
    import torch

    from qwen_cli.media.video import Clip

Grid: TypeAlias = tuple[int, int, int]
"""(Frame pairs, rows, columns) of patches."""

Slices: TypeAlias = "Iterator[tuple[torch.Tensor, Grid]]"

PATCHES = 8_192
"""Encoded at once of a video, whose frames are independent of each other in the encoder: cutting between them
changes nothing. A picture is encoded whole; one of the largest size has 65,536."""


@dataclass(frozen=True)
class VisualInput:
    """One picture or video of a prompt, of `grid` patches. `text` stands for it in the prompt, `key` tells it
    from any other, `slices` gives what the encoder takes (patches × values, and their grid) part by part;
    `seconds` lie between two frame pairs."""

    kind: Literal["image", "video"]
    grid: Grid
    text: str
    key: int
    slices: Callable[[], Slices] = field(repr=False)
    seconds: float = 1.0

    @property
    def patches(self) -> int:
        """Return the number of patches."""
        return self.grid[0] * self.grid[1] * self.grid[2]


def of_picture(part: Part, processor: Any) -> VisualInput:
    """Process the picture of an `image` or `image_url` part. Raises `UsageError` as `picture_of` does."""
    import numpy as np
    import torch

    images = processor.image_processor
    image = picture_of(part)
    if image.mode != "RGB":
        image = image.convert("RGB")
    budget = {name: part[name] for name in ("min_pixels", "max_pixels") if part.get(name)}
    unit = images.patch_size * images.merge_size
    size = smart_resize.fitted(*image.size, unit, **budget)
    grid = (1, size[1] // images.patch_size, size[0] // images.patch_size)
    pixels = np.array(image)

    def slices() -> Slices:
        resized = pixels if image.size == size else np.array(image.resize(size))
        done = images(
            images=[resized], do_resize=False, input_data_format="channels_last", return_tensors="pt"
        )
        yield done["pixel_values"], grid

    text = processor.replace_image_token({"image_grid_thw": torch.tensor([grid])}, 0)
    return VisualInput("image", grid, text, _key(pixels, image.size, grid), slices)


def of_clip(clip: Clip, processor: Any) -> VisualInput:
    """Process a video, whose slices are of `PATCHES` at most where a frame pair has not more."""
    import torch
    from transformers.video_utils import VideoMetadata

    videos = processor.video_processor
    pair, patch = videos.temporal_patch_size, videos.patch_size
    frames = clip.frames
    if len(frames) % pair:
        frames = torch.cat([frames, frames[-1:].expand(pair - len(frames) % pair, -1, -1, -1)])
    grid = (len(frames) // pair, frames.shape[2] // patch, frames.shape[3] // patch)
    pairs_at_once = max(1, PATCHES // (grid[1] * grid[2]))

    def slices() -> Slices:
        for start in range(0, grid[0], pairs_at_once):
            part = frames[start * pair : (start + pairs_at_once) * pair]
            pixels = videos(
                videos=[part],
                do_resize=False,
                do_sample_frames=False,
                cap_pixels_per_frame=False,
                return_tensors="pt",
            )["pixel_values_videos"]
            yield pixels, (len(part) // pair, grid[1], grid[2])

    metadata = VideoMetadata(
        total_num_frames=len(clip.indices), fps=clip.fps, frames_indices=list(clip.indices)
    )
    text = processor.replace_video_token(
        {"video_grid_thw": torch.tensor([grid]), "video_metadata": [metadata]}, 0
    )
    key = _key(frames.contiguous().numpy(), clip.indices, clip.fps)
    return VisualInput("video", grid, text, key, slices, pair / clip.sampled_fps)


def prepared(visual: VisualInput) -> VisualInput:
    """Return `visual` with its slices made now, held until they are asked for the first time."""
    ready = list(visual.slices())

    def slices() -> Slices:
        taken, ready[:] = ready[:], []
        yield from taken or visual.slices()

    return replace(visual, slices=slices)


def _key(pixels: Any, *more: object) -> int:
    """Return a number that tells an array of pixels from others. SHA-1 is twice as fast as BLAKE2 where
    processors have instructions for it, and here nobody is kept out by it."""
    digest = hashlib.sha1(pixels.reshape(-1), usedforsecurity=False)
    digest.update(repr(more).encode())
    # 42 bits, and room below each for as many tokens as a video can have.
    return (int.from_bytes(digest.digest()[:7], "big") >> 14 << 20) + 1
