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

from qwen_cli.errors import DownloadError, ModelError
from qwen_cli.models import progress
from qwen_cli.models.formats import weight_formats
from qwen_cli.models.hub import sources, store
from qwen_cli.models.hub.sources import Listing, RemoteFile

_CHUNK = 1 << 20
_TRIES = 5  # without a single new byte
_PAUSE = 1.0  # seconds before another try, doubling
_READ_TIMEOUT = 30.0  # seconds of silence that count as a broken connection
_SPARE = 64 << 20  # bytes that stay free on the disk


def pull(
    repo: str,
    choose: Callable[[Listing], list[RemoteFile]],
    *,
    source: sources.Source | None = None,
    label: str | None = None,
    progress: progress.Progress | None = None,
) -> Path:
    """Return the snapshot folder of `repo` with the files that `choose` picks from its listing.

    `source` None asks the hub, and ModelScope where the hub cannot be reached. Raises `DownloadError`.
    """
    # A quick question first: a hub that hangs would otherwise be waited for.
    listing = sources.listing(repo, source or sources.reachable() or "hub")
    files = sorted(choose(listing), key=lambda file: file.size)  # the small ones say what the large ones are
    folder = store.repo_folder(repo)
    report = _Report(label or repo, sum(file.size for file in files), progress)
    try:
        _check_space(folder, files)
        for file in files:
            _place(listing, file, folder, report)
        ref = folder / "refs" / "main"
        ref.parent.mkdir(parents=True, exist_ok=True)
        ref.write_text(listing.commit, "utf-8")
    except OSError as error:
        raise DownloadError(
            f"cannot write {folder}: {error.strerror or error}", "make room there, or set HF_HOME; it resumes"
        ) from error
    return folder / "snapshots" / listing.commit


class _Report:
    """Bytes of a whole download, told in one count over all its files."""

    def __init__(self, label: str, total: int, progress: progress.Progress | None) -> None:
        self.label, self.total, self.progress = label, total, progress
        self.before = 0  # bytes of the files that are done

    def __call__(self, done: int) -> None:
        if self.progress:
            self.progress(self.label, self.before + done, self.total)

    def finish(self, file: RemoteFile) -> None:
        self(file.size)
        self.before += file.size


def _check_space(folder: Path, files: list[RemoteFile]) -> None:
    missing = 0
    for file in files:
        blob = folder / "blobs" / file.key
        if not blob.is_file():
            partial = _partial(blob)
            missing += file.size - (partial.stat().st_size if partial.is_file() else 0)
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
            if not blob.is_file() or blob.stat().st_size != file.size:
                blob.parent.mkdir(parents=True, exist_ok=True)
                _fetch(listing, file, blob, report)
            pointer.parent.mkdir(parents=True, exist_ok=True)
            pointer.unlink(missing_ok=True)
            try:
                pointer.symlink_to(os.path.relpath(blob, pointer.parent))
            except OSError:  # Windows without the right to link: huggingface_hub moves the file too
                blob.replace(pointer)
    report.finish(file)


def _fetch(listing: Listing, file: RemoteFile, blob: Path, report: _Report) -> None:
    """Bring the content of `file` to `blob`: continued where it broke off, checked, then renamed."""
    import httpx

    partial = _partial(blob)
    have = partial.stat().st_size if partial.is_file() else 0
    if have > file.size:
        partial.unlink()
        have = 0
    failures = 0
    with httpx.Client(
        headers=sources.headers(listing.source), follow_redirects=True, timeout=_READ_TIMEOUT
    ) as client:
        while have < file.size or not partial.exists():
            before = have
            try:
                have = _stream(client, listing, file, partial, have, report)
                if have == before:
                    raise httpx.RemoteProtocolError("it sent nothing")
                failures = 0 if have > before else failures + 1
            except httpx.TransportError as error:
                have = partial.stat().st_size if partial.is_file() else 0
                failures = failures + 1 if have <= before else 1
                if failures >= _TRIES:
                    raise sources.unreachable(listing.source, error) from None
                time.sleep(_PAUSE * 2 ** (failures - 1))
    _verify(listing, file, partial)
    partial.replace(blob)


def _stream(
    client: object, listing: Listing, file: RemoteFile, partial: Path, have: int, report: _Report
) -> int:
    """Append what the server sends to `partial`. Returns its size then."""
    import httpx

    assert isinstance(client, httpx.Client)
    headers = {"Range": f"bytes={have}-"} if have else {}
    with client.stream("GET", file.url, headers=headers) as response:
        if response.status_code == 416:  # the server sees nothing left to send: what is here is no part of it
            partial.unlink(missing_ok=True)
            return 0
        if response.status_code not in (200, 206):
            if response.status_code >= 500:
                raise httpx.RemoteProtocolError(f"it answered {response.status_code}")
            raise sources.refusal(listing.repo, listing.source, response)
        # ModelScope may answer a range with 200: the Content-Range says where the bytes belong.
        start = response.headers.get("Content-Range", "bytes 0-").split()[-1].partition("-")[0]
        if start != str(have):
            have = 0
        with partial.open("ab" if have else "wb") as out:
            for block in response.iter_raw():
                out.write(block)
                have += len(block)
                if have > file.size:
                    break
                report(have)
            out.flush()
            os.fsync(out.fileno())
    return have


def _verify(listing: Listing, file: RemoteFile, partial: Path) -> None:
    """Raise `DownloadError`, with the bad file gone, unless size and hash are what the listing says."""
    size = partial.stat().st_size
    wanted = file.sha256 or file.git_sha1
    digest = hashlib.sha256()
    if not file.sha256:
        # Git's name for a file: the SHA-1 of a small header and the content.
        digest = hashlib.sha1(f"blob {file.size}\0".encode())  # noqa: S324 given by git
    with partial.open("rb") as content:
        while block := content.read(_CHUNK):
            digest.update(block)
    if size != file.size or (wanted and digest.hexdigest() != wanted):
        partial.unlink()
        raise DownloadError(
            f"{file.path} of {listing.repo} arrived corrupted ({size:,} of {file.size:,} bytes, wrong hash)",
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


def gguf(listing: Listing, quant: str | None, usual: str, *, vision: bool) -> list[RemoteFile]:
    """Return all parts of one GGUF model, and its vision projector. Raises `ModelError` where there is none
    of the file type `quant`."""
    ggufs = [file for file in listing.files if file.path.lower().endswith(".gguf")]
    projectors = {store.quant_of(f.path) or "": f for f in ggufs if store.is_projector(f.path)}
    by_quant: dict[str, list[RemoteFile]] = {}
    for file in sorted(ggufs, key=lambda file: file.path):
        if not store.is_companion(file.path):
            by_quant.setdefault(store.quant_of(file.path) or "", []).append(file)
    if not by_quant:
        what = "vision projectors only" if projectors else "no GGUF model"
        raise ModelError(f"{listing.repo} holds {what}", "name the repository that has the model itself")
    chosen = store.pick_quant(set(by_quant), quant, usual)
    if chosen is None:
        has = ", ".join(sorted(filter(None, by_quant))) or "one file of no stated type: leave `quant` out"
        raise ModelError(f"{listing.repo} has no {quant or 'GGUF file'}", f"it has {has}")
    # Of several models in one repository it is the first, whole: what `store.local_ggufs` takes, too.
    model = weight_formats.without_file_type(by_quant[chosen][0].path)
    files = [file for file in by_quant[chosen] if weight_formats.without_file_type(file.path) == model]
    if vision and projectors:
        files.append(projectors.get("F16") or next(iter(projectors.values())))
    return files
