"""The verbs of `qwen`: a module is imported when its verb is called, and none for the list of them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import typer

from qwen_cli.commands.shared.help import Command, Group
from qwen_cli.errors import UsageError

# verb: (module in `commands`, what it is called there, what it does in a line of 80 columns)
VERBS = {
    "chat": ("chat.command", "chat", "Chat with a Qwen model."),
    "code-fim": ("fim.command", "code_fim", "Fill in code at a position in a file."),
    "code-edit": ("edit.command", "code_edit", "Edit code as an instruction says."),
    "math": ("math.command", "math", "Solve math problems with reasoning and sandboxed Python."),
    "improve": ("improve.command", "app", "Make a model better at math on your machine."),
    "vision": ("vision.command", "vision", "Ask about images, documents and videos."),
    "listen": ("listen.command", "listen", "Write down what is said in a recording."),
    "serve": ("serve.command", "serve", "Serve models over HTTP (OpenAI API, /infill)."),
    "ps": ("serve.daemon", "ps", "Show your running server and its models."),
    "stop": ("serve.daemon", "stop", "Stop your running server."),
    "eval": ("eval.command", "app", "Measure a model on tasks with known answers."),
    "bench": ("bench.command", "bench", "Measure how fast models are on this machine."),
    "train": ("train.command", "train", "Fine-tune a model on your own chats (LoRA)."),
    "models": ("models.command", "app", "List, plan, download, show, remove and convert models."),
    "sessions": ("sessions.command", "app", "List, search and remove saved conversations."),
    "log": ("log.command", "app", "List, search and remove past questions."),
    "templates": ("templates.command", "app", "List, show and edit templates of questions."),
    "doctor": ("models.doctor", "doctor", "Check this machine and what works on it."),
    "config": ("config.command", "app", "Read and write settings."),
    "sandbox": ("sandbox.command", "app", "Run Python in the sandbox, and check that it holds."),
}

# Commands of other tools, and what they are here.
ELSEWHERE = {
    **dict.fromkeys(("run", "ask", "generate", "prompt", "complete", "repl"), 'chat -m MODEL "…"'),
    **dict.fromkeys(("list", "ls", "tags"), "models list"),
    **dict.fromkeys(("pull", "download", "get", "fetch", "install"), "models pull MODEL"),
    **dict.fromkeys(("rm", "remove", "delete", "uninstall"), "models rm MODEL"),
    **dict.fromkeys(("show", "info", "inspect"), "models show MODEL"),
    **dict.fromkeys(("quantize", "convert", "create", "import"), "models convert"),
    **dict.fromkeys(("fim", "infill", "autocomplete"), "code-fim"),
    **dict.fromkeys(("image", "see", "video", "ocr", "vl"), "vision"),
    **dict.fromkeys(("transcribe", "asr", "stt", "speech", "whisper"), "listen FILE"),
    **dict.fromkeys(("server", "api", "start"), "serve"),
    **dict.fromkeys(("unload", "kill"), "stop"),
    **dict.fromkeys(("test",), "eval"),
    **dict.fromkeys(("finetune", "fine-tune", "lora", "sft"), "train FILE.jsonl -m MODEL --out DIR"),
    **dict.fromkeys(("benchmark", "speed"), "bench"),
    **dict.fromkeys(("settings", "set"), "config"),
    **dict.fromkeys(("status", "check"), "doctor"),
    **dict.fromkeys(("logs", "history"), "log"),
    "version": "--version",
    "help": "--help",
}


class Verbs(Group):
    """The group of them. Typer's own imports every command to list their names."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.commands = dict.fromkeys(VERBS)  # type: ignore[assignment]  # names alone, for what is close to one

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command of the first word. A question in quotes is one for `chat`."""
        word = args[0]
        if word not in VERBS and len(word.split()) > 1:
            return super().resolve_command(ctx, ["chat", *args])
        if args[:2] == ["math", "improve"] and _is_improving(args[2:]):
            return super().resolve_command(ctx, args[1:])
        if word in ELSEWHERE:
            raise UsageError(f"there is no command {word!r}", f"use `qwen {ELSEWHERE[word]}`")
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: Any) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in VERBS:
            return None
        module, name, _ = VERBS[cmd_name]
        command = getattr(import_module(f"qwen_cli.commands.{module}"), name)
        group = typer.Typer(rich_markup_mode=None, add_completion=False)
        group.callback()(lambda: None)  # else a single command would be no group
        if isinstance(command, typer.Typer):
            group.add_typer(command, name=cmd_name)
        else:
            group.command(cmd_name, cls=Command)(command)
        made: Any = typer.main.get_command(group)
        return made.get_command(ctx, cmd_name)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(verb, line) for verb, (_, _, line) in VERBS.items()])


def _is_improving(args: list[str]) -> bool:
    """Return whether what stands after `math improve` is for `improve`; else they are words of a problem."""
    from qwen_cli.commands.improve.command import STAGES, begins_run

    return not args or args[0] in (*STAGES, "--help", "-h") or begins_run(args)
