"""Slash commands about messages: what was said, and what the next message carries."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from qwen_cli.commands.chat import attaching
from qwen_cli.commands.shared import editor
from qwen_cli.commands.shared.output import say
from qwen_cli.errors import UsageError
from qwen_cli.sanitize import clean_name
from qwen_cli.tasks.chat import gathering
from qwen_cli.tasks.chat.conversation import Events
from qwen_cli.tasks.chat.messages import Content, text_of
from qwen_cli.ui import clipboard

if TYPE_CHECKING:
    from qwen_cli.commands.chat.state import ReplState


def retry(state: ReplState, argument: str) -> Events:
    """Answer the last message again."""
    return state.again()


def continue_(state: ReplState, argument: str) -> Events:
    """Go on with the last answer where it was cut, or answer a question that has none."""
    return state.conversation.go_on()


def edit(state: ReplState, argument: str) -> Events | None:
    """Change the last message, in $EDITOR or here, and have it answered."""
    last = next((m for m in reversed(state.conversation.messages) if m["role"] == "user"), None)
    if last is None:
        raise UsageError("nothing to edit", "say something first")
    content: Content = last["content"]
    before = text_of(content)
    program = editor.chosen()
    after = editor.changed(program, before, "message.md") if program else state.editor.change(before)
    if after is None or not after.strip() or after == before:
        say("the message stays as it was")
        return None
    if isinstance(content, str):
        state.conversation.replace_last_user(after)
    else:
        images = [part for part in content if part.get("type") != "text"]
        state.conversation.replace_last_user([*images, {"type": "text", "text": after}])
    return state.again()


def undo(state: ReplState, argument: str) -> None:
    """Take back the last message and its answer."""
    if not state.conversation.undo():
        raise UsageError("nothing to undo", "say something first")
    state.save()
    say("removed the last message and its answer")


def clear(state: ReplState, argument: str) -> None:
    """Start afresh; the session so far stays saved."""
    if state.session is not None and state.conversation.messages:
        state.save()
        say(f"a new conversation; the one before is saved as {state.session.name}")
    elif state.conversation.messages:
        say("a new conversation; the one before is not kept")
    state.conversation.clear()
    state.session, state.named = None, False


def file(state: ReplState, argument: str) -> None:
    """Attach files, folders or patterns (src/*.py) to the next message; - detaches them."""
    if argument in ("", "-"):
        if argument:
            state.attached, state.images = [], []
        names = [clean_name(name) for name, _ in state.attached]
        cost = attaching.size(state.conversation.engine, state.attached)
        say(f"attached: {gathering.some_of(names)}, {cost}" if names else "no files are attached")
        return
    attaching.attach(state, _words(argument))


def paste(state: ReplState, argument: str) -> None:
    """Attach the picture on the clipboard to the next message."""
    if argument:
        raise UsageError(f"/paste takes nothing, got {argument!r}", "copy a picture, then write /paste")
    if not sees_images(state):
        raise UsageError(
            f"{state.conversation.engine.model} sees no pictures",
            "load a model that does: /model qwen3.5:4b",
        )
    from qwen_cli.media import images, inputs

    name = "the clipboard's picture"
    attaching.show(state, [inputs.Picture(name, images.decode(clipboard.picture(), name))])


def sees_images(state: ReplState) -> bool:
    """Return whether /image is of use here."""
    return state.conversation.engine.capabilities.vision


def image(state: ReplState, argument: str) -> None:
    """Attach pictures to the next message: files, pages of a PDF, addresses."""
    if not sees_images(state):
        raise UsageError(
            f"{state.conversation.engine.model} sees no images", "load a vision model with /model"
        )
    if not argument:
        raise UsageError("/image needs a file", "write /image PATH")
    from qwen_cli.media import inputs

    words = [argument] if inputs.is_input(argument) else _words(argument)
    attaching.show(state, inputs.gather_pictures(words, allow_local_urls=state.allow_local_urls))


def copy(state: ReplState, argument: str) -> None:
    """Copy the last answer, or its last code block, to the clipboard."""
    if argument not in ("", "code"):
        raise UsageError(f"/copy takes nothing or `code`, got {argument!r}")
    text = state.last_answer()
    if not text:
        raise UsageError("there is no answer to copy", "ask something first")
    if argument == "code":
        text = state.last_code()
    if text is None:
        raise UsageError("the last answer has no code block", "/copy takes all of it")
    say(f"copied {len(text):,} characters to {clipboard.copy(text)}")


def _words(argument: str) -> list[str]:
    """Return one path that may hold spaces, or several as a shell splits them."""
    whole = argument.removeprefix("@")
    if gathering.names_something(whole) or ("\\" in argument and os.name == "nt"):
        return [whole]
    try:
        words = [word.removeprefix("@") for word in shlex.split(argument)]
    except ValueError:  # a lone quote
        return [argument]
    return words
