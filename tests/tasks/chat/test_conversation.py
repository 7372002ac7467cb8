"""A conversation on real models: the starter where words matter, else one of random weights."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from qwen_cli.engines.core.base import Engine, Piece, Sampling, Usage
from qwen_cli.errors import ContextFull, UsageError
from qwen_cli.tasks.chat import context_window, sessions
from qwen_cli.tasks.chat.conversation import Conversation, Events, Notice

GREEDY = Sampling(temperature=0, seed=1)
SHORT = Sampling(temperature=0, max_tokens=12)
SYSTEM = "You are a terse assistant called Ada."


TOPICS = ("cats", "dogs", "birds", "fish", "bees")


class Turn(NamedTuple):
    """What one turn showed: its notices of sliding, what was sent, what it cost."""

    notices: list[str]
    sent: list[dict[str, Any]]
    usage: Usage


def said(events: Events) -> tuple[str, list[str]]:
    """The answer's text and the notices."""
    text, notices = "", []
    for event in events:
        if isinstance(event, Piece):
            text += event.text
        elif isinstance(event, Notice):
            notices.append(event.text)
    return text, notices


def filler(topic: str, words: int = 20) -> str:
    return f"Remember about {topic}: " + " ".join(f"item{i}" for i in range(words)) + ". Say only OK."


def test_a_turn_is_asked_answered_and_kept(small_engine: Engine) -> None:
    talk = Conversation(small_engine, system=SYSTEM, sampling=SHORT)

    text, notices = said(talk.send("What is 2 + 2? Answer with the number."))

    assert "4" in text
    assert notices == []
    assert talk.messages == [
        {"role": "user", "content": "What is 2 + 2? Answer with the number."},
        {"role": "assistant", "content": text},
    ]
    assert talk.usage is not None and talk.usage.stop_reason == "stop"


def test_only_the_new_turn_is_prefilled(endless_engine: Engine) -> None:
    talk = Conversation(endless_engine, system=SYSTEM, sampling=SHORT)
    said(talk.send("My name is Grace. Say OK."))
    before = talk.tokens()[0]

    said(talk.send("And what is mine?"))

    assert talk.usage is not None
    assert talk.usage.cached_tokens >= before - 2  # the end-of-turn mark is not in the cache yet
    assert talk.usage.prompt_tokens > talk.usage.cached_tokens


def test_an_answer_that_is_closed_early_is_kept_and_the_talk_goes_on(small_engine: Engine) -> None:
    talk = Conversation(small_engine, sampling=GREEDY)
    stream = talk.send("Count from 1 to 100, one number a line.")
    heard = "".join(event.text for event in islice(stream, 8) if isinstance(event, Piece))
    stream.close()

    assert talk.messages[-1] == {"role": "assistant", "content": heard, "cut": True}

    talk.sampling = SHORT
    text, _ = said(talk.send("Stop. What is the capital of France?"))
    assert "Paris" in text
    assert [m["role"] for m in talk.messages] == ["user", "assistant", "user", "assistant"]
    assert all(set(m) == {"role", "content"} for m in talk.sent())


def test_control_c_inside_the_answer_keeps_it_too(endless_engine: Engine) -> None:
    talk = Conversation(endless_engine, sampling=GREEDY)
    stream = talk.send("Count from 1 to 100, one number a line.")
    first = next(event.text for event in stream if isinstance(event, Piece) and event.text)
    with pytest.raises(KeyboardInterrupt):
        stream.throw(KeyboardInterrupt())

    assert talk.messages[-1] == {"role": "assistant", "content": first, "cut": True}


def test_an_answer_that_reaches_max_tokens_says_so(endless_engine: Engine) -> None:
    talk = Conversation(endless_engine, sampling=Sampling(temperature=0, max_tokens=5))

    _, notices = said(talk.send("Count from 1 to 100."))

    assert notices == ["the answer was cut: it reached max_tokens, 5"]
    assert talk.messages[-1]["cut"] is True


