"""A request to `/v1/chat/completions`: checked, and put into the engine's words."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)
from typing_extensions import TypedDict

from qwen_cli.engines.core.base import Capabilities, Engine, Sampling, ToolCall, call_id
from qwen_cli.engines.core.content import parts_of
from qwen_cli.errors import UsageError
from qwen_cli.serve import memory
from qwen_cli.serve.api import extras, forms, params, sounds
from qwen_cli.serve.api.body import checked
from qwen_cli.serve.api.errors import Refused
from qwen_cli.tasks.common import json_schema

_IGNORED_NOT = {
    "audio": "is not given by these models",
    "functions": "is OpenAI's old form; send tools",
    "function_call": "is OpenAI's old form; send tool_choice",
    "web_search_options": "is not supported: the server looks nothing up",
    "moderation": "is not supported",
}
_LIMITS = ("max_completion_tokens", "max_tokens", "n_predict")
_WEB = ("http://", "https://", "data:")
_MOST_PIXELS = 1 << 28  # of a request's pictures: twenty from a telephone; 0.8 GB as RGB
_CHECKING = threading.BoundedSemaphore(2)  # large schemas that are looked at at the same time
_DECODING = threading.BoundedSemaphore(2)  # requests whose pictures are decoded at the same time


class _Likely(TypedDict, total=False):
    n_probs: int


@dataclass(frozen=True)
class ChatRequest:
    """What is asked. `forced`: the answer is the JSON of a call, kept to by `schema`. `calls` is the most
    tool calls that are passed on. `goes_on`: the last message is what there is of the answer. `reads`: no
    token is wanted, the prompt is read for what comes next."""

    model: str
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None
    schema: dict[str, Any] | None
    sampling: Sampling
    thinking: bool | int | None
    template_kwargs: dict[str, Any]
    n: int
    stream: bool
    include_usage: bool
    forced: bool
    calls: int | None
    goes_on: bool = False
    reads: bool = False


def read(sent: Mapping[str, Any]) -> ChatRequest:
    """Parse `sent`, as far as it can be understood before a model is loaded for it. Raises `Refused` and
    `UsageError`."""
    sent = _with_named_schema({"model": "", **sent})
    kind = CompletionCreateParamsStreaming if sent.get("stream") else CompletionCreateParamsNonStreaming
    messages = _messages(sent, kind)
    params.refuse(sent, _IGNORED_NOT)
    if "audio" in (sent.get("modalities") or ()):
        raise Refused(400, "these models give no audio", param="modalities")
    if not messages:
        raise Refused(400, "there is no message to answer", param="messages")
    likely = _likely(sent)
    tools, schema, form = _tools(sent), _schema(sent), forms.read(sent)
    if form.field and schema is not None:
        raise Refused(400, f"{form.field} and response_format exclude each other", param=form.field)
    if form.schema is not None:
        schema = _checked_schema(form.schema, form.field, form.field)
    forced = False
    if tools and sent.get("tool_choice") not in (None, "auto", "none"):
        messages, schema = _call_forced(messages, tools, sent["tool_choice"], schema)
        forced = True
    if form.grammar and tools and sent.get("tool_choice") != "none":
        raise Refused(400, f"{form.field} and tools exclude each other", param=form.field)
    limit = params.limit(sent, *_LIMITS)
    return ChatRequest(
        model=str(sent["model"]),
        messages=messages,
        tools=None if forced or sent.get("tool_choice") == "none" else tools,
        schema=schema,
        sampling=params.sampling(
            sent,
            limit=1 if limit == 0 else limit,
            logprobs=likely,
        ),
        thinking=None,
        template_kwargs={},
        n=params.choices(sent),
        stream=bool(sent.get("stream")),
        include_usage=bool((sent.get("stream_options") or {}).get("include_usage")),
        forced=forced,
        calls=1 if sent.get("parallel_tool_calls") is False else None,
        goes_on=_goes_on(sent, messages),
        reads=limit == 0,
    )


def _likely(sent: Mapping[str, Any]) -> int | None:
    """Return how many likely tokens are told of beside each, `None` where nothing is: OpenAI's two fields, or
    llama.cpp's one."""
    if sent.get("logprobs"):
        return sent.get("top_logprobs") or 0
    if sent.get("top_logprobs"):
        raise Refused(400, "top_logprobs needs logprobs", param="top_logprobs")
    wanted: int = checked(_Likely, sent).get("n_probs", 0)
    return wanted or None


