"""Imports point one way: read from the syntax trees, wherever an import stands."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "qwen_cli"
NAME = PACKAGE.name

# From the top down. A room imports from rooms of lower rows and from itself, never from its own row.
ROWS = (
    ("commands",),
    ("serve", "lsp", "launch"),
    ("tasks",),
    ("engines.load",),
    ("engines.llamacpp", "engines.transformers", "engines.remote", "engines.daemon"),
    ("engines.parsing",),
    ("engines.core",),
    ("models", "media", "sandbox", "ui"),
    ("endpoints", "aliases"),
    ("install_hint",),
    ("settings",),
    ("project",),
    ("sanitize", "paths", "reading", "errors", "latex_tree", "_version"),
)
# Files of the lowest row may use one another: they hold no state and are a few lines each.
FREE = {"sanitize", "paths", "errors", "_version"}
# The package itself offers the library's names, and imports them when they are asked for.
PUBLIC = {"", "__main__"}


def modules() -> dict[str, Path]:
    """Every module by its name below the package; programs that only attack the sandbox are none."""
    files = (p for p in PACKAGE.rglob("*.py") if "attacks" not in p.relative_to(PACKAGE).parts)
    return {
        ".".join(p.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip("."): p
        for p in files
    }


MODULES = modules()


def imported(path: Path) -> Iterator[str]:
    """Modules of this package that the file imports, also inside functions and for type checkers."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name == NAME or name.startswith(f"{NAME}."):
                inner = name[len(NAME) + 1 :]
                yield inner if inner in MODULES else inner.rpartition(".")[0]


@functools.cache
def graph() -> dict[str, set[str]]:
    """What each module imports. Not made on import: every test process imports this file, one runs it."""
    return {name: set(imported(path)) - {name} for name, path in MODULES.items()}


def room(module: str) -> str:
    """The room of a module: the longest name of `ROWS` that it stands under."""
    rooms = [r for row in ROWS for r in row if module == r or module.startswith(f"{r}.")]
    return max(rooms, key=len, default=module)


def row(name: str) -> int:
    """The number of a room's row, 0 at the top."""
    return next(number for number, rooms in enumerate(ROWS) if name in rooms)


def test_every_module_has_a_room() -> None:
    packages = {"engines"}  # holds rooms, and nothing of its own
    rooms = {name for row in ROWS for name in row}
    homeless = [name for name in MODULES if name not in PUBLIC | packages and room(name) not in rooms]
    assert homeless == []


def test_imports_point_down() -> None:
    wrong = [
        f"{module} imports {name or 'the package itself'}"
        for module in sorted(set(MODULES) - PUBLIC)
        for name in sorted(graph()[module])
        if not points_down(module, name)
    ]
    assert wrong == []


def test_an_import_that_points_up_would_be_found() -> None:
    assert points_down("commands.chat.command", "models.hub.starter")
    assert not points_down("models.hub.starter", "commands.chat.command")
    assert not points_down("lsp.server", "serve.app")
    assert not points_down("models.hub.starter", "")


def points_down(module: str, name: str) -> bool:
    if name in PUBLIC:
        return False
    own, other = room(module), room(name)
    free = other == own or name == "engines" or (own in FREE and other in FREE)
    return free or row(other) > row(own)


def test_only_commands_draw_on_a_terminal() -> None:
    others = [module for module in MODULES if not module.startswith(("commands", "ui"))]
    drawn = [f"{m} imports {name}" for m in others for name in graph()[m] if name.partition(".")[0] == "ui"]
    assert drawn == []


def test_the_architecture_page_has_the_same_rows() -> None:
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text("utf-8")
    rows = re.findall(r"^\| \d+ \| (.+) \|$", page, re.MULTILINE)
    assert tuple(tuple(re.findall(r"`([\w.]+)`", line)) for line in rows) == ROWS


def test_the_map_for_contributors_names_every_package_and_nothing_else() -> None:
    page = (PACKAGE.parent / "CONTRIBUTING.md").read_text("utf-8")
    named = set(re.findall(r"`qwen_cli/(\w+)/", page))
    assert named == {folder.parent.name for folder in PACKAGE.glob("*/__init__.py")}


def test_no_modules_import_one_another_in_a_circle() -> None:
    assert circles(graph()) == []


def test_a_circle_would_be_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == [["b", "c"]]


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Modules that reach themselves, together with all they share a circle with."""
    reached = {start: _reached(graph, start) for start in graph}
    looping = [start for start in sorted(graph) if start in reached[start]]
    found: list[list[str]] = []
    for start in looping:
        ring = sorted(other for other in looping if other in reached[start] and start in reached[other])
        if ring not in found:
            found.append(ring)
    return found


def _reached(graph: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    ahead = list(graph[start])
    while ahead:
        name = ahead.pop()
        if name not in seen:
            seen.add(name)
            ahead += graph.get(name, ())
    return seen
