"""Fields of a request that a server does not take: what is done without them, and what is said of it.

A value that is wrong is not among these: that is the server's to say. The names are those of the servers' own
protocol definitions (see `server_kinds`).
"""

from __future__ import annotations

import re
from typing import Any

# How servers say that they do not take a field: pydantic ("Extra inputs are not permitted"), vLLM ("are
# disabled by default"), SGLang, TensorRT-LLM ("not supported"), Ollama and gateways.
_WORDS = re.compile(
    r"not permitted|not allowed|not supported?\b|unsupported|extra_forbidden|disabled"
    r"|unknown (field|parameter|argument)|unrecognized|unexpected (field|keyword|argument)|not implemented",
    re.IGNORECASE,
)
# What an answer is none the worse for, or only so much that it is told.
_SPARED = {
    "top_k": "draws without it",
    "min_p": "draws without it",
    "repetition_penalty": "draws without it",
    "repeat_penalty": "draws without it",
    "presence_penalty": "draws without it",
    "frequency_penalty": "draws without it",
    "seed": "the same seed may give another answer",
    "stream_options": "tokens are counted here",
    "media_io_kwargs": "it chooses the frames of a video by itself",
    "mm_processor_kwargs": "it chooses the size of pictures by itself",
    "chat_template_kwargs": "thinking is as the server has it",
    "reasoning_effort": "it thinks for as long as it does by itself",
}


def remedy(message: str, request: dict[str, Any]) -> str | None:
    """Return the field of `request` that a server refuses in `message` and that can be spared or put
    otherwise."""
    if not _WORDS.search(message):
        return None
    named = [name for name in (*request, *request.get("extra_body", {})) if _names(name, message)]
    for name in named:
        if name in _SPARED or (name == "response_format" and "json_schema" in str(request[name])):
            return name
    # vLLM before 0.12 had the schema in a field of its own.
    return "structured_outputs" if "structured_outputs" in named else None


def _names(field: str, message: str) -> bool:
    return re.search(rf"(?<![\w]){re.escape(field)}(?![\w])", message) is not None


def refused(field: str, request: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Return (`request` without `field`, what to say). A schema goes where vLLM has it: `structured_outputs`,
    in older releases `guided_json`."""
    extra = dict(request.get("extra_body", {}))
    left = {name: value for name, value in request.items() if name != field}
    if field == "response_format" and (given := request.get(field)):
        extra["structured_outputs"] = {"json": given["json_schema"]["schema"]}
        return {**left, "extra_body": extra}, "takes no response_format; the schema is sent as vLLM's own"
    if field == "structured_outputs" and (given := extra.pop(field, None)):
        extra["guided_json"] = given["json"]
        return {**left, "extra_body": extra}, "is an older vLLM; the schema is sent as guided_json"
    extra.pop(field, None)
    if "extra_body" in request:
        left["extra_body"] = extra
    return left, f"takes no {field}: {_SPARED.get(field, 'it is left out')}"
