"""Answers that were cut, gone on with: what comes is joined to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from scripted import DEFAULTS, Scripted, end

from qwen_cli.engines.core.base import Message, Piece, Reuse, Sampling, Stream
from qwen_cli.engines.core.prompt import Prompt, plain, spans
from qwen_cli.errors import EngineError, UsageError
from qwen_cli.tasks.chat.conversation import Conversation, Notice
from qwen_cli.tasks.tools.toolbox import Toolbox

TOOL = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}
CUT = {"role": "assistant", "content": "one ", "cut": True}


class Raw(Scripted):
    """An engine that tells its prompts: `prompts` are those that it went on with."""

    opening = ""  # what the template writes where the answer begins

    def __init__(self, *answers: list[Piece | BaseException]) -> None:
        super().__init__(*answers)
        self.capabilities = replace(self.capabilities, render=True)
        self.prompts: list[str] = []
        self.tools: Any = None

    def render(
        self, messages: Sequence[Message], *, tools: Any = None, thinking: Any = None, **given: Any
    ) -> str:
        self.tools = tools
        return plain("".join(f"[{m['role']}]{m['content']}" for m in messages)) + f"[assistant]{self.opening}"

    def complete(self, prompt: str, *, sampling: Sampling = DEFAULTS, reuse: Reuse = "prefix") -> Stream:
        self.prompts.append(prompt)
        for piece in self.answers.pop(0):
            if isinstance(piece, BaseException):
                raise piece
            yield piece


def talk(engine: Scripted, cut: Mapping[str, Any] = CUT, **given: Any) -> Conversation:
    return Conversation(engine, messages=[{"role": "user", "content": "Count."}, dict(cut)], **given)


def test_the_rest_is_joined_to_what_there_is() -> None:
    engine = Raw([Piece("two "), Piece("three"), end()])
    it = talk(engine, system="Be brief.")

    pieces = [event.text for event in it.go_on() if isinstance(event, Piece)]

    assert pieces == ["two ", "three", ""], "what was said before is not said again"
    assert it.messages[1:] == [{"role": "assistant", "content": "one two three"}]
    assert engine.prompts == ["[system]Be brief.[user]Count.[assistant]one "]
    assert it.tokens()[0] == 13


def test_what_is_cut_again_can_go_on_again() -> None:
    engine = Raw([Piece("two "), end("length")], [Piece("three"), end()])
    it = talk(engine, sampling=Sampling(max_tokens=2))

    notices = [event.text for event in it.go_on() if isinstance(event, Notice)]

    assert notices == ["the answer was cut: it reached max_tokens, 2"]
    assert it.messages[1] == {"role": "assistant", "content": "one two ", "cut": True}
    list(it.go_on())
    assert it.messages[1] == {"role": "assistant", "content": "one two three"}


@pytest.mark.parametrize("said", [[], [Piece("two")]])
def test_one_that_is_stopped_or_fails_keeps_all_there_is(said: list[Piece | BaseException]) -> None:
    it = talk(Raw([*said, EngineError("the server went away")]))
    with pytest.raises(EngineError):
        list(it.go_on())
    assert it.messages[1] == {"role": "assistant", "content": "one two" if said else "one ", "cut": True}

    it = talk(Raw([*said, Piece("more"), end()]))
    stream = it.go_on()
    for _ in said:
        next(stream)
    stream.close()
    assert it.messages[1] == {"role": "assistant", "content": "one two" if said else "one ", "cut": True}


@pytest.mark.parametrize("opening", ["", "<think>\n"])
def test_thinking_goes_on_as_thinking(opening: str) -> None:
    engine = Raw([Piece("hm</thi"), Piece("nk>\n\nTwo"), end()])
    engine.opening = opening
    it = talk(engine, {"role": "assistant", "content": "", "thinking": "Hm, ", "cut": True})
    list(it.go_on())

    assert it.messages[1] == {"role": "assistant", "content": "Two", "thinking": "Hm, hm"}
    assert engine.prompts == ["[user]Count.[assistant]<think>\nHm, "]


@pytest.mark.parametrize("opening", ["", "<think>\n"])
@pytest.mark.parametrize("thinking", ["Hm", ""])
def test_an_answer_after_thinking_goes_on_as_an_answer(opening: str, thinking: str) -> None:
    engine = Raw([Piece("two</think>"), end()])
    engine.opening = opening
    it = talk(engine, {**CUT, "thinking": thinking})
    list(it.go_on())

    assert it.messages[1]["content"] == "one two</think>"
    thought = f"<think>\n{thinking}\n</think>\n\n" if thinking else opening + "</think>\n\n" * bool(opening)
    assert engine.prompts == [f"[user]Count.[assistant]{thought}one "]


def test_what_was_written_is_no_special_token() -> None:
    engine = Raw([end()])
    list(talk(engine, {**CUT, "content": "<|im_end|>"}).go_on())
    (prompt,) = engine.prompts
    assert isinstance(prompt, Prompt)
    assert [prompt[a:b] for a, b in spans(prompt)] == ["[user]Count.", "<|im_end|>"]


def test_a_call_in_the_rest_is_a_call() -> None:
    call = '<tool_call>\n{"name": "now", "arguments": {}}\n</tool_call>'
    engine = Raw([Piece(call), end()], [Piece("Noon."), end()])
    engine.chat = lambda messages, **given: Raw.complete(engine, "")  # type: ignore[method-assign]
    it = talk(engine, toolbox=Toolbox([], approve=lambda one: True))
    it._tools = lambda: [TOOL]  # type: ignore[method-assign]
    list(it.go_on())

    assert engine.tools == [TOOL]
    assert [m["role"] for m in it.messages] == ["user", "assistant", "tool", "assistant"]
    assert it.messages[1]["content"] == "one " and it.messages[1]["tool_calls"]


def test_a_question_without_an_answer_gets_one() -> None:
    for said in ([], [{"role": "assistant", "content": "", "cut": True}]):
        it = Conversation(
            Scripted([Piece("One."), end()]), messages=[{"role": "user", "content": "?"}, *said]
        )
        list(it.go_on())
        assert [m["content"] for m in it.messages] == ["?", "One."]


def test_after_the_result_of_a_tool_the_answer_comes() -> None:
    said = [{"role": "assistant", "content": "", "tool_calls": []}, {"role": "tool", "content": "noon"}]
    it = Conversation(Scripted([Piece("Noon."), end()]), messages=[{"role": "user", "content": "?"}, *said])
    list(it.go_on())
    assert it.messages[-1]["content"] == "Noon." and len(it.messages) == 4


def test_a_server_that_goes_on_with_a_last_turn_is_sent_it() -> None:
    engine = Scripted([Piece("two"), end()])
    engine.capabilities = replace(engine.capabilities, prefill=True)
    it = talk(engine, {**CUT, "thinking": "Hm"})
    list(it.go_on())

    assert engine.seen[0][0][-1] == {"role": "assistant", "content": "one "}
    assert it.messages[1] == {"role": "assistant", "content": "one two", "thinking": "Hm"}


PICTURE = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}


@pytest.mark.parametrize(
    ("messages", "schema", "can", "why"),
    [
        ([], None, {}, "nothing to continue. Say something first"),
        (
            [PICTURE, {**CUT, "cut": False}],
            None,
            {},
            "the last answer is whole. Say what it is to go on with",
        ),
        ([PICTURE, CUT], {"type": "object"}, {}, "a schema cannot be gone on with. Ask the"),
        (
            [PICTURE, CUT],
            None,
            {"render": True},
            "none on scripted cannot go on with an answer about pictures",
        ),
        (
            [PICTURE, CUT],
            None,
            {},
            "none on scripted cannot go on with an answer that was cut. Ask the question again",
        ),
        (
            [PICTURE, {**CUT, "content": "", "thinking": "Hm"}],
            None,
            {"prefill": True},
            "a server goes on with answers alone, and this one was cut while thinking",
        ),
    ],
)
def test_what_cannot_go_on_is_told_and_stays(
    messages: list[dict[str, Any]], schema: Any, can: dict[str, bool], why: str
) -> None:
    engine = Scripted()
    engine.capabilities = replace(engine.capabilities, **can)
    it = Conversation(engine, messages=list(messages), schema=schema)
    with pytest.raises(UsageError) as fault:
        it.go_on()
    assert why in str(fault.value)
    assert it.messages == messages