def _with_named_schema(sent: dict[str, Any]) -> dict[str, Any]:
    """Return `sent` with a name for the schema of its answer: OpenAI wants one, other servers do not."""
    form = sent.get("response_format")
    if not isinstance(form, Mapping) or not isinstance(form.get("json_schema"), Mapping):
        return sent
    return {**sent, "response_format": {**form, "json_schema": {"name": "answer", **form["json_schema"]}}}


def for_model(request: ChatRequest, sent: Mapping[str, Any], can: Capabilities) -> ChatRequest:
    """Fit `request` to a model with the capabilities `can`. Raises `Refused`, and `UsageError` for what it
    cannot see."""
    _can_show(request.messages, can)
    sounds.check(request.messages, can)
    params.alternatives(request.sampling.logprobs, can, "logprobs")
    thinking = params.thinking(sent, can)
    form = forms.read(sent)
    if form.grammar and can.thinking is not None:
        if can.thinking == "always" or thinking not in (None, False):
            raise Refused(400, f"{form.field} would hold for the thinking too: turn it off", param=form.field)
        thinking = False
    more = extras.read(sent, can, replace(form, schema=None))
    return replace(
        request,
        sampling=replace(request.sampling, extras=more),
        thinking=thinking,
        template_kwargs=params.template_kwargs(sent, can),
    )


def with_visual_parts(
    messages: Sequence[Mapping[str, Any]],
    engine: Engine,
    *,
    allow_local_urls: bool,
    scratch: Path,
    stopped: Callable[[], bool],
) -> list[dict[str, Any]]:
    """Load the pictures and videos of `messages` for the engine, by the rules of `qwen vision`: addresses of
    the public web, no files, and no more than the context holds. Raises `UsageError`, also where `stopped`
    says that nobody waits any more."""
    from qwen_cli.media import inputs, limits
    from qwen_cli.tasks.vision import prepare

    seen = _visual(messages)
    words = "".join(str(p.get("text", "")) for m in messages for p in parts_of(m))
    gathered = inputs.gather_addresses(
        [inputs.Address(part[part["type"]]["url"], part["type"] == "video_url") for _, part in seen],
        most_pixels=_MOST_PIXELS,
        allow_local_urls=allow_local_urls,
        scratch=scratch,
        stopped=stopped,
    )
    items: list[Any] = []
    places: list[tuple[int, int]] = []
    with _DECODING:  # what is decoded is large, until it has the size that the model sees
        for (at, part), item in zip(seen, gathered, strict=True):
            low = part[part["type"]].get("detail") == "low"
            for one in item:
                if isinstance(one, inputs.Picture) and not one.whole:
                    raise UsageError(str(one.remark), "send all of it")
                items.append(replace(one, max_pixels=limits.LOW_DETAIL) if low else one)
            places += [at] * len(item)
        looks = prepare.prepare_all(items, engine, question=words)
        items.clear()
    memory.took(memory.LARGE)
    return [
        {**message, "content": _replaced(message, turn, list(zip(places, looks, strict=True)))}
        for turn, message in enumerate(messages)
    ]


