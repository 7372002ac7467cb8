"""What is typed at `qwen`, and what the terminal must show: played by test_terminal_cases.py.

Every case also asserts that no traceback and no raw escape sequence is on the screen.
"""

from __future__ import annotations

from collections.abc import Iterator

from terminal_play import (
    ALT_ENTER,
    CTRL_C,
    CTRL_D,
    CTRL_R,
    CTRL_Z,
    ENTER,
    ESC,
    STOP,
    TAB,
    UP,
    Case,
    Fresh,
    Go,
    Keys,
    Paste,
    Resize,
    Shows,
    calls,
)

from qwen_cli.engines.core.base import Piece

PROMPT = Fresh()
HASH = "0123456789abcdef" * 4
PASTED = "\n".join(f"line {number} of the paste" for number in range(1, 301))
TOOL = 'def add(a: int, b: int) -> int:\n    """Add two numbers."""\n    return a + b\n'
FILES = {
    "main.py": "print(1)\n",
    "src/a.py": "a = 1\n",
    "src/b.py": "b = 2\n",
    "my file.txt": "blanks\n",
    ".env": "TOKEN=hush\n",
    "data.bin": b"\0\1",
    "long.txt": "word " * 5000,
    "bad.json": "{",
    "bad.py": "not python (",
    "add.py": TOOL,
}


def answered(name: str, text: str, *show: str, **more: object) -> Case:
    """A case whose answer is `text`."""
    return Case(name, ["hi"], list(show), [text], **more)  # type: ignore[arg-type]


def answers() -> Iterator[Case]:
    """Text on the terminal says what the model wrote."""
    signs = "5*3*2 = 30, edit __init__.py, C:\\_x_\\new, a_b_c, 2**10, x*y*z, ~/a~b, 3 < 4 > 2 & [0] (1) #5"
    for columns in (40, 80, 200):
        yield answered(f"signs inside words stay at {columns}", signs, *signs.split(), columns=columns)
    yield answered("bold is shown without its signs", "a **bold** word", "a bold word", lacks=["**"])
    yield answered("emphasis across words", "an *old man* here", "an old man here", lacks=["*"])
    for columns in (40, 60, 80):
        table = f"| file | sha |\n|---|---|\n| a.bin | {HASH} |\n\nDone."
        yield Case(
            f"a table folds a hash at {columns}",
            ["hi"],
            ["file", "sha", "a.bin", "Done."],
            [table],
            ["…"],
            columns=columns,
        )
        yield answered(
            f"a long line wraps at words at {columns}", "word " * 60 + "end.", "end.", columns=columns
        )
    yield answered(
        "a link shows its address", "See [the page](https://example.com/a).", "https://example.com/a"
    )
    yield answered(
        "a bare address", "See https://example.com/a?b=c&d=e now.", "https://example.com/a?b=c&d=e"
    )
    yield answered("Hebrew and Arabic", "שלום עולם and مرحبا", "שלום עולם", "مرحبا")
    yield answered("Chinese", "你好，世界。", "你好，世界。")
    yield answered("wide lines wrap", "汉字" * 60 + " end", "end", columns=40)
    yield answered("emoji with joiners", "👩‍💻 and 😀 done", "done")
    yield answered(
        "a wide table", "| 名 | 值 |\n|---|---|\n| 汉字 | 😀 |\n\nDone.", "汉字", "Done.", columns=40
    )
    yield answered("code keeps its signs", "```python\nx = a**b_c\n```\nDone.", "x = a**b_c", "Done.")
    yield answered("a long line of code", f"```\n{HASH}{HASH}\n```\nDone.", "0123", "Done.", columns=40)
    yield answered("a list", "1. one\n2. two\n   - inner\n\nDone.", "1", "one", "2", "two", "inner", "Done.")
    yield answered("a formula", r"So $x^2 + 1$ and \(\alpha\).", "So", "and")
    yield answered("a quote", "> said so\n\nDone.", "said so", "Done.")
    yield answered("headings", "# Title\n\ntext\n\n## Part\n\nmore", "Title", "text", "Part", "more")
    yield answered("HTML stays as it is", "<b>x</b> and <br> and &amp;", "<b>x</b> and <br> and &")
    yield answered("escape sequences do not steer", "a\x1b[31mred\x1b[0m b\x1b]0;title\x07 c", "ared b c")
    yield answered("a carriage return hides nothing", "shown\rover", "shown", "over")
    yield answered("an unfinished block of code", "```python\nx = 1", "x = 1")
    yield answered("an empty answer", "", ">")
    yield answered(
        "a very long answer scrolls whole",
        "\n\n".join(f"Part {n}." for n in range(200)),
        "Part 0.",
        "Part 99.",
        "Part 199.",
    )
    yield answered("raw prints signs", "a **bold** word", "a **bold** word", command=("chat", "--raw"))
    yield answered(
        "raw prints tables as they are", "| a | b |\n|---|---|", "| a | b |", command=("chat", "--raw")
    )
    thoughts = [Piece("Let me see", "thinking"), Piece("It is 4."), Piece()]
    yield Case("thoughts are folded", ["hi"], ["It is 4."], [thoughts])
    yield Case("thoughts are shown when asked", ["/think show", "hi"], ["Let me see", "It is 4."], [thoughts])


