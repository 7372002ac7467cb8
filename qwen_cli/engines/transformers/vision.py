"""What a vision model sees: pictures and videos become features, tokens and positions of a prompt.

The library's own processor says how many tokens an input is and what stands round them, and its own model
encodes it. Ours is when: only what the KV cache does not hold is encoded, a video a few frames at a time, so
that neither an hour of video nor a second question about it is ever prepared as a whole.
"""

from __future__ import annotations

import operator
import threading
from collections import OrderedDict, deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qwen_cli.engines.core.content import Part, clip_of
from qwen_cli.engines.parsing.marks import Marks
from qwen_cli.engines.transformers import load, vision_inputs
from qwen_cli.engines.transformers.device_map import main_device
from qwen_cli.engines.transformers.vision_inputs import VisualInput
from qwen_cli.errors import UsageError

if TYPE_CHECKING:
    import torch

__all__ = ["Features", "MultimodalPrompt", "VisionEncoder", "VisualInput", "has_processor"]

_KEPT = 1 << 30  # bytes of encoded inputs that are kept for prompts which come back to them
_AHEAD = 65_536  # patches of one prompt that are made ahead: a picture of the largest size, 308 MB


@dataclass(frozen=True)
class Features:
    """An encoded input: `embeds` (tokens × width), and what Qwen3-VL adds in its first layers, each alike."""

    embeds: torch.Tensor
    deep: tuple[torch.Tensor, ...] = ()

    @property
    def nbytes(self) -> int:
        return sum(one.nbytes for one in (self.embeds, *self.deep))


def has_processor(folder: Path) -> bool:
    """Return whether a model's folder says how pictures are prepared for it (under the old name or the
    new)."""
    return any((folder / name).is_file() for name in ("preprocessor_config.json", "processor_config.json"))


class VisionEncoder:
    """The eyes of a loaded model. Raises `EngineError` where the folder has no processor."""

    def __init__(self, folder: Path, model: Any, *, trust_remote_code: bool = False) -> None:
        self._processor: Any = load.processor(folder, "image", trust_remote_code=trust_remote_code)
        images = self._processor.image_processor
        self._model = model
        self._marks = Marks(self._processor.tokenizer.get_added_vocab())
        self._merge: int = images.merge_size
        self.unit: int = images.patch_size * self._merge
        self._kept: OrderedDict[int, Features] = OrderedDict()
        self._ahead: deque[_Ahead] = deque(maxlen=2)
        self._tokenizing = threading.Lock()  # tokenizers of the Rust library are for one thread at a time

    def visual_inputs(self, parts: Sequence[Part]) -> list[VisualInput]:
        """Return the pictures and videos among content parts. Nothing is encoded yet. Raises `UsageError`."""
        for one in tuple(self._ahead):
            if len(one.parts) == len(parts) and all(map(operator.is_, one.parts, parts)):
                return one.visuals
        visuals = []
        for part in parts:
            if part["type"] in ("image", "image_url"):
                visuals.append(vision_inputs.of_picture(part, self._processor))
            elif part["type"] == "video":
                visuals.append(vision_inputs.of_clip(clip_of(part), self._processor))
            elif part["type"] != "text":
                raise UsageError(f"this engine takes no {part['type']!r}", "give pictures, videos and text")
        return visuals

    def multimodal_prompt(self, text: str, visuals: Sequence[VisualInput]) -> MultimodalPrompt:
        """Tokenize a rendered prompt with a placeholder for each of `visuals`."""
        for one in tuple(self._ahead):
            if one.visuals is visuals and one.text == text:
                with suppress(ValueError):  # another thread's took its place meanwhile
                    self._ahead.remove(one)
                return one.prompt
        placeholders = {
            kind: [visual.text for visual in visuals if visual.kind == kind] for kind in ("image", "video")
        }
        pieces = self._marks.pieces(text)  # places that are cut are somebody's words
        whole, _ = self._processor.get_text_with_replacements(
            pieces, placeholders["image"], placeholders["video"]
        )
        with self._tokenizing:
            ids = self._processor.tokenizer(whole, add_special_tokens=False)["input_ids"]
        ids = [token for piece in ids for token in piece]
        return MultimodalPrompt(self, self._model, ids, list(visuals))

    def prepare(self, text: str, parts: Sequence[Part]) -> None:
        """Do now, in whichever thread, what `visual_inputs` and `multimodal_prompt` do for the same parts and
        text, and make what the encoder takes. Raises `UsageError`."""
        room, pieces = _AHEAD, []
        for visual in self.visual_inputs(parts):
            room -= visual.patches
            pieces.append(visual if room < 0 or visual.key in self._kept else vision_inputs.prepared(visual))
        self._ahead.append(_Ahead(tuple(parts), text, pieces, self.multimodal_prompt(text, pieces)))

    def types(self, ids: Sequence[int]) -> list[int]:
        """Return 0 for text, 1 for a picture's token, 2 for a video's."""
        return list(self._processor.create_mm_token_type_ids([list(ids)])[0])

    def features(self, visual: VisualInput) -> Features:
        """Return `visual` encoded, now or before."""
        if visual.key in self._kept:
            self._kept.move_to_end(visual.key)
            return self._kept[visual.key]
        import torch

        parts = []
        with torch.inference_mode():
            for pixels, grid in visual.slices():
                parts.append(self._encoded(visual.kind, pixels, grid))
            deep = zip(*(part.deep for part in parts), strict=True)
            whole = Features(torch.cat([p.embeds for p in parts]), tuple(torch.cat(layer) for layer in deep))
        self._kept[visual.key] = whole
        while len(self._kept) > 1 and sum(one.nbytes for one in self._kept.values()) > _KEPT:
            self._kept.popitem(last=False)
        return whole

    def forget(self) -> None:
        """Drop what was encoded, and what was prepared."""
        self._kept.clear()
        self._ahead.clear()

    def _encoded(self, kind: str, pixels: Any, grid: tuple[int, int, int]) -> Features:
        import torch

        see = self._model.get_image_features if kind == "image" else self._model.get_video_features
        device = main_device(self._model)
        seen = see(pixels.to(device), torch.tensor([grid]).to(device), return_dict=True)
        deep = getattr(seen, "deepstack_features", None) or ()
        return Features(
            torch.cat(tuple(seen.pooler_output)), tuple(torch.cat(tuple(layer)) for layer in deep)
        )


