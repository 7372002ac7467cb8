"""A request to `/v1/messages`: checked, and put into the fields of `/v1/chat/completions`.

The types here are those parts of Anthropic's that are heeded. Their package has them all, in 37 MB.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from typing_extensions import NotRequired, TypedDict

from qwen_cli.serve.api import params
from qwen_cli.serve.api.body import checked, string
from qwen_cli.serve.api.errors import Refused
from qwen_cli.serve.api.history import History, opened

_IGNORED_NOT = {
    "container": "is not supported",
    "mcp_servers": "is not supported: the client connects to them",
}
_SAME = ("stream", "temperature", "top_p", *params.Extensions.__annotations__)
# A line of Claude Code's for Anthropic's accounts, which may differ in every request: the KV cache would be
# of no use behind it.
_BILLING = "x-anthropic-billing-header:"


class _Thinking(TypedDict):
    type: Literal["enabled", "disabled", "adaptive"]
    budget_tokens: NotRequired[int]
    display: NotRequired[Literal["summarized", "omitted"]]


class _Format(TypedDict):
    type: Literal["json_schema"]
    schema: dict[str, Any]


class _OutputConfig(TypedDict, total=False):
    effort: str
    format: _Format


class _ToolChoice(TypedDict):
    type: Literal["auto", "any", "tool", "none"]
    name: NotRequired[str]
    disable_parallel_tool_use: NotRequired[bool]


class _Metadata(TypedDict, total=False):
    user_id: str


class _Message(TypedDict):
    role: Literal["user", "assistant", "system"]
    content: str | list[dict[str, Any]]


class _Fields(TypedDict, total=False):
    model: str
    max_tokens: int
    messages: list[_Message]
    system: str | list[dict[str, Any]]
    temperature: float
    top_p: float
    top_k: int
    stop_sequences: list[str]
    stream: bool
    tools: list[dict[str, Any]]
    tool_choice: _ToolChoice
    thinking: _Thinking
    output_config: _OutputConfig
    metadata: _Metadata


def read(sent: Mapping[str, Any], *, counts: bool = False) -> dict[str, Any]:
    """Return the request in the fields of `/v1/chat/completions`. `counts`: only its tokens are wanted, so
    that it needs no limit. Raises `Refused`."""
    fields = checked(_Fields, sent)
    params.refuse(sent, _IGNORED_NOT)
    for name in ("messages",) if counts else ("messages", "max_tokens"):
        if name not in fields:
            raise Refused(400, f"{name}: field required", param=name)
    chat = {name: sent[name] for name in _SAME if name in sent}
    chat["return_progress"] = True  # the first event of a stream tells of the prompt
    chat["model"] = fields.get("model", "")
    chat["messages"] = _messages(fields)
    if (limit := fields.get("max_tokens")) is not None:
        chat["max_completion_tokens"] = limit
    if stop := fields.get("stop_sequences"):
        chat["stop"] = stop
    if user := fields.get("metadata", {}).get("user_id"):
        chat["user"] = user
    return {**chat, **_thinking(fields), **_form(fields), **_tools(fields)}


def omits_thinking(sent: Mapping[str, Any]) -> bool:
    """Return whether the client wants to see nothing of the thinking."""
    thinking = sent.get("thinking")
    return isinstance(thinking, Mapping) and thinking.get("display") == "omitted"


def is_foreign(model: str) -> bool:
    """Return whether `model` is one of Anthropic's, which clients name unasked: they mean the model that the
    server was started for."""
    return model.lower().removeprefix("anthropic/").startswith("claude")


def _thinking(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is said of thinking: where nothing is, there is none, as at Anthropic."""
    asked = fields.get("thinking", {"type": "disabled"})
    if asked["type"] == "disabled":
        return {"reasoning_effort": "none"}
    if asked["type"] == "enabled":
        if asked.get("budget_tokens", 0) < 1:
            raise Refused(400, "thinking.budget_tokens must be at least 1", param="thinking.budget_tokens")
        return {"thinking_token_budget": asked["budget_tokens"]}
    effort = fields.get("output_config", {}).get("effort")
    return {"reasoning_effort": effort} if effort else {}


def _form(fields: Mapping[str, Any]) -> dict[str, Any]:
    form = fields.get("output_config", {}).get("format")
    if form is None:
        return {}
    schema = {"name": "answer", "schema": form["schema"]}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


