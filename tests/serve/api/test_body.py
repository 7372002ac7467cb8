"""Which field of a request is at fault, where OpenAI's types have unions and all their members complain."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming

from qwen_cli.serve.api import body
from qwen_cli.serve.api.errors import Refused


def said(content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}]}


@pytest.mark.parametrize(
    ("sent", "field", "why"),
    [
        ({"messages": [{"role": "king", "content": "hi"}]}, "messages.0.role", "'user' or 'assistant'"),
        ({"messages": [{"content": "hi"}]}, "messages.0.role", "required"),
        ({"messages": [{"role": "tool", "content": "4"}]}, "messages.0.tool_call_id", "required"),
        (said(7), "messages.0.content", "valid string"),
        (said([{"type": "sound"}]), "messages.0.content.0.type", "'text' or 'image_url'"),
        (said([{"type": "text", "text": 7}]), "messages.0.content.0.text", "valid string"),
        (
            said([{"type": "image_url", "image_url": {"url": "x", "detail": "huge"}}]),
            "messages.0.content.0.image_url.detail",
            "'low'",
        ),
        (
            {**said("hi"), "response_format": {"type": "json_schema"}},
            "response_format.json_schema",
            "required",
        ),
        ({**said("hi"), "tools": [{"type": "function"}]}, "tools.0.function", "required"),
        ({**said("hi"), "tools": 7}, "tools", "a list"),
    ],
)
def test_the_field_that_was_meant_is_named(sent: dict[str, Any], field: str, why: str) -> None:
    with pytest.raises(Refused, match=why) as refused:
        body.checked(CompletionCreateParamsNonStreaming, {"model": "m", **sent})
    assert refused.value.status == 400
    assert refused.value.param == field
