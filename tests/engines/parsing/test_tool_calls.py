"""Calls in the text of an answer: what models write, right and nearly right, wherever the stream is cut."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_cli.engines.parsing.argument import typed
from qwen_cli.engines.parsing.tool_calls import ToolParser

PROPERTIES: dict[str, Any] = {
    "path": {"type": "string"},
    "text": {"type": "string"},
    "count": {"type": "integer"},
    "ratio": {"type": "number"},
    "deep": {"type": "boolean"},
    "body": {"type": "object"},
    "items": {"type": "array"},
    "maybe": {"type": ["string", "null"]},
}
TOOLS = [{"type": "function", "function": {"name": "write", "parameters": {"properties": PROPERTIES}}}]


def read(*parts: str) -> tuple[str, list[tuple[str, dict[str, Any]]]]:
    """Return the text and the calls that a stream of `parts` gives."""
    parser = ToolParser(TOOLS)
    pieces = [piece for part in parts for piece in parser.feed(part)] + parser.finish()
    calls = [(piece.call.name, dict(piece.call.arguments)) for piece in pieces if piece.call]
    return "".join(piece.text for piece in pieces), calls


def xml(name: str = "write", **values: str) -> str:
    """Return a call as Qwen's templates write it."""
    inner = "".join(f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in values.items())
    return f"<tool_call>\n<function={name}>\n{inner}</function>\n</tool_call>"


QUOTED = xml("write", path="a", text="b")
BARE = QUOTED.removeprefix("<tool_call>\n")
NEARLY = {
    "no </parameter> before </function>": (
        '<tool_call>\n<function=write>\n<parameter=body>\n{"a": true}\n</function>\n</tool_call>',
        [{"body": {"a": True}}],
    ),
    "no </parameter> before the next": (
        "<tool_call>\n<function=write>\n<parameter=path>\nDallas\n<parameter=text>\nTX\n</parameter>\n"
        "</function>\n</tool_call>",
        [{"path": "Dallas", "text": "TX"}],
    ),
    "no </function>": (
        "<tool_call>\n<function=write>\n<parameter=count>\n5\n</parameter>\n</tool_call>",
        [{"count": 5}],
    ),
    "no </tool_call>": (
        "<tool_call>\n<function=write>\n<parameter=count>\n5\n</parameter>\n</function>",
        [{"count": 5}],
    ),
    "nothing is closed": ("<tool_call>\n<function=write>\n<parameter=path>\nabc", [{"path": "abc"}]),
    "no <tool_call>": (BARE, [{"path": "a", "text": "b"}]),
    "neither <tool_call> nor </tool_call>": (BARE.removesuffix("</tool_call>"), [{"path": "a", "text": "b"}]),
    "no <tool_call>, no parameters": ("<function=write>\n</function>", [{}]),
    "no <tool_call> twice": (
        BARE.removesuffix("\n</tool_call>") + BARE,
        [{"path": "a", "text": "b"}, {"path": "a", "text": "b"}],
    ),
    "no <tool_call> before another call": (BARE + xml(count="2"), [{"path": "a", "text": "b"}, {"count": 2}]),
    "no <tool_call>, all on one line": (
        "<function=write><parameter=count>5</parameter></function>",
        [{"count": 5}],
    ),
    "no <tool_call>, a whole call in a value": (
        xml(text=f"```\n{QUOTED}\n```").removeprefix("<tool_call>\n"),
        [{"text": f"```\n{QUOTED}\n```"}],
    ),
    "no </tool_call> before another call": (
        xml(count="1").removesuffix("</tool_call>") + xml(count="2"),
        [{"count": 1}, {"count": 2}],
    ),
    "a parameter twice": (
        xml(count="1").replace("</function>", "<parameter=count>\n2\n</parameter>\n</function>"),
        [{"count": 2}],
    ),
    "all on one line": (
        "<tool_call><function=write><parameter=count>5</parameter></function></tool_call>",
        [{"count": 5}],
    ),
    "no parameters": ("<tool_call>\n<function=write>\n</function>\n</tool_call>", [{}]),
    "closing tags in a value": (
        xml(text="a </parameter> b </function> c </tool_call> d"),
        [{"text": "a </parameter> b </function> c </tool_call> d"}],
    ),
    "a whole call in a value": (xml(text=f"see\n{QUOTED}\nabove"), [{"text": f"see\n{QUOTED}\nabove"}]),
    "an opening tag in a value": (xml(text="the <tool_call> tag"), [{"text": "the <tool_call> tag"}]),
    "other tags in a value": (xml(text="<a>\n<parameter=x>\n</a>"), [{"text": "<a>\n<parameter=x>\n</a>"}]),
    "line breaks in a value": (xml(text="\n\na\n\n"), [{"text": "\n\na\n\n"}]),
    "a closing tag in JSON": (
        '<tool_call>\n{"name": "write", "arguments": {"text": "\\"</tool_call>\\""}}\n</tool_call>',
        [{"text": '"</tool_call>"'}],
    ),
    "arguments as JSON text": (
        '<tool_call>\n{"name": "write", "arguments": "{\\"count\\": 5}"}\n</tool_call>',
        [{"count": 5}],
    ),
}


