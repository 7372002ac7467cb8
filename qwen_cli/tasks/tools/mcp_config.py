"""The `mcpServers` file that Claude Desktop, llama.cpp and Qwen-Agent share."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from qwen_cli import reading
from qwen_cli.errors import ToolError, UsageError

Transport: TypeAlias = Literal["stdio", "http", "sse"]

# What other programs write into "type" for each transport.
_TYPES: dict[str, Transport] = {
    "stdio": "stdio",
    "http": "http",
    "streamable-http": "http",
    "streamableHttp": "http",
    "streamable_http": "http",
    "sse": "sse",
}


@dataclass(frozen=True)
class McpServer:
    """One server: a `command` to start and talk to over its stdio, or the `url` of one that runs."""

    name: str
    transport: Transport
    command: str = ""
    args: list[str] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    cwd: str | None = None
    url: str = ""
    headers: dict[str, str] = field(default_factory=dict)


def read(path: Path) -> list[McpServer]:
    """Return the servers of the file at `path`, without those marked `"disabled": true`. Raises
    `ToolError`."""
    try:
        content = reading.parsed_json(reading.read(path).decode("utf-8-sig"))
    except FileNotFoundError:
        missing = ToolError(f"no MCP servers file {str(path)!r}", "give the path of a JSON file")
        missing.exit_code = UsageError.exit_code  # as for any other file that is not there
        raise missing from None
    except OSError as error:
        raise ToolError(f"{path} cannot be read: {error.strerror}", reading.advice(error)) from error
    except ValueError as error:
        raise ToolError(f"{path} is not JSON: {error}", "fix the file") from error
    servers = content.get("mcpServers") if isinstance(content, dict) else None
    if not isinstance(servers, dict):
        raise ToolError(
            f'{path} has no "mcpServers" object', 'write {"mcpServers": {"NAME": {"command": "…"}}}'
        )
    configured = [
        _server(name, entry, f"{path}: server {name!r}")
        for name, entry in servers.items()
        if not (isinstance(entry, dict) and entry.get("disabled") is True)
    ]
    if not configured:
        raise ToolError(f"{path} names no server", 'put one under "mcpServers"')
    return configured


def _server(name: str, entry: Any, where: str) -> McpServer:
    if not isinstance(entry, dict):
        raise ToolError(f"{where} is {json.dumps(entry)}", 'give an object with "command" or "url"')
    kind = entry.get("type", entry.get("transport"))
    if kind is not None and kind not in _TYPES:
        raise ToolError(f"{where} has type {kind!r}", "use stdio, http or sse")
    command, url = entry.get("command"), entry.get("url")
    if isinstance(command, str) and command and url is None:
        if kind is not None and _TYPES[kind] != "stdio":
            raise ToolError(f"{where} has type {kind!r} and a command", 'drop one, or give a "url"')
        cwd = entry.get("cwd")
        if not isinstance(cwd, str | None):
            raise ToolError(f"{where} has cwd {cwd!r}", "give a folder as text")
        args = entry.get("args", [])
        if not isinstance(args, list) or not all(isinstance(arg, str) for arg in args):
            raise ToolError(f"{where} has args {json.dumps(args)}", "give a list of texts")
        return McpServer(name, "stdio", command=command, args=args, env=_texts(entry, "env", where), cwd=cwd)
    if isinstance(url, str) and command is None:
        if not url.startswith(("http://", "https://")):
            raise ToolError(f"{where} has url {url!r}", "start it with http:// or https://")
        transport: Transport = "sse" if kind is not None and _TYPES[kind] == "sse" else "http"
        return McpServer(name, transport, url=url, headers=_texts(entry, "headers", where))
    raise ToolError(f"{where} needs either a command or a url", 'give one of "command" and "url"')


def _texts(entry: dict[str, Any], key: str, where: str) -> dict[str, str]:
    value = entry.get(key) or {}
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise ToolError(f"{where}: {key} is not an object of texts", f'write "{key}": {{"NAME": "text"}}')
    return value
