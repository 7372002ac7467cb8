"""`qwen serve`: models kept loaded, for programs and for the other commands."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from qwen_cli import settings as user_settings
from qwen_cli.commands.serve import daemon as serve_daemon
from qwen_cli.commands.serve import external, page_link
from qwen_cli.commands.shared import options
from qwen_cli.commands.shared.output import relay, say
from qwen_cli.errors import UsageError

ADDRESS = "Address and access"
LOAD = "Limits"
OTHERS = "With --engine vllm or sglang"
CLIENTS = "Programs that use it"

_KEY = "QWEN_SERVE_KEY"


@options.grouped
def serve(
    name: Annotated[
        str | None,
        typer.Argument(help="Model to load at the start; others are loaded when a request names them."),
    ] = None,
    extra: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[-- FLAGS]", help="With --engine vllm or sglang: further flags for that engine."
        ),
    ] = None,
    host: Annotated[
        str, typer.Option("--host", help="Network address to listen on.", rich_help_panel=ADDRESS)
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            "--port", min=0, max=65535, help="Port to listen on; 0 takes a free one.", rich_help_panel=ADDRESS
        ),
    ] = 8080,
    api_key: Annotated[
        list[str] | None,
        typer.Option(
            "--api-key",
            help=f"API key that clients must send (repeatable); {_KEY} keeps it out of the process list; a "
            "random one if neither is given.",
            rich_help_panel=ADDRESS,
        ),
    ] = None,
    no_key: Annotated[
        bool,
        typer.Option(
            "--no-key",
            help="Require no API key: every user of this machine may use the server.",
            rich_help_panel=ADDRESS,
        ),
    ] = False,
    cors: Annotated[
        list[str] | None,
        typer.Option(
            "--cors",
            help="Allow web pages of this origin to use the server (repeatable; * allows all).",
            rich_help_panel=ADDRESS,
        ),
    ] = None,
    parallel: Annotated[
        int,
        typer.Option(
            "--parallel",
            min=1,
            max=256,
            help="Maximum number of requests computed at the same time.",
            rich_help_panel=LOAD,
        ),
    ] = 8,
    max_queue: Annotated[
        int,
        typer.Option(
            "--max-queue",
            min=0,
            max=400,
            help="Maximum number of requests that wait; more are refused.",
            rich_help_panel=LOAD,
        ),
    ] = 64,
    max_body: Annotated[
        int,
        typer.Option(
            "--max-body", min=1, max=4096, help="Maximum size of one request in MB.", rich_help_panel=LOAD
        ),
    ] = 32,
    keep: Annotated[
        float,
        typer.Option(
            "--keep",
            min=0,
            help="Minutes before an idle model is unloaded; 0 never unloads.",
            rich_help_panel=LOAD,
        ),
    ] = 30.0,
    daemon: Annotated[
        bool, typer.Option("--daemon", help="Run in the background until `qwen stop`.")
    ] = False,
    open_page: Annotated[
        bool,
        typer.Option(
            "--open",
            help="Print the link to the server's own page, for chats in a browser, and open it where there "
            "is a display. The link carries the key.",
            rich_help_panel=CLIENTS,
        ),
    ] = False,
    for_client: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="CLIENT",
            help="Print the configuration with which a program uses the server, and exit: claude-code, "
            "codex, qwen-code, opencode, aider, cline, continue, open-webui or zed.",
            rich_help_panel=CLIENTS,
        ),
    ] = None,
    write: Annotated[
        bool,
        typer.Option(
            "--write",
            help="With --for: set it in the program's own configuration file, keeping what else is there.",
            rich_help_panel=CLIENTS,
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Print the command that would start the engine, and exit.",
            rich_help_panel=OTHERS,
        ),
    ] = False,
    machine: Annotated[
        Path | None,
        typer.Option(
            "--machine",
            help="File that describes the machine to serve on (.toml or .json).",
            rich_help_panel=OTHERS,
        ),
    ] = None,
    nodes: Annotated[
        str | None,
        typer.Option(
            "--nodes",
            help="Serve over several machines: how many, or their names (host1,host2); prints "
            "their commands.",
            rich_help_panel=OTHERS,
        ),
    ] = None,
    run: Annotated[
        bool,
        typer.Option(
            "--run",
            help="With --nodes: run the commands over ssh instead of printing them.",
            rich_help_panel=OTHERS,
        ),
    ] = False,
    allow_local_urls: options.AllowLocalUrls = False,
    loading: options.Loading = options.Loading(),
) -> None:
    """Serve models over HTTP: OpenAI's API, llama.vim's /infill, and the other commands of `qwen`.

    While it runs, `qwen chat`, `code-fim`, `math` and `vision` use its models instead of loading their own.
    With --engine vllm or sglang that engine is started, with flags worked out from the model and the GPUs.

    Examples:
      qwen serve qwen3:8b --daemon
      qwen serve --for codex --write
      qwen serve --engine vllm qwen3:32b --dry-run
    """
    if name and loading.model:
        raise UsageError("the model is named twice", "leave one out")
    if loading.endpoint or loading.engine == "remote":
        raise UsageError("qwen serve runs models on this machine", "leave out --endpoint")
    if loading.no_server:
        raise UsageError("--no-server is for commands that would use a server", "leave it out")
    keys = list(api_key or ()) or ([os.environ[_KEY]] if os.environ.get(_KEY) else [])
    if no_key and keys:
        raise UsageError("--no-key and a key exclude each other", "choose one")
    if any(not key.strip() for key in keys):
        raise UsageError("--api-key is empty", "give a key, or leave it out to have one made up")
    if write and for_client is None:
        raise UsageError("--write is for --for CLIENT", "name the client")
    if for_client is not None and open_page:
        raise UsageError("--open is for starting the server, --for only prints", "leave out one of them")
    if for_client is not None:
        _configure(for_client, name or loading.model, host, port, keys, no_key=no_key, write=write)
        return
    if loading.engine in external.ENGINES:
        ours = {"--cors": cors, "--parallel": parallel != 8, "--max-queue": max_queue != 64,
                "--max-body": max_body != 32, "--keep": keep != 30.0, "--daemon": daemon,
                "--allow-local-urls": allow_local_urls, "--open": open_page}  # fmt: skip
        if wrong := next((flag for flag, given in ours.items() if given), None):
            raise UsageError(f"{wrong} is not for --engine {loading.engine}", "leave it out")
        if len(keys) > 1:
            raise UsageError(f"{loading.engine} takes one key, {len(keys)} were given", "give one")
        key = None if no_key else "".join(keys)
        where = external.Where(
            host, port, key, machine, nodes, run=run, dry_run=dry_run, extra=tuple(extra or ())
        )
        external.serve(str(loading.engine), name, loading, where)
        return
    if extra or dry_run or machine or nodes or run:
        raise UsageError(
            "--dry-run, --machine, --nodes, --run and flags after -- are for other engines",
            "add --engine vllm or --engine sglang",
        )
    if open_page:
        page_link.check(host)
    if daemon:
        serve_daemon.begin(None if no_key else keys, opens=open_page)
        return
    settings = options.merged(user_settings.load(), loading)
    if name:
        settings["model"] = name
    from qwen_cli.commands.shared.engine import load_options
    from qwen_cli.engines import load
    from qwen_cli.engines.core.options import Hooks
    from qwen_cli.ui.progress import Waiting

    # Settings that are for the other commands.
    kept = {name: value for name, value in settings.items() if name not in ("endpoint", "api_key")}
    if kept.get("engine") == "remote":
        del kept["engine"]
    wanted = load_options(kept, loading)
    with Waiting(f"looking for {wanted.model or 'a model'} …", relay) as waiting:
        # Fetched here, where a person sees it.
        load.find(wanted, Hooks(waiting.say, waiting.progress))
    from qwen_cli.serve.process import Plan, serve  # 1 s of FastAPI and OpenAI's types

    plan = Plan(
        wanted,
        host=host,
        port=port,
        keys=None if no_key else keys,
        parallel=parallel,
        max_queue=max_queue,
        max_body=max_body << 20,
        keep=keep * 60,
        origins=cors or (),
        allow_local_urls=allow_local_urls,
    )
    serve(plan, notice=relay, ready=lambda address: _tell(address, plan.keys, opens=open_page))


def _configure(
    client: str, name: str | None, host: str, port: int, keys: list[str], *, no_key: bool, write: bool
) -> None:
    """Print or set what `client` has to be told of the server that these flags are for."""
    from qwen_cli.commands.serve import clients
    from qwen_cli.commands.serve.client_configs import Served
    from qwen_cli.engines.daemon import paths

    own = f"[{host}]" if ":" in host else {"0.0.0.0": "127.0.0.1"}.get(host, host)  # noqa: S104
    model = name or user_settings.load().get("model") or "default"
    served = Served(
        f"http://{own}:{port}",
        str(model),
        keyless=no_key,
        key_file=None if no_key or keys else paths.key_path(),
    )
    clients.configure(client, served, named=name is not None, write=write)


def _tell(address: str, keys: Any, *, opens: bool = False) -> None:
    """Say where the server is, once it is ready. The key is shown where it was made up."""
    from qwen_cli.engines.daemon import paths

    say(f"serving at {address}/v1")
    if keys is not None and not keys:
        say(f"key: {paths.key_path().read_text().strip()} (in {paths.key_path()})")
    if keys is None:
        say("no key is required: every user of this machine may use it")
    if opens:
        page_link.show(address, keys)
