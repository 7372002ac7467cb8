"""Each slash command by itself, with an engine whose answers are written down."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import pytest
from PIL import Image
from scripted import Scripted, end
from typing_at import At, at_prompt

from qwen_cli.commands.chat import repl, slash_messages
from qwen_cli.commands.chat.slash_table import COMMANDS
from qwen_cli.commands.shared import slash
from qwen_cli.engines.core import template
from qwen_cli.engines.core.base import Piece, Sampling, Usage
from qwen_cli.errors import ContextFull, EngineError, UsageError
from qwen_cli.tasks.chat import sessions
from qwen_cli.tasks.chat.conversation import Conversation
from qwen_cli.tasks.tools.base import Tool
from qwen_cli.tasks.tools.toolbox import Toolbox

Chat = Callable[..., At]


@pytest.fixture
def chat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Chat:
    """The prompt of `qwen chat` in an empty folder, before an engine that says `answers` in turn."""
    monkeypatch.setenv("QWEN_HOME", str(tmp_path / "home"))
    for name in ("EDITOR", "VISUAL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)

    def begin(*answers: str | list[Any], vision: bool = False, **others: Any) -> At:
        engine = Scripted(*([Piece(a), end()] if isinstance(a, str) else a for a in answers), **others)
        engine.capabilities = replace(engine.capabilities, vision=vision)
        state = Conversation(cast("Any", engine))
        return at_prompt(
            lambda: repl.run(state, session=None, load_engine=_no_model, raw=True), monkeypatch, capsys
        )

    return begin


def _no_model(name: str) -> Any:
    raise UsageError(f"no model is called {name!r}")


@pytest.fixture
def clipboard(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was copied."""
    copied: list[str] = []
    monkeypatch.setattr(slash_messages.clipboard, "copy", lambda text: copied.append(text) or "a clipboard")
    return copied


def said(at: At) -> list[str]:
    """The words of the conversation, in turn."""
    return [m["content"] for m in at.state.conversation.messages]


def saved(name: str) -> list[str]:
    return [m["content"] for m in sessions.load(name).messages]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("/sytem", "no command is called /sytem. Did you mean /system?"),
        ("/RETYR", "no command is called /RETYR. Did you mean /retry?"),
        ("/qqqqqq", "no command is called /qqqqqq. /help lists them"),
        ("/retry", "nothing to retry. Say something first"),
        ("/continue", "nothing to continue. Say something first"),
        ("/edit", "nothing to edit. Say something first"),
        ("/undo", "nothing to undo. Say something first"),
        ("/clear", ""),
        ("/file", "no files are attached"),
        ("/file -", "no files are attached"),
        ("/file missing.txt", "no file 'missing.txt'"),
        ("/image x.png", "none sees no images. Load a vision model with /model"),
        ("/copy", "there is no answer to copy. Ask something first"),
        ("/copy all", "/copy takes nothing or `code`, got 'all'"),
        ("/system", "system prompt: none"),
        ("/model", "none on scripted"),
        ("/model nosuch", "no model is called 'nosuch'"),
        ("/set warmth 1", "no parameter is called 'warmth'"),
        ("/set temperature 9", "temperature must be at least 0 and at most 5, got 9"),
        ("/set top_k", "top_k not set"),
        ("/think sideways", "got 'sideways'"),
        ("/tokens", "0 tokens in 0 turns"),
        ("/stats", "nothing has been answered yet. Ask something first"),
        ("/save", "/save needs a name. Write /save NAME"),
        ("/save a/b", "'a/b' cannot name a session"),
        ("/load", "/load needs a name"),
        ("/load nowhere", "no session 'nowhere'"),
        ("/sessions", "no session is saved yet"),
        ("/export", "/export writes md or json, got ''"),
        ("/export pdf", "/export writes md or json, got 'pdf'"),
        ("/export md", "there is nothing to export. Say something first"),
        ('""" """', "the message is empty. Say something"),
    ],
)
def test_before_anything_is_said_a_command_says_what_is_missing_and_asks_nothing(
    chat: Chat, tmp_path: Path, line: str, told: str
) -> None:
    at = chat()
    assert told in at(line)
    assert at.state.conversation.messages == []
    assert not (tmp_path / "home").exists(), "nothing is kept where nothing was said"


