"""Build llama.cpp requests and read usage, log probabilities and errors from its responses."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from qwen_cli.engines.core.base import (
    Message,
    Piece,
    Progress,
    Sampling,
    StopReason,
    TokenLogprob,
    Usage,
    budget_of,
)
from qwen_cli.engines.llamacpp import penalties
from qwen_cli.engines.parsing.openai import BUDGET_MESSAGE, joined_text, wire_messages
from qwen_cli.errors import ContextFull, EngineError, QwenError, RequestRefused, UsageError
from qwen_cli.sanitize import error_line

# Settings of llama.cpp's server that are handed to it as they are (tools/server/README.md, `/completion`).
# Not among them: what is said in other ways (stop, n_probs), and what concerns its slots.
EXTRAS = (
    *(
        "grammar",
        "json_schema",
        "logit_bias",
        "ignore_eos",
        "samplers",
        "min_keep",
        "return_tokens",
        "n_indent",
    ),
    *("typical_p", "top_n_sigma", "dynatemp_range", "dynatemp_exponent", "adaptive_target", "adaptive_decay"),
    *("mirostat", "mirostat_tau", "mirostat_eta", "xtc_probability", "xtc_threshold", "t_max_predict_ms"),
    *("dry_multiplier", "dry_base", "dry_allowed_length", "dry_penalty_last_n", "dry_sequence_breakers"),
    *("repeat_last_n", "post_sampling_probs", "return_progress", "timings_per_token", "cache_prompt"),
)

# Of those, what is told in pieces and asked of llama.cpp by the engine itself.
_TOLD = ("return_progress", "timings_per_token")

# Of those, what other samplers need than there are beside presence and frequency penalties.
_OTHERS = frozenset({
    "samplers", "typical_p", "top_n_sigma", "adaptive_target", "mirostat", "xtc_probability",
    "dry_multiplier",
})  # fmt: skip

_LEAST = 1e-38  # of a probability, whose logarithm is a number

_TEMPLATE_REFUSED = "the chat template refused: "

# Go on with the content of the last message, after its thinking (tools/server/README.md).
GO_ON = {"continue_final_message": "content", "add_generation_prompt": False}


def chat(
    messages: list[dict[str, Any]],
    settings: Mapping[str, Any],
    thinking: bool | int | None,
    variables: Mapping[str, Any],
) -> dict[str, Any]:
    """Build the request for a turn of a conversation, whose `messages` are `turns`, and the `variables` of
    its template. `thinking` is `None` where the model has no say in it."""
    request = {"messages": messages, **settings}
    if variables:
        request["chat_template_kwargs"] = dict(variables)
    budget = budget_of(thinking)
    if budget is not None and budget > 0:
        request |= {"thinking_budget_tokens": budget, "reasoning_budget_message": BUDGET_MESSAGE}
    return request


def completion(prompt: str, settings: Mapping[str, Any], sampling: Sampling) -> dict[str, Any]:
    """Build the request for what follows a raw prompt. Raises `UsageError` without one."""
    if not prompt:
        raise UsageError("the prompt is empty", "give some text to continue")
    # A stop string that is a special token is never written out unless it is asked for by name, and so
    # would not be seen; those that are no special tokens are not touched by this.
    request = {"prompt": prompt, "preserved_tokens": list(sampling.stop), **settings}
    if sampling.start:
        # A JSON string is one of llama.cpp's grammars too (grammars/README.md); `.` is any character.
        request["grammar"] = f"root ::= {json.dumps(sampling.start, ensure_ascii=False)} .*"
    return request


def settings(s: Sampling, context: int, *, inside: bool = True) -> dict[str, Any]:
    """Return how to choose tokens and when to stop; `context` is the window in tokens, `inside` as in
    `penalties.fields`."""
    names = {
        "temperature": s.temperature,
        "top_p": s.top_p,
        "top_k": s.top_k,
        "min_p": s.min_p,
        "seed": s.seed,
        "max_tokens": s.max_tokens,
        "stop": list(s.stop) or None,
        # The token itself is one of them.
        "n_probs": None if s.logprobs is None else s.logprobs + 1,
    }
    given = {name: value for name, value in names.items() if value is not None}
    # Progress reports come once a prefill batch: they are where a prefill can be cancelled.
    # What stays unset is off: llama.cpp would mix its own top_k, top_p and min_p into a recommendation.
    # The repetition penalty sees the whole text, as in transformers, where the recommended values come from.
    off = {"top_k": 0, "top_p": 1.0, "min_p": 0.0}
    if s.temperature == 0:
        off["top_k"] = 1  # the same token, without weighing the whole vocabulary: 1 % with eight slots
    punished = penalties.fields(
        s.repetition_penalty, s.presence_penalty, s.frequency_penalty, context, inside=inside
    )
    return {"stream": True, "return_progress": True, **off, **given, **punished, **_extras(s, punished)}


def _extras(s: Sampling, punished: Mapping[str, Any]) -> dict[str, Any]:
    """Return llama.cpp's own settings that were asked for. Raises `UsageError` for what cannot be had beside
    presence and frequency penalties (`penalties`)."""
    extras = dict(s.extras or {})
    if "samplers" in punished and (taken := _OTHERS & set(extras)):
        raise UsageError(
            f"{min(taken)} cannot be combined with presence and frequency penalties", "leave one of them out"
        )
    if extras.pop("return_tokens", False):
        extras["verbose"] = True  # llama.cpp tells them in its own form, beside OpenAI's
    return {name: value for name, value in extras.items() if name not in _TOLD}


def turns(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Return `messages` in the form of the API. Raises `UsageError` without one."""
    if not messages:
        raise UsageError("there is no message to answer", "say something first")
    turns = wire_messages(messages)
    for turn in turns:
        content = joined_text(turn.get("content"))
        turn["content"] = _without_breaks(content) if isinstance(content, list) else content
    return turns


