"""Repository context: which files and definitions a model should see before it fills in code."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from qwen_cli.tasks.repository import languages
from qwen_cli.tasks.repository.definitions import Definition, all_names, extract, names
from qwen_cli.tasks.repository.files import root_of
from qwen_cli.tasks.repository.imports import imports, resolve
from qwen_cli.tasks.repository.index import Index

__all__ = ["Repository", "Taken", "context", "root_of"]


@dataclass(frozen=True)
class Taken:
    """A file, or whole definitions of one, that the model sees. `why` is for the person."""

    path: str
    text: str
    why: str


# Lines around the cursor whose names say what is being worked on: a screen above, a few below.
_LINES_BEFORE, _LINES_AFTER = 40, 10
# A name that more files define (`main`, `get`, `__init__`) tells nothing about which one is meant.
_MAX_DEFINERS = 4
_SHORTEST_NAME = 3
# Files of one kind that are looked at; the budget is full long before that.
_MAX_FILES = 12
# One file gets at most this part of the budget whole; a longer one is cut down to definitions.
_WHOLE_SHARE = 3
# The marks and line ends that the layout puts around each file, in tokens.
_FRAME_TOKENS = 4
# No tokenizer of the family packs more source characters into a token on average (measured: 3 to 4.5), so
# a text longer than this many characters for each token left needs no counting.
_MAX_CHARACTERS_PER_TOKEN = 8

_NAME = re.compile(r"[^\W\d]\w*")
# What names a test or the other half of a module: test_a.py, a_test.go, a.spec.ts, ATest.java, a-inl.h.
_AFFIXES = re.compile(
    r"^(?:test_|tests_)|(?:[._-](?:test|tests|spec|unittest|inl|impl|internal)|Tests?|Spec|IT)$"
)
_FAMILY = {"c": "cpp", "typescript": "javascript", "tsx": "javascript"}


@dataclass
class _Candidate:
    """`group` orders files in the prompt: what changes least while one types stands first."""

    group: int
    score: float = 0.0
    reasons: list[str] = field(default_factory=list)
    wanted: set[str] = field(default_factory=set)  # names whose definitions are needed
    users: bool = False  # interesting for how it uses this file, not for what it defines


class Repository:
    """One repository for as long as somebody works in it."""

    def __init__(self, root: Path) -> None:
        self.index = Index(root)
        self._counts: dict[str, int] = {}

    def context(
        self,
        path: str,
        prefix: str,
        suffix: str,
        budget: int,
        count: Callable[[str], int],
        *,
        unsaved: Mapping[str, str] | None = None,
    ) -> list[Taken]:
        """Return what to show for a hole in the file `path` (from the root, forward slashes) in `budget`
        tokens.

        `count` is the tokenizer; it must stay the same for the life of this object. `unsaved` holds texts of
        other open files by path. The same input gives the same list in the same order, and a character typed
        inside a word changes neither, so that the KV cache of the files holds between keystrokes.
        """
        self.index.refresh(path)
        near = _near_names(prefix, suffix)
        candidates = self._candidates(path, prefix + suffix, near)
        ranked = sorted(candidates.items(), key=lambda item: (-item[1].score, item[0]))
        own = names(prefix + suffix)
        used = {n for n in _NAME.findall(prefix + suffix) if not _is_dunder(n)} - all_names(prefix + suffix)
        fit = _Fit(self.index, self._count(count), budget, unsaved or {}, own, used)
        taken = [(c.group, t) for p, c in ranked if (t := fit.take(p, c)) is not None]
        taken.sort(key=lambda item: (item[0], item[1].path))
        return [t for _, t in taken]

    @property
    def notice(self) -> str | None:
        """Return one line for the person, where the repository has more files than are looked at."""
        return self.index.notice

    def _count(self, count: Callable[[str], int]) -> Callable[[str], int]:
        def counted(text: str) -> int:
            if text not in self._counts:
                if len(self._counts) > 2_000:
                    self._counts.clear()
                self._counts[text] = count(text)
            return self._counts[text]

        return counted

    def _candidates(self, path: str, text: str, near: list[str]) -> dict[str, _Candidate]:
        index = self.index
        candidates: dict[str, _Candidate] = {}

        def add(
            other: str, group: int, score: float, reason: str, *, users: bool = False
        ) -> _Candidate | None:
            if other == path:
                return None
            candidate = candidates.setdefault(other, _Candidate(group, users=users))
            candidate.score += score
            if reason:
                candidate.reasons.append(reason)
            return candidate

        for other in resolve(imports(text, path), path, index.paths)[: 3 * _MAX_FILES]:
            add(other, 0, 4, "imported here")
        for other in _counterparts(path, index.paths.all):
            add(other, 1, 3, "same name", users=_is_test(other))
        for other in index.importing(path)[:_MAX_FILES]:
            add(other, 2, 1.5, "imports this file", users=True)
        for name in near:
            places = [p for p in index.defining(name) if _family(p) == _family(path) and p != path]
            if len(places) > _MAX_DEFINERS:
                places = [p for p in places if p in candidates and candidates[p].group == 0]
            for other in places:
                known = candidates.get(other)
                candidate = add(other, 3, 2 if known is None or known.group else 1, "")
                if candidate:
                    candidate.wanted.add(name)
        for other in index.recent():
            if _family(other) == _family(path):
                add(other, 4, 1, "edited recently", users=True)
        return candidates


class _Fit:
    """Takes candidates one after the other while the budget lasts."""

    def __init__(
        self,
        index: Index,
        count: Callable[[str], int],
        budget: int,
        unsaved: Mapping[str, str],
        own: frozenset[str],
        used: set[str],
    ) -> None:
        self.index, self.count, self.unsaved, self.own, self.used = index, count, unsaved, own, used
        self.left = budget
        self.share = budget // _WHOLE_SHARE

    def take(self, path: str, candidate: _Candidate) -> Taken | None:
        text = self.index.text(path, self.unsaved).strip("\n")
        frame = _FRAME_TOKENS + self.count(path)
        if not text or self.left <= frame:
            return None
        names_shown = sorted(candidate.wanted)
        if not self._fits(text, min(self.left - frame, self.share)):
            definitions = self.index.parsed(path, text)
            text, names_shown = self._parts(text, definitions, candidate, self.left - frame)
            if not text:
                return None
        self.left -= frame + self.count(text)
        reasons = list(candidate.reasons)
        if names_shown:
            more = f" and {len(names_shown) - 4} more" if len(names_shown) > 4 else ""
            verb = "uses" if candidate.users and not candidate.wanted else "defines"
            reasons.append(f"{verb} {', '.join(names_shown[:4])}{more}")
        return Taken(path, text, "; ".join(reasons))

    def _parts(
        self, text: str, matches: list[Definition], candidate: _Candidate, left: int
    ) -> tuple[str, list[str]]:
        """Return the whole definitions that matter and fit, and the names they are there for.

        Of a class that does not fit, the members that are used here; of any definition that does not, its
        head, which tells how it is called.
        """
        limit = min(left, self.share)
        wholes: set[int] = set()
        heads: set[int] = set()
        rendered: list[str] = []
        for position, reason in self._interesting(text, matches, candidate):
            if matches[position].outer in wholes:
                continue
            members = {i for i, d in enumerate(matches) if d.outer == position}
            called = {i for i in members if matches[i].name in self.used}
            choices = [({position}, set()), (called, members), (called, set()), (set(), {position})]
            for whole, head in choices:
                if not whole and not head:
                    continue
                if self._fits(extract(text, matches, wholes | whole, heads | head), limit):
                    wholes |= whole
                    heads |= head
                    rendered.append(reason)
                    break
        return extract(text, matches, wholes, heads) if rendered else "", list(dict.fromkeys(rendered))

    def _interesting(
        self, text: str, matches: list[Definition], candidate: _Candidate
    ) -> list[tuple[int, str]]:
        """Return the positions of definitions worth showing, best first, each with the name that makes
        it so."""
        wanted = [(i, d.name) for i, d in enumerate(matches) if d.name in candidate.wanted]
        if candidate.users:
            lines = text.splitlines()
            for position, definition in enumerate(matches):
                if definition.outer is None or len(matches) < 2:
                    words = set(_NAME.findall("\n".join(lines[definition.start : definition.end])))
                    if common := sorted(words & self.own, key=len):
                        wanted.append((position, common[-1]))
            return wanted[:_MAX_FILES]
        return wanted + [
            (i, d.name)
            for i, d in enumerate(matches)
            if d.name in self.used and d.name not in candidate.wanted
        ]

    def _fits(self, text: str, limit: int) -> bool:
        return len(text) <= limit * _MAX_CHARACTERS_PER_TOKEN and self.count(text) <= limit


def context(
    root: Path, path: str, prefix: str, suffix: str, budget: int, count: Callable[[str], int]
) -> list[Taken]:
    """Return `Repository.context` for a single question. Who asks again keeps a `Repository`."""
    return Repository(root).context(path, prefix, suffix, budget, count)


def _near_names(prefix: str, suffix: str) -> list[str]:
    """Return the names around the cursor, without the word that is being typed: it changes with every key."""
    before = "".join(prefix.splitlines(keepends=True)[-_LINES_BEFORE:])
    after = "".join(suffix.splitlines(keepends=True)[:_LINES_AFTER])
    text = re.sub(r"\w+\Z", "", before) + "\n" + re.sub(r"\A\w+", "", after)
    return sorted(n for n in set(_NAME.findall(text)) if len(n) >= _SHORTEST_NAME and not _is_dunder(n))


def _is_dunder(name: str) -> bool:
    """Return whether this is Python's `__init__` or its like: every class has them."""
    return name.startswith("__") and name.endswith("__")


def _counterparts(path: str, paths: Collection[str]) -> list[str]:
    """Return tests and headers of a file, or what a test or header belongs to: the same name without
    affixes."""
    wanted, family = _plain_stem(path), _family(path)
    return sorted(p for p in paths if p != path and _plain_stem(p) == wanted and _family(p) == family)[:4]


def _plain_stem(path: str) -> str:
    name = path.rpartition("/")[2]
    stem = _AFFIXES.sub("", name.rpartition(".")[0].removesuffix(".d"))
    return stem.lower() if stem not in ("__init__", "index", "mod", "main", "lib", "conftest") else path


def _is_test(path: str) -> bool:
    return bool(re.search(r"(^|/)tests?/|(^|/)test_|[._-](test|spec)\.|Tests?\.", path))


def _family(path: str) -> str:
    language = languages.language_of(path)
    return _FAMILY.get(language, language) if language else path.rpartition(".")[2]
