"""What clients send: which field is at fault, where OpenAI's types have unions and all members complain, and
that no body takes more time and memory than its length lets expect."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as some
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming

from qwen_cli.serve.api import body
from qwen_cli.serve.api.errors import Refused
from tests.serve.played import Played, serving


def said(content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}]}


@pytest.mark.parametrize(
    ("sent", "field", "why"),
    [
        ({"messages": [{"role": "king", "content": "hi"}]}, "messages.0.role", "'user' or 'assistant'"),
        ({"messages": [{"content": "hi"}]}, "messages.0.role", "required"),
        ({"messages": [{"role": "tool", "content": "4"}]}, "messages.0.tool_call_id", "required"),
        (said(7), "messages.0.content", "valid string"),
        (said([{"type": "sound"}]), "messages.0.content.0.type", "'text' or 'image_url'"),
        (said([{"type": "text", "text": 7}]), "messages.0.content.0.text", "valid string"),
        (
            said([{"type": "image_url", "image_url": {"url": "x", "detail": "huge"}}]),
            "messages.0.content.0.image_url.detail",
            "'low'",
        ),
        (
            {**said("hi"), "response_format": {"type": "json_schema"}},
            "response_format.json_schema",
            "required",
        ),
        ({**said("hi"), "tools": [{"type": "function"}]}, "tools.0.function", "required"),
        ({**said("hi"), "tools": 7}, "tools", "a list"),
    ],
)
def test_the_field_that_was_meant_is_named(sent: dict[str, Any], field: str, why: str) -> None:
    with pytest.raises(Refused, match=why) as refused:
        body.checked(CompletionCreateParamsNonStreaming, {"model": "m", **sent})
    assert refused.value.status == 400
    assert refused.value.param == field


BOMBS = {
    "a text of escaped quotes without end": b'{"x":"' + b'\\"' * 4_000_000,
    "a text of escaped quotes": b'{"x":"' + b'\\"' * 4_000_000 + b'"}',
    "backslashes": b'{"x":"' + b"\\" * 8_000_001,
    "quotes": b'"' * 8_000_000,
    "brackets that open": b"[" * 8_000_000,
    "brackets in turn": b"[{" * 4_000_000,
    "brackets in a text": b'{"x":"' + b"[" * 8_000_000 + b'"}',
    "pairs of brackets": b'{"x":[' + b"{}," * 2_600_000 + b"{}]}",
    "numbers": b'{"x":[' + b"1," * 4_000_000 + b"1]}",
    "short texts": b'{"x":[' + b'"ab",' * 1_600_000 + b"1]}",
    "names": b"{" + b",".join(b'"%d":1' % number for number in range(800_000)) + b"}",
    "blanks": b" " * 8_000_000,
}
GOOD = {"a text of escaped quotes", "brackets in a text", "names"}

# What the last body takes above what is there once one has been read.
PEAK = """
import resource, sys
from qwen_cli.serve.api import body as bodies
from qwen_cli.serve.api.errors import Refused
data = sys.stdin.buffer.read()
bodies.parsed(b'{"x": [1, "2"]}')
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    print("given", bool(bodies.parsed(data)))
except Refused as refused:
    print("refused", refused.status, refused.message[:80])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def read_in_a_child(data: bytes) -> tuple[str, int]:
    """What becomes of a body, and the bytes that reading it took. The child ends after a minute: reading that
    takes more than its share of time takes hours."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK], input=data, capture_output=True, timeout=60, check=True
    )
    said, peak = done.stdout.decode().splitlines()
    return said, int(peak) << 10


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_read_or_refused_in_the_room_it_needs(name: str) -> None:
    said, peak = read_in_a_child(BOMBS[name])

    assert said.startswith("given" if name in GOOD else "refused 400")
    assert peak < 200 << 20


def test_a_picture_takes_a_few_times_its_length() -> None:
    picture = b'{"x": "data:image/png;base64,' + b"iVBORw0KGgo+" * (30 << 20 >> 2) + b'"}'
    said, peak = read_in_a_child(picture)

    assert said == "given True"
    assert peak < 5 * len(picture)


def nested(deep: int) -> bytes:
    """A list in a list, `deep` levels of them in an object."""
    return b'{"x":' + b"[" * (deep - 1) + b"]" * (deep - 1) + b"}"


@pytest.mark.parametrize("inner", [b"", b'"[[[["', b'"\\\\"', b'"\\"["', b'[{"[":"{"},{}],[]'])
def test_sixty_four_levels_are_read_and_one_more_is_not(inner: bytes) -> None:
    levels = 64 - (2 if inner.startswith(b"[") else 0)

    assert body.parsed(nested(levels).replace(b"[]", b"[" + inner + b"]"))
    with pytest.raises(Refused, match="more than 64 levels"):
        body.parsed(nested(levels + 1).replace(b"[]", b"[" + inner + b"]"))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not JSON"),
        (b"[]", "must be a JSON object, got list"),
        (b'{"a":', "not JSON"),
        (b'{"a": NaN}', "NaN is no number"),
        (b'{"a": [1e999, -Infinity]}', "-Infinity is no number"),
        (b'{"a": ]}', "not JSON"),
        (b'\\"{"a": 1}', "not JSON"),
        (b'{"a": "\xff"}', "not UTF-8: invalid start byte at byte 7"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
        (b'{"a": "\\ud83e"}', "half a character"),
        (b'{"a": ["\\uDD8A\\ud83e"]}', "half a character"),
        (b'{"a": 1' + b"0" * 5000 + b"}", "not JSON"),
    ],
)
def test_what_is_no_json_is_said_to_be_none(data: bytes, why: str) -> None:
    with pytest.raises(Refused, match=why) as refused:
        body.parsed(data)
    assert refused.value.status == 400


@pytest.mark.parametrize("data", [b'\xef\xbb\xbf{"a": "\\ud83e\\udd8a"}', '{"a": "🦊"}'.encode()])
def test_a_mark_at_the_beginning_and_whole_pairs_are_well(data: bytes) -> None:
    assert body.parsed(data) == {"a": "🦊"}


def shallow(value: Any) -> int:
    """Levels of lists and objects in `value`."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(shallow, inner), default=0)


