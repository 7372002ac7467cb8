"""`qwen chat` without a question: a conversation, kept as a session after every turn."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from qwen_cli.commands.chat.slash_table import COMMANDS
from qwen_cli.commands.chat.state import ReplState
from qwen_cli.commands.shared import loop
from qwen_cli.commands.shared.approval import Approval, Asked
from qwen_cli.commands.shared.loop import Interrupts
from qwen_cli.tasks.chat.conversation import Conversation
from qwen_cli.tasks.chat.sessions import Session
from qwen_cli.tasks.tools.toolbox import refuse
from qwen_cli.ui.line_editor import LineEditor

if TYPE_CHECKING:
    from qwen_cli.engines.core.base import Engine


def run(
    conversation: Conversation,
    *,
    session: Session | None,
    load_engine: Callable[[str], Engine],
    raw: bool,
    allow_local_urls: bool = False,
    save_plots: Path | None = None,
) -> None:
    """Talk until the person leaves. `raw`: answers are not rendered. `allow_local_urls`: pictures may be
    fetched from private addresses. `save_plots`: a folder for what programs draw.

    `session` is the one to go on with; `None` starts one with the first message. `load_engine` is for /model;
    engines from there are closed here.
    """

    def begin(editor: LineEditor, interrupts: Interrupts) -> ReplState:
        return ReplState(
            conversation,
            session,
            load_engine,
            raw or not sys.stdout.isatty(),
            editor,
            interrupts,
            COMMANDS,
            named=session is not None,
            allow_local_urls=allow_local_urls,
            approval=_ask_here(conversation, editor),
            save_plots=save_plots,
        )

    loop.run(begin, history="chat", mentions=True)


def _ask_here(conversation: Conversation, editor: LineEditor) -> Approval | None:
    """Let tools ask at this prompt, unless the person has allowed all of them."""
    toolbox = conversation.toolbox
    if toolbox is None or not (isinstance(toolbox.approve, Asked) or toolbox.approve is refuse):
        return None
    toolbox.approve = approval = Approval(editor, toolbox.kind)
    return approval
