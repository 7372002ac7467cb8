"""Pictures from the web. An address may come from a text that somebody else wrote, so that it must not lead
to what only this machine can reach: its own services, its network, a cloud's metadata.

Each address, also after a redirect, is resolved and judged here, and the connection goes to the very one that
was judged: a name that answers differently a moment later gains nothing. That is also why a proxy of the
environment is not used: it would resolve the name again, where nobody judges.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, unquote_to_bytes

from qwen_cli.errors import UsageError
from qwen_cli.sanitize import clean_name

if TYPE_CHECKING:
    import ssl

    import httpx

PICTURES = "image/*, video/*, application/pdf, */*;q=0.1"
PAGES = "text/html, text/markdown, text/plain, application/json, */*;q=0.1"
"""What a server is told that it may answer."""
_REDIRECTS = 5
_LOOK = 0.1  # seconds between two looks whether anybody waits
_CONNECT = 10.0  # seconds for one of a host's addresses
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052: the last four bytes are an IPv4 address
_YOURSELF = "download it yourself and give the file"


@dataclass(frozen=True)
class Fetched:
    """What an address gave. `content_type` is what its server calls it ("image/png"), or ""."""

    data: bytes
    content_type: str
    name: str


class _Asking:
    """One fetch, and how others end it: neither a name server nor a server that sends its headers one by one
    can be given up on from within."""

    def __init__(self, most_bytes: int, seconds: float, accept: str) -> None:
        self.most_bytes = most_bytes
        self.accept = accept
        self.until = time.monotonic() + seconds
        self.over = False
        self._socket: socket.socket | None = None

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Keep the socket that httpcore has opened (its `trace` extension)."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._socket = info["return_value"].get_extra_info("socket")
            if self.over:
                self.end()

    def end(self) -> None:
        """Close the connection: whatever still reads from it fails at once."""
        self.over = True
        if self._socket:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


def fetch(
    url: str,
    *,
    allow_local: bool,
    most_bytes: int,
    seconds: float,
    stopped: Callable[[], bool] = lambda: False,
    accept: str = PICTURES,
) -> Fetched:
    """Return what is at an http(s) address.

    At most `most_bytes` of it are read, and everything together takes at most `seconds`. `allow_local` also
    allows addresses of this machine and its network; the request is given up once `stopped` returns True.
    Raises `UsageError`.
    """
    done: Future[Fetched] = Future()
    asking = _Asking(most_bytes, seconds, accept)

    def work() -> None:
        try:
            done.set_result(_follow(url, allow_local, asking))
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=work, name="fetch", daemon=True).start()
    try:
        while not stopped():
            left = asking.until - time.monotonic()
            if not wait([done], timeout=max(0.0, min(left, _LOOK))).not_done:
                return done.result()
            if left <= 0:
                raise UsageError(f"{display_url(url)} took longer than {seconds:g} seconds", _YOURSELF)
    finally:
        asking.end()
    raise UsageError(f"{display_url(url)} was cancelled", "ask again")


def from_data_url(url: str) -> Fetched:
    """Return the content of a `data:` address (RFC 2397). Raises `UsageError` for one that is not
    well-formed."""
    head, comma, body = url.partition(",")
    if not comma or head[:5].lower() != "data:":
        raise UsageError(
            f"{display_url(url)!r} is not a data: address with a comma", "write `data:image/png;base64,…`"
        )
    content_type, *parameters = head[5:].lower().split(";")
    data = unquote_to_bytes(body)
    if "base64" in (parameter.strip() for parameter in parameters):
        # Spaces and missing padding are forgiven as in browsers (WHATWG Infra, forgiving-base64 decode).
        packed = re.sub(rb"[\t\n\f\r ]", b"", data).rstrip(b"=")
        try:
            data = base64.b64decode(packed + b"=" * (-len(packed) % 4), validate=True)
        except binascii.Error as error:
            raise UsageError(
                f"{display_url(url)!r} is not base64 ({error})", "copy it again, whole"
            ) from None
    if not data:
        raise UsageError(f"{display_url(url)!r} holds nothing", "copy it again, whole")
    return Fetched(data, content_type.strip(), "data: address")


def display_url(url: str) -> str:
    """Return an address as it can be shown: without controls, and not longer than a line."""
    url = clean_name(url)
    return url if len(url) <= 80 else f"{url[:77]}…"


def _follow(url: str, allow_local: bool, asking: _Asking) -> Fetched:
    """Return the content, after at most five redirects. They are followed here, so that each is judged."""
    import httpx

    place = _address(url)
    trust = httpx.create_ssl_context()  # also the certificates that SSL_CERT_FILE names
    for _ in range(_REDIRECTS + 1):
        answer = _ask(place, _resolve(place, allow_local), trust, asking)
        if isinstance(answer, Fetched):
            return answer
        place = _address(answer, place)
    raise UsageError(f"{display_url(url)} redirects more than {_REDIRECTS} times", _YOURSELF)


def _address(url: str, base: httpx.URL | None = None) -> httpx.URL:
    """Return `url`, relative to `base`, if it is one to ask. Raises `UsageError`."""
    import httpx

    try:
        place = base.join(url) if base else httpx.URL(url)
    except (httpx.InvalidURL, ValueError) as error:
        raise UsageError(f"{display_url(url)!r} is not an address ({error})", "write https://…") from None
    origin = f"{display_url(str(base))} redirects to" if base else "the address is"
    if place.scheme not in ("http", "https"):
        raise UsageError(f"{origin} {display_url(str(place))!r}, not http or https", _YOURSELF)
    if place.userinfo:
        raise UsageError(f"the address at {display_url(place.host)} holds a name or password", _YOURSELF)
    if not place.host:
        raise UsageError(f"{origin} {display_url(str(place))!r}, which names no host", "write https://…")
    return place


def _resolve(place: httpx.URL, allow_local: bool) -> list[str]:
    """Return the IP addresses of a host. Raises `UsageError` if any is one that only this machine can
    reach."""
    port = place.port or (443 if place.scheme == "https" else 80)
    try:
        answers = socket.getaddrinfo(place.raw_host.decode("ascii"), port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(
            f"{display_url(place.host)} cannot be found ({reason})", "check the address"
        ) from None
    addresses = list(dict.fromkeys(str(answer[4][0]) for answer in answers))
    for address in addresses:
        if not allow_local and is_local(address):
            raise UsageError(
                f"{display_url(str(place))} leads into this machine or its network ({address})",
                "give `allow_local_urls` to allow it",
            )
    return addresses


def is_local(address: str) -> bool:
    """Return whether an IP address is anything but one of the public internet."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner:
            return is_local(str(inner))
        if ip.is_site_local:  # outdated, but Python counts it as global
            return True
    return not ip.is_global or ip.is_multicast or ip.is_reserved


