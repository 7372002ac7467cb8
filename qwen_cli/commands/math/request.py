"""What `qwen math` is asked: the problem, the model, and leave to go without the sandbox."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from qwen_cli.errors import UsageError

if TYPE_CHECKING:
    from qwen_cli.engines.core.base import Engine
    from qwen_cli.media.inputs import Picture

_UNCONTAINED = (
    "Without the sandbox, programs that the model writes run as you: they can read, change and delete your"
    " files, use the network and start other programs. Time and memory stay limited."
)


def agree_to_no_sandbox() -> None:
    """Say what `--sandbox off` means and ask for a yes, once. Raises `UsageError` where nobody can say it."""
    from qwen_cli.commands.shared.output import say

    if not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError("--sandbox off needs a yes from a terminal", "leave it out to run in the sandbox")
    if sys.platform == "win32":
        raise UsageError("programs do not run on Windows itself", "run qwen in WSL 2 (`wsl --install`)")
    say(_UNCONTAINED)
    if not typer.confirm("Run them all the same?", default=False, err=True):
        raise typer.Exit(1)


def problem(words: list[str], file: Path | None, *, pictured: bool) -> str | None:
    """Return the text of the problem; `None` where it is to be asked for. With a picture (`pictured`) it may
    be empty. Raises `UsageError`."""
    from qwen_cli.tasks.chat import attachments

    typed = " ".join(words).strip()
    if words and not typed:
        raise UsageError("the problem is empty", 'write one: `qwen math "…"`')
    if typed and file:
        raise UsageError("a problem and --file exclude each other", "choose one")
    piped = sys.stdin is not None and not sys.stdin.closed and not sys.stdin.isatty()
    if file or (piped and not typed):
        typed = attachments.read_text(file or "-").strip()
        if not typed and not pictured:
            raise UsageError("the problem is empty", 'write one: `qwen math "…"`')
    return typed if typed or pictured else None


def pictures(words: Sequence[str], *, allow_local_urls: bool) -> list[Picture]:
    """Return the pictures that --image names. Raises `UsageError`."""
    if not words:
        return []
    from qwen_cli.media import inputs

    return inputs.gather_pictures(words, allow_local_urls=allow_local_urls)


def picture_parts(engine: Engine, pictures: Sequence[Picture]) -> list[dict[str, Any]]:
    """Return `pictures` as content parts that fit the context. Raises `UsageError`."""
    if not pictures:
        return []
    from qwen_cli.commands.shared.output import relay
    from qwen_cli.tasks.vision import prepare

    return [dict(look.part) for look in prepare.prepare_all(pictures, engine, notice=relay)]
