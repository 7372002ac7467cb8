"""Annotations of a user's functions in the form that pydantic reads, and that a model understands."""

from __future__ import annotations

import enum
import functools
import operator
import sys
import types
import typing
from typing import Annotated, Any, Union


def description(hint: Any) -> str | None:
    """Return what an annotation says of its argument: the first text in `Annotated[…]`, or its `Doc`."""
    for one in getattr(hint, "__metadata__", ()):
        if isinstance(one, str):
            return one
        if isinstance(words := getattr(one, "documentation", None), str):
            return words
    return None


def by_name(kind: type[enum.Enum]) -> bool:
    """Return whether the members of an enumeration are told by name: where their values tell nothing."""
    return not all(isinstance(member.value, str) for member in kind)


def readable(hint: Any) -> Any:
    """Return `hint` with enumerations that take their members' names too, and dictionaries with keys of their
    own (`typing.TypedDict`) as pydantic wants them before Python 3.12."""
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _members(hint)
    if typing.is_typeddict(hint) and sys.version_info < (3, 12):
        return _typed_dict(hint)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return Annotated[(readable(arguments[0]), *arguments[1:])]
    if origin is Union or origin is types.UnionType:
        return functools.reduce(operator.or_, map(readable, arguments))
    if isinstance(origin, type) and arguments and not any(isinstance(one, list) for one in arguments):
        made = tuple(one if one is Ellipsis else readable(one) for one in arguments)
        return hint if made == arguments else origin[made]  # type: ignore[index]
    return hint


def _members(kind: type[enum.Enum]) -> Any:
    from pydantic import BeforeValidator, WithJsonSchema

    def member(given: Any) -> Any:
        if isinstance(given, str) and given in kind.__members__:
            return kind[given]
        if by_name(kind):
            raise ValueError(f"it is one of {', '.join(kind.__members__)}")
        return given

    taken: Any = Annotated[kind, BeforeValidator(member)]
    if not by_name(kind):
        return taken
    return Annotated[taken, WithJsonSchema({"type": "string", "enum": list(kind.__members__)})]


def _typed_dict(kind: Any) -> Any:
    from typing_extensions import NotRequired, TypedDict

    hints = typing.get_type_hints(kind, include_extras=True)
    fields: dict[str, Any] = {}
    for name, hint in hints.items():
        bare: Any = readable(_bare(hint))
        fields[name] = bare if name in kind.__required_keys__ else NotRequired[bare]
    make: Any = TypedDict
    made = make(kind.__name__, fields)
    made.__doc__ = kind.__doc__
    return made


def _bare(hint: Any) -> Any:
    """Return what `NotRequired[…]` or `Required[…]` is put round."""
    from typing_extensions import NotRequired, Required

    return typing.get_args(hint)[0] if typing.get_origin(hint) in (NotRequired, Required) else hint