def test_a_path_or_a_comment_is_no_command(chat: Chat) -> None:
    at = chat("Full.", "Yes.")
    at("/usr/bin is full")
    at("// what does this do?")
    assert said(at) == ["/usr/bin is full", "Full.", "// what does this do?", "Yes."]


def test_help_lists_what_there_is_and_tells_of_one(chat: Chat) -> None:
    told = chat()("/help")
    assert [row.split()[0] for row in told.splitlines()][-4:] == ["Alt-Enter", "Ctrl-R", "Ctrl-C", "Ctrl-D"]
    assert [name for name in COMMANDS if f"/{name}" not in told] == [
        "image",
        "paste",
    ], "this model sees none"
    assert "/image" in chat(vision=True)("/help")
    assert chat()("/help /undo") == "/undo  Take back the last message and its answer"
    assert chat()("/? bye") == "/quit  Leave; the session is kept"
    assert "did you mean /edit" in chat()("/help edti").lower()


def test_every_command_is_completed_and_help_completes_the_others(chat: Chat) -> None:
    words = slash.words(chat().state)
    assert list(words) == [name for name in COMMANDS if name not in ("image", "paste")]
    assert all(word.help for word in words.values())
    assert list(words["help"].values("s")) == ["system", "set", "stats", "save", "sessions"]
    assert list(words["copy"].values("c")) == ["code"]
    assert list(words["think"].values("o")) == ["on", "off"]
    assert list(words["set"].values("top")) == ["top_p", "top_k"]
    assert list(words["export"].values("m")) == ["md"]


def test_retry_answers_the_last_message_again(chat: Chat) -> None:
    at = chat("Four.", "4")
    at("2 + 2?")
    at("/retry")
    assert said(at) == ["2 + 2?", "4"]
    assert at.state.conversation.engine.seen[1][0] == [{"role": "user", "content": "2 + 2?"}]


def test_retry_after_a_fault_asks_what_had_no_answer(chat: Chat) -> None:
    at = chat([EngineError("the server went away")], "Here.")
    assert at("Are you there?") == "the server went away"
    at("/retry")
    assert said(at) == ["Are you there?", "Here."]


def test_continue_answers_what_has_no_answer_and_leaves_what_is_whole(chat: Chat) -> None:
    at = chat([EngineError("the server went away")], [Piece("One "), end("length")])
    assert at("Count.") == "the server went away"
    assert at("/continue") == "the answer was cut: it reached the server's own limit"
    assert said(at) == ["Count.", "One "]
    assert at("/continue").startswith("none on scripted cannot go on with an answer that was cut")
    at.state.conversation.messages[-1].pop("cut")
    assert at("/continue") == "the last answer is whole. Say what it is to go on with"
    assert said(at) == ["Count.", "One "]


def test_a_session_is_taken_up_with_the_end_of_the_answer_that_was_cut(chat: Chat) -> None:
    at = chat([Piece("One \x1b[2Jtwo"), end("length")])
    at("Count.")
    at("/save trip")
    shown = at("/load trip")
    assert "One two\n" in shown and "\x1b" not in shown
    assert shown.splitlines()[-1] == "the last answer was cut; /continue goes on with it"


def test_a_context_that_is_full_and_stays_so_names_what_makes_room(chat: Chat) -> None:
    at = chat("One.", [ContextFull(9, 8)], [ContextFull(9, 8)], [ContextFull(9, 8)])
    at.state.conversation.overflow = "stop"
    at("Hello")
    told = "the prompt needs 9 tokens but the context holds 8. /undo takes the last turn back, /clear starts"
    assert at("And then?").startswith(told)
    at("/undo")
    at("/undo")
    assert re.search(r"Shorten it or raise (`context`|--context)$", at("A message too long by itself"))
    at("/undo")
    at.state.conversation.overflow = "slide"
    assert re.search(r"Shorten it or raise (`context`|--context)$", at("A message too long by itself"))