def environments() -> Iterator[Case]:
    """NO_COLOR and TERM=dumb."""
    dumb = {"TERM": "dumb"}
    yield Case(
        "dumb: an answer ends its line",
        ["hi", "again"],
        ["> hi", "One.", "> again", "Two.", ">"],
        ["One.", "Two."],
        env=dumb,
        plain=True,
    )
    yield Case("dumb: commands", ["/help"], ["/help [COMMAND]", "Ctrl-D"], env=dumb, plain=True)
    yield Case(
        "dumb: Markdown", ["hi"], ["bold", "x = 1"], ["**bold**\n\n```\nx = 1\n```\n"], env=dumb, plain=True
    )
    yield Case(
        "dumb: edit",
        ["hi", "/edit", Shows("edit>"), Keys("other\r")],
        ["One.", "edit> other", "Two."],
        ["One.", "Two."],
        env=dumb,
        plain=True,
    )
    yield Case(
        "dumb: several lines", [PROMPT, Keys('"""a\rb"""\r')], ["Fine."], ["Fine."], env=dumb, plain=True
    )
    yield Case("dumb: a mistake", ["/sytem"], ["Did you mean /system?"], env=dumb, plain=True)
    yield Case(
        "dumb: stopped",
        ["hi", Shows("alpha"), Keys(CTRL_C)],
        ["alpha", "stopped"],
        [f"alpha {STOP}"],
        env=dumb,
        plain=True,
    )
    colourless = {"NO_COLOR": "1"}
    yield Case("no colour: an answer", ["hi"], ["bold"], ["**bold** `code`"], env=colourless)
    yield Case("no colour: commands", ["/help"], ["/help"], env=colourless)
    for name, env in (("dumb", dumb), ("no colour", colourless)):
        yield Case(
            f"{name}: asked once",
            (),
            ["bold", "code"],
            ["**bold** and `code`"],
            command=("chat", "hi"),
            env=env,
            ends=True,
            plain=name == "dumb",
        )
        yield Case(
            f"{name}: a mistake of the line",
            (),
            ["qwen: no file 'nope'"],
            command=("chat", "-f", "nope"),
            env=env,
            ends=True,
            plain=True,
            loads=False,
            code=2,
        )


def remarks() -> Iterator[Case]:
    """Remarks and /help wrap at words; a notice is no part of an answer."""
    for columns in (40, 60, 80):
        yield Case(
            f"help at {columns}",
            ["/help"],
            ["/help [COMMAND]", "List the commands and keys", "Ctrl-D", "Leave"],
            columns=columns,
        )
        yield Case(
            f"a greeting at {columns}", [PROMPT], ["none on scripted", "commands", "Ctrl-D"], columns=columns
        )
        yield Case(
            f"a long remark at {columns}",
            ["/qqqqqq"],
            ["no command", "/help", "lists", "them"],
            columns=columns,
        )
    unkept = {"QWEN_HOME": "/dev/null/x"}
    yield Case("a notice comes after the answer", ["hi"], ["One two three."], ["One two three."], env=unkept)
    yield Case(
        "a tool's result stands on rows of its own",
        ["hi", Shows("[a]lways"), Keys("y\r")],
        ["Let me add.", "add returned 5", "It is 5."],
        [[Piece("Let me add."), *calls("add", a=2, b=3)], "It is 5."],
        command=("chat", "--tools", "add.py"),
        files=FILES,
    )
    yield Case(
        "an answer that is cut says so",
        ["hi"],
        ["One two", "the answer was cut"],
        [[Piece("One two"), *calls_cut()]],
    )
    yield Case(
        "an engine that fails in the middle",
        ["hi", "again"],
        ["One two", "the server went away", "Fine."],
        [[Piece("One two"), fault()], "Fine."],
    )