def test_a_cut_answer_goes_on_as_if_it_had_not_been_cut(small_engine: Engine) -> None:
    question = "Count from 1 to 30, separated by commas. Nothing else."
    whole = Conversation(small_engine, sampling=Sampling(temperature=0, max_tokens=12))
    said(whole.send(question))
    talk = Conversation(small_engine, sampling=Sampling(temperature=0, max_tokens=6))
    first, _ = said(talk.send(question))
    rest, notices = said(talk.go_on())

    assert first + rest == talk.messages[-1]["content"] == whole.messages[-1]["content"]
    assert notices == ["the answer was cut: it reached max_tokens, 6"] and talk.messages[-1]["cut"]
    assert talk.usage is not None and talk.usage.cached_tokens >= talk.usage.prompt_tokens - 2


def test_retry_answers_the_same_question_anew(endless_engine: Engine) -> None:
    talk = Conversation(endless_engine, sampling=SHORT)
    first, _ = said(talk.send("Name one colour."))
    again, _ = said(talk.retry())

    assert again == first  # greedy
    assert len(talk.messages) == 2


def test_another_question_can_take_the_place_of_the_last(small_engine: Engine) -> None:
    talk = Conversation(small_engine, sampling=SHORT)
    said(talk.send("Name one colour."))

    assert talk.replace_last_user("What is the capital of Italy?")
    text, _ = said(talk.retry())

    assert "Rome" in text
    assert [m["content"] for m in talk.messages] == ["What is the capital of Italy?", text]


def test_undo_takes_back_turn_by_turn(endless_engine: Engine) -> None:
    talk = Conversation(endless_engine, system=SYSTEM, sampling=SHORT)
    said(talk.send("Name one colour."))
    one_turn = talk.tokens()[0]
    said(talk.send("Name one animal."))
    two_turns = talk.tokens()[0]

    assert talk.undo()
    assert len(talk.messages) == 2
    assert abs(talk.tokens()[0] - one_turn) <= 4  # the marks round the next answer, counted or not
    assert one_turn < two_turns
    assert talk.undo()
    assert not talk.undo()
    assert talk.messages == []
    with pytest.raises(UsageError):
        next(talk.retry())


def test_tokens_used_are_the_engines_own_count(small_engine: Engine) -> None:
    talk = Conversation(small_engine)
    assert talk.tokens() == (0, 256)

    said(talk.send("Say OK."))
    used, total = talk.tokens()

    assert talk.usage is not None
    assert used == talk.usage.prompt_tokens + talk.usage.generated_tokens
    assert total == 256


def test_a_schema_shapes_the_answer(small_engine: Engine) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}},
        "required": ["city"],
        "additionalProperties": False,
    }
    talk = Conversation(small_engine, sampling=GREEDY, schema=schema)

    text, _ = said(talk.send("Capital of France?"))

    assert list(json.loads(text)) == ["city"]


def test_an_empty_message_is_refused(endless_engine: Engine) -> None:
    talk = Conversation(endless_engine)
    for nothing in ("", "  \n", []):
        with pytest.raises(UsageError, match="empty"):
            next(talk.send(nothing))
    assert talk.messages == []


def test_a_resumed_session_prefills_only_the_new_turn(endless_engine: Engine, data_home: Path) -> None:
    talk = Conversation(endless_engine, system=SYSTEM, sampling=SHORT)
    said(talk.send(filler("cats")))
    session = sessions.new(name="cats")
    session.record(talk)
    sessions.save(session)
    assert endless_engine.save_state(sessions.kv_path("cats"))
    used = talk.tokens()[0]
    said(Conversation(endless_engine, sampling=SHORT).send("Something else entirely."))  # takes the cache

    assert endless_engine.load_state(sessions.kv_path("cats"))
    resumed = sessions.load("cats").resume(endless_engine)
    said(resumed.send("Say OK again."))

    assert resumed.usage is not None
    assert resumed.usage.cached_tokens >= used - 2
    assert session.messages == talk.messages and len(resumed.messages) == 4


@pytest.fixture(scope="module")
def slid(endless_engine: Engine) -> tuple[Conversation, list[Turn]]:
    """A conversation of more turns than the window holds, with what was seen at each."""
    talk = Conversation(endless_engine, system=SYSTEM, sampling=Sampling(temperature=0, max_tokens=4))
    turns = []
    for topic in TOPICS:
        _, notices = said(talk.send(filler(topic)))
        assert talk.usage is not None
        turns.append(Turn([n for n in notices if "left the context" in n], talk.sent(), talk.usage))
    return talk, turns


