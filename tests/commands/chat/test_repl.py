"""A conversation at a real terminal with the real starter model: keys in, screen out, session on disk."""

from __future__ import annotations

import base64
import json
import re
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import small_models
from PIL import Image
from served import Server
from terminal import ALT_ENTER, CTRL_C, CTRL_D, CTRL_R, ENTER, UP, Terminal

from qwen_cli.commands.chat import slash_settings
from qwen_cli.engines.core.base import Usage

STORY = "Write a very long story about a ship, at least 2000 words."


def _command(*arguments: str, shell: str = "") -> list[str]:
    """`qwen chat` with the starter, greedy; `shell`: what a shell is to do with it."""
    qwen = [sys.executable, "-m", "qwen_cli", "chat", "--model", "starter", "--temperature", "0", *arguments]
    return ["/bin/sh", "-c", " ".join(qwen) + shell] if shell else qwen


@pytest.fixture
def chat(home: Path, tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    """Start `qwen chat` and wait for its prompt; whatever is left of it is ended."""
    running: list[Terminal] = []

    def start(*arguments: str, **options: str) -> Terminal:
        terminal = Terminal(_command(*arguments, shell=options.pop("shell", "")), tmp_path, **options)
        running.append(terminal)
        terminal.wait(r"^>$")
        return terminal

    yield start
    for terminal in running:
        terminal.process.close(force=True)


def session(home: Path, name: str | None = None) -> dict[str, Any]:
    """The session's file: `name`, or the only one there is."""
    files = list((home / "sessions").glob(f"{name or '*'}.json"))
    assert len(files) == 1, files
    return json.loads(files[0].read_text())


def roles(saved: dict[str, Any]) -> list[str]:
    return [message["role"] for message in saved["messages"]]


def test_a_conversation_is_held_stopped_retried_saved_and_taken_up_again(
    chat: Callable[..., Terminal], home: Path
) -> None:
    one = chat()
    # Several lines: the first Enter inside the quotes sends nothing.
    one.type('"""Reply with one word:', ENTER, 'what is the capital of France?"""', ENTER)
    one.wait_for_prompt("Paris")
    saved = session(home)
    assert saved["messages"][0]["content"] == "Reply with one word:\nwhat is the capital of France?"

    one.say(STORY)
    one.wait(r"(?s)2000 words\.$.*ship.*ship.*ship")
    one.process.sendintr()
    one.process.sendintr()  # a second one is one too many, and harms nothing
    one.wait(r"(?s)^stopped$.*^>$")
    stopped = session(home)["messages"][-1]
    assert stopped["role"] == "assistant" and stopped["cut"]
    # A terminal may show the key itself where it is pressed twice.
    shown = one.text.partition("2000 words.")[2].rpartition("stopped")[0].replace("^C", "")
    assert shown.split() == stopped["content"].split(), "what was seen is what is kept"

    one.say("/set max_tokens 12")
    one.wait("max_tokens 12")
    one.say("/retry")
    one.wait(r"the answer was cut: it reached max_tokens, 12")
    one.wait(r"(?s)the answer was cut.*^>$")
    assert roles(session(home)) == ["user", "assistant"] * 2
    assert len(session(home)["messages"][-1]["content"]) < 60

    one.say("/save trip")
    one.wait("saved as trip")
    assert session(home)["name"] == "trip", "the name that nobody chose is gone"
    one.say("/quit")
    one.wait("resume with `qwen chat --continue`")
    assert one.wait_for_end() == 0
    assert (home / "sessions" / "trip.kv").stat().st_size > 0

    two = chat("--continue")
    two.wait("session trip: 2 turns, the last was “Write a very long story")
    two.say("/set max_tokens 20")
    two.say("And the capital of Italy? One word.")
    two.wait(r"(?s)One word\.$.*\n.*\w.*^>$")
    two.say("/stats")
    two.wait(r"prompt: (\d+) tokens, (\d+) of them from the cache")
    found = re.search(r"prompt: (\d+) tokens, (\d+) of them from the cache", two.text)
    assert found and int(found[2]) > int(found[1]) - 40, "the saved KV state held all but the new turn"
    assert roles(session(home)) == ["user", "assistant"] * 3
    two.type(CTRL_D)
    assert two.wait_for_end() == 0


def test_slash_commands_answer_in_a_line_and_change_what_they_say(
    chat: Callable[..., Terminal], home: Path, tmp_path: Path
) -> None:
    (tmp_path / "colours.txt").write_text("The secret colour is turquoise.\n")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    editor = tmp_path / "editor.py"
    editor.write_text("import sys, pathlib\npathlib.Path(sys.argv[1]).write_text('Say only: edited\\n')\n")
    it = chat(EDITOR=f"{sys.executable} {editor}")

    for said, shown in {
        "/sytem": r"no command is called /sytem. Did you mean /system\?",
        "/retry": "nothing to retry. Say something first",
        "/copy": "there is no answer to copy",
        "/stats": "nothing has been answered yet",
        "/export md": "there is nothing to export",
        "/load nowhere": "no session 'nowhere'",
        "/set temperature 9": "temperature must be at least 0 and at most 5, got 9",
        "/set warmth 1": "no parameter is called 'warmth'",
        "/set top_k 3": "top_k 3",
        "/set": r"repetition_penalty \S+ \(the model's default\)",
        "/think on": "starter does not think. Load a thinking model",
        "/think show": "thoughts are shown",
        "/image picture.png": "starter sees no images",
        "/model nosuchmodel": "nosuchmodel",
        "/system Answer in few words.": "system prompt: Answer in few words.",
        "/file missing.txt": "no file 'missing.txt'",
        "/file colours.txt": r"attached: colours.txt, \d+ tokens",
    }.items():
        it.say(said)
        it.wait(shown)
    assert not (home / "sessions").exists(), "nothing was said yet"

    it.say("Which colour is the secret one?")
    it.wait(r"(?is)secret one\?.*turquoise.*^>$")
    it.say("/tokens")
    it.wait(r"\d+ of [\d,]+ \(\d+%\) tokens in 1 turn$")
    it.say("/copy")
    it.wait(r"copied \d+ characters to the terminal's clipboard")
    copied = re.search(r"\x1b\]52;c;([^\x07]+)\x07", it.written)
    assert copied and base64.b64decode(copied[1]).decode() == session(home)["messages"][-1]["content"]

    it.say("/edit")
    it.wait(r"(?is)> /edit.*edited.*^>$")
    assert [m["content"] for m in session(home)["messages"] if m["role"] == "user"] == ["Say only: edited"]

    it.say("/export md notes.md")
    it.wait("written to notes.md")
    assert "Say only: edited" in (tmp_path / "notes.md").read_text()
    it.say("/export md notes.md")
    it.wait("'notes.md' exists")
    it.say("/save colours")
    it.wait("saved as colours")
    it.say("/load colours")
    it.wait("session colours: 1 turn")
    it.say("/undo")
    it.wait("removed the last message")
    assert "changed elsewhere" not in it.text, "the session that was loaded is the one that was saved"
    assert session(home)["messages"] == []
    it.say("/help")
    it.wait("/export md|json .FILE.")
    assert "/image" not in it.text.partition("> /help")[2], "this model sees no images"
    it.type(CTRL_D)
    assert it.wait_for_end() == 0


def test_an_image_is_looked_at_once_also_when_the_session_goes_on(
    chat: Callable[..., Terminal], home: Path, tmp_path: Path, starter_safetensors: Path
) -> None:
    model = small_models.make_seeing("Qwen2_5_VL", tmp_path / "vl", starter_safetensors)
    Image.effect_noise((320, 240), 60).convert("RGB").save(tmp_path / "photo.png")
    seeing = ("--model", str(model), "--engine", "transformers", "--max-tokens", "6")

    def computed(terminal: Terminal) -> int:
        """Tokens of the last prompt that were not in the cache."""
        told = re.compile(r"prompt: (\d+) tokens(?:, (\d+) of them from the cache)?")
        before = len(told.findall(terminal.text))
        terminal.say("/stats")
        terminal.wait(lambda: terminal.read() and len(told.findall(terminal.text)) > before)
        terminal.wait("^>$")
        prompt, cached = told.findall(terminal.text)[-1]
        return int(prompt) - int(cached or 0)

    it = chat(*seeing)
    it.say("/image photo.png")
    it.wait(r"attached: .*photo\.png: 308 × 252 \(from 320 × 240\), 99 tokens")
    it.say("What is this?")
    it.wait_for_prompt("What is this?")
    assert computed(it) > 99
    it.say("And its colour?")
    it.wait_for_prompt("And its colour?")
    assert computed(it) < 40, "the picture was in the cache"
    picture, words = session(home)["messages"][0]["content"]
    assert picture["image_url"]["url"].startswith("data:image/png;base64,")
    assert words == {"type": "text", "text": "What is this?"}
    assert isinstance(session(home)["messages"][2]["content"], str), "it is attached to one message"
    it.say("/quit")
    assert it.wait_for_end() == 0

    again = chat("--continue", *seeing)
    again.say("And its shape?")
    again.wait_for_prompt("And its shape?")
    assert computed(again) < 40, "the saved KV state knows the picture"
    again.type(CTRL_D)
    assert again.wait_for_end() == 0


def test_nothing_that_is_typed_gets_lost(chat: Callable[..., Terminal], home: Path, loaded: Server) -> None:
    it = chat(XDG_RUNTIME_DIR=loaded.for_this_home())
    it.type("\x1b[200~pasted line one\npasted line two\x1b[201~")
    it.wait("pasted line two")
    it.type(ALT_ENTER, "third")
    it.wait("^  third$")
    it.type(CTRL_C)
    it.wait("kept in the history: Up brings it back")
    it.type(UP)
    it.wait("(?s)^> pasted line one$.*^  third$")
    it.type(CTRL_C)
    it.wait("^>$")
    it.type(CTRL_C)
    it.wait("Ctrl-D leaves$")
    it.type(CTRL_R, "line tw")
    it.wait(r"(?s)pasted line two.*search.*line tw")
    it.type(CTRL_C)
    it.wait("(?s)^>$")

    it.say("/set max_tokens 40")
    it.wait("max_tokens 40")
    it.say(STORY)
    it.wait(r"(?s)2000 words\.$.*sun")
    it.type("typed while it was answering")
    it.wait(r"^> typed while it was answering$")
    answer = it.text.partition("2000 words.")[2].rpartition("> typed")[0]
    assert "typed" not in answer, "the keys are not echoed into the answer"
    it.type(CTRL_C, CTRL_D)
    assert it.wait_for_end() == 0
    history = home / "history"
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    assert "+pasted line two\n" in history.read_text()
    assert "+typed while it was answering\n" in history.read_text()


def test_slash_commands_files_and_models_are_completed(
    chat: Callable[..., Terminal], tmp_path: Path, loaded: Server
) -> None:
    (tmp_path / "quarterly report.txt").write_text("x")
    it = chat(XDG_RUNTIME_DIR=loaded.for_this_home())
    it.type("/")
    it.wait("Answer the last message again")
    it.type("im\t")
    it.wait("^> /im")
    assert "/image" not in it.text
    it.type(CTRL_C, "/fil")
    it.wait("Attach files, folders")
    it.type("\t")
    it.wait("^> /file$")
    it.type(" quart")
    it.wait('^ +"quarterly report.txt"')  # several names may follow
    it.type("\t")
    it.wait('^> /file "quarterly report.txt"')
    it.type(ENTER, ENTER)
    it.wait("attached: quarterly report.txt")
    it.type("/model start")
    it.wait("^ +starter$")
    it.type("\t")
    it.wait("^> /model starter")


def test_a_message_that_does_not_fit_is_one_line_and_the_talk_goes_on(chat: Callable[..., Terminal]) -> None:
    it = chat("--context", "512", "--overflow", "stop")
    it.type("\x1b[200~" + "many words " * 600 + "\x1b[201~", ENTER)
    it.wait("the prompt needs [\\d,]+ tokens but the context holds 512")
    it.say("Say just: fine")
    it.wait("(?is)Say just: fine.*fine.*^>$")


def test_stdout_in_a_file_holds_the_answers_alone(
    chat: Callable[..., Terminal], tmp_path: Path, loaded: Server
) -> None:
    it = chat(shell=" > answers.txt", XDG_RUNTIME_DIR=loaded.for_this_home())
    it.say("Reply with the word yes.")
    it.wait(lambda: (tmp_path / "answers.txt").read_text().endswith("\n") or not it.read())
    it.type(CTRL_D)
    it.wait_for_end()
    answer = (tmp_path / "answers.txt").read_text()
    assert re.fullmatch(r"[^\x1b>]*yes[^\x1b>]*\n", answer, re.IGNORECASE)


TOOLS = '''
def secret_number(name: str) -> int:
    """Look up the secret number of a person.

    Args:
        name: the person's name
    """
    print("looked up", name, file=open("calls.txt", "a"))
    return 7421
'''


def test_tools_run_after_asking_and_what_was_typed_before_is_no_consent(
    chat: Callable[..., Terminal], tmp_path: Path
) -> None:
    (tmp_path / "tools.py").write_text(TOOLS)
    it = chat("--tools", "tools.py", "--max-tokens", "120")  # the small model may run on in a call
    it.type("Use the tool: what is the secret number of Ada?", ENTER, "y", ENTER)
    it.wait(r"run secret_number\(name=\"Ada\"\)\? \[y\]es, \[n\]o, \[a\]lways")
    time.sleep(0.5)
    it.read()
    assert not (tmp_path / "calls.txt").exists()
    it.say("y")
    it.wait("secret_number returned 7421")
    assert (tmp_path / "calls.txt").read_text() == "looked up Ada\n"
    it.wait(r"(?s)returned 7421.*(\[a\]lways|^> y)$")  # the small model may well ask for it once more


def test_stats_tell_how_many_guesses_were_right(capsys: pytest.CaptureFixture[str]) -> None:
    usage = Usage(63, 40, 35, 0.5, 2.0, drafted_tokens=24, accepted_tokens=18)
    slash_settings.stats(cast("Any", SimpleNamespace(conversation=SimpleNamespace(usage=usage))), "")
    told = capsys.readouterr().err.splitlines()
    assert told[1] == "answer: 35 tokens in 2.00 s, 17.0 tokens/s; the model ended it"
    assert told[2] == "drafted: 24 tokens ahead, 75% of them accepted"
