"""Tools, thinking and faults in a conversation: on a scripted engine, for the reasons given there."""

from __future__ import annotations

from typing import Any

import pytest
from scripted import Scripted, end

from qwen_cli.engines.core.base import Piece, ToolCall
from qwen_cli.errors import ContextFull, EngineError
from qwen_cli.tasks.chat.conversation import Conversation, Notice
from qwen_cli.tasks.chat.messages import FAILED_BEFORE, LAST_ROUND, NO_ROUNDS_LEFT, NOT_RUN
from qwen_cli.tasks.tools.base import Tool, ToolResult
from qwen_cli.tasks.tools.toolbox import REFUSED, Toolbox

ADD = Tool("add", "Add two numbers", {"type": "object"}, lambda a: str(a["a"] + a["b"]), "test")


def call(number: Any = 1) -> Piece:
    return Piece(kind="tool_call", call=ToolCall(f"c{number}", "add", {"a": number, "b": 1}))


def test_a_called_tool_is_run_and_its_result_answered() -> None:
    engine = Scripted([call(2), end("tool_calls")], [Piece("It is 3."), end()])
    talk = Conversation(engine, toolbox=Toolbox([ADD], approve=lambda c: True))

    events = list(talk.send("2 + 1?"))

    assert ToolResult(ToolCall("c2", "add", {"a": 2, "b": 1}), "3", ok=True) in events
    assert engine.seen[1][0] == [
        {"role": "user", "content": "2 + 1?"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {
                    "id": "c2",
                    "type": "function",
                    "function": {"name": "add", "arguments": '{"a": 2, "b": 1}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "c2", "content": "3"},
    ]
    assert engine.seen[1][1][0]["function"]["name"] == "add"
    assert talk.messages[-1]["content"] == "It is 3."


def test_a_refused_tool_answers_the_model_that_it_was_refused() -> None:
    engine = Scripted([call(), end("tool_calls")], [Piece("Then not."), end()])
    talk = Conversation(engine, toolbox=Toolbox([ADD], approve=lambda c: False))

    results = [event for event in talk.send("1 + 1?") if isinstance(event, ToolResult)]

    assert [(r.output, r.ok) for r in results] == [(REFUSED, False)]
    assert engine.seen[1][0][-1]["content"] == REFUSED


def test_rounds_of_tool_calls_end() -> None:
    engine = Scripted(*([call(i), end("tool_calls")] for i in range(1, 4)))
    talk = Conversation(engine, toolbox=Toolbox([ADD], approve=lambda c: True), max_tool_rounds=2)

    events = list(talk.send("Go on adding."))

    results = [event for event in events if isinstance(event, ToolResult)]
    assert [r.output for r in results] == ["2", "3", NO_ROUNDS_LEFT]
    assert events[-1] == Notice("stopped after 2 rounds of tool calls")
    assert engine.seen[1][0][-1]["content"] == "2"
    assert engine.seen[2][0][-1]["content"] == "3" + LAST_ROUND


def test_leaving_while_tools_run_leaves_no_call_without_a_result() -> None:
    engine = Scripted([call(1), call(2), end("tool_calls")], [Piece("ok"), end()])
    talk = Conversation(engine, toolbox=Toolbox([ADD], approve=lambda c: True))

    stream = talk.send("Add.")
    next(event for event in stream if isinstance(event, ToolResult))
    stream.close()

    assert [(m["tool_call_id"], m["content"]) for m in talk.messages if m["role"] == "tool"] == [
        ("c1", "2"),
        ("c2", NOT_RUN),
    ]
    list(talk.send("Never mind."))
    assert engine.seen[-1][0][-1] == {"role": "user", "content": "Never mind."}


def test_control_c_while_a_tool_runs_goes_through() -> None:
    def interrupted(arguments: dict[str, object]) -> str:
        raise KeyboardInterrupt

    tool = Tool("add", "", {"type": "object"}, interrupted, "test")
    talk = Conversation(
        Scripted([call(), end("tool_calls")]), toolbox=Toolbox([tool], approve=lambda c: True)
    )

    with pytest.raises(KeyboardInterrupt):
        list(talk.send("Add."))

    assert talk.messages[-1]["content"] == NOT_RUN


def test_thinking_is_kept_but_never_sent_back() -> None:
    engine = Scripted(
        [Piece("Let me see", "thinking"), Piece("Four."), end()],
        [Piece("Yes."), end()],
    )
    talk = Conversation(engine)
    list(talk.send("2 + 2? /think"))
    list(talk.send("Sure?"))

    assert talk.messages[1] == {"role": "assistant", "content": "Four.", "thinking": "Let me see"}
    assert engine.seen[1][0][:2] == [
        {"role": "user", "content": "2 + 2? /think"},
        {"role": "assistant", "content": "Four."},
    ]


def test_an_engine_that_fails_before_the_first_word_leaves_the_question_for_retry() -> None:
    engine = Scripted([EngineError("out of memory")], [Piece("Hello."), end()])
    talk = Conversation(engine)

    with pytest.raises(EngineError, match="out of memory"):
        list(talk.send("Hi"))
    assert talk.messages == [{"role": "user", "content": "Hi"}]

    list(talk.retry())
    assert [m["content"] for m in talk.messages] == ["Hi", "Hello."]


def test_an_engine_that_fails_in_the_midst_leaves_what_it_said() -> None:
    talk = Conversation(Scripted([Piece("Once upon"), EngineError("connection lost")]))

    with pytest.raises(EngineError):
        list(talk.send("A story"))

    assert talk.messages[-1] == {"role": "assistant", "content": "Once upon", "cut": True}


def test_calls_of_an_answer_that_broke_off_are_not_kept() -> None:
    talk = Conversation(
        Scripted([Piece("I add"), call(), EngineError("connection lost")]), toolbox=Toolbox([ADD])
    )

    with pytest.raises(EngineError):
        list(talk.send("Add"))

    assert talk.messages[-1] == {"role": "assistant", "content": "I add", "cut": True}


def test_an_engine_that_cannot_count_slides_when_it_refuses() -> None:
    engine = Scripted(*([Piece("OK"), end()] for _ in range(6)))
    engine.hidden_limit = 40
    talk = Conversation(engine, system="Be brief.")
    notices = []
    for number in range(6):
        events = talk.send(f"turn {number} " + "word " * 10)
        notices += [event.text for event in events if isinstance(event, Notice)]

    assert notices
    assert all(notice.endswith("left the context") for notice in notices)
    assert len(notices) <= 2  # each slide makes room for several turns
    last = engine.seen[-1][0]
    assert last[0] == {"role": "system", "content": "Be brief."}
    assert last[-1]["content"].startswith("turn 5")


def test_stop_lets_the_engines_refusal_through() -> None:
    engine = Scripted([Piece("OK"), end()])
    engine.hidden_limit = 20
    talk = Conversation(engine, overflow="stop")
    list(talk.send("word " * 10))

    with pytest.raises(ContextFull):
        list(talk.send("word " * 15))

    assert talk.messages[-1]["unsent"] is True


def test_a_call_that_fails_alike_again_and_again_is_not_asked_for_for_ever() -> None:
    engine = Scripted(*([call("x"), end("tool_calls")] for _ in range(8)))
    number = {"type": "object", "properties": {"a": {"type": "integer"}}}
    asked: list[ToolCall] = []

    def approve(call: ToolCall) -> bool:
        asked.append(call)
        return True

    talk = Conversation(engine, toolbox=Toolbox([Tool("add", "", number, str, "test")], approve=approve))
    events = list(talk.send("1 + x?"))

    assert events[-1] == Notice("stopped: add failed 3 times with the same arguments")
    assert asked == []
    results = [message["content"] for message in talk.messages if message["role"] == "tool"]
    assert len(results) == 3
    assert results[0] == "error: wrong arguments for add: a: 'x' is not of type 'integer'"
    assert results[1] == results[2] == results[0] + FAILED_BEFORE


def test_calls_that_fail_in_other_ways_go_on() -> None:
    engine = Scripted(*([call(i), end("tool_calls")] for i in range(4)), [Piece("So."), end()])
    talk = Conversation(engine, toolbox=Toolbox([ADD], approve=lambda c: False))
    list(talk.send("?"))
    assert talk.messages[-1]["content"] == "So."