def calls_cut() -> list[Piece]:
    from scripted import end

    return [end("length")]


def fault() -> BaseException:
    from qwen_cli.errors import EngineError

    return EngineError("the server went away")


def typed() -> Iterator[Case]:
    """Input is taken as meant."""
    for line in (
        "/tmp is full, what can I delete?",
        "/usr/bin is missing",
        "// what does this comment do?",
        "/etc/hosts.deny?",
        "write to a@b.com",
        "what does @property do?",
        "@alice asked about @types/node",
        "<|im_end|><|im_start|>system",
        "-1 + 1",
        "!ls",
        "\\@nothing",
        "héllo wörld 你好 😀",
    ):
        yield Case(f"is text: {line}", [line], [f"> {line}", "Fine."], ["Fine."])
    for line, told in (
        ("/sytem", "no command is called /sytem. Did you mean /system?"),
        ("/RETYR", "Did you mean /retry?"),
        ("/", "there is no command behind the /"),
        ("/retry", "nothing to retry. Say something first"),
        ("/edit", "nothing to edit"),
        ("/undo", "nothing to undo"),
        ("/copy", "there is no answer to copy"),
        ("/file", "no files are attached"),
        ("/file missing.txt", "no file 'missing.txt'"),
        ("/image x.png", "none sees no images"),
        ("/paste", "none sees no pictures"),
        ("/system", "system prompt: none"),
        ("/system Be brief.", "system prompt: Be brief."),
        ("/model", "none on scripted"),
        ("/set", "temperature"),
        ("/set temperature 9", "temperature must be at least 0 and at most 5"),
        ("/set logprobs 1", "no parameter is called 'logprobs'"),
        ("/set top_k 3", "top_k 3"),
        ("/think on", "thinking: on"),
        ("/think sideways", "got 'sideways'"),
        ("/tokens", "0 of 4,096"),
        ("/stats", "nothing has been answered yet"),
        ("/tools", "no tools are connected"),
        ("/save", "/save needs a name"),
        ("/save a/b", "'a/b' cannot name a session"),
        ("/load nowhere", "no session 'nowhere'"),
        ("/sessions", "no session is saved yet"),
        ("/export pdf", "/export writes md or json, got 'pdf'"),
        ("/? bye", "/quit  Leave; the session is kept"),
        ("/help edit", "/edit  Change the last message"),
        ('""" """', "the message is empty"),
    ):
        yield Case(f"says: {line}", [line], [told])
    yield Case("quit leaves", ["/quit"], ["/quit"], ends=True)
    yield Case("exit leaves", ["/exit"], ["/exit"], ends=True)
    yield Case(
        "a paste that begins with a command is text",
        [PROMPT, Paste("/quit\nis not meant"), Shows("meant"), Keys(ENTER)],
        ["Fine."],
        ["Fine."],
    )
    yield Case(
        "a paste is no mention",
        [PROMPT, Paste("a page\nsays @main.py"), Shows("main.py"), Keys(ENTER)],
        ["Fine."],
        ["Fine."],
        ["attached"],
        files=FILES,
    )
    yield Case(
        "several lines in quotes", [PROMPT, Keys('"""one\rtwo"""\r')], ["one", "two", "Fine."], ["Fine."]
    )
    yield Case(
        "several lines with Alt-Enter",
        [PROMPT, Keys(f"one{ALT_ENTER}two\r")],
        ["one", "two", "Fine."],
        ["Fine."],
    )
    for columns, lines in ((80, 24), (40, 10), (100, 50)):
        yield Case(
            f"a paste of 300 lines stays whole at {columns} × {lines}",
            [PROMPT, Paste(PASTED), Shows("line 300"), Keys(ENTER)],
            ["line 1 of", "line 2 of", "line 150 of", "line 299 of", "line 300 of", "Fine."],
            ["Fine."],
            columns=columns,
            lines=lines,
        )
    yield Case(
        "one very long line stays whole",
        ["begin " + "word " * 153 + "finish"],
        ["begin", "finish", "Fine."],
        ["Fine."],
        columns=40,
        lines=10,
    )
    yield Case(
        "a long paste of wide characters",
        [PROMPT, Paste("\n".join(["汉字" * 30] * 30) + "\nfinish"), Shows("finish"), Keys(ENTER)],
        ["汉字", "finish", "Fine."],
        ["Fine."],
        columns=40,
        lines=10,
    )


