"""The typed functions of a Python file as tools. The file is the user's own and runs in this process."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import importlib.util
import inspect
import json
import os
import re
import sys
import traceback
import typing
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

from qwen_cli.errors import ToolError, UsageError
from qwen_cli.sanitize import error_line
from qwen_cli.tasks.tools import hints as reading
from qwen_cli.tasks.tools.base import Tool

if TYPE_CHECKING:
    from pydantic import TypeAdapter

NO_RESULT = "(done, no result)"


def read(path: Path, remark: Callable[[str], None] = lambda text: None) -> list[Tool]:
    """Run the file at `path`; every public function defined in it is a tool (with `__all__`, those in it).

    One that cannot be a tool is told to `remark`. Raises `ToolError` if the file cannot be run, or none of
    its functions can.
    """
    module = _run(path)
    public = getattr(module, "__all__", None)
    tools: list[Tool] = []
    odd: list[ToolError] = []
    for name, value in vars(module).items():
        offered = name in public if public is not None else not name.startswith("_")
        if not offered or not _is_own(value, module):
            continue
        try:
            if value.__name__ == name:
                tools.append(_tool(value, path))
            elif "<locals>" in value.__qualname__:  # else it is a second name for another one
                hint = "put @functools.wraps on what its decorator returns"
                raise ToolError(f"{path}: {name}() is decorated, and its arguments are not known", hint)
        except ToolError as error:
            odd.append(error)
    if odd and not tools:
        raise odd[0]
    if not tools:
        raise ToolError(f"{path} defines no public function", "write one with annotated arguments")
    for one in odd:
        remark(f"{one}. It is left out")
    return tools


def _is_own(value: Any, module: ModuleType) -> bool:
    """Return whether `value` is a function of `module`, or one that `functools.cache` and its like hold."""
    function = inspect.isfunction(value) or inspect.isfunction(getattr(value, "__wrapped__", None))
    return function and hasattr(value, "__qualname__") and value.__module__ == module.__name__


def _run(path: Path) -> ModuleType:
    name = f"qwen_tools_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if not path.is_file() or spec is None or spec.loader is None:
        missing = ToolError(f"no tool file {str(path)!r}", "give the path of a .py file, or the word builtin")
        missing.exit_code = UsageError.exit_code  # as for any other file that is not there
        raise missing
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pydantic look up annotations there
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)  # modules beside the file, as if it were run; installed ones win
    try:
        with _off_stdout():
            spec.loader.exec_module(module)
    except SyntaxError as error:
        line = "" if error.lineno is None else f", line {error.lineno}"
        raise ToolError(f"{error.filename or path}{line}: {error.msg}", "fix the file") from error
    except (Exception, SystemExit) as error:
        raise ToolError(f"{path}{_line(error, path)}: {_named(error)}", "fix the file") from error
    return module


@contextlib.contextmanager
def _off_stdout() -> Iterator[None]:
    """Write to stderr what is printed meanwhile, by programs too: stdout holds only the answer."""
    with contextlib.redirect_stdout(sys.stderr):
        try:
            kept = os.dup(1)
            os.dup2(2, 1)
        except OSError:  # one of them is closed
            yield
            return
        try:
            yield
        finally:
            os.dup2(kept, 1)
            os.close(kept)


def _tool(function: Callable[..., Any], path: Path) -> Tool:
    description, said = split(function.__doc__)
    adapter, parameters = _arguments(function, said, path)
    kinds = inspect.signature(function).parameters
    nameless = [name for name, one in kinds.items() if one.kind is one.POSITIONAL_ONLY]

    def check(arguments: dict[str, Any]) -> str | None:
        given = _validated(adapter, arguments)
        return given if isinstance(given, str) else None

    def run(arguments: dict[str, Any]) -> str:
        given = _validated(adapter, arguments)
        if isinstance(given, str):
            raise ToolError(f"wrong arguments for {function.__name__}: {given}")
        first = [given.pop(name) for name in nameless if name in given]
        with _off_stdout():
            result = function(*first, **given)
            if inspect.iscoroutine(result):
                result = _finish(result)
            return _text(result)

    return Tool(function.__name__, description, parameters, run, path.stem, check)


def _arguments(
    function: Callable[..., Any], said: dict[str, str], path: Path
) -> tuple[TypeAdapter[Any], dict[str, Any]]:
    """Return what checks the arguments, and their JSON schema."""
    import pydantic  # 0.1 s, only with tools
    from typing_extensions import NotRequired, TypedDict  # pydantic asks for this one before Python 3.12

    where = f"{path}: {function.__name__}()"
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except Exception as error:
        raise ToolError(f"{where} has an annotation that names nothing: {_named(error)}") from error
    fields: dict[str, Any] = {}
    parameters = inspect.signature(function).parameters
    for name, parameter in parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            if any(one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD) for one in parameters.values()):
                continue  # it can be called without
            raise ToolError(f"{where} takes {parameter}, which has no name of its own", "name every argument")
        if name not in hints:
            raise ToolError(f"{where} does not say what {name!r} is", f"annotate it, as in `{name}: str`")
        required = parameter.default is parameter.empty
        extra = None if required else _default(parameter.default)
        words = said.get(name) or reading.description(hints[name])
        info = pydantic.Field(description=words, json_schema_extra=extra)
        try:
            annotation: Any = Annotated[reading.readable(hints[name]), info]
        except Exception as error:
            raise ToolError(f"{where}: {_named(error)}", "use types that JSON can hold") from error
        fields[name] = annotation if required else NotRequired[annotation]
    # Built by hand, so that arguments may be called "schema" or "json", which model fields may not.
    make: Any = TypedDict
    shape = make(function.__name__, fields)
    shape.__pydantic_config__ = {"extra": "forbid"}
    try:
        adapter = pydantic.TypeAdapter(shape)
        return adapter, _untitled(adapter.json_schema())
    except pydantic.errors.PydanticUserError as error:
        raise ToolError(f"{where}: {_named(error)}", "use types that JSON can hold") from error


def _validated(adapter: TypeAdapter[Any], arguments: dict[str, Any]) -> dict[str, Any] | str:
    """Return the arguments as the function takes them, or what is wrong with them."""
    import pydantic

    try:
        # As JSON, so that dates, enums and tuples are taken from what JSON has for them.
        given: dict[str, Any] = adapter.validate_json(json.dumps(arguments))
    except pydantic.ValidationError as error:
        return "; ".join(
            f"{'.'.join(map(str, fault['loc'])) or 'arguments'}: {fault['msg']}" for fault in error.errors()
        )
    return given


def _default(value: Any) -> dict[str, Any] | None:
    """Return the schema's mention of a default, where JSON can hold it."""
    from pydantic_core import PydanticSerializationError, to_jsonable_python

    if isinstance(value, enum.Enum) and reading.by_name(type(value)):
        return {"default": value.name}
    try:
        return {"default": to_jsonable_python(value)}
    except PydanticSerializationError:
        return None


