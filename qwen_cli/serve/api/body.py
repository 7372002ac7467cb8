"""What clients send: read within bounds, parsed, and checked against OpenAI's own types."""

from __future__ import annotations

import asyncio
import functools
import json
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails
from starlette.requests import ClientDisconnect, Request

from qwen_cli.serve.api.errors import Refused

_Path: TypeAlias = "tuple[str | int, ...]"

_DEEPEST = 64  # nested objects and lists: more than any schema needs, and far from Python's limit
_OWN = frozenset({"parameters", "schema", "chat_template_kwargs", "metadata"})
_LONG = 1 << 20  # bytes that take so long to parse that others would notice
_READ_SECONDS = 60.0  # for a body, altogether


async def read(request: Request, most_bytes: int, *, null: Collection[str] = ()) -> dict[str, Any]:
    """The object in the body of `request`, without its fields that are null: OpenAI's clients write null for
    "not given". Of the fields of the object itself those in `null` stay. Raises `Refused`."""
    sent = await read_as_sent(request, most_bytes)
    return {**{name: None for name in null if name in sent}, **given(sent)}


async def read_as_sent(request: Request, most_bytes: int) -> dict[str, Any]:
    """The object in the body of `request`. Raises `Refused`."""
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > most_bytes:
        raise _too_large(most_bytes)
    data = bytearray()

    async def collect() -> None:
        async for block in request.stream():
            data.extend(block)
            if len(data) > most_bytes:
                raise _too_large(most_bytes)

    try:
        await asyncio.wait_for(collect(), _READ_SECONDS)
    except asyncio.TimeoutError:
        raise Refused(408, f"the body did not come within {_READ_SECONDS:g} seconds") from None
    except ClientDisconnect:
        raise Refused(400, "the body broke off") from None
    if len(data) < _LONG:
        return parsed(bytes(data))
    return await asyncio.to_thread(parsed, bytes(data))


def parsed(data: bytes) -> dict[str, Any]:
    """The JSON object in `data`. Raises `Refused`."""
    if _depth(data) > _DEEPEST:
        raise Refused(400, f"the body is nested more than {_DEEPEST} levels deep")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as fault:
        raise Refused(400, f"the body is not JSON: {fault}") from None
    if not isinstance(value, dict):
        raise Refused(400, f"the body must be a JSON object, got {type(value).__name__}")
    return value


def given(value: Any) -> Any:
    """`value` without the fields that are null, however deep; what is in the client's own words (`_OWN`: a
    JSON schema may mean a null) is left as it is."""
    if isinstance(value, dict):
        return {name: one if name in _OWN else given(one) for name, one in value.items() if one is not None}
    if isinstance(value, list):
        return [given(one) for one in value]
    return value


def checked(kind: Any, value: Mapping[str, Any]) -> dict[str, Any]:
    """`value` as the `TypedDict` (or union of them) `kind` describes it. Raises `Refused` naming the field.

    Fields that the type does not have are left out.
    """
    with _faults(()):
        found: dict[str, Any] = _adapter(kind).validate_python(value)
    return {name: _whole(one, (name,)) for name, one in found.items()}


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _whole(value: Any, path: _Path) -> Any:
    """`value` gone through: pydantic checks what is declared as `Iterable` only then."""
    if type(value).__name__ == "ValidatorIterator":
        with _faults(path):
            value = list(value)
    if isinstance(value, dict):
        return {name: _whole(one, (*path, name)) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_whole(one, (*path, index)) for index, one in enumerate(value)]
    return value


@contextmanager
def _faults(path: _Path) -> Iterator[None]:
    """Pydantic's fault with a value at `path` as ours."""
    try:
        yield
    except ValidationError as fault:
        field, message = _said(fault, path)
        raise Refused(400, f"{field}: {message}" if field else message, param=field or None) from None


_TYPE_NAMES = {"str", "int", "float", "bool", "list", "dict", "generator", "none", "nullable"}


def _said(fault: ValidationError, path: _Path) -> tuple[str, str]:
    """The field and the fault that matter most: of a union all members complain, and the one that got
    furthest was meant."""
    errors = fault.errors(include_url=False, include_context=False, include_input=False)
    # A member whose `role` or `type` is another was not meant, whatever else is wrong with it.
    others = {error["loc"][:-1] for error in errors if _tells_apart(error)}
    meant = [
        error
        for error in errors
        if not any(
            error["loc"][: len(other)] == other and not (_tells_apart(error) and error["loc"][:-1] == other)
            for other in others
        )
    ]
    best = max(
        meant, key=lambda error: (len(error["loc"]), not _tells_apart(error), error["type"] == "missing")
    )
    message = best["msg"][0].lower() + best["msg"][1:]
    field = _field((*path, *best["loc"]))
    if _tells_apart(best):
        values = [error["msg"] for error in meant if _field((*path, *error["loc"])) == field]
        known = dict.fromkeys(value.removeprefix("Input should be ") for value in values)
        message = f"input should be {' or '.join(known)}"
    elif best["type"] == "iterable_type":
        message = "input should be a list"
    return field, message


def _tells_apart(error: ErrorDetails) -> bool:
    """Whether it says that another member of a union may be meant."""
    return error["type"] == "literal_error" and error["loc"][-1:] in (("role",), ("type",))


def _field(path: _Path) -> str:
    """`path` as a client knows it: between the fields stand the members of unions."""
    return ".".join(
        str(part)
        for part in path
        if isinstance(part, int) or (re.fullmatch("[a-z_]+", part) and part not in _TYPE_NAMES)
    )


_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKET = re.compile(rb"[{}\[\]]")


def _depth(data: bytes) -> int:
    """How deep brackets are nested, those in strings left out."""
    deepest = depth = 0
    for bracket in _BRACKET.findall(_STRING.sub(b"", data)):
        depth += 1 if bracket in b"{[" else -1
        deepest = max(deepest, depth)
    return deepest


def _too_large(most_bytes: int) -> Refused:
    return Refused(
        413, f"the body is larger than {most_bytes:,} bytes; start the server with a larger --max-body"
    )
