"""Who may talk to the server, before anything else is looked at."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qwen_cli.serve.api import errors, page

_OPEN = ("/health", "/v1/health")  # a monitor has no key; it learns only that the server is up
_KNOWN = "qwen.key"  # of a scope: whether its key is one of the server's
_METHODS = "GET, POST, DELETE, OPTIONS"  # HEAD needs no permission
_HEADERS = "Authorization, Content-Type"


@dataclass(frozen=True)
class Rules:
    """`keys` that are taken (none: no key is asked for), `hosts` that the server may be called by (none: by
    any), `origins` of web pages that may use it ("*": all)."""

    keys: Sequence[str] = ()
    hosts: frozenset[str] | None = None
    origins: Sequence[str] = ()

    @property
    def is_local(self) -> bool:
        """Return whether only this machine reaches the server, which then has a page of its own."""
        return self.hosts is not None


class Guard:
    """Refuses requests against the rules.

    The `Host` is looked at because a web page may point a name of its own at this machine (DNS rebinding);
    the `Origin` because a page may send requests that it cannot read the answers of.
    """

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self._app = app
        self._rules = rules
        self._keys = [key.encode() for key in rules.keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        if origin is not None and self._allows(origin):
            send = self._sharing(origin, send)
        if fault := self._fault(scope, headers, origin):
            await errors.response(fault, scope["path"])(scope, receive, send)
        elif origin and scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            await self._preflight(headers)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _fault(self, scope: Scope, headers: Headers, origin: str | None) -> errors.Refused | None:
        if self._rules.hosts is not None and _called(headers.get("host", "")) not in self._rules.hosts:
            return errors.Refused(403, f"the server is not called {headers.get('host', '')[:80]!r}")
        if origin is not None and not self._allows(origin) and not self._is_own(origin, headers):
            return errors.Refused(
                403, f"pages of {origin[:80]} may not use the server: it was not started with them in `cors`"
            )
        scope[_KNOWN] = bool(self._keys)
        asks = scope["method"] == "OPTIONS" and origin is not None  # browsers ask without the key
        is_open = scope["path"] in _OPEN or (
            self._rules.is_local and page.is_open(scope["method"], scope["path"])
        )
        if self._keys and not is_open and not asks and not self._knows(headers):
            return errors.Refused(401, "the API key is missing or wrong", code="invalid_api_key")
        return None

    def _allows(self, origin: str) -> bool:
        return "*" in self._rules.origins or origin in self._rules.origins

    def _is_own(self, origin: str, headers: Headers) -> bool:
        """Return whether the server's own page asks. `Host` is one of the server's names by now."""
        return self._rules.is_local and origin == f"http://{headers.get('host', '')}"

    def _knows(self, headers: Headers) -> bool:
        # All are compared, each in the same time whatever is alike.
        same = [hmac.compare_digest(_given(headers).encode(), key) for key in self._keys]
        return any(same)

    def _preflight(self, headers: Headers) -> Response:
        """Answer a browser that asks whether a page may: with what headers it likes, since SDKs send their
        own (`x-stainless-os`, `anthropic-version`)."""
        allowed = {
            "Access-Control-Allow-Methods": _METHODS,
            "Access-Control-Allow-Headers": headers.get("access-control-request-headers", _HEADERS),
            "Access-Control-Max-Age": "600",
        }
        if "access-control-request-private-network" in headers:
            allowed["Access-Control-Allow-Private-Network"] = "true"
        return Response(status_code=200, headers=allowed)

    def _sharing(self, origin: str, send: Send) -> Send:
        async def shared(message: Message) -> None:
            if message["type"] == "http.response.start":
                more = [(b"access-control-allow-origin", origin.encode()), (b"vary", b"Origin")]
                more.append((b"access-control-expose-headers", b"Retry-After"))
                # Some pages send them to all servers; here only a key in a header lets anybody in.
                more.append((b"access-control-allow-credentials", b"true"))
                message["headers"] = [*message["headers"], *more]
            await send(message)

        return shared


def key_of(request: Request) -> str:
    """Return what tells the keys of a server apart: a digest of the one that a request was let in with. All
    are alike where none is asked for."""
    known = request.scope.get(_KNOWN, False)
    return hashlib.sha256(_given(request.headers).encode()).hexdigest() if known else ""


def _given(headers: Headers) -> str:
    """Return the key in `headers`, as OpenAI's clients send it, or Anthropic's."""
    kind, _, given = headers.get("authorization", "").partition(" ")
    return (given if kind.lower() == "bearer" else headers.get("x-api-key", "")).strip()


def hosts(address: str) -> frozenset[str] | None:
    """Return the names that requests meant for a server at `address` use: on loopback its own, elsewhere
    anything."""
    return frozenset({"localhost", "127.0.0.1", "::1", address.lower()}) if is_loopback(address) else None


def is_loopback(address: str) -> bool:
    """Return whether only this machine reaches `address`."""
    if address.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _called(host: str) -> str:
    """Return the name in a `Host` header."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""
