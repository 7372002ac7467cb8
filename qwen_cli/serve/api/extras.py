"""Settings of llama.cpp's own samplers, by its names, and `logit_bias`: heeded where the engine can."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from annotated_types import Ge, Le
from typing_extensions import TypedDict

from qwen_cli.engines.core.base import Capabilities
from qwen_cli.serve.api.body import checked
from qwen_cli.serve.api.errors import Refused
from qwen_cli.serve.api.forms import AS_IT_COMES, Form


class _Extras(TypedDict, total=False):
    """What llama.cpp's server takes for its own samplers (tools/server/README.md)."""

    ignore_eos: bool
    samplers: list[str] | str
    min_keep: Annotated[int, Ge(0)]
    typical_p: Annotated[float, Ge(0)]
    top_n_sigma: float
    dynatemp_range: float
    dynatemp_exponent: float
    adaptive_target: float
    adaptive_decay: float
    mirostat: Annotated[int, Ge(0), Le(2)]
    mirostat_tau: float
    mirostat_eta: float
    xtc_probability: float
    xtc_threshold: float
    dry_multiplier: float
    dry_base: float
    dry_allowed_length: int
    dry_penalty_last_n: int
    dry_sequence_breakers: list[str]
    repeat_last_n: int
    n_indent: Annotated[int, Ge(0)]
    t_max_predict_ms: int
    return_tokens: bool
    return_progress: bool
    timings_per_token: bool
    post_sampling_probs: bool
    cache_prompt: bool


# Values that change nothing: clients send all of their settings to every model.
_IDLE: Mapping[str, Any] = {
    "ignore_eos": False,
    "min_keep": 0,
    "typical_p": 1.0,
    "top_n_sigma": -1.0,
    "dynatemp_range": 0.0,
    "adaptive_target": -1.0,
    "mirostat": 0,
    "xtc_probability": 0.0,
    "dry_multiplier": 0.0,
    "n_indent": 0,
    "t_max_predict_ms": 0,
    "return_tokens": False,
    "return_progress": False,
    "timings_per_token": False,
    "post_sampling_probs": False,
    "cache_prompt": True,
}
# What only tells more of an answer as it comes: engines that know of nothing to tell leave it out, and so
# does an answer that comes at once.
_REPORTS = ("return_progress", "timings_per_token")
# What changes how long an answer takes and not what it says: passed over where an engine has no such choice.
_HINTS = ("cache_prompt", *_REPORTS)
# What matters only beside one of those.
_FINER = {
    "dynatemp_exponent": "dynatemp_range",
    "adaptive_decay": "adaptive_target",
    "mirostat_tau": "mirostat",
    "mirostat_eta": "mirostat",
    "xtc_threshold": "xtc_probability",
    "dry_base": "dry_multiplier",
    "dry_allowed_length": "dry_multiplier",
    "dry_penalty_last_n": "dry_multiplier",
    "dry_sequence_breakers": "dry_multiplier",
}


# What other servers take and none here heeds, with the value that changes nothing.
_NOT_HERE: Mapping[str, Any] = {
    "min_tokens": 0,
    "stop_token_ids": [],
    "bad_words": [],
    "use_beam_search": False,
    "length_penalty": 1.0,
    "include_stop_str_in_output": False,
    "skip_special_tokens": True,
    "prompt_logprobs": None,
    "truncate_prompt_tokens": None,
    "lora": [],
}


def read(sent: Mapping[str, Any], can: Capabilities, form: Form = AS_IT_COMES) -> dict[str, Any] | None:
    """Return the settings of llama.cpp's own samplers, `logit_bias`, and the `form` of an answer. Raises
    `Refused` for one that the engine would ignore."""
    for name, idle in _NOT_HERE.items():
        if sent.get(name) not in (None, idle):
            raise Refused(400, f"{name} is not supported", param=name)
    given = checked(_Extras, {name: value for name, value in sent.items() if value is not None})
    given = {name: value for name, value in given.items() if value != _IDLE.get(name)}
    given = {name: value for name, value in given.items() if name not in _FINER or _FINER[name] in given}
    for name in _HINTS:
        if name not in can.extras or (name in _REPORTS and not sent.get("stream")):
            given.pop(name, None)
    if given.get("t_max_predict_ms", 0) < 0:
        given.pop("t_max_predict_ms")
    if biased := _bias(sent.get("logit_bias")):
        given["logit_bias"] = biased
    if form.grammar:
        given["grammar"] = form.grammar
    if form.schema is not None:
        given["json_schema"] = form.schema
    for name in given:
        if name not in can.extras:
            asked = form.field if name in ("grammar", "json_schema") else name
            raise Refused(400, f"{asked} is not supported by this model's engine", param=asked)
    return given or None


def settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return llama.cpp's settings with what is `given`, the others as they change nothing."""
    hidden = ("return_tokens", "return_progress", "json_schema", "cache_prompt")
    idle = {name: value for name, value in _IDLE.items() if name not in hidden}
    finer = {"adaptive_decay": 0.9, "dynatemp_exponent": 1.0, "mirostat_tau": 5.0, "mirostat_eta": 0.1}
    own = {name: value for name, value in given.items() if name not in hidden}
    return {**idle, **finer, "grammar": "", **own}


def _bias(given: Any) -> list[list[Any]]:
    """Return a `logit_bias` as pairs of a token, or of a text, and what is added to its score; false in its
    place forbids it (llama.cpp). Raises `Refused`."""
    pairs = given.items() if isinstance(given, Mapping) else given or ()
    made: list[list[Any]] = []
    try:
        for token, value in pairs:
            number = int(token) if not isinstance(token, str) or token.strip("-").isdecimal() else token
            if isinstance(token, bool) or value is True or not isinstance(value, (int, float)):
                raise TypeError
            made.append([number, value if value is False else min(100.0, max(-100.0, float(value)))])
    except (TypeError, ValueError):
        raise Refused(400, "logit_bias must be an object of tokens and numbers", param="logit_bias") from None
    return made
