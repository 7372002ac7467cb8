"""Answers with a schema: checked, asked for again with what is wrong, given only where they satisfy it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from qwen_cli.engines.core.base import Capabilities, Piece, Sampling, Seeing, ToolCall, Usage
from qwen_cli.errors import ContextFull, EngineError, RequestRefused, SchemaUnmet, UsageError
from qwen_cli.tasks.chat.conversation import Conversation, Notice
from qwen_cli.tasks.common import structured
from qwen_cli.tasks.vision import task
from qwen_cli.tasks.vision.task import Job
from tests.serve.played import Asked, Played, end

YEAR: dict[str, Any] = {
    "type": "object",
    "properties": {"year": {"type": "string", "pattern": r"^\d{4}$"}},
    "required": ["year"],
}
PLAIN: dict[str, Any] = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
ASKED = [{"role": "user", "content": "When?"}]
GOOD, BAD = '{"year": "2024"}', '{"year": "24"}'


def saying(*answers: str | list[Piece] | Exception) -> Played:
    """An engine that gives `answers` in turn."""
    left = list(answers)

    def answer(asked: Asked) -> Any:
        one = left.pop(0)
        if isinstance(one, Exception):
            raise one
        return one

    return Played(answer)


def text(pieces: list[Piece]) -> str:
    return "".join(piece.text for piece in pieces if piece.kind == "answer")


def test_an_answer_that_satisfies_it_is_given_once() -> None:
    engine = saying(GOOD)
    pieces = list(structured.chat(engine, ASKED, YEAR))

    assert text(pieces) == GOOD
    assert [piece.usage is not None for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert engine.seen[0].messages == ASKED


@pytest.mark.parametrize("failing", [1, 2])
def test_one_that_does_not_is_asked_for_again_with_the_fault(failing: int) -> None:
    engine = saying(*[BAD] * failing, GOOD)
    told: list[str] = []
    pieces = list(structured.chat(engine, ASKED, YEAR, on_retry=told.append))

    assert text(pieces) == GOOD
    assert len(told) == failing
    assert told[0] == (
        "the answer does not satisfy the JSON schema"
        r" (pattern at $.year: '24' does not match '^\\d{4}$'): asked again"
    )
    for asked in engine.seen[1:]:
        first, answered, again = asked.messages
        assert (first, answered) == (ASKED[0], {"role": "assistant", "content": BAD})
        assert "pattern at $.year" in again["content"]
        assert json.dumps(YEAR) in again["content"]
    usage = pieces[-1].usage
    assert usage and usage.generated_tokens == 3 * (failing + 1)  # what all tries cost


def test_after_three_it_is_an_error_that_names_keyword_and_path() -> None:
    engine = saying(BAD, BAD, BAD)
    given: list[Piece] = []
    with pytest.raises(SchemaUnmet, match=r"after 3 tries: pattern at \$\.year: '24'") as unmet:
        given += structured.chat(engine, ASKED, YEAR)

    assert unmet.value.exit_code == 1
    assert "\n" not in str(unmet.value)
    assert text(given) == ""
    assert len(engine.seen) == 3


@pytest.mark.parametrize("answer", ["", "yes", "```json\n{}\n```", '{"year": "2024"} indeed', '{"year": '])
def test_what_is_no_json_is_asked_for_again(answer: str) -> None:
    engine = saying(answer, GOOD)

    assert text(list(structured.chat(engine, ASKED, YEAR))) == GOOD
    assert "JSON at $" in engine.seen[1].messages[-1]["content"]


def test_it_comes_as_it_is_written_where_the_grammar_holds_it_all() -> None:
    parts = [Piece('{"n"'), Piece(": 1}"), end()]
    *first, last = structured.chat(saying(parts), ASKED, PLAIN)

    assert first == parts[:2]
    assert last.usage


def test_a_server_that_may_not_hold_it_is_not_passed_on_unchecked() -> None:
    engine = saying("no", '{"n": 1}')
    engine.capabilities = Capabilities(4096)

    assert text(list(structured.chat(engine, ASKED, PLAIN))) == '{"n": 1}'


def test_thinking_comes_at_once_and_is_no_part_of_it() -> None:
    seen: list[str] = []
    engine = saying(
        [Piece("hm", "thinking"), Piece(BAD), end()], [Piece("oh", "thinking"), Piece(GOOD), end()]
    )
    for piece in structured.chat(engine, ASKED, YEAR, on_retry=lambda why: seen.append("again")):
        if piece.text:
            seen.append(piece.text)

    assert seen == ["hm", "again", "oh", GOOD]


@pytest.mark.parametrize(
    ("reason", "sampling", "why"),
    [
        ("length", Sampling(max_tokens=7), "it reached max_tokens, 7. Raise `max_tokens`"),
        ("length", Sampling(), "the server's own limit"),
        ("context", Sampling(), "the context is full"),
    ],
)
@pytest.mark.parametrize("schema", [YEAR, PLAIN])
@pytest.mark.parametrize("written", ['{"year": "20', "", '{"n": "1"}', "12"])
def test_one_that_was_cut_is_an_error(
    reason: Any, sampling: Sampling, why: str, schema: dict[str, Any], written: str
) -> None:
    engine = saying([Piece(written), end(reason)])
    with pytest.raises(SchemaUnmet, match="was cut before its JSON was whole") as cut:
        list(structured.chat(engine, ASKED, schema, sampling=sampling))
    assert why in str(cut.value)
    assert len(engine.seen) == 1  # it would be cut again


def test_a_number_that_was_cut_is_another_number() -> None:
    with pytest.raises(SchemaUnmet, match="cut"):
        list(structured.chat(saying([Piece("12"), end("length")]), ASKED, {"type": "integer"}))


def test_one_that_was_whole_when_it_was_cut_is_one() -> None:
    assert text(list(structured.chat(saying([Piece(GOOD), end("length")]), ASKED, YEAR))) == GOOD


def test_one_that_was_cut_may_be_passed_on() -> None:
    pieces = list(structured.chat(saying([Piece('{"y'), end("length")]), ASKED, YEAR, cut_is_answer=True))

    assert text(pieces) == '{"y'
    assert pieces[-1].usage and pieces[-1].usage.stop_reason == "length"


def test_a_call_is_no_answer_yet() -> None:
    call = Piece(kind="tool_call", call=ToolCall("1", "f", {}))
    pieces = list(structured.chat(saying([Piece("let me see"), call, end("tool_calls")]), ASKED, YEAR))

    assert [piece.call for piece in pieces if piece.call] == [call.call]


TOOLS: Any = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]


class TestWithTools:
    """Calls stay possible, and the schema holds for the answer."""

    def test_the_first_answer_is_free_to_be_a_call(self) -> None:
        call = Piece(kind="tool_call", call=ToolCall("1", "f", {}))
        engine = saying([Piece("let me see"), call, end("tool_calls")])
        pieces = list(structured.chat(engine, ASKED, YEAR, tools=TOOLS))

        assert [piece.call for piece in pieces if piece.call] == [call.call]
        assert (engine.seen[0].schema, engine.seen[0].tools) == (None, TOOLS)

    def test_one_that_satisfies_the_schema_is_the_answer(self) -> None:
        engine = saying(GOOD)
        assert text(list(structured.chat(engine, ASKED, YEAR, tools=TOOLS))) == GOOD
        assert len(engine.seen) == 1

    @pytest.mark.parametrize("free", ["It was in 2024.", "", BAD, '{"year": "2024"} so'])
    def test_any_other_is_asked_for_as_json(self, free: str) -> None:
        engine, told = saying(free, GOOD), list[str]()
        pieces = list(structured.chat(engine, ASKED, YEAR, tools=TOOLS, on_retry=told.append))

        assert text(pieces) == GOOD
        assert not told  # it is no failure
        first, answered, again = engine.seen[1].messages
        assert (first, answered["content"]) == (ASKED[0], free)
        assert "JSON" in again["content"] and json.dumps(YEAR) in again["content"]
        assert engine.seen[1].schema
        assert pieces[-1].usage and pieces[-1].usage.generated_tokens == 6

    def test_that_is_no_try_and_stays_when_it_is_asked_again(self) -> None:
        engine = saying("In 2024.", BAD, BAD, BAD)
        with pytest.raises(SchemaUnmet, match="after 3 tries"):
            list(structured.chat(engine, ASKED, YEAR, tools=TOOLS))
        assert [turn["content"] for turn in engine.seen[3].messages[:2]] == ["When?", "In 2024."]

    def test_a_call_is_still_one_when_json_is_asked_for(self) -> None:
        call = Piece(kind="tool_call", call=ToolCall("1", "f", {}))
        engine = saying("Hm.", [call, end("tool_calls")])
        assert [p.call for p in structured.chat(engine, ASKED, YEAR, tools=TOOLS) if p.call] == [call.call]

    @pytest.mark.parametrize("written", ["It was in 20", "12"])
    def test_one_that_was_cut_is_an_error(self, written: str) -> None:
        engine = saying([Piece(written), end("length")])
        with pytest.raises(SchemaUnmet, match="cut"):
            list(structured.chat(engine, ASKED, {"type": "integer"}, tools=TOOLS))
        assert len(engine.seen) == 1

    def test_what_was_thought_about_is_not_thought_about_again(self) -> None:
        engine = saying("In 2024.", GOOD)
        engine.capabilities = Capabilities(4096, thinking="switch")
        list(structured.chat(engine, ASKED, YEAR, tools=TOOLS, thinking=True))
        assert [asked.thinking for asked in engine.seen] == [True, False]

    def test_closing_the_free_answer_closes_the_engine(self) -> None:
        engine = saying([Piece("a", "thinking"), Piece("b", "thinking"), end()])
        stream = structured.chat(engine, ASKED, YEAR, tools=TOOLS)
        assert next(stream) == Piece()
        stream.close()


def test_an_engine_of_whole_schemas_gets_them_as_they_are() -> None:
    engine = saying(GOOD)
    engine.capabilities = Capabilities(4096, constrained=True, whole_schemas=True)
    schema = {**YEAR, "properties": {"year": {**YEAR["properties"]["year"], "uniqueItems": True}}}
    list(structured.chat(engine, ASKED, schema))

    assert engine.seen[0].schema == {
        **schema,
        "additionalProperties": False,
        "properties": {"year": {"type": "string", "pattern": "^[0-9]{4}$", "uniqueItems": True}},
    }


@pytest.mark.parametrize("kind", [RequestRefused, UsageError])
def test_an_engine_that_cannot_make_the_grammar_gets_a_looser_one(kind: Callable[[str], Exception]) -> None:
    engine = saying(kind("the JSON schema cannot be used"), GOOD)

    assert text(list(structured.chat(engine, ASKED, YEAR))) == GOOD
    strict, loose = (asked.schema["properties"]["year"] for asked in engine.seen)
    assert strict == {"type": "string", "pattern": "^[0-9]{4}$"}
    assert loose == {"type": "string"}


def test_one_that_can_make_none_says_so() -> None:
    engine = saying(*[RequestRefused("cannot")] * 9)
    with pytest.raises(RequestRefused, match="cannot"):
        list(structured.chat(engine, ASKED, YEAR))


def test_other_errors_are_told_as_they_are() -> None:
    for error in (EngineError("broken"), ContextFull(9, 8)):
        with pytest.raises(type(error)):
            list(structured.chat(saying(error), ASKED, YEAR))


def test_a_context_that_is_full_of_tries_tells_of_the_schema() -> None:
    with pytest.raises(SchemaUnmet, match="pattern at"):
        list(structured.chat(saying(BAD, ContextFull(9, 8)), ASKED, YEAR))


def test_the_grammar_lets_go_what_was_failed() -> None:
    engine = saying(BAD, GOOD)
    list(structured.chat(engine, ASKED, YEAR))

    assert "pattern" in json.dumps(engine.seen[0].schema)
    assert "pattern" not in json.dumps(engine.seen[1].schema)


def test_closing_closes_what_is_below() -> None:
    closed = []

    def answer(asked: Asked) -> Any:
        try:
            while True:
                yield Piece("{", "thinking")
        finally:
            closed.append(True)

    stream = structured.chat(Played(answer), ASKED, YEAR)
    next(stream)
    stream.close()

    assert closed == [True]


class TestConversation:
    def test_only_what_satisfies_it_is_kept(self) -> None:
        talk = Conversation(saying(BAD, GOOD), schema=YEAR)
        notices = [event.text for event in talk.send("When?") if isinstance(event, Notice)]

        assert [m["content"] for m in talk.messages] == ["When?", GOOD]
        assert len(notices) == 1 and "asked again" in notices[0]

    def test_after_an_error_the_question_can_be_asked_again(self) -> None:
        talk = Conversation(saying(BAD, BAD, BAD, GOOD), schema=YEAR)
        with pytest.raises(SchemaUnmet):
            list(talk.send("When?"))
        assert [m["content"] for m in talk.messages] == ["When?"]

        list(talk.retry())
        assert [m["content"] for m in talk.messages] == ["When?", GOOD]

    def test_one_that_was_cut_is_kept_as_such_where_it_was_shown(self) -> None:
        cut = [Piece('{"n": '), Piece(usage=Usage(stop_reason="length"))]
        talk = Conversation(saying(cut), schema=PLAIN)
        with pytest.raises(SchemaUnmet, match="cut"):
            list(talk.send("How many?"))

        assert talk.messages[-1] == {"role": "assistant", "content": '{"n": ', "cut": True}


class TestExtract:
    """`qwen vision --extract`: the same rules."""

    JOB = Job("extract", schema=YEAR)

    def ask(self, engine: Played) -> str:
        return text(list(task.ask(engine, [], self.JOB, Sampling())))  # type: ignore[arg-type]

    def test_what_fails_is_asked_for_again(self) -> None:
        engine = saying(BAD, GOOD)

        assert task.result(self.JOB, self.ask(engine), [], Seeing()).data == {"year": "2024"}
        assert engine.seen[1].sampling.temperature == 0

    def test_what_never_satisfies_it_is_an_error(self) -> None:
        with pytest.raises(SchemaUnmet, match=r"pattern at \$\.year"):
            self.ask(saying(BAD, BAD, BAD))
        with pytest.raises(SchemaUnmet, match=r"pattern at \$\.year"):
            task.result(self.JOB, BAD, [], Seeing())

    def test_what_was_cut_is_an_error(self) -> None:
        with pytest.raises(SchemaUnmet, match="cut"):
            self.ask(saying([Piece('{"year'), end("length")]))
