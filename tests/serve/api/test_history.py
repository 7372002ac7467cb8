"""Conversations of other APIs as messages: nothing of them is lost."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as some

from qwen_cli.serve.api.history import History, opened, seal

TEXT = {"type": "text", "text": "t"}
PICTURE = {"type": "image_url", "image_url": {"url": "data:,"}}


def test_what_the_system_says_later_stands_in_its_order_before_the_user() -> None:
    history = History()
    history.said("Hi")
    history.user([{"type": "text", "text": "Bye"}])
    history.system("One.")
    history.system("Two.")

    assert history.messages[-1] == {"role": "user", "content": "One.\nTwo.\nBye"}


def test_pictures_of_results_wait_for_the_other_results() -> None:
    history = History()
    for id in "ab":
        history.called(id, "look", "{}")
    history.result("a", [PICTURE])
    history.result("b", [TEXT])
    history.said("I see.")

    assert [m["role"] for m in history.messages] == ["assistant", "tool", "tool", "user", "assistant"]
    assert history.messages[3]["content"] == [PICTURE]


STEPS = some.sampled_from(["system", "user", "thought", "said", "called", "result"])


@given(some.lists(STEPS, max_size=30))
def test_all_of_it_is_there_once(steps: list[str]) -> None:
    history = History()
    for number, step in enumerate(steps):
        word = f"<{number}>"
        part: Any = [{"type": "text", "text": word}]
        make: dict[str, Any] = {
            "user": lambda part=part: history.user(part),
            "called": lambda word=word: history.called(word, word, "{}"),
            "result": lambda word=word, part=part: history.result(word, part),
        }
        make.get(step, lambda step=step, word=word: getattr(history, step)(word))()
    written = str(history.messages)

    assert all(f"<{number}>" in written for number in range(len(steps)))
    assert [m["role"] for m in history.messages].count("system") <= 1
    assert all(m["role"] != "system" for m in history.messages[1:])


@given(some.text())
def test_what_is_sealed_is_opened(thought: str) -> None:
    assert opened(seal(thought)) == thought


@given(some.text())
def test_what_others_sealed_is_not(sealed: str) -> None:
    assert opened(sealed) == "" or sealed.startswith("qwen:")
