"""Which schemas can be used, which answers satisfy them, and what of them goes into a grammar."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import time
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as some

from qwen_cli.errors import SchemaUnmet, UsageError
from qwen_cli.tasks.common import json_schema, patterns
from qwen_cli.tasks.common.json_schema import checked, fault, grammars, is_held
from qwen_cli.tasks.common.patterns import plain_pattern


def thing(**keywords: Any) -> dict[str, Any]:
    """An object with one property."""
    return {"type": "object", "properties": {"x": keywords}, "required": ["x"]}


def nested(depth: int) -> dict[str, Any]:
    """Lists in lists."""
    schema: dict[str, Any] = {}
    for _ in range(depth - 1):
        schema = {"items": schema}
    return schema


# A schema, what satisfies it, what does not, and the keyword that it fails.
KEPT: list[tuple[dict[str, Any], Any, Any, str]] = [
    (thing(pattern=r"^\d{4}$"), {"x": "2024"}, {"x": "24"}, "pattern"),
    (thing(pattern="b"), {"x": "abc"}, {"x": "ac"}, "pattern"),
    ({"uniqueItems": True}, [1, 2], [1, 1], "uniqueItems"),
    (thing(multipleOf=7), {"x": 49}, {"x": 50}, "multipleOf"),
    (thing(minimum=0.5, exclusiveMaximum=1), {"x": 0.5}, {"x": 1}, "exclusiveMaximum"),
    (thing(minimum=3), {"x": 3}, {"x": 2}, "minimum"),
    (thing(format="email"), {"x": "a@b.de"}, {"x": "a at b"}, "format"),
    (thing(format="date-time"), {"x": "2024-02-29T10:00:00Z"}, {"x": "2023-02-29T10:00:00Z"}, "format"),
    (thing(format="time"), {"x": "10:00:00Z"}, {"x": "25:00:00Z"}, "format"),
    (thing(format="date"), {"x": "2024-02-29"}, {"x": "2023-02-29"}, "format"),
    (thing(format="ipv4"), {"x": "10.0.0.1"}, {"x": "10.0.0.256"}, "format"),
    (thing(format="uri"), {"x": "https://a.de/b?c"}, {"x": "no address"}, "format"),
    (thing(format="hostname"), {"x": "a.example"}, {"x": "-a-.example"}, "format"),
    (thing(format="uuid"), {"x": "123e4567-e89b-12d3-a456-426614174000"}, {"x": "123"}, "format"),
    ({"contains": {"const": 7}}, [1, 7], [1], "contains"),
    ({"type": "object", "minProperties": 2}, {"a": 1, "b": 2}, {"a": 1}, "minProperties"),
    ({"not": {"type": "string"}}, 1, "a", "not"),
    ({"if": {"required": ["a"]}, "then": {"required": ["b"]}}, {"a": 1, "b": 2}, {"a": 1}, "required"),
    ({"dependentRequired": {"a": ["b"]}}, {"b": 1}, {"a": 1}, "dependentRequired"),
    ({"propertyNames": {"maxLength": 2}}, {"ab": 1}, {"abc": 1}, "maxLength"),
    ({"patternProperties": {"^n": {"type": "integer"}}}, {"n1": 1, "x": "a"}, {"n1": "a"}, "type"),
    (
        {"patternProperties": {"^n": {}}, "additionalProperties": False},
        {"n1": 1},
        {"x": 1},
        "additionalProperties",
    ),
    (
        {"properties": {"a": {}}, "additionalProperties": {"type": "null"}},
        {"a": 1, "b": None},
        {"b": 1},
        "type",
    ),
    ({"oneOf": [{"type": "integer"}, {"minimum": 3}]}, 2, 4, "oneOf"),
    ({"allOf": [thing(type="integer"), {"required": ["y"]}]}, {"x": 1, "y": 2}, {"x": 1}, "required"),
    ({"prefixItems": [{"type": "string"}], "items": False}, ["a"], ["a", 1], "items"),
    ({"properties": {"a": True, "b": False}}, {"a": 1}, {"b": 1}, "false"),
    ({"$defs": {"n": {"type": "integer"}}, "items": {"$ref": "#/$defs/n"}}, [1], ["a"], "type"),
    ({"type": "object", "unevaluatedProperties": False}, {}, {"a": 1}, "unevaluatedProperties"),
    ({"enum": [None, 1]}, None, 2, "enum"),
    ({"const": None}, None, 0, "const"),
]


@pytest.mark.parametrize(("schema", "good", "bad", "keyword"), KEPT, ids=lambda value: str(value)[:40])
def test_an_answer_is_held_against_every_keyword(
    schema: dict[str, Any], good: Any, bad: Any, keyword: str
) -> None:
    assert checked(schema) == schema
    assert fault(json.dumps(good), schema) is None
    found = fault(json.dumps(bad), schema)
    assert found
    assert found.keyword == keyword
    assert "\n" not in str(found)


@pytest.mark.parametrize(("schema", "good", "bad", "keyword"), KEPT, ids=lambda value: str(value)[:40])
def test_its_grammars_let_pass_what_satisfies_it(
    schema: dict[str, Any], good: Any, bad: Any, keyword: str
) -> None:
    for failed in ((), (keyword,)):
        for grammar in grammars(schema, failed):
            jsonschema.Draft202012Validator.check_schema(grammar)
            jsonschema.validate(good, grammar)
            assert not [
                path
                for path, one in json_schema._parts(grammar)
                if isinstance(one, bool) and not path.endswith("/additionalProperties")
            ]


def test_where_a_fault_is() -> None:
    schema = thing(type="array", items=thing(pattern="^a$"))
    found = fault('{"x": [{"x": "a"}, {"x": "b"}]}', schema)

    assert found
    assert (found.keyword, found.path) == ("pattern", "$.x[1].x")
    assert str(found) == "pattern at $.x[1].x: 'b' does not match '^a$'"


@pytest.mark.parametrize(
    "answer", ["", "{", '{"x": 1', "yes", '{"x": NaN}', "[" * 100_000, "```json\n{}\n```"]
)
def test_what_is_no_json_satisfies_nothing(answer: str) -> None:
    found = fault(answer, {})

    assert found
    assert (found.keyword, found.path) == ("JSON", "$")


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (False, "nothing satisfies: false"),
        ([], "not a JSON schema object"),
        ("{}", "not a JSON schema object"),
        (None, "not a JSON schema object, got null"),
        ({"type": 3}, r"not a JSON schema: 3 is not valid .* \(at \$\.type\)"),
        ({"type": "text"}, "'text' is not valid"),
        ({"required": "a"}, "'a' is not of type 'array'"),
        ({"$schema": 5}, r"\$schema"),
        ({"$ref": "#/nowhere"}, "'#/nowhere' is not in it"),
        (thing(**{"$ref": "#/$defs/x"}), r"'#/\$defs/x' is not in it"),
        ({"$ref": "http://127.0.0.1/x"}, "nothing is fetched"),
        (thing(**{"$ref": "file:///etc/passwd"}), "nothing is fetched"),
        (
            {"items": {"$ref": "other.json"}},
            r"'other.json' is not in it, and nothing is fetched \(at #/items\)",
        ),
        (
            {"$id": "http://a.example/x", "items": {"$ref": "y.json#/z"}},
            "'y.json#/z' is not in it, and nothing",
        ),
        ({"$id": "http://a.example/x", "$defs": {"b": {"$ref": "#away"}}}, "'#away' is not in it"),
        ({"$dynamicRef": "http://127.0.0.1/x"}, "nothing is fetched"),
        (
            {"type": "object", "properties": {"next": {"$ref": "#"}}, "required": ["next"]},
            "refers to itself without end",
        ),
        (
            {"type": "array", "minItems": 1, "items": {"anyOf": [{"$ref": "#"}]}},
            "refers to itself without end",
        ),
        (thing(pattern="("), "is no pattern"),
        ({"patternProperties": {"[": {}}}, "is no pattern"),
        ({"$ref": "#"}, "refers to itself without end"),
        ({"allOf": [{"$ref": "#"}]}, "refers to itself without end"),
        ({"enum": list(range(10_001))}, "more than 10,000 values"),
        ({"enum": ["a" * 60_000] * 9}, "540,004 characters, more than 500,000"),
        ({"properties": {"a" * 600_000: {}}}, "600,01. characters, more than 500,000"),
        (thing(pattern="^(a{1000}){1000}$"), "no pattern: it repeats more than 100,000 times"),
        (thing(pattern=r"^[a-z\]{}]{1000000}$"), "no pattern: it repeats more than 100,000 times"),
        (thing(pattern="((a{99}b?){99}|(c)){0,99}"), "no pattern: it repeats more than 100,000 times"),
        ({"patternProperties": {"a{9,100001}": {}}}, "no pattern: it repeats more than 100,000 times"),
        ({"pattern": "a" * 600_000}, "600,00. characters, more than 500,000"),
        (nested(101), "nested more than 100 deep"),
        (nested(400), "nested more than 100 deep"),
        ({"enum": []}, "no enum is one"),
        ({"type": "string", "enum": [1, 2]}, "no enum is one"),
        ({"const": "a", "minLength": 2}, "no const is one"),
        ({"not": {}}, "not anything"),
        ({"type": "integer", "minimum": 7, "maximum": 3}, "minimum 7 is above maximum 3"),
        (thing(type="string", minLength=5, maxLength=2), "minLength 5 is above maxLength 2"),
        ({"type": "array", "minItems": 3, "maxItems": 1}, "minItems 3 is above maxItems 1"),
        ({"type": "object", "properties": 3}, r"3 is not of type 'object' \(at \$.properties\)"),
        ({"type": "array", "minItems": 1, "items": False}, r"false \(at #/items\)"),
        (thing(type="array", minItems=1, items=thing(not_=1) | {"enum": []}), "no enum is one"),
        ({"type": "object", "properties": {"a": False}, "required": ["a"]}, "false"),
        ({"type": "object", "required": ["a"], "additionalProperties": False}, "'a' is required and not"),
        ({"allOf": [{"type": "string"}, {"type": "number"}]}, "no type is all"),
        ({"anyOf": [False, {"enum": []}]}, "false"),
        ({"patternProperties": {"(a+)+$": {}}, "unevaluatedProperties": False}, "not supported"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_what_cannot_be_used_is_told(schema: Any, why: str) -> None:
    with pytest.raises(UsageError, match=why) as refused:
        checked(schema, "city.json")
    assert str(refused.value).startswith("city.json is ")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"$ref": "http://json-schema.org/draft-07/schema#"},
        {"$defs": {"a": {"$anchor": "here", "type": "string"}}, "items": {"$ref": "#here"}},
        {
            "definitions": {"a": {"$id": "#a"}},
            "$ref": "#a",
            "$schema": "http://json-schema.org/draft-07/schema#",
        },
        {"properties": {"a": {"properties": {"b": False}}}},
        {"type": "array", "minItems": 1, "items": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
        {"type": ["string", "null"], "minimum": 7, "maximum": 3},
        {"properties": {"a": False}},
        {"type": "array", "items": False},
        {"minimum": 7, "maximum": 3},
        {"anyOf": [{"enum": []}, {"type": "string"}]},
        {"type": "object", "properties": {"next": {"$ref": "#"}}},
        {"$id": "https://example.com/a", "$defs": {"b": {"$id": "b"}}, "items": {"$ref": "b"}},
        {"$schema": "http://json-schema.org/draft-04/schema#", "maximum": 1, "exclusiveMaximum": True},
        {"type": "object", "properties": {"pattern": {"type": "string"}, "$ref": {"type": "string"}}},
        {"enum": list(range(9_000))},
        nested(100),
        {"type": "number", "minimum": 1e-300, "maximum": 1e300},
        {"type": "string", "minLength": 10**6, "maxLength": 2.0 * 10**6},
    ],
    ids=lambda value: str(value)[:50],
)
def test_what_something_satisfies_can_be_used(schema: dict[str, Any]) -> None:
    assert checked(schema) is schema


def test_nothing_is_fetched_for_a_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", None)
    monkeypatch.setattr(socket, "create_connection", None)
    with pytest.raises(UsageError):
        checked({"$id": "http://a.example/", "$ref": "http://b.example/x"})


def test_a_pattern_that_explodes_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "PATIENCE", 0.05)
    for keyword in ("pattern", "patternProperties", "propertyNames"):
        bomb = "^(a|a)*$"
        inner: Any = {bomb: {}} if keyword == "patternProperties" else bomb
        schema = {keyword: {"pattern": bomb} if keyword == "propertyNames" else inner}
        text = "a" * 40 + "b"
        answer = json.dumps(text if keyword == "pattern" else {text: 1})
        began = time.monotonic()
        with pytest.raises(SchemaUnmet, match="pattern takes longer"):
            fault(answer, schema)
        assert time.monotonic() < began + 20  # it would be hours


@pytest.mark.parametrize(
    ("pattern", "plain"),
    [
        (r"^\d{4}$", "^[0-9]{4}$"),
        (r"^\w+@[\w.]+$", "^[A-Za-z0-9_]+@[A-Za-z0-9_.]+$"),
        ("^(?:ab)+$", "^(ab)+$"),
        (r"^\$5\.00$", r"^\$5\.00$"),
        ("^[^x]$", r'^[^"\\x]$'),
        ("^a|b$", None),
        (r"^\p{L}+$", None),
        ("^(?=a)b$", None),
        (r"^(a)\1$", None),
        (r"\bword\b", None),
        ('^"$', None),
        ("a^b", None),
        (r"^\D$", None),
    ],
)
def test_patterns_as_grammars_take_them(pattern: str, plain: str | None) -> None:
    assert plain_pattern(pattern) == plain


@given(some.text("ab1 ", max_size=6), some.sampled_from(["b", "a|b", r"\d\d", "^a", "1$", "a.b", r"^\w*$"]))
def test_a_pattern_without_anchors_means_the_same_with_them(text: str, pattern: str) -> None:
    plain = plain_pattern(pattern)

    assert plain
    assert bool(re.search(plain, text)) == bool(re.search(pattern, text))


def test_what_a_grammar_holds_to_the_letter() -> None:
    assert is_held(thing(type="string", maxLength=3, description="a", default="b"))
    assert is_held({"type": "object", "properties": {"a": {}}, "additionalProperties": False})
    assert is_held({"$defs": {"a": {"enum": [1]}}, "items": {"$ref": "#/$defs/a"}})
    assert not any(
        is_held(schema) for schema, *_, keyword in KEPT if keyword not in ("enum", "const", "type")
    )
    assert not is_held(thing(items=[{"type": "string"}]))
    assert not is_held({"$ref": "#/$defs/a", "maxLength": 3, "$defs": {"a": {"type": "string"}}})


@pytest.mark.parametrize("keyword", ["required", "minProperties", "not", "if"])
def test_other_properties_are_let_pass_once_they_were_missed(keyword: str) -> None:
    schema = thing(type="string")

    assert "additionalProperties" not in grammars(schema)[0]
    assert grammars(schema, [keyword])[0]["additionalProperties"] is True


def test_a_doubtful_keyword_that_failed_is_left_out() -> None:
    assert grammars(thing(pattern="^a$", minimum=2), ["pattern"])[0] == thing(minimum=2)


def test_true_is_the_schema_of_anything() -> None:
    assert checked(True) == {}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer", "exclusiveMinimum": 3, "exclusiveMaximum": 4},
        {"type": "string", "pattern": "^a{5}$", "maxLength": 3},
        thing(allOf=[{"type": "string", "minLength": 3}, {"maxLength": 2}]),
    ],
    ids=lambda value: str(value)[:50],
)
def test_contradictions_between_keywords_are_told(schema: dict[str, Any]) -> None:
    pytest.importorskip("llguidance")
    with pytest.raises(UsageError, match="nothing satisfies: "):
        checked(schema)


# A pattern, what it matches and what it does not, with ECMA's meaning.
MEANT = [
    (r"^\p{L}+$", "äö", "1"),
    (r"^\p{Script=Greek}+$", "α", "a"),
    (r"^(?=a)\w$", "a", "b"),
    (r"^\d{4}$", "2024", "2024\n"),
    (r"^\d$", "1", "٢"),
    (r"^\W\D$", "äx", "a1"),
    (r"^[\w.]+@[\w.]+$", "a@b", "ä@b"),
    (r"^(?<y>\d)\k<y>$", "11", "12"),
    (r"^\cA$", "\x01", "A"),
    (r"^a\/b$", "a/b", r"a\/b"),
    (r"^[^]$", "\n", ""),
    (r"^[[]$", "[", "]"),
    (r"^[$]\$$", "$$", "$"),
    (r"^\u{1F600}\u00e9$", "😀é", "u"),
    (r"^(?i)ab$", "AB", "b"),  # no ECMA's, and written in Python
    ("^🐲*$", "🐲🐲", "🐲x"),
]


@pytest.mark.parametrize(("pattern", "good", "bad"), MEANT)
def test_patterns_mean_what_ecma_says(pattern: str, good: str, bad: str) -> None:
    schema = checked({"type": "string", "pattern": pattern})

    assert fault(json.dumps(good), schema) is None
    assert str(fault(json.dumps(bad), schema)).startswith("pattern at $")


@given(some.text(r"ab1.^$|()[]{}\+*?dDwWsSbpuxk<>-,/ ", max_size=8), some.text("ab1 \n", max_size=4))
def test_any_text_is_a_pattern_or_refused_in_a_line(pattern: str, text: str) -> None:
    try:
        schema = checked({"type": "string", "pattern": pattern})
    except UsageError as refused:
        assert "\n" not in str(refused)
        return
    fault(json.dumps(text), schema)
    patterns.for_grammar(pattern)


# A format, what is of it and what is not; test suites of JSON Schema have the rest.
WRITTEN = [
    ("duration", "P4DT12H30M5S", "P"),
    ("duration", "P2W", "P1D2H"),
    ("json-pointer", "/a~1b/0", "/a~"),
    ("relative-json-pointer", "1/a", "/a"),
    ("email", "a.b@c.example", "a..b@c.example"),
    ("idn-email", "ä@bücher.example", "ä"),
    ("uri-template", "/a/{b}{?c*}", "/a/{b"),
    ("time", "23:59:60Z", "22:59:60Z"),
    ("time", "01:29:60+01:30", "10:00:00"),
    ("date-time", "1998-12-31T23:59:60Z", "1998-13-01T00:00:00Z"),
    ("iri", "http://ƒøø.example/?∂", "http:// x"),
    ("ipv6", "::1", "12345::"),
    ("regex", r"^\p{L}$", "("),
]


@pytest.mark.parametrize(("name", "good", "bad"), WRITTEN)
def test_formats_are_checked(name: str, good: str, bad: str) -> None:
    assert fault(json.dumps(good), {"format": name}) is None
    assert fault("7", {"format": name}) is None
    assert str(fault(json.dumps(bad), {"format": name})).startswith("format at $")


class TestWhole:
    """Schemas for engines whose grammars pass over what they cannot hold."""

    def test_a_schema_stays_as_it_is_and_its_objects_closed(self) -> None:
        schema = thing(type="integer", multipleOf=7, uniqueItems=True, minimum=2.0)
        closed, opened, *_ = grammars(schema, whole=True)

        assert opened == {**schema, "properties": {"x": {**schema["properties"]["x"], "minimum": 2}}}
        short = {"maximum": 10**15 - 1, **opened["properties"]["x"]}
        assert closed == {**opened, "additionalProperties": False, "properties": {"x": short}}

    @pytest.mark.parametrize(
        "schema",
        [
            {"allOf": [thing(), {"properties": {"y": {}}}]},
            {"properties": {"x": {}}, "anyOf": [{"properties": {"y": {}}}]},
            {"properties": {"x": {}}, "minProperties": 2},
            {"properties": {"x": {}}, "unevaluatedProperties": {"type": "string"}},
            {"properties": {"x": {}}, "additionalProperties": {"type": "string"}},
        ],
        ids=str,
    )
    def test_what_may_hold_more_stays_open(self, schema: dict[str, Any]) -> None:
        assert grammars(schema, whole=True)[0] == schema

    @pytest.mark.parametrize(
        ("bounds", "added"),
        [
            ({}, {"minimum": 1 - 10**15, "maximum": 10**15 - 1}),
            ({"minimum": 3}, {"maximum": 10**15 - 1}),
            ({"exclusiveMaximum": 3}, {"minimum": 1 - 10**15}),
            ({"minimum": 10**20}, {}),
            ({"minimum": 1, "maximum": 10**20}, {}),
        ],
        ids=str,
    )
    def test_integers_come_to_an_end(self, bounds: dict[str, Any], added: dict[str, Any]) -> None:
        for kind in ("integer", ["integer", "null"]):
            schema = {"type": kind, **bounds}
            assert grammars(schema, whole=True)[0] == schema | added
        assert grammars({"type": "number"}, whole=True)[0] == {"type": "number"}

    def test_choices_are_closed(self) -> None:
        closed = grammars({"anyOf": [thing(), {"type": "null"}]}, whole=True)[0]
        assert closed["anyOf"][0]["additionalProperties"] is False

    @pytest.mark.parametrize("pattern", [r"^(?=a)b$", r"\bword\b", r"^(a)\1$", r"^(?<y>a)\k<y>$", "(?<!a)b"])
    def test_patterns_without_a_word_in_it_are_left_out(self, pattern: str) -> None:
        assert "pattern" not in grammars({"pattern": pattern}, whole=True)[0]
        names = {"patternProperties": {pattern: {}}, "additionalProperties": False}
        assert grammars(names, whole=True)[0] == {}

    @pytest.mark.parametrize(("pattern", "good", "bad"), MEANT)
    def test_the_grammar_takes_patterns_as_the_check_does(self, pattern: str, good: str, bad: str) -> None:
        llguidance = pytest.importorskip("llguidance")
        matcher = llguidance.LLMatcher
        grammar = matcher.grammar_from_json_schema(
            grammars({"type": "string", "pattern": pattern}, whole=True)[0]
        )
        tokenizer = llguidance.LLTokenizer("byte")

        assert not matcher.validate_grammar(grammar, tokenizer)
        if patterns.for_grammar(pattern) is None:
            return
        for text, matching in ((good, True), (bad, False)):
            one = matcher(tokenizer, grammar, log_level=0)
            tokens = tokenizer.tokenize_str(json.dumps(text, ensure_ascii=False))
            assert (one.try_consume_tokens(tokens) == len(tokens) and one.is_accepting()) is matching

    def test_ranges_are_held(self) -> None:
        assert is_held(thing(type="integer", minimum=2), whole=True)
        assert not is_held(thing(type="integer", minimum=2))
        assert not is_held(thing(type="array", uniqueItems=True), whole=True)


def doubling(depth: int, last: Any, keyword: str = "anyOf") -> dict[str, Any]:
    """A schema of 2^depth ways to `last`."""
    parts = {f"a{n}": {keyword: [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(depth)}
    return {"$ref": "#/$defs/a0", "$defs": {**parts, f"a{depth}": last}}


@pytest.mark.parametrize("keyword", ["anyOf", "oneOf", "allOf"])
@pytest.mark.parametrize("last", [{"type": "string"}, {"enum": ["a"], "type": "integer"}])
def test_ways_without_number_have_an_end(keyword: str, last: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 2^60 ways nothing is told within a life; the schema is refused, or what it holds is not known."""
    monkeypatch.setattr(json_schema, "PATIENCE", 0.2)
    schema = doubling(60, last, keyword)
    with contextlib.suppress(UsageError):
        checked(schema)
    with contextlib.suppress(SchemaUnmet):
        assert fault("7", schema) is not None


def test_some_ways_are_followed() -> None:
    assert fault("7", checked(doubling(5, {"type": "string"}))) is not None
    assert fault('"a"', checked(doubling(5, {"type": "string"}))) is None


@pytest.mark.parametrize(
    "pattern", ["^.{1,65535}$", "a{1000}b{1000}c{1000}", r"\{99999999}[{9999999}]", "x{,5}"]
)
def test_patterns_that_repeat_within_reason(pattern: str) -> None:
    checked({"type": "string", "pattern": pattern})


@pytest.mark.parametrize("inside", [False, True])
def test_a_list_of_items_is_that_of_an_older_draft(inside: bool) -> None:
    pair = {"type": "array", "items": [{"type": "integer"}]}
    schema = checked({"properties": {"a": pair}} if inside else pair)
    good, bad = ('{"a": [1, "b"]}', '{"a": ["b"]}') if inside else ('[1, "b"]', '["b"]')

    assert fault(good, schema) is None
    assert fault(bad, schema) is not None
    for wrong in (
        {**schema, "$schema": "https://json-schema.org/draft/2020-12/schema"},
        {"items": 7, "enum": [{"items": []}]},
    ):
        with pytest.raises(UsageError, match="is not a JSON schema"):
            checked(wrong)
