"""JSON schemas: whether one can be used, what of it a grammar holds, and whether an answer satisfies it.

Schemas and answers may both be a stranger's: nothing that a schema names is fetched, and its patterns have a
second each.
"""

from __future__ import annotations

import contextvars
import functools
import json
import math
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from qwen_cli.engines.core import guidance
from qwen_cli.errors import SchemaUnmet, UsageError
from qwen_cli.tasks.common import formats, patterns

MOST_VALUES = 10_000
"""Values in a schema. OpenAI takes 5,000 properties and 1,000 choices ("Structured Outputs", limitations)."""

MOST_CHARACTERS = 500_000
"""Characters of all names and texts in a schema: beside long ones nothing else runs. OpenAI takes 120,000."""

_LARGEST = 10**15 - 1  # exact as a double, which llguidance reckons with

_LARGE = 500  # values of a schema that it takes a while to look at

DEEPEST = 100
"""Objects and lists in each other in a schema. llguidance reads 128."""

PATIENCE = 2.0
"""Seconds in which a value has to be held against a schema: references to references can have it take for
ever. Ordinary ones take microseconds."""

_MOST_STEPS = 20_000  # of looking for what nothing satisfies

_LONGEST = 200  # characters of what is told of a fault


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Keywords by what they hold: one schema (or a list of them), a list, schemas by name.
_ONE = _words(
    "items additionalItems additionalProperties contains not if then else propertyNames unevaluatedItems"
    " unevaluatedProperties"
)
_LISTS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_NAMED = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})

_REMARKS = _words("$schema $id $comment title description default examples deprecated readOnly writeOnly")
# What the grammars of llama.cpp (common/json-schema-to-grammar.cpp) and xgrammar both hold, to the letter.
_SURE = _REMARKS | _words(
    "type properties required additionalProperties items minItems maxItems enum const anyOf $ref $defs"
    " definitions minLength maxLength"
)
# What at least one of them holds about a value, and the other passes over: where an answer fails it all the
# same, the grammar may have it wrong.
_DOUBTFUL = _words(
    "pattern format minimum maximum exclusiveMinimum exclusiveMaximum propertyNames patternProperties"
)
_TRIED = _SURE | _DOUBTFUL | {"oneOf", "allOf", "prefixItems"}
# What may ask for properties that are not listed. Both grammars allow none where nothing is said of them.
_OPEN = _words(
    "if then else dependentRequired dependentSchemas dependencies minProperties not oneOf anyOf allOf"
    " patternProperties propertyNames"
)
# What llguidance holds to the letter besides.
_SURE_WHOLE = _words("minimum maximum exclusiveMinimum exclusiveMaximum prefixItems")
# What applies to the value that a schema is for, beside its own keywords.
_IN_PLACE = _words(
    "allOf anyOf oneOf not if then else $ref $dynamicRef dependentSchemas unevaluatedProperties"
)
_BESIDE = _words("properties patternProperties required minProperties propertyNames")
_COUNTS = _words("minLength maxLength minItems maxItems minProperties maxProperties minContains maxContains")
_FORMATS = frozenset({"date", "time", "date-time", "uuid"})  # of those, the ones that both know


@dataclass(frozen=True)
class Fault:
    """Why an answer does not satisfy a schema: the keyword that it fails, and where ("$.year")."""

    keyword: str
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.keyword} at {self.path}: {self.message}"


def checked(schema: Any, name: str = "the schema") -> dict[str, Any]:
    """Return `schema` if answers can satisfy it. Raises `UsageError`, which calls it `name`, for what is no
    JSON schema and for what no engine could keep to."""
    if schema is True:
        return {}  # the same: anything
    if schema is False:
        raise UsageError(f"{name} is a JSON schema that nothing satisfies: false", _HOW)
    if not isinstance(schema, dict):
        raise UsageError(f"{name} is not a JSON schema object, got {_short(json.dumps(schema))}", _HOW)
    size, depth, characters = _extent(schema)
    if size > MOST_VALUES:
        raise UsageError(
            f"{name} is a JSON schema of more than {MOST_VALUES:,} values", "leave some of it out"
        )
    if characters > MOST_CHARACTERS:
        raise UsageError(
            f"{name} is a JSON schema of {characters:,} characters, more than {MOST_CHARACTERS:,}",
            "leave some of it out",
        )
    if depth > DEEPEST:
        raise UsageError(
            f"{name} is a JSON schema that is nested more than {DEEPEST} deep", "name its parts in $defs"
        )
    try:
        _judge(schema)
    except _Impossible as why:
        raise UsageError(f"{name} is a JSON schema that nothing satisfies: {why}", _HOW) from None
    except _NoSchema as why:
        raise UsageError(f"{name} is not a JSON schema: {why}", _HOW) from None
    except RecursionError:
        raise UsageError(
            f"{name} is a JSON schema that nothing satisfies: it refers to itself without end", _HOW
        ) from None
    return schema


