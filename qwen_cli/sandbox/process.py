"""One contained process as the caller holds it: three descriptors, and the exchange over them."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from qwen_cli.errors import SandboxError
from qwen_cli.sandbox import channel, forkserver_client, pictures, runner, seatbelt, spawn
from qwen_cli.sandbox import runner as sandbox_runner
from qwen_cli.sandbox.result import Limits, Outcome
from qwen_cli.sandbox.truncate import Ends

_START_SECONDS = 60.0  # importing the libraries on a slow machine that is busy
_END_SECONDS = 5.0
_DYING_SECONDS = 0.5
_MESSAGE_BYTES = 2 << 20  # a result: value and traceback are cut to 100,000 characters before they are sent
_RESULT_FIELDS = 8  # names and texts; a result has at most four of each
_STRAY_PACKETS = 10_000  # written to the channel by code that does not know the token
_SIGNALS = {
    4: "illegal instruction",
    6: "abort",
    7: "bus error",
    8: "arithmetic fault",
    9: "kill",
    11: "segmentation fault",
    24: "CPU limit",
    31: "forbidden system call",
}
_NO_ISOLATION = (
    "this machine offers neither namespaces nor Landlock with seccomp",
    "`qwen sandbox check` says what is missing; a Linux kernel from 5.13 on has what is needed",
)


@dataclass
class ContainedProcess:
    """`control` leads to the supervisor, `channel` and `output` to the contained process. `stream` holds what
    has come of a packet where the channel is a stream, `None` where it keeps packets apart."""

    control: socket.socket
    channel: socket.socket
    output: int
    stream: bytearray | None = None
    layers: dict[str, Any] = field(default_factory=dict)
    gone: bool = False

    def packets(self) -> list[bytes]:
        """Return the packets that have arrived; none where a stream has brought half of one.

        Raises `EOFError` once the other side has gone, `ValueError` where it makes no sense.
        """
        data = self.channel.recv(channel.FRAGMENT + 1024)
        if not data:
            raise EOFError
        if self.stream is None:
            return [data]
        self.stream += data
        return channel.unframe(self.stream)

    def send(self, packet: bytes) -> bytes:
        """Send `packet`, or as much of it as a stream takes now; what is left of it."""
        return packet[self.channel.send(packet) :]


def start(limits: Limits, without: Sequence[str], *, everything: bool) -> ContainedProcess:
    """Start a contained process, every layer in place. `everything`: wait until the template has imported
    all."""
    control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours, inner = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    read, write = os.pipe()
    request = {"limits": asdict(limits), "without": list(without), "everything": everything}
    parent = forkserver_client.current()
    with theirs, inner:
        try:
            parent.open(request, [theirs.fileno(), inner.fileno(), write])
        finally:
            os.close(write)
    return _greeted(ContainedProcess(control, ours, read), parent.last_words)


def plain(limits: Limits, wrapped: spawn.Wrapped = spawn.bare) -> ContainedProcess:
    """Start a process that nothing holds but limits and what it is `wrapped` in."""
    control, theirs = socket.socketpair()
    ours, inner = socket.socketpair()
    read, write = os.pipe()
    with inner:
        last_words = spawn.start(theirs, inner.fileno(), write, limits, wrapped)
    return _greeted(ContainedProcess(control, ours, read, stream=bytearray()), last_words)


def wrapped(limits: Limits) -> ContainedProcess:
    """Start a process inside sandbox-exec's profile. Raises `SandboxError` where that does not hold it."""
    if why_not := seatbelt.why_not():
        raise SandboxError(f"sandbox-exec does not contain code here: {why_not}", "use a Linux container")
    return plain(limits, seatbelt.wrap)


def _greeted(process: ContainedProcess, last_words: Callable[[], str | None]) -> ContainedProcess:
    os.set_blocking(process.output, False)
    process.layers = _greeting(process, last_words)
    process.channel.setblocking(False)
    return process


def _greeting(process: ContainedProcess, last_words: Callable[[], str | None]) -> dict[str, Any]:
    process.channel.settimeout(_START_SECONDS)
    try:
        while not (arrived := process.packets()):
            pass
        parsed = channel.parse(arrived[0])
    except (OSError, EOFError, ValueError):
        parsed = None
    if parsed is None:
        end(process)
        raise SandboxError("the sandbox did not start", last_words())
    _, kind, _, data = parsed
    if kind == channel.READY:
        return json.loads(data)
    end(process)
    if not data:
        raise SandboxError(*_NO_ISOLATION)
    raise SandboxError(f"the sandbox could not be closed off: {data.decode()}", "see `qwen sandbox check`")