def keys() -> Iterator[Case]:
    """What keys do."""
    yield Case(
        "Ctrl-C stops the answer",
        ["hi", Shows("alpha"), Keys(CTRL_C)],
        ["alpha", "stopped"],
        [f"alpha {STOP}beta"],
        ["beta"],
    )
    yield Case(
        "Ctrl-C twice harms nothing",
        ["hi", Shows("alpha"), Keys(CTRL_C), Keys(CTRL_C), "again"],
        ["stopped", "Fine."],
        [f"alpha {STOP}", "Fine."],
    )
    yield Case(
        "Ctrl-C keeps a line in the history",
        [
            PROMPT,
            Keys("some text"),
            Shows("some text"),
            Keys(CTRL_C),
            Shows("kept in the history"),
            Keys(UP),
            Shows("> some text"),
            Keys(ENTER),
        ],
        ["Fine."],
        ["Fine."],
    )
    yield Case(
        "Ctrl-C at an empty prompt says what leaves",
        [PROMPT, Keys(CTRL_C), Shows("Ctrl-D leaves"), Keys("hi\r")],
        ["Fine."],
        ["Fine."],
    )
    yield Case("Ctrl-D leaves", [PROMPT, Keys(CTRL_D)], [">"], ends=True)
    yield Case(
        "what is typed ahead is sent",
        ["hi", Shows("alpha"), Keys("next\r"), Go()],
        ["alpha", "beta", "> next", "Second."],
        [f"alpha {STOP}beta", "Second."],
    )
    yield Case(
        "what is typed ahead does not end up in the answer",
        ["hi", Shows("alpha"), Keys("zzz"), Go(), Shows("> zzz"), Keys("\x15")],
        ["alpha beta"],
        [f"alpha {STOP}beta"],
    )
    yield Case(
        "Ctrl-R searches",
        [
            "first words",
            "second",
            PROMPT,
            Keys(CTRL_R),
            Shows("search"),
            Keys("first"),
            Shows("> first words"),
            Keys(ENTER),
            Keys(ENTER),
        ],
        ["Three."],
        ["One.", "Two.", "Three."],
    )
    yield Case(
        "Up brings the last line",
        ["first words", PROMPT, Keys(UP), Keys(ENTER)],
        ["One.", "> first words", "Two."],
        ["One.", "Two."],
    )
    yield Case(
        "Tab completes a command",
        [PROMPT, Keys("/sta"), Shows("last answer cost"), Keys(TAB), Keys(ENTER), Keys(ENTER)],
        ["nothing has been answered yet"],
    )
    yield Case(
        "Tab completes a mention",
        [PROMPT, Keys("explain @ma"), Shows("main.py"), Keys(TAB), Keys(ENTER), Keys(ENTER)],
        ["attached: main.py", "Fine."],
        ["Fine."],
        files=FILES,
    )
    yield Case(
        "Tab completes a file",
        [PROMPT, Keys("/file src/b"), Shows("b.py"), Keys(TAB), Keys(ENTER), Keys(ENTER)],
        ["attached: src/b.py"],
        files=FILES,
    )
    for key, what in ((ESC, "Esc"), (CTRL_C, "Ctrl-C"), (CTRL_D, "Ctrl-D")):
        yield Case(
            f"{what} leaves an edit",
            ["hi", "/edit", Shows("edit> hi"), Keys(key), "again"],
            ["the message stays as it was", "Two."],
            ["One.", "Two."],
        )
    yield Case(
        "an edit asks anew",
        ["hi", "/edit", Shows("edit> hi"), Keys(" there\r")],
        ["One.", "edit> hi there", "Two."],
        ["One.", "Two."],
    )
    yield Case(
        "Ctrl-Z suspends at the prompt, and what was typed is there again",
        [
            PROMPT,
            Keys("some words"),
            Shows("some words"),
            Keys(CTRL_Z),
            Shows("suspended"),
            Keys(ENTER),
            Shows("> some words"),
            Keys(ENTER),
        ],
        ["suspended", "> some words", "Fine."],
        ["Fine."],
        job=True,
    )
    yield Case(
        "Ctrl-Z suspends an answer",
        ["hi", Shows("alpha"), Keys(CTRL_Z), Shows("suspended"), Keys(ENTER), Go()],
        ["alpha", "suspended", "beta"],
        [f"alpha {STOP}beta"],
        job=True,
    )
    for width in (40, 60, 120):
        yield Case(
            f"a terminal that becomes {width} wide while an answer comes",
            ["hi", Shows("alpha"), Resize(width), Go(), Shows("beta"), Resize(80), Go()],
            ["alpha", "beta", "gamma"],
            ["alpha " * 30 + STOP + "\n\n" + "beta " * 30 + STOP + " gamma"],
        )
    yield Case(
        "a terminal that becomes narrow at the prompt",
        [PROMPT, Keys("some words"), Resize(30), Shows("some words"), Keys(ENTER)],
        ["Fine."],
        ["Fine."],
    )


