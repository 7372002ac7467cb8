"""Messages as a chat template takes them, and what the prompt that it makes says about thinking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qwen_cli.engines.core.base import Message
from qwen_cli.engines.core.content import Part
from qwen_cli.engines.core.prompt import Prompt
from qwen_cli.engines.parsing.marks import Marks
from qwen_cli.engines.parsing.openai import call_arguments, chat_fields, joined_text
from qwen_cli.engines.parsing.think_tags import OPEN
from qwen_cli.engines.parsing.turns import repaired
from qwen_cli.errors import EngineError, RequestRefused, UsageError
from qwen_cli.sanitize import error_line


def turns(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Return `messages` as templates want them: text as one string, arguments of tool calls as objects,
    places of pictures, videos and sounds between the text."""
    turns = [dict(message) for message in messages]
    for turn in turns:
        content = joined_text(turn.get("content"))
        turn["content"] = [_place(part) for part in content] if isinstance(content, list) else content
        if calls := turn.get("tool_calls"):
            turn["tool_calls"] = [_with_object(call) for call in calls]
    return turns


def rendered(
    tokenizer: Any,
    messages: Sequence[Message],
    tools: Sequence[Mapping[str, Any]] | None,
    *,
    marks: Marks,
    label: str,
    variables: Mapping[str, Any],
    answer: bool = True,
) -> str:
    """Render `messages` by the tokenizer's template, up to where the `answer` begins if one is to. What
    somebody wrote is plain in it where it spells one of the `marks`.

    Raises `UsageError` without a message, `EngineError` where `label` has no template or it refuses.
    """
    if not messages:
        raise UsageError("there is no message to answer", "Say something first")
    if not tokenizer.chat_template:
        raise EngineError(f"{label} has no chat template", "It is a base model: use it to complete text")
    own = chat_fields(messages)
    while True:
        guarded = marks.guard(own, tools, template=str(tokenizer.chat_template))
        given = (guarded.messages, guarded.tools) if guarded else (own, tools)
        try:
            text = str(
                tokenizer.apply_chat_template(
                    turns(given[0]),
                    tools=list(given[1]) if given[1] else None,
                    add_generation_prompt=answer,
                    tokenize=False,
                    **variables,
                )
            )
            return guarded.prompt(text) if guarded else Prompt(text)
        except Exception as error:
            # Beside these there is jinja2's own tree: `raise_exception` of a template, undefined names.
            jinja = type(error).__module__.startswith("jinja2")
            if not (jinja or isinstance(error, (ValueError, TypeError, KeyError))):
                raise
            mended = repaired(own, error_line(error))
            if mended is None:
                raise RequestRefused(f"the chat template refused: {error_line(error)}") from error
            own = mended


def _with_object(call: Mapping[str, Any]) -> dict[str, Any]:
    function = dict(call.get("function", call))
    function["arguments"] = call_arguments(function.get("arguments"))
    return {"type": "function", **({"id": call["id"]} if "id" in call else {}), "function": function}


def opened(prompt: str) -> bool:
    """Return whether the template has begun the thinking itself."""
    return prompt.rstrip().endswith(OPEN)


def _place(part: Part) -> dict[str, Any]:
    """Return what the template needs of a part: which kind stands here."""
    if part["type"] == "text":
        return {"type": "text", "text": part["text"]}
    return {"type": part["type"] if part["type"] in ("video", "audio") else "image"}
