"""Rows of training data: the forms that are read, and how one that is none is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qwen_cli.errors import UsageError
from qwen_cli.tasks.train import rows

ASKED = {"role": "user", "content": "2 + 2?"}
ANSWERED = {"role": "assistant", "content": "4"}


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [ASKED, ANSWERED]},
        {"messages": [ASKED, {"role": "assistant", "content": [{"type": "text", "text": "4"}]}]},
        {"prompt": "2 + 2?", "completion": "4"},
        {"prompt": [ASKED], "completion": [ANSWERED]},
        {"instruction": "2 + 2?", "input": "", "output": "4"},
        {"conversations": [{"from": "human", "value": "2 + 2?"}, {"from": "gpt", "value": "4"}]},
        {"conversations": [ASKED, ANSWERED], "source": "somewhere"},
    ],
)
def test_a_row_of_each_form_is_the_same_chat(row: dict[str, Any]) -> None:
    (chat,) = rows.chats([row])

    assert chat.messages == (ASKED, ANSWERED)


def test_the_input_of_an_instruction_stands_below_it() -> None:
    (chat,) = rows.chats([{"instruction": "Add.", "input": "2 and 2", "output": "4", "system": "Be brief."}])

    assert [m["content"] for m in chat.messages] == ["Be brief.", "Add.\n\n2 and 2", "4"]


def test_thinking_tool_calls_and_what_is_only_read_are_kept() -> None:
    called = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}]}
    thought = {"role": "assistant", "content": "4", "reasoning_content": "two and two", "weight": 0}
    (chat,) = rows.chats([{"messages": [ASKED, called, {"role": "tool", "content": "4"}, thought]}])

    assert chat.messages[1]["tool_calls"][0]["function"] == {"name": "f", "arguments": {}}
    assert chat.messages[3]["reasoning_content"] == "two and two"
    assert rows.taught(chat.messages, "all") == [1]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 3: Expecting property name"),
        ("[1]", "line 3: it is no object but a list"),
        ('{"text": "hello"}', "line 3: it has text, and none of messages, prompt and completion"),
        ('{"messages": "hi"}', "line 3: messages is no list but a text"),
        ('{"messages": []}', "line 3: it has no messages"),
        ('{"messages": [{"role": "robot", "content": "x"}]}', "line 3: message 1 has the role 'robot'"),
        ('{"messages": [{"role": "user", "content": 7}]}', "message 1: content is no text but a number"),
        ('{"messages": [{"role": "user", "content": [{"type": "image"}]}]}', "shows something (image)"),
        ('{"messages": [{"role": "assistant", "content": "x"}]}', "begins with the assistant"),
        ('{"prompt": "x", "completion": ""}', "line 3: the assistant says nothing in it"),
        ('{"conversations": [{"from": "alien", "value": "x"}]}', "a turn from 'alien'"),
        ('{"prompt": "\\ud800", "completion": "x"}', "half a character"),
    ],
)
def test_a_line_that_is_no_row_is_named(line: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"prompt": "a", "completion": "b"}) + "\n\n" + line + "\n")

    with pytest.raises(UsageError) as refused:
        rows.read(file)

    assert said in str(refused.value)
    assert str(file) in str(refused.value)


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_a_file_without_rows_is_refused(content: str, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(content)

    with pytest.raises(UsageError, match="has no rows"):
        rows.read(file)


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\0")

    with pytest.raises(UsageError, match="is not UTF-8 text"):
        rows.read(tmp_path / "binary")
    with pytest.raises(UsageError, match="No such file"):
        rows.read(tmp_path / "none")


def test_the_digest_tells_rows_and_their_order() -> None:
    first, second = rows.chats([{"prompt": "a", "completion": "b"}, {"prompt": "b", "completion": "a"}])

    assert rows.digest([first, second]) == rows.digest([first, second])
    assert (
        len({rows.digest(*one) for one in ([[first, second]], [[second, first]], [[first], [second]])}) == 3
    )