def end(process: ContainedProcess, *, patience: float = 0.0) -> dict[str, Any]:
    """Kill what runs there; returns, once it is gone, what the supervisor says about it.

    `patience`: seconds in which it may end by itself first.
    """
    report: dict[str, Any] = {}
    if patience:
        process.control.settimeout(patience)
        with contextlib.suppress(OSError, ValueError):
            report = json.loads(process.control.recv(4096))
    with contextlib.suppress(OSError, ValueError):
        process.control.shutdown(socket.SHUT_WR)
        process.control.settimeout(_END_SECONDS)
        report = report or json.loads(process.control.recv(4096) or b"{}")
        process.control.recv(1)  # end of file: the supervisor has cleaned up
    process.control.close()
    process.channel.close()
    if process.output >= 0:
        os.close(process.output)
    process.output = -1
    process.gone = True
    return report


def exchange(
    process: ContainedProcess, source: bytes, limits: Limits, on_output: Callable[[bytes], None] | None
) -> Outcome:
    """Send one block, gather its output, and wait for its result or its end, whichever is first."""
    token = secrets.token_bytes(channel.TOKEN_BYTES)
    reply = _Reply(token, Ends(limits.output_characters), on_output)
    deadline = time.monotonic() + limits.wall_seconds
    _tell(process, channel.GO)
    try:
        outgoing = channel.packets(token, channel.CODE, source)
        if process.stream is not None:
            outgoing = list(map(channel.frame, outgoing))
        why = _converse(process, outgoing, reply, limits, deadline)
    except BaseException:
        end(process)  # Ctrl-C, or a callback that failed: the state of the code is not known any more
        raise
    if why is None and reply.result is not None:
        _tell(process, channel.REST)
        _drain(process, reply)
        return _reported(reply)
    _drain(process, reply)
    # A process that dies closes its channel a moment before it can be seen to have ended.
    report = end(process, patience=_DYING_SECONDS if why == "gone" else 0.0)
    return _ended(why or "gone", report, reply, limits)


def _tell(process: ContainedProcess, what: bytes) -> None:
    with contextlib.suppress(OSError):  # it has gone: seen at the next look
        process.control.send(what)


class _Reply:
    """What has arrived for one run."""

    def __init__(self, token: bytes, output: Ends, on_output: Callable[[bytes], None] | None) -> None:
        self.token = token
        self.output = output
        self.on_output = on_output
        self.result: dict[str, Any] | None = None
        self.plots: list[bytes] = []
        self.stray = 0
        self._parts = {channel.RESULT: bytearray(), channel.PLOT: bytearray()}

    def take(self, packet: bytes) -> bool:
        """Add one packet; false if it makes no sense."""
        parsed = channel.parse(packet)
        if parsed is None or not secrets.compare_digest(parsed[0], self.token):
            self.stray += 1
            return self.stray < _STRAY_PACKETS
        _, kind, last, data = parsed
        if kind not in self._parts:
            return False
        whole = self._parts[kind]
        whole += data
        if len(whole) > (runner.PLOT_BYTES if kind == channel.PLOT else _MESSAGE_BYTES):
            return False
        if not last:
            return True
        self._parts[kind] = bytearray()
        return self._take_plot(bytes(whole)) if kind == channel.PLOT else self._take_result(bytes(whole))

    def _take_plot(self, plot: bytes) -> bool:
        self.plots.append(plot)
        within = len(self.plots) <= runner.PLOTS and sum(map(len, self.plots)) <= runner.PLOTS_BYTES
        return within and pictures.is_png(plot)

    def _take_result(self, text: bytes) -> bool:
        if not _is_flat(text):
            return False
        try:
            self.result = json.loads(text)
        except (ValueError, RecursionError):
            return False
        return isinstance(self.result, dict)

    def print(self, data: bytes) -> None:
        """Take a piece of output."""
        self.output.feed(data)
        if self.on_output:
            self.on_output(data)


def _is_flat(text: bytes) -> bool:
    """Return whether JSON, if it is that, is one object of few fields: parsed, "[],[],…" grows to a
    multiple."""
    quoted = text.replace(rb"\\", b"").replace(rb"\"", b"")
    if quoted.count(b'"') > 4 * _RESULT_FIELDS:
        return False
    outside = b"".join(quoted.split(b'"')[::2])
    return b"[" not in outside and outside.count(b"{") == 1


