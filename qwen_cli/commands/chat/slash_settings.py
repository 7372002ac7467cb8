"""Slash commands about the model and how it answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from qwen_cli import settings
from qwen_cli.commands.chat.state import effort_costs
from qwen_cli.commands.shared.output import say
from qwen_cli.engines.core import base, template
from qwen_cli.engines.core.base import Sampling
from qwen_cli.errors import UsageError
from qwen_cli.sanitize import one_line
from qwen_cli.tasks.tools.toolbox import refuse

if TYPE_CHECKING:
    from qwen_cli.commands.chat.state import ReplState

# `start` belongs to raw completions, not to answers, and `extras` to requests; what `logprobs` tells is shown
# nowhere here.
_NOT_HERE = ("start", "logprobs", "extras")
PARAMETERS = tuple(field.name for field in fields(Sampling) if field.name not in _NOT_HERE)
THINK_WORDS = ("on", "off", "show", "hide", "keep", "drop")
_REASONS = {
    "stop": "the model ended it",
    "length": "it reached max_tokens",
    "context": "the context was full",
    "tool_calls": "it called tools",
    "cancelled": "it was stopped",
}


def system(state: ReplState, argument: str) -> None:
    """Show or set the system prompt; - removes it."""
    if argument:
        state.conversation.system = None if argument == "-" else argument
        state.save()
    conversation = state.conversation
    if conversation.system is None and (own := template.own_system(conversation.engine)):
        say(f"system prompt: none of yours; the template of {conversation.engine.model} adds: {own}")
    else:
        say(f"system prompt: {conversation.system or 'none'}")


def tools(state: ReplState, argument: str) -> None:
    """List the tools that the model may call, and where each is from."""
    toolbox = state.conversation.toolbox
    if toolbox is None or not toolbox.names:
        say("no tools are connected: start with --tools builtin, --tools FILE.py or --mcp FILE")
        return
    for name, tool in toolbox.tools.items():
        about = one_line(tool.description.strip().partition("\n")[0])
        allowed = name in state.approval.allowed if state.approval else toolbox.approve is not refuse
        free = ", runs without asking" if allowed else ""
        say(f"{name} (from {tool.source}{free})" + (f": {about}" if about else ""), indent=2)


def model(state: ReplState, argument: str) -> None:
    """Show the model, or go on with another one."""
    conversation = state.conversation
    if argument:
        state.interrupts.pressed = False
        try:
            # The old one stays until the new one is there, so that a wrong name costs nothing.
            with state.interrupts.stoppable():
                loaded = state.load_engine(argument)
        except KeyboardInterrupt:
            say(f"stopped; {conversation.engine.model} stays")
            return
        conversation.engine.close()
        conversation.engine, conversation.usage = loaded, None
        can = loaded.capabilities
        if not can.may_think:
            conversation.thinking = None
        if conversation.effort is not None and conversation.effort not in template.effort_words(can):
            conversation.effort = None
    engine = conversation.engine
    size = engine.capabilities.context
    say(f"{engine.model} on {engine.name}" + (f", {size:,} tokens of context" if size else ""))


def model_names(typed: str) -> Iterator[str]:
    """Yield what /model may be given: the models on this machine, then those of the catalog."""
    from qwen_cli.models.catalog import lookup
    from qwen_cli.models.hub import resolve

    known = [weights.label for weights in resolve.local()] + [m.name for m in lookup.MODELS]
    return (name for name in dict.fromkeys(known) if name.startswith(typed.lower()))


def set_(state: ReplState, argument: str) -> None:
    """Show or set a sampling parameter."""
    name, _, value = argument.partition(" ")
    value = value.strip()
    sampling = state.conversation.sampling
    if name and name not in PARAMETERS:
        raise UsageError(f"no parameter is called {name!r}", f"they are {', '.join(PARAMETERS)}")
    if value:
        state.conversation.sampling = sampling = replace(sampling, **{name: _parameter(name, value)})
    for parameter in [name] if name else PARAMETERS:
        own, usual = getattr(sampling, parameter), getattr(state.defaults, parameter)
        if own not in (None, ()):
            say(f"{parameter} {_text(own)}")
        elif usual not in (None, ()):
            by_model = usual == getattr(
                base.usual(state.conversation.engine, state.conversation.thinking), parameter
            )
            whose = "the model's default" if by_model else f"the default of `qwen {state.name}`"
            say(f"{parameter} {_text(usual)} ({whose})")
        else:
            say(f"{parameter} not set")


def parameter_names(typed: str) -> list[str]:
    """Return what /set may be given first."""
    return [name for name in PARAMETERS if name.startswith(typed)]


def think(state: ReplState, argument: str) -> None:
    """Think before answering: on, off, at most N tokens; show thoughts or fold them; keep those of past turns
    in the context or drop them."""
    conversation = state.conversation
    can = conversation.engine.capabilities.thinking
    if argument in ("show", "hide"):
        state.fold = argument == "hide"
    elif argument in ("keep", "drop"):
        if conversation.engine.capabilities.preserve_thinking is None:
            raise UsageError(
                f"the template of {conversation.engine.model} leaves no choice about past thinking",
                "load a model from Qwen3.6 on",
            )
        conversation.preserve_thinking = argument == "keep"
    elif argument:
        wanted: bool | int
        named = {"on": True, "off": False}
        wanted = named[argument] if argument in named else settings.parse("thinking_budget", argument)
        if wanted is not False and not conversation.engine.capabilities.may_think:
            raise UsageError(
                f"{conversation.engine.model} does not think", "load a thinking model with /model"
            )
        if can == "always" and wanted is False:
            raise UsageError(f"{conversation.engine.model} always thinks", "load its instruct sibling")
        conversation.thinking = wanted
    says = {None: "as the model does by itself", True: "on", False: "off"}
    now = conversation.thinking
    # bool is an int: a budget of 1 must not read as "on"
    text = says[now] if now is None or isinstance(now, bool) else f"at most {now:,} tokens"
    kept = ", those of past turns stay in the context" if conversation.keeps_thinking else ""
    say(f"thinking: {text}; thoughts are {'folded' if state.fold else 'shown'}{kept}")


def effort(state: ReplState, argument: str) -> None:
    """Show or set how long the model thinks; - leaves it to the model."""
    conversation = state.conversation
    can, name = conversation.engine.capabilities, conversation.engine.model
    if argument:
        wanted = None if argument == "-" else argument
        if wanted is not None:
            template.check_effort(wanted, can, name)
        if cost := effort_costs(conversation, wanted):
            say(cost)
        conversation.effort = wanted
        if wanted is not None and conversation.thinking is not True:
            conversation.thinking = None
        state.save()
    elif not can.may_think:
        raise UsageError(f"{name} does not think", "load a thinking model with /model")
    now = conversation.effort or (f"{can.efforts[0]}, the model's default" if can.efforts else "not set")
    say(f"effort: {now}; {name} takes {', '.join(template.effort_words(can))}")


def efforts(state: ReplState) -> bool:
    """Return whether /effort is of use here."""
    return state.conversation.engine.capabilities.may_think


def tokens(state: ReplState, argument: str) -> None:
    """Show how much of the context is used."""
    conversation = state.conversation
    used, total = conversation.tokens()
    turns = sum(m["role"] == "user" for m in conversation.messages)
    gone = sum(m["role"] == "user" for m in conversation.messages[: conversation.first_sent])
    room = f" of {total:,} ({used / total:.0%})" if total else ""
    left = f", the {gone} oldest are no longer in the context" if gone else ""
    say(f"{used:,}{room} tokens in {turns} turn{'' if turns == 1 else 's'}{left}")


def stats(state: ReplState, argument: str) -> None:
    """Show what the last answer cost."""
    usage = state.conversation.usage
    if usage is None:
        raise UsageError("nothing has been answered yet", "ask something first")
    say(
        f"prompt: {usage.prompt_tokens:,} tokens, {usage.cached_tokens:,} of them from the cache, "
        f"{usage.prefill_seconds:.2f} s to the first token"
    )
    say(
        f"answer: {usage.generated_tokens:,} tokens in {usage.decode_seconds:.2f} s, "
        f"{usage.tokens_per_second:.1f} tokens/s; {_REASONS[usage.stop_reason]}"
    )
    if usage.drafted_tokens:
        share = usage.accepted_tokens / usage.drafted_tokens
        say(f"drafted: {usage.drafted_tokens:,} tokens ahead, {share:.0%} of them accepted")


def _parameter(name: str, value: str) -> Any:
    """Return `value` as the sampling parameter `name`, checked. Raises `UsageError`."""
    if value == "default":
        return () if name == "stop" else None
    if name == "stop":
        return (value.replace("\\n", "\n"),)
    return settings.parse(name, value)


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(map(repr, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
