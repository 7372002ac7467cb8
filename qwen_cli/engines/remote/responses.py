"""Reading what OpenAI-compatible servers answer: their fields differ in name and place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from qwen_cli.engines.core.base import Completion, Piece, StopReason, Stream, TokenLogprob, Usage
from qwen_cli.engines.remote.reader import whole


def delta(choice: Any) -> tuple[str | None, str | None, list[dict[str, Any]]]:
    """Return (thinking, text, tool call fragments) of one streamed choice."""
    if not hasattr(choice, "delta"):
        return None, _text(choice.text), []
    part = choice.delta
    extra = part.model_extra or {}
    # vLLM calls it `reasoning` since 2026; SGLang, llama.cpp and TensorRT-LLM `reasoning_content`.
    thought = extra.get("reasoning") or extra.get("reasoning_content")
    return (
        _text(thought),
        _text(part.content),
        [call.model_dump(warnings=False) for call in part.tool_calls or ()],
    )


def _text(value: Any) -> str | None:
    """Return a text of an answer. Raises `TypeError` for what is none."""
    if value is None or isinstance(value, str):
        return value
    raise TypeError(f"a text is {type(value).__name__}")


def logprobs(choice: Any) -> list[float]:
    """Log probabilities of the generated tokens, in the chat form or the older completion form."""
    reported = choice.logprobs
    if reported is None:
        return []
    content = getattr(reported, "content", None)
    if content:
        return [t["logprob"] if isinstance(t, dict) else t.logprob for t in content]
    return [value for value in getattr(reported, "token_logprobs", None) or () if value is not None]


def rated(answer: Any, prompt: str) -> list[TokenLogprob]:
    """Return how likely each token of an echoed `prompt` was, from the second on; empty where the server told
    nothing of it (OpenAI's older completions: `echo` with `logprobs`)."""
    told = answer.choices[0].logprobs if answer.choices else None
    tokens, values = getattr(told, "tokens", None), getattr(told, "token_logprobs", None)
    starts = getattr(told, "text_offset", None)
    if not tokens or not values or not starts or starts[0] != 0:
        return []
    return [
        TokenLogprob(token, tuple(token.encode()), value)
        for token, value, start in zip(tokens, values, starts, strict=False)
        if value is not None and start < len(prompt)
    ]


def samples(
    answer: Any,
    request: Mapping[str, Any],
    seconds: float,
    *,
    opened: bool = False,
    stop: Sequence[str] = (),
) -> list[Completion]:
    """Return all choices of one answer, which took so long. `opened` and `stop` as in `reader.Reader`."""
    done = []
    for choice in sorted(answer.choices, key=lambda choice: choice.index):
        values = logprobs(choice)
        if hasattr(choice, "message"):
            extra = choice.message.model_extra or {}
            thought = extra.get("reasoning") or extra.get("reasoning_content") or ""
            text, thought = _text(choice.message.content) or "", _text(thought) or ""
            text, thought = whole(text, thought, choice.finish_reason, opened=opened, stop=stop)
        else:
            thought, text = "", _text(choice.text) or ""
        generated = len(values) or (answer.usage.completion_tokens if len(answer.choices) == 1 else 0)
        spent = usage(answer.usage, generated, choice.finish_reason, request, 0.0, seconds, own=True)
        done.append(Completion(text, thought, spent, sum(values) / len(values) if values else None))
    return done


def infilled(ask: Callable[[], Mapping[str, Any]]) -> Stream:
    """Stream the one answer of llama.cpp's `/infill`."""
    answer = ask()
    timings = answer.get("timings") or {}
    if text := _text(answer["content"]):
        yield Piece(text)
    yield Piece(
        usage=Usage(
            prompt_tokens=timings.get("cache_n", 0) + timings.get("prompt_n", 0),
            cached_tokens=timings.get("cache_n", 0),
            generated_tokens=answer.get("tokens_predicted", 0),
            prefill_seconds=timings.get("prompt_ms", 0.0) / 1e3,
            decode_seconds=timings.get("predicted_ms", 0.0) / 1e3,
            stop_reason="length" if answer.get("stop_type") == "limit" else "stop",
        )
    )


def usage(
    reported: Any,
    generated: int,
    finish: str,
    request: Mapping[str, Any],
    prefill: float,
    decode: float,
    *,
    own: bool = False,
) -> Usage:
    """Return the usage of an answer. `own`: `generated` is this sample's, and the report is about all of
    them."""
    details = getattr(reported, "prompt_tokens_details", None)
    if reported is not None and not own:
        generated = reported.completion_tokens
    reason: StopReason = "stop"
    if finish == "tool_calls":
        reason = "tool_calls"
    elif finish == "length":
        # Servers say "length" for both limits.
        reason = "length" if generated >= (request.get("max_tokens") or float("inf")) else "context"
    return Usage(
        prompt_tokens=reported.prompt_tokens if reported else 0,
        cached_tokens=(details.cached_tokens or 0) if details else 0,
        generated_tokens=generated,
        prefill_seconds=prefill,
        decode_seconds=decode,
        stop_reason=reason,
    )