def _untitled(schema: Any) -> Any:
    """Return the schema without pydantic's titles, which repeat the names: each costs prompt tokens."""
    if isinstance(schema, list):
        return [_untitled(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept: dict[str, Any] = {}
    for key, value in schema.items():
        if key in ("properties", "$defs"):  # here keys are names, and may be "title"
            kept[key] = {name: _untitled(inner) for name, inner in value.items()}
        elif not (key == "title" and isinstance(value, str)):
            kept[key] = value if key in ("default", "enum", "const") else _untitled(value)
    return kept


def _finish(coroutine: Coroutine[Any, Any, Any]) -> Any:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    # A notebook has a loop running in this thread; another cannot run inside it.
    run: Callable[[Coroutine[Any, Any, Any]], Any] = asyncio.run
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run, coroutine).result()


def _text(result: Any) -> str:
    """Return a result as the model reads it: text as it is, anything else as JSON."""
    if isinstance(result, str):
        return result
    if result is None:
        return NO_RESULT
    from pydantic_core import to_json

    return to_json(result, fallback=str).decode()


def _line(error: BaseException, path: Path) -> str:
    """Return ", line N" of the file where the error came from, if it has one."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    return f", line {frames[-1].lineno}" if frames else ""


def _named(error: BaseException) -> str:
    """Return the type of an error and what it says, on one line."""
    kind, line = type(error).__name__, error_line(error)
    return kind if line == kind else f"{kind}: {line}"


_SECTIONS = "Args|Arguments|Parameters|Params|Returns?|Yields?|Raises|Examples?|Notes?|Attributes"
_GOOGLE = re.compile(rf"^({_SECTIONS}):\s*$")  # Google: a heading with a colon, its items indented
_NUMPY = re.compile(r"^-{3,}\s*$")  # numpy: a heading underlined, its items at the margin
_SPHINX = re.compile(r"^:(\w+)(?:\s+[^:]*?)?(?:\s*\b(\w+))?:\s*(.*)$")  # :param int name: text
_ITEM = re.compile(r"^(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)$")  # name (type): text
_ARGUMENTS = {"args", "arguments", "parameters", "params"}


def split(docstring: str | None) -> tuple[str, dict[str, str]]:
    """Return the text before the first section, and what is said of each argument.

    Google, numpy and Sphinx layouts are read; in a plain docstring everything is description.
    """
    lines = inspect.cleandoc(docstring or "").splitlines()
    description: list[str] = []
    arguments: dict[str, str] = {}
    section: str | None = None
    current: str | None = None  # the argument whose lines are being read
    layout = ""
    for number, line in enumerate(lines):
        underlined = number + 1 < len(lines) and bool(_NUMPY.match(lines[number + 1]))
        if underlined and re.fullmatch(_SECTIONS, line.strip()):
            section, current, layout = line.strip().lower(), None, "numpy"
        elif heading := _GOOGLE.match(line):
            section, current, layout = heading[1].lower(), None, "google"
        elif field := _SPHINX.match(line):
            section, current, layout = "sphinx", None, "sphinx"
            if field[1] == "param" and field[2]:
                current = field[2]
                arguments[current] = field[3]
        elif section is None:
            description.append(line)
        elif section in _ARGUMENTS and not _NUMPY.match(line):
            current = _argument_line(line, layout, current, arguments)
        elif section == "sphinx" and current and line.startswith(" "):
            arguments[current] = f"{arguments[current]} {line.strip()}".strip()
    return "\n".join(description).strip(), {name: text for name, text in arguments.items() if text}


def _argument_line(line: str, layout: str, current: str | None, arguments: dict[str, str]) -> str | None:
    """Read one line of an arguments section; the argument that it is about."""
    depth = len(line) - len(line.lstrip())
    text = line.strip()
    if layout == "numpy" and text and depth == 0:
        name = text.split(":")[0].strip()
        arguments[name] = ""
        return name
    item = _ITEM.match(text)
    # A line indented deeper than the items goes on with the one before.
    if layout == "google" and item and depth <= 4:
        arguments[item[1]] = item[2]
        return item[1]
    if current and text:
        arguments[current] = f"{arguments[current]} {text}".strip()
    return current
