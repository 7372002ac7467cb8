"""Pictures and videos as content parts, within what the context holds, and what each costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from qwen_cli.engines.parts import Part
from qwen_cli.engines.protocol import Engine, Seeing
from qwen_cli.errors import UsageError
from qwen_cli.media import sizes
from qwen_cli.media.inputs import Film, Picture

# Of the context: the rest is for the question, the answer, and the questions after it.
_SHARE = 0.75
# The fewest tokens of a frame, and 5 % more as the library adds (VIDEO_MIN_TOKEN_NUM in qwen-vl-utils): where
# there is room for less, fewer frames are shown.
_FRAME_TOKENS = 135


@dataclass(frozen=True)
class Detail:
    """How closely things are looked at. Budgets are in pixels of one picture or frame; `total_pixels` in
    pixels of all frames of a video; `None` is the model's own. `resize` is a size asked for outright."""

    min_pixels: int | None = None
    max_pixels: int | None = None
    total_pixels: int | None = None
    resize: tuple[int, int] | None = None
    fps: float = 2.0
    max_frames: int = 768
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True)
class Look:
    """One input as the model is shown it: `part` of the message, `seen` is its size there (width, height),
    `original` in the file, `tokens` its price, `frames` of a video (0 for a picture)."""

    name: str
    part: Part
    seen: tuple[int, int]
    original: tuple[int, int]
    tokens: int
    frames: int = 0

    @property
    def words(self) -> str:
        """One line about it."""
        frames = f"{self.frames} frames of " if self.frames else ""
        shown = f"{frames}{self.seen[0]:,} × {self.seen[1]:,}"
        was = f" (from {self.original[0]:,} × {self.original[1]:,})" if self.seen != self.original else ""
        return f"{self.name}: {shown}{was}, {self.tokens:,} tokens"


def look(
    item: Picture | Film,
    seeing: Seeing,
    detail: Detail = Detail(),
    told: Callable[[int, int], None] = lambda done, all_: None,
) -> Look:
    """Prepare one input. `told` hears of the frames that are read. Raises `UsageError`."""
    return _picture(item, seeing, detail) if isinstance(item, Picture) else _film(item, seeing, detail, told)


def look_at_all(
    items: Sequence[Picture | Film],
    engine: Engine,
    detail: Detail = Detail(),
    *,
    question: str = "",
    notice: Callable[[str], None] = lambda text: None,
    told: Callable[[int, int], None] = lambda done, all_: None,
) -> list[Look]:
    """Prepare all inputs so that they fit the context together: where they do not, each gets its share of it,
    and `notice` says so. Raises `UsageError` where even that is too much."""
    seeing = engine.capabilities.seeing
    looks = [look(item, seeing, detail, told) for item in items]
    context = engine.capabilities.context
    if context is None:
        return looks
    room = int(context * _SHARE) - len(question) // 3  # a token has three characters or more in most texts
    asked = sum(one.tokens for one in looks)
    if asked <= room:
        return looks
    for _ in range(4):  # sizes go in steps: the first try may miss by a little
        detail = _smaller(detail, looks, room, seeing)
        looks = [look(item, seeing, detail, told) for item in items]
        if sum(one.tokens for one in looks) <= room:
            now = sum(one.tokens for one in looks)
            notice(f"{asked:,} visual tokens do not fit a context of {context:,}: shown smaller, {now:,}")
            return looks
    raise UsageError(
        f"{len(items)} inputs need {asked:,} visual tokens, the context holds {context:,}",
        "give fewer, or --max-frames, or a larger --context",
    )


def message(looks: Sequence[Look], question: str) -> dict[str, Any]:
    """The user's turn: what is shown, in the order given, then the question."""
    return {"role": "user", "content": [*(one.part for one in looks), {"type": "text", "text": question}]}


def _picture(item: Picture, seeing: Seeing, detail: Detail) -> Look:
    image = item.image
    least = detail.min_pixels or seeing.least * seeing.unit**2
    most = detail.max_pixels or max(least, seeing.most * seeing.unit**2)
    wide, high = detail.resize or image.size
    size = sizes.fitted(wide, high, seeing.unit, min_pixels=least, max_pixels=most)
    shown = image if image.size == size else image.resize(size)
    part = {"type": "image", "image": shown, "min_pixels": least, "max_pixels": most}
    return Look(item.name, part, size, image.size, sizes.tokens(*size, seeing.unit))


def _film(item: Film, seeing: Seeing, detail: Detail, told: Callable[[int, int], None]) -> Look:
    from qwen_cli.media import video

    budget: dict[str, Any] = {
        "factor": seeing.unit,
        "min_pixels": detail.min_pixels,
        "max_pixels": detail.max_pixels,
        "total_pixels": detail.total_pixels,
    }
    if item.path is not None:
        clip = video.clip(
            item.path,
            fps=detail.fps,
            max_frames=detail.max_frames,
            start=detail.start,
            end=detail.end,
            told=told,
            **budget,
        )
    else:
        clip = video.clip_of(
            item.frames, item.times or None, item.name, max_frames=detail.max_frames, told=told, **budget
        )
    count, _, height, width = clip.frames.shape
    # Two frames are one step in time (temporal_patch_size of the family).
    tokens = sizes.tokens(width, height, seeing.unit) * -(-count // 2)
    part = {"type": "video", "video": clip}
    return Look(item.name, part, (width, height), (clip.width, clip.height), tokens, count)


def _smaller(detail: Detail, looks: Sequence[Look], room: int, seeing: Seeing) -> Detail:
    """The same share of the room for every input that wants more than that."""
    wanted = sorted(one.tokens for one in looks)
    share = room
    for index, tokens in enumerate(wanted):  # those below the share leave the rest of theirs to the others
        share = room // (len(wanted) - index)
        if tokens > share:
            break
        room -= tokens
    area = seeing.unit**2
    frames = max(4, int(share * 2 / _FRAME_TOKENS) // 2 * 2)
    return replace(
        detail,
        resize=None,
        min_pixels=min(detail.min_pixels or seeing.least * area, share * area),
        max_pixels=share * area,
        total_pixels=share * area,
        max_frames=min(detail.max_frames, frames),
    )
