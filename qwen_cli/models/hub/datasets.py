"""Data sets of the model hub: the files of a split, at one commit, in the cache that other tools share."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from qwen_cli.errors import DownloadError
from qwen_cli.models.hub import download, sources, store
from qwen_cli.models.progress import Progress

_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Split:
    """Files of a data set as they are at `commit`."""

    commit: str
    files: tuple[Path, ...]


def fetch(repo: str, pattern: str, *, revision: str = "main", progress: Progress | None = None) -> Split:
    """Return the files of `repo` that match `pattern` ("all/test-*.parquet"), fetched if they are not here.

    A `revision` that is a commit is pinned; "main" is the newest where the hub can be asked, else the one
    that was fetched last. Raises `DownloadError`.
    """
    here = _here(repo, revision)
    if here and (_COMMIT.fullmatch(revision) or store.offline()) and (files := _matching(here, pattern)):
        return Split(here.name, files)

    def choose(listing: sources.Listing) -> list[sources.RemoteFile]:
        chosen = [file for file in listing.files if fnmatch(file.path, pattern)]
        if not chosen:
            raise DownloadError(f"{repo} has no files {pattern} at {listing.commit[:12]}", "give a file")
        return chosen

    folder = download.pull(
        repo, choose, source="hub", label=repo, progress=progress, kind="datasets", revision=revision
    )
    return Split(folder.name, _matching(folder, pattern))


def present(repo: str, pattern: str) -> tuple[Path, ...]:
    """Return the files of `repo` that match `pattern` as they were fetched last; none where none were."""
    here = _here(repo, "main")
    return _matching(here, pattern) if here else ()


def _here(repo: str, revision: str) -> Path | None:
    if revision == "main":
        return store.snapshot(repo, "datasets")
    folder = store.repo_folder(repo, "datasets") / "snapshots" / revision
    return folder if _COMMIT.fullmatch(revision) and folder.is_dir() else None


def _matching(folder: Path, pattern: str) -> tuple[Path, ...]:
    return tuple(sorted(path for path in folder.glob(pattern) if path.is_file()))
