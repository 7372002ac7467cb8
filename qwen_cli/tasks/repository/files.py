"""Which files of a repository may be shown to a model: tracked or not ignored, text, and no secrets."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import translate
from pathlib import Path

from qwen_cli.tasks.repository.secret_files import holds_key, is_secret

# 200,000 bytes are about 60,000 tokens, twice the length that the repository layout was trained at
# (Qwen2.5-Coder README: 32k tokens): such a file is data, an amalgamation, or generated.
MAX_BYTES = 200_000

# A folder that is no repository (a home folder, say) is not walked to its end.
MAX_FILES = 20_000

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
    files.

    Symbolic links are left out: what they point to is listed under its own name, or lies outside.
    """
    entries = []
    for path in _candidates(root):
        if is_secret(path) or is_generated(path):
            continue
        try:
            info = os.lstat(f"{root}/{path}")  # a Path for each of thousands takes longer than the look
        except OSError:  # deleted, but still in the index
            continue
        if stat.S_ISREG(info.st_mode) and 0 < info.st_size <= MAX_BYTES:
            entries.append(Entry(path, info.st_mtime_ns, info.st_size))
    return sorted(entries, key=lambda entry: entry.path)


def read(root: Path, path: str) -> str | None:
    """Return the text of a listed file; None where it is binary, not UTF-8, minified, generated, or holds a
    key."""
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


def _candidates(root: Path) -> Iterator[str]:
    """Yield the paths that are not ignored. Names that are not UTF-8 or hold a line break are left out."""
    names = git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    if names is None:
        yield from _walk(root)
        return
    for name in names.split("\0")[: MAX_FILES + 1]:
        if name and name.isprintable():
            yield name


def git(root: Path, *arguments: str) -> str | None:
    """Return what git prints, or None where `root` is in no work tree or there is no git."""
    try:
        done = subprocess.run(
            # fsmonitor and hooks of a repository somebody else made are programs: not run
            ["git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", *arguments],
            cwd=root,
            capture_output=True,
            timeout=10,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else None


def _walk(root: Path) -> Iterator[str]:
    """Yield the files of a folder that is no git work tree; its .gitignore files count all the same."""
    import pathspec  # 10 ms, needed outside git work trees only

    specs: dict[str, pathspec.GitIgnoreSpec] = {}
    found = 0

    def ignored(path: str) -> bool:
        """Return the innermost .gitignore that says something about the path decides."""
        folder = path.rstrip("/")
        while folder:
            folder = folder.rpartition("/")[0]
            if folder in specs:
                result = specs[folder].check_file(path[len(folder) + 1 :] if folder else path)
                if result.include is not None:
                    return result.include
        return False

    for here, folders, names in os.walk(root):
        relative = Path(here).relative_to(root).as_posix()
        base = "" if relative == "." else f"{relative}/"
        if ".gitignore" in names:
            lines = (Path(here) / ".gitignore").read_text("utf-8", "replace").splitlines()
            specs[base.rstrip("/")] = pathspec.GitIgnoreSpec.from_lines(lines)
        folders[:] = sorted(
            name
            for name in folders
            if name not in _BUILD_FOLDERS and not name.startswith(".") and not ignored(f"{base}{name}/")
        )
        for name in sorted(names):
            if name.isprintable() and not ignored(base + name):
                found += 1
                if found > MAX_FILES:
                    return
                yield base + name
