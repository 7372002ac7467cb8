"""Where weights come from: the Hugging Face hub, and ModelScope as a second source of the same files.

ModelScope is spoken to over its plain HTTP interface. Its own package would bring a second cache and dozens
of dependencies for what are two requests; both hubs name files by SHA-256, so what either sends is checked
the same way and kept in the one cache.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import re
import threading
import time
import zlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from urllib.parse import quote, urlsplit

from qwen_cli.errors import DownloadError
from qwen_cli.models.hub import store

if TYPE_CHECKING:
    import httpx

Source: TypeAlias = Literal["hub", "modelscope"]
Kind: TypeAlias = Literal["models", "datasets"]
NAMES: dict[Source, str] = {"hub": "the model hub", "modelscope": "ModelScope"}
_TIMEOUT = 20.0  # seconds for a listing
_LONGEST_LISTING = 64 << 20  # bytes: a repository of a hundred thousand files
_LONGEST_WAIT = 60.0  # seconds that a server may ask one to wait
_PATIENT_TRIES = 3


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository. `git_sha1` is git's blob id, given for the hub's small files. A mirror may not
    say the `size`."""

    path: str
    size: int | None
    url: str
    sha256: str | None = None
    git_sha1: str | None = None

    @property
    def key(self) -> str:
        """Return the cache's name for the content: the etag that huggingface_hub would use."""
        return self.sha256 or self.git_sha1 or hashlib.sha1(self.url.encode()).hexdigest()  # noqa: S324 a name


@dataclass(frozen=True)
class Listing:
    """All files of a repository at one commit."""

    repo: str
    commit: str
    files: tuple[RemoteFile, ...]
    source: Source


def endpoint(source: Source) -> str:
    """Return the address of a source; `HF_ENDPOINT` and `MODELSCOPE_DOMAIN` change it, as for their own
    tools."""
    if source == "hub":
        return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")
    domain = os.environ.get("MODELSCOPE_DOMAIN", "www.modelscope.cn").rstrip("/")
    return domain if "://" in domain else f"https://{domain}"


def hub_reachable(timeout: float = 3.0) -> bool:
    """Return whether the model hub or ModelScope answers within `timeout` seconds; False at once when
    offline."""
    return reachable(timeout) is not None


def reachable(timeout: float = 3.0) -> Source | None:
    """Return the first source that answers within `timeout` seconds, the hub before ModelScope; None when
    offline.

    Both are asked at once, in threads: a name look-up takes no time limit, a thread can be left behind.
    """
    if store.offline():
        return None
    answers: dict[Source, bool] = {}
    threads = {}
    for source in NAMES:
        thread = threading.Thread(
            target=lambda s=source: answers.update({s: _answers(s, timeout)}), daemon=True
        )
        thread.start()
        threads[source] = thread
    deadline = time.monotonic() + timeout
    for source, thread in threads.items():
        thread.join(max(0.0, deadline - time.monotonic()))
        if answers.get(source):
            return source
    return None


def _answers(source: Source, timeout: float) -> bool:
    import httpx  # only here: a start with a model present never asks

    try:
        status = httpx.head(endpoint(source), timeout=timeout, follow_redirects=False).status_code
    except (httpx.HTTPError, httpx.InvalidURL):
        return False
    # A proxy that forbids the address answers in its place.
    return status < 400 or status == 404


def headers(source: Source) -> dict[str, str]:
    """Return what every request carries: who asks, and the hub token of this machine if there is one."""
    from qwen_cli._version import __version__
    from qwen_cli.install_hint import NAME

    sent = {"User-Agent": f"{NAME}/{__version__}", "Accept-Encoding": "identity"}
    if source == "hub":
        from huggingface_hub import get_token  # the one place that knows where tokens are kept

        if token := get_token():
            sent["Authorization"] = f"Bearer {token}"
    return sent