@pytest.mark.parametrize(("written", "arguments"), NEARLY.values(), ids=NEARLY)
def test_a_call_is_read_wherever_it_is_cut(written: str, arguments: list[dict[str, Any]]) -> None:
    said = [("write", each) for each in arguments]
    whole = f"Here:\n{written}\n"
    assert read(whole) == ("Here:", said)
    assert read(*whole) == ("Here:", said)
    for cut in range(len(whole)):
        assert read(whole[:cut], whole[cut:]) == ("Here:", said), whole[:cut]


SHOWN = [
    f"So:\n```xml\n{BARE}\n```\nand on",
    f"So:\n~~~~\n```\n{BARE}\n~~~\n",
    f"- ```\n  {BARE}",
    f"> {BARE}",
    f"Write `{BARE}`",
    f'Write "{BARE}"',
    f"    {BARE}",
    "The <function=write> tag opens a call.",
    "<function=write> opens a call, </function> ends it.",
    "Write <function=write><parameter=path>a</parameter></function> to call.",
    BARE.replace("write", "unknown"),
    BARE[: BARE.index("</function>")],
    "<function=write",
    "a <func",
]


@pytest.mark.parametrize("text", SHOWN)
def test_a_function_that_is_shown_is_text(text: str) -> None:
    assert read(text) == read(*text) == (text, [])


@pytest.mark.parametrize(
    "before", ["I look. ", "It is `a`:\n", "```\ncode\n```\n", "> so\n", "A ```fence``` here. "]
)
def test_a_function_without_tags_may_come_after_text(before: str) -> None:
    expected = (before.rstrip(), [("write", {"path": "a", "text": "b"})])
    assert read(before + BARE) == read(*before, *BARE) == expected


def test_a_function_that_is_not_offered_holds_nothing_back() -> None:
    parser = ToolParser(TOOLS)
    assert (
        "".join(piece.text for piece in parser.feed("<function=unknown>\n<para"))
        == "<function=unknown>\n<para"
    )


_CALL = ["<tool_call>", "</tool_call>", "<function=write>", "</function>", "<parameter=text>", "</parameter>"]
_OTHER = [
    "```",
    "<function=unknown>",
    "<parameter=count>",
    "\n",
    " ",
    "5",
    "ä中",
    "{",
    '"',
    "}",
    '{"name": "write", "arguments": {}}',
    "<",
]
_PIECES = st.sampled_from([*_CALL, *_OTHER, "<function="])


@given(st.lists(_PIECES, max_size=14).map("".join), st.data())
def test_any_text_is_read_alike_wherever_it_is_cut(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=4)))
    parts = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert read(*parts) == read(text) == read(*text)


@given(st.dictionaries(st.sampled_from(["path", "text"]), st.text(max_size=20), max_size=2))
def test_strings_arrive_as_they_are(values: dict[str, str]) -> None:
    assert read(xml(**values)) == ("", [("write", values)])


@pytest.mark.parametrize(
    "text", ["The <tool_call> tag opens a call.", "<tool_call>", "<tool_call>\n<b>", "a <tool_call> <functio"]
)
def test_a_tag_that_is_spoken_of_is_text(text: str) -> None:
    assert read(*text) == (text, [])


def test_a_tag_that_is_spoken_of_holds_nothing_back() -> None:
    parser = ToolParser(TOOLS)
    pieces = parser.feed("The <tool_call> tag opens a call and")
    assert "".join(piece.text for piece in pieces) == "The <tool_call> tag opens a call and"


@pytest.mark.parametrize(
    ("text", "schema", "value"),
    [
        ("123", {"type": "string"}, "123"),
        ("null", {"type": "string"}, "null"),
        ('{"a": 1}', {"type": "string"}, '{"a": 1}'),
        ("null", {"type": ["string", "null"]}, None),
        ("true", {"anyOf": [{"type": "string"}, {"type": "null"}]}, "true"),
        ("5", {"anyOf": [{"type": "integer"}, {"type": "string"}]}, 5),
        ("5.0", {"type": "integer"}, 5),
        ("5", {"type": "number"}, 5),
        ("five", {"type": "integer"}, "five"),
        ("True", {"type": "boolean"}, True),
        ("FALSE", {"type": "boolean"}, False),
        ("1", {"type": "boolean"}, "1"),
        ("None", {"type": "integer"}, None),
        ("{'a': True}", {"type": "object"}, {"a": True}),
        ("[1, 2,]", {"type": "array"}, [1, 2]),
        ("[1, 2]", {"type": "object"}, "[1, 2]"),
        ("NaN", {"type": "number"}, "NaN"),
        ("2", {"enum": ["1", "2"]}, "2"),
        ("2", {"enum": [1, 2]}, 2),
        ("7", None, 7),
        ("7 apples", None, "7 apples"),
        ("[" * 100_000, {"type": "array"}, "[" * 100_000),
    ],
)
def test_a_value_has_the_type_of_the_schema(text: str, schema: Any, value: Any) -> None:
    read_value = typed(text, schema)
    assert read_value == value and type(read_value) is type(value)


def test_a_reference_is_followed() -> None:
    root = {"$defs": {"Name": {"type": "string"}, "Loop": {"$ref": "#/$defs/Loop"}}}
    assert typed("5", {"$ref": "#/$defs/Name"}, root) == "5"
    assert typed("5", {"$ref": "#/$defs/Loop"}, root) == 5