def _tools(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tools and which of them is to be called."""
    tools = []
    for index, one in enumerate(fields.get("tools", ())):
        where = f"tools.{index}"
        if one.get("type", "custom") != "custom":
            raise Refused(
                400,
                f"{where}.type: the server has no {one['type']!r} of its own: send tools with an "
                "input_schema, which the client runs",
                param=f"{where}.type",
            )
        function = {"name": one.get("name"), "parameters": one.get("input_schema")}
        for name in ("description", "strict"):
            if name in one:
                function[name] = one[name]
        if not isinstance(function["parameters"], dict):
            raise Refused(400, f"{where}.input_schema: field required", param=f"{where}.input_schema")
        tools.append({"type": "function", "function": function})
    if not tools:
        return {}
    choice = fields.get("tool_choice", {"type": "auto"})
    named: dict[str, Any] = {"type": "function", "function": {"name": choice.get("name")}}
    words = {"auto": "auto", "any": "required", "none": "none", "tool": named}
    chosen: dict[str, Any] = {"tools": tools, "tool_choice": words[choice["type"]]}
    if choice.get("disable_parallel_tool_use"):
        chosen["parallel_tool_calls"] = False
    return chosen


def _messages(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the messages. Raises `Refused`."""
    history = History()
    history.system(_system(fields.get("system", ""), "system"))
    for index, message in enumerate(fields["messages"]):
        where, content = f"messages.{index}.content", message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        if message["role"] == "system":
            history.system(_system(content, where))
        elif message["role"] == "user":
            _add_user(history, blocks, where)
        else:
            for at, block in enumerate(blocks):
                _add_said(history, block, f"{where}.{at}")
    return history.messages


def _system(content: str | Sequence[Mapping[str, Any]], where: str) -> str:
    if isinstance(content, str):
        return content
    texts = [_text(block, f"{where}.{at}") for at, block in enumerate(content)]
    return "\n\n".join(text for text in texts if not text.startswith(_BILLING))


def _add_user(history: History, blocks: Sequence[Mapping[str, Any]], where: str) -> None:
    """Add a user's turn: results of tools come first, as they follow the calls."""
    said = []
    for at, block in enumerate(blocks):
        if block.get("type") != "tool_result":
            said.append(_part(block, f"{where}.{at}"))
            continue
        content = block.get("content") or ""
        if isinstance(content, str):
            parts = [{"type": "text", "text": content}]
        elif isinstance(content, list):
            parts = [_part(one, f"{where}.{at}.content.{n}") for n, one in enumerate(content)]
        else:
            raise Refused(400, f"{where}.{at}.content: input should be a list", param=f"{where}.{at}.content")
        if block.get("is_error"):
            parts = [{"type": "text", "text": "The call failed:"}, *parts]
        history.result(string(block.get("tool_use_id"), f"{where}.{at}.tool_use_id"), parts)
    if said:
        history.user(said)


def _add_said(history: History, block: Mapping[str, Any], where: str) -> None:
    """Add a block of the model's."""
    kind = block.get("type")
    if kind == "text":
        history.said(_text(block, where))
    elif kind == "thinking":
        thought = string(block.get("thinking", ""), f"{where}.thinking")
        history.thought(thought or opened(str(block.get("signature", ""))))
    elif kind == "redacted_thinking":  # another server's: nobody can read it here
        return
    elif kind == "tool_use":
        arguments = block.get("input") or {}
        if not isinstance(arguments, dict):
            raise Refused(400, f"{where}.input: input should be an object", param=f"{where}.input")
        history.called(
            string(block.get("id"), f"{where}.id"),
            string(block.get("name"), f"{where}.name"),
            json.dumps(arguments, ensure_ascii=False),
        )
    else:
        raise _no_block(kind, where)


def _part(block: Any, where: str) -> dict[str, Any]:
    """Return a text or a picture of the user's, or of a result."""
    kind = block.get("type") if isinstance(block, dict) else None
    if kind == "text":
        return {"type": "text", "text": _text(block, where)}
    source = block.get("source") if kind in ("image", "document") else None
    if not isinstance(source, dict):
        raise _no_block(kind, where)
    form = source.get("type")
    if kind == "document" and form == "text":
        title = f"{block['title']}\n\n" if block.get("title") else ""
        return {"type": "text", "text": title + string(source.get("data"), f"{where}.source.data")}
    if kind == "image" and form == "url":
        return _picture(string(source.get("url"), f"{where}.source.url"))
    if kind == "image" and form == "base64":
        media = string(source.get("media_type"), f"{where}.source.media_type")
        return _picture(f"data:{media};base64,{string(source.get('data'), f'{where}.source.data')}")
    raise Refused(400, f"{where}.source: a {kind} of {form!r} is not supported", param=f"{where}.source")


def _picture(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def _no_block(kind: Any, where: str) -> Refused:
    return Refused(400, f"{where}.type: blocks of type {kind!r} are not supported", param=f"{where}.type")


def _text(block: Mapping[str, Any], where: str) -> str:
    if block.get("type") != "text":
        raise _no_block(block.get("type"), where)
    return string(block.get("text"), f"{where}.text")