def test_edit_changes_the_last_message_here(chat: Chat) -> None:
    at = chat("Paris.", "Rome.")
    at("Capital of France?")
    at.typed.lines = ["Capital of Italy?"]
    at("/edit")
    assert at.typed.shown == ["Capital of France?"]
    assert said(at) == ["Capital of Italy?", "Rome."]
    at.typed.lines = ["Capital of Italy?"]
    assert at("/edit") == "the message stays as it was"
    assert at("/edit") == "the message stays as it was", "Ctrl-D leaves the message, and the talk goes on"
    assert said(at) == ["Capital of Italy?", "Rome."]


@pytest.mark.parametrize(
    ("script", "told", "asked"),
    [
        ("echo changed > $1", "", "changed"),
        (": > $1", "the message stays as it was", "as it was"),
        ("exit 3", "ended with status 3", "as it was"),
    ],
)
def test_edit_opens_the_editor_of_the_person(
    chat: Chat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, told: str, asked: str
) -> None:
    editor = tmp_path / "my editor"
    editor.write_text(f"#!/bin/sh\n{script}\n")
    editor.chmod(0o755)
    monkeypatch.setenv("EDITOR", f"'{editor}'")
    at = chat("One.", "Two.")
    at("as it was")
    assert told in at("/edit")
    assert said(at)[0] == asked


def test_undo_takes_back_a_turn_also_on_the_disk(chat: Chat) -> None:
    at = chat("One.", "Two.")
    at("first")
    at("second")
    assert at("/undo") == "removed the last message and its answer"
    assert said(at) == ["first", "One."] == saved(at.state.session.name)


def test_clear_starts_afresh_and_the_session_so_far_stays(chat: Chat) -> None:
    at = chat("One.", "Two.")
    at("first")
    before = at.state.session.name
    assert at("/clear") == f"a new conversation; the one before is saved as {before}"
    at("second")
    assert said(at) == ["second", "Two."]
    assert saved(before) == ["first", "One."]
    assert at.state.session.name != before


def test_files_go_with_the_next_message_and_only_with_that(chat: Chat, tmp_path: Path) -> None:
    (tmp_path / "a b.txt").write_text("blue\n")
    (tmp_path / "c.txt").write_text("red\n")
    at = chat("Both.", "None.")
    assert at("/file a b.txt") == "attached: a b.txt, 5 characters"
    assert at("/file 'a b.txt' c.txt") == "attached: a b.txt, c.txt, 9 characters"
    assert at("/file") == "attached: a b.txt, c.txt, 9 characters", "once each"
    assert at("/file -") == "no files are attached"
    at("/file c.txt")
    at("Which colour?")
    at("And now?")
    assert "red" in said(at)[0] and said(at)[0].endswith("Which colour?")
    assert said(at)[2] == "And now?"


def test_an_image_goes_with_the_next_message_and_edit_keeps_it(chat: Chat, tmp_path: Path) -> None:
    Image.new("RGB", (56, 56), "red").save(tmp_path / "p.png")
    at = chat("Red.", "A square.", vision=True, context=4096)
    assert at("/image") == "/image needs a file. Write /image PATH"
    assert "attached: p.png: 56 × 56" in at("/image p.png")
    at("Which colour?")
    at.typed.lines = ["Which shape?"]
    at("/edit")
    picture, words = said(at)[0]
    assert at.typed.shown == ["Which colour?"], "the person sees words alone"
    assert cast("Any", picture)["image_url"]["url"].startswith("data:image/png")
    assert words == {"type": "text", "text": "Which shape?"}


