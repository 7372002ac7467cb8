"""What a project's folder says of how `qwen` is used in it: `.qwen.toml` and `.qwen/templates`.

A folder may come from anybody. What lies in it holds only after a person has agreed to it, once: the answer
is kept with a digest of the content, so that any change asks again. `agree` is how a person is asked; where
there is none nothing is trusted.

A project begins at the first folder, from the working one upward, that has one of the two. The search ends
with the root of a git repository, and before the person's home and the root of the file system.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qwen_cli import paths, reading
from qwen_cli.errors import QwenError, UsageError

FILE, TEMPLATES = ".qwen.toml", ".qwen/templates"
_LONGEST = 256 << 10  # bytes of a file of a project
_MOST = 200  # templates


@dataclass(frozen=True)
class Project:
    """`values` are those of `.qwen.toml`, unchecked; `templates` what each file in `.qwen/templates` holds,
    by its name without `.toml`. `digest` is of all that a person agrees to."""

    root: Path
    values: Mapping[str, Any] = field(repr=False)
    templates: Mapping[str, bytes] = field(repr=False)
    digest: str = field(repr=False)

    @property
    def file(self) -> Path:
        """Return where its settings are; there need be none."""
        return self.root / FILE


def _nobody(project: Project) -> bool | None:
    return None


agree: Callable[[Project], bool | None] = _nobody
"""Asks whether a project is trusted: yes, no, or `None` where nobody can be asked. Set by whoever has a
terminal."""
_undecided: set[str] = set()  # digests that nobody could be asked about, and broken roots: once is enough


def _tell_nobody(fault: UsageError) -> None: ...


tell: Callable[[UsageError], None] = _tell_nobody
"""Says why a project that nobody has trusted is ignored. Set by whoever has a terminal."""


def find(start: Path | None = None) -> Project | None:
    """Return the project that `start` (the working folder) is in, trusted or not. Raises `UsageError` for a
    file of it that does not parse."""
    root = _root(start)
    return None if root is None else _read(root)


def _root(start: Path | None = None) -> Path | None:
    """Return the folder that the project begins at."""
    try:
        here, home = (start or Path.cwd()).resolve(), Path.home().resolve()
    except (OSError, RuntimeError):
        return None
    for folder in (here, *here.parents):
        if folder in (home, Path(folder.anchor)):
            return None
        if (folder / FILE).is_file() or (folder / TEMPLATES).is_dir():
            return folder
        if (folder / ".git").exists():
            return None
    return None


def current() -> Project | None:
    """Return the project that the working folder is in if it is trusted; a person is asked who was not yet.
    Raises `UsageError` for one that was trusted and does not parse any more; another is ignored, and told."""
    root = _root()
    if root is None or str(root) in _undecided:
        return None
    try:
        project = _read(root)
    except UsageError as fault:
        if _answers().get(str(root), {}).get("trusted"):
            raise
        _undecided.add(str(root))
        tell(fault)
        return None
    if project.digest in _undecided:
        return None
    answer = answered(project)
    if answer is None:
        answer = agree(project)
        if answer is None:
            _undecided.add(project.digest)
        else:
            remember(project, answer)
    return project if answer else None


def answered(project: Project) -> bool | None:
    """Return what a person said of this project as it is; `None` where nobody was asked about that."""
    entry = _answers().get(str(project.root))
    return bool(entry["trusted"]) if entry and entry.get("digest") == project.digest else None


def remember(project: Project, trusted: bool | None) -> None:
    """Keep what a person said of a project; `None` forgets it. Raises `QwenError`."""
    answers = _answers()
    answers.pop(str(project.root), None)
    if trusted is not None:
        answers[str(project.root)] = {"digest": project.digest, "trusted": trusted}
    file = _store()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        paths.replace(file, json.dumps(answers, indent=1))
    except OSError as fault:
        raise QwenError(f"cannot write {file}: {fault.strerror}", "check its permissions") from None
    _undecided.discard(project.digest)


def parsed(content: bytes, where: Path | str) -> dict[str, Any]:
    """Return a TOML file. Raises `UsageError` naming `where` it is."""
    try:
        return reading.parsed_toml(content.decode("utf-8"))
    except ValueError as fault:
        raise UsageError(f"{where} is not valid TOML: {fault}", "fix it or remove it") from None


def _read(root: Path) -> Project:
    digest = hashlib.sha256()
    content = _content(root / FILE)
    values = parsed(content, root / FILE)
    digest.update(content)
    templates = {}
    for path in sorted((root / TEMPLATES).glob("*.toml"))[:_MOST]:
        if path.is_file():
            templates[path.stem] = _content(path)
            digest.update(f"\0{path.name}\0".encode("utf-8", "surrogateescape") + templates[path.stem])
    if isinstance(servers := values.get("mcp"), str):  # programs are started from it: agreed to as it is now
        digest.update(b"\0mcp\0" + _content(root / Path(servers).expanduser()))
    return Project(root, values, templates, digest.hexdigest())


def _content(path: Path) -> bytes:
    if not path.is_file():
        return b""
    try:
        with path.open("rb") as file:
            content = file.read(_LONGEST + 1)
    except OSError as fault:
        raise UsageError(f"cannot read {path}: {fault.strerror}", "check its permissions") from None
    if len(content) > _LONGEST:
        raise UsageError(f"{path} is longer than {_LONGEST:,} bytes", "shorten it")
    return content


def _store() -> Path:
    return paths.data_folder() / "projects.json"


def _answers() -> dict[str, Any]:
    try:
        answers = reading.parsed_json(reading.read(_store()))
    except (OSError, ValueError):
        return {}
    whole = isinstance(answers, dict) and all(isinstance(one, dict) for one in answers.values())
    return answers if whole else {}