def listing(repo: str, source: Source, *, kind: Kind = "models", revision: str = "main") -> Listing:
    """Return the files of `repo` at a `revision`. ModelScope has models alone, at their newest. Raises
    `DownloadError`: unknown, gated, unreachable."""
    base = endpoint(source)
    if source == "hub":
        url = f"{base}/api/{kind}/{repo}/revision/{quote(revision, safe='')}?blobs=true"
    else:
        url = f"{base}/api/v1/models/{repo}/repo/files?Revision=master&Recursive=true"
    if store.offline():
        raise DownloadError(f"{repo} is not on this machine and HF_HUB_OFFLINE is set", "unset it to fetch")
    with client(source, _TIMEOUT) as asking:
        try:
            code, sent, told = _asked(asking, url, source)
            if code != 200:
                raise refusal(repo, source, code, sent)
            answer = json.loads(told)
            return _hub(repo, answer, kind) if source == "hub" else _modelscope(repo, answer)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise DownloadError(
                f"{NAMES[source]} at {base} answered for {repo} with something else than a file list",
                "check HF_ENDPOINT and the proxy",
            ) from None


def client(source: Source, timeout: float) -> httpx.Client:
    """Return what asks a source. It follows redirects, but for those to the network of this machine from
    outside of it."""
    import httpx

    base = endpoint(source)

    def guard(request: httpx.Request) -> None:  # asked before each, also after a redirect
        if not str(request.url).startswith(base):
            _check_redirect(base, str(request.url))

    return httpx.Client(
        headers=headers(source), timeout=timeout, follow_redirects=True, event_hooks={"request": [guard]}
    )


def _check_redirect(base: str, target: str) -> None:
    """Raise `DownloadError` for a redirect that nobody who hosts files has a use for."""
    there = urlsplit(target)
    if there.scheme not in ("http", "https"):
        raise DownloadError(f"{base} leads to {target}, which is no address on the web", "check HF_ENDPOINT")
    if _is_private(there.hostname) and not _is_private(urlsplit(base).hostname):
        raise DownloadError(
            f"{base} leads to {there.hostname}, which is on this machine's own network",
            "check HF_ENDPOINT and the proxy",
        )


def _is_private(host: str | None) -> bool:
    """Return whether `host` is an address of this machine or its network, or a name that says so. Other names
    are not looked up: a proxy may do that."""
    name = (host or "").strip("[]").rstrip(".").lower()
    try:
        return not ipaddress.ip_address(name).is_global
    except ValueError:
        return name == "localhost" or name.endswith((".localhost", ".local", ".internal"))


def _asked(asking: httpx.Client, url: str, source: Source) -> tuple[int, httpx.Headers, bytes]:
    """Return the status, headers and body of a short answer, after as many waits as the source asks for."""
    import httpx

    for attempt in range(_PATIENT_TRIES):
        try:
            with asking.stream("GET", url) as response:
                pause = wait_asked(response.status_code, response.headers)
                if pause is None or attempt == _PATIENT_TRIES - 1:
                    told = body(response, _LONGEST_LISTING) if response.status_code == 200 else b""
                    return response.status_code, response.headers, told
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise unreachable(source, error) from None
        time.sleep(pause)
    raise AssertionError("the last attempt returns")


def wait_asked(code: int, sent: httpx.Headers) -> float | None:
    """Return the seconds that a server wants one to wait before another try (Retry-After, RFC 9110 section
    10.2.3); None where it does not say, or more than is worth it."""
    if code not in (429, 503):
        return None
    try:
        seconds = float(sent.get("Retry-After", ""))
    except ValueError:
        return None
    return max(0.0, seconds) if seconds <= _LONGEST_WAIT else None


def body(response: httpx.Response, most: int) -> bytes:
    """Return at most `most` bytes of a body, unpacked where it is packed once with gzip. Raises `ValueError`
    for more, and for what is packed otherwise: a few bytes packed twice may become gigabytes."""
    packed = response.headers.get("Content-Encoding", "identity").strip().lower()
    if packed not in ("identity", "", "gzip", "x-gzip"):
        raise ValueError(f"it is packed as {packed}")
    unpack = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS) if "gzip" in packed else None
    whole = bytearray()
    try:
        for block in response.iter_raw():
            whole += unpack.decompress(block, most + 1 - len(whole)) if unpack else block
            if len(whole) > most:
                raise ValueError(f"it is longer than {most:,} bytes")
    except zlib.error as fault:
        raise ValueError(str(fault)) from None
    return bytes(whole)