def _converse(
    process: ContainedProcess, outgoing: list[bytes], reply: _Reply, limits: Limits, deadline: float
) -> str | None:
    """Exchange packets until the result is there, and return `None`, or else why there will be none."""
    poll = select.poll()
    poll.register(process.output, select.POLLIN)
    poll.register(process.control, select.POLLIN)
    poll.register(process.channel, select.POLLIN | select.POLLOUT)
    while reply.result is None:
        left = deadline - time.monotonic()
        if left <= 0:
            return "timeout"
        for fd, what in poll.poll(max(1, int(left * 1000))):
            if fd == process.control.fileno():
                return "gone"
            if fd == process.output:
                if not _print_once(process, reply):
                    poll.unregister(process.output)
                if reply.output.total > limits.output_bytes:
                    return "output"
            elif what & select.POLLOUT and outgoing:
                _send(process, outgoing)
                if not outgoing:
                    poll.modify(process.channel, select.POLLIN)
            elif what & (select.POLLIN | select.POLLHUP):
                try:
                    sound = all(map(reply.take, process.packets()))
                except (EOFError, ConnectionResetError):
                    return "gone"
                except ValueError:
                    return "channel"
                if not sound:
                    return "channel"
    return None


def _send(process: ContainedProcess, outgoing: list[bytes]) -> None:
    with contextlib.suppress(BlockingIOError, BrokenPipeError):
        while outgoing:
            if left := process.send(outgoing[0]):
                outgoing[0] = left
            else:
                outgoing.pop(0)


def _print_once(process: ContainedProcess, reply: _Reply) -> bool:
    """Read what is there, at most once; false at the end of the output."""
    try:
        data = os.read(process.output, 1 << 16)
    except BlockingIOError:
        return True
    reply.print(data)
    return bool(data)


def _drain(process: ContainedProcess, reply: _Reply) -> None:
    # All that was written before the result is in the pipe by now, and a pipe holds 64 KiB to 1 MiB.
    for _ in range(16):
        before = reply.output.total
        if not _print_once(process, reply) or reply.output.total == before:
            return


def _reported(reply: _Reply) -> Outcome:
    """Return the run's own report, of which only what has the right shape is taken: it comes from the code's
    process."""
    report = reply.result or {}
    status = report.get("status")
    code = report.get("exit")
    return Outcome(
        status=status if status in ("ok", "error", "memory") else "error",
        output=reply.output.text(),
        value=_text(report.get("value")),
        error=_text(report.get("error")),
        where=_text(report.get("where")),
        traceback=_text(report.get("traceback")),
        plots=tuple(reply.plots),
        exit_code=code & 0xFF if isinstance(code, int) else None,
    )


def _text(value: object) -> str | None:
    # Lone surrogates cannot be printed or saved.
    return value.encode(errors="replace").decode() if isinstance(value, str) else None


def _ended(why: str, report: dict[str, Any], reply: _Reply, limits: Limits) -> Outcome:
    """Return the outcome of a run that had to be ended, or that ended itself."""
    output, plots = reply.output.text(), tuple(filter(pictures.is_png, reply.plots[: runner.PLOTS]))
    reason, code = report.get("reason"), report.get("exit")
    if why == "timeout":
        return Outcome(
            "timeout", output, error=f"TimeoutError: not done after {limits.wall_seconds:g} s", plots=plots
        )
    if reason == "memory":
        return Outcome(
            "memory", output, error=f"MemoryError: more than {limits.memory_bytes >> 20:,} MiB in use"
        )
    if why == "output":
        text = f"killed: more than {limits.output_bytes >> 20:,} MiB written"
    elif why == "channel":
        text = "killed: it wrote to the sandbox's own channel"
    elif reason == "processes":
        text = f"killed: more than {limits.processes} processes and threads"
    elif reason == "files":
        most = f"{limits.file_bytes >> 20:,} MiB or {sandbox_runner.MOST_ENTRIES:,} files and folders"
        text = f"killed: more than {most}"
    elif isinstance(code, int) and code >= 0 and reason is None:
        return Outcome(
            "killed", output, error=f"the process ended itself with exit code {code}", exit_code=code
        )
    elif isinstance(code, int) and code < 0 and reason is None:
        text = f"killed: {_SIGNALS.get(-code, 'signal')} (signal {-code})"
        return Outcome("killed", output, error=text, exit_code=128 - code)
    elif reason == "closed":
        text = "killed: it closed the sandbox's own channel"
    else:
        text = "killed: the sandbox's supervisor has gone"
    return Outcome("killed", output, error=text)
