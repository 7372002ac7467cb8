"""Slash commands about saved conversations."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from qwen_cli.commands.chat.state import recap
from qwen_cli.commands.shared.output import say
from qwen_cli.errors import SessionError, UsageError
from qwen_cli.tasks.chat import sessions
from qwen_cli.tasks.chat.sessions import Session
from qwen_cli.ui.line_editor import complete_path

if TYPE_CHECKING:
    from qwen_cli.commands.chat.state import ReplState

_LISTED = 20


def can_be_kept(state: ReplState) -> bool:
    """Return whether /save is of use here."""
    return state.why_not_kept is None


def save(state: ReplState, argument: str) -> None:
    """Save the session under a name of your own."""
    if state.why_not_kept is not None:
        raise UsageError(state.why_not_kept, "/export md writes what was said")
    if not argument:
        raise UsageError("/save needs a name", "write /save NAME")
    state.conversation.begun = None  # as it is now, with what this run alone was given
    if state.session is not None and state.session.name == argument:
        state.save()
    else:
        fresh = sessions.new(name=argument)
        before, was_named = state.session, state.named
        fresh.created = before.created if before else fresh.created
        state.session, state.named = fresh, True
        state.save()
        if before is not None and not was_named and sessions.path(before.name).exists():
            sessions.delete(before.name)  # it had this conversation under a name nobody chose
    say(f"saved as {state.session.name}; every turn from here on is kept there")


def load(state: ReplState, argument: str) -> None:
    """Resume a saved session."""
    if not argument:
        raise UsageError("/load needs a name", "write /load NAME, /sessions lists them")
    state.save()  # first: the session to load may be this one
    loaded = sessions.load(argument)
    engine, toolbox = state.conversation.engine, state.conversation.toolbox
    state.conversation = loaded.resume(engine)
    state.conversation.toolbox = toolbox
    state.session, state.named = loaded, True
    kv_file = sessions.kv_path(loaded.name)
    if engine.capabilities.state and kv_file.exists():
        engine.load_state(kv_file)
    say(recap(loaded.name, state.conversation))
    state.tell_unfinished()
    if loaded.model and loaded.model != engine.model:
        say(f"it was started with {loaded.model}; /model {loaded.model} continues with it")


def names(typed: str) -> Iterator[str]:
    """Yield what /load may be given."""
    return (name for name in sessions.names() if name.startswith(typed))


def list_(state: ReplState, argument: str) -> None:
    """List the saved sessions, the latest first."""
    saved = sessions.names()
    if not saved:
        say("no session is saved yet")
    for name in saved[:_LISTED]:
        here = "  (this one)" if state.session and state.session.name == name else ""
        say(f"{sessions.changed(name):%Y-%m-%d %H:%M}  {name}{here}")
    if len(saved) > _LISTED:
        say(f"and {len(saved) - _LISTED} more in {sessions.folder()}")


def export(state: ReplState, argument: str) -> None:
    """Write the conversation to a file, as Markdown or JSON."""
    from qwen_cli.tasks.chat import export as session_export

    form, _, name = argument.partition(" ")
    forms = {"md": session_export.to_markdown, "json": session_export.to_json}
    if form not in forms:
        raise UsageError(f"/export writes md or json, got {form!r}", "write /export md [FILE]")
    if not state.conversation.messages:
        raise UsageError("there is nothing to export", "say something first")
    if form == "json":
        state.portable()
    state.save()
    session = state.session or Session("conversation")
    session.record(state.conversation)
    target = Path(name.strip() or f"{session.name}.{form}").expanduser()
    try:
        with target.open("x", encoding="utf-8", errors="replace") as out:
            out.write(forms[form](session))
    except FileExistsError:
        raise UsageError(f"{str(target)!r} exists", "give another name") from None
    except OSError as fault:
        raise SessionError(
            f"{str(target)!r} cannot be written: {fault.strerror}", "give another name"
        ) from None
    say(f"written to {target}")


def export_values(typed: str) -> Iterator[str]:
    """Yield what /export may be given."""
    form, space, name = typed.partition(" ")
    if space:
        return (f"{form} {path}" for path in complete_path(name))
    return (word for word in ("md", "json") if word.startswith(typed))