def _hub(repo: str, answer: dict[str, Any], kind: Kind) -> Listing:
    base, commit = endpoint("hub"), _name(answer["sha"])
    place = f"{base}/{repo}" if kind == "models" else f"{base}/{kind}/{repo}"
    files = []
    for entry in answer["siblings"]:
        path, lfs = entry["rfilename"], entry.get("lfs") or {}
        files.append(
            RemoteFile(
                path=str(path),
                size=_size(lfs.get("size", entry.get("size"))),
                url=f"{place}/resolve/{commit}/{quote(path)}",
                sha256=_digest(lfs.get("sha256"), 64),
                git_sha1=None if lfs else _digest(entry.get("blobId"), 40),
            )
        )
    return Listing(repo, commit, tuple(files), "hub")


def measured(file: RemoteFile, asking: httpx.Client) -> RemoteFile:
    """Return `file` with the size and hash that its own address gives, as huggingface_hub asks for them; as
    it was where that says nothing."""
    import httpx

    try:
        response = asking.head(file.url)
    except (httpx.HTTPError, httpx.InvalidURL):
        return file
    heads = [one.headers for one in (*response.history, response)]
    if response.status_code != 200:
        return file
    linked = next((h["X-Linked-Size"] for h in heads if "X-Linked-Size" in h), None)
    etags = [h[name].removeprefix("W/").strip('"') for h in heads for name in ("X-Linked-Etag",) if name in h]
    plain = "Content-Encoding" not in response.headers
    size = linked or (response.headers.get("Content-Length") if plain else None)
    digest = next((etag for etag in etags if re.fullmatch("[0-9a-f]{64}", etag)), None)
    try:
        return replace(file, size=_size(size), sha256=file.sha256 or digest)
    except ValueError:
        return file


def _modelscope(repo: str, answer: dict[str, Any]) -> Listing:
    base = endpoint("modelscope")
    files = [
        RemoteFile(
            path=str(entry["Path"]),
            size=_size(entry.get("Size")),
            url=f"{base}/api/v1/models/{repo}/repo?Revision=master&FilePath={quote(entry['Path'], safe='')}",
            sha256=_digest(entry["Sha256"], 64),
        )
        for entry in answer["Data"]["Files"]
        if entry["Type"] == "blob"
    ]
    # The listing has no commit of the whole; the content of its files names it as well.
    content = "".join(f"{file.path}\0{file.sha256}\n" for file in sorted(files, key=lambda file: file.path))
    commit = hashlib.sha1(content.encode()).hexdigest()  # noqa: S324 a name, not a protection
    return Listing(repo, commit, tuple(files), "modelscope")


# What a listing says becomes names in the cache: none of it may be a path, and none is guessed.
def _digest(value: Any, length: int) -> str | None:
    if value in (None, ""):
        return None
    text = str(value).lower()
    if not re.fullmatch(f"[0-9a-f]{{{length}}}", text):
        raise ValueError(f"no digest: {text!r}")
    return text


def _name(value: Any) -> str:
    text = str(value)
    if not re.fullmatch(r"\w[\w-]*", text):
        raise ValueError(f"no commit: {text!r}")
    return text


def _size(value: Any) -> int | None:
    if value is None:
        return None
    size = int(value)
    if isinstance(value, (bool, float)) or size < 0:
        raise ValueError(f"no size: {value!r}")
    return size


def unreachable(source: Source, error: Exception) -> DownloadError:
    """Return what to say when a source could not be reached or broke off."""
    reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
    return DownloadError(
        f"{NAMES[source]} at {endpoint(source)} cannot be reached: {reason}",
        "check the network and proxy, or use `starter`, which needs only the package index",
    )


def refusal(repo: str, source: Source, code: int, sent: httpx.Headers) -> DownloadError:
    """Return what to say when a source answered a request for `repo` with an error."""
    where, later = NAMES[source], sent.get("Retry-After", "")
    if sent.get("X-Error-Code") == "GatedRepo" or code == 403:
        return DownloadError(
            f"{repo} is gated and this machine's token has no access",
            f"accept its terms at {endpoint(source)}/{repo} and run `hf auth login`",
        )
    if code in (401, 404):
        return DownloadError(
            f"{where} has no model {repo}, or it is private",
            "check the name; for a private one run `hf auth login`",
        )
    if code == 429:
        wait = f"{int(later):,} seconds" if later.isdecimal() and len(later) < 7 else "a few minutes"
        return DownloadError(f"{where} limits the rate of requests", f"wait {wait} and try again; it resumes")
    return DownloadError(f"{where} answered {code} for {repo}", "try again later")
