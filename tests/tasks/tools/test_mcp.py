"""Tools of real MCP servers, over stdio and over HTTP on loopback."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qwen_cli.engines.core.base import ToolCall
from qwen_cli.errors import ToolError
from qwen_cli.tasks.tools import mcp
from qwen_cli.tasks.tools.toolbox import Toolbox

SERVER = str(Path(__file__).parents[2] / "helpers" / "mcp_server.py")
Config = Callable[..., Path]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    def write(**servers: Any) -> Path:
        file = tmp_path / "servers.json"
        file.write_text(json.dumps({"mcpServers": servers}))
        return file

    return write


def stdio(name: str = "one", **more: Any) -> dict[str, Any]:
    return {"command": sys.executable, "args": [SERVER, name], **more}


def run(box: Toolbox, name: str, **arguments: Any) -> tuple[str, bool]:
    result = box.run(ToolCall("1", name, arguments))
    return result.output, result.ok


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_server_over_stdio_lists_and_runs_its_tools(
    config: Config, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = config(one=stdio(env={"COLOUR": "blue"}, cwd=str(tmp_path)))
    with Toolbox.from_mcp(file, approve=lambda call: True) as box:
        assert box.names == ["add", "whoami", "fails", "dies", "sleeps"]
        definition = box.definitions[0]["function"]
        assert definition["description"] == "Add two numbers."
        assert definition["parameters"]["required"] == ["a", "b"]

        assert run(box, "add", a=2, b=3) == ("5", True)
        *words, pid = run(box, "whoami")[0].split()
        assert words == ["one", tmp_path.name, "blue"]
        output, ok = run(box, "fails")
        assert not ok and "it broke" in output
        output, ok = run(box, "add", a="x")
        assert not ok and output.startswith("error: ")
        assert is_alive(int(pid))
    assert not is_alive(int(pid))
    assert capfd.readouterr() == ("", "")  # a server's log stays away from the terminal


def test_the_same_tool_of_two_servers_carries_the_servers_name(config: Config) -> None:
    with Toolbox.from_mcp(config(one=stdio("one"), two=stdio("two")), approve=lambda call: True) as box:
        assert "one_add" in box.names and "two_add" in box.names
        assert run(box, "one_whoami")[0].startswith("one ")
        assert run(box, "two_whoami")[0].startswith("two ")


def test_a_server_that_dies_fails_its_calls_and_nothing_else(config: Config) -> None:
    with Toolbox.from_mcp(config(one=stdio("one"), two=stdio("two")), approve=lambda call: True) as box:
        output, ok = run(box, "one_dies")
        assert not ok and output.startswith("error: MCP server 'one' failed: ")
        output, ok = run(box, "one_add", a=1, b=1)
        assert not ok and output.startswith("error: MCP server 'one' failed: ")
        assert run(box, "two_add", a=1, b=1) == ("2", True)


def test_a_call_that_takes_too_long_is_given_up(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp, "CALL_SECONDS", 0.3)
    with Toolbox.from_mcp(config(one=stdio()), approve=lambda call: True) as box:
        begin = time.monotonic()
        output, ok = run(box, "sleeps", seconds=60)

        assert not ok and "'one' failed" in output
        assert time.monotonic() - begin < 30


def test_nothing_runs_without_approval(config: Config) -> None:
    with Toolbox.from_mcp(config(one=stdio())) as box:
        assert run(box, "add", a=1, b=1)[0].startswith("refused")


def test_calls_after_close_fail(config: Config) -> None:
    box = Toolbox.from_mcp(config(one=stdio()), approve=lambda call: True)
    box.close()
    box.close()

    assert run(box, "add", a=1, b=1) == ("error: the MCP connections are closed", False)


@pytest.fixture(params=["http", "sse"])
def running(request: pytest.FixtureRequest) -> Iterator[tuple[str, int]]:
    """A server process listening on a free loopback port: its transport and port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, SERVER, "web", request.param, str(port)], stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            assert process.poll() is None and time.monotonic() < deadline, "the server did not start"
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield request.param, port
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(10)


