"""`qwen serve --open`: the link to the server's page, which carries the key, and a browser at it."""

from __future__ import annotations

import html
import os
import sys
import threading
from collections.abc import Sequence
from urllib.parse import quote

from qwen_cli.commands.shared.output import say
from qwen_cli.engines.daemon import paths
from qwen_cli.errors import UsageError

_WAIT = 5.0  # seconds in which a browser has been told, or shall not be waited for


def check(host: str) -> None:
    """Raise `UsageError` where a server at `host` has no page."""
    from qwen_cli.serve.api import auth

    if not auth.is_loopback(host):
        raise UsageError(
            f"--open is for a server on this machine alone, --host {host} is for others too",
            "leave out one of them; from another machine forward the port: ssh -L 8080:127.0.0.1:8080 HOST",
        )


def link(address: str, keys: Sequence[str] | None) -> str:
    """Return the link to the page of the server at `address` with its key; `keys` are as in
    `serve.process.Plan`. The key is in the fragment, which browsers send to no server."""
    if keys is None:
        return f"{address}/"
    key = keys[0] if keys else paths.key_path().read_text().strip()
    return f"{address}/#key={quote(key, safe='')}"


def show(address: str, keys: Sequence[str] | None, *, wait: bool = False) -> None:
    """Print the link, and open a browser at it where there is a display. `wait` until it has been told."""
    page = link(address, keys)
    say(f"open {page}")
    if not _has_display():
        return
    import webbrowser

    # The command line of a browser can be read by others on the machine: it gets a file that leads on.
    paths.private_folder()
    path = paths.link_path()
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(_leading_to(page))
    opening = threading.Thread(target=webbrowser.open, args=(path.as_uri(),), daemon=True)
    opening.start()
    if wait:
        opening.join(_WAIT)


def _leading_to(page: str) -> str:
    to = html.escape(page)
    return (
        '<!doctype html><meta charset="utf-8"><meta name="referrer" content="no-referrer"><title>qwen</title>'
        f'<meta http-equiv="refresh" content="0; url={to}"><a href="{to}">qwen</a>\n'
    )


def _has_display() -> bool:
    """Return whether a browser would have a window; else `webbrowser` starts one that takes the terminal."""
    shown = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return bool(shown) or sys.platform in ("darwin", "win32")