def _without_breaks(parts: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return `parts` with neighbouring texts as one: llama.cpp would put a line break between them
    (common/chat.cpp)."""
    whole: list[Mapping[str, Any]] = []
    for is_text, group in itertools.groupby(parts, lambda part: part.get("type") == "text"):
        neighbours = list(group)
        whole += [{"type": "text", "text": joined_text(neighbours)}] if is_text else neighbours
    return whole


def fault(error: Mapping[str, Any]) -> QwenError:
    """Return the error that the server's answer tells of."""
    if error.get("type") == "exceed_context_size_error":
        return ContextFull(error["n_prompt_tokens"], error["n_ctx"])
    why = refusal(str(error.get("message", error)))
    wrong = error.get("type") == "invalid_request_error" or why.startswith(_TEMPLATE_REFUSED)
    return (RequestRefused if wrong else EngineError)(why)


def refusal(reason: str) -> str:
    """Return llama.cpp's reason. A schema that it cannot compile it blames on the template
    (common/chat.cpp)."""
    _, raised, why = reason.rpartition(
        "Jinja Exception: "
    )  # `raise_exception`, behind the place in the template
    if raised:
        return f"{_TEMPLATE_REFUSED}{error_line(ValueError(why))}"
    return f"llama.cpp refused the request: {reason.rpartition('Automatic parser generation failed: ')[2]}"


def logprobs(choice: Mapping[str, Any], request: Mapping[str, Any]) -> tuple[TokenLogprob, ...]:
    """Return how likely the tokens of a chunk were, where that was asked for."""
    if "n_probs" not in request:
        return ()
    tokens = (choice.get("logprobs") or {}).get("content") or ()
    most = request["n_probs"] - 1
    made = []
    for one in tokens:
        others = one["top_probs"] if "top_probs" in one else one["top_logprobs"]
        made.append(TokenLogprob(*_likely(one, tuple(TokenLogprob(*_likely(o)) for o in others[:most]))))
    return tuple(made)


def _likely(
    one: Mapping[str, Any], others: tuple[TokenLogprob, ...] = ()
) -> tuple[str, tuple[int, ...], float, tuple[TokenLogprob, ...], int]:
    # With `post_sampling_probs` it is the probability itself, of those that could be drawn.
    value = math.log(max(one["prob"], _LEAST)) if "prob" in one else one["logprob"]
    return one["token"], tuple(one.get("bytes") or ()), value, others, one.get("id", -1)


def reached(chunk: Mapping[str, Any]) -> Progress | None:
    """Return how far the answer is, where a chunk tells."""
    if (timings := chunk.get("timings")) is None:
        return None
    prompt = timings["cache_n"] + timings["prompt_n"]
    spent = timings["prompt_ms"] / 1e3, timings["predicted_ms"] / 1e3
    return Progress(prompt, timings["cache_n"], prompt, timings["predicted_n"], *spent)


def progress(told: Mapping[str, Any]) -> Progress:
    """Return how far the prompt is read, from llama.cpp's `prompt_progress`."""
    return Progress(told["total"], told["cache"], told["processed"], prefill_seconds=told["time_ms"] / 1e3)


def numbered(pieces: Sequence[Piece], chunk: Mapping[str, Any]) -> list[Piece]:
    """Return the `pieces` of a chunk with the numbers of its tokens, where those were asked for."""
    tokens = tuple(chunk.get("__verbose", {}).get("tokens") or ())
    if not tokens:
        return list(pieces)
    first, *rest = pieces or (Piece(),)
    return [replace(first, tokens=tokens), *rest]


def piece_bytes(piece: str | Sequence[int]) -> bytes:
    """Return what a token writes: text, or bytes where it is part of a character."""
    return piece.encode() if isinstance(piece, str) else bytes(piece)


def usage(
    choice: Mapping[str, Any],
    chunk: Mapping[str, Any],
    request: Mapping[str, Any],
    prefill: float,
    decode: float,
) -> Usage:
    """Return the usage of an answer, from its last chunk; the seconds were measured here."""
    timings = chunk["timings"]
    generated = timings["predicted_n"]
    reason: StopReason = "stop"
    if choice["finish_reason"] == "tool_calls":
        reason = "tool_calls"
    elif choice["finish_reason"] == "length":
        # llama.cpp says "length" for both limits.
        reason = "length" if generated >= request.get("max_tokens", float("inf")) else "context"
    return Usage(
        prompt_tokens=timings["cache_n"] + timings["prompt_n"],
        cached_tokens=timings["cache_n"],
        generated_tokens=generated,
        prefill_seconds=prefill,
        decode_seconds=decode,
        stop_reason=reason,
        drafted_tokens=timings.get("draft_n", 0),
        accepted_tokens=timings.get("draft_n_accepted", 0),
        stop_string=chunk.get("__verbose", {}).get("stopping_word", ""),
    )


def joined(before: Usage | None, after: Usage) -> Usage:
    """Return the usage of an answer that was asked for `after` its thinking: all that came after its first
    prompt was generated."""
    if before is None:
        return after
    return replace(
        before,
        generated_tokens=after.prompt_tokens + after.generated_tokens - before.prompt_tokens,
        decode_seconds=before.decode_seconds + after.prefill_seconds + after.decode_seconds,
        stop_reason=after.stop_reason,
        drafted_tokens=before.drafted_tokens + after.drafted_tokens,
        accepted_tokens=before.accepted_tokens + after.accepted_tokens,
    )
