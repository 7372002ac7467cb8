"""The prompt of `qwen vision`: chat's slash commands about inputs that stand in the first message."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from PIL import Image
from scripted import Scripted, end
from typing_at import At, at_prompt

from qwen_cli.commands.chat import slash_messages
from qwen_cli.commands.chat.slash_table import COMMANDS as CHAT
from qwen_cli.commands.shared import slash
from qwen_cli.commands.vision import repl
from qwen_cli.engines.core.base import Piece, Sampling
from qwen_cli.engines.core.content import picture_of
from qwen_cli.errors import ContextFull, EngineError
from qwen_cli.tasks.chat import sessions
from qwen_cli.tasks.vision.prepare import Look

Vision = Callable[..., At]
PHOTO = Image.new("RGB", (56, 56), "red")


@pytest.fixture
def vision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Vision:
    """The prompt of `qwen vision photo.png`, before an engine that says `answers` in turn."""
    monkeypatch.setenv("QWEN_HOME", str(tmp_path / "home"))
    for name in ("EDITOR", "VISUAL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)

    def begin(*answers: str | list[Any], shown: dict[str, Any] | None = None, load_engine: Any = None) -> At:
        engine = Scripted(*([Piece(a), end()] if isinstance(a, str) else a for a in answers), context=4096)
        engine.capabilities = replace(engine.capabilities, vision=True)
        look = Look("photo.png", shown or {"type": "image", "image": PHOTO}, PHOTO.size, PHOTO.size, 4)
        return at_prompt(
            lambda: repl.run(cast("Any", engine), [look], Sampling(), load_engine), monkeypatch, capsys
        )

    return begin


def asked(at: At, number: int = -1) -> list[dict[str, Any]]:
    """The messages of a request."""
    return at.state.conversation.engine.seen[number][0]


def words(content: str | list[dict[str, Any]]) -> str:
    return content if isinstance(content, str) else content[-1]["text"]


def has_photo(message: dict[str, Any]) -> bool:
    return any(part.get("image") is PHOTO for part in message["content"] if isinstance(part, dict))


def test_the_inputs_stand_in_the_first_message_alone(vision: Vision) -> None:
    at = vision("A circle.", "Red.")
    at("What is this?")
    at("Which colour?")
    first, answer, second = asked(at)
    assert has_photo(first) and words(first["content"]) == "What is this?"
    assert (answer["content"], second["content"]) == ("A circle.", "Which colour?")
    assert asked(at, 0) == asked(at)[:1], "what was sent is sent again as it was, so the KV cache holds it"


def test_retry_edit_and_undo_keep_the_inputs(vision: Vision) -> None:
    at = vision("One.", "Two.", "Three.", "Four.")
    at("What is this?")
    at("/retry")
    assert len(asked(at)) == 1 and has_photo(asked(at)[0])
    at.typed.lines = ["Where is this?"]
    at("/edit")
    assert at.typed.shown == ["What is this?"]
    assert has_photo(asked(at)[0]) and words(asked(at)[0]["content"]) == "Where is this?"
    at("/undo")
    assert at.state.conversation.messages == []
    at("When was this?")
    assert len(asked(at)) == 1 and has_photo(asked(at)[0])


def test_clear_starts_afresh_about_the_same_inputs(vision: Vision) -> None:
    at = vision("One.", "Two.")
    at("What is this?")
    assert at("/clear") == "a new conversation; the one before is not kept"
    at("Where is this?")
    assert len(asked(at)) == 1 and has_photo(asked(at)[0])
    assert not (Path("home") / "sessions").exists()


def test_a_question_too_long_to_be_sent_does_not_take_the_inputs_with_it(vision: Vision) -> None:
    at = vision([ContextFull(9, 8)], "Red.")
    assert "needs 9 tokens" in at("Very long")
    at("Which colour?")
    assert len(asked(at)) == 1 and has_photo(asked(at)[0])


def test_the_context_never_slides_past_the_inputs(vision: Vision) -> None:
    at = vision("One.", [ContextFull(9, 8)])
    at("What is this?")
    assert "needs 9 tokens" in at("And?")
    assert at.state.conversation.first_sent == 0


def test_after_a_fault_the_question_can_be_asked_again(vision: Vision) -> None:
    at = vision([EngineError("the server went away")], "Red.")
    assert at("Which colour?") == "the server went away"
    at("/retry")
    assert [words(m["content"]) for m in at.state.conversation.messages] == ["Which colour?", "Red."]


def test_continue_answers_what_has_no_answer(vision: Vision) -> None:
    at = vision([EngineError("the server went away")], [Piece("Re"), end("length")])
    at("Which colour?")
    at("/continue")
    assert has_photo(asked(at)[0])
    assert [words(m["content"]) for m in at.state.conversation.messages] == ["Which colour?", "Re"]
    assert at("/continue").startswith("none on scripted cannot go on with an answer")


def test_an_empty_question_asks_nothing(vision: Vision) -> None:
    at = vision()
    assert at('""" """') == "the message is empty. Say something"
    assert at.state.conversation.engine.seen == []


def test_more_pictures_and_files_come_after_the_inputs(vision: Vision, tmp_path: Path) -> None:
    Image.new("RGB", (56, 56), "blue").save(tmp_path / "other.png")
    (tmp_path / "notes.txt").write_text("squares\n")
    at = vision("One.")
    at("/image other.png")
    at("/file notes.txt")
    at("What differs?")
    photo, other, text = asked(at)[0]["content"]
    assert photo["image"] is PHOTO
    assert picture_of(other).getpixel((0, 0)) == (0, 0, 255)
    assert "squares" in text["text"] and text["text"].endswith("What differs?")


def test_settings_reach_the_next_answer_and_the_rest_tells(
    vision: Vision, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert vision()("/paste it").startswith("/paste takes nothing")
    copied: list[str] = []
    monkeypatch.setattr(slash_messages.clipboard, "copy", lambda text: copied.append(text) or "a clipboard")
    at = vision("Red.")
    at("/set temperature 0")
    at("/think 64")
    at("/system Be brief.")
    at("Which colour?")
    assert at.state.conversation.engine.asked == [(Sampling(temperature=0), 64)]
    assert asked(at)[0] == {"role": "system", "content": "Be brief."}
    assert at("/copy") == "copied 4 characters to a clipboard" and copied == ["Red."]
    assert "13 of 4,096" in at("/tokens")
    assert at("/effort low").startswith("effort: low")
    assert at("/stats").startswith("prompt: 10 tokens")


def test_what_is_about_other_conversations_is_for_chat(vision: Vision) -> None:
    at = vision()
    for line in ("/load trip", "/sessions"):
        assert at(line).startswith(f"{line.split()[0]} is not for the prompt of `qwen vision`. /help lists")
    assert at("/lod x").startswith("no command is called /lod"), "and is not proposed"
    assert "/load" not in at("/lod x")
    assert set(CHAT) - set(slash.words(at.state)) == {"load", "sessions", "tools"}
    assert "not for the prompt of `qwen vision`" in at("/tools")
    assert "about the same inputs" in at("/help")


def test_nothing_is_kept_before_it_has_a_name_and_then_chat_can_go_on(vision: Vision) -> None:
    at = vision("A circle.", "Red.", "Big.")
    at("What is this?")
    at.state.leave()
    assert sessions.names() == []
    at("/save circle")
    at("Which colour?")
    again = sessions.load("circle").messages
    assert [words(m["content"]) for m in again] == ["What is this?", "A circle.", "Which colour?", "Red."]
    assert picture_of(again[0]["content"][0]).tobytes() == PHOTO.tobytes(), "without loss"
    at("/clear")
    at("How big?")
    assert picture_of(asked(at)[0]["content"][0]).tobytes() == PHOTO.tobytes()
    assert len(sessions.load("circle").messages) == 4


def test_quit_leaves_and_keeps_nothing_without_a_name(vision: Vision) -> None:
    at = vision("A circle.")
    at("What is this?")
    assert at("/quit") == "" and at.state.leaving
    assert sessions.names() == []


VIDEO = {"type": "video", "video": object()}


def test_a_video_cannot_be_kept_and_that_is_said(vision: Vision, tmp_path: Path) -> None:
    at = vision("A goal.", shown=VIDEO)
    at("What happens?")
    assert at("/save match") == "a session cannot hold a video. /export md writes what was said"
    assert "save" not in slash.words(at.state)
    assert at("/export json x.json") == "a video cannot be written as JSON. /export md writes what was said"
    assert at("/export md x.md") == "written to x.md"
    assert "*(video)*" in (tmp_path / "x.md").read_text()
    assert not (tmp_path / "x.json").exists() and not (tmp_path / "home").exists()


def test_export_writes_pictures_as_json_can_hold_them(vision: Vision, tmp_path: Path) -> None:
    at = vision("Red.")
    at("Which colour?")
    assert at("/export json x.json") == "written to x.json"
    part = json.loads((tmp_path / "x.json").read_text())["messages"][0]["content"][0]
    assert picture_of(part).tobytes() == PHOTO.tobytes()
    assert sessions.names() == []


def test_a_model_that_sees_nothing_is_refused_and_the_one_before_stays(vision: Vision) -> None:
    blind = Scripted()
    at = vision("Red.", load_engine=lambda name: blind)
    assert at("/model blind") == "none sees no pictures. Choose a vision model, such as qwen3.5:4b"
    assert blind.closed
    at("Which colour?")
    assert at.state.conversation.messages[-1]["content"] == "Red."