def shows(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether there is a picture or a video in `messages`."""
    return bool(_visual(messages))


def _visual(messages: Sequence[Mapping[str, Any]]) -> list[tuple[tuple[int, int], Mapping[str, Any]]]:
    """Return the pictures and videos of `messages`, with their message and place in it."""
    return [
        ((turn, place), part)
        for turn, message in enumerate(messages)
        for place, part in enumerate(parts_of(message))
        if part["type"] in ("image_url", "video_url")
    ]


def _can_show(messages: Sequence[Mapping[str, Any]], can: Capabilities) -> None:
    """Raise `UsageError` for a picture that the model cannot see, or that is at no address of the web:
    nothing is fetched or decoded for it."""
    for _, part in _visual(messages):
        if not can.vision:
            raise UsageError(
                "image input is not supported: this model sees no pictures",
                "name a vision model (qwen3.5:4b)",
            )
        url = str(part[part["type"]]["url"])
        if not url.lower().startswith(_WEB):
            raise UsageError(f"{url[:60]!r} is no address of a picture", "send http(s) or data:")


def _replaced(
    message: Mapping[str, Any], turn: int, replacements: Sequence[tuple[tuple[int, int], Any]]
) -> Any:
    if not isinstance(message.get("content"), list):
        return message.get("content")
    content: list[Any] = []
    for place, part in enumerate(message["content"]):
        parts = [look.part for at, look in replacements if at == (turn, place)]
        content += parts or [part]
    return content


def _goes_on(sent: Mapping[str, Any], messages: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether the last message is gone on with: it is where it is the assistant's, as at llama.cpp,
    Ollama and Anthropic. Raises `Refused` where something else is asked for."""
    says = checked(params.Extensions, sent)
    last = messages[-1]
    goes_on = last["role"] == "assistant" and not last.get("tool_calls")
    name = "continue_final_message"
    if says.get(name) and says.get("add_generation_prompt"):
        raise Refused(400, f"{name} and add_generation_prompt exclude each other", param=name)
    if says.get(name) and not goes_on:
        raise Refused(400, "the last message is not the assistant's: nothing can be gone on with", param=name)
    if goes_on and (says.get(name) is False or says.get("add_generation_prompt")):
        raise Refused(400, "an answer at the end is always gone on with: leave it out", param=name)
    return goes_on


def _messages(sent: Mapping[str, Any], kind: Any) -> list[dict[str, Any]]:
    """Return the messages, checked with the rest of the request. Videos and sounds of most formats are no
    part of OpenAI's types: while those are checked a text stands for each, and its address is checked
    here."""
    given = sent.get("messages")
    if not isinstance(given, list) or not all(isinstance(message, dict) for message in given):
        raise Refused(400, "messages must be a list of objects", param="messages")
    plain = [_with_calls(_without_media(message)) for message in given]
    validated: list[dict[str, Any]] = checked(kind, {**sent, "messages": plain})["messages"]
    for message, original in zip(validated, given, strict=True):
        if isinstance(message.get("content"), list):
            message["content"] = [
                _part(part, whole)
                for part, whole in zip(message["content"], original["content"], strict=True)
            ]
        if message["role"] == "assistant":
            message.setdefault("content", "")  # it called tools, or said nothing: null at OpenAI
            if thought := _thought(original):
                message["reasoning_content"] = thought
        if message["role"] == "developer":  # OpenAI's newer word; templates know the old one
            message["role"] = "system"
    return validated


def _thought(message: Mapping[str, Any]) -> str | None:
    """Return what an assistant's turn brings of its thinking, under either of the names that servers have."""
    thought = message.get("reasoning_content", message.get("reasoning"))
    if thought is not None and not isinstance(thought, str):
        raise Refused(400, "reasoning_content must be a text", param="messages")
    return thought


def _without_media(message: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(message.get("content"), list):
        return dict(message)
    content = []
    for part in message["content"]:
        if isinstance(part, dict) and part.get("type") == "video_url":
            url = part.get("video_url")
            if not isinstance(url, dict) or not isinstance(url.get("url"), str):
                raise Refused(400, "video_url must be an object with a url", param="messages")
            part = {"type": "text", "text": ""}
        if sounds.is_one(part):
            sounds.checked(part)
            part = {"type": "text", "text": ""}
        content.append(part)
    return {**message, "content": content}


def _with_calls(message: dict[str, Any]) -> dict[str, Any]:
    """Return `message` with its tool calls whole: what clients put together from a stream may lack their
    type, and the arguments of a function that takes none. Without calls it has no list of them."""
    calls = message.get("tool_calls")
    if not isinstance(calls, list):
        return message
    if not calls:
        return {name: value for name, value in message.items() if name != "tool_calls"}
    whole = []
    for call in calls:
        if isinstance(call, dict) and isinstance(call.get("function"), dict):
            function = {**call["function"], "arguments": call["function"].get("arguments") or "{}"}
            call = {"type": "function", **call, "function": function}
        whole.append(call)
    return {**message, "tool_calls": whole}


def _part(part: dict[str, Any], original: dict[str, Any]) -> dict[str, Any]:
    if original.get("type") == "video_url":
        return original
    if sounds.is_one(original):
        return sounds.checked(original)
    if part["type"] not in ("text", "image_url"):
        raise Refused(400, f"parts of type {part['type']!r} are not supported", param="messages")
    return part


def _tools(sent: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    tools = [dict(tool) for tool in sent.get("tools") or ()]
    if any(tool.get("type") != "function" for tool in tools):
        raise Refused(400, "tools must be of type 'function'", param="tools")
    return tools or None


def _schema(sent: Mapping[str, Any]) -> dict[str, Any] | None:
    form = sent.get("response_format") or {"type": "text"}
    if form["type"] == "text":
        return None
    if form["type"] == "json_object":  # llama.cpp's has a schema
        schema = form.get("schema")
        return {"type": "object"} if schema is None else _checked_schema(schema, *["response_format"] * 2)
    schema = form["json_schema"].get("schema")
    if schema is None:
        raise Refused(400, "json_schema has no schema", param="response_format")
    return _checked_schema(schema, "response_format", "response_format")


def _checked_schema(schema: Any, name: str, param: str) -> dict[str, Any]:
    """Return `schema` if answers can satisfy it. Raises `Refused`."""
    try:
        with _CHECKING if json_schema.is_large(schema) else nullcontext():
            return json_schema.checked(schema, name)
    except UsageError as fault:
        raise Refused(400, str(fault), param=param) from None


def _call_forced(
    messages: list[dict[str, Any]], tools: list[dict[str, Any]], choice: Any, schema: Any
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return a request whose answer can be nothing but a call: of the tool named, or of any ("required").

    Templates only offer tools; here a schema leaves the model no other way.
    """
    if schema is not None:
        raise Refused(400, "a forced tool call and response_format exclude each other", param="tool_choice")
    wanted = choice["function"]["name"] if isinstance(choice, Mapping) and "function" in choice else None
    if wanted is None and choice != "required":
        raise Refused(400, f"tool_choice {choice!r} is not supported", param="tool_choice")
    functions = [tool["function"] for tool in tools if wanted in (None, tool["function"]["name"])]
    if not functions:
        raise Refused(400, f"tool_choice names {wanted!r}, which is none of the tools", param="tool_choice")
    calls, definitions = [], {}
    for number, function in enumerate(functions):
        arguments = _checked_schema(
            function.get("parameters") or {"type": "object"},
            f"the parameters of {function['name']!r}",
            "tools",
        )
        if "$ref" in json.dumps(arguments):  # what it refers to is counted from its own beginning
            definitions[str(number)] = _moved(arguments, f"#/$defs/{number}")
            arguments = {"$ref": f"#/$defs/{number}"}
        calls.append(
            {
                "type": "object",
                "properties": {"name": {"const": function["name"]}, "arguments": arguments},
                "required": ["name", "arguments"],
                "additionalProperties": False,
            }
        )
    offered = "\n".join(json.dumps(function, ensure_ascii=False) for function in functions)
    words = f"Call one of these functions. Answer with its name and arguments as JSON.\n{offered}"
    system = messages[0] if messages[0]["role"] == "system" else None
    if system and isinstance(system.get("content"), str):
        instructed = [{**system, "content": f"{system['content']}\n\n{words}"}, *messages[1:]]
    else:
        instructed = [{"role": "system", "content": words}, *messages]
    whole = calls[0] if len(calls) == 1 else {"anyOf": calls}
    return instructed, {**whole, **({"$defs": definitions} if definitions else {})}


def forced_call(text: str) -> ToolCall | None:
    """Return the call that an answer consists of; `None` for one that was cut off."""
    try:
        said = json.loads(text)
        return ToolCall(call_id(), said["name"], said["arguments"])
    except (ValueError, KeyError, TypeError):
        return None


def _moved(schema: Any, place: str) -> Any:
    """Return `schema` with what it refers to in itself, for it to stand at `place` of another."""
    if isinstance(schema, dict):
        return {
            name: f"{place}{value[1:]}"
            if name == "$ref" and isinstance(value, str) and value.startswith("#")
            else _moved(value, place)
            for name, value in schema.items()
        }
    return [_moved(one, place) for one in schema] if isinstance(schema, list) else schema