def _ask(place: httpx.URL, addresses: list[str], trust: ssl.SSLContext, asking: _Asking) -> Fetched | str:
    """Request `place` from the first of `addresses` that answers; return the content or the redirect's
    target."""
    import httpx

    from qwen_cli._version import __version__
    from qwen_cli.install_hint import NAME

    headers = {
        "Host": place.netloc.decode("ascii"),
        "User-Agent": f"{NAME}/{__version__}",
        "Accept": asking.accept,
        "Accept-Encoding": "identity",  # a few bytes may become many
    }
    # Whose certificate it must be, and who is told of the socket.
    more = {"sni_hostname": place.raw_host.decode("ascii"), "trace": asking.trace}
    fault: Exception = OSError("no address")
    for address in addresses:
        left = max(0.001, asking.until - time.monotonic())
        patience = httpx.Timeout(left, connect=min(left, _CONNECT))
        try:
            # A client for each: no cookies are kept.
            with (
                httpx.Client(verify=trust, trust_env=False, timeout=patience) as client,
                client.stream(
                    "GET", place.copy_with(host=address), headers=headers, extensions=more
                ) as answer,
            ):
                return _content(answer, place, asking)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            fault = error  # another of its addresses may answer: IPv6 often leads nowhere
        except httpx.TimeoutException:
            raise UsageError(f"{display_url(str(place))} did not answer in time", _YOURSELF) from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            fault = error
            break
    fault_text = (
        f"{display_url(str(place))} cannot be fetched ({clean_name(str(fault)) or type(fault).__name__})"
    )
    raise UsageError(fault_text, f"check the address, or {_YOURSELF}") from None


def _content(answer: httpx.Response, place: httpx.URL, asking: _Asking) -> Fetched | str:
    url = display_url(str(place))
    if answer.has_redirect_location:
        return answer.headers["Location"]
    if answer.status_code != 200:
        status = f"{answer.status_code} {clean_name(answer.reason_phrase)}".strip()
        raise UsageError(f"{url} answers {status}", f"check the address, or {_YOURSELF}")
    encoding = answer.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        raise UsageError(f"{url} comes encoded ({clean_name(encoding)[:40]}), unasked", _YOURSELF)
    too_large = UsageError(f"{url} is larger than {asking.most_bytes:,} bytes", _YOURSELF)
    length = answer.headers.get("Content-Length", "")
    if length.isdecimal() and int(length) > asking.most_bytes:
        raise too_large
    data = bytearray()
    for block in answer.iter_raw():  # as it comes; what it says of its length is not relied on
        data += block
        if len(data) > asking.most_bytes:
            raise too_large
        if asking.over or time.monotonic() > asking.until:
            raise UsageError(f"{url} is too slow", _YOURSELF)
    if not data:
        raise UsageError(f"{url} is empty (0 bytes)", "check the address")
    content_type = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return Fetched(bytes(data), content_type, PurePosixPath(unquote(place.path)).name or place.host)
