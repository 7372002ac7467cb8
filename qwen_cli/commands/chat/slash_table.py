"""The slash commands of a conversation: one table, of which the other prompts take what suits them."""

from __future__ import annotations

from qwen_cli.commands.chat import slash_messages, slash_sessions, slash_settings
from qwen_cli.commands.shared.slash import Command, Commands, help_, quit_, starting
from qwen_cli.engines.core import template
from qwen_cli.ui.line_editor import complete_path, complete_paths

COMMANDS: Commands = {
    "help": Command(help_, "[COMMAND]"),
    "retry": Command(slash_messages.retry),
    "continue": Command(slash_messages.continue_),
    "edit": Command(slash_messages.edit),
    "undo": Command(slash_messages.undo),
    "clear": Command(slash_messages.clear),
    "file": Command(slash_messages.file, "[PATH … | -]", complete_paths),
    "image": Command(slash_messages.image, "PATH | URL", complete_path, slash_messages.sees_images),
    "paste": Command(slash_messages.paste, offered=slash_messages.sees_images),
    "copy": Command(slash_messages.copy, "[code]", lambda typed: starting(("code",), typed)),
    "system": Command(slash_settings.system, "[TEXT | -]", sets=("system",)),
    "model": Command(slash_settings.model, "[NAME]", slash_settings.model_names, sets=("model",)),
    "set": Command(
        slash_settings.set_,
        "[NAME [VALUE | default]]",
        slash_settings.parameter_names,
        sets=slash_settings.PARAMETERS,
    ),
    "think": Command(
        slash_settings.think,
        "[on | off | N | show | hide | keep | drop]",
        lambda typed: starting(slash_settings.THINK_WORDS, typed),
    ),
    "effort": Command(
        slash_settings.effort,
        "[WORD | -]",
        lambda typed: starting(template.BUDGETS, typed),
        offered=slash_settings.efforts,
        sets=("effort",),
    ),
    "tools": Command(slash_settings.tools),
    "tokens": Command(slash_settings.tokens),
    "stats": Command(slash_settings.stats),
    "save": Command(slash_sessions.save, "NAME", offered=slash_sessions.can_be_kept),
    "load": Command(slash_sessions.load, "NAME", slash_sessions.names),
    "sessions": Command(slash_sessions.list_),
    "export": Command(slash_sessions.export, "md|json [FILE]", slash_sessions.export_values),
    "quit": Command(quit_, about="Leave; the session is kept"),
}