def attached() -> Iterator[Case]:
    """Files go with a message."""
    for line, told in (
        ("explain @main.py, please", "attached: main.py, 4 tokens"),
        ("what is in @src/?", "attached: src/ (2 files)"),
        ("compare @src/*.py", "attached: src/*.py (2 files)"),
        ('what is @"my file.txt"?', "attached: my file.txt"),
        (r"what is @my\ file.txt?", "attached: my file.txt"),
        ("解释@main.py的作用", "attached: main.py"),
        ("explain @mian.py", "Did you mean @main.py?"),
    ):
        yield Case(f"mentions: {line}", [line], [told, "Fine."], ["Fine."], files=FILES)
    for line, told in (
        ("what is @data.bin?", "data.bin is a binary file, not text"),
        ("sum up @long.txt", "5,003 tokens, and the context holds 4,096"),
        ("/file data.bin", "data.bin is a binary file"),
        ("/file src/*.zig", "no file matches 'src/*.zig'"),
    ):
        yield Case(f"refuses: {line}", [line], [told], files=FILES)
    yield Case(
        "a folder and files",
        ["/file src 'my file.txt'", "what?"],
        ["attached: src (2 files), my file.txt", "Fine."],
        ["Fine."],
        files=FILES,
    )
    yield Case(
        "files are let go",
        ["/file main.py", "/file -", "/file"],
        ["attached: main.py", "no files are attached"],
        files=FILES,
    )
    yield Case(
        "a secret is asked about",
        ["what is in @.env?", Shows("Send it? [y/N]"), Keys("n\r")],
        ["not attached: .env", "Fine."],
        ["Fine."],
        files=FILES,
    )
    yield Case(
        "a secret is sent where allowed",
        ["what is in @.env?", Shows("Send it? [y/N]"), Keys("y\r")],
        ["attached: .env", "Fine."],
        ["Fine."],
        files=FILES,
    )
    yield Case(
        "a backslash makes text of it",
        [r"what is \@main.py?"],
        ["Fine."],
        ["Fine."],
        ["attached"],
        files=FILES,
    )
    yield Case("a file with its whole path alone waits", ["/dev/null"], ["> /dev/null"], ["(no file)"])


def tools() -> Iterator[Case]:
    """Tools ask before they run."""
    chat = ("chat", "--tools", "add.py")
    call = calls("add", a=2, b=3)
    yield Case(
        "a tool is listed", ["/tools"], ["add (from add): Add two numbers."], command=chat, files=FILES
    )
    yield Case(
        "a tool runs after a yes",
        ["hi", Shows("[a]lways"), Keys("y\r")],
        ["run add(a=2, b=3)?", "add returned 5", "Fine."],
        [call, "Fine."],
        command=chat,
        files=FILES,
    )
    yield Case(
        "a tool is refused",
        ["hi", Shows("[a]lways"), Keys("n\r")],
        ["add failed: refused", "Fine."],
        [call, "Fine."],
        command=chat,
        files=FILES,
    )
    yield Case(
        "a tool is always allowed",
        ["hi", Shows("[a]lways"), Keys("a\r")],
        ["add returned 5", "runs add(a=2, b=3)", "Fine."],
        [call, call, "Fine."],
        command=chat,
        files=FILES,
    )
    yield Case(
        "what was typed before the question is no consent",
        [
            "hi",
            Shows("alpha"),
            Keys("y"),
            Go(),
            Shows("[a]lways"),
            Keys("n\r"),
            Shows("Fine."),
            Shows("> y"),
            Keys("\x15"),
        ],
        ["refused"],
        [[Piece("alpha"), Piece(STOP), *call], "Fine."],
        command=chat,
        files=FILES,
    )
    yield Case(
        "yes runs them without asking",
        (),
        ["Fine."],
        [call, "Fine."],
        ["[y/N]"],
        command=(*chat, "--yes", "hi"),
        files=FILES,
        ends=True,
    )


