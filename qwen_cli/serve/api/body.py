"""What clients send: read within bounds, parsed, and checked against OpenAI's own types."""

from __future__ import annotations

import asyncio
import functools
import json
import re
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeAlias, TypeVar

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails
from starlette.requests import ClientDisconnect, Request

from qwen_cli.serve import memory
from qwen_cli.serve.api.errors import Refused
from qwen_cli.serve.scheduling import threads

_Path: TypeAlias = "tuple[str | int, ...]"
_T = TypeVar("_T")

_DEEPEST = 64  # nested objects and lists: more than any schema needs, and far from Python's limit
_OWN = frozenset({"parameters", "schema", "input_schema", "chat_template_kwargs", "metadata"})
_OWN_ON_TOP = frozenset({"json_schema", "guided_json", "structured_outputs", "format"})
_MOST_VALUES = 1 << 20  # of a body; a long conversation has thousands
_CODINGS = {"gzip": 31, "x-gzip": 31, "deflate": 15}  # with the `wbits` that zlib knows them by
_LONG = 1 << 16  # bytes that take so long to parse that others would notice
# Of many that are read at the same time each would have its turn before the loop has one; and in a flood the
# first have their places by the time that the last are looked at.
_READERS = ThreadPoolExecutor(16, thread_name_prefix="read")
_LONG_READERS = ThreadPoolExecutor(2, thread_name_prefix="parse")
_IS_LONG = "qwen.long"  # of a scope: whether the body has `_LONG` bytes
ROOM = "qwen.room"
"""Of a scope: what raises `Busy` where the queue is full, for a request that would have to wait in it."""
_READ_SECONDS = 60.0  # for a body, altogether


async def read(request: Request, most_bytes: int, *, null: Collection[str] = ()) -> dict[str, Any]:
    """Return the object in the body of `request`, without its fields that are null: OpenAI's clients write
    null for "not given". Of the fields of the object itself those in `null` stay. Raises `Refused`."""
    sent = await read_as_sent(request, most_bytes)
    own = {name: sent[name] for name in _OWN_ON_TOP if sent.get(name) is not None}
    return {**{name: None for name in null if name in sent}, **without_nulls(sent), **own}


async def read_as_sent(request: Request, most_bytes: int, *, own: bool = False) -> dict[str, Any]:
    """Return the object in the body of `request`, as `parsed` gives it. Raises `Refused`."""
    check_room(request)
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > most_bytes:
        raise _too_large(most_bytes)
    blocks: list[bytes] = []

    async def collect() -> None:
        size = 0
        async for block in request.stream():
            blocks.append(block)
            size += len(block)
            if size > most_bytes:
                raise _too_large(most_bytes)

    try:
        await asyncio.wait_for(collect(), _READ_SECONDS)
    except asyncio.TimeoutError:
        raise Refused(408, f"the body did not come within {_READ_SECONDS:g} seconds") from None
    except ClientDisconnect:
        raise Refused(400, "the connection closed before the body was complete") from None
    data = b"".join(blocks)
    blocks.clear()
    memory.took(len(data))
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding != "identity":
        request.scope[_IS_LONG] = True
        data = await aside(request, lambda: _decoded(data, coding, most_bytes))
    request.scope[_IS_LONG] = len(data) >= _LONG
    if request.scope[_IS_LONG]:
        return await aside(request, lambda: parsed(data, own=own))
    check_room(request)
    return parsed(data, own=own)


async def aside(request: Request, work: Callable[[], _T], interrupt: Callable[[], None] = lambda: None) -> _T:
    """Return what `work` makes of what `request` has sent, beside the loop, a few at a time. Raises `Busy`
    where the queue has become full by the time that it is its turn, `Gone` where its client has left."""

    def in_turn() -> _T:
        check_room(request)
        return work()

    pool = _LONG_READERS if request.scope.get(_IS_LONG) else _READERS
    return await threads.one(request, in_turn, interrupt, pool)


def check_room(request: Request) -> None:
    """Raise `Busy` where `request` would be turned away."""
    if check := request.scope.get(ROOM):
        check()


def _decoded(data: bytes, coding: str, most_bytes: int) -> bytes:
    """Return a body that came compressed, no more of it than `most_bytes`. Raises `Refused`."""
    if coding not in _CODINGS:
        raise Refused(415, f"the body is in {coding[:40]!r}: send it as it is, or in gzip or deflate")
    unpacked = zlib.decompressobj(_CODINGS[coding])
    try:
        whole = unpacked.decompress(data, most_bytes + 1)
    except zlib.error as fault:
        raise Refused(400, f"the body is not {coding}: {fault}") from None
    if len(whole) > most_bytes:
        raise _too_large(most_bytes)
    if not unpacked.eof or unpacked.unused_data:
        raise Refused(400, f"the body is not one whole {coding}")
    return whole


