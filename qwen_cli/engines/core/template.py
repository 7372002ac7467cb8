"""Variables of a chat template: what a request says of thinking, and what else is passed through to it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

from qwen_cli.engines.core.base import Capabilities, Engine, budget_of, is_off
from qwen_cli.errors import UsageError

TemplateKwargs: TypeAlias = "Mapping[str, Any] | None"
"""Variables by name, as vLLM's `chat_template_kwargs` has them: `reasoning_effort`, `preserve_thinking`,
`add_vision_id`, or whatever the model's template knows. `enable_thinking` is the `thinking` of a request, and
holds where that says nothing."""


# Tokens of thinking for an effort, where the template has no word for it: the shares of a maximum that
# OpenRouter translates `reasoning_effort` to, of the 8,192 that Qwen3's thinking seldom exceeds on ordinary
# questions. From "high" on the model is left to itself.
BUDGETS: Mapping[str, bool | int] = {
    "none": False,
    "minimal": False,
    "low": 1_638,
    "medium": 4_096,
    "high": True,
    "xhigh": True,
    "max": True,
}

# What a request may not put in the place of: parameters of transformers' `apply_chat_template`, and what it
# and llama.cpp (common/chat.cpp) hand to a template themselves.
RESERVED = frozenset({
    "conversation", "messages", "tools", "documents",
    "chat_template", "add_generation_prompt", "continue_final_message", "tokenize",
    "padding", "truncation", "max_length", "return_tensors",
    "return_dict", "return_assistant_tokens_mask", "tokenizer_kwargs", "processor_kwargs",
    "bos_token", "eos_token", "unk_token", "pad_token",
    "raise_exception", "strftime_now",
    "sanitize_control_tokens",
})  # fmt: skip


# ChatML, which every generation of the family uses.
_SYSTEM = re.compile(r"<\|im_start\|>system\n(.*?)<\|im_end\|>", re.DOTALL)


def own_system(engine: Engine) -> str | None:
    """Return the system prompt that the template adds where none is given; `None` where it adds none, or the
    engine does not tell."""
    if not engine.capabilities.render:
        return None
    found = _SYSTEM.search(engine.render([{"role": "user", "content": "Hello"}]))
    return found[1].strip() or None if found else None


def effort_words(can: Capabilities) -> tuple[str, ...]:
    """Return the efforts that a model takes, the default first where its template has them. Of a server that
    does not tell, all are worth a try."""
    if can.efforts:
        return can.efforts
    return tuple(word for word, budget in BUDGETS.items() if budget or can.thinking != "always")


def check_effort(effort: str, can: Capabilities, model: str) -> None:
    """Raise `UsageError` for an effort that `model` does not take."""
    if not can.may_think:
        raise UsageError(f"{model} does not think", "choose a thinking model, such as qwen3:8b")
    words = effort_words(can)
    if effort not in words:
        raise UsageError(f"{model} takes no effort {effort!r}", f"choose one of {', '.join(words)}")


def by_effort(
    effort: str | None, thinking: bool | int | None, can: Capabilities
) -> tuple[bool | int | None, dict[str, Any]]:
    """Return (`thinking`, variables of the template) for an effort: the template's own word where it has
    such, and where that is not known, else a budget. A budget that is asked for holds."""
    if effort is None or is_off(thinking):
        return thinking, {}
    if can.efforts or can.thinking is None:
        return thinking, {"reasoning_effort": effort}
    budget = BUDGETS[effort]
    return (budget if budget_of(thinking) is None else thinking), {}


def nearest_effort(effort: str, can: Capabilities) -> str:
    """Return the word of the template that is nearest to one of OpenAI's, the stronger of two: clients send
    theirs to every model."""
    scale = list(BUDGETS)
    if effort in can.efforts or effort not in scale:
        return effort
    at = scale.index(effort)
    known = [word for word in can.efforts if word in scale]
    return min(known, key=lambda word: (abs(scale.index(word) - at), -scale.index(word)), default=effort)


def given(template_kwargs: TemplateKwargs) -> dict[str, Any]:
    """Return the arguments of an engine's method for these variables: none where there are none, for engines
    of other packages may not know of them."""
    return {"template_kwargs": template_kwargs} if template_kwargs else {}


def thinking_asked(
    thinking: bool | int | None, template_kwargs: TemplateKwargs, can: Capabilities
) -> bool | int | None:
    """Return whether a model that `can` do both is to think, or for how many tokens: where nothing is said as
    its template does by itself. `None` for the others, which have no say in it, but for a budget."""
    if thinking is None:
        said = (template_kwargs or {}).get("enable_thinking")
        thinking = said if isinstance(said, bool) else None
    if can.thinking is None:
        return None
    if can.thinking == "always":
        return None if thinking is False else thinking
    return can.thinks_by_default if thinking is None else thinking


def check(template_kwargs: TemplateKwargs) -> None:
    """Raise `UsageError` for what is no variable of a template but its material."""
    if taken := RESERVED & set(template_kwargs or {}):
        raise UsageError(f"{min(taken)!r} is no variable that a chat template may be given", "leave it out")


def variables(
    thinking: bool | int | None, template_kwargs: TemplateKwargs, can: Capabilities
) -> dict[str, Any]:
    """Return what the template of a model that `can` do so much is rendered with."""
    thinking = thinking_asked(thinking, template_kwargs, can)
    own = {name: value for name, value in (template_kwargs or {}).items() if name != "enable_thinking"}
    check(own)
    if can.thinking == "switch" and thinking is not None:
        own["enable_thinking"] = not is_off(thinking)
    return own
