"""What llama.cpp's server tells of an answer, in its own fields (tools/server/README.md)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from qwen_cli.engines.core.base import Engine, Progress, Sampling, TokenLogprob, Usage
from qwen_cli.engines.core.prompt import Tokens
from qwen_cli.serve.api import extras

# Tokens that end an answer by themselves, of those that Qwen's vocabularies have (src/llama-vocab.cpp).
_ENDS = ("<|endoftext|>", "<|im_end|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>")


def whole(
    text: str, spent: Usage, *, prompt: str, sampling: Sampling, model: str, index: int = 0
) -> dict[str, Any]:
    """Return an answer as `/completion` tells it. `sampling` is what it was generated with, with no defaults
    left open; a `max_tokens` of 0 is a prompt that was read alone."""
    return {
        "index": index,
        "content": text,
        "tokens": [],
        "id_slot": -1,
        "stop": True,
        "model": model,
        "tokens_predicted": spent.generated_tokens,
        "tokens_evaluated": spent.prompt_tokens,
        "generation_settings": settings(sampling, model),
        "prompt": str(prompt) if isinstance(prompt, Tokens) else prompt,
        "has_new_line": "\n" in text,
        "truncated": spent.stop_reason == "context",
        "stop_type": stop_type(spent),
        "stopping_word": spent.stop_string,
        "tokens_cached": spent.prompt_tokens + spent.generated_tokens,
        "timings": timings([spent]),
    }


def stop_type(spent: Usage) -> str:
    """Return llama.cpp's word for why an answer ended."""
    if spent.stop_reason in ("length", "context"):
        return "limit"
    return "word" if spent.stop_string else "eos"


def settings(sampling: Sampling, model: str) -> dict[str, Any]:
    """Return what an answer was generated with; what is nobody's choice is off."""
    more = sampling.extras or {}
    return {
        "model": model,
        "n_predict": -1 if sampling.max_tokens is None else sampling.max_tokens,
        "max_tokens": -1 if sampling.max_tokens is None else sampling.max_tokens,
        "seed": 4294967295 if sampling.seed is None else sampling.seed,  # llama.cpp's for "any"
        "temperature": 1.0 if sampling.temperature is None else sampling.temperature,
        "top_k": sampling.top_k or 0,
        "top_p": 1.0 if sampling.top_p is None else sampling.top_p,
        "min_p": sampling.min_p or 0.0,
        "repeat_penalty": sampling.repetition_penalty or 1.0,
        "presence_penalty": sampling.presence_penalty or 0.0,
        "frequency_penalty": sampling.frequency_penalty or 0.0,
        "stop": list(sampling.stop),
        "n_probs": sampling.logprobs or 0,
        **extras.settings(more),
        "logit_bias": [
            {"token": token, "bias": None if value is False else value}
            for token, value in more.get("logit_bias") or ()
        ],
    }


def timings(spent: Sequence[Usage]) -> dict[str, float]:
    """Return the timings in the fields of llama.cpp's server."""
    if not spent:
        return {}
    return _timings(
        max(one.cached_tokens for one in spent),
        max(one.prompt_tokens - one.cached_tokens for one in spent),
        1e3 * max(one.prefill_seconds for one in spent),
        [one.generated_tokens for one in spent],
        1e3 * max(one.decode_seconds for one in spent),
    )


def timings_of(progress: Progress) -> dict[str, float]:
    """Return the timings of a request that is not done yet."""
    return _timings(
        progress.cached_tokens,
        progress.read_tokens - progress.cached_tokens,
        1e3 * progress.prefill_seconds,
        [progress.generated_tokens],
        1e3 * progress.decode_seconds,
    )


def _timings(
    cached: int, read: int, prefill: float, generated: Sequence[int], decode: float
) -> dict[str, float]:
    """Return the timings of a prompt of which `read` tokens were computed, and of answers of so many tokens.
    The rates are over steps: the first token of an answer comes with its prompt."""
    steps = sum(max(0, tokens - 1) for tokens in generated)
    return {
        "cache_n": cached,
        "prompt_n": read,
        "prompt_ms": prefill,
        "prompt_per_token_ms": prefill / max(1, read),
        "prompt_per_second": 1e3 * read / prefill if prefill else 0.0,
        "predicted_n": sum(generated),
        "predicted_ms": decode,
        "predicted_per_token_ms": decode / steps if steps else 0.0,
        "predicted_per_second": 1e3 * steps / decode if decode else 0.0,
    }


def forbidden_ends(engine: Engine) -> list[dict[str, Any]]:
    """Return the tokens that `ignore_eos` forbids, as llama.cpp tells them among the `logit_bias`."""
    if not engine.capabilities.tokens:
        return []
    found = [engine.tokenize(name) for name in _ENDS]
    return [{"token": ids[0][0], "bias": None} for ids in found if len(ids) == 1]


def probabilities(known: Sequence[TokenLogprob], *, after: bool) -> list[dict[str, Any]]:
    """Return how likely tokens were; `after` the sampling: as probabilities, of those that could be drawn."""
    others = "top_probs" if after else "top_logprobs"
    return [{**_likely(one, after), others: [_likely(other, after) for other in one.others]} for one in known]


def _likely(one: TokenLogprob, after: bool) -> dict[str, Any]:
    value = {"prob": min(1.0, math.exp(one.logprob))} if after else {"logprob": one.logprob}
    return {"id": one.id, "token": one.token, "bytes": list(one.bytes), **value}


def told(progress: Progress, more: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a chunk that comes with a `progress`, where the `more` settings of the request
    (`Sampling.extras`) ask for them: how far the prompt is read, and the timings so far."""
    fields: dict[str, Any] = {}
    if more.get("timings_per_token"):
        fields["timings"] = timings_of(progress)
    if more.get("return_progress") and not progress.generated_tokens:
        fields["prompt_progress"] = {
            "total": progress.prompt_tokens,
            "cache": progress.cached_tokens,
            "processed": progress.read_tokens,
            "time_ms": round(1e3 * progress.prefill_seconds),
        }
    return fields
