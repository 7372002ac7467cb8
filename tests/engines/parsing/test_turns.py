"""Messages that strict templates refuse, mended."""

from __future__ import annotations

from typing import Any

import pytest
from chat_templates import QWEN38
from hypothesis import given
from hypothesis import strategies as some

from qwen_cli.engines.parsing.chat_template import _compiled
from qwen_cli.engines.parsing.turns import is_unusual, labelled, repaired

QUERY, FIRST = "No user query found in messages.", "System message must be at the beginning."
SHOWS = "System message cannot contain images."
PICTURE = {"type": "image_url", "image_url": {"url": "data:,"}}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def turn(role: str, content: Any = "x") -> dict[str, Any]:
    return {"role": role, "content": content}


@pytest.mark.parametrize(
    ("messages", "why", "expected"),
    [
        ([turn("system")], QUERY, [turn("system"), turn("user", "")]),
        ([turn("tool")], QUERY, [turn("user", ""), turn("tool")]),
        ([turn("assistant"), turn("tool")], QUERY, [turn("user", ""), turn("assistant"), turn("tool")]),
        ([], QUERY, [turn("user", "")]),
        (
            [turn("user", "<tool_response>\nx\n</tool_response>")],
            QUERY,
            [turn("user", ""), turn("user", "<tool_response>\nx\n</tool_response>")],
        ),
        ([turn("user"), turn("system", "s")], FIRST, [turn("system", "s"), turn("user")]),
        (
            [turn("system", "a"), turn("user"), turn("system", "b"), turn("developer", "c")],
            FIRST,
            [turn("system", "a\n\nb\n\nc"), turn("user")],
        ),
        (
            [turn("system", [text("a"), PICTURE]), turn("user", "u")],
            SHOWS,
            [turn("system", "a"), turn("user", [PICTURE, text("u")])],
        ),
        ([turn("system", [PICTURE])], SHOWS, [turn("system", ""), turn("user", [PICTURE])]),
        ([turn("developer"), turn("user")], "Unexpected message role.", [turn("system"), turn("user")]),
        ([turn("function")], "Unexpected message role.", [turn("tool")]),
        ([turn("user")], QUERY, None),  # nothing would change
        ([turn("system"), turn("user")], FIRST, None),
        ([turn("system"), turn("user")], "Unexpected reasoning effort high.", None),
    ],
)
def test_repaired(messages: Any, why: str, expected: Any) -> None:
    assert repaired(messages, why) == expected


ROLES = some.sampled_from(["system", "user", "assistant", "tool", "developer", "function"])
CONTENTS = some.one_of(
    some.sampled_from(["", "x", "<tool_response>a</tool_response>"]),
    some.lists(some.sampled_from([text("t"), PICTURE]), max_size=3),
)


@given(some.lists(some.builds(turn, ROLES, CONTENTS), min_size=1, max_size=6))
def test_every_conversation_is_taken_in_the_end(messages: list[dict[str, Any]]) -> None:
    template = _compiled(QWEN38)
    assert template
    for _ in range(6):
        try:
            template.render(messages=messages, tools=None, add_generation_prompt=True)
            return
        except ValueError as refusal:
            assert is_unusual(messages)
            mended = repaired(messages, str(refusal))
            assert mended is not None, refusal
            messages = mended
    raise AssertionError(messages)


def test_labels_count_pictures_and_videos_on_their_own() -> None:
    film = {"type": "video_url", "video_url": {"url": "x"}}
    turns = labelled(
        [turn("user", [PICTURE, text("and"), film]), turn("user", "no"), turn("user", [PICTURE])]
    )
    assert turns[0]["content"] == [text("Picture 1: "), PICTURE, text("and"), text("Video 1: "), film]
    assert turns[1:] == [turn("user", "no"), turn("user", [text("Picture 2: "), PICTURE])]
