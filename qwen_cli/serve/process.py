"""The running server: where it listens, how it begins, and how it ends without tearing an answer."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import uvicorn

from qwen_cli.engines.core.options import LoadOptions
from qwen_cli.engines.daemon import paths
from qwen_cli.errors import EngineError, UsageError
from qwen_cli.serve import app, memory
from qwen_cli.serve.api import auth
from qwen_cli.serve.api.auth import Rules
from qwen_cli.serve.connection import Limited
from qwen_cli.serve.scheduling import threads
from qwen_cli.serve.scheduling.metrics import Metrics
from qwen_cli.serve.scheduling.pool import ModelPool
from qwen_cli.serve.scheduling.service import Service
from qwen_cli.serve.sparing import LoopLog, SparingFilter

_TICK = 1.0  # seconds between two looks for idle models
_BACKLOG = 1_024  # connections that wait to be taken: who finds no place asks again after a second
_AT_ONCE = 32  # of them that are taken before others have their turn
_A_LOOK = 0.5  # seconds: `qwen ps` takes the lock for a moment to see whether somebody has it
_SWITCH = 0.001  # seconds for a thread that computes in Python; after five, as usual, the loop comes late
_KEEP_ALIVE = 75  # seconds of an idle connection: longer than the pools of clients keep theirs


@dataclass(frozen=True)
class Plan:
    """How to serve. `loading` are the options of the first model; `keys` are taken at the
    address, () for one that is made up, `None` for none at all; `keep` is in seconds, 0 for ever."""

    loading: LoadOptions
    host: str = "127.0.0.1"
    port: int = 8080
    keys: Sequence[str] | None = ()
    parallel: int = 8
    max_queue: int = 64
    max_body: int = 32 << 20
    keep: float = 1800.0
    origins: Sequence[str] = ()
    allow_local_urls: bool = False


def serve(plan: Plan, *, notice: Callable[[str], None], ready: Callable[[str], None]) -> None:
    """Serve until a signal ends it; `ready` is told the address once the first model is loaded.

    The first signal lets running answers end, the second ends at once. Raises `UsageError` for an address
    that cannot be had, `EngineError` where a server of this user runs already, and what loading raises.
    """
    with _alone(), _listening(plan) as listener, _keyed(plan) as keys:
        address = _address(plan.host, listener)
        pool = ModelPool(
            plan.loading,
            parallel=plan.parallel,
            max_queue=plan.max_queue,
            keep=plan.keep,
            notice=notice,
        )
        service = Service(pool, Metrics(pool), plan.max_body, plan.allow_local_urls, address=address)
        rules = Rules(keys, auth.hosts(plan.host), plan.origins)
        sys.setswitchinterval(_SWITCH)
        try:
            pool.begin()
            asyncio.run(_run(service, rules, listener, lambda: ready(address)))
        finally:
            paths.link_path().unlink(missing_ok=True)
            threads.THREADS.shutdown(wait=False, cancel_futures=True)
            pool.close()


async def _run(service: Service, rules: Rules, listener: socket.socket, ready: Callable[[], None]) -> None:
    servers = [_server(app.public(service, rules))]
    sockets = [listener]
    if paths.HAS_SOCKETS:
        servers.append(_server(app.private(service)))
        sockets.append(_private_socket())
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(LoopLog())
    _on_signals(loop, lambda: _end(service, servers))
    tasks = [asyncio.create_task(server.serve([sock])) for server, sock in zip(servers, sockets, strict=True)]
    while not all(server.started for server in servers):
        await asyncio.sleep(0.01)
    for sock in sockets:  # for which asyncio has set `_AT_ONCE`
        sock.listen(_BACKLOG)
    ready()
    try:
        while not any(task.done() for task in tasks):
            await asyncio.wait(tasks, timeout=_TICK)
            await asyncio.to_thread(service.pool.drop_idle)
            await asyncio.to_thread(memory.give_back)
        await asyncio.gather(*tasks)
    finally:
        if paths.HAS_SOCKETS:
            paths.socket_path().unlink(missing_ok=True)


def _on_signals(loop: asyncio.AbstractEventLoop, end: Callable[[], None]) -> None:
    """Have the first signal `end` the server; the second ends the process where it is, whatever its loop
    does, and while the models are freed too."""
    asked = False

    def handle(*_: Any) -> None:
        nonlocal asked
        if asked:
            for path in (paths.socket_path(), paths.key_path(), paths.link_path(), paths.pid_path()):
                path.unlink(missing_ok=True)
            os._exit(130)
        asked = True
        with suppress(RuntimeError):  # the loop has ended already
            loop.call_soon_threadsafe(end)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)


def _end(service: Service, servers: Sequence[uvicorn.Server]) -> None:
    """Take no more requests; what runs goes on."""
    service.pool.stop()
    for server in servers:
        server.should_exit = True


def _server(application: Any) -> uvicorn.Server:
    config = uvicorn.Config(
        application,
        http=Limited,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE,
        ws="none",
        backlog=_AT_ONCE,
    )
    logger = logging.getLogger("uvicorn.error")
    if not any(isinstance(one, SparingFilter) for one in logger.filters):
        logger.addFilter(SparingFilter())
    server = uvicorn.Server(config)
    server.capture_signals = nullcontext  # type: ignore[method-assign, assignment]  # they have one owner
    return server


@contextmanager
def _alone() -> Iterator[None]:
    """Hold the lock of the user's one server: commands would not know which to ask."""
    from filelock import FileLock, Timeout

    paths.private_folder()
    lock = FileLock(paths.lock_path())
    try:
        lock.acquire(timeout=_A_LOOK)
    except Timeout:
        raise EngineError(
            "a server of yours runs already", "`qwen ps` shows it, `qwen stop` ends it"
        ) from None
    try:
        paths.pid_path().write_text(f"{os.getpid()}\n")
        yield
    finally:
        paths.pid_path().unlink(missing_ok=True)
        lock.release()


@contextmanager
def _listening(plan: Plan) -> Iterator[socket.socket]:
    """Open the socket at the address. Raises `UsageError` where it cannot be had, or needs a key."""
    if not auth.is_loopback(plan.host) and not plan.keys:
        raise UsageError(
            f"{plan.host} can be reached by others, so a key is needed",
            "give `api_key`, or set QWEN_SERVE_KEY",
        )
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            plan.host, plan.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as fault:
        raise UsageError(f"`host={plan.host}` is no address: {fault.strerror}") from None
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as fault:
        listener.close()
        raise UsageError(
            f"cannot listen at {plan.host}, port {plan.port}: {fault.strerror}", "choose another `port`"
        ) from None
    with listener:
        yield listener


@contextmanager
def _keyed(plan: Plan) -> Iterator[Sequence[str]]:
    """Yield the keys that are taken. One that is made up lies where only this user can read it."""
    if plan.keys is None:
        yield ()
        return
    if plan.keys:
        yield plan.keys
        return
    key = secrets.token_urlsafe(24)
    path = paths.key_path()
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f"{key}\n")
    try:
        yield (key,)
    finally:
        path.unlink(missing_ok=True)


def _private_socket() -> socket.socket:
    path = paths.socket_path()
    path.unlink(missing_ok=True)  # whoever made it is gone: the lock is ours
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)  # mode 0600, from the first moment
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    listener.listen(_BACKLOG)
    listener.setblocking(False)
    return listener


def _address(host: str, listener: socket.socket) -> str:
    port = listener.getsockname()[1]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
