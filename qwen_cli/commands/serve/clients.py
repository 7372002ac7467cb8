"""`qwen serve --for CLIENT`: what a program has to be told to use the server, printed or set in its file."""

from __future__ import annotations

import sys
from pathlib import Path

from qwen_cli import settings as user_settings
from qwen_cli.commands.serve import client_configs
from qwen_cli.commands.serve.client_configs import Config, Served
from qwen_cli.commands.shared.output import say
from qwen_cli.errors import QwenError, UsageError

_ASK_SECONDS = 5.0


def configure(client: str, asked: Served, *, named: bool, write: bool) -> None:
    """Print what `client` has to be told of the server, or with `write` set it in its file. That is the
    server which runs, else one as it is `asked` for; `named`: the model is.

    Raises `UsageError` for a client that is not known, or whose settings are in no file.
    """
    if client not in client_configs.CLIENTS:
        raise UsageError(
            f"no client is known as {client!r}", f"choose one of {', '.join(client_configs.CLIENTS)}"
        )
    config = client_configs.CLIENTS[client](_running(asked, named=named) or asked)
    if write:
        _write(config, client)
    elif config.values:
        say(f"for {config.file}:")
        sys.stdout.write(config.text())
    for step in config.steps:
        say(step)
    if config.exports:
        say("in the shell that it is started from:" if config.values else f"{client} reads these:")
        (say if config.values else print)("\n".join(config.exports))


def _write(config: Config, client: str) -> None:
    if config.file is None:
        raise UsageError(f"the settings of {client} are in no file that can be written", "leave out --write")
    try:
        old = config.file.read_text(encoding="utf-8") if config.file.exists() else ""
        text = config.merged(old)
    except UsageError as fault:
        raise UsageError(f"cannot add to {config.file}: {fault.message}", fault.hint) from None
    except (OSError, UnicodeDecodeError) as fault:
        raise QwenError(f"cannot read {config.file}: {fault}", "check it") from fault
    if text == old:
        say(f"{config.file} has it already")
        return
    user_settings.replace_file(config.file, text)
    say(f"set in {config.file}: {', '.join(config.values)}")


def _running(asked: Served, *, named: bool) -> Served | None:
    """Return the server of this user that runs, with the model that is asked for, else its first."""
    from qwen_cli.engines.daemon import client, paths

    if (running := client.request("/engine/status")) is None:
        say("no server runs: this is for one started with the same flags")
        return None
    known = {model["model"]: model for model in running["models"]}
    model = asked.model if named or not known else next(iter(known))
    key_file: Path | None = paths.key_path() if paths.key_path().exists() else None
    return Served(
        running["address"],
        model,
        known.get(model, {}).get("context"),
        keyless=key_file is None and _asks_for_no_key(running["address"]),
        key_file=key_file,
    )


def _asks_for_no_key(address: str) -> bool:
    import httpx

    try:
        return httpx.get(f"{address}/v1/models", timeout=_ASK_SECONDS).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False
