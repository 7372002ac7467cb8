"""A request to `/v1/responses`: checked, and put into the fields of `/v1/chat/completions`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from openai.types.responses.response_create_params import (
    ResponseCreateParamsNonStreaming,
    ResponseCreateParamsStreaming,
)

from qwen_cli.serve.api import params
from qwen_cli.serve.api.body import checked, string
from qwen_cli.serve.api.errors import Refused
from qwen_cli.serve.api.history import History, opened

_IGNORED_NOT = {
    "background": "is not supported: send stream",
    "conversation": "is not supported: send previous_response_id, or the items themselves",
    "prompt": "is not supported: send the prompt itself as input",
    "moderation": "is not supported",
}
# What goes on as it is: the sampling, who asks, and what local servers take beside OpenAI's fields.
_SAME = (
    "model", "stream", "temperature", "top_p", "parallel_tool_calls", "user", "safety_identifier",
    "top_logprobs", "seed", "stop", "presence_penalty", "frequency_penalty",
    "timings_per_token", "return_progress", *params.Extensions.__annotations__,
)  # fmt: skip
# Tools that a client offers along with its own, and can do without: Codex does so unasked. Others are what a
# request is about.
_DISPENSABLE = re.compile(r"web_search(_preview)?(_\d+)*|image_generation|tool_search")
_LOGPROBS = "message.output_text.logprobs"
_THOUGHTS = "reasoning.encrypted_content"


@dataclass(frozen=True)
class Tool:
    """A function as the client knows it: in a namespace, or `custom`, which takes a text."""

    name: str
    namespace: str | None = None
    custom: bool = False


@dataclass(frozen=True)
class ResponsesRequest:
    """What is asked. `chat` has the fields of `/v1/chat/completions`, `input` the items of this request;
    `tools` are the client's by the names that the model calls them, `offered` its definitions of them. `size`
    is of the input, in bytes of JSON."""

    sent: dict[str, Any]
    chat: dict[str, Any]
    input: list[dict[str, Any]]
    size: int
    offered: list[dict[str, Any]]
    tools: Mapping[str, Tool] = field(default_factory=dict)

    @property
    def summarised(self) -> bool:
        """Return whether thinking is given out as a summary, as asked for, or as it is."""
        reasoning = self.sent.get("reasoning") or {}
        return bool(reasoning.get("summary") or reasoning.get("generate_summary"))

    @property
    def sealed(self) -> bool:
        """Return whether thinking is wanted as `encrypted_content` too."""
        return _THOUGHTS in (self.sent.get("include") or ())

    @property
    def stored(self) -> bool:
        return self.sent.get("store") is not False


def read(
    sent: Mapping[str, Any],
    conversation: Callable[[str], list[dict[str, Any]] | None],
    item: Callable[[str], dict[str, Any] | None],
) -> ResponsesRequest:
    """Parse `sent`. `conversation` gives the items up to a kept answer, `item` one of them by its id. Raises
    `Refused`."""
    kind = ResponseCreateParamsStreaming if sent.get("stream") else ResponseCreateParamsNonStreaming
    # What is parsed here is more lenient than OpenAI's types: clients leave out ids and details.
    fields = {name: value for name, value in sent.items() if name not in ("input", "tools", "tool_choice")}
    checked(kind, {"model": "", "input": "", **fields})
    params.refuse(sent, _IGNORED_NOT)
    for edit in sent.get("context_management") or ():
        raise Refused(400, f"{edit.get('type')!r} is not supported", param="context_management")
    items = own = [_referred(one, item, f"input.{at}") for at, one in enumerate(_items(sent.get("input")))]
    if before := sent.get("previous_response_id"):
        earlier = conversation(before)
        if earlier is None:
            raise Refused(
                400,
                f"there is no answer {before!r} any more: send the whole conversation as input",
                param="previous_response_id",
                code="previous_response_not_found",
            )
        items = earlier + own
    offered, functions, tools = _tools(sent.get("tools"))
    choice, functions = _choice(sent.get("tool_choice"), functions, tools)
    chat = {name: sent[name] for name in _SAME if name in sent}
    chat |= {"messages": _messages(sent.get("instructions"), items), **_thinking(sent), **_form(sent)}
    if functions:
        chat |= {"tools": functions, "tool_choice": choice}
    if (limit := sent.get("max_output_tokens")) is not None:
        chat["max_completion_tokens"] = limit
    if _LOGPROBS in (sent.get("include") or ()) or sent.get("top_logprobs"):
        chat["logprobs"] = True
    size = len(json.dumps(own, ensure_ascii=False))
    return ResponsesRequest(dict(sent), chat, own, size, offered, tools)


def _thinking(sent: Mapping[str, Any]) -> dict[str, Any]:
    effort = (sent.get("reasoning") or {}).get("effort")
    return {"reasoning_effort": effort} if effort else {}


def _form(sent: Mapping[str, Any]) -> dict[str, Any]:
    """Return the format of the answer."""
    form = (sent.get("text") or {}).get("format") or {"type": "text"}
    if form["type"] == "json_schema":
        schema = {name: form[name] for name in ("name", "schema", "strict", "description") if name in form}
        return {"response_format": {"type": "json_schema", "json_schema": schema}}
    return {"response_format": {"type": form["type"]}}


def _tools(given: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]], dict[str, Tool]]:
    """Return (the client's definitions, the functions that the model is offered, the tools by their names).
    Raises `Refused` for what the server would have to do itself."""
    offered: list[dict[str, Any]] = []
    functions: list[dict[str, Any]] = []
    tools: dict[str, Tool] = {}
    dispensed: list[tuple[str, str]] = []

    def add(one: Mapping[str, Any], where: str, namespace: str | None = None) -> None:
        kind, name = one.get("type"), one.get("name")
        if not isinstance(name, str) or not name:
            raise Refused(400, f"{where}.name: input should be a valid string", param=f"{where}.name")
        function = {key: one[key] for key in ("description", "parameters", "strict") if key in one}
        if kind == "custom":
            if (one.get("format") or {}).get("type", "text") != "text":
                raise Refused(400, "a grammar for a tool's input is not supported", param=f"{where}.format")
            function["parameters"] = {
                "type": "object",
                "properties": {"input": {"type": "string"}},
                "required": ["input"],
            }
        full = f"{namespace}__{name}" if namespace else name
        tools[full] = Tool(name, namespace, custom=kind == "custom")
        functions.append({"type": "function", "function": {"name": full, **function}})

    for index, one in enumerate(_objects(given or (), "tools")):
        where, kind = f"tools.{index}", one.get("type")
        if kind in ("function", "custom"):
            add(one, where)
        elif kind == "namespace":
            for at, inner in enumerate(_objects(one.get("tools") or (), f"{where}.tools")):
                add(inner, f"{where}.tools.{at}", str(one.get("name") or ""))
        elif isinstance(kind, str) and _DISPENSABLE.fullmatch(kind):
            dispensed.append((where, kind))
            continue
        else:
            raise _no_tool(where, kind)
        offered.append(dict(one))
    if dispensed and not functions:
        raise _no_tool(*dispensed[0])
    return offered, functions, tools


def _no_tool(where: str, kind: Any) -> Refused:
    return Refused(
        400,
        f"{where}.type: the server has no {kind!r} of its own: send functions, which the client runs",
        param=f"{where}.type",
    )


def _choice(
    choice: Any, functions: list[dict[str, Any]], tools: Mapping[str, Tool]
) -> tuple[Any, list[dict[str, Any]]]:
    """Return which function is to be called, in the words of `/v1/chat/completions`, and those offered."""
    if choice is None or isinstance(choice, str):
        return choice or "auto", functions
    kind = choice.get("type") if isinstance(choice, Mapping) else None
    if kind in ("function", "custom"):
        return {"type": "function", "function": {"name": choice.get("name")}}, functions
    if kind == "allowed_tools":
        names = {one.get("name") for one in _objects(choice.get("tools"), "tool_choice.tools")}
        allowed = [one for one in functions if tools[one["function"]["name"]].name in names]
        if not allowed:
            raise Refused(400, "tool_choice allows none of the tools", param="tool_choice")
        return choice.get("mode") or "auto", allowed
    raise Refused(400, f"tool_choice of type {kind!r} is not supported", param="tool_choice")


def _items(given: Any) -> list[dict[str, Any]]:
    """Return the items of the input, each with its type."""
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    items = _objects(given if given is not None else (), "input")
    return [{"type": "message", **item} if "role" in item else item for item in items]


def _objects(given: Any, where: str) -> list[dict[str, Any]]:
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise Refused(400, f"{where}: input should be a list", param=where)
    for index, one in enumerate(given):
        if not isinstance(one, dict):
            raise Refused(400, f"{where}.{index}: input should be an object", param=f"{where}.{index}")
    return list(given)


def _referred(
    item: dict[str, Any], kept: Callable[[str], dict[str, Any] | None], where: str
) -> dict[str, Any]:
    """Return `item`, or what it refers to. Raises `Refused`."""
    if item.get("type", "item_reference") != "item_reference":
        return item
    found = kept(str(item.get("id")))
    if found is None:
        raise Refused(400, f"{where}.id: there is no item {item.get('id')!r} any more", param=where)
    return found


def _messages(instructions: str | None, items: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the messages that `items` are. Raises `Refused`."""
    history = History()
    history.system(instructions or "")
    for index, item in enumerate(items):
        _add(history, item, f"input.{index}")
    return history.messages


def _add(history: History, item: Mapping[str, Any], where: str) -> None:
    """Add one item. Raises `Refused`."""
    kind = item["type"]
    if kind == "message":
        _add_message(history, item, where)
    elif kind == "reasoning":
        history.thought(_thought(item, where))
    elif kind in ("function_call", "custom_tool_call"):
        name, space = string(item.get("name"), f"{where}.name"), item.get("namespace")
        written = string(item.get("arguments" if kind == "function_call" else "input", ""), where)
        arguments = written if kind == "function_call" else json.dumps({"input": written})
        call = string(item.get("call_id"), f"{where}.call_id")
        history.called(call, f"{space}__{name}" if space else name, arguments)
    elif kind in ("function_call_output", "custom_tool_call_output"):
        call = string(item.get("call_id"), f"{where}.call_id")
        history.result(call, _parts(item.get("output", ""), f"{where}.output"))
    else:
        raise Refused(400, f"{where}.type: items of type {kind!r} are not supported", param=f"{where}.type")


def _add_message(history: History, item: Mapping[str, Any], where: str) -> None:
    role = item.get("role")
    if role not in ("user", "assistant", "system", "developer"):
        raise Refused(
            400,
            f"{where}.role: input should be 'user', 'assistant', 'system' or 'developer'",
            param=f"{where}.role",
        )
    parts = _parts(item.get("content"), f"{where}.content")
    if role == "user":
        history.user(parts)
        return
    if any(part["type"] != "text" for part in parts):
        raise Refused(400, f"{where}.content: pictures are for the user's turns", param=f"{where}.content")
    if role == "assistant":
        history.said("".join(part["text"] for part in parts))
    else:
        history.system("\n".join(part["text"] for part in parts))


def _thought(item: Mapping[str, Any], where: str) -> str:
    """Return the thinking of a reasoning item: as text where it has that, else sealed, else its summary."""
    content = [string(one.get("text"), where) for one in _objects(item.get("content") or (), where)]
    sealed = opened(str(item.get("encrypted_content") or ""))
    summary = [string(one.get("text"), where) for one in _objects(item.get("summary") or (), where)]
    return "".join(content) or sealed or "\n\n".join(summary)


def _parts(content: Any, where: str) -> list[dict[str, Any]]:
    """Return the parts of a message or of a result. Raises `Refused`."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    parts: list[dict[str, Any]] = []
    for index, part in enumerate(_objects(content if content is not None else 0, where)):
        at, kind = f"{where}.{index}", part.get("type")
        if kind in ("input_text", "output_text", "text"):
            parts.append({"type": "text", "text": string(part.get("text"), f"{at}.text")})
        elif kind == "refusal":
            parts.append({"type": "text", "text": string(part.get("refusal"), f"{at}.refusal")})
        elif kind == "input_image":
            if part.get("image_url") is None:
                raise Refused(400, f"{at}: a picture is sent as image_url; no files are kept", param=at)
            picture = {"url": string(part.get("image_url"), f"{at}.image_url")}
            if part.get("detail") in ("low", "high", "auto"):
                picture["detail"] = part["detail"]
            parts.append({"type": "image_url", "image_url": picture})
        else:
            raise Refused(400, f"{at}.type: parts of type {kind!r} are not supported", param=f"{at}.type")
    return parts
