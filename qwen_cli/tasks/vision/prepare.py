"""Pictures and videos as content parts, within what the context holds, and what each costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from qwen_cli.engines.core.base import Capabilities, Engine
from qwen_cli.engines.core.content import Part, is_sent_as_file, wire
from qwen_cli.errors import UsageError
from qwen_cli.media import smart_resize
from qwen_cli.media.images import Encoded
from qwen_cli.media.inputs import Film, Picture

Told: TypeAlias = Callable[[int, int], None]
"""Called with the number of frames read and of all."""

FPS = 2.0
"""Frames a second of a video, where nothing else is wished (qwen-vl-utils)."""

# Of the context: the rest is for the question, the answer, and the questions after it.
_SHARE = 0.75
# The fewest tokens of a frame, and 5 % more as the library adds (VIDEO_MIN_TOKEN_NUM in qwen-vl-utils): where
# there is room for less, fewer frames are shown.
_FRAME_TOKENS = 135


@dataclass(frozen=True)
class Detail:
    """How closely things are looked at. Budgets are in pixels of one picture or frame; `total_pixels` in
    pixels of all frames of a video; `None` is the model's own. `resize` is a size asked for outright. `fps`
    frames a second are wished for, of which there will be fewer where `max_frames` does not hold them.
    `exact` says that the very size that the model sees matters, so that no server may choose it."""

    min_pixels: int | None = None
    max_pixels: int | None = None
    total_pixels: int | None = None
    resize: tuple[int, int] | None = None
    fps: float | None = None
    max_frames: int = 768
    start: float | None = None
    end: float | None = None
    exact: bool = False

    @property
    def rate(self) -> float:
        """Return the frames a second."""
        return self.fps or FPS


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
        """Return one line about it."""
        frames = f"{self.frames} frames of " if self.frames else ""
        size = f"{frames}{self.seen[0]:,} × {self.seen[1]:,}"
        was = f" (from {self.original[0]:,} × {self.original[1]:,})" if self.seen != self.original else ""
        return f"{self.name}: {size}{was}, {self.tokens:,} tokens"


def no_progress(done: int, total: int) -> None:
    """Ignore progress: the `Told` of a caller that shows none."""


@dataclass(frozen=True)
class Plan:
    """What an input costs, before its pixels are read or resized. `prepare` does that, and tells of
    frames."""

    look: Look
    prepare: Callable[[Told], Look]


def plan(item: Picture | Film, capabilities: Capabilities, detail: Detail = Detail()) -> Plan:
    """Return how one input is going to be shown. Raises `UsageError`."""
    if item.max_pixels:
        most = min(item.max_pixels, detail.max_pixels or item.max_pixels)
        least = min(detail.min_pixels, most) if detail.min_pixels else None
        detail = replace(detail, max_pixels=most, min_pixels=least)
    if isinstance(item, Picture):
        return _picture(item, capabilities, detail)
    return _film(item, capabilities, detail)


def is_shown_as_video(look: Look, capabilities: Capabilities) -> bool:
    """Return whether the model gets it as a video; else as pictures with their times."""
    return capabilities.video or (capabilities.video_files and is_sent_as_file(look.part))


def most_frames(engine: Engine) -> int:
    """Return the frames of a video that the context holds, however small."""
    context = engine.capabilities.context
    if context is None:
        return 1 << 20
    return max(2, int(context * _SHARE * _joined(engine.capabilities.video) / _FRAME_TOKENS))


def _joined(as_video: bool) -> int:
    """Return the frames that share their tokens: two are one step in time (`temporal_patch_size` of the
    family)."""
    return 2 if as_video else 1


def prepare_all(
    items: Sequence[Picture | Film],
    engine: Engine,
    detail: Detail = Detail(),
    *,
    question: str = "",
    notice: Callable[[str], None] = lambda text: None,
    on_progress: Told = no_progress,
) -> list[Look]:
    """Prepare all inputs so that they fit the context together: where they do not, each gets its share of it,
    and `notice` says so; `on_progress` hears of the frames that are read. Raises `UsageError` where even that
    is too much, and for a model that sees nothing.
    """
    return [
        one.prepare(on_progress) for one in plan_all(items, engine, detail, question=question, notice=notice)
    ]


def plan_all(
    items: Sequence[Picture | Film],
    engine: Engine,
    detail: Detail = Detail(),
    *,
    question: str = "",
    notice: Callable[[str], None] = lambda text: None,
) -> list[Plan]:
    """Plan as `prepare_all` does, but nothing is read yet."""
    if not engine.capabilities.vision:
        raise UsageError(f"{engine.model} sees no pictures", "choose a vision model: `model=qwen3.5:4b`")
    sees = engine.capabilities
    for item in items:
        if isinstance(item, Picture) and item.remark:
            notice(item.remark)
    plans = [plan(item, sees, detail) for item in items]
    requested = now = sum(one.look.tokens for one in plans)
    context = engine.capabilities.context
    if context is None:
        return plans
    room = int(context * _SHARE) - len(question) // 3  # a token has three characters or more in most texts
    if requested <= room:
        return plans
    for _ in range(4):  # sizes go in steps: the first try may miss by a little
        detail = _smaller(detail, [one.look for one in plans], room, sees)
        plans = [plan(item, sees, detail) for item in items]
        now = sum(one.look.tokens for one in plans)
        if now <= room:
            notice(f"{requested:,} visual tokens do not fit a context of {context:,}: shown smaller, {now:,}")
            return plans
    raise UsageError(
        f"{len(items)} inputs need {requested:,} visual tokens, the context holds {context:,}",
        "give fewer, or `max_frames`, or a larger `context`",
    )


def session_parts(look: Look) -> list[dict[str, Any]]:
    """Return the parts of `look` as a session keeps them: as JSON, and without loss, so that going on finds
    the picture in the KV cache."""
    return wire(look.part)


def message(looks: Sequence[Look], question: str) -> dict[str, Any]:
    """Return the user's turn: what is shown, in the order given, then the question."""
    return {"role": "user", "content": [*(one.part for one in looks), {"type": "text", "text": question}]}