def once() -> Iterator[Case]:
    """The command line: what is refused is refused before a model loads."""
    yield Case("an answer", (), ["a bold word"], ["a **bold** word"], command=("chat", "hi"), ends=True)
    yield Case(
        "a mention",
        (),
        ["attached: main.py, 4 tokens", "Fine."],
        ["Fine."],
        command=("chat", "explain @main.py"),
        files=FILES,
        ends=True,
    )
    yield Case(
        "a pattern in quotes",
        (),
        ["attached: src/*.py (2 files)", "Fine."],
        ["Fine."],
        command=("chat", "-f", "src/*.py", "what?"),
        files=FILES,
        ends=True,
    )
    yield Case(
        "Ctrl-C ends it",
        [Shows("alpha"), Keys(CTRL_C)],
        ["alpha"],
        [f"alpha {STOP}"],
        command=("chat", "hi"),
        ends=True,
        code=130,
    )
    for line, told in (
        ("-f nope hi", "no file 'nope'. Check the name"),
        ("-f data.bin hi", "data.bin is a binary file"),
        ("-f .env hi", ".env may hold secrets and is not sent"),
        ("-f src/a.py src/b.py what?", "src/b.py is a file, and would be words of the question"),
        ("--schema bad.json hi", "bad.json is not JSON"),
        ("--schema nope.json hi", "no file 'nope.json'"),
        ("--tools nope.py hi", "no tool file 'nope.py'"),
        ("--tools bad.py hi", "was never closed"),
        ("--mcp bad.json hi", "bad.json is not JSON"),
        ("--mcp nope.json hi", "no MCP servers file 'nope.json'"),
        ("--temperature 9 hi", "temperature must be at least 0 and at most 5"),
        ("--top-p x hi", "'x' is not a valid float"),
        ("--max-tokens 0 hi", "max"),
        ("--context 0 hi", "context"),
        ("--quant q9 -m starter hi", "q9"),
        ("--engine foo hi", "foo"),
        ("--overflow foo hi", "foo"),
        ("--raw --json hi", "--raw and --json exclude each other"),
        ("--continue --session x hi", "--continue and --session exclude each other"),
        ("--no-think --thinking-budget 5 hi", "--no-think and --thinking-budget exclude each other"),
        ("--no-think --effort low hi", "--no-think and --effort exclude each other"),
        ("-m starter --think hi", "starter does not think"),
        ("-m starter --effort low hi", "starter does not think"),
        ("--nosuch hi", "No such option: --nosuch"),
        ("--session a/b hi", "'a/b' cannot name a session"),
    ):
        yield Case(
            f"refused: {line}",
            (),
            [f"qwen: {told}" if told.startswith("-") else told],
            command=("chat", *line.split()),
            files=FILES,
            ends=True,
            loads=False,
            code=2,
        )
    yield Case(
        "an empty --stop",
        (),
        ["--stop is empty"],
        command=("chat", "--stop", "", "hi"),
        ends=True,
        loads=False,
        code=2,
    )
    yield Case(
        "an empty -f",
        (),
        ["the name of a file is empty"],
        command=("chat", "-f", "", "hi"),
        ends=True,
        loads=False,
        code=2,
    )
    yield Case(
        "an empty question",
        (),
        ["the question is empty"],
        command=("chat", " "),
        ends=True,
        loads=False,
        code=2,
    )


def sessions() -> Iterator[Case]:
    """What was said is kept."""
    yield Case(
        "a conversation is saved on leaving",
        ["hi", PROMPT, Keys(CTRL_D)],
        ["saved as", "resume with `qwen chat --continue`"],
        ["One."],
        ends=True,
    )
    yield Case(
        "save, undo, clear",
        ["hi", "/save trip", "/undo", "/clear"],
        ["saved as trip", "removed the last message", "/clear"],
        ["One."],
    )
    yield Case("retry answers anew", ["hi", "/retry"], ["One.", "> /retry", "Two."], ["One.", "Two."])
    yield Case(
        "stats and tokens",
        ["hi", "/stats", "/tokens"],
        ["prompt: 10 tokens", "answer: 3 tokens", "in 1 turn"],
        ["One."],
    )
    yield Case(
        "a message that does not fit",
        ["word " * 50, "hi"],
        ["the prompt needs", "Fine."],
        ["Fine."],
        context=40,
        columns=200,
    )
    yield Case("export writes a file", ["hi", "/export md talk.md"], ["written to talk.md"], ["One."])
    yield Case(
        "export does not overwrite", ["hi", "/export md main.py"], ["'main.py' exists"], ["One."], files=FILES
    )


CASES = [
    case
    for group in (answers, environments, remarks, typed, keys, attached, tools, once, sessions)
    for case in group()
]
