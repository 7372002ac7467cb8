"""What a vision model sees: pictures and videos become features, tokens and positions of a prompt.

The library's own processor says how many tokens an input is and what stands round them, and its own model
encodes it. Ours is when: only what the KV cache does not hold is encoded, a video a few frames at a time, so
that neither an hour of video nor a second question about it is ever prepared as a whole.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from qwen_cli.engines import transformers_load
from qwen_cli.engines.device_map import main_device
from qwen_cli.engines.parts import Part, clip_of, picture_of
from qwen_cli.errors import EngineError, UsageError
from qwen_cli.media import sizes

if TYPE_CHECKING:
    import torch

    from qwen_cli.media.video import Clip

# Patches encoded at once. A picture of the largest size has 65,536; a video's frames are independent of each
# other in the encoder, so cutting between them changes nothing.
_PATCHES = 8_192
_KEPT = 32  # encoded inputs that are kept for prompts which come back to them
_PLACEHOLDERS = ("<|image_pad|>", "<|video_pad|>")


@dataclass(frozen=True)
class View:
    """One picture or video of a prompt. `grid` is (frame pairs, rows, columns) of patches, `text` stands for
    it in the prompt, `key` tells it from any other, `seconds` lie between two frame pairs."""

    kind: Literal["image", "video"]
    grid: tuple[int, int, int]
    text: str
    key: int
    slices: Callable[[], Iterator[tuple[Any, tuple[int, int, int]]]] = field(repr=False)
    seconds: float = 1.0


@dataclass(frozen=True)
class Features:
    """An encoded input: `embeds` (tokens × width), and what Qwen3-VL adds in its first layers, each alike."""

    embeds: torch.Tensor
    deep: tuple[torch.Tensor, ...] = ()


def has_processor(folder: Path) -> bool:
    """Whether a model's folder says how pictures are prepared for it (under the old name or the new)."""
    return any((folder / name).is_file() for name in ("preprocessor_config.json", "processor_config.json"))


