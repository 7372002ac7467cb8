"""`/v1/boxes`: where the things are that an answer names, in pixels of the picture that was sent.

Each generation writes places in its own way, and Qwen2.5-VL in pixels of what it was shown: who drew them by
the answer alone would draw them in the wrong places (`tasks.vision.grounding`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from typing_extensions import NotRequired, TypedDict

from qwen_cli.errors import UsageError
from qwen_cli.serve.api import body
from qwen_cli.serve.api.errors import Refused
from qwen_cli.serve.scheduling import threads
from qwen_cli.serve.scheduling.service import Service
from qwen_cli.tasks.vision import grounding, prepare

_LONGEST = 50_000  # characters of an answer: the worst of them, open brackets alone, take half a second
_MOST_PICTURES, _MOST_SIDE = 64, 1 << 16


class _Fields(TypedDict):
    """`answer` is what the model said, `pictures` are the sizes (width, height) of all that it was shown, in
    order; `picture` is the index of the one that the answer is about (the last), `question` the text beside
    them."""

    answer: str
    pictures: list[list[int]]
    picture: NotRequired[int]
    question: NotRequired[str]
    model: NotRequired[str | None]


@dataclass(frozen=True)
class _Size:
    """As much of a picture as planning asks for: (width, height)."""

    size: tuple[int, int]


async def find(request: Request, service: Service) -> Response:
    """Answer with what an answer says it found."""
    sent = await body.read(request, service.max_body)
    fields = body.checked(_Fields, sent)
    sizes = [_size(one) for one in fields["pictures"]]
    if not 1 <= len(sizes) <= _MOST_PICTURES:
        raise Refused(400, f"pictures must be from 1 to {_MOST_PICTURES} sizes", param="pictures")
    index = fields.get("picture", len(sizes) - 1)
    if not 0 <= index < len(sizes):
        raise Refused(400, f"picture must be from 0 to {len(sizes) - 1}, got {index}", param="picture")
    if len(fields["answer"]) > _LONGEST:
        raise Refused(400, f"answer is longer than {_LONGEST:,} characters", param="answer")

    def work() -> list[dict[str, Any]]:
        engine = service.load(request, sent)
        boxes = engine.capabilities.seeing.boxes
        if boxes is None:
            raise UsageError(f"how {engine.model!r} writes coordinates is not known")
        items = cast("Any", [_picture(size) for size in sizes])
        look = prepare.plan_all(items, engine, question=fields.get("question", ""))[index].look
        found = grounding.parse(fields["answer"], boxes, seen=look.seen, original=look.original)
        return grounding.as_json(found)

    return JSONResponse({"object": "list", "data": await threads.one(request, work, lambda: None)})


def _size(given: list[int]) -> tuple[int, int]:
    if len(given) != 2 or not all(0 < side <= _MOST_SIDE for side in given):
        raise Refused(
            400,
            f"a size is [width, height], each from 1 to {_MOST_SIDE:,}, got {given!r:.60}",
            param="pictures",
        )
    return given[0], given[1]


def _picture(size: tuple[int, int]) -> Any:
    from qwen_cli.media.inputs import Picture

    return Picture("a picture", cast("Any", _Size(size)))
