"""Tools of MCP servers: a thread with its own event loop owns the connections, calls come from outside."""

from __future__ import annotations

import asyncio
import json
import logging
import tempfile
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

from qwen_cli.errors import ToolError
from qwen_cli.sanitize import error_line, one_line
from qwen_cli.tasks.tools import mcp_config
from qwen_cli.tasks.tools.base import Tool
from qwen_cli.tasks.tools.mcp_config import McpServer

if TYPE_CHECKING:
    from mcp.client import Client

START_SECONDS = 60.0  # to start and list tools: `npx` and `uvx` fetch the server on its first start
CALL_SECONDS = 120.0  # for one call
CLOSE_SECONDS = 10.0  # to end: the client gives a process 2 s to leave, 2 s after SIGTERM, then kills it

_T = TypeVar("_T")


def connect(path: Path) -> tuple[list[Tool], Callable[[], None]]:
    """Connect to every server of the config file; their tools, and what ends the connections.

    Raises `ToolError` if one cannot be reached; those already started are then ended.
    """
    connections = _Connections()
    try:
        starting = [(server, connections.start(server)) for server in mcp_config.read(path)]
        tools = [tool for server, ready in starting for tool in connections.tools(server, ready)]
    except BaseException:  # also Ctrl-C while a server takes its time
        connections.close()
        raise
    return tools, connections.close


class _Connections:
    """The event loop in its thread, and a task for each server: who enters a client must also leave it."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="mcp", daemon=True)
        self._thread.start()
        self._stop = asyncio.Event()
        self._tasks: list[tuple[asyncio.Task[Any], Future[Any]]] = []

    def start(self, server: McpServer) -> Future[tuple[Client, list[Any]]]:
        """Begin connecting; the result is the client and the server's tools."""
        ready: Future[tuple[Client, list[Any]]] = Future()
        self._submit(self._begin(server, ready)).result()
        return ready

    def tools(self, server: McpServer, ready: Future[tuple[Client, list[Any]]]) -> list[Tool]:
        """Return the server's tools, when it has said them."""
        try:
            client, listed = ready.result(START_SECONDS)
        except FutureTimeout:
            raise ToolError(
                f"MCP server {server.name!r} did not start within {START_SECONDS:.0f} s", "run it by hand"
            ) from None
        return [self._tool(server, client, item) for item in listed]

    def close(self) -> None:
        """End every connection (their processes too) and the thread."""
        if not self._thread.is_alive():
            return
        with suppress(Exception):
            self._submit(self._end()).result(CLOSE_SECONDS + 5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLOSE_SECONDS)
        if not self._thread.is_alive():
            self._loop.close()

    async def _begin(self, server: McpServer, ready: Future[tuple[Client, list[Any]]]) -> None:
        self._tasks.append((asyncio.create_task(self._serve(server, ready)), ready))

    async def _end(self) -> None:
        """Let every task leave its client; one that still connects is cancelled."""
        self._stop.set()
        for task, ready in self._tasks:
            if not ready.done():
                task.cancel()
        if self._tasks:
            await asyncio.wait([task for task, _ in self._tasks], timeout=CLOSE_SECONDS)

    async def _serve(self, server: McpServer, ready: Future[tuple[Client, list[Any]]]) -> None:
        """Hold one connection open until `close`."""
        # A server's own log would run through the conversation on the terminal; its last line may say why.
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
            try:
                async with AsyncExitStack() as stack:
                    client = await stack.enter_async_context(_client(server, log))
                    ready.set_result((client, await _listed(client)))
                    await self._stop.wait()
            except BaseException as error:  # groups and cancellation too: whoever waits must hear of it
                if not ready.done():
                    ready.set_exception(_start_error(server, error, log))

    def _tool(self, server: McpServer, client: Client, listed: Any) -> Tool:
        def run(arguments: dict[str, Any]) -> str:
            call = self._submit(client.call_tool(listed.name, arguments, read_timeout_seconds=CALL_SECONDS))
            try:
                result = call.result(CALL_SECONDS + 5)  # the client's own limit comes first
            except Exception as error:
                raise ToolError(f"MCP server {server.name!r} failed: {_reason(error)}") from error
            finally:
                call.cancel()  # Ctrl-C while waiting
            text = _text(result)
            if result.is_error:
                raise ToolError(text or "the tool failed without saying why")
            return text

        return Tool(listed.name, listed.description or "", listed.input_schema, run, source=server.name)

    def _submit(self, coroutine: Coroutine[Any, Any, _T]) -> Future[_T]:
        if not self._thread.is_alive():
            coroutine.close()
            raise ToolError("the MCP connections are closed")
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)


def _client(server: McpServer, log: TextIO) -> Client:
    from mcp.client import Client  # 0.5 s, only with MCP servers
    from mcp.client.sse import sse_client
    from mcp.client.stdio import StdioServerParameters, stdio_client
    from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client

    # What a server prints between its messages the client logs with a traceback each; it goes on without.
    logging.getLogger("mcp").setLevel(logging.CRITICAL)
    if server.transport == "stdio":
        parameters = StdioServerParameters(
            command=server.command, args=server.args, env=server.env, cwd=server.cwd
        )
        return Client(stdio_client(parameters, errlog=log))
    if server.transport == "sse":
        return Client(sse_client(server.url, headers=server.headers), mode="legacy")
    http = create_mcp_http_client(headers=server.headers)
    return Client(streamable_http_client(server.url, http_client=http))


async def _listed(client: Client) -> list[Any]:
    """Return all the server's tools, page by page; none if it has no such capability."""
    if client.server_capabilities.tools is None:
        return []
    items: list[Any] = []
    cursor: str | None = None
    while True:
        page = await client.list_tools(cursor=cursor)
        items += page.tools
        cursor = page.next_cursor
        if not cursor:
            return items


def _text(result: Any) -> str:
    """Return a result as the model reads it: texts as they are, a word for what is not text."""
    parts: list[str] = []
    for block in result.content:
        if block.type == "text":
            parts.append(block.text)
        elif block.type == "resource":
            parts.append(getattr(block.resource, "text", f"[{block.resource.uri}: not text]"))
        elif block.type == "resource_link":
            parts.append(f"[{block.uri}]")
        else:
            parts.append(f"[{block.type}, {block.mime_type}: not shown]")
    if not parts and result.structured_content is not None:
        return json.dumps(result.structured_content, ensure_ascii=False)
    return "\n".join(parts)


def _start_error(server: McpServer, error: BaseException, log: TextIO) -> ToolError:
    """Return one line on why a server cannot be used, with the last line that it wrote itself."""
    log.seek(0)
    lines = [one_line(line).rstrip(".") for line in log.read().splitlines() if line.strip()]
    reason = _reason(error) + (f" ({lines[-1]})" if lines else "")
    target = server.command if server.transport == "stdio" else server.url
    return ToolError(
        f"MCP server {server.name!r} ({target}) cannot be used: {reason}", "check it in the servers file"
    )


def _reason(error: BaseException) -> str:
    """Return the innermost cause, in one line without escape sequences."""
    while inner := getattr(
        error, "exceptions", None
    ):  # an exception group, which Python 3.10 has no name for
        error = inner[0]
    faults = getattr(error, "errors", None)  # pydantic's, whose first line only counts them
    if callable(faults) and (first := next(iter(faults()), None)):
        where = ".".join(map(str, first["loc"]))
        return one_line(f"it breaks the protocol: {where}: {first['msg']}")
    return error_line(error)