def test_the_picture_on_the_clipboard_goes_with_the_next_message(
    chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = BytesIO()
    Image.new("RGB", (56, 56), "red").save(file, "PNG")
    monkeypatch.setattr(slash_messages.clipboard, "picture", file.getvalue)
    assert chat()("/paste") == "none sees no pictures. Load a model that does: /model qwen3.5:4b"
    at = chat("Red.", vision=True, context=4096)
    assert at("/paste it").startswith("/paste takes nothing, got 'it'")
    assert at("/paste").startswith("attached: the clipboard's picture: 56 × 56")
    at("Which colour?")
    picture, words = said(at)[0]
    assert cast("Any", picture)["image_url"]["url"].startswith("data:image/png")
    assert cast("Any", words)["text"] == "Which colour?"


def test_tools_lists_what_is_connected_and_where_it_is_from(chat: Chat) -> None:
    at = chat()
    assert at("/tools") == "no tools are connected: start with --tools builtin, --tools FILE.py or --mcp FILE"
    at.state.conversation.toolbox = Toolbox(
        [
            Tool("now", "Tell the time.\nIn UTC.", {}, lambda given: "noon", "clock"),
            Tool("search", "", {}, lambda given: "", "web"),
        ]
    )
    assert at("/tools") == "now (from clock): Tell the time.\nsearch (from web)"

    at.state.conversation.toolbox.approve = lambda call: True
    assert at("/tools").startswith("now (from clock, runs without asking): Tell")


def test_system_tells_what_the_template_adds(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    at = chat()
    assert at("/system") == "system prompt: none"
    monkeypatch.setattr(template, "own_system", lambda engine: "You are Qwen.")
    assert at("/system") == "system prompt: none of yours; the template of none adds: You are Qwen."
    assert at("/system Be brief.") == "system prompt: Be brief."


def test_what_no_answer_here_shows_cannot_be_set(chat: Chat) -> None:
    told = chat()("/set logprobs 3")
    assert told.startswith("no parameter is called 'logprobs'") and told.count("logprobs") == 1
    assert "logprobs" not in chat()("/set")


def test_copy_takes_the_last_answer_or_its_last_block(chat: Chat, clipboard: list[str]) -> None:
    at = chat("Run\n```sh\nls\n```\nor\n~~~py\nprint()\n~~~\nand see.", "No code.")
    at("How?")
    assert at("/copy code") == "copied 8 characters to a clipboard"
    at("/copy")
    assert clipboard == ["print()\n", said(at)[1]]
    at("Again?")
    assert at("/copy code") == "the last answer has no code block. /copy takes all of it"


def test_system_is_shown_set_sent_and_removed(chat: Chat) -> None:
    at = chat("Oui.", "Yes.")
    assert at("/system Answer in French.") == "system prompt: Answer in French."
    at("Yes?")
    assert at.state.conversation.engine.seen[0][0][0] == {"role": "system", "content": "Answer in French."}
    assert sessions.load(at.state.session.name).system == "Answer in French."
    assert at("/system -") == "system prompt: none"
    at("Yes?")
    assert [m["role"] for m in at.state.conversation.engine.seen[1][0]] == ["user", "assistant", "user"]


def test_model_goes_on_with_another_and_closes_the_one_before(chat: Chat) -> None:
    at = chat("One.")
    at("first")
    before = at.state.conversation.engine
    other = Scripted([Piece("Two."), end()], context=1000)
    other.model = "other"
    at.state.load_engine = lambda name: other
    assert at("/model other") == "other on scripted, 1,000 tokens of context"
    assert before.closed and not other.closed
    at("second")
    assert said(at) == ["first", "One.", "second", "Two."]
    assert len(other.seen[0][0]) == 3


def test_a_model_that_does_not_load_costs_nothing(chat: Chat) -> None:
    at = chat("One.")
    assert at("/model nosuch") == "no model is called 'nosuch'"
    assert not at.state.conversation.engine.closed
    at("first")
    assert said(at) == ["first", "One."]

    def stopped(name: str) -> Any:
        raise KeyboardInterrupt

    at.state.load_engine = stopped
    assert at("/model big") == "stopped; none stays"


@pytest.mark.parametrize(
    ("line", "told", "asked"),
    [
        ("/set top_k 3", "top_k 3", Sampling(top_k=3)),
        ("/set temperature 0.25", "temperature 0.25", Sampling(temperature=0.25)),
        ("/set seed 7", "seed 7", Sampling(seed=7)),
        ("/set max_tokens 12", "max_tokens 12", Sampling(max_tokens=12)),
        ("/set stop END", "stop 'END'", Sampling(stop=("END",))),
        (r"/set stop \n\n", r"stop '\n\n'", Sampling(stop=("\n\n",))),
        ("/set top_p default", "top_p 0.8 (the model's default)", Sampling()),
        ("/set stop default", "stop not set", Sampling()),
    ],
)
def test_set_reaches_the_next_answer(chat: Chat, line: str, told: str, asked: Sampling) -> None:
    at = chat("One.")
    at.state.conversation.engine.defaults = Sampling(top_p=0.8)
    at("/set top_p 0.5" if "top_p" in line else "/set stop x" if "stop default" in line else "/set")
    assert at(line) == told
    at("first")
    assert at.state.conversation.engine.asked == [(asked, None)]


@pytest.mark.parametrize(
    ("argument", "told", "thinking"),
    [
        ("", "as the model does by itself; thoughts are folded", None),
        ("on", "on; thoughts are folded", True),
        ("off", "off; thoughts are folded", False),
        ("1", "at most 1 tokens; thoughts are folded", 1),
        ("2048", "at most 2,048 tokens; thoughts are folded", 2048),
        ("show", "as the model does by itself; thoughts are shown", None),
    ],
)
def test_think_reaches_the_next_answer(chat: Chat, argument: str, told: str, thinking: bool | int) -> None:
    at = chat("One.")
    assert at(f"/think {argument}") == f"thinking: {told}"
    at("first")
    assert at.state.conversation.engine.asked == [(Sampling(), thinking)]
    assert at.state.fold == (argument != "show")


@pytest.mark.parametrize(
    ("can", "argument", "told"),
    [(None, "on", "does not think"), (None, "64", "does not think"), ("always", "off", "always thinks")],
)
def test_think_refuses_what_the_model_cannot(chat: Chat, can: Any, argument: str, told: str) -> None:
    at = chat()
    engine = at.state.conversation.engine
    engine.capabilities = replace(engine.capabilities, thinking=can)
    assert told in at(f"/think {argument}")
    assert at.state.conversation.thinking is None


def test_tokens_tells_how_full_the_context_is(chat: Chat) -> None:
    at = chat("One.", "Two.", context=100)
    at("first")
    assert at("/tokens") == "13 of 100 (13%) tokens in 1 turn"
    at("second")
    at.state.conversation.first_sent = 2
    assert at("/tokens").endswith("tokens in 2 turns, the 1 oldest are no longer in the context")


@pytest.mark.parametrize(
    ("stop", "why"),
    [
        ("stop", "the model ended it"),
        ("length", "it reached max_tokens"),
        ("context", "the context was full"),
    ],
)
def test_stats_tell_what_the_last_answer_cost(chat: Chat, stop: Any, why: str) -> None:
    at = chat([Piece("One."), Piece(usage=Usage(63, 40, 35, 0.5, 2.0, stop))])
    at("first")
    assert at("/stats").splitlines() == [
        "prompt: 63 tokens, 40 of them from the cache, 0.50 s to the first token",
        f"answer: 35 tokens in 2.00 s, 17.0 tokens/s; {why}",
    ]


def test_save_gives_the_session_a_name_and_the_one_nobody_chose_goes(chat: Chat) -> None:
    at = chat("One.", "Two.")
    at("first")
    assert at("/save trip") == "saved as trip; every turn from here on is kept there"
    at("second")
    assert sessions.names() == ["trip"]
    assert saved("trip") == ["first", "One.", "second", "Two."]
    at("/save copy")
    assert sorted(sessions.names()) == ["copy", "trip"], "a name that was chosen stays"
    at("/clear")
    assert at("/save trip").startswith("session 'trip' exists")


def test_load_goes_on_with_a_session_and_keeps_the_one_before(chat: Chat) -> None:
    at = chat("One.", "Two.", "Three.")
    at("first")
    at("/save one")
    at("/clear")
    at("second")
    other = at.state.session.name
    assert at("/load one") == "session one: 1 turn, the last was “first”"
    at("third")
    assert saved("one") == ["first", "One.", "third", "Three."]
    assert saved(other) == ["second", "Two."]
    told = at("/sessions").splitlines()
    assert {row.split()[2] for row in told} == {"one", other}
    assert [row.endswith("one  (this one)") for row in told].count(True) == 1
    assert list(slash.words(at.state)["load"].values("on")) == ["one"]


def test_load_tells_of_a_session_held_with_another_model(chat: Chat) -> None:
    at = chat("One.")
    at("first")
    at("/save one")
    at.state.conversation.engine.model = "other"
    at.state.save = lambda: None
    assert "it was started with none; /model none continues with it" in at("/load one")


def test_export_writes_a_new_file_and_never_another(chat: Chat, tmp_path: Path) -> None:
    at = chat("One.")
    at("first")
    assert at("/export md notes.md") == "written to notes.md"
    assert at("/export json") == f"written to {at.state.session.name}.json"
    assert at("/export md notes.md") == "'notes.md' exists. Give another name"
    assert "cannot be written" in at("/export md no/such/folder.md")
    assert "first" in (tmp_path / "notes.md").read_text()
    written = json.loads((tmp_path / f"{at.state.session.name}.json").read_text())
    assert [m["content"] for m in written["messages"]] == ["first", "One."]


@pytest.mark.parametrize("word", ["quit", "exit", "bye", "QUIT"])
def test_quit_leaves(chat: Chat, word: str) -> None:
    at = chat()
    assert at(f"/{word}") == ""
    assert at.state.leaving


@pytest.mark.parametrize(
    ("line", "ours"),
    [
        ("/quit", True),
        ("/exit", True),
        ("/qiut", True),
        ("/hlep", True),
        ("/systen be short", True),
        ("/", True),
        ("/tmp is full, what can I delete?", False),
        ("/etc/hosts looks odd", False),
        ("/usr", True),
        ("/var grows", False),
        ("/proc is a folder?", False),
        ("// a comment", False),
        ("/quit\nis the first line of my notes", False),
        ("/undo\n/redo", False),
        ("/system be short\nand kind", True),
    ],
)
def test_only_commands_and_what_is_close_to_one_are_commands(line: str, ours: bool) -> None:

    assert slash.is_command(COMMANDS, line) == ours


def test_a_lone_slash_is_no_message(chat: Chat) -> None:
    at = chat()
    assert at("/") == "there is no command behind the /. /help lists them"
    assert said(at) == []


@pytest.fixture
def efforts(chat: Chat) -> At:
    """The prompt before a model whose template has efforts and keeps thinking."""
    at = chat("One.", "Two.")
    engine = at.state.conversation.engine
    engine.capabilities = replace(
        engine.capabilities, efforts=("xhigh", "medium", "low"), preserve_thinking=True
    )
    return at


def test_effort_shows_sets_and_says_what_it_costs(efforts: At) -> None:
    assert efforts("/effort") == "effort: xhigh, the model's default; none takes xhigh, medium, low"
    assert efforts("/effort low") == "effort: low; none takes xhigh, medium, low"  # nothing is said yet
    efforts("first")
    assert efforts.state.conversation.engine.variables[-1]["reasoning_effort"] == "low"
    cost, now = efforts("/effort medium").splitlines()
    assert "13 tokens are computed again" in cost and now.startswith("effort: medium")
    assert efforts("/effort medium").startswith("effort: medium")  # as it was
    assert "computed again" in efforts("/effort -")
    assert efforts("/effort high") == "none takes no effort 'high'. Choose one of xhigh, medium, low"


def test_effort_is_a_budget_where_the_template_has_none(chat: Chat) -> None:
    at = chat("One.")
    at("/effort low")
    at("first")
    assert at.state.conversation.engine.asked == [(Sampling(), 1_638)]


def test_effort_is_nothing_to_a_model_that_does_not_think(chat: Chat) -> None:
    at = chat()
    engine = at.state.conversation.engine
    engine.capabilities = replace(engine.capabilities, thinking=None)
    assert "does not think" in at("/effort low")
    assert "effort" not in slash.words(at.state)


def test_thinking_of_past_turns_is_kept_or_dropped(efforts: At) -> None:
    assert efforts("/think drop") == "thinking: as the model does by itself; thoughts are folded"
    efforts("first")
    assert efforts.state.conversation.engine.variables == [{"preserve_thinking": False}]
    assert efforts("/think keep").endswith("those of past turns stay in the context")


def test_past_thinking_is_no_choice_elsewhere(chat: Chat) -> None:
    assert "leaves no choice" in chat()("/think drop")
