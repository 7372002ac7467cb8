"""A real MCP server for the tests: `python mcp_server.py [NAME] [http|sse PORT]`."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

server = MCPServer("for the tests")


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool()
def whoami() -> str:
    """The server's name, folder, one environment variable and process id."""
    return f"{sys.argv[1]} {Path.cwd().name} {os.environ.get('COLOUR')} {os.getpid()}"


@server.tool()
def fails() -> str:
    """Raise an error."""
    raise ToolError("it broke")


@server.tool()
def dies() -> str:
    """End the server in the midst of a call."""
    os._exit(1)


@server.tool()
def sleeps(seconds: float) -> str:
    """Take a while."""
    time.sleep(seconds)
    return "awake"


if __name__ == "__main__":
    print("a log line \x1b[31m", file=sys.stderr)
    if len(sys.argv) > 2:
        transport = "sse" if sys.argv[2] == "sse" else "streamable-http"
        server.run(transport, host="127.0.0.1", port=int(sys.argv[3]))  # type: ignore[call-overload]
    else:
        server.run()
