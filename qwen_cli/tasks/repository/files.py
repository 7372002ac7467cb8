"""Which files of a repository may be shown to a model: tracked or not ignored, text, and no secrets."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from qwen_cli.errors import UsageError
from qwen_cli.tasks.repository.secret_files import holds_key, is_secret

if TYPE_CHECKING:
    import pathspec

# 200,000 bytes are about 60,000 tokens, twice the length that the repository layout was trained at
# (Qwen2.5-Coder README: 32k tokens): such a file is data, an amalgamation, or generated.
MAX_BYTES = 200_000

# Files of a repository that are read for what they define, the nearest ones: it takes many seconds the first
# time, and all their names are kept.
MAX_FILES = 20_000
# A folder that is no repository (a home folder, say) is not walked to its end.
_MAX_WALKED = 100_000

# fmt: off
_GENERATED_NAMES = (
    "*.min.js", "*.min.css", "*.map", "*.lock", "package-lock.json", "pnpm-lock.yaml", "go.sum",
    "*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*.pb.go", "*.pb.cc", "*.pb.h", "*.generated.*",
    "*.g.dart", "*.designer.cs", "*_generated.*",
)
# fmt: on
# Other people's code, also where it is checked in.
# fmt: off
_VENDORED_FOLDERS = frozenset((
    "node_modules", "bower_components", "vendor", "third_party", "site-packages",
))
# fmt: on
# What builds leave behind, where no git says so.
# fmt: off
_BUILD_FOLDERS = frozenset((
    "__pycache__", "venv", "dist", "build", "target", "node_modules",
))
# fmt: on

# The line that generators write, as `go generate`, protoc, Bazel and Meta's tools have it.
_GENERATED_MARK = re.compile(
    r"Code generated .* DO NOT EDIT|@generated\b|[Aa]uto-?(matically )?generated (by|from|file)"
    r"|[Gg]enerated by .*[Dd]o not (edit|modify)"
)
_GENERATED = re.compile("|".join(map(translate, _GENERATED_NAMES)))
_PRIVATE_KEY = "PRIVATE KEY-----"
_HEAD = 1_000  # characters in which a generator's mark is looked for
_MINIFIED_LINE = 1_000  # mean characters a line above which no person wrote it


@dataclass(frozen=True)
class Entry:
    """A file as it was listed: `path` from the root with forward slashes, modification time in ns, bytes."""

    path: str
    mtime: int
    size: int


def root_of(path: Path) -> Path | None:
    """Return the git work tree that `path` is in, or None."""
    for folder in path.resolve().parents:
        if (folder / ".git").exists():  # a folder, or a file in a linked work tree
            return folder
    return None


def is_generated(path: str) -> bool:
    """Return whether the name says that a program wrote the file."""
    *folders, name = path.lower().split("/")
    return bool(_GENERATED.match(name)) or not _VENDORED_FOLDERS.isdisjoint(folders)


def listing(root: Path) -> list[Entry]:
    """Return the files under `root` that git does not ignore, without secrets, generated, empty and huge
    files, sorted: 20,000 at most, those nearest to `root` first.

    Symbolic links are left out: what they point to is listed under its own name, or lies outside.
    """
    return nearest(root).entries


@dataclass(frozen=True)
class Listing:
    """The files that are looked at, sorted; `beyond` are the paths of those that were left out because
    there are too many, and with `more` there are others that were not even counted."""

    entries: list[Entry]
    beyond: tuple[str, ...] = ()
    more: bool = False


def nearest(
    root: Path,
    near: str = "",
    first: Collection[str] = (),
    *,
    wanted: Callable[[str], bool] = lambda path: True,
) -> Listing:
    """Return `listing` of the files that are `wanted` by their path.

    Where there are more than 20,000 those of `first` are taken, then those with the fewest folders between
    them and the file `near`.
    """
    names, more = _candidates(root, near)
    paths = [path for path in names if wanted(path) and not _is_hidden(path)]
    taken = paths
    if len(paths) > MAX_FILES:
        home, chosen = near.split("/")[:-1], frozenset(first)
        taken = sorted(paths, key=lambda path: (path not in chosen, _steps(home, path), path))[:MAX_FILES]
    entries = [entry for path in taken if (entry := _entry(root, path)) is not None]
    beyond = set(paths).difference(taken) if taken is not paths else ()
    return Listing(sorted(entries, key=lambda entry: entry.path), tuple(sorted(beyond)), more)


@dataclass(frozen=True)
class Folder:
    """The files of a folder that a model may see, sorted, and the paths of those that it may not by why:
    "secret", "generated", "large" (or links), "binary" (or minified, or not UTF-8). Empty files are in
    neither."""

    texts: tuple[tuple[str, str], ...]
    left_out: dict[str, tuple[str, ...]]


def read_folder(root: Path, most_bytes: int) -> Folder:
    """Return all text below `root` that git does not ignore. Raises `UsageError` where it is more than
    `most_bytes`, before anything is read."""
    left: dict[str, list[str]] = {"secret": [], "generated": [], "large": [], "binary": []}
    entries: list[Entry] = []
    names, _ = _candidates(root, "")
    for name in sorted(names):
        if is_secret(name):
            left["secret"].append(name)
        elif is_generated(name):
            left["generated"].append(name)
        elif entry := _entry(root, name):
            entries.append(entry)
        elif (root / name).is_symlink() or ((root / name).exists() and (root / name).stat().st_size):
            left["large"].append(name)
    total = sum(entry.size for entry in entries)
    if total > most_bytes:
        raise UsageError(
            f"the folder {str(root)!r} holds {len(entries):,} files of {total:,} bytes together,"
            f" more than {most_bytes >> 20} MB",
            "name a part of it",
        )
    texts: list[tuple[str, str]] = []
    for entry in entries:
        text = read(root, entry.path)
        if text is None:
            left["binary"].append(entry.path)
        else:
            texts.append((entry.path, text))
    return Folder(tuple(texts), {why: tuple(paths) for why, paths in left.items() if paths})


def not_ignored(root: Path, paths: Sequence[str]) -> list[str]:
    """Return those of `paths`, below `root`, that no .gitignore names."""
    told = git(root, "check-ignore", "-z", "--stdin", stdin="\0".join(paths), fine=(0, 1))
    if told is None:
        ignores = _Ignores(root)
        return [path for path in paths if not ignores.ignored(path)]
    ignored = set(told.split("\0"))
    return [path for path in paths if path not in ignored]


def _steps(home: list[str], path: str) -> int:
    """Return how many folders one goes up and down from the folder `home` to the one of `path`."""
    folders = path.split("/")[:-1]
    common = 0
    for mine, other in zip(home, folders, strict=False):
        if mine != other:
            break
        common += 1
    return len(home) + len(folders) - 2 * common


@lru_cache(maxsize=1 << 17)  # the same names are asked about at every look
def _is_hidden(path: str) -> bool:
    return is_secret(path) or is_generated(path)


def _entry(root: Path, path: str) -> Entry | None:
    """Return the file as it is on the disk; None where it is a link, empty, huge, or no file."""
    try:
        info = os.lstat(f"{root}/{path}")  # a Path for each of thousands takes longer than the look
    except OSError:  # deleted, but still in the index
        return None
    if not stat.S_ISREG(info.st_mode) or not 0 < info.st_size <= MAX_BYTES:
        return None
    return Entry(path, info.st_mtime_ns, info.st_size)


def read(root: Path, path: str) -> str | None:
    """Return the text of a file; None where it is none that is listed, binary, not UTF-8, minified,
    generated, or holds a key."""
    if _entry(root, path) is None:
        return None
    try:
        data = (root / path).read_bytes()
    except OSError:
        return None
    if b"\0" in data:
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    return text.replace("\r\n", "\n") if is_shown(text) else None


def is_shown(text: str) -> bool:
    """Return whether a text may be shown to a model: it holds no key, and is neither generated nor
    minified."""
    if _PRIVATE_KEY in text or holds_key(text) or _GENERATED_MARK.search(text, 0, _HEAD):
        return False
    return len(text) <= _MINIFIED_LINE * (text.count("\n") + 1)


def _candidates(root: Path, near: str) -> tuple[list[str], bool]:
    """Return the paths that are not ignored, and whether there are more of them. Names that are not UTF-8 or
    hold a line break are left out."""
    listed = git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    if listed is not None:
        return [name for name in listed.split("\0") if name and name.isprintable()], False
    walked = list(islice(_walk(root, near), _MAX_WALKED + 1))
    return walked[:_MAX_WALKED], len(walked) > _MAX_WALKED


def git(root: Path, *arguments: str, stdin: str = "", fine: Collection[int] = (0,)) -> str | None:
    """Return what git prints, or None where `root` is in no work tree or there is no git. `fine` are the exit
    codes of an answer."""
    try:
        done = subprocess.run(
            # fsmonitor and hooks of a repository somebody else made are programs: not run
            ["git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", *arguments],
            cwd=root,
            input=stdin.encode(errors="surrogateescape"),
            capture_output=True,
            timeout=10,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode in fine else None


def _walk(root: Path, near: str) -> Iterator[str]:
    """Yield the files of a folder that is no git work tree, those beside and below the file `near` first,
    then those of each folder above."""
    ignores = _Ignores(root)
    done: str | None = None
    folder = near.rpartition("/")[0]
    while True:
        yield from _below(root, folder, done, ignores)
        if not folder:
            return
        done, folder = folder, folder.rpartition("/")[0]


def _below(root: Path, folder: str, done: str | None, ignores: _Ignores) -> Iterator[str]:
    """Yield the files in and below `folder`, but for those below `done`."""
    for here, folders, names in os.walk(root / folder):
        relative = Path(here).relative_to(root).as_posix()
        base = "" if relative == "." else f"{relative}/"
        folders[:] = sorted(
            name
            for name in folders
            if name not in _BUILD_FOLDERS
            and not name.startswith(".")
            and base + name != done
            and not ignores.ignored(f"{base}{name}/")
        )
        for name in sorted(names):
            if name.isprintable() and not ignores.ignored(base + name):
                yield base + name


class _Ignores:
    """The .gitignore files of a folder that is no git work tree: they count all the same."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._specs: dict[str, pathspec.GitIgnoreSpec | None] = {}

    def ignored(self, path: str) -> bool:
        """Return whether `path` is ignored: the innermost .gitignore that says something about it decides."""
        folder = path.rstrip("/")
        while folder:
            folder = folder.rpartition("/")[0]
            spec = self._spec(folder)
            if spec is not None:
                result = spec.check_file(path[len(folder) + 1 :] if folder else path)
                if result.include is not None:
                    return result.include
        return False

    def _spec(self, folder: str) -> pathspec.GitIgnoreSpec | None:
        import pathspec  # 10 ms, needed outside git work trees only

        if folder not in self._specs:
            file = self._root / folder / ".gitignore"
            try:
                lines = file.read_text("utf-8", "replace").splitlines()
            except OSError:
                self._specs[folder] = None
            else:
                self._specs[folder] = pathspec.GitIgnoreSpec.from_lines(lines)
        return self._specs[folder]