@dataclass(frozen=True, eq=False)
class _Ahead:
    """A prompt that was prepared before it is asked for."""

    parts: tuple[Part, ...]
    text: str
    visuals: list[VisualInput]
    prompt: MultimodalPrompt


@dataclass
class _Run:
    """Tokens `start` to `stop` of a prompt that follow each other in `visual`, the first its `number`th."""

    start: int
    stop: int
    visual: VisualInput
    number: int


class MultimodalPrompt:
    """A prompt with visual tokens. `keys` are its tokens as the KV cache knows them: two pictures never have
    one in common."""

    def __init__(
        self, vision_encoder: VisionEncoder, model: Any, ids: list[int], visuals: list[VisualInput]
    ) -> None:
        import torch

        self._vision_encoder, self._model, self.ids = vision_encoder, model, ids
        types = vision_encoder.types(ids)
        order = {1: (v for v in visuals if v.kind == "image"), 2: (v for v in visuals if v.kind == "video")}
        begun: dict[int, tuple[VisualInput, int]] = {}  # what goes on in the next run of its kind, and where
        self.keys = list(ids)
        self._runs: list[_Run] = []
        stop = 0
        for kind, run in groupby(types):
            at, stop = stop, stop + len(list(run))
            while kind and at < stop:
                visual, number = begun.pop(kind) if kind in begun else (next(order[kind]), 0)
                whole = visual.patches // vision_encoder._merge**2
                count = min(stop - at, whole - number)
                self._runs.append(_Run(at, at + count, visual, number))
                first = -visual.key - number
                self.keys[at : at + count] = range(first, first - count, -1)
                at, number = at + count, number + count
                if number < whole:
                    begun[kind] = visual, number
        grids = {kind: [v.grid for v in visuals if v.kind == kind] for kind in ("image", "video")}
        positions, _ = model.model.get_rope_index(
            torch.tensor([ids]),
            mm_token_type_ids=torch.tensor([types], dtype=torch.int),
            image_grid_thw=torch.tensor(grids["image"]) if grids["image"] else None,
            video_grid_thw=torch.tensor(grids["video"]) if grids["video"] else None,
            # In float32, as the processor gives it: where a product is cut to a whole number that matters.
            second_per_grid_ts=torch.tensor([v.seconds for v in visuals if v.kind == "video"]),
        )
        self.positions = positions  # 3 × 1 × tokens
        # Text goes on one after the last token, as in `generate`. The library's own delta counts from the
        # largest position, which is in the middle of the prompt where a video takes long and is small.
        self.delta = int(positions[0, 0, -1]) + 1 - len(ids)

    def inputs(self, start: int, stop: int) -> dict[str, Any]:
        """Return what the language model is given for tokens `start` to `stop`."""
        import torch

        device = main_device(self._model)
        embeds = self._model.get_input_embeddings()(torch.tensor([self.ids[start:stop]]).to(device))
        mask = torch.zeros(1, stop - start, dtype=torch.bool, device=embeds.device)
        deep: list[list[torch.Tensor]] = []
        for run in self._runs:
            first, last = max(run.start, start), min(run.stop, stop)
            if first >= last:
                continue
            seen = self._vision_encoder.features(run.visual)
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