def test_sliding_drops_whole_turns_keeps_the_system_prompt_and_says_so(
    slid: tuple[Conversation, list[Turn]],
) -> None:
    talk, turns = slid
    first = next(turn for turn in turns if turn.notices)

    assert re.fullmatch(r"\d oldest turns? left the context", first.notices[0])
    assert first.sent[0] == {"role": "system", "content": SYSTEM}
    asked = [m["content"] for m in first.sent if m["role"] == "user"]
    everything = [filler(topic) for topic in TOPICS]
    assert first.sent[1]["content"] == asked[0] != everything[0]
    assert asked == everything[everything.index(asked[0]) :][: len(asked)]
    # Nothing said is lost: only what is sent has slid.
    assert [m["content"] for m in talk.messages if m["role"] == "user"] == everything


def test_a_slide_makes_room_for_the_next_turn_to_reuse_what_is_cached(
    slid: tuple[Conversation, list[Turn]],
) -> None:
    _, turns = slid
    number = next(i for i, turn in enumerate(turns) if turn.notices)

    assert turns[number].usage.prompt_tokens <= 256 * (1 - context_window.FREE_AFTER)
    assert turns[number + 1].notices == []
    assert turns[number + 1].usage.cached_tokens >= turns[number].usage.prompt_tokens


def test_undoing_back_to_turns_that_had_slid_brings_them_back(
    slid: tuple[Conversation, list[Turn]],
) -> None:
    talk = replace(slid[0], messages=list(slid[0].messages))
    assert talk.first_sent > 0

    while len(talk.messages) > 2:
        talk.undo()

    assert talk.first_sent == 0
    assert talk.sent()[1]["content"] == filler(TOPICS[0])


def test_stop_refuses_the_turn_that_does_not_fit_and_only_that(endless_engine: Engine) -> None:
    talk = Conversation(endless_engine, sampling=SHORT, overflow="stop")
    said(talk.send("My name is Grace. Say OK."))

    with pytest.raises(ContextFull) as full:
        said(talk.send(filler("everything", 120)))

    assert full.value.needed > full.value.limit == 256
    assert talk.messages[-1]["unsent"] is True
    _, notices = said(talk.send("Say OK again."))
    assert notices == ["the answer was cut: it reached max_tokens, 12"]
    assert [m["content"] for m in talk.sent() if m["role"] == "user"] == [
        "My name is Grace. Say OK.",
        "Say OK again.",
    ]


def test_a_turn_larger_than_the_window_is_refused_whatever_slides(small_engine: Engine) -> None:
    talk = Conversation(small_engine, sampling=SHORT)
    said(talk.send("Say OK."))

    with pytest.raises(ContextFull):
        said(talk.send(filler("everything", 120)))
    text, _ = said(talk.send("What is the capital of France?"))

    assert "Paris" in text


def test_a_summary_stands_for_the_turns_that_left(endless_engine: Engine) -> None:
    talk = Conversation(endless_engine, system=SYSTEM, sampling=SHORT, overflow="summarise")
    said(talk.send("My name is Grace and I live in Oslo. Say OK."))
    notices: list[str] = []
    for topic in TOPICS[:4]:
        notices += said(talk.send(filler(topic)))[1]

    assert any(notice.startswith("the context is full: summarising the") for notice in notices)
    assert talk.summary
    first = talk.sent()[0]
    assert first["role"] == "system"
    assert first["content"].startswith(SYSTEM)
    assert first["content"].endswith(f"{context_window.SUMMARY_HEADING}\n{talk.summary}")
    assert talk.messages[0]["content"].startswith("My name is Grace")
    assert all("Summary" not in str(m["content"]) for m in talk.messages if m["role"] == "user")


def test_an_answer_cut_by_the_context_is_kept_and_the_next_turn_makes_room(endless_engine: Engine) -> None:
    talk = Conversation(endless_engine, sampling=GREEDY)
    said(talk.send(filler("cats", 40)))

    text, notices = said(talk.send("Count from 1 to 500, one number a line."))

    assert notices[-1] == "the answer was cut: the context of 256 tokens is full; the next turn makes room"
    assert talk.messages[-1]["cut"] is True
    assert talk.messages[-1]["content"] == text
    talk.sampling = SHORT
    answer, notices = said(talk.send("Enough. What is the capital of France?"))
    assert answer
    assert notices and notices[0].endswith("left the context")
