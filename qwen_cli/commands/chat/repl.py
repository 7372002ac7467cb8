"""`qwen chat` without a question: a conversation, kept as a session after every turn."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from qwen_cli import paths
from qwen_cli.commands.chat import slash_table
from qwen_cli.commands.chat.state import ReplState, recap
from qwen_cli.commands.chat.turn import Approval, Interrupts, run_turn
from qwen_cli.commands.shared.approval import ask
from qwen_cli.commands.shared.output import StreamView, say
from qwen_cli.errors import QwenError
from qwen_cli.tasks.chat import sessions
from qwen_cli.tasks.chat.conversation import Conversation, Events
from qwen_cli.tasks.chat.sessions import Session
from qwen_cli.tasks.tools.toolbox import refuse
from qwen_cli.ui.line_editor import LineEditor, unquoted

if TYPE_CHECKING:
    from qwen_cli.engines.core.base import Engine


def run(
    conversation: Conversation,
    *,
    session: Session | None,
    load_engine: Callable[[str], Engine],
    raw: bool,
    allow_local_urls: bool = False,
) -> None:
    """Talk until the person leaves. `raw`: answers are not rendered. `allow_local_urls`: pictures may be
    fetched from private addresses.

    `session` is the one to go on with; `None` starts one with the first message. `load_engine` is for /model;
    engines from there are closed here.
    """
    first_engine = conversation.engine
    with Interrupts() as interrupts:
        talk: ReplState
        editor = LineEditor(
            history=paths.history_file("chat"),
            words=lambda: slash_table.words(talk),
            status=lambda: bar,
        )
        shown_raw = raw or not sys.stdout.isatty()
        talk = ReplState(
            conversation,
            session,
            load_engine,
            shown_raw,
            editor,
            interrupts,
            named=session is not None,
            allow_local_urls=allow_local_urls,
        )
        approval = _ask_here(talk)
        _greet(talk)
        while not talk.leaving:
            bar = _bar(talk.conversation)
            try:
                line = editor.read()
            except EOFError:
                break
            if line.strip():
                _respond(talk, line, approval)
        _leave(talk)
        if talk.conversation.engine is not first_engine:
            talk.conversation.engine.close()


def _respond(talk: ReplState, line: str, approval: Approval | None) -> None:
    """Do what `line` asks: a slash command, or a message for the model."""
    try:
        if slash_table.is_command(line):
            events = slash_table.run(talk, line)
        else:
            events = talk.conversation.send(talk.compose(unquoted(line)))
    except QwenError as fault:
        say(str(fault))
        return
    if events is not None:
        _answer(talk, events, approval)


def _answer(talk: ReplState, events: Events, approval: Approval | None) -> None:
    answer = StreamView(raw=talk.raw, fold=talk.fold)
    if approval is not None:
        approval.answer = answer
    answer.wait("…")
    # After the first token too, so that a kill in the middle of the answer does not lose the question.
    run_turn(events, answer, talk.interrupts, begun=talk.save)
    talk.save()


def _ask_here(talk: ReplState) -> Approval | None:
    """Let tools ask at this prompt, unless the person has allowed all of them."""
    toolbox = talk.conversation.toolbox
    if toolbox is None or toolbox.approve not in (ask, refuse):
        return None
    approval = Approval(talk.editor)
    toolbox.approve = approval
    return approval


def _greet(talk: ReplState) -> None:
    engine = talk.conversation.engine
    size = engine.capabilities.context
    context = f", {size:,} tokens of context" if size else ""
    say(f"{engine.model} on {engine.name}{context}. /help lists commands, Ctrl-D leaves")
    if talk.session and talk.conversation.messages:
        say(recap(talk.session.name, talk.conversation))


def _bar(conversation: Conversation) -> str:
    """Model, engine, context and speed: the line at the bottom."""
    engine, usage = conversation.engine, conversation.usage
    parts = [engine.model, engine.name]
    with suppress(QwenError):  # a count is not worth an error line at every prompt
        used, total = conversation.tokens()
        parts.append(f"{used:,}/{total:,} tokens" if total else f"{used:,} tokens")
    if usage is not None and usage.tokens_per_second:
        parts.append(f"{usage.tokens_per_second:.1f} tokens/s")
    return " · ".join(parts)


def _leave(talk: ReplState) -> None:
    """Keep everything, with the KV cache where the engine can, so that going on costs nothing."""
    if not talk.conversation.messages:
        return
    talk.save()
    engine = talk.conversation.engine
    if talk.session is None:
        return
    if remark := sessions.keep_state(engine, talk.session.name):
        say(remark)
    say(f"saved as {talk.session.name}; go on with `qwen chat --continue`")
