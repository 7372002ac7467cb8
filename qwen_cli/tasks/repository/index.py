"""What a repository holds: its files, the names they define, what they import, which were edited last.

Kept in memory and brought up to date by modification time: a look at a few thousand files takes some tens
of milliseconds once they have been read.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from qwen_cli.tasks.repository import files, languages
from qwen_cli.tasks.repository.definitions import Definition, definitions, names
from qwen_cli.tasks.repository.imports import Paths, arrange, imports, resolve

# Files are listed again after this time at the earliest: keystrokes come faster, new files do not.
_FRESH_SECONDS = 2.0
# The history changes with commits, not with edits.
_RECENT_SECONDS = 10.0
_RECENT_COMMITS = 5
_RECENT_FILES = 8

_LAST_NAME = re.compile(r"(\w+)(?:\.(?:[hc]\w{0,2}|[mc]?[jt]sx?|py|vue|svelte))?/?$")
# Files that stand for their folder when they are imported.
_FOLDER_FILES = frozenset(("__init__", "index", "mod", "lib"))


@dataclass(frozen=True)
class _Scan:
    entry: files.Entry
    names: frozenset[str]
    imports: tuple[str, ...]


class Index:
    """The source files under `root`. `unsaved` texts (from an editor) stand in for those on the disk."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.paths: Paths = arrange(())
        self._scans: dict[str, _Scan] = {}
        self._refused: dict[str, files.Entry] = {}
        self._defined: dict[str, list[str]] = {}
        self._importing: dict[str, set[str]] = {}
        self._parsed: dict[str, tuple[str, list[Definition]]] = {}
        self._edited: list[str] | None = None
        self._committed: list[str] = []
        self._looked = self._looked_recent = float("-inf")
        self._near = ""
        self._beyond: tuple[str, ...] = ()
        self._more = False

    def refresh(self, near: str = "") -> None:
        """Take note of what changed on the disk, at most every two seconds.

        Of a repository too large to be read the files nearest to the file `near` are, those edited last, and
        by name alone all the others.
        """
        now = time.monotonic()
        moved = (self._beyond or self._more) and _folder(near) != _folder(self._near)
        if now - self._looked < _FRESH_SECONDS and not moved:
            return
        self._look_at_history()
        first = [*(self._edited or ()), *self._committed[:_RECENT_FILES]]
        listing = files.nearest(self.root, near, first, wanted=languages.is_source)
        entries = {e.path: e for e in listing.entries}
        gone = [p for p, scan in self._scans.items() if entries.get(p) != scan.entry]
        for path in gone:
            self._forget(path)
        new = [e for p, e in entries.items() if p not in self._scans and self._refused.get(p) != e]
        for entry in new:
            self._scan(entry)
        if gone or new or listing.beyond != self._beyond:
            self.paths = arrange((*self._scans, *listing.beyond))
        self._near, self._beyond, self._more = near, listing.beyond, listing.more
        self._looked = time.monotonic()

    @property
    def notice(self) -> str | None:
        """Return one line for the person, where there are more files than are read."""
        if not self._beyond and not self._more:
            return None
        total = f"{'more than ' if self._more else ''}{len(self.paths.all):,}"
        return (
            f"{self.root.name} has {total} source files: the {len(self._scans):,} nearest to"
            f" {self._near or 'its top folder'} and what it imports are looked at"
        )

    def text(self, path: str, unsaved: Mapping[str, str]) -> str:
        """Return the text of a file, empty if it went away or may not be shown any more."""
        if path in unsaved:
            return unsaved[path] if files.is_shown(unsaved[path]) else ""
        return files.read(self.root, path) or ""

    def parsed(self, path: str, text: str) -> list[Definition]:
        """Return the definitions of a file, kept as long as its text stays the same."""
        known = self._parsed.get(path)
        if known is None or known[0] != text:
            known = (text, definitions(text, path))
            self._parsed[path] = known
        return known[1]

    def defining(self, name: str) -> list[str]:
        """Return the files that seem to define a name, sorted."""
        return sorted(self._defined.get(name, ()))

    def names(self, path: str) -> frozenset[str]:
        return self._scans[path].names if path in self._scans else frozenset()

    def importing(self, path: str) -> list[str]:
        """Return the files whose imports mean `path`, sorted."""
        folder, _, name = path.rpartition("/")
        stem = name.split(".")[0]
        words = {stem}
        if stem in _FOLDER_FILES or path.endswith(".go"):
            words.add(folder.rpartition("/")[2])
        importing = set().union(*(self._importing.get(word, ()) for word in words))
        return sorted(p for p in importing if path in resolve(self._scans[p].imports, p, self.paths))

    def recent(self) -> list[str]:
        """Return the source files with uncommitted changes, latest first, then those of the last commits."""
        self._look_at_history()
        if self._edited is None:
            edited = list(self._scans)
        else:
            edited = [path for path in self._edited if path in self._scans]
        edited.sort(key=lambda p: (-self._scans[p].entry.mtime, p))
        committed = [path for path in self._committed if path in self._scans]
        return list(dict.fromkeys([*edited, *committed]))[:_RECENT_FILES]

    def _look_at_history(self) -> None:
        """Ask git what was edited and committed last, at most every ten seconds. There may be no git."""
        now = time.monotonic()
        if now - self._looked_recent < _RECENT_SECONDS:
            return
        status = files.git(self.root, "status", "--porcelain", "-z", "--no-renames")
        if status is not None:
            self._edited = [line[3:] for line in status.split("\0") if line[3:]]
            log = files.git(
                self.root, "log", f"-{_RECENT_COMMITS}", "--name-only", "--format=", "-z", "--no-renames"
            )
            committed = re.split(r"[\0\n]", log or "")
            self._committed = [path for path in committed if languages.is_source(path)]
        self._looked_recent = time.monotonic()

    def _scan(self, entry: files.Entry) -> None:
        text = files.read(self.root, entry.path)
        if text is None:
            self._refused[entry.path] = entry
            return
        scan = _Scan(entry, names(text), imports(text, entry.path))
        self._scans[entry.path] = scan
        for name in scan.names:
            self._defined.setdefault(name, []).append(entry.path)
        for word in _last_names(scan.imports):
            self._importing.setdefault(word, set()).add(entry.path)

    def _forget(self, path: str) -> None:
        scan = self._scans.pop(path)
        self._parsed.pop(path, None)
        for name in scan.names:
            self._defined[name].remove(path)
        for word in _last_names(scan.imports):
            self._importing[word].discard(path)


def _last_names(specs: tuple[str, ...]) -> set[str]:
    return {match[1] for spec in specs if (match := _LAST_NAME.search(spec))}


def _folder(path: str) -> str:
    return path.rpartition("/")[0]
