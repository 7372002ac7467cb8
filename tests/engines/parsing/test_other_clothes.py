"""Calls as models write them in place of what their template asks for, wherever the stream is cut; and what
only looks like one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_cli.engines.core.base import Piece
from qwen_cli.engines.parsing import loose_json
from qwen_cli.engines.parsing.argument import fitted
from qwen_cli.engines.parsing.tool_calls import ToolParser

WEATHER = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "zip": {"type": ["string", "null"]},
        "days": {"type": "integer"},
        "deep": {"type": "boolean"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "place": {"$ref": "#/$defs/Place"},
        "ratio": {"anyOf": [{"type": "number"}, {"type": "null"}]},
    },
    "$defs": {
        "Place": {"type": "object", "properties": {"lat": {"type": "number"}, "id": {"type": "string"}}}
    },
}
TOOLS = [
    {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER}},
    {"type": "function", "function": {"name": "now"}},
]


def read(*parts: str, cut: bool = False) -> tuple[str, list[tuple[str, dict[str, Any]]]]:
    """Return the text and the calls that a stream of `parts` gives."""
    parser = ToolParser(TOOLS)
    pieces = [piece for part in parts for piece in parser.feed(part)] + parser.finish(cut=cut)
    calls = [(piece.call.name, dict(piece.call.arguments)) for piece in pieces if piece.call]
    return "".join(piece.text for piece in pieces), calls


def tagged(body: str) -> str:
    return f"<tool_call>\n{body}\n</tool_call>"


PARIS = '{"name": "get_weather", "arguments": {"city": "Paris"}}'
ROME = PARIS.replace("Paris", "Rome")
TO_PARIS, TO_ROME = [("get_weather", {"city": city}) for city in ("Paris", "Rome")]
NOW = ("now", {})

CLOTHES = {
    "a closing tag in an argument": (
        tagged(PARIS.replace("Paris", "a </tool_call> b")),
        ["a </tool_call> b"],
    ),
    "a line break in a string": (tagged(PARIS.replace("Paris", "a\nb")), ["a\nb"]),
    "a tabulator in a string": (tagged(PARIS.replace("Paris", "a\tb")), ["a\tb"]),
    "no last brace": (tagged(PARIS[:-1]), ["Paris"]),
    "no last two braces": (tagged(PARIS[:-2]), ["Paris"]),
    "a brace too many": (tagged(PARIS + "}"), ["Paris"]),
    "quotes within a string": (tagged(PARIS.replace("Paris", 'the "big" one')), ['the "big" one']),
    "a backslash that escapes nothing": (tagged(PARIS.replace("Paris", r"C:\Users\d")), [r"C:\Users\d"]),
    "a comma before the brace": (tagged(PARIS.replace("}}", ",},}")), ["Paris"]),
    "single quotes": (tagged(PARIS.replace('"', "'")), ["Paris"]),
    "single quotes and an apostrophe": (tagged(PARIS.replace('"', "'").replace("Paris", "L'Île")), ["L'Île"]),
    "arguments first": (tagged('{"arguments": {"city": "Paris"}, "name": "get_weather"}'), ["Paris"]),
    "arguments first, alone": ('{"arguments": {"city": "Paris"}, "name": "get_weather"}', ["Paris"]),
    "parameters": (tagged(PARIS.replace("arguments", "parameters")), ["Paris"]),
    "parameters, alone": (PARIS.replace("arguments", "parameters"), ["Paris"]),
    "arguments as JSON in a string": (
        tagged(json.dumps({"name": "get_weather", "arguments": '{"city": "Paris"}'})),
        ["Paris"],
    ),
    "OpenAI's own form": (tagged(json.dumps({"type": "function", "function": json.loads(PARIS)})), ["Paris"]),
    "OpenAI's own form, alone": (json.dumps({"type": "function", "function": json.loads(PARIS)}), ["Paris"]),
    "a prefix": (tagged(PARIS.replace("get_w", "functions.get_w")), ["Paris"]),
    "a prefix, alone": (PARIS.replace("get_w", "functions.get_w"), ["Paris"]),
    "another case": (tagged(PARIS.replace("get_weather", "Get_Weather")), ["Paris"]),
    "another case, alone": (PARIS.replace("get_weather", "Get-Weather"), ["Paris"]),
    "the arguments beside the name": (tagged('{"name": "get_weather", "city": "Paris"}'), ["Paris"]),
    "the name as the key": (tagged('{"get_weather": {"city": "Paris"}}'), ["Paris"]),
    "several in one block": (tagged(f"{PARIS}\n{ROME}"), ["Paris", "Rome"]),
    "several in one block, with a comma": (tagged(f"{PARIS},\n{ROME}"), ["Paris", "Rome"]),
    "a list": (tagged(f"[{PARIS}, {ROME}]"), ["Paris", "Rome"]),
    "a list, alone": (f"[{PARIS},\n {ROME}]", ["Paris", "Rome"]),
    "one after the other, alone": (f"{PARIS}\n{ROME}\n", ["Paris", "Rome"]),
    "a code block": (f"```json\n{PARIS}\n```", ["Paris"]),
    "a code block without a language": (f"```\n{PARIS}\n```\n", ["Paris"]),
    "a code block that is not closed": (f"```json\n{PARIS}", ["Paris"]),
    "two code blocks": (f"```json\n{PARIS}\n```\n```json\n{ROME}\n```", ["Paris", "Rome"]),
    "two in a code block": (f"```json\n{PARIS}\n{ROME}\n```", ["Paris", "Rome"]),
    "the tag of the prompt": (f"<tools>\n{PARIS}\n</tools>", ["Paris"]),
    "another tag": (f"<function_call>{PARIS}</function_call>", ["Paris"]),
    "no opening tag": (f"{PARIS}\n</tool_call>", ["Paris"]),
    "a code block in the tags": (tagged(f"```json\n{PARIS}\n```"), ["Paris"]),
    "a code block in the tags, on one line": (f"<tool_call>```{PARIS}```</tool_call>", ["Paris"]),
    "no closing tag": (f"<tool_call>\n{PARIS}", ["Paris"]),
    "half a closing tag": (f"<tool_call>\n{PARIS}\n</tool_", ["Paris"]),
    "two functions in one block": (
        tagged(
            "<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n</function>\n"
            "<function=get_weather>\n<parameter=city>\nRome\n</parameter>\n</function>"
        ),
        ["Paris", "Rome"],
    ),
    "a function in another case, without tags": (
        "<function=Functions.Get_Weather>\n<parameter=city>\nParis\n</parameter>\n</function>",
        ["Paris"],
    ),
}


@pytest.mark.parametrize("before", ["", "I will look it up.\n\n"], ids=["alone", "after text"])
@pytest.mark.parametrize(("written", "cities"), CLOTHES.values(), ids=CLOTHES)
def test_a_call_in_other_clothes_is_a_call(before: str, written: str, cities: list[str]) -> None:
    expected = (before.rstrip(), [("get_weather", {"city": city}) for city in cities])
    whole = before + written
    assert read(whole) == read(*whole) == expected
    for cut in range(1, len(whole)):
        assert read(whole[:cut], whole[cut:]) == expected, whole[:cut]


def test_text_after_a_call_stays_text() -> None:
    assert read(f"{tagged(PARIS)}\n\nNow I wait.") == ("\n\nNow I wait.", [TO_PARIS])
    assert read(*f"<tool_call>{PARIS}\nNow I wait.") == ("\nNow I wait.", [TO_PARIS])


def test_a_tool_without_parameters_is_called_with_none() -> None:
    for written in (
        '{"name": "now"}',
        '{"name": "now", "arguments": {}}',
        '{"name": "now", "arguments": null}',
    ):
        assert read(tagged(written)) == ("", [NOW])
    assert read("<function=now>\n</function>") == read('{"name": "now", "arguments": {}}') == ("", [NOW])


SHOWN = {
    "text after it": f"```json\n{PARIS}\n```\nThis is how a call looks.",
    "text after it, without a block": f"{PARIS}\nThis is how a call looks.",
    "it is introduced": f"You would call it like this:\n```json\n{PARIS}\n```",
    "it is introduced, without a block": f"It would be this:\n{PARIS}",
    "within a line": f"Write {PARIS}",
    "in code": f"`{PARIS}`",
    "in a block of another language": f"```python\n{PARIS}\n```",
    "in a larger block": f'```json\n{{"calls":\n{PARIS}\n}}\n```',
    "in larger JSON": f'{{"calls":\n{PARIS}\n}}',
    "another tool": PARIS.replace("get_weather", "unknown"),
    "another tool, in a block": f"```json\n{PARIS.replace('get_weather', 'unknown')}\n```",
    "one that is known and one that is not": f"[{PARIS}, {PARIS.replace('get_weather', 'unknown')}]",
    "no arguments": '{"name": "get_weather"}',
    "arguments that are none": '{"name": "get_weather", "arguments": 5}',
    "the definition of a tool": json.dumps(TOOLS[0]["function"]),
    "a person": '{"name": "get_weather", "arguments": {"city": "x"}, "age": 5}',
    "JSON": '{"answer": 42}',
    "JSON in a block": '```json\n{"name": "Ann", "arguments": {}}\n```',
    "a list": "[1, 2, 3]",
    "a list of names": '["name", "arguments"]',
    "empty JSON": "{}",
    "an open brace": "{",
    "an open list": "[{",
    "broken JSON": '{"name": "get_weather", "arguments": {"city" "Paris"}}',
    "half a call": PARIS[:40],
    "half a block": "```js",
    "tags round something else": "<tools>\n[1]\n</tools>",
    "a tag round broken JSON": tagged('{"name": get_weather}'),
    "a tag round JSON that is no call": tagged('{"answer": 42}'),
}


@pytest.mark.parametrize("text", SHOWN.values(), ids=SHOWN)
def test_what_is_no_call_is_text(text: str) -> None:
    assert read(text) == read(*text) == (text, [])
    for cut in range(1, len(text)):
        assert read(text[:cut], text[cut:]) == (text, []), text[:cut]


@pytest.mark.parametrize("begin", ['{"answer"', '{"name": "Z', "[1", "```py", "[[", '{"type": "o', "{5"])
def test_json_that_is_no_call_is_not_held_back(begin: str) -> None:
    assert "".join(piece.text for piece in ToolParser(TOOLS).feed(begin)) == begin


@pytest.mark.parametrize(
    "written",
    [
        f"<tool_call>\n{PARIS[:-1]}",
        f"<tool_call>\n{PARIS[:40]}",
        PARIS[:-1],
        "<tool_call>\n<function=get_weather>\n<parameter=city>\nPar",
        "<tool_call>\n<function=get_weather>\n<parameter=city>\nParis\n</parameter>\n",
        "<function=get_weather>\n<parameter=city>\nParis\n</parameter>",
    ],
)
def test_what_a_limit_has_cut_is_no_call(written: str) -> None:
    assert read(written, cut=True) == read(*written, cut=True) == (written, [])


def test_a_call_that_was_whole_before_the_limit_is_one() -> None:
    assert read(f"<tool_call>{PARIS}\n</tool", cut=True)[1] == [TO_PARIS]


def test_the_model_learns_of_arguments_that_are_no_object() -> None:
    assert read(tagged('{"name": "get_weather", "arguments": 5}')) == (
        "",
        [("get_weather", {"invalid_json": "5"})],
    )


def test_a_model_that_repeats_itself_is_not_read_further() -> None:
    parser = ToolParser(TOOLS)
    pieces = parser.feed(f"{PARIS}\n{ROME}\n{PARIS}\n{PARIS}\n")
    assert [piece.call.arguments["city"] for piece in pieces if piece.call] == ["Paris", "Rome"]
    assert parser.ended and parser.feed("more") == parser.finish() == []


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ({"city": 90210}, {"city": "90210"}),
        ({"zip": 90210}, {"zip": "90210"}),
        ({"zip": "null"}, {"zip": "null"}),
        ({"zip": None}, {"zip": None}),
        ({"city": True}, {"city": "true"}),
        ({"city": {"a": 1}}, {"city": '{"a": 1}'}),
        ({"days": "5"}, {"days": 5}),
        ({"days": 5.0}, {"days": 5}),
        ({"days": 5.5}, {"days": 5.5}),
        ({"days": "five"}, {"days": "five"}),
        ({"deep": "true"}, {"deep": True}),
        ({"deep": "False"}, {"deep": False}),
        ({"deep": "yes"}, {"deep": "yes"}),
        ({"tags": '["a", "b"]'}, {"tags": ["a", "b"]}),
        ({"tags": "['a']"}, {"tags": ["a"]}),
        ({"tags": [1, None]}, {"tags": ["1", None]}),
        ({"place": '{"lat": "1.5", "id": 7}'}, {"place": {"lat": 1.5, "id": "7"}}),
        ({"ratio": "0.5"}, {"ratio": 0.5}),
        ({"ratio": 2}, {"ratio": 2}),
        ({"ratio": "null"}, {"ratio": None}),
        ({"other": "5"}, {"other": "5"}),
        ({"city": "a\ud800"}, {"city": "a\ufffd"}),
    ],
)
def test_arguments_have_the_types_of_the_schema(given: dict[str, Any], value: dict[str, Any]) -> None:
    (call,) = read(tagged(json.dumps({"name": "get_weather", "arguments": given})))[1]
    assert json.dumps(call[1]) == json.dumps(value)


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=5), _JSON, max_size=4), st.booleans(), st.data())
def test_what_is_json_is_read_as_json(value: dict[str, Any], ascii_only: bool, data: st.DataObject) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only, indent=data.draw(st.sampled_from([None, 1])))
    loose = loose_json._Reader(text + " x", final=True, ends=())
    assert loose.value(0, "", 0) == (value, len(text))
    begun = text[: data.draw(st.integers(0, len(text) - 1))]
    with pytest.raises(loose_json.Unfinished):  # whatever has come: it never ends early, nor seems broken
        loose_json.read(begun, 0)


@given(_JSON)
def test_a_value_without_a_schema_stays_as_it_is(value: Any) -> None:
    assert fitted(value, None) == value


_FRAGMENTS = st.sampled_from(
    [
        *(
            PARIS,
            ROME,
            PARIS[:-1],
            PARIS[:20],
            PARIS.replace('"', "'"),
            PARIS.replace("get_weather", "unknown"),
        ),
        *(
            "<tool_call>",
            "</tool_call>",
            "```json\n",
            "```",
            "\n",
            " ",
            ":",
            "{",
            "}",
            "[",
            "]",
            ",",
            '"',
            "'",
            "a",
        ),
        *(
            "<function=get_weather>",
            "</function>",
            "<parameter=city>",
            "</parameter>",
            "<tools>",
            "</tools>",
            "\\",
        ),
        *('{"name"', '{"arguments": {}', "<", "`", "<function="),
    ]
)


@given(st.lists(_FRAGMENTS, max_size=12).map("".join), st.booleans(), st.data())
def test_any_text_is_read_alike_wherever_it_is_cut(text: str, cut: bool, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=4)))
    parts = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert read(*parts, cut=cut) == read(text, cut=cut) == read(*text, cut=cut)


@given(st.lists(_FRAGMENTS, max_size=12).map("".join))
def test_without_a_call_no_text_is_lost(text: str) -> None:
    written, calls = read(text)
    assert calls or written == text


def test_long_arguments_take_no_longer_than_they_must() -> None:
    """Each piece is read once; not all that is held, again and again."""
    reads = 0
    real = loose_json.read

    def counted(*given: Any, **more: Any) -> Any:
        nonlocal reads
        reads += 1
        return real(*given, **more)

    parser = ToolParser(TOOLS)
    pieces: list[Piece] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loose_json, "read", counted)
        for part in [
            '<tool_call>{"name": "get_weather", "arguments": {"city": "',
            *["word "] * 2_000,
            '"}}</tool_call>',
        ]:
            pieces += parser.feed(part)
    assert pieces[0].call and len(pieces[0].call.arguments["city"]) == 10_000
    assert reads < 200
