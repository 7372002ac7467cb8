"""Where weights come from: the Hugging Face hub, and ModelScope as a second source of the same files.

ModelScope is spoken to over its plain HTTP interface. Its own package would bring a second cache and dozens
of dependencies for what are two requests; both hubs name files by SHA-256, so what either sends is checked
the same way and kept in the one cache.
"""

from __future__ import annotations

import hashlib
import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from urllib.parse import quote

from qwen_cli.errors import DownloadError
from qwen_cli.models.hub import store

if TYPE_CHECKING:
    import httpx

Source: TypeAlias = Literal["hub", "modelscope"]
NAMES: dict[Source, str] = {"hub": "the model hub", "modelscope": "ModelScope"}
_TIMEOUT = 20.0  # seconds for a listing


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository. `git_sha1` is git's blob id, given for the hub's small files."""

    path: str
    size: int
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
    import time

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


def listing(repo: str, source: Source) -> Listing:
    """Return the files of `repo`. Raises `DownloadError`: unknown, gated, unreachable."""
    import httpx

    base = endpoint(source)
    if source == "hub":
        url = f"{base}/api/models/{repo}/revision/main?blobs=true"
    else:
        url = f"{base}/api/v1/models/{repo}/repo/files?Revision=master&Recursive=true"
    if store.offline():
        raise DownloadError(f"{repo} is not on this machine and HF_HUB_OFFLINE is set", "unset it to fetch")
    try:
        response = httpx.get(url, headers=headers(source), timeout=_TIMEOUT, follow_redirects=True)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise unreachable(source, error) from None
    if response.status_code != 200:
        raise refusal(repo, source, response)
    try:
        return _hub(repo, response.json()) if source == "hub" else _modelscope(repo, response.json())
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DownloadError(
            f"{NAMES[source]} at {base} answered for {repo} with something else than a file list",
            "check HF_ENDPOINT and the proxy",
        ) from None


def _hub(repo: str, answer: dict[str, Any]) -> Listing:
    base, commit = endpoint("hub"), str(answer["sha"])
    files = []
    for entry in answer["siblings"]:
        path, lfs = entry["rfilename"], entry.get("lfs") or {}
        files.append(
            RemoteFile(
                path=path,
                size=int(lfs.get("size", entry["size"])),
                url=f"{base}/{repo}/resolve/{commit}/{quote(path)}",
                sha256=lfs.get("sha256"),
                git_sha1=None if lfs else entry.get("blobId"),
            )
        )
    return Listing(repo, commit, tuple(files), "hub")


def _modelscope(repo: str, answer: dict[str, Any]) -> Listing:
    base = endpoint("modelscope")
    files = [
        RemoteFile(
            path=entry["Path"],
            size=int(entry["Size"]),
            url=f"{base}/api/v1/models/{repo}/repo?Revision=master&FilePath={quote(entry['Path'], safe='')}",
            sha256=entry["Sha256"],
        )
        for entry in answer["Data"]["Files"]
        if entry["Type"] == "blob"
    ]
    # The listing has no commit of the whole; the content of its files names it as well.
    content = "".join(f"{file.path}\0{file.sha256}\n" for file in sorted(files, key=lambda file: file.path))
    commit = hashlib.sha1(content.encode()).hexdigest()  # noqa: S324 a name, not a protection
    return Listing(repo, commit, tuple(files), "modelscope")


def unreachable(source: Source, error: Exception) -> DownloadError:
    """Return what to say when a source could not be reached or broke off."""
    reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
    return DownloadError(
        f"{NAMES[source]} at {endpoint(source)} cannot be reached: {reason}",
        "check the network and proxy, or use `starter`, which needs only the package index",
    )


def refusal(repo: str, source: Source, response: httpx.Response) -> DownloadError:
    """Return what to say when a source answered a request for `repo` with an error."""
    code, where = response.status_code, NAMES[source]
    if response.headers.get("X-Error-Code") == "GatedRepo" or code == 403:
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
        return DownloadError(f"{where} limits the rate of requests", "wait a few minutes and try again")
    return DownloadError(f"{where} answered {code} for {repo}", "try again later")
