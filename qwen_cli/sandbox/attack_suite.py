"""Runs the attack programs in real sandboxes, and looks outside for what they may have done."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qwen_cli.sandbox import forkserver_client, runner, supervisor
from qwen_cli.sandbox.result import MIB, Limits, Outcome
from qwen_cli.sandbox.sandbox import Sandbox

ATTACKS = Path(__file__).with_name("attacks")
POSSIBLE = sys.platform == "linux"  # the programs go for what Linux has
LIMITS = Limits(wall_seconds=1.5, memory_bytes=256 * MIB, processes=24)
_GRACE = 10.0  # seconds for starting and ending, on a machine that is busy with other things
_NAME = "qwen-canary"  # the process name attacks give to what they leave behind
_TRACES = ("/tmp", "/var/tmp", "/dev/shm", "/etc", "/usr/lib", "/", "/run")  # noqa: S108 - looked at only


@dataclass(frozen=True)
class Verdict:
    """How one attack went. `fault` is empty where it was blocked and the sandbox after it worked."""

    name: str
    status: str
    seconds: float
    fault: str = ""


def names() -> list[str]:
    """Return the names of the attack programs, in order."""
    return sorted(path.stem for path in ATTACKS.glob("*.py"))


def needs(name: str) -> str | None:
    """Return the layer that an attack is for, if it is for one alone."""
    return _header(name).get("needs")


def fills_a_disk(name: str) -> bool:
    """Return whether an attack writes as much as it can."""
    return _header(name).get("fills") == "a disk"


def run(
    *,
    without: Collection[str] = (),
    only: Collection[str] = (),
    on_verdict: Callable[[Verdict], None] = lambda verdict: None,
) -> list[Verdict]:
    """Run every attack whose layers are on. `without` leaves layers out, for tests of the
    fallbacks; `only` names some attacks."""
    with bait() as laid, ThreadPoolExecutor(3) as several:

        def one(name: str) -> Verdict:
            verdict = attack(name, laid, without)
            on_verdict(verdict)
            return verdict

        named = [n for n in names() if n in only] or names()
        wanted = [n for n in named if needs(n) not in without]
        # Files without a name are told by what is free on the disk: what fills it has it for itself.
        filling = [n for n in wanted if fills_a_disk(n)]
        found = list(several.map(one, [n for n in wanted if n not in filling]))
        found += map(one, filling)
        verdicts = sorted(found, key=lambda verdict: wanted.index(verdict.name))
        left = left_behind(laid)
    if left:
        verdicts.append(Verdict("what is left behind", "", 0.0, left))
    return verdicts


def attack(name: str, bait: dict[str, Any], without: Collection[str] = ()) -> Verdict:
    """Run one attack in a sandbox of its own, then a harmless program in the next one."""
    prelude = "".join(f"{key} = {value!r}\n" for key, value in bait.items() if key.isupper())
    source = (ATTACKS / f"{name}.py").read_text()
    with Sandbox(LIMITS, _without=without) as box:
        box.open()
        start = time.monotonic()
        outcome = box.run(prelude + source)
        after = box.run("print(6 * 7)") if outcome.status not in ("ok", "error", "memory") else None
    seconds = time.monotonic() - start
    fault = _fault(name, outcome, seconds)
    with Sandbox(LIMITS, _without=without) as box:
        after = after or box.run("print(6 * 7)")
    if after.output != "42\n":
        fault = fault or f"the run after it gave {after.output!r}, {after.error}"
    return Verdict(name, outcome.status, seconds, fault)


def _fault(name: str, outcome: Outcome, seconds: float) -> str:
    header = _header(name)
    if "ESCAPED" in outcome.output:
        return next(line for line in outcome.output.splitlines() if "ESCAPED" in line)
    if "FORGED" in f"{outcome.value}{outcome.error}" and header.get("reports") != "anything":
        return f"the caller took a forged result: {outcome.value}"
    expected = header.get("status", header.get("reports", "ok")).split()
    if outcome.status not in expected and expected != ["anything"]:
        return f"ended as {outcome.status} ({outcome.error}), not as {' or '.join(expected)}"
    if seconds > LIMITS.wall_seconds + _GRACE:
        return f"took {seconds:.1f} s"
    if len(outcome.output) > LIMITS.output_characters + 100:
        return f"{len(outcome.output):,} characters came back"
    return ""


def _header(name: str) -> dict[str, str]:
    """Return `escape` (what would count as one), `status` or `reports` (how the run ends), `needs` (a
    layer), `fills` (a disk)."""
    lines = (ATTACKS / f"{name}.py").read_text().splitlines()
    pairs = (line[2:].partition(": ") for line in lines if line.startswith("# "))
    return {key: value for key, _, value in pairs if key in ("escape", "status", "reports", "needs", "fills")}


@contextlib.contextmanager
def bait() -> Iterator[dict[str, Any]]:
    """Lay out what an escape would find: a secret file, a variable, listening sockets. Upper-case names are
    told to the attacks."""
    os.environ["QWEN_CANARY"] = "canary"
    heard: list[bytes] = []
    with contextlib.ExitStack() as open_things:
        place = Path(open_things.enter_context(tempfile.TemporaryDirectory(prefix="qwen-drill-")))
        secret = place / "secret"
        secret.write_text("canary")
        tcp = open_things.enter_context(socket.create_server(("127.0.0.1", 0)))
        port = tcp.getsockname()[1]
        udp = open_things.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(("127.0.0.1", port))
        name = f"qwen-{uuid.uuid4()}"
        unix = open_things.enter_context(socket.socket(socket.AF_UNIX))
        unix.bind("\0" + name)
        unix.listen()
        for listener in (tcp, unix, udp):
            threading.Thread(target=_hear, args=(listener, heard), daemon=True).start()
        warmed = forkserver_client.current()
        yield {
            "PORT": port,
            "NAME": name,
            "SECRET": str(secret),
            "PARENT": os.getpid(),
            "TEMPLATE": warmed.pid,
            "KEY": 0x51774E00 + os.getpid() % 251,
            "heard": heard,
            "secret": secret.stat(),
            "descriptors": _descriptors(),
            "folders": _scratch_folders(),
            "template": warmed,
        }
        for listener in (tcp, unix, udp):
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
        del os.environ["QWEN_CANARY"]


def _hear(listener: socket.socket, heard: list[bytes]) -> None:
    try:
        if listener.type == socket.SOCK_STREAM:
            connection, _ = listener.accept()
            heard.append(b"a connection")
            connection.close()
        elif data := listener.recv(100):
            heard.append(data)
    except OSError:
        return


def left_behind(bait: dict[str, Any]) -> str:
    """Return what the attacks did outside; empty where nothing."""
    faults = [f"heard {what!r}" for what in bait["heard"]]
    for place in (*_TRACES, str(Path(bait["SECRET"]).parent)):
        trace = Path(place, "qwen_escape")
        if trace.exists():
            faults.append(f"wrote {trace}")
    secret = Path(bait["SECRET"])
    if not secret.exists() or secret.stat() != bait["secret"]:
        faults.append("changed the secret file")
    if not bait["template"].alive():
        faults.append("the warmed process is dead")
    deadline = time.monotonic() + 1.0
    while (alive := _canaries()) and time.monotonic() < deadline:
        time.sleep(0.05)
    if alive:
        faults.append(f"processes {alive} outlived their run")
    if scratch := _scratch_folders() - bait["folders"]:
        faults.append(f"{', '.join(map(str, scratch))} stayed")
    if (now := _descriptors()) > bait["descriptors"]:
        faults.append(f"{now - bait['descriptors']} descriptors more than before")
    return "; ".join(faults)


def _canaries() -> list[int]:
    pids = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and (entry / "comm").read_text().strip() == _NAME:
                pids.append(int(entry.name))
    return pids


def _scratch_folders() -> set[Path]:
    """Return the folders of sandboxes that nobody holds any more."""
    folders = set()
    places = {_TRACES[0], tempfile.gettempdir()}
    for path in (path for place in places for path in Path(place).glob(f"{supervisor.PREFIX}*")):
        with contextlib.suppress(OSError):  # gone by now, or of another user
            if not runner.is_held(path):
                folders.add(path)
    return folders


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
