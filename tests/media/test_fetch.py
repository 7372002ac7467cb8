"""Pictures from the web, from a real server on this machine."""

from __future__ import annotations

import base64
import contextlib
import gzip
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from qwen_cli.errors import UsageError
from qwen_cli.media import fetch as module
from qwen_cli.media.fetch import Fetched, fetch, from_data_url

PICTURE = b"\x89PNG\r\n\x1a\nnot really"
LOCAL = {"allow_local": True, "most_bytes": 10_000, "seconds": 20.0}


class _Web(BaseHTTPRequestHandler):
    """Answers by path; what it was asked is in `server.seen`."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.seen.append((self.path, dict(self.headers)))  # type: ignore[attr-defined]
        kind, _, rest = self.path[1:].partition("/")
        with contextlib.suppress(OSError):  # the other side has had enough
            getattr(self, f"_{kind}", self._missing)(rest)
        self.close_connection = True

    def _whole(self, data: bytes, **headers: str) -> None:
        self.send_response(200)
        for name, value in {"Content_Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def _picture(self, name: str) -> None:
        self._whole(PICTURE, Content_Type="Image/PNG; charset=binary", Set_Cookie="crumb=1")

    def _empty(self, name: str) -> None:
        self._whole(b"")

    def _missing(self, name: str) -> None:
        self.send_error(404)

    def _to(self, target: str) -> None:
        self.send_response(302)
        self.send_header("Location", target)
        self.send_header("Set-Cookie", "crumb=1")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _loop(self, number: str) -> None:
        self._to(f"/loop/{int(number) + 1}")

    def _down(self, number: str) -> None:
        self._to("/picture/a.png" if number == "1" else f"/down/{int(number) - 1}")

    def _encoded(self, encodings: str) -> None:
        data = bytes(200_000)
        for encoding in encodings.split(","):
            data = gzip.compress(data) if "gzip" in encoding else zlib.compress(data)
        self._whole(data, Content_Type="image/png", Content_Encoding=encodings)

    bomb = b""

    def _bomb(self, name: str) -> None:
        self._whole(self.bomb, Content_Type="image/png", Content_Encoding="gzip, gzip")

    def _named(self, encoding: str) -> None:
        self._whole(PICTURE, Content_Encoding=encoding)

    def _endless(self, name: str) -> None:
        self.send_response(200)
        self.end_headers()
        while True:
            self.wfile.write(bytes(1000))

    def _claims(self, length: str) -> None:
        self._whole(PICTURE, Content_Length=length)

    def _drips(self, part: str) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\n" if part == "headers" else b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(200):
            self.wfile.write(b"x")
            time.sleep(0.05)

    def _silent(self, name: str) -> None:
        time.sleep(10)

    def log_message(self, *anything: Any) -> None:
        pass


class Served:
    def __init__(self, server: ThreadingHTTPServer, seen: list[tuple[str, dict[str, str]]]) -> None:
        self.port = server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.seen = seen


def _serving(trust: ssl.SSLContext | None = None) -> Iterator[Served]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Web)
    server.daemon_threads = True
    server.seen = []  # type: ignore[attr-defined]
    if trust:
        server.socket = trust.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *anything: None  # type: ignore[method-assign]
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield Served(server, server.seen)  # type: ignore[attr-defined]
    server.shutdown()
    server.server_close()


@pytest.fixture
def web() -> Iterator[Served]:
    yield from _serving()


@pytest.mark.parametrize("encodings", ["gzip", "gzip,gzip", "deflate", "gzip,deflate,gzip", "x-gzip"])
def test_what_comes_encoded_is_refused(web: Served, encodings: str) -> None:
    """It is asked for as it is; a server that encodes all the same may mean to fill the memory."""
    with pytest.raises(UsageError, match="comes encoded") as error:
        fetch(f"{web.url}/encoded/{encodings}", **LOCAL)
    assert "\n" not in str(error.value)
    assert web.seen[0][1]["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "none", "identity,gzip", "x" * 90])
def test_so_is_what_only_says_so(web: Served, encoding: str) -> None:
    with pytest.raises(UsageError, match="comes encoded"):
        fetch(f"{web.url}/named/{quote(encoding)}", **LOCAL)


@pytest.mark.parametrize("encoding", ["identity", "Identity", ""])
def test_what_is_not_encoded_may_say_so(web: Served, encoding: str) -> None:
    assert fetch(f"{web.url}/named/{encoding}", **LOCAL).data == PICTURE


def test_an_encoded_bomb_takes_no_memory(web: Served) -> None:
    """2,650 bytes of `gzip, gzip` are 3.2 GB; the limit was looked at after each block was decoded."""
    bomb = gzip.compress(gzip.compress(bytes(64 << 20)))
    assert len(bomb) < 1_000
    _Web.bomb = bomb
    tracemalloc.start()
    try:
        with pytest.raises(UsageError):
            fetch(f"{web.url}/bomb/x", **LOCAL)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def fetching() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "fetch"]


@pytest.mark.parametrize("path", ["drips/headers", "drips/body", "silent/x", "endless/x"])
@pytest.mark.parametrize("given_up", [False, True])
def test_nothing_goes_on_once_nobody_waits(web: Served, path: str, given_up: bool) -> None:
    began = time.monotonic()
    patience = {"seconds": 20.0 if given_up else 0.5, "most_bytes": 1 << 40}
    with pytest.raises(UsageError):
        fetch(
            f"{web.url}/{path}",
            **{**LOCAL, **patience},
            stopped=lambda: given_up and time.monotonic() > began + 0.3,
        )
    until = time.monotonic() + 5  # a drip goes on for ten seconds
    while fetching() and time.monotonic() < until:
        time.sleep(0.02)

    assert not fetching()


Names = Callable[..., None]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    """Make a name server of this machine: a name has these addresses, at one question after the other."""
    true = socket.getaddrinfo

    def say(host: str, *answers: list[str]) -> None:
        left = list(answers)

        def look_up(asked: str, port: int, *more: Any, **options: Any) -> list[Any]:
            if asked != host:
                return true(asked, port, *more, **options)
            return [found for address in left.pop(0) for found in true(address, port, *more, **options)]

        monkeypatch.setattr(socket, "getaddrinfo", look_up)

    return say


def test_a_picture_comes_with_its_type_and_name(web: Served) -> None:
    assert fetch(f"{web.url}/picture/a%20cat.png?size=2#top", **LOCAL) == Fetched(
        PICTURE, "image/png", "a cat.png"
    )
    assert web.seen[0][0] == "/picture/a%20cat.png?size=2"
    assert web.seen[0][1]["User-Agent"].startswith("qwen-local/")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.9.1",
        "localhost",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "2130706433",
        "0x7f.1",
        "[::1]",
        "[::]",
        "[fe80::1]",
        "[fc00::1]",
        "[fec0::1]",
        "[ff02::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:10.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b:1::7f00:1]",
        "[2002:7f00:1::]",
    ],
)
def test_this_machine_and_its_network_are_out_of_reach(address: str) -> None:
    with pytest.raises(
        UsageError, match=r"leads into this machine or its network .*`allow_local_urls`"
    ) as error:
        fetch(f"http://{address}/secret", allow_local=False, most_bytes=10, seconds=5)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "address", ["93.184.215.14", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"]
)
def test_the_public_internet_is_within_reach(address: str) -> None:
    assert not module.is_local(address)


def test_a_public_name_of_a_private_address_is_out_of_reach(web: Served, names: Names) -> None:
    names("photos.example", ["127.0.0.1"])
    with pytest.raises(UsageError, match=r"its network \(127\.0\.0\.1\)"):
        fetch(f"http://photos.example:{web.port}/picture/a.png", allow_local=False, most_bytes=99, seconds=5)
    names("photos.example", ["93.184.215.14", "127.0.0.1"])
    with pytest.raises(UsageError, match=r"its network \(127\.0\.0\.1\)"):
        fetch(f"http://photos.example:{web.port}/picture/a.png", allow_local=False, most_bytes=99, seconds=5)
    assert not web.seen


def test_the_address_that_was_judged_is_the_one_that_is_asked(web: Served, names: Names) -> None:
    names("photos.example", ["127.0.0.1"])  # a second question would find no answer left

    found = fetch(f"http://photos.example:{web.port}/picture/a.png", **LOCAL)

    assert found.data == PICTURE
    assert web.seen[0][1]["Host"] == f"photos.example:{web.port}"


def test_another_address_is_asked_where_the_first_does_not_answer(web: Served, names: Names) -> None:
    names("photos.example", ["::1", "127.0.0.1"])  # nothing listens on the first

    assert fetch(f"http://photos.example:{web.port}/picture/a.png", **LOCAL).data == PICTURE


def test_redirects_are_followed_without_cookies(web: Served) -> None:
    found = fetch(f"{web.url}/down/5", **LOCAL)

    assert (found.data, found.name) == (PICTURE, "a.png")
    assert len(web.seen) == 6
    assert not any("Cookie" in headers for _, headers in web.seen)


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("/down/6", "redirects more than 5 times"),
        ("/loop/0", "redirects more than 5 times"),
        ("/to/file:///etc/passwd", "redirects to 'file:/etc/passwd', not http or https"),
        ("/to/ftp://example.org/a.png", "redirects to 'ftp://example.org/a.png', not http or https"),
        ("/to/data:image/png;base64,AAAA", "cannot be fetched"),
        ("/to/http://me:secret@127.0.0.1/", "the address at 127.0.0.1 holds a name or password"),
        ("/to/http://[::1", "cannot be fetched (Invalid URL in location header"),
        ("/missing", "answers 404 Not Found"),
        ("/empty", "is empty (0 bytes)"),
        ("/endless", "is larger than 10,000 bytes"),
        ("/claims/10001", "is larger than 10,000 bytes"),
        ("/claims/5000", "cannot be fetched (peer closed connection"),
        ("/claims/a%20lot", "cannot be fetched"),
    ],
)
def test_what_a_server_may_not_do(web: Served, path: str, fault: str) -> None:
    with pytest.raises(UsageError, match=re.escape(fault)) as error:
        fetch(f"{web.url}{path}", **LOCAL)
    assert error.value.hint and "\n" not in str(error.value) and "secret" not in str(error.value)


def test_a_server_that_claims_less_is_cut_off_there(web: Served) -> None:
    assert fetch(f"{web.url}/claims/8", **LOCAL).data == PICTURE[:8]


def test_a_redirect_into_the_network_is_out_of_reach(web: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    # No public server can be had here: this one counts as public, all others are judged as ever.
    judged = module.is_local
    monkeypatch.setattr(module, "is_local", lambda address: address != "127.0.0.1" and judged(address))
    known = {"allow_local": False, "most_bytes": 10_000, "seconds": 5.0}

    assert fetch(f"{web.url}/down/2", **known).data == PICTURE
    for target in ("http://169.254.169.254/latest/meta-data", f"http://127.0.0.2:{web.port}/picture/a.png"):
        with pytest.raises(UsageError, match="leads into this machine or its network"):
            fetch(f"{web.url}/to/{target}", **known)
    assert web.seen[-1][0].startswith("/to/")


@pytest.mark.parametrize("path", ["/drips/body", "/drips/headers", "/silent"])
def test_slow_servers_are_given_up_on(web: Served, path: str) -> None:
    begun = time.monotonic()
    with pytest.raises(UsageError, match=r"took longer than 0\.3 seconds|too slow|did not answer in time"):
        fetch(f"{web.url}{path}", allow_local=True, most_bytes=10_000, seconds=0.3)
    assert time.monotonic() - begun < 8, "it waited for the end"


def test_a_slow_name_server_is_given_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *asked, **options: time.sleep(5))

    with pytest.raises(UsageError, match=r"took longer than 0\.2 seconds"):
        fetch("http://photos.example/a.png", allow_local=False, most_bytes=10, seconds=0.2)


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("file:///etc/passwd", "not http or https"),
        ("ftp://example.org/a.png", "not http or https"),
        ("http://", "names no host"),
        ("http://a b.example/", "a%20b.example cannot be found"),
        ("http://user:word@example.org/a.png", "the address at example.org holds a name or password"),
        ("http://name.invalid/a.png", "name.invalid cannot be found"),
        ("http://127.0.0.1:9/a.png", "cannot be fetched"),
        ("http://127.0.0.1:none/a.png", "is not an address"),
        ("http://exa\x1bmple.org/", "is not an address"),
    ],
)
def test_addresses_that_cannot_be_asked_are_named(url: str, fault: str) -> None:
    with pytest.raises(UsageError, match=re.escape(fault)) as error:
        fetch(url, **LOCAL)
    assert error.value.hint and not {"\n", "\x1b"} & set(str(error.value)) and "word@" not in str(error.value)


def test_a_proxy_of_the_environment_is_not_asked(web: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")

    assert fetch(f"{web.url}/picture/a.png", **LOCAL).data == PICTURE


@pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl to make a certificate")
def test_a_certificate_must_be_of_the_name_that_was_asked_for(
    tmp_path: Path, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=x"
    subprocess.run(
        [*made.split(), "-addext", "subjectAltName=DNS:photos.example", "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trust.load_cert_chain(certificate, key)
    for server in _serving(trust):
        with monkeypatch.context() as patched:
            patched.setenv("SSL_CERT_FILE", str(certificate))
            names("photos.example", ["127.0.0.1"])
            found = fetch(f"https://photos.example:{server.port}/picture/a.png", **LOCAL)
            assert found.data == PICTURE
            names("other.example", ["127.0.0.1"])
            with pytest.raises(UsageError, match="certificate"):
                fetch(f"https://other.example:{server.port}/picture/a.png", **LOCAL)
        names("photos.example", ["127.0.0.1"])
        with pytest.raises(UsageError, match="certificate"):  # nobody vouches for it
            fetch(f"https://photos.example:{server.port}/picture/a.png", **LOCAL)


PACKED = base64.b64encode(PICTURE).decode()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (f"data:image/png;base64,{PACKED}", (PICTURE, "image/png")),
        (f"DATA:Image/PNG;name=x;BASE64,{PACKED}", (PICTURE, "image/png")),
        (f"data:image/png;base64,{PACKED.rstrip('=')}", (PICTURE, "image/png")),
        (f"data:;base64,{PACKED[:9]}%0A {PACKED[9:].replace('+', '%2B')}", (PICTURE, "")),
        ("data:text/plain,a%20b", (b"a b", "text/plain")),
    ],
)
def test_a_data_address_holds_its_own_content(url: str, expected: tuple[bytes, str]) -> None:
    found = from_data_url(url)

    assert (found.data, found.content_type) == expected


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("data:image/png;base64", "not a data: address with a comma"),
        ("data:image/png;base64,", "holds nothing"),
        ("data:image/png;base64,a*b!", "is not base64"),
        ("data:image/png;base64,abcde", "is not base64"),
        (f"data:image/png;base64,{'AAAA' * 5000}*", "is not base64"),
    ],
)
def test_a_data_address_that_is_not_well_formed_is_refused(url: str, fault: str) -> None:
    with pytest.raises(UsageError, match=re.escape(fault)) as error:
        from_data_url(url)
    assert error.value.hint and len(str(error.value)) < 250
