"""Fetch files of a repository into the cache: resumable after a kill, checked by hash, never half-placed.

huggingface_hub (2.x) throws an unfinished file away and does not check hashes, so the bytes are moved here;
the cache they land in is its own, with its locks and layout.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from qwen_cli.errors import DownloadError, ModelError
from qwen_cli.models import progress
from qwen_cli.models.formats import weight_formats
from qwen_cli.models.hub import sources, store
from qwen_cli.models.hub.sources import Listing, RemoteFile

if TYPE_CHECKING:
    import httpx

_CHUNK = 1 << 20
_TRIES = 5  # without a single new byte
_PAUSE = 1.0  # seconds before another try, doubling
_READ_TIMEOUT = 30.0  # seconds of silence that count as a broken connection
_SPARE = 64 << 20  # bytes that stay free on the disk
_MOST_PACKED = 64 << 20  # bytes of a file that is sent packed and whose size nobody says
_SHOWN = 8  # files that a message names


def pull(
    repo: str,
    choose: Callable[[Listing], list[RemoteFile]],
    *,
    source: sources.Source | None = None,
    label: str | None = None,
    progress: progress.Progress | None = None,
    kind: sources.Kind = "models",
    revision: str = "main",
) -> Path:
    """Return the snapshot folder of `repo` with the files that `choose` picks from its listing.

    `source` None asks the hub, and ModelScope where the hub cannot be reached. Raises `DownloadError`.
    """
    # A quick question first: a hub that hangs would otherwise be waited for.
    listing = sources.listing(repo, source or sources.reachable() or "hub", kind=kind, revision=revision)
    files = _measured(listing, choose(listing))
    files.sort(key=lambda file: file.size or 0)  # the small ones say what the large ones are
    folder = store.repo_folder(repo, kind)
    report = _Report(label or repo, sum(file.size or 0 for file in files), progress)
    try:
        _check_space(folder, files)
        for file in files:
            _place(listing, file, folder, report)
        if revision == "main":
            ref = folder / "refs" / "main"
            ref.parent.mkdir(parents=True, exist_ok=True)
            ref.write_text(listing.commit, "utf-8")
    except OSError as error:
        raise DownloadError(
            f"cannot write {folder}: {error.strerror or error}", "make room there, or set HF_HOME; it resumes"
        ) from error
    return folder / "snapshots" / listing.commit


def _measured(listing: Listing, files: list[RemoteFile]) -> list[RemoteFile]:
    """Return `files` with their sizes, asked for one by one where the listing has none."""
    if all(file.size is not None for file in files):
        return list(files)
    with sources.client(listing.source, _READ_TIMEOUT) as client:
        return [file if file.size is not None else sources.measured(file, client) for file in files]


class _Report:
    """Bytes of a whole download, told in one count over all its files."""

    def __init__(self, label: str, total: int, progress: progress.Progress | None) -> None:
        self.label, self.total, self.progress = label, total, progress
        self.before = 0  # bytes of the files that are done

    def __call__(self, done: int) -> None:
        if self.progress:
            self.progress(self.label, self.before + done, self.total)

    def finish(self, size: int) -> None:
        self(size)
        self.before += size


def _check_space(folder: Path, files: list[RemoteFile]) -> None:
    missing = 0
    for file in files:
        blob = folder / "blobs" / file.key
        if not blob.is_file():
            partial = _partial(blob)
            missing += (file.size or 0) - (partial.stat().st_size if partial.is_file() else 0)
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    if missing and missing + _SPARE > free:
        raise DownloadError(
            f"{missing / 1e9:.2f} GB are to come and {free / 1e9:.2f} GB are free in {there}",
            "make room there, or set HF_HOME to a folder on another disk",
        )


def _partial(blob: Path) -> Path:
    return blob.with_name(f"{blob.name}.qwen.incomplete")


def _place(listing: Listing, file: RemoteFile, folder: Path, report: _Report) -> None:
    """Ensure that `file` is in the snapshot of its commit, fetching it if its content is not in the cache."""
    pointer = folder / "snapshots" / listing.commit / file.path
    if folder not in Path(os.path.normpath(pointer)).parents or ".." in Path(file.path).parts:
        raise DownloadError(f"{listing.repo} has a file with the unsafe path {file.path!r}", "report it")
    blob = folder / "blobs" / file.key
    from filelock import FileLock

    lock = store.cache_folder() / ".locks" / folder.name / f"{file.key}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):  # the lock that huggingface_hub takes for the same file
        if not pointer.is_file():
            if not blob.is_file() or file.size not in (None, blob.stat().st_size):
                blob.parent.mkdir(parents=True, exist_ok=True)
                _fetch(listing, file, blob, report)
            pointer.parent.mkdir(parents=True, exist_ok=True)
            pointer.unlink(missing_ok=True)
            try:
                pointer.symlink_to(os.path.relpath(blob, pointer.parent))
            except OSError:  # Windows without the right to link: huggingface_hub moves the file too
                blob.replace(pointer)
    report.finish(pointer.stat().st_size)


def _fetch(listing: Listing, file: RemoteFile, blob: Path, report: _Report) -> None:
    """Bring the content of `file` to `blob`: continued where it broke off, checked, then renamed."""
    partial = _partial(blob)
    if file.size is None or _length(partial) > file.size:  # nothing tells whether what is here is a part
        partial.unlink(missing_ok=True)
    transfer = _Transfer(listing, file, partial, report)
    with sources.client(listing.source, _READ_TIMEOUT) as client:
        while not transfer.step(client):
            time.sleep(transfer.pause)
    _verify(listing, file, partial)
    partial.replace(blob)


def _length(partial: Path) -> int:
    return partial.stat().st_size if partial.is_file() else 0


class _Transfer:
    """One file on its way to `partial`: after each step there is more of it, or one try fewer. A start afresh
    is a failed try too, so that a server which never sends the rest is given up on."""

    def __init__(self, listing: Listing, file: RemoteFile, partial: Path, report: _Report) -> None:
        self.listing, self.file, self.partial, self.report = listing, file, partial, report
        self.furthest = _length(partial)
        self.failures = 0
        self.wait: float | None = None  # what the server asks for

    @property
    def pause(self) -> float:
        """Return the seconds before the next step."""
        if self.wait is not None:
            return self.wait
        return _PAUSE * 2 ** (self.failures - 1) if self.failures else 0.0

    def step(self, client: httpx.Client) -> bool:
        """Ask for what is missing. Returns whether nothing is any more. Raises `DownloadError`."""
        import httpx

        self.wait = None
        fault: Exception = httpx.RemoteProtocolError("it sends the same part again and again")
        try:
            ended = self._stream(client)
        except httpx.TransportError as error:
            ended, fault = False, error
        have = _length(self.partial)
        if have > self.furthest:
            self.failures, self.furthest = 0, have
        else:
            self.failures += 1
        if self.partial.exists() and (have == self.file.size or (ended and self.file.size is None)):
            return True
        if self.failures >= _TRIES:
            raise sources.unreachable(self.listing.source, fault)
        return False

    def _stream(self, client: httpx.Client) -> bool:
        """Append what the server sends to the partial file. Returns whether it sent all that it meant to."""
        have = _length(self.partial)
        headers = {"Range": f"bytes={have}-"} if have else {}
        with client.stream("GET", self.file.url, headers=headers) as response:
            if response.status_code == 416:  # the server sees nothing left to send: what is here is no part
                self.partial.unlink(missing_ok=True)
                return False
            if response.status_code not in (200, 206):
                self._refused(response)
            if response.headers.get("Content-Encoding", "identity").lower() != "identity":
                return self._unpack(response)
            begin, total = _extent(response, have)
            if None not in (total, self.file.size) and total != self.file.size:
                raise self._other(response, f"{total:,} bytes")
            if begin != have:
                if response.status_code == 206:  # another part than was asked for
                    self.partial.unlink(missing_ok=True)
                    return False
                have = 0
            self._append(response, have)
        return True

    def _append(self, response: httpx.Response, have: int) -> None:
        with self.partial.open("ab" if have else "wb") as out:
            for block in response.iter_raw():
                have += len(block)
                if self.file.size is not None and have > self.file.size:
                    raise self._other(response, f"more than {self.file.size:,} bytes")
                out.write(block)
                self.report(have)
            out.flush()
            os.fsync(out.fileno())

    def _unpack(self, response: httpx.Response) -> bool:
        """Take a whole body that the server has packed though it was not asked to. Raises `DownloadError`."""
        self.partial.unlink(missing_ok=True)
        if response.status_code != 200:
            return False
        try:
            content = sources.body(response, _MOST_PACKED if self.file.size is None else self.file.size)
        except ValueError as fault:
            raise DownloadError(
                f"{self._what} cannot be read: {fault}", "check HF_ENDPOINT and the proxy"
            ) from None
        self.partial.write_bytes(content)
        if self.file.size not in (None, len(content)):
            raise self._other(response, f"{len(content):,} bytes")
        return True

    def _refused(self, response: httpx.Response) -> None:
        """Raise what a status means: a failed try where another may go better."""
        import httpx

        code = response.status_code
        self.wait = sources.wait_asked(code, response.headers)
        if code >= 500 or self.wait is not None:
            raise httpx.RemoteProtocolError(f"it answered {code}")
        raise sources.refusal(self.listing.repo, self.listing.source, code, response.headers)

    @property
    def _what(self) -> str:
        return f"{self.file.path} of {self.listing.repo}"

    def _other(self, response: httpx.Response, seen: str) -> DownloadError:
        """Return what to say of content that is not the file."""
        self.partial.unlink(missing_ok=True)
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        page = ", a web page" if kind == "text/html" else ""
        said = "" if self.file.size is None else f", the list says {self.file.size:,}"
        return DownloadError(
            f"{self._what} is not what {response.url.host} sends: {seen}{page}{said}",
            "check HF_ENDPOINT and the proxy, and try again",
        )


def _extent(response: httpx.Response, asked: int) -> tuple[int, int | None]:
    """Return where the bytes of an answer begin in the file, and how long the file is; None where it does not
    say. ModelScope may answer a range with 200; a part without Content-Range is the one asked for."""
    span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip())
    if span:
        return int(span[1]), None if span[2] == "*" else int(span[2])
    if response.status_code == 206:
        return asked, None
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdecimal() else None


def _verify(listing: Listing, file: RemoteFile, partial: Path) -> None:
    """Raise `DownloadError`, with the bad file gone, unless size and hash are what the listing says."""
    size = partial.stat().st_size
    expected = size if file.size is None else file.size
    wanted = file.sha256 or file.git_sha1
    digest = hashlib.sha256()
    if not file.sha256:
        # Git's name for a file: the SHA-1 of a small header and the content.
        digest = hashlib.sha1(f"blob {size}\0".encode())  # noqa: S324 given by git
    with partial.open("rb") as content:
        while block := content.read(_CHUNK):
            digest.update(block)
    if size != expected or (wanted and digest.hexdigest() != wanted):
        partial.unlink()
        raise DownloadError(
            f"{file.path} of {listing.repo} arrived corrupted ({size:,} of {expected:,} bytes, wrong hash)",
            "try again; it starts that file afresh",
        )


# Of a safetensors repository: weights, settings, tokenizer, licence, and code for `trust_remote_code`.
_WANTED = re.compile(
    r"(\.safetensors|\.json|\.jinja|\.model|\.tiktoken|\.py|(^|/)(merges|vocab)\.txt|LICENSE.*)$"
)


def safetensors(listing: Listing) -> list[RemoteFile]:
    """Return the weights and what belongs to them. Raises `ModelError` where there are none."""
    files = [file for file in listing.files if _WANTED.search(file.path) and "/" not in file.path]
    names = {file.path for file in files}
    if "config.json" not in names or not any(name.endswith(".safetensors") for name in names):
        if any(file.path.lower().endswith(".gguf") for file in listing.files):
            raise ModelError(f"{listing.repo} holds GGUF files only", "use `engine=llamacpp`")
        if any(file.path.endswith(".bin") for file in listing.files):
            raise ModelError(
                f"{listing.repo} holds its weights as pickles, a format that can run code when it is read",
                "give another repository, or fetch it yourself and name the folder with `allow_pickle`",
            )
        raise ModelError(f"{listing.repo} has no safetensors weights", "give another repository")
    return files


def gguf(
    listing: Listing, quant: str | None, usual: str, *, vision: bool, file: str | None = None
) -> list[RemoteFile]:
    """Return all parts of one GGUF model, and its vision projector: of the model that `file` is a part of
    where one is named. Raises `ModelError` where there is none of the file type `quant`."""
    ggufs = [one for one in listing.files if one.path.lower().endswith(".gguf")]
    projectors = {one.path: one for one in ggufs if store.is_projector(one.path)}
    models = [one for one in sorted(ggufs, key=lambda one: one.path) if not store.is_companion(one.path)]
    if not models:
        what = "vision projectors only" if projectors else "no GGUF model"
        raise ModelError(f"{listing.repo} holds {what}", "name the repository that has the model itself")
    if file is None:
        first = _of_type(listing.repo, models, quant, usual)
    elif any(one.path == file for one in models):
        first = file
    else:
        names = ", ".join(one.path for one in models[:_SHOWN]) + (" …" if len(models) > _SHOWN else "")
        raise ModelError(f"{listing.repo} has no model file {file}", f"it has {names}")
    # Of several models in one repository it is the first, whole: what `store.local_ggufs` takes, too.
    whole = weight_formats.without_part(first)
    files = [one for one in models if weight_formats.without_part(one.path) == whole]
    if vision and projectors:
        own = {one.path: one for one in store.named_after(first, projectors)}
        eyes = store.most_exact(own or projectors)
        files += [eyes] if eyes else []
    return files


def _of_type(repo: str, models: list[RemoteFile], quant: str | None, usual: str) -> str:
    """Return the path of the first of `models` that is of file type `quant`, else the usual one."""
    by_quant: dict[str, str] = {}
    for one in models:
        by_quant.setdefault(store.quant_of(one.path) or "", one.path)
    chosen = store.pick_quant(set(by_quant), quant, usual)
    if chosen is None:
        has = ", ".join(sorted(filter(None, by_quant))) or "one file of no stated type: leave `quant` out"
        raise ModelError(f"{repo} has no {quant or 'GGUF file'}", f"it has {has}")
    return by_quant[chosen]
