"""Every engine has all of the protocol, and outside `engines/` nobody looks behind it."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from filling import Filling
from scripted import Scripted

from qwen_cli.engines.core.base import Engine, EngineBase
from qwen_cli.engines.daemon.client import DaemonEngine
from qwen_cli.engines.llamacpp.engine import LlamaCpp
from qwen_cli.engines.remote.engine import Remote
from qwen_cli.serve.scheduling.queued_engine import QueuedEngine

PACKAGE = Path(__file__).parents[1] / "qwen_cli"
METHODS = [name for name, found in vars(Engine).items() if inspect.isfunction(found) and name[0] != "_"]
METHODS += ["__enter__", "__exit__"]


def kinds() -> list[type]:
    from qwen_cli.engines.transformers.batching import _Lane
    from qwen_cli.engines.transformers.engine import Transformers

    return [EngineBase, LlamaCpp, Transformers, _Lane, Remote, DaemonEngine, QueuedEngine, Scripted, Filling]


# What `EngineBase` leaves to each engine.
OWN = {"chat", "complete", "sample", "count_tokens"}


@pytest.mark.parametrize("name", METHODS)
def test_every_engine_takes_what_the_protocol_says(name: str) -> None:
    wanted = asked(getattr(Engine, name))
    for kind in kinds():
        if kind is EngineBase and name in OWN:
            continue
        assert wanted.items() <= asked(getattr(kind, name)).items() or takes_any(getattr(kind, name)), kind


def asked(method: Any) -> dict[str, tuple[Any, Any]]:
    """How each parameter of a method may be given, and its default."""
    return {
        name: (parameter.kind, parameter.default)
        for name, parameter in inspect.signature(method).parameters.items()
        if name != "self"
    }


def takes_any(method: Any) -> bool:
    """Whether a method of a test's engine takes whatever it is given."""
    return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(method).parameters.values())


# --- who looks behind it -----------------------------------------------------------------------------------

# Calls that return an engine, and names that one always has.
OPENERS = {"open_engine", "load", "connect", "load_engine", "_engine", "_warm", "queued_engine"}
NAMED = {"engine", "_engine", "lane"}
ANNOTATED = re.compile(r"\b(Engine|QueuedEngine|DaemonEngine|Remote|LlamaCpp|Transformers)\b")
PEEKS = {"getattr", "hasattr", "setattr", "delattr", "isinstance", "type", "vars", "dir", "cast", "copy"}


def engines_in(tree: ast.AST) -> set[str]:
    """Names in a file that stand for an engine: annotated so, opened, or called so."""
    annotated = [node for node in ast.walk(tree) if isinstance(node, ast.arg) and node.annotation]
    # Where `engine` is only ever the name of one, it is none.
    found = NAMED - {node.arg for node in annotated} | {
        node.arg for node in annotated if node.annotation and is_one(node.annotation)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            continue
        if isinstance(node, ast.AnnAssign) and is_one(node.annotation):
            found.add(name_of(node.target))
        elif isinstance(node, ast.Assign) and opens(node.value):
            found.update(name_of(target) for target in node.targets)
        elif isinstance(node, ast.withitem) and node.optional_vars and opens(node.context_expr):
            found.add(name_of(node.optional_vars))
    return found - {""}


def is_one(annotation: ast.AST) -> bool:
    text = ast.unparse(annotation)
    return bool(ANNOTATED.search(text)) and not re.search(r"Callable|options\.|Sequence|list|Iterable", text)


def opens(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call) or name_of(node.func) not in OPENERS:
        return False
    return name_of(node.func) != "load" or isinstance(node.func, ast.Name)  # `sessions.load` is another


def name_of(node: ast.AST) -> str:
    """The last word of a name: `engine` of `self.lane.engine`."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def peeks(source: str) -> Iterator[str]:
    """Lines of `source` that ask an engine what it is, in place of what it can do."""
    tree = ast.parse(source)
    engines = engines_in(tree)
    shown = {id(inner) for node in ast.walk(tree) for inner in shown_by(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and name_of(node.func) in PEEKS:
            if any(name_of(given) in engines for given in node.args):
                yield f"{node.lineno}: {ast.unparse(node)}"
        elif isinstance(node, ast.Attribute) and name_of(node.value) in engines:
            private = node.attr.startswith("_")
            if private or (node.attr == "name" and id(node) not in shown):
                yield f"{node.lineno}: {ast.unparse(node)}"


KEPT = {"self.name", "self.engine"}  # of a view of the engine, of what is written of a session


def shown_by(node: ast.AST) -> Iterator[ast.AST]:
    """Names of engines that are only told to somebody: in a text, in an object of JSON, as the name of the
    engine that stands for it."""
    if isinstance(node, ast.FormattedValue):
        yield node.value
    elif isinstance(node, ast.Dict):
        yield from node.values
    elif isinstance(node, ast.Assign):
        yield from [node.value] * all(ast.unparse(target) in KEPT for target in node.targets)
    elif isinstance(node, ast.keyword):  # of what is written into the log
        yield from [node.value] * (node.arg == "engine")


OUTSIDE = sorted(
    path
    for path in PACKAGE.rglob("*.py")
    if path.relative_to(PACKAGE).parts[0] not in ("engines", "sandbox", "ui", "models", "media")
)


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nobody_asks_an_engine_what_it_is(path: Path) -> None:
    assert list(peeks(path.read_text("utf-8"))) == []


@pytest.mark.parametrize(
    "line",
    [
        'getattr(engine, "infill", None)',
        'hasattr(self._engine, "interrupt")',
        'lane.engine.name == "llamacpp"',
        'engine.name in ("remote", "llamacpp")',
        'stop = getattr(lane.engine, "interrupt")',
        'name = engine.name\nif name == "remote": pass',
        "match engine.name:\n    case _: pass",
        "isinstance(engine, Remote)",
        'cast("LlamaCpp", engine)',
        "self.__dict__.update(vars(engine))",
        "engine._slot.cancel()",
        'with open_engine(settings) as model:\n    print(model.name != "remote")',
        'def one(model: Engine) -> None:\n    hasattr(model, "infill")',
        'model: Engine | None = None\nsetattr(model, "shift_cache", True)',
        "loaded = open_engine(options)\ntype(loaded).__name__",
    ],
)
def test_each_way_to_ask_is_found(line: str) -> None:
    assert list(peeks(line))


@pytest.mark.parametrize(
    "line",
    [
        'say(f"{engine.model} on {engine.name}")',
        'opened = {"name": engine.name}',
        "self.name = resident.engine.name",
        "engine.capabilities.may_think",
        "getattr(sampling, name)",
        'endpoint.name == "lab"',
    ],
)
def test_telling_a_name_and_asking_others_is_no_fault(line: str) -> None:
    assert list(peeks(line)) == []
