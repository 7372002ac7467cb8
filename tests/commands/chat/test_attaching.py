"""What goes with a message: at the prompt and on the command line, told in one remark."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any, cast

import pytest
from PIL import Image
from scripted import Scripted, end
from typing_at import At, at_prompt

from qwen_cli.commands.chat import question, repl
from qwen_cli.engines.core.base import Piece
from qwen_cli.errors import UsageError
from qwen_cli.tasks.chat.conversation import Conversation


class Counting(Scripted):
    """A scripted engine that counts a token for each word."""

    def count_tokens(self, prompt: Any, **rest: Any) -> int:
        turns = [prompt] if isinstance(prompt, str) else [str(turn["content"]) for turn in prompt]
        return sum(len(turn.split()) for turn in turns)


@pytest.fixture
def chat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., At]:
    """A prompt in a folder of files, before an engine that says "Yes." five times."""
    monkeypatch.setenv("QWEN_HOME", str(tmp_path / "home"))
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    for name, text in {
        "main.py": "print(1)\n",
        "src/a.py": "a = 1\n",
        "src/b.py": "b = 2\n",
        "my file.txt": "blanks\n",
        ".env": "TOKEN=hush\n",
        "long.txt": "word " * 5000,
        "data.bin": "\0",
    }.items():
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).write_text(text)
    Image.new("RGB", (56, 56), "red").save(here / "p.png")

    def begin(vision: bool = False, engine: type[Scripted] = Counting, **others: Any) -> At:
        made = engine(*([[Piece("Yes."), end()]] * 5), **{"context": 4096, **others})
        made.capabilities = replace(made.capabilities, vision=vision)
        talk = Conversation(cast("Any", made))
        return at_prompt(
            lambda: repl.run(talk, session=None, load_engine=lambda name: None, raw=True),  # type: ignore[arg-type, return-value]
            monkeypatch,
            capsys,
        )

    return begin


def said(at: At) -> list[Any]:
    return [m["content"] for m in at.state.conversation.messages if m["role"] == "user"]


def test_a_file_that_a_message_mentions_goes_with_it_and_is_told(chat: Callable[..., At]) -> None:
    at = chat()
    assert at("explain @main.py, please") == "attached: main.py, 4 tokens"
    assert said(at) == ["`main.py`:\n```python\nprint(1)\n```\n\nexplain main.py, please"]
    assert at("and now?") == ""
    assert said(at)[1] == "and now?"


def test_folders_patterns_and_names_with_blanks(chat: Callable[..., At]) -> None:
    at = chat()
    assert at('what is in @src/ and @"my file.txt"?') == ("attached: src/ (2 files), my file.txt, 17 tokens")
    assert said(at)[0].count("```") == 6
    assert at("compare @src/*.py") == "attached: src/*.py (2 files), 12 tokens"


def test_where_the_engine_does_not_count_characters_are_told(chat: Callable[..., At]) -> None:
    assert chat(engine=Scripted)("explain @main.py") == "attached: main.py, 9 characters"


@pytest.mark.parametrize("text", ["a@b.com wrote", "what does @property do?", "ask @alice", r"\@nobody"])
def test_what_names_no_file_is_text_without_a_word(chat: Callable[..., At], text: str) -> None:
    at = chat()
    assert at(text) == ""
    assert said(at) == [text]


def test_a_misspelt_mention_is_told_and_sent(chat: Callable[..., At]) -> None:
    at = chat()
    assert at("explain @mian.py") == "no file 'mian.py': sent as text. Did you mean @main.py?"
    assert said(at) == ["explain @mian.py"]


def test_what_was_pasted_mentions_nothing(chat: Callable[..., At]) -> None:
    at = chat()
    at.typed.pasted = ["a page\nsays @main.py"]
    assert at("what is this?\na page\nsays @main.py") == ""


@pytest.mark.parametrize(("answer", "sent"), [("y", True), ("n", False), ("", False)])
def test_a_file_of_secrets_is_asked_about(chat: Callable[..., At], answer: str, sent: bool) -> None:
    at = chat()
    at.typed.lines = [answer]
    told = at("what is in @.env?")
    assert at.typed.asked == [".env may hold secrets. Send it? [y/N] "]
    assert ("hush" in said(at)[0]) is sent
    assert told.startswith("attached: .env" if sent else "not attached: .env (may hold secrets)")


def test_it_is_refused_where_nobody_can_be_asked(chat: Callable[..., At]) -> None:
    at = chat()
    at.typed.asks = False
    assert at("/file .env") == ".env may hold secrets and is not sent. `-f - < FILE` sends it all the same"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("explain @data.bin", "data.bin is a binary file, not text. Convert it to text first"),
        (
            "sum up @long.txt",
            "long.txt: 5,003 tokens, and the context holds 4,096. Name less, or raise --context",
        ),
        ("/file long.txt", "long.txt: 5,003 tokens, and the context holds 4,096."),
        (
            "what is on @p.png?",
            "p.png is a picture, and none sees none. `qwen vision p.png` looks at it, and so does a model"
            " that sees: ",
        ),
        ("/file p.png", "p.png is a picture, and none sees none."),
        ("/file nothing.txt", "no file 'nothing.txt'"),
        ("/file src/*.zig", "no file matches 'src/*.zig'"),
        ("/file 'lone", "no file"),
    ],
)
def test_what_cannot_go_is_told_and_nothing_is_sent(chat: Callable[..., At], line: str, told: str) -> None:
    at = chat()
    assert at(line).replace("`context`", "--context").startswith(told)
    assert said(at) == [] and at.state.attached == []


def test_a_picture_goes_to_a_model_that_sees(chat: Callable[..., At]) -> None:
    at = chat(vision=True)
    assert at("what is on @p.png?") == "attached: p.png"
    picture, words = said(at)[0]
    assert picture["image_url"]["url"].startswith("data:image/png")
    assert words == {"type": "text", "text": "what is on p.png?"}
    assert at("/file p.png main.py") == "attached: p.png, main.py, 4 tokens"


def test_a_dropped_file_before_a_question_goes_with_it_and_one_alone_waits(chat: Callable[..., At]) -> None:
    at, here = chat(), Path.cwd()
    assert at(f"'{here}/my file.txt' what is it?").startswith("attached: ")
    assert said(at)[0].endswith("```\n\nwhat is it?") and "blanks" in said(at)[0]
    assert at(f"{here}/my\\ file.txt").startswith("attached: ")
    assert len(said(at)) == 1, "it waits for a question"
    at("and now?")
    assert "blanks" in said(at)[1] and said(at)[1].endswith("and now?")
    assert at("/tmp is full, what can I delete?") == ""
    assert said(at)[2] == "/tmp is full, what can I delete?"


def test_slash_file_takes_folders_patterns_and_several(chat: Callable[..., At]) -> None:
    at = chat()
    assert at("/file src 'my file.txt' @main.py") == (
        "attached: src (2 files), my file.txt, main.py, 21 tokens"
    )
    assert at("/file") == "attached: src/a.py, src/b.py, my file.txt, main.py, 21 tokens"


@pytest.fixture
def asked(
    chat: Callable[..., At], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., question.Question | None]:
    """What the command line asks, with nothing piped in."""

    class Keyboard(StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Keyboard())
    return lambda *words, files=(): question.read(words, files)


def test_the_command_line_takes_the_same(asked: Callable[..., Any], capsys: Any) -> None:
    one = asked("explain @main.py", files=["src/*.py", "my file.txt"])
    assert [name for name, _ in one.found.texts] == ["src/a.py", "src/b.py", "my file.txt", "main.py"]
    assert one.text == "explain main.py" and one.tells
    text = one.content(Counting())
    assert text.endswith("explain main.py")
    assert capsys.readouterr().err == "attached: src/*.py (2 files), my file.txt, main.py, 21 tokens\n"
    assert not asked("what?", files=["main.py"]).tells, "a file that was named needs no remark"


def test_on_the_command_line_a_mention_of_a_file_elsewhere_stays_text(
    asked: Callable[..., Any], capsys: Any, tmp_path: Path
) -> None:
    (tmp_path / "other.txt").write_text("x\n")
    (tmp_path / "here/link.txt").symlink_to(tmp_path / "other.txt")
    for path in ("../other.txt", str(tmp_path / "other.txt"), "link.txt"):
        one = asked(f"what is @{path} about?")
        assert one.text == f"what is @{path} about?" and not one.found.texts
        assert capsys.readouterr().err == (
            f"@{path} lies outside this folder and stays text; -f attaches it\n"
        )


@pytest.mark.parametrize(
    ("words", "files", "told"),
    [
        (
            ("src/b.py", "what?"),
            ("src/a.py",),
            "src/b.py is a file, and would be words of the question. Give each its own -f, or quote the"
            " pattern: -f 'src/*.py'",
        ),
        (("src/b.py", "main.py"), ("src/a.py",), "src/b.py, main.py are files, and would be words"),
        (("src/b.py",), ("src/a.py",), "src/b.py is a file"),
        (("what is it?", "main.py"), ("src/a.py",), "main.py is a file"),
        (("p.png", "what is it?"), (), "p.png is a file, and would be words of the question. Write -f p.png"),
        (("what differs?", "src/a.py", "src/b.py"), (), "src/a.py, src/b.py are files"),
        ((), ("nope",), "no file 'nope'"),
        (("what?",), ("data.bin",), "data.bin is a binary file"),
        (("what?",), (".env",), ".env may hold secrets and is not sent. `-f - < FILE` sends it all the same"),
        (("what is @.env?",), (), ".env may hold secrets"),
        ((" ",), (), "the question is empty"),
    ],
)
def test_the_command_line_says_what_it_cannot_take(
    asked: Callable[..., Any], words: tuple[str, ...], files: tuple[str, ...], told: str
) -> None:
    with pytest.raises(UsageError) as raised:
        asked(*words, files=files)
    assert str(raised.value).startswith(told)


@pytest.mark.parametrize(
    "words", [("explain", "main.py"), ("src", "is", "what?"), ("what", "is", "this"), ("main.py",), ("hi",)]
)
def test_words_that_are_no_stray_files_are_the_question(asked: Callable[..., Any], words: Any) -> None:
    assert asked(*words).text == " ".join(words)


def test_a_picture_for_a_model_that_sees_none_names_the_command_that_does(asked: Callable[..., Any]) -> None:
    one = asked("what?", files=["p.png"])
    with pytest.raises(UsageError, match=r"p\.png is a picture, and none sees none\. `qwen vision p\.png`"):
        one.content(Counting())
