"""`qwen chat`: ask once, or talk."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qwen_cli import settings as user_settings
from qwen_cli.commands.chat import templating
from qwen_cli.commands.shared import complete, options
from qwen_cli.commands.shared.engine import (
    check_effort,
    check_thinking,
    open_engine,
    poor_at_tools,
    thinking_wish,
)
from qwen_cli.commands.shared.output import relay
from qwen_cli.errors import ToolError, UsageError

if TYPE_CHECKING:
    from qwen_cli.tasks.chat.conversation import Conversation
    from qwen_cli.tasks.tools.toolbox import Toolbox

_BUILTIN = "builtin"


def _tools(incomplete: str) -> list[str]:
    from qwen_cli.ui.line_editor import complete_path

    built_in = [_BUILTIN, *(f"{_BUILTIN}:{name}" for name in ("python", "read_file", "list_files", "fetch"))]
    files = (path for path in complete_path(incomplete) if path.endswith(("/", ".py")))
    return [name for name in built_in if name.startswith(incomplete)] + list(files)


OUTPUT = "Output"
SESSIONS = "Sessions and context"
TOOLS = "Tools"


@options.grouped
def chat(
    message: Annotated[
        list[str] | None,
        typer.Argument(help="Question to ask; without one, a conversation starts on a terminal."),
    ] = None,
    file: Annotated[
        list[str] | None,
        typer.Option(
            "--file",
            "-f",
            metavar="PATH",
            help="File, folder, PDF, picture or pattern ('src/*.py') that goes before the question "
            "(repeatable; - reads standard input).",
        ),
    ] = None,
    cache_file: Annotated[
        Path | None,
        typer.Option(
            "--cache-file",
            metavar="PATH",
            help="File that keeps what the model has computed for this question's files (its KV cache): "
            "another question about them begins at once. More than 4,096 tokens are kept without it too.",
            rich_help_panel=SESSIONS,
        ),
    ] = None,
    system: Annotated[
        str | None,
        typer.Option(
            "--system", "-s", help="System prompt: instructions that hold for the whole conversation."
        ),
    ] = None,
    template: Annotated[
        list[str] | None,
        typer.Option(
            "--template",
            "-t",
            metavar="NAME",
            help="Template that makes the question of what is asked: a name from `qwen templates list`, or a "
            ".toml file. A number is the temperature.",
            autocompletion=complete.templates,
        ),
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(
            "--param",
            "-p",
            metavar="NAME=VALUE",
            help="Value of a variable of the template (repeatable).",
            autocompletion=complete.parameters,
        ),
    ] = None,
    schema: Annotated[
        str | None,
        typer.Option(
            "--schema",
            help="JSON schema (file or text) that the answer must satisfy.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print one JSON object with text, thinking, usage and timings.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    raw: Annotated[
        bool,
        typer.Option(
            "--raw",
            help="Print the text as the model writes it, without rendering Markdown.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    no_log: options.NoLog = False,
    think: options.Think = None,
    thinking_budget: options.ThinkingBudget = None,
    effort: options.Effort = None,
    preserve_thinking: options.PreserveThinking = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--continue",
            "-c",
            help="Resume the latest session or logged question, whichever is later.",
            rich_help_panel=SESSIONS,
        ),
    ] = False,
    session: Annotated[
        str | None,
        typer.Option(
            "--session",
            help="Resume the session of this name, or start it.",
            rich_help_panel=SESSIONS,
            autocompletion=complete.sessions,
        ),
    ] = None,
    overflow: Annotated[
        str | None,
        typer.Option(
            "--overflow",
            help="What to do when the context window is full: slide (drop the oldest turns), summarise them, "
            "or stop.",
            rich_help_panel=SESSIONS,
            autocompletion=complete.among("slide", "summarise", "stop"),
        ),
    ] = None,
    tools: Annotated[
        list[str] | None,
        typer.Option(
            "--tools",
            metavar="builtin|FILE",
            help="Tools that the model may call (repeatable): builtin (python, read_file, list_files, fetch; "
            "builtin:python for one of them), or a Python file with typed functions.",
            rich_help_panel=TOOLS,
            autocompletion=_tools,
        ),
    ] = None,
    mcp: Annotated[
        Path | None,
        typer.Option(
            "--mcp",
            help="JSON file that lists MCP servers (mcpServers) whose tools the model may call.",
            rich_help_panel=TOOLS,
        ),
    ] = None,
    save_plots: Annotated[
        Path | None,
        typer.Option(
            "--save-plots",
            help="Folder to save the plots that the python tool draws.",
            rich_help_panel=TOOLS,
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Run tools without asking first.", rich_help_panel=TOOLS)
    ] = False,
    allow_local_urls: options.AllowLocalUrls = False,
    sampling_options: templating.ChatSampling = templating.ChatSampling(),
    penalties: options.Penalties = options.Penalties(),
    stop: options.Stop = None,
    loading: options.Loading = options.Loading(),
) -> None:
    """Chat with a Qwen model.

    With a question, answer it once on standard output; standard input, if piped, is read as well.
    Without one, start a conversation on the terminal (/help there lists its commands).

    Examples:
      qwen chat
      qwen chat "What is a monad?" -m qwen3:8b
      git diff | qwen chat "Write a commit message."
      git diff | qwen chat -t review
    """
    told, sampling_options = templating.read(template or [], param or [], sampling_options)
    loading = told.loading(loading)
    settings = options.merged(
        {**user_settings.load(), **told.sampling},
        loading,
        sampling_options,
        penalties,
        system=system,
        overflow=overflow,
        thinking_budget=thinking_budget,
    )
    from qwen_cli.commands.chat import question as asked
    from qwen_cli.commands.chat import resume as taken_up

    check_thinking(settings, think, thinking_budget, effort)
    sampling = options.sampling(settings, stop=stop)
    if raw and as_json:
        raise UsageError("--raw and --json exclude each other", "choose one")
    if resume and session is not None:
        raise UsageError("--continue and --session exclude each other", "choose one")
    question = asked.read(
        message or [], file or [], resumes=resume or session is not None, empty=told.speaks_alone
    )
    question, instructions = told.asked(question)
    if instructions is not None and system is None:
        settings["system"] = instructions
    if told.template is not None:
        schema = told.template.schema if schema is None else schema
        think = told.template.think if think is None else think
        stop = stop or list(told.template.stop)
    if cache_file is not None:
        _check_cache_file(cache_file, asks=question is not None)
    if question is None and as_json:
        raise UsageError("--json needs a question", 'run `qwen chat --json "…"`')
    wanted = options.schema(schema, "--schema") if schema is not None else None
    resumed = taken_up.find(resume, session)
    if resumed and question is not None:
        resumed.tell_unfinished(asks=question.asks)
    if resumed and resumed.said.model:
        resumed.model_as_before(settings, loading)
    elif question is not None and question.found.pictures:
        _choose_seeing(settings)

    with (
        _toolbox(tools or [], mcp or settings.get("mcp"), yes=yes, asks=question is None) as toolbox,
        open_engine(settings, loading) as loaded,
    ):
        conversation = taken_up.conversation(loaded, resumed, settings)
        conversation.sampling = sampling.over(conversation.sampling)
        check_effort(loaded, effort, think, thinking_budget)
        budget = settings.get("thinking_budget") if effort is None else thinking_budget
        before = conversation.thinking if effort is None or conversation.thinking is True else None
        conversation.thinking = thinking_wish(loaded, think, thinking_budget, budget, before)
        if effort is not None:
            _set_effort(conversation, effort)
        if preserve_thinking is not None:
            conversation.preserve_thinking = preserve_thinking
        conversation.schema = conversation.schema if wanted is None else wanted
        conversation.toolbox = toolbox
        if toolbox is not None and (remark := poor_at_tools(loaded)):
            relay(remark)
        if resumed or question is None:
            from qwen_cli.tasks.chat import sessions

            sessions.begin(conversation, resumed.said.settings if resumed else {})
        if question is None:
            from qwen_cli.commands.chat import repl

            repl.run(
                conversation,
                session=resumed.session if resumed else None,
                load_engine=lambda name: open_engine({**settings, "model": name}, loading.for_another()),
                raw=raw,
                allow_local_urls=allow_local_urls,
                save_plots=save_plots,
            )
        else:
            from qwen_cli.commands.chat import once

            once.ask(
                conversation,
                question,
                resumed,
                settings,
                as_json=as_json,
                raw=raw,
                no_log=no_log,
                save_plots=save_plots,
                cache_file=cache_file,
            )


def _check_cache_file(file: Path, *, asks: bool) -> None:
    """Raise `UsageError` for a file that is something else, or where nothing is asked."""
    from qwen_cli.tasks.chat import file_states

    if not asks:
        raise UsageError("--cache-file needs a question", "write one, or use --session in a conversation")
    file_states.check(file)


def _set_effort(conversation: Conversation, effort: str) -> None:
    """Answer with this effort from now on; what that costs a conversation that was begun is said before."""
    from qwen_cli.commands.chat.state import effort_costs

    if cost := effort_costs(conversation, effort):
        relay(cost)
    conversation.effort = effort


def _choose_seeing(settings: dict[str, Any]) -> None:
    """Let a model of this machine that sees answer about pictures, where none is named and one is here."""
    from qwen_cli.commands.shared.engine import choose_model
    from qwen_cli.models.hub import resolve

    seeing = dict(settings)
    choose_model(seeing, "vision")
    if seeing.get("model") in {weights.label for weights in resolve.local()}:
        settings["model"] = seeing["model"]


def _toolbox(
    named: list[str], mcp: Path | str | None, *, yes: bool, asks: bool
) -> AbstractContextManager[Toolbox | None]:
    """Return the tools the model may call. `asks`: whoever holds the conversation sets `approve` itself."""
    if not named and not mcp:
        return nullcontext()
    from qwen_cli.tasks.tools import mcp_config
    from qwen_cli.tasks.tools.toolbox import Toolbox

    if not yes and not asks and not sys.stderr.isatty():
        raise UsageError("tools run only after asking, and there is no terminal to ask on", "add --yes")
    boxes: list[Toolbox] = []
    try:
        for name in named:
            source, _, chosen = name.partition(":")
            if source == _BUILTIN:
                boxes.append(Toolbox.builtin([one for one in chosen.split(",") if one]))
            else:
                boxes.append(Toolbox.from_python(Path(name)))
        if mcp:
            mcp_config.read(Path(mcp).expanduser())
    except ToolError as fault:
        for box in boxes:
            box.close()
        raise UsageError(fault.message, fault.hint) from fault  # a wrong file is a wrong flag
    try:
        if mcp:
            boxes.append(Toolbox.from_mcp(Path(mcp).expanduser()))
    except BaseException:
        for box in boxes:
            box.close()
        raise
    toolbox = Toolbox.joined(boxes)
    for remark in toolbox.remarks:
        relay(remark)
    if yes:
        toolbox.approve = lambda call: True
    else:
        from qwen_cli.commands.shared.approval import Asked

        toolbox.approve = Asked(toolbox.kind)
    return toolbox