def is_large(schema: Any) -> bool:
    """Return whether it takes a second or so to look at `schema`."""
    return _extent(schema)[0] > _LARGE


_HOW = "correct it; json-schema.org tells how they are written"


def fault(answer: str, schema: Mapping[str, Any]) -> Fault | None:
    """Return why `answer` does not satisfy `schema` (one that is `checked`); `None` where it does.

    Raises `SchemaUnmet` where that cannot be told.
    """
    from jsonschema.exceptions import best_match
    from referencing.exceptions import Unresolvable

    try:
        value = json.loads(answer, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        return Fault("JSON", "$", f"the answer is not whole JSON ({_short(str(error))})")
    try:
        with _limited():
            mismatch = best_match(_validator(schema).iter_errors(value))
    except Unresolvable as error:
        raise SchemaUnmet(
            f"the JSON schema refers to {_short(str(error.ref))!r}, which is not in it"
        ) from None
    except _Endless as why:
        raise SchemaUnmet(
            f"the answer cannot be held against the JSON schema: {why}", "write a simpler schema"
        ) from None
    except TimeoutError:
        raise SchemaUnmet(
            "the answer cannot be held against the JSON schema: a pattern takes longer than"
            f" {patterns.PATIENCE:g} s",
            "write a simpler pattern",
        ) from None
    except RecursionError:
        raise SchemaUnmet(
            "the answer cannot be held against the JSON schema: it is nested too deeply",
            "simplify the schema",
        ) from None
    if mismatch is None:
        return None
    return Fault(mismatch.validator or "false", _short(mismatch.json_path), _short(mismatch.message))


def is_held(schema: Mapping[str, Any], *, whole: bool = False) -> bool:
    """Return whether a grammar of `schema` lets nothing pass that does not satisfy it; `whole` as for
    `grammars`."""
    sure = _SURE | _SURE_WHOLE if whole else _SURE
    return all(
        isinstance(one, Mapping)
        and one.keys() <= sure
        and isinstance(one.get("items", {}), Mapping)
        and not ("$ref" in one and one.keys() - {"$ref", "$defs", "definitions"} - _REMARKS)
        for path, one in _parts(schema)
        if not path.endswith("/additionalProperties") or not isinstance(one, bool)
    )


def grammars(
    schema: Mapping[str, Any], failed: Collection[str] = (), *, whole: bool = False
) -> list[dict[str, Any]]:
    """Return the schemas to make a grammar of, for an engine to take the first that it can: each lets more
    pass than the one before. `failed` are keywords that answers have failed: what may be at fault for it is
    let pass. `whole` is for engines that take a schema as it is and pass over what they cannot hold."""
    is_open = bool({"required", *_OPEN} & set(failed))
    schemas: list[dict[str, Any]] = []
    if whole:
        closed = _whole(schema, closed=not is_open)
        schemas += [closed, *[one for one in [_whole(schema, closed=False)] if one != closed]]
    for kept in (_TRIED, _SURE, frozenset({"type"})):
        one = _loose(schema, kept - (_DOUBTFUL & set(failed)), is_open)
        if one not in schemas:
            schemas.append(one)
    return schemas


def _whole(schema: Any, *, closed: bool) -> Any:
    """Return `schema` as llguidance takes it: patterns in its spelling, or left out, and if `closed` no
    properties but those listed where nothing is said of others, as models need it to come to an end."""
    if not isinstance(schema, Mapping):
        return schema
    kept: dict[str, Any] = {}
    alone = len(schema.keys() & (_IN_PLACE | _BESIDE)) == 1 and len(schema.get("allOf", ())) < 2
    for keyword, value in schema.items():
        if keyword == "x-guidance":  # would change how it is written
            continue
        if keyword == "patternProperties":
            spelt = {patterns.for_grammar(name): one for name, one in value.items()}
            if len(spelt) < 2 and None not in spelt:
                kept[keyword] = {name: _whole(one, closed=closed) for name, one in spelt.items()}
        elif keyword in _NAMED and isinstance(value, Mapping):
            kept[keyword] = {name: _whole(one, closed=closed) for name, one in value.items()}
        elif keyword in _LISTS or (keyword in _ONE and isinstance(value, list)):
            kept[keyword] = [_whole(one, closed=closed and alone) for one in value]
        elif keyword in _ONE:
            kept[keyword] = _whole(value, closed=closed)
        elif keyword == "pattern":
            if (pattern := patterns.for_grammar(value)) is not None:
                kept[keyword] = pattern
        elif keyword in _COUNTS and isinstance(value, float):
            kept[keyword] = int(value)  # 2.0 is a count too
        else:
            kept[keyword] = value
    if "patternProperties" in schema and "patternProperties" not in kept:
        kept.pop("additionalProperties", None)  # what they allow is not additional
    if (
        closed
        and "properties" in schema
        and not schema.keys() & (_OPEN | _IN_PLACE | {"additionalProperties"})
    ):
        kept["additionalProperties"] = False
    return {**_short_integers(schema), **kept} if closed else kept


def _short_integers(schema: Mapping[str, Any]) -> dict[str, int]:
    """Return bounds for the integers of `schema` where it says none, fifteen digits (llama.cpp's own grammar
    has sixteen): small models go on with zeros until the context is full."""
    named = schema.get("type")
    if "integer" not in (named if isinstance(named, list) else [named]):
        return {}
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    bounds = {}
    if low is None and (high is None or high > -_LARGEST):
        bounds["minimum"] = -_LARGEST
    if high is None and (low is None or low < _LARGEST):
        bounds["maximum"] = _LARGEST
    return bounds


def _loose(schema: Any, kept: Collection[str], is_open: bool) -> Any:
    """Return `schema` for a grammar: with the keywords in `kept`, what engines stumble over put otherwise,
    and if it `is_open` with other properties wherever they are not forbidden."""
    if not isinstance(schema, Mapping):
        return {}  # true: anything; false is not for a grammar, and told of afterwards
    loose: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword not in kept or keyword in _REMARKS:
            continue
        if keyword in _NAMED:
            loose[keyword] = {
                name: _loose(one, kept, is_open)
                for name, one in value.items()
                if one is not False or keyword != "properties"
            }
        elif keyword in _LISTS:
            loose[keyword] = [_loose(one, kept, is_open) for one in value]
        elif keyword in _ONE:
            if keyword == "additionalProperties" and isinstance(value, bool):
                loose[keyword] = value
            elif isinstance(value, Mapping):
                loose[keyword] = _loose(value, kept, is_open)
        elif keyword == "pattern":
            if pattern := patterns.plain_pattern(value):
                loose[keyword] = pattern
        elif keyword != "format" or value in _FORMATS:
            loose[keyword] = value
    if "patternProperties" in schema:  # what they allow is not additional
        loose.pop("additionalProperties", None)
    if (
        loose.get("properties")
        and "additionalProperties" not in schema
        and (is_open or schema.keys() & _OPEN)
    ):
        loose["additionalProperties"] = True
    if "prefixItems" in schema:  # to llama.cpp `items` beside them are all items
        loose.pop("items", None)
    if "oneOf" in loose:
        loose.setdefault("anyOf", loose.pop("oneOf"))
        loose.pop("oneOf", None)
    return _merged(loose)


def _merged(schema: dict[str, Any]) -> dict[str, Any]:
    """Return `schema` with the objects of its `allOf` in one: xgrammar holds to the first of them alone."""
    parts = schema.get("allOf")
    plain = {"type", "properties", "required"}
    if not parts:
        return schema
    whole = {name: value for name, value in schema.items() if name != "allOf"}
    if len(parts) == 1 and whole.keys() <= {"$defs", "definitions"}:
        return {**parts[0], **whole}
    if not all(part.keys() <= plain | {"additionalProperties"} for part in parts):
        return whole
    properties: dict[str, Any] = {}
    required: list[str] = []
    for part in (whole, *parts):
        for name, one in part.get("properties", {}).items():
            properties[name] = {**one, **properties.get(name, {})}
        required += [name for name in part.get("required", ()) if name not in required]
        if "type" in part:
            whole.setdefault("type", part["type"])
    if properties:
        whole["properties"] = properties
    if required:
        whole["required"] = required
    return whole


class _NoSchema(Exception):
    """It is no schema."""


class _Impossible(Exception):
    """Nothing satisfies it."""


class _Endless(TimeoutError):
    """To hold a value against it takes too long."""

    def __init__(self) -> None:
        super().__init__(f"to follow its references takes longer than {PATIENCE:g} s")


_until = contextvars.ContextVar("_until", default=math.inf)  # by the clock of `time.monotonic`


@contextmanager
def _limited() -> Iterator[None]:
    """Have what is held against schemas here raise `_Endless` after `PATIENCE`."""
    token = _until.set(time.monotonic() + PATIENCE)
    try:
        yield
    finally:
        _until.reset(token)


@dataclass
class _Search:
    """What was found so far: the schemas that something satisfies (by `id`), where references lead, and the
    steps that are left."""

    possible: set[int] = field(default_factory=set)
    led: dict[str, Any] = field(default_factory=dict)
    left: int = _MOST_STEPS


_TOGETHER = ("patternProperties", "unevaluatedProperties")  # there patterns have no limit of time
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")


def _judge(schema: dict[str, Any]) -> None:
    """Raise `_NoSchema` or `_Impossible` where no answer can satisfy `schema`."""
    from jsonschema import SchemaError

    try:
        kind = _kind(schema)
        kind.check_schema(schema, format_checker=formats.checker(kind))
    except SchemaError as error:
        what = _no_pattern(error.instance) if error.validator_value == "regex" else error.message
        raise _NoSchema(f"{_short(what)} (at {error.json_path})") from None
    except (TypeError, AttributeError):
        raise _NoSchema("its $schema is no address") from None
    if all(any(name in one for _, one in _objects(schema)) for name in _TOGETHER):
        raise _NoSchema(f"{' and '.join(_TOGETHER)} together are not supported")
    for path, one in _objects(schema):
        for pattern in (one.get("pattern"), *one.get("patternProperties", ())):
            try:
                patterns.compiled(pattern or "")
            except ValueError as error:
                raise _NoSchema(f"{pattern!r} is no pattern: {error} (at {path})") from None
    _follow(schema, kind)
    try:
        validator = _validator(schema)
        with _limited():
            if why := _impossible(schema, "#", validator):
                raise _Impossible(why)
            probes: tuple[Any, ...] = ({}, [], "", 0, None)
            for probe in probes:
                validator.is_valid(probe)
    except _Endless as endless:
        raise _NoSchema(str(endless)) from None
    except TimeoutError:
        raise _NoSchema(f"a pattern takes longer than {patterns.PATIENCE:g} s") from None
    if why := _contradiction(schema):
        raise _Impossible(why)


def _no_pattern(pattern: str) -> str:
    """Return that `pattern` is none, and why."""
    try:
        patterns.compiled(pattern)
    except ValueError as error:
        return f"{_short(pattern)!r} is no pattern: {error}"
    return f"{_short(pattern)!r} is no pattern"


def _follow(schema: dict[str, Any], kind: Any) -> None:
    """Raise `_NoSchema` for a reference that leads out of `schema`: to what is in none of the drafts."""
    from jsonschema_specifications import REGISTRY
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012, specification_with

    draft = specification_with(kind.META_SCHEMA.get("$schema", ""), default=DRAFT202012)
    whole = draft.create_resource(schema)
    left = [(REGISTRY.resolver_with_root(whole), whole)]
    while left:
        resolver, resource = left.pop()
        one = resource.contents
        for keyword in _REFERENCES if isinstance(one, Mapping) else ():
            try:
                if keyword in one:
                    resolver.lookup(one[keyword])
            except Unresolvable:
                path = next((path for path, other in _objects(schema) if other is one), "#")
                fetched = "" if one[keyword].startswith("#") else ", and nothing is fetched"
                raise _NoSchema(f"{one[keyword]!r} is not in it{fetched} (at {path})") from None
        left += [(resolver.in_subresource(part), part) for part in resource.subresources()]


def _contradiction(schema: dict[str, Any]) -> str | None:
    """Return why llguidance, where it is there, finds that nothing satisfies `schema`."""
    if not guidance.is_here():
        return None
    _, found, why = guidance.fault(_whole(schema, closed=False)).partition("Unsatisfiable schema: ")
    return _short(why) if found else None


def _impossible(
    schema: Any, path: str, validator: Any, above: tuple[Any, ...] = (), search: _Search | None = None
) -> str | None:
    """Return why nothing satisfies `schema`, as far as that can be seen from outside and within
    `_MOST_STEPS`. `above` are those that it must stand in."""
    search = search or _Search()
    search.left -= 1
    if search.left < 0 or id(schema) in search.possible:
        return None
    why = _why_impossible(schema, path, validator, above, search)
    if why is None and isinstance(schema, Mapping):
        search.possible.add(id(schema))
    return why


def _why_impossible(
    schema: Any, path: str, validator: Any, above: tuple[Any, ...], search: _Search
) -> str | None:
    if any(schema is one for one in above if isinstance(one, Mapping)):
        return f"it refers to itself without end (at {path})"
    above = (*above, schema)
    if schema is False:
        return f"false (at {path})"
    if not isinstance(schema, Mapping):
        return None
    for least, most in _BOUNDS:
        low, high = schema.get(least, -math.inf), schema.get(most, math.inf)
        if low > high and _BOUNDS[least, most] in _types(schema, _BOUNDS[least, most]):
            return f"{least} {low:,} is above {most} {high:,} (at {path})"
    if schema.get("not") in (True, {}):
        return f"not anything (at {path})"
    if not _types(schema):
        return f"no type is all that it asks for (at {path})"
    for keyword in ("enum", "const"):
        if keyword in schema:
            values = schema["enum"] if keyword == "enum" else [schema["const"]]
            if not any(validator.evolve(schema=schema).is_valid(value) for value in values):
                return f"no {keyword} is one that the rest allows (at {path})"
    for keyword in ("anyOf", "oneOf"):
        parts = schema.get(keyword)
        whys = [_impossible(one, f"{path}/{keyword}", validator, above, search) for one in parts or ()]
        if parts and all(whys):
            return whys[0]
    inner = [(one, f"{path}/allOf") for one in schema.get("allOf", ())]
    if _types(schema) == {"object"}:
        named, more = schema.get("properties", {}), schema.get("additionalProperties")
        for name in schema.get("required", ()):
            if name not in named and more is False and "patternProperties" not in schema:
                return f"{name!r} is required and not allowed (at {path})"
            inner.append((named.get(name, True), f"{path}/properties/{name}"))
    if _types(schema) == {"array"} and schema.get("minItems", 0) > len(schema.get("prefixItems", ())):
        items = schema.get("items", True)
        inner += [(items, f"{path}/items")] if not isinstance(items, list) else []
    reference = schema.get("$ref", "")
    if reference.startswith("#"):
        if reference not in search.led:
            search.led[reference] = _found(validator, reference)
        inner.append((search.led[reference], path))
    return next((why for one, at in inner if (why := _impossible(one, at, validator, above, search))), None)


def _found(validator: Any, reference: str) -> Any:
    """Return what `reference` leads to from the root; anything where that cannot be told."""
    from jsonschema_specifications import REGISTRY
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    if any("$id" in one or "id" in one for path, one in _objects(validator.schema) if path != "#"):
        return True  # it may be counted from there
    root = DRAFT202012.create_resource(validator.schema)
    try:
        return REGISTRY.resolver_with_root(root).lookup(reference).contents
    except Unresolvable:
        return True


# By the type that they are about.
_BOUNDS = {
    ("minimum", "maximum"): "number",
    ("minLength", "maxLength"): "string",
    ("minItems", "maxItems"): "array",
    ("minProperties", "maxProperties"): "object",
}
_ALL_TYPES = frozenset({"object", "array", "string", "number", "boolean", "null"})


def _types(schema: Any, only: str | None = None) -> frozenset[str]:
    """Return the types that `schema` and the parts of its `allOf` have in common, integers as numbers. With
    `only`, that type where it is the single one."""
    types = _ALL_TYPES
    for one in (schema, *schema.get("allOf", ())):
        if isinstance(one, Mapping) and "type" in one:
            named = one["type"] if isinstance(one["type"], list) else [one["type"]]
            types &= {"number" if name == "integer" else str(name) for name in named}
    return types if only is None or types == {only} else frozenset()


def _parts(schema: Any, path: str = "#") -> Iterator[tuple[str, Any]]:
    """Yield `schema` and the schemas in it, with their places."""
    yield path, schema
    if not isinstance(schema, Mapping):
        return
    for keyword, value in schema.items():
        at = f"{path}/{keyword}"
        if keyword in _NAMED and isinstance(value, Mapping):
            for name, one in value.items():
                yield from _parts(one, f"{at}/{name}")
        elif keyword in _LISTS or (keyword in _ONE and isinstance(value, list)):
            for number, one in enumerate(value):
                yield from _parts(one, f"{at}/{number}")
        elif keyword in _ONE:
            yield from _parts(value, at)


def _objects(schema: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    return ((path, one) for path, one in _parts(schema) if isinstance(one, Mapping))


def _extent(value: Any) -> tuple[int, int, int]:
    """Return how many values are in `value`, itself among them, how deep they are nested, and the characters
    of its names and texts."""
    count, deepest, characters, left = 0, 0, 0, [(value, 1)]
    while left:
        one, depth = left.pop()
        count, deepest = count + 1, max(deepest, depth)
        characters += len(one) if isinstance(one, str) else 0
        if isinstance(one, Mapping):
            characters += sum(map(len, one))
        inner = one.values() if isinstance(one, Mapping) else one if isinstance(one, list) else ()
        left += [(each, depth + 1) for each in inner]
    return count, deepest, characters


def _kind(schema: Mapping[str, Any]) -> Any:
    """Return the validator's class for the draft of `schema`: where it names none 2020-12, or 2019-09 where
    it has lists of `items`, which the newer one calls `prefixItems`."""
    from jsonschema.validators import Draft201909Validator, Draft202012Validator, validator_for

    return validator_for(
        schema, default=Draft201909Validator if _has_tuples(schema) else Draft202012Validator
    )


def _has_tuples(schema: Any) -> bool:
    if isinstance(schema, Mapping):
        inner = (value for name, value in schema.items() if name not in guidance.VALUES)
        return isinstance(schema.get("items"), list) or any(map(_has_tuples, inner))
    return isinstance(schema, list) and any(map(_has_tuples, schema))


def _validator(schema: Mapping[str, Any]) -> Any:
    """Return the validator of `schema`, which checks formats too and fetches nothing."""
    from jsonschema_specifications import REGISTRY

    kind = _kind(schema)
    return _patient(kind)(schema, registry=REGISTRY, format_checker=formats.checker(kind))


@functools.cache
def _patient(kind: Any) -> Any:
    """Return `kind` with patterns that have an end, whatever they are: Python's own expressions would hold
    the whole process."""
    from jsonschema import ValidationError, validators

    def pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[Any]:
        if validator.is_type(instance, "string") and not patterns.matches(pattern, instance):
            yield ValidationError(f"{instance!r} does not match {pattern!r}")

    def by_pattern(validator: Any, schemas: Any, instance: Any, schema: Any) -> Iterator[Any]:
        if validator.is_type(instance, "object"):
            for pattern, inner in schemas.items():
                for name in instance:
                    if patterns.matches(pattern, name):
                        yield from validator.descend(instance[name], inner, path=name, schema_path=pattern)

    def additional(validator: Any, more: Any, instance: Any, schema: Any) -> Iterator[Any]:
        if not validator.is_type(instance, "object") or more is True:
            return
        allowed = schema.get("patternProperties", {})
        extras = [name for name in instance if name not in schema.get("properties", {})]
        extras = [name for name in extras if not any(patterns.matches(one, name) for one in allowed)]
        if isinstance(more, Mapping):
            for name in extras:
                yield from validator.descend(instance[name], more, path=name)
        elif extras:
            yield ValidationError(f"{', '.join(map(repr, extras))} is not allowed")

    def within(follow: Any) -> Any:
        def followed(validator: Any, reference: Any, instance: Any, schema: Any) -> Iterator[Any]:
            if time.monotonic() > _until.get():
                raise _Endless
            yield from follow(validator, reference, instance, schema) or ()

        return followed

    mine = {"pattern": pattern, "patternProperties": by_pattern, "additionalProperties": additional}
    mine |= {name: within(kind.VALIDATORS[name]) for name in _REFERENCES if name in kind.VALIDATORS}
    return validators.extend(kind, {name: one for name, one in mine.items() if name in kind.VALIDATORS})


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no number of JSON")


def _short(text: str) -> str:
    """Return `text` as a part of one line."""
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
