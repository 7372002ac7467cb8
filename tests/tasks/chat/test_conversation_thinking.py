"""What a conversation tells the template: effort, and the thinking of past turns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from chat_templates import QWEN36, QWEN38, TEMPLATES
from scripted import Scripted, end

from qwen_cli.engines.core.base import Capabilities, Piece, ToolCall
from qwen_cli.engines.parsing import chat_template
from qwen_cli.engines.parsing.chat_template import thinking_capabilities, thinking_of
from qwen_cli.tasks.chat import sessions
from qwen_cli.tasks.chat.conversation import Conversation
from qwen_cli.tasks.tools.base import Tool
from qwen_cli.tasks.tools.toolbox import Toolbox

ADD = Tool("add", "Add two numbers", {"type": "object"}, lambda a: str(a["a"] + a["b"]), "test")
THOUGHT = [Piece("They ask.\n", "thinking"), Piece("Yes."), end()]
CALL = [
    Piece("I add.\n", "thinking"),
    Piece(kind="tool_call", call=ToolCall("c", "add", {"a": 1, "b": 2})),
    end("tool_calls"),
]


def talk(template: str, *answers: list[Any], **settings: Any) -> Conversation:
    engine = Scripted(*answers)
    engine.capabilities = Capabilities(None, tools=True, **thinking_capabilities(thinking_of(template)))
    return Conversation(engine, **settings)


def say(conversation: Conversation, *words: str) -> Scripted:
    for word in words:
        list(conversation.send(word))
    return conversation.engine  # type: ignore[return-value]


@pytest.mark.parametrize("template", [QWEN36, QWEN38])
def test_past_thinking_stays_where_the_template_can_keep_it(template: str) -> None:
    engine = say(talk(template, THOUGHT, THOUGHT), "One?", "Two?")
    assert engine.seen[1][0][1] == {
        "role": "assistant",
        "content": "Yes.",
        "reasoning_content": "They ask.\n",
    }
    assert engine.variables == [{"preserve_thinking": True}] * 2


@pytest.mark.parametrize("template", [QWEN36, QWEN38])
def test_it_can_be_turned_off(template: str) -> None:
    engine = say(talk(template, THOUGHT, THOUGHT, preserve_thinking=False), "One?", "Two?")
    assert engine.seen[1][0][1] == {"role": "assistant", "content": "Yes."}
    assert engine.variables == [{"preserve_thinking": False}] * 2


@pytest.mark.parametrize("name", ["qwen3", "qwen3.5-9b", "qwen3-2507-thinking", "qwen2.5"])
def test_elsewhere_it_goes_with_the_turn(name: str) -> None:
    engine = say(talk(TEMPLATES[name], THOUGHT, THOUGHT), "One?", "Two?")
    assert all("reasoning_content" not in message for message in engine.seen[1][0])
    assert engine.variables == [{}, {}]


@pytest.mark.parametrize("name", ["qwen3", "qwen3.5-9b", "qwen3.6", "qwen3.8"])
def test_between_calls_of_tools_a_model_goes_on_with_its_thinking(name: str) -> None:
    toolbox = Toolbox([ADD], approve=lambda call: True)
    engine = say(talk(TEMPLATES[name], CALL, THOUGHT, toolbox=toolbox), "1 + 2?")
    assert engine.seen[1][0][1]["reasoning_content"] == "I add.\n"


@pytest.mark.parametrize("name", ["qwen3.6", "qwen3.8"])
def test_a_follow_up_goes_on_where_the_last_prompt_and_its_answer_ended(name: str) -> None:
    """So the KV cache, and a hybrid's state that cannot go back, hold for all of it."""
    template = TEMPLATES[name]
    toolbox = Toolbox([ADD], approve=lambda call: True)
    engine = say(talk(template, THOUGHT, CALL, THOUGHT, THOUGHT, toolbox=toolbox), "One?", "1 + 2?", "Two?")
    prompts = [
        chat_template._rendered(template, _mappings(turns), variables)
        for (turns, _), variables in zip(engine.seen, engine.variables, strict=True)
    ]
    call = "<tool_call>\n<function=add>\n<parameter=a>\n1\n</parameter>\n<parameter=b>\n2\n</parameter>\n"
    wrote = [
        "They ask.\n</think>\n\nYes.",
        f"I add.\n</think>\n\n{call}</function>\n</tool_call>",
        "They ask.\n</think>\n\nYes.",
    ]
    for before, answer, after in zip(prompts, wrote, prompts[1:]):  # noqa: B905
        assert before and after and after.startswith(f"{before}{answer}<|im_end|>\n")


def _mappings(turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    from qwen_cli.engines.transformers.prompt import turns as for_template

    return for_template(turns)


def test_an_effort_is_the_templates_word_or_a_budget() -> None:
    engine = say(talk(QWEN38, THOUGHT, effort="low"), "One?")
    assert (engine.asked[0][1], engine.variables[0]["reasoning_effort"]) == (None, "low")
    engine = say(talk(TEMPLATES["qwen3"], THOUGHT, effort="low"), "One?")
    assert (engine.asked[0][1], engine.variables[0]) == (1_638, {})
    engine = say(talk(QWEN38, THOUGHT, effort="low", thinking=False), "One?")
    assert (engine.asked[0][1], engine.variables[0]) == (False, {"preserve_thinking": True})


def test_what_another_effort_costs() -> None:
    """The template writes it into the system message, which comes first."""
    conversation = talk(QWEN38, THOUGHT)
    assert conversation.recomputed_by("low") == 0  # nothing is computed yet
    say(conversation, "One?")
    assert conversation.recomputed_by("low") == 13  # all that the engine has counted
    assert conversation.recomputed_by("xhigh") == 0  # as it is by itself
    conversation.effort = "low"
    assert conversation.recomputed_by(None) == 13
    assert say(talk(TEMPLATES["qwen3"], THOUGHT), "One?") and True
    budgeted = talk(TEMPLATES["qwen3"], THOUGHT)
    say(budgeted, "One?")
    assert budgeted.recomputed_by("low") == 0


def test_a_session_keeps_both(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QWEN_HOME", str(tmp_path))
    conversation = talk(QWEN38, THOUGHT, THOUGHT, effort="low", preserve_thinking=False)
    say(conversation, "One?")
    session = sessions.new(name="a")
    session.record(conversation)
    sessions.save(session)
    again = sessions.load("a").resume(conversation.engine)
    assert (again.effort, again.preserve_thinking) == ("low", False)
    assert replace(again, preserve_thinking=None).sent()[1]["reasoning_content"] == "They ask.\n"