_text = some.text(some.sampled_from('ab"\\[]{},:\n') | some.characters(exclude_categories=["Cs"]), max_size=8)
_json = some.recursive(
    some.none() | some.booleans() | some.integers() | _text,
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(_text, inner, max_size=3),
)


@given(some.dictionaries(_text, _json), some.booleans(), some.integers(0, 70))
def test_what_json_writes_is_read_as_it_was(value: dict[str, Any], ascii: bool, more: int) -> None:
    for _ in range(more):
        value = {"": value}
    data = json.dumps(value, ensure_ascii=ascii).encode()

    if shallow(value) <= 64:
        assert body.parsed(data) == value
    else:
        with pytest.raises(Refused, match="levels deep"):
            body.parsed(data)


@given(some.binary() | some.text('{}[]"\\,:1 ').map(str.encode))
def test_anything_else_is_refused_and_nothing_else_happens(data: bytes) -> None:
    with contextlib.suppress(Refused):
        assert body.parsed(data) == json.loads(data)


@pytest.mark.parametrize("name", ["a text of escaped quotes without end", "brackets that open", "numbers"])
def test_the_server_answers_others_meanwhile(name: str) -> None:
    with serving(Played()) as here, ThreadPoolExecutor(4) as clients:
        whole = BOMBS[name]
        sent = [
            clients.submit(httpx.post, f"{here.url}/v1/chat/completions", content=part, timeout=60)
            for part in (whole, whole[:900_000], whole[:60_000])
        ]
        for _ in range(10):
            assert httpx.get(f"{here.url}/health", timeout=30).status_code == 200
        assert [one.result().status_code for one in sent] == [400, 400, 400]