def parsed(data: bytes, *, own: bool = False) -> dict[str, Any]:
    """Parse the JSON object in `data`. Raises `Refused`; unless it is from a command of one's `own`, also for
    one that is nested too deeply or holds more values than any request has."""
    try:
        if not own:
            _measure(data)
        value = json.loads(data.decode("utf-8-sig"), parse_constant=None if own else _no_number)
        if not own and _HALF.search(data):
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise Refused(400, "a text of the body holds half a character (a lone surrogate)") from None
    except UnicodeDecodeError as fault:
        raise Refused(400, f"the body is not UTF-8: {fault.reason} at byte {fault.start:,}") from None
    except (ValueError, RecursionError) as fault:
        raise Refused(400, f"the body is not JSON: {fault}") from None
    if not isinstance(value, dict):
        raise Refused(400, f"the body must be a JSON object, got {type(value).__name__}")
    return value


def without_nulls(value: Any) -> Any:
    """Return `value` without the fields that are null, however deep; what is in the client's own words
    (`_OWN`: a JSON schema may mean a null; an `input` that is an object: a call's arguments at Anthropic) is
    left as it is."""
    if isinstance(value, dict):
        return {
            name: one if name in _OWN or (name == "input" and isinstance(one, dict)) else without_nulls(one)
            for name, one in value.items()
            if one is not None
        }
    if isinstance(value, list):
        return [without_nulls(one) for one in value]
    return value


def checked(kind: Any, value: Mapping[str, Any]) -> dict[str, Any]:
    """Validate `value` against the `TypedDict` (or union of them) `kind`. Raises `Refused` naming the field.

    Fields that the type does not have are left out.
    """
    with _faults(()):
        validated: dict[str, Any] = _adapter(kind).validate_python(value)
    return {name: _whole(one, (name,)) for name, one in validated.items()}


def string(value: Any, where: str) -> str:
    """Return `value`, the text at `where` in a request. Raises `Refused`."""
    if not isinstance(value, str):
        raise Refused(400, f"{where}: input should be a valid string", param=where)
    return value


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _whole(value: Any, path: _Path) -> Any:
    """Go through all of `value`: pydantic checks what is declared as `Iterable` only then."""
    if type(value).__name__ == "ValidatorIterator":
        with _faults(path):
            # Not `list`: that would hold the interpreter for as long as all of it takes.
            value = [one for one in value]  # noqa: C416
    if isinstance(value, dict):
        return {name: _whole(one, (*path, name)) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_whole(one, (*path, index)) for index, one in enumerate(value)]
    return value


@contextmanager
def _faults(path: _Path) -> Iterator[None]:
    """Raise pydantic's fault with a value at `path` as ours."""
    try:
        yield
    except ValidationError as fault:
        field, message = _clearest_fault(fault, path)
        raise Refused(400, f"{field}: {message}" if field else message, param=field or None) from None


_TYPE_NAMES = {"str", "int", "float", "bool", "list", "dict", "generator", "none", "nullable"}


def _clearest_fault(fault: ValidationError, path: _Path) -> tuple[str, str]:
    """Return the field and the fault that matter most: of a union all members complain, and the one that got
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
    """Return whether it says that another member of a union may be meant."""
    return error["type"] == "literal_error" and error["loc"][-1:] in (("role",), ("type",))


def _field(path: _Path) -> str:
    """Return `path` as a client knows it: between the fields stand the members of unions."""
    return ".".join(
        str(part)
        for part in path
        if isinstance(part, int) or (re.fullmatch("[a-z_]+", part) and part not in _TYPE_NAMES)
    )


_ALIKE = bytes.maketrans(b"{}", b"[]")
_BETWEEN = bytes(set(range(256)) - set(b"{}[]"))
_HALF = re.compile(rb"\\u[dD][89a-fA-F]")  # of a pair of surrogates; a whole pair is well


def _measure(data: bytes) -> None:
    """Raise `Refused` for JSON nested deeper than `_DEEPEST` or of more than `_MOST_VALUES` values.

    In time and memory that grow with `data` alone: what is escaped goes, so that each quote left begins or
    ends a string. As far as `data` is JSON this sees the strings that a parser does, and where it is none a
    parser stops.
    """
    bare = data.replace(rb"\\", b"").replace(rb"\"", b"")
    too_many = Refused(400, f"the body holds more than {_MOST_VALUES:,} values")
    if bare.count(b'"') > 4 * _MOST_VALUES:  # a name and a text for each
        raise too_many
    outside = b"".join(bare.split(b'"')[::2])
    brackets = outside.translate(_ALIKE, _BETWEEN)
    if outside.count(b",") + len(brackets) // 2 > _MOST_VALUES:
        raise too_many
    for _ in range(_DEEPEST):
        inner = brackets.replace(b"[]", b"")  # one level less, everywhere
        if len(inner) == len(brackets):
            break
        brackets = inner
    if b"[]" in brackets or brackets.count(b"[") > _DEEPEST:
        raise Refused(400, f"the body is nested more than {_DEEPEST} levels deep")


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number of JSON")


def _too_large(most_bytes: int) -> Refused:
    return Refused(
        413,
        f"the body is larger than {most_bytes:,} bytes, the `max_body` that the server was started with",
    )