class Sight:
    """The eyes of a loaded model. Raises `EngineError` where the folder has no processor."""

    def __init__(self, folder: Path, model: Any, *, trust_remote_code: bool = False) -> None:
        with transformers_load.quiet():
            from transformers import AutoProcessor

            try:
                self._processor = AutoProcessor.from_pretrained(
                    folder, local_files_only=True, trust_remote_code=trust_remote_code
                )
                self._images, self._videos = self._processor.image_processor, self._processor.video_processor
            except Exception as error:  # the library raises all sorts
                raise EngineError(
                    f"the image processor in {folder} cannot be loaded: {transformers_load.one_line(error)}",
                    "Fetch the model again",
                ) from error
        self._model = model
        self._merge = self._images.merge_size
        self.unit: int = self._images.patch_size * self._merge
        self._kept: OrderedDict[int, Features] = OrderedDict()

    def views(self, parts: Sequence[Part]) -> list[View]:
        """The pictures and videos among content parts. Nothing is encoded yet. Raises `UsageError`."""
        found = []
        for part in parts:
            if part["type"] in ("image", "image_url"):
                found.append(self._picture(part))
            elif part["type"] == "video":
                found.append(self._clip(clip_of(part)))
            elif part["type"] != "text":
                raise UsageError(f"this engine takes no {part['type']!r}", "give pictures, videos and text")
        return found

    def scene(self, text: str, views: Sequence[View]) -> Scene:
        """A rendered prompt with a placeholder for each of `views`, as tokens."""
        shown = {kind: [view.text for view in views if view.kind == kind] for kind in ("image", "video")}
        (whole,), _ = self._processor.get_text_with_replacements([text], shown["image"], shown["video"])
        ids = list(self._processor.tokenizer(whole, add_special_tokens=False)["input_ids"])
        return Scene(self, self._model, ids, list(views))

    def types(self, ids: Sequence[int]) -> list[int]:
        """0 for text, 1 for a picture's token, 2 for a video's."""
        return list(self._processor.create_mm_token_type_ids([list(ids)])[0])

    def features(self, view: View) -> Features:
        """`view` encoded, now or before."""
        if view.key in self._kept:
            self._kept.move_to_end(view.key)
            return self._kept[view.key]
        import torch

        parts = []
        with torch.inference_mode():
            for pixels, grid in view.slices():
                parts.append(self._encoded(view.kind, pixels, grid))
            deep = zip(*(part.deep for part in parts), strict=True)
            whole = Features(torch.cat([p.embeds for p in parts]), tuple(torch.cat(layer) for layer in deep))
        self._kept[view.key] = whole
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return whole

    def forget(self) -> None:
        """Drop what was encoded."""
        self._kept.clear()

    def _encoded(self, kind: str, pixels: Any, grid: tuple[int, int, int]) -> Features:
        import torch

        see = self._model.get_image_features if kind == "image" else self._model.get_video_features
        device = main_device(self._model)
        seen = see(pixels.to(device), torch.tensor([grid]).to(device), return_dict=True)
        deep = getattr(seen, "deepstack_features", None) or ()
        return Features(
            torch.cat(tuple(seen.pooler_output)), tuple(torch.cat(tuple(layer)) for layer in deep)
        )

    def _picture(self, part: Part) -> View:
        image = picture_of(part)
        budget = {name: part[name] for name in ("min_pixels", "max_pixels") if part.get(name)}
        width, height = sizes.fitted(*image.size, self.unit, **budget)
        patch = self._images.patch_size
        grid = (1, height // patch, width // patch)

        def slices() -> Iterator[tuple[Any, tuple[int, int, int]]]:
            resized = image if image.size == (width, height) else image.resize((width, height))
            yield self._images(images=[resized], do_resize=False, return_tensors="pt")["pixel_values"], grid

        import torch

        text = self._processor.replace_image_token({"image_grid_thw": torch.tensor([grid])}, 0)
        return View("image", grid, text, _key(image.tobytes(), image.size, grid), slices)

    def _clip(self, clip: Clip) -> View:
        import torch
        from transformers.video_utils import VideoMetadata

        pair, patch = self._videos.temporal_patch_size, self._videos.patch_size
        frames = clip.frames
        if len(frames) % pair:
            frames = torch.cat([frames, frames[-1:].expand(pair - len(frames) % pair, -1, -1, -1)])
        grid = (len(frames) // pair, frames.shape[2] // patch, frames.shape[3] // patch)
        pairs_at_once = max(1, _PATCHES // (grid[1] * grid[2]))

        def slices() -> Iterator[tuple[Any, tuple[int, int, int]]]:
            for start in range(0, grid[0], pairs_at_once):
                part = frames[start * pair : (start + pairs_at_once) * pair]
                pixels = self._videos(
                    videos=[part],
                    do_resize=False,
                    do_sample_frames=False,
                    cap_pixels_per_frame=False,
                    return_tensors="pt",
                )["pixel_values_videos"]
                yield pixels, (len(part) // pair, grid[1], grid[2])

        told = VideoMetadata(
            total_num_frames=len(clip.indices), fps=clip.fps, frames_indices=list(clip.indices)
        )
        text = self._processor.replace_video_token(
            {"video_grid_thw": torch.tensor([grid]), "video_metadata": [told]}, 0
        )
        key = _key(frames.numpy().tobytes(), clip.indices, clip.fps)
        return View("video", grid, text, key, slices, pair / clip.sampled_fps)


@dataclass
class _Run:
    """Tokens `start` to `stop` of a prompt that follow each other in `view`, the first its `number`th."""

    start: int
    stop: int
    view: View
    number: int


class Scene:
    """A prompt with visual tokens. `keys` are its tokens as the KV cache knows them: two pictures never have
    one in common."""

    def __init__(self, sight: Sight, model: Any, ids: list[int], views: list[View]) -> None:
        import torch

        self._sight, self._model, self.ids = sight, model, ids
        types = sight.types(ids)
        order = {
            1: iter([v for v in views if v.kind == "image"]),
            2: iter([v for v in views if v.kind == "video"]),
        }
        self.keys = list(ids)
        self._runs: list[_Run] = []
        left = {1: 0, 2: 0}
        current: dict[int, tuple[View, int]] = {}
        for at, kind in enumerate(types):
            if not kind:
                continue
            if not left[kind]:
                view = next(order[kind])
                current[kind] = view, 0
                left[kind] = view.grid[0] * view.grid[1] * view.grid[2] // sight._merge**2
            view, number = current[kind]
            last = self._runs[-1] if self._runs else None
            if last and last.stop == at and last.view is view:
                last.stop = at + 1
            else:
                self._runs.append(_Run(at, at + 1, view, number))
            self.keys[at] = -view.key - number
            current[kind] = view, number + 1
            left[kind] -= 1
        grids = {kind: [v.grid for v in views if v.kind == kind] for kind in ("image", "video")}
        positions, delta = model.model.get_rope_index(
            torch.tensor([ids]),
            mm_token_type_ids=torch.tensor([types], dtype=torch.int),
            image_grid_thw=torch.tensor(grids["image"]) if grids["image"] else None,
            video_grid_thw=torch.tensor(grids["video"]) if grids["video"] else None,
            # In float32, as the processor gives it: where a product is cut to a whole number that matters.
            second_per_grid_ts=torch.tensor([v.seconds for v in views if v.kind == "video"]),
        )
        self.positions = positions  # 3 × 1 × tokens
        self.delta = int(delta[0, 0])

    def inputs(self, start: int, stop: int) -> dict[str, Any]:
        """What the language model is given for tokens `start` to `stop`."""
        import torch

        device = main_device(self._model)
        embeds = self._model.get_input_embeddings()(torch.tensor([self.ids[start:stop]]).to(device))
        mask = torch.zeros(1, stop - start, dtype=torch.bool, device=embeds.device)
        deep: list[list[torch.Tensor]] = []
        for run in self._runs:
            first, last = max(run.start, start), min(run.stop, stop)
            if first >= last:
                continue
            seen = self._sight.features(run.view)
            number = run.number + first - run.start
            rows = slice(number, number + last - first)
            embeds[0, first - start : last - start] = seen.embeds[rows].to(embeds.device, embeds.dtype)
            mask[0, first - start : last - start] = True
            deep.append([layer[rows] for layer in seen.deep])
        given: dict[str, Any] = {
            "inputs_embeds": embeds,
            "position_ids": self.positions[..., start:stop].to(embeds.device),
        }
        if deep and deep[0]:
            layers = zip(*deep, strict=True)
            given |= {"visual_pos_masks": mask, "deepstack_visual_embeds": [torch.cat(x) for x in layers]}
        return given


def without_placeholders(text: str) -> str:
    """Text that a person wrote, in which no token can be taken for a picture's place."""
    for token in _PLACEHOLDERS:
        text = text.replace(token, token.replace("|", " "))
    return text


def _key(data: bytes, *more: object) -> int:
    digest = hashlib.blake2b(data, digest_size=7)
    digest.update(repr(more).encode())
    # Room below each for as many tokens as a video can have.
    return (int.from_bytes(digest.digest(), "big") >> 14 << 20) + 1
