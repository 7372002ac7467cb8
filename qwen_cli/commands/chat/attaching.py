"""What goes with the next message: gathered, held against the context, and told in one remark."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from qwen_cli.commands.shared.output import relay, say
from qwen_cli.errors import QwenError, UsageError
from qwen_cli.sanitize import clean_name
from qwen_cli.tasks.chat import attachments, gathering, mentions
from qwen_cli.tasks.chat.gathering import Gathered

if TYPE_CHECKING:
    from qwen_cli.engines.core.base import Engine
    from qwen_cli.media.inputs import Picture
    from qwen_cli.tasks.chat.conversation import Conversation
    from qwen_cli.ui.line_editor import LineEditor

Texts = Sequence[tuple[str, str]]


class Attachable(Protocol):
    """A prompt whose next message files (name, text) and images (parts of its content) go with."""

    conversation: Conversation
    editor: LineEditor
    attached: list[tuple[str, str]]
    images: list[dict[str, Any]]


def attach(state: Attachable, words: Sequence[str]) -> bool:
    """Attach what `words` name to the next message. False where the person holds back what may be secret.
    Raises `UsageError` for what cannot be sent; nothing is attached then."""
    found = gathering.gather(words, allow=lambda label: _allowed(state, label))
    if not found.texts and not found.pictures:
        say(f"not attached: {gathering.some_of(found.left_out)}")
        return False
    parts = shown(state.conversation.engine, found)
    texts = [*state.attached, *(one for one in found.texts if one not in state.attached)]
    check_room(state.conversation.engine, texts)
    state.attached = texts
    state.images += parts
    say(remark(state.conversation.engine, found))
    return True


def taken_from(state: Attachable, text: str) -> str | None:
    """Attach what `text` names, and return it without the marks; `None` where it was files and nothing else,
    which wait for the next message. Raises `UsageError`."""
    words, rest = mentions.dropped(text)
    if words:
        if attach(state, words):
            text = rest
        if not rest:
            return None
    pasted = state.editor.pasted
    named = mentions.find(text, verbatim=pasted)
    for line in mentions.misspelt(text, verbatim=pasted):
        say(line)
    if named:
        attach(state, [mention.word for mention in named])
    return mentions.plain(text, named)


def show(state: Attachable, pictures: Sequence[Picture]) -> None:
    """Attach pictures to the next message. Raises `UsageError` where they do not fit the context."""
    from qwen_cli.tasks.vision import prepare

    for look in prepare.prepare_all(pictures, state.conversation.engine, notice=relay):
        state.images += prepare.session_parts(look)
        say(f"attached: {look.words}")


def shown(engine: Engine, found: Gathered) -> list[dict[str, Any]]:
    """Return the pictures as parts of a message. Raises `UsageError` where the model sees none."""
    if not found.pictures:
        return []
    if not engine.capabilities.vision:
        raise unseen(found.pictures, engine.model)
    from qwen_cli.media import inputs
    from qwen_cli.tasks.vision import prepare

    looks = prepare.prepare_all(inputs.gather_pictures(found.pictures), engine, notice=relay)
    return [part for look in looks for part in prepare.session_parts(look)]


def unseen(names: Sequence[str], model: str) -> UsageError:
    """Return the error for pictures, and PDFs without text, that `model` cannot see."""
    first = clean_name(names[0])
    word = f'"{first}"' if re.search(r"\s", first) else first
    scan = re.search(r"\.pdf(#|$)", first, re.IGNORECASE)
    what = "has no text, only pictures of its pages" if scan else "is a picture"
    return UsageError(
        f"{first} {what}, and {model} sees none",
        f"`qwen vision {word}` looks at it, and so does a model that sees: `model=qwen3.5:4b`",
    )


def refuse(label: str) -> bool:
    """Send no secrets where nobody can be asked. Raises `UsageError`."""
    raise UsageError(f"{label} may hold secrets and is not sent", "`-f - < FILE` sends it all the same")


def check_room(engine: Engine, texts: Texts) -> None:
    """Raise `UsageError` where `texts` alone are more than the context holds."""
    tokens, limit = _tokens(engine, texts), engine.capabilities.context
    if tokens is not None and limit is not None and tokens >= limit:
        what = gathering.some_of([name for name, _ in texts])
        raise UsageError(
            f"{what}: {tokens:,} tokens, and the context holds {limit:,}", "name less, or raise `context`"
        )


def remark(engine: Engine, found: Gathered) -> str:
    """Return the line about what goes with a message: what, its tokens, and what of it does not."""
    cost = f", {size(engine, found.texts)}" if found.texts else ""
    left = f"; left out: {gathering.some_of(found.left_out)}" if found.left_out else ""
    return f"attached: {gathering.some_of(found.labels)}{cost}{left}"


def size(engine: Engine, texts: Texts) -> str:
    """Return how much `texts` are: in tokens, or in characters where the engine does not count."""
    tokens = _tokens(engine, texts)
    if tokens is not None:
        return f"{tokens:,} token{'' if tokens == 1 else 's'}"
    return f"{sum(len(text) for _, text in texts):,} characters"


def _tokens(engine: Engine, texts: Texts) -> int | None:
    if not texts:
        return 0
    with suppress(QwenError):
        return engine.count_tokens(attachments.as_prompt(texts, ""))
    return None


def _allowed(state: Attachable, label: str) -> bool:
    """Ask before what may be secret is sent. Raises `UsageError` where nobody can be asked."""
    ask: Callable[[str], str] | None = state.editor.ask if state.editor.asks else None
    if ask is None:
        return refuse(label)
    with suppress(EOFError, KeyboardInterrupt):
        return ask(f"{label} may hold secrets. Send it? [y/N] ").strip().lower() in ("y", "yes")
    return False