def test_a_server_over_http_runs_its_tools(config: Config, running: tuple[str, int]) -> None:
    transport, port = running
    url = f"http://127.0.0.1:{port}/{'mcp' if transport == 'http' else 'sse'}"
    entry = {"type": transport, "url": url, "headers": {"X-Key": "k"}}
    with Toolbox.from_mcp(config(web=entry), approve=lambda call: True) as box:
        assert run(box, "add", a=2, b=3) == ("5", True)
        output, ok = run(box, "fails")
        assert not ok and "it broke" in output


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        (
            {"command": "no-such-command-anywhere"},
            "MCP server 'bad' (no-such-command-anywhere) cannot be used",
        ),
        ({"command": sys.executable, "args": ["-c", "raise SystemExit('\x1b[31mno key')"]}, "no key"),
        ({"url": "http://127.0.0.1:9/mcp"}, "MCP server 'bad' (http://127.0.0.1:9/mcp) cannot be used"),
        ({}, "needs either a command or a url"),
        ({"command": "x", "url": "http://x"}, "needs either a command or a url"),
        ({"url": "ftp://x"}, "has url 'ftp://x'"),
        ({"command": "x", "args": "y"}, 'has args "y"'),
        ({"command": "x", "env": {"A": 1}}, "env is not an object of texts"),
        ({"command": "x", "type": "carrier-pigeon"}, "has type 'carrier-pigeon'"),
        ("x", 'is "x"'),
    ],
)
def test_a_server_that_cannot_be_used_is_said_in_one_line(config: Config, entry: Any, fault: str) -> None:
    with pytest.raises(ToolError) as error:
        Toolbox.from_mcp(config(good=stdio(), bad=entry))
    assert fault in str(error.value)
    assert "\n" not in str(error.value) and "\x1b" not in str(error.value)


def test_a_server_that_never_answers_is_given_up(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp, "START_SECONDS", 0.5)
    silent = {"command": sys.executable, "args": ["-c", "import sys; sys.stdin.read()"]}

    with pytest.raises(ToolError, match="'silent' did not start within"):
        Toolbox.from_mcp(config(silent=silent))


def test_a_disabled_server_is_not_started(config: Config) -> None:
    with Toolbox.from_mcp(config(one=stdio(), off={"command": "x", "disabled": True})) as box:
        assert "add" in box.names


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (None, "no MCP servers file"),
        ("{", "is not JSON"),
        ("[]", 'has no "mcpServers" object'),
        ('{"mcpServers": {}}', "names no server"),
    ],
)
def test_a_servers_file_that_cannot_be_used_is_named(tmp_path: Path, content: str | None, fault: str) -> None:
    file = tmp_path / "servers.json"
    if content is not None:
        file.write_text(content)

    with pytest.raises(ToolError, match=fault) as error:
        Toolbox.from_mcp(file)
    assert "servers.json" in error.value.message


# It prints what is no message, and lists tools with odd names and schemas.
_ODD = """
import json, sys
print("Starting v1 ...", flush=True)
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    print("debug: " + message["method"], flush=True)
    version = message.get("params", {}).get("protocolVersion", "")
    results = {
        "initialize": {"protocolVersion": version, "capabilities": {"tools": {}},
                       "serverInfo": {"name": "odd", "version": "1"}},
        "tools/list": {"tools": TOOLS},
        "tools/call": {"content": [{"type": "text", "text": "called"}]},
    }
    answer = {"result": results[message["method"]]} if message["method"] in results else {
        "error": {"code": -32601, "message": "no"}}
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **answer}), flush=True)
"""


def odd(*tools: dict[str, Any]) -> dict[str, Any]:
    return {"command": sys.executable, "args": ["-c", f"TOOLS = {list(tools)!r}\n{_ODD}"]}


def test_a_server_that_prints_garbage_and_has_odd_schemas_works(
    config: Config, capfd: pytest.CaptureFixture[str]
) -> None:
    reference = {"type": "object", "$ref": "#/$defs/A", "$defs": {"A": {"required": ["n"]}}}
    tools = [
        {"name": "a b/c", "inputSchema": {"type": "object"}},
        {"name": "nonsense", "inputSchema": {"type": "object", "properties": {"x": {"type": "no"}}}},
        {"name": "refers", "inputSchema": reference},
    ]
    with Toolbox.from_mcp(config(odd=odd(*tools)), approve=lambda call: True) as box:
        assert box.names == ["a_b_c", "nonsense", "refers"]
        assert run(box, "a_b_c") == ("called", True)
        assert run(box, "nonsense", x=1) == ("called", True)
        assert run(box, "refers") == ("error: wrong arguments for refers: 'n' is a required property", False)
    assert capfd.readouterr() == ("", "")


def test_a_server_that_breaks_the_protocol_is_said_in_one_line(config: Config) -> None:
    with pytest.raises(
        ToolError, match=r"the protocol: tools\.0\.inputSchema\.type: Field required"
    ) as error:
        Toolbox.from_mcp(config(odd=odd({"name": "t", "inputSchema": {}})))
    assert "\n" not in str(error.value)
