"""The page at `/`, for a person with a browser on this machine: files of this package, sent with the rules
that a browser is to hold them to. What a model writes is shown there, and can do nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from qwen_cli.serve.api import ollama
from qwen_cli.serve.api.errors import Refused
from qwen_cli.serve.scheduling.service import Service

FOLDER = Path(__file__).parent.parent / "page"
PLACE = "/page/"
"""What the paths of its files begin with. Their bytes are no secret; what they ask for needs the key."""

# Nothing from elsewhere, no inline script or style, in nobody's frame. Strings become HTML by DOMPurify alone
# (trusted types). KaTeX sets the style of its elements through the DOM, which `style-src` lets scripts do.
POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "font-src 'self'",
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types dompurify",
    ]
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",  # asked for again after an update; then the tag says that nothing is new
}
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
    ".json": "application/json",
    ".txt": "text/plain; charset=utf-8",
}


@dataclass(frozen=True)
class File:
    """A file of the page: its bytes, their media type, and the tag that changes with them."""

    data: bytes
    media_type: str
    tag: str


@cache
def files() -> Mapping[str, File]:
    """Return the files of the page by their path below `FOLDER`. Only these are ever sent: no path of a
    request reaches the disk."""
    found = {}
    for path in sorted(FOLDER.rglob("*")):
        if path.suffix in _TYPES and path.is_file():
            data = path.read_bytes()
            tag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
            found[path.relative_to(FOLDER).as_posix()] = File(data, _TYPES[path.suffix], tag)
    return found


def is_open(method: str, path: str) -> bool:
    """Return whether a browser may have `path` before it can show a key."""
    return method in ("GET", "HEAD") and (path == "/" or path.startswith(PLACE))


async def root(request: Request, service: Service) -> Response:
    """Answer a browser with the page, and others as Ollama does."""
    if "text/html" in request.headers.get("accept", ""):
        answer = _sent(request, files()["index.html"])
    else:
        answer = await ollama.root(request, service)
    answer.headers["Vary"] = "Accept"
    return answer


async def file(request: Request, service: Service) -> Response:
    """Answer with a file of the page. Raises `Refused` where there is none of that name."""
    name = request.path_params["name"]
    if name not in files():
        raise Refused(404, f"there is no GET {request.url.path[:80]}")
    return _sent(request, files()[name])


def _sent(request: Request, one: File) -> Response:
    headers = {**_HEADERS, "ETag": one.tag}
    if request.headers.get("if-none-match") == one.tag:
        return Response(status_code=304, headers=headers)
    return Response(one.data, media_type=one.media_type, headers=headers)
