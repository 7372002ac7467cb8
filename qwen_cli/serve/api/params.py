"""From fields of OpenAI's requests, and what local servers added to them, to what an engine is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from typing_extensions import TypedDict

from qwen_cli import settings
from qwen_cli.engines.core import template
from qwen_cli.engines.core.base import Capabilities, Sampling
from qwen_cli.engines.core.template import BUDGETS
from qwen_cli.errors import UsageError
from qwen_cli.serve.api.body import checked
from qwen_cli.serve.api.errors import Refused

MOST_CHOICES = 128
"""Of one request: OpenAI's own limit."""

# Stop strings of one request: each is looked for behind every token. OpenAI takes four.
_MOST_STOPS, _MOST_STOP_CHARACTERS = 256, 65_536
_MOST_LIKELY = 20  # tokens told of beside each: OpenAI's own limit

# Limits that no server takes 0 for; by the older names it asks for the prompt to be read and nothing else
# (vLLM, llama.cpp).
_AT_LEAST_ONE = ("max_completion_tokens",)


class Extensions(TypedDict, total=False):
    """What vLLM, SGLang and llama.cpp take beside OpenAI's fields."""

    top_k: int | None
    min_p: float | None
    repetition_penalty: float | None
    repeat_penalty: float | None
    chat_template_kwargs: dict[str, Any] | None
    thinking_token_budget: int | None
    thinking_budget_tokens: int | None
    continue_final_message: bool | None
    add_generation_prompt: bool | None
    verbose: bool | None


def sampling(sent: Mapping[str, Any], *, limit: int | None, logprobs: int | None = None) -> Sampling:
    """Return how tokens are sampled; `limit` is the longest answer. Raises `Refused` naming the field."""
    beside = checked(Extensions, sent)
    penalty = beside.get("repetition_penalty")
    given: dict[str, Any] = {
        "temperature": sent.get("temperature"),
        "top_p": sent.get("top_p"),
        "presence_penalty": sent.get("presence_penalty"),
        "frequency_penalty": sent.get("frequency_penalty"),
        "top_k": _all_of(beside.get("top_k")),
        "min_p": beside.get("min_p"),
        "repetition_penalty": penalty if penalty is not None else beside.get("repeat_penalty"),
        "max_tokens": limit,
    }
    for name, value in given.items():
        if (name, value) != ("max_tokens", 0):
            _check(name, value)
    seed = sent.get("seed")
    if seed is not None:
        seed %= 2**32 - 1  # OpenAI's have 64 bits and a sign, llama.cpp's 32
    return Sampling(**given, seed=seed, stop=stops(sent.get("stop")), logprobs=logprobs)


def stops(given: Any) -> tuple[str, ...]:
    """Stop strings. Raises `Refused` for an empty one, and for too many or too long ones."""
    strings = (given,) if isinstance(given, str) else tuple(given or ())
    if "" in strings or not all(isinstance(one, str) for one in strings):
        raise Refused(400, "a stop string is empty or no text", param="stop")
    if len(strings) > _MOST_STOPS:
        raise Refused(400, f"{len(strings):,} stop strings are more than {_MOST_STOPS}", param="stop")
    if (length := sum(map(len, strings))) > _MOST_STOP_CHARACTERS:
        raise Refused(
            400,
            f"stop strings of {length:,} characters are longer than {_MOST_STOP_CHARACTERS:,} together",
            param="stop",
        )
    return strings


def limit(sent: Mapping[str, Any], *names: str) -> int | None:
    """Return the longest answer in tokens, under the first of `names` that is given; -1 is no limit, 0 asks
    for the prompt to be read and nothing else (llama.vim's warm-up)."""
    for name in names:
        if (value := sent.get(name)) is not None:
            least = 1 if name in _AT_LEAST_ONE else 0
            if isinstance(value, bool) or not isinstance(value, int) or (value < least and value != -1):
                raise Refused(400, f"{name} must be at least {least}, got {value!r}", param=name)
            return None if value == -1 else value
    return None


def choices(sent: Mapping[str, Any], name: str = "n") -> int:
    """Return how many answers. Raises `Refused`."""
    n = sent.get(name)
    if n is None:
        return 1
    if not 1 <= n <= MOST_CHOICES:
        raise Refused(400, f"{name} must be from 1 to {MOST_CHOICES}, got {n}", param=name)
    return int(n)


def alternatives(most: int | None, can: Capabilities, name: str, limit: int = _MOST_LIKELY) -> int | None:
    """Return how many likely tokens are reported beside each. Raises `Refused` for more than `limit`, and
    where the engine knows none."""
    if most is None:
        return None
    if not can.logprobs:
        raise Refused(400, "this model's engine reports no log probabilities", param=name)
    if not 0 <= most <= limit:
        raise Refused(400, f"{name} must be from 0 to {limit:,}, got {most}", param=name)
    return most


def thinking(sent: Mapping[str, Any], can: Capabilities) -> bool | int | None:
    """Return whether to think before the answer, or for how many tokens; `None` leaves it to the model.

    Raises `Refused` for what the model cannot: clients send `reasoning_effort` to every model, so that one is
    heeded where it can be.
    """
    beside = checked(Extensions, sent)
    switch = (beside.get("chat_template_kwargs") or {}).get("enable_thinking")
    if switch is not None and not isinstance(switch, bool):
        raise Refused(400, "enable_thinking must be true or false", param="chat_template_kwargs")
    if switch is False and can.thinking == "always":
        raise Refused(400, "this model always thinks", param="chat_template_kwargs")
    budget = beside.get("thinking_token_budget")
    budget = budget if budget is not None else beside.get("thinking_budget_tokens")
    if can.thinking is None:
        return None
    if switch is False:
        return False
    if budget is not None and budget >= 0:
        return budget
    if switch is not None:
        return switch
    effort = BUDGETS.get(str(sent.get("reasoning_effort")))
    if effort is not False and can.efforts:
        return None if effort is None else True
    return None if effort is False and can.thinking == "always" else effort


def template_kwargs(sent: Mapping[str, Any], can: Capabilities) -> dict[str, Any]:
    """Return the variables of the chat template, but for the switch of thinking. `reasoning_effort` is one of
    them where the template has it, in the nearest of its words. Raises `Refused`."""
    variables = dict(checked(Extensions, sent).get("chat_template_kwargs") or {})
    variables.pop("enable_thinking", None)
    try:
        template.check(variables)
    except UsageError as fault:
        raise Refused(400, fault.message, param="chat_template_kwargs") from None
    effort = sent.get("reasoning_effort")
    if can.efforts and effort is not None and BUDGETS.get(str(effort)) is not False:
        variables["reasoning_effort"] = template.nearest_effort(str(effort), can)
    return variables


def refuse(sent: Mapping[str, Any], reasons: Mapping[str, str]) -> None:
    """Raise `Refused` for the first field that is given and would be ignored."""
    for name, why in reasons.items():
        if sent.get(name):
            raise Refused(400, f"{name} {why}", param=name)


def _all_of(top_k: int | None) -> int | None:
    return 0 if top_k == -1 else top_k  # vLLM's way to say it


def _check(name: str, value: Any) -> None:
    if value is None:
        return
    try:
        settings.check(name, value)
    except UsageError as fault:
        raise Refused(400, fault.message, param=name) from None
