"""The same model on several machines: the commands for each, printed or run.

vLLM's machines are joined by Ray (`ray start`, flags of Ray 2.60.0), SGLang's find each other by themselves.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from qwen_cli.errors import UsageError
from qwen_cli.launch import sglang, vllm
from qwen_cli.launch.command import Command, LaunchOptions
from qwen_cli.launch.target import EngineName

_RAY_PORT = 6379  # Ray's own
_MEETING_PORT = 20000  # SGLang's documentation ("Multi-Node Deployment")
# What may stand in an ssh command line: no word that begins with a dash.
_HOST = re.compile(r"(?:[A-Za-z0-9_][\w.-]*@)?[A-Za-z0-9_][\w.:-]*")


@dataclass(frozen=True)
class Step:
    """A command on a machine. `stays` says that it runs as long as the model is served."""

    host: str
    command: Command
    stays: bool = False


def parse(given: str | None) -> tuple[int, tuple[str, ...]]:
    """Return (how many, their names) of "2" or "host1,host2". Raises `UsageError`."""
    if given is None:
        return 1, ()
    if given.strip().isdigit():
        count = int(given)
        if count < 1:
            raise UsageError(f"`nodes` must be at least 1, got {count}")
        return count, ()
    hosts = tuple(host.strip() for host in given.split(","))
    if wrong := [host for host in hosts if not _HOST.fullmatch(host)]:
        raise UsageError(
            f"`nodes` has {wrong[0]!r}, which is no name of a machine", "write `nodes=host1,host2`"
        )
    if len(set(hosts)) < len(hosts):
        raise UsageError(f"`nodes` names a machine twice: {given}", "name each once")
    return len(hosts), hosts


def steps(
    engine: EngineName, options: LaunchOptions, hosts: Sequence[str], *, keys: Path | None = None
) -> list[Step]:
    """Return what is to be run, in order; the last step is on the first machine, where clients ask."""
    first = hosts[0].rpartition("@")[2]
    if engine == "vllm":
        head = Command(("ray", "start", "--head", "--port", str(_RAY_PORT)))
        worker = Command(("ray", "start", "--address", f"{first}:{_RAY_PORT}"))
        joined = [Step(hosts[0], head), *(Step(host, worker) for host in hosts[1:])]
        return [*joined, Step(hosts[0], vllm.command(options, ray=True), stays=True)]
    place = f"{first}:{_MEETING_PORT}"
    several = [
        Step(
            host,
            sglang.command(options, keys=keys, nodes=len(hosts), node=rank, first=place),
            stays=True,
        )
        for rank, host in enumerate(hosts)
    ]
    return [*several[1:], several[0]]


def leave(engine: EngineName, hosts: Sequence[str]) -> list[Step]:
    """Return what ends the cluster when the model is served no more."""
    return [Step(host, Command(("ray", "stop"))) for host in hosts] if engine == "vllm" else []


def over_ssh(step: Step) -> Command:
    """Return the step as this machine runs it on another. A terminal is asked for, so that what stays ends
    with the connection; nothing is asked of the person."""
    terminal = ("-tt",) if step.stays else ()
    words = (
        "ssh",
        *terminal,
        "-o",
        "BatchMode=yes",
        step.host,
        "--",
        replace(step.command, key=None).shell_line(),
    )
    return Command(words)


def is_here(host: str) -> bool:
    """Return whether `host` is this machine."""
    import socket

    import psutil

    name = host.rpartition("@")[2]
    if name in ("localhost", "127.0.0.1", "::1", socket.gethostname(), socket.getfqdn()):
        return True
    try:
        known = {str(info[4][0]) for info in socket.getaddrinfo(name, None)}
    except OSError:
        return False
    own = {address.address for addresses in psutil.net_if_addrs().values() for address in addresses}
    return bool(known & own)