def _picture(item: Picture, sees: Capabilities, detail: Detail) -> Plan:
    image, seeing = item.image, sees.seeing
    least = detail.min_pixels or seeing.least * seeing.unit**2
    most = detail.max_pixels or max(least, seeing.most * seeing.unit**2)
    wide, high = detail.resize or image.size
    size = smart_resize.fitted(wide, high, seeing.unit, min_pixels=least, max_pixels=most)
    part: dict[str, Any] = {"type": "image", "min_pixels": least, "max_pixels": most}
    encoded = _as_it_is(item, size, sees, detail)
    if sees.pictures and item.lossy:
        part["lossy"] = True
    look = Look(item.name, part, size, image.size, smart_resize.tokens(*size, seeing.unit))

    def prepare(on_progress: Told) -> Look:
        if encoded:
            return replace(look, part={**part, "image": image, "encoded": encoded.url()})
        return replace(look, part={**part, "image": image if image.size == size else image.resize(size)})

    return Plan(look, prepare)


def _as_it_is(item: Picture, size: tuple[int, int], sees: Capabilities, detail: Detail) -> Encoded | None:
    """Return the picture's file where the server makes of it what is wanted: `size` (width, height) by
    itself."""
    encoded, unit, (wide, high) = item.encoded, sees.seeing.unit, item.image.size
    if encoded is None or encoded.form not in sees.pictures:
        return None
    least, most = sees.seeing.least * unit**2, sees.seeing.most * unit**2
    if detail.resize or not least <= wide * high <= most:
        return None
    if size != smart_resize.fitted(wide, high, unit, min_pixels=least, max_pixels=most):
        return None
    return None if detail.exact and size != item.image.size else encoded


def _film(item: Film, sees: Capabilities, detail: Detail) -> Plan:
    from qwen_cli.media import video

    budget: dict[str, Any] = {
        "factor": sees.seeing.unit,
        "min_pixels": detail.min_pixels,
        "max_pixels": detail.max_pixels,
        "total_pixels": detail.total_pixels,
        "max_frames": detail.max_frames,
    }
    part: dict[str, Any] = {"type": "video"}
    if item.path is None:
        clip, size, images = video.planned_of(
            item.frames,
            item.times or None,
            item.name,
            fps=detail.fps,
            start=detail.start,
            end=detail.end,
            **budget,
        )
    else:
        clip, size = video.planned(item.path, fps=detail.rate, start=detail.start, end=detail.end, **budget)
        if detail.start is None and detail.end is None:
            part |= {"file": item.address or item.path, "pixels": size[0] * size[1]}
    height, width = size
    count = len(clip.indices) + len(clip.indices) % 2
    look = Look(item.name, part, (width, height), (clip.width, clip.height), 0, count)
    joined = _joined(is_shown_as_video(look, sees))
    look = replace(look, tokens=smart_resize.tokens(width, height, sees.seeing.unit) * (count // joined))

    def prepare(on_progress: Told) -> Look:
        if item.path is None:
            filled = video.stacked(clip, images, size, on_progress)
        elif sees.video_files and is_sent_as_file(part):
            filled = clip
        else:
            filled = video.filled(clip, size, on_progress)
        return replace(look, part={**part, "video": filled})

    return Plan(look, prepare)


def _smaller(detail: Detail, looks: Sequence[Look], room: int, sees: Capabilities) -> Detail:
    """Return the same share of the room for every input that wants more than that."""
    wanted = sorted(one.tokens for one in looks)
    share = room
    for index, tokens in enumerate(wanted):  # those below the share leave the rest of theirs to the others
        share = room // (len(wanted) - index)
        if tokens > share:
            break
        room -= tokens
    area, least = sees.seeing.unit**2, sees.seeing.least
    joined = min((_joined(is_shown_as_video(look, sees)) for look in looks if look.frames), default=2)
    frames = max(4, int(share * joined / _FRAME_TOKENS) // 2 * 2)
    return replace(
        detail,
        resize=None,
        min_pixels=min(detail.min_pixels or least * area, share * area),
        max_pixels=share * area,
        total_pixels=share * area * joined // 2,
        max_frames=min(detail.max_frames, frames),
    )
