"""What to do when a conversation outgrows the context window: which turns to drop, and their summary."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

from qwen_cli.engines.core.base import Engine, Message, Sampling
from qwen_cli.engines.core.template import TemplateKwargs, given
from qwen_cli.errors import ContextFull, EngineError

Overflow: TypeAlias = Literal["slide", "stop", "summarise"]

ROOM = 1 / 8
"""Share of the window that must be free for an answer before a turn starts; less makes the window slide."""

FREE_AFTER = 3 / 8
"""Share of the window that sliding frees. Every slide changes the start of the prompt, so the KV cache behind
it is computed anew: freeing three eighths at once buys a quarter of the window of turns that reuse it."""

SUMMARY_SHARE = 1 / 8
"""Longest summary, as a share of the window."""

SUMMARY_REQUEST = (
    "Summarise our conversation so far, so that it can go on without its text. Keep names, numbers, "
    "decisions, code that matters and what is still open. Write plain sentences, no introduction, not more "
    "than 150 words."
)
SUMMARY_HEADING = "Summary of the conversation before this point:"

# Tokens that a chat template may add: role markers round a message (Qwen: 5), and once a default system
# prompt and the tool instructions (Qwen2.5: about 150 together). Generous, because these bound from above.
_PER_MESSAGE = 16
_PER_PROMPT = 512


def starts(messages: Sequence[Message], first: int = 0) -> list[int]:
    """Return the indices from `first` on where a turn starts: a user message with all that answers it is one
    turn."""
    return [i for i in range(first, len(messages)) if messages[i]["role"] == "user"]


def at_most(messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] | None) -> int | None:
    """Return the tokens that these messages cannot exceed, without asking the engine; `None` with images in
    them.

    Qwen's vocabulary is byte-level: a text never has more tokens than UTF-8 bytes.
    """
    total = _PER_PROMPT + (len(json.dumps(tools)) if tools else 0)
    for message in messages:
        content = message.get("content") or ""
        total += _bytes(message.get("reasoning_content") or "")
        if isinstance(content, str):
            total += _bytes(content)
        elif all(part.get("type") == "text" for part in content):
            total += sum(_bytes(part["text"]) for part in content)
        else:
            return None
        total += _PER_MESSAGE + (len(json.dumps(message["tool_calls"])) if "tool_calls" in message else 0)
    return total


def count(
    engine: Engine,
    messages: Sequence[Message],
    tools: Sequence[Mapping[str, Any]] | None,
    template_kwargs: TemplateKwargs = None,
) -> int | None:
    """Return the prompt tokens by the engine's own count; `None` where it cannot tell."""
    try:
        return engine.count_tokens(messages, tools=tools, **given(template_kwargs))
    except EngineError:
        return None


def first_to_keep(candidates: Sequence[int], fits: Callable[[int], bool]) -> int:
    """Return the earliest of the turn starts `candidates` from which everything `fits`, else the last of
    them.

    Fewer turns always need fewer tokens, so the search halves: an engine counts log2(turns) times.
    """
    low, high = 0, len(candidates) - 1
    while low < high:
        middle = (low + high) // 2
        if fits(candidates[middle]):
            high = middle
        else:
            low = middle + 1
    return candidates[low]


def request(messages: Sequence[Message]) -> list[Message]:
    """Return `messages`, then what asks for their summary."""
    return [*messages, {"role": "user", "content": SUMMARY_REQUEST}]


def summarise(
    engine: Engine,
    messages: Sequence[Message],
    limit: int | None,
    template_kwargs: TemplateKwargs = None,
) -> str:
    """Return the model's summary of `messages`, or "" where they leave no room for one.

    The messages are the prompt's own beginning, so without tools their KV cache is reused and only the
    request is prefilled. `limit` is the window in tokens. Raises `EngineError`.
    """
    if engine.capabilities.thinking == "always":
        sampling = Sampling()  # never greedy (Qwen3's model cards), and its thoughts need their own room
    else:
        sampling = Sampling(temperature=0, max_tokens=int((limit or 4096) * SUMMARY_SHARE))
    stream = engine.chat(request(messages), sampling=sampling, thinking=False, **given(template_kwargs))
    try:
        return "".join(piece.text for piece in stream if piece.kind == "answer").strip()
    except ContextFull:
        return ""
    finally:
        stream.close()


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
