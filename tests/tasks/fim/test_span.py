"""How far a completion goes and what of it is kept. No model: the texts are what models have written."""

from __future__ import annotations

import pytest

from qwen_cli.tasks.fim.prompt import Hole
from qwen_cli.tasks.fim.span import Mode, Span, Why


def kept(
    prefix: str, suffix: str, text: str, *, path: str = "a.py", mode: Mode = "auto", why: Why = "length"
) -> str:
    """Feed `text` in pieces as a stream would, and settle what there is when a rule ends it."""
    span = Span(Hole(prefix, suffix, path), mode)
    for end in range(1, len(text) + 1):
        if (stop := span.ended(text[:end])) is not None:
            return span.settled(text[:end], stop)[0]
    return span.settled(text, why)[0]


LOOP = "def total(rows):\n    result = 0\n    for row in rows:\n"


def test_the_text_after_the_hole_is_not_written_again() -> None:
    written = "        result += row\n    return result\n\nprint(total([1]))\n"
    assert kept(LOOP, "    return result\n", written) == "        result += row\n"


def test_a_model_that_skips_a_line_of_the_suffix_is_stopped_at_the_next() -> None:
    suffix = "    checked = True\n    return finish(result)\n"
    written = "        result += row\n    return finish(result)\n"
    assert kept(LOOP, suffix, written) == "        result += row\n"


def test_a_short_line_may_come_twice() -> None:
    suffix = "    }\n    return 0;\n}\n"
    written = "        if (a) {\n            b();\n        }\n        c();\n    }\n    return 0;\n"
    prefix = "int main() {\n    for (;;) {\n"
    assert kept(prefix, suffix, written, path="a.c").endswith("        c();\n")


def test_tests_and_prose_after_the_function_are_dropped() -> None:
    prefix = "def area(w, h):\n"
    written = "    return w * h\n\n# Test cases\nprint(area(1, 2))\n```\n\nThis code"
    assert kept(prefix, "", written) == "    return w * h\n"


def test_a_whole_body_is_kept_where_the_file_ends() -> None:
    body = "    total = 0\n    for row in rows:\n        total += row\n    return total\n"
    assert kept("def total(rows):\n", "", body + "\n\ndef other():\n    pass\n") == body


def test_what_goes_on_without_meeting_the_suffix_is_cut_to_its_own_block() -> None:
    prefix = "def f(text):\n    if not text:\n"
    suffix = "\n    start = 0\n    while odd(text[start:]):\n        start += 1\n    return start\n"
    written = "        return text\n\n    # Find it\n    for i in range(9):\n        if odd(i):\n"
    assert kept(prefix, suffix, written) == "        return text"


def test_code_that_would_leave_the_suffix_dead_is_cut() -> None:
    prefix = "def f(items):\n    seen = set()\n"
    suffix = "    for item in items:\n        seen.add(item)\n    return seen\n"
    written = "    items = sorted(items)\n    return set(items)\n"
    assert kept(prefix, suffix, written) == "    items = sorted(items)\n"


def test_the_line_that_opens_the_suffix_block_ends_the_hole() -> None:
    prefix = "def f(l):\n    for i in l:\n"
    suffix = "            for k in j:\n                use(i, j, k)\n    return 0\n"
    written = "        for j in range(i):\n            if j:\n                return 1\n    return 0\n"
    assert kept(prefix, suffix, written) == "        for j in range(i):\n"


def test_after_a_colon_the_next_step_of_indentation_is_certain() -> None:
    assert Span(Hole(LOOP, "\n", "a.py")).indentation() == " " * 8
    assert Span(Hole("class A:\n\tdef f(self):\n", "", "a.py")).indentation() == "\t\t"
    assert Span(Hole("def f(a,\n      b):\n", "", "a.py")).indentation() == "    "
    assert Span(Hole("x = {\n  'a':\n", "}\n", "a.py")).indentation() is None
    assert Span(Hole('"""Usage:\n', '"""\n', "a.py")).indentation() is None
    assert Span(Hole("int f() {\n", "}\n", "a.c")).indentation() is None


def test_going_out_too_far_is_seen_once_it_was_written() -> None:
    suffix = "            y = 2\n    return x\n"
    span = Span(Hole("def f(l):\n    if l:\n        x = 1\n", suffix, "a.py"))
    assert span.misfit("    return\n", "    return\n") == " " * 8
    assert span.misfit("def g(l):\n", "def g(l):\n") == " " * 8
    assert span.misfit("        for\n", "        for\n") is None
    # What comes later may open the block, or the bracket, that the suffix stands in.
    for right in ("def g(l):\n    if l:\n        while l:\n", "    x = [\n        f(\n"):
        after = suffix if right[0] == "d" else "            y)]\n"
        span = Span(Hole("def f(l):\n    if l:\n        x = 1\n", after, "a.py"))
        assert span.misplaced(right[:3]) is None
        assert span.misplaced(right) is None
        assert span.misfit(right, right) is None


def test_after_a_brace_the_block_stands_deeper() -> None:
    def misplaced(prefix: str, written: str, suffix: str = "}\n", path: str = "a.js") -> str | None:
        return Span(Hole(prefix, suffix, path)).misplaced(written)

    total = "class Cart {\n  total() {\n"
    assert misplaced(total, "  let sum", "\n  }\n}\n") == "    "
    assert misplaced(total, "    let sum", "\n  }\n}\n") is None
    assert misplaced("func Sum() int {\n\ta := 0\n\tfor {\n", "\tif ", "\t}\n}\n", "a.go") == "\t\t"
    # Where nothing shows another: gofmt's, and four spaces.
    assert misplaced("func Sum() int {\n", "return 1", "\n}\n", "a.go") == "\t"
    assert misplaced("int sum() {\n", "return 1", "\n}\n", "a.c") == "    "
    assert misplaced("switch (n) {\n", "case 1:\n") is None
    assert misplaced("namespace a {\n", "int b;\n", path="a.cpp") is None
    assert misplaced("class A {\n", "public:\n", path="a.cpp") is None
    assert misplaced("define(function () {\n", "var a", "\nvar b = 1\n})\n") is None
    assert misplaced("int f() {\n", "} ", "", "a.c") is None


def test_a_branch_stands_under_the_statement_it_belongs_to() -> None:
    prefix = "def f(n):\n    for i in n:\n        if i:\n            return i\n"
    span = Span(Hole(prefix, "\nprint(f([]))\n", "a.py"))
    assert span.misplaced("else:\n") == " " * 8
    assert span.misplaced("    else:\n") is None
    assert span.misplaced("return") is None


def test_line_mode_is_one_line() -> None:
    assert kept("x = [", "]\n", "1, 2, 3\n4", mode="line") == "1, 2, 3"
    assert kept("def f():\n    return ", "\n", "1\n\nprint(f())\n", mode="line") == "1"
    assert kept(LOOP, "    return result\n", "\n        result += row\n        x", mode="line") == (
        "        result += row\n"
    )


def test_block_mode_is_one_statement_with_its_body() -> None:
    written = "    if a:\n        b()\n    else:\n        c()\n    d()\n    e()\n"
    assert (
        kept("def f(a):\n", "", written, mode="block") == "    if a:\n        b()\n    else:\n        c()\n"
    )


def test_the_end_of_the_line_after_the_cursor_is_not_doubled() -> None:
    assert kept("print(total(", "))\n", "rows))\n") == "rows"
    assert kept("print(total(", ")\n", "rows))  # 3\n") == "rows)"
    assert kept("x = call(", ")\n", "other(1)\n") == "other(1)"
    assert kept('name = "', '"\n', 'Ada"\n') == "Ada"
    assert kept("rows.reduce(", ", 0)\n", "(a, b) => a + b, 0)\n", path="a.js") == "(a, b) => a + b"
    assert kept("clamp(", ", 0.5)\n", "low, 0)\n", path="a.js") == "low, 0"
    assert kept("f(a", ", b)\n", ", b)\n", path="a.js") == ""
    assert kept("for i, ", " in enumerate(rows):\n", "row in enumerate(rows):\n") == "row"


def test_a_call_that_was_opened_here_may_take_several_lines() -> None:
    assert kept("x = ", " + 1\n", "f(\n    1,\n    2,\n)\ny") == "f(\n    1,\n    2,\n)"


def test_a_bracket_that_the_suffix_closes_is_left_to_it() -> None:
    prefix = "function f(a) {\n  if (a) {\n    "
    assert kept(prefix, "\n  }\n}\n", "return 1;\n  }\n  return 2;\n}\n", path="a.js") == "return 1;"
    assert kept("func f() int {\n\t", "\n}\n", "return 1\n}\n\nfunc g() {}\n", path="a.go") == "return 1"


def test_a_bracket_that_nobody_closes_is_closed() -> None:
    assert kept("int f(void) {\n", "", "    return 1;\n}\n\nint g(void) {\n", path="a.c").startswith(
        "    return 1;\n}\n"
    )


@pytest.mark.parametrize(
    ("prefix", "suffix", "text", "middle"),
    [
        ("a = 1\n", "c = 3\n", "b = 2", "b = 2\n"),  # the suffix keeps its line
        ("a = 1\n", "\nc = 3\n", "b = 2\n", "b = 2"),  # an empty line is there for it
        ("a = 1\n", "", "b = 2", "b = 2\n"),  # a file that ends its lines
        ("a = ", "", "2\n", "2"),  # no final newline: none is added
        ("a =", "\nb = 3\n", " 2\n", " 2"),
        ("", "b = 3\n", "a = 2", "a = 2\n"),
        ("if a:\n    ", "\n", "b()   \n\n", "b()"),
        ("if a:\n    ", "c()\n", "b()\n    c()\n", "b()\n    "),
    ],
)
def test_what_went_on_fits_the_lines_it_meets(prefix: str, suffix: str, text: str, middle: str) -> None:
    assert kept(prefix, suffix, text) == middle


@pytest.mark.parametrize(
    ("prefix", "suffix", "middle", "path"),
    [
        ("a = 1\n", "\nc = 3\n", "b = 2\n", "a.py"),  # an empty line before the next one
        ("    return 1\n", "\ndef g():\n    pass\n", "\n\ndef f():\n    return 2\n\n", "a.py"),
        ("try:\n    import a\n", "\na()\n", "except ImportError:\n    a = print\n", "a.py"),
        ("if (a) {", "}\n", "\n  b();\n} else {\n  c();\n", "a.js"),
        ("load().then(() => {", "});\n", "\n  a();\n}).catch(() => {\n  b();\n", "a.ts"),
        ("parts = text.split(", ")\n", '")"', "a.py"),
        ("printf(", ");\n", '"(%d) %s)\\n", a, b', "a.c"),
        ("x = max(", ")\n", "a, b) - min(c, d", "a.py"),
        ("c = rgb(", ", 0)\n", "0, 0", "a.css"),
        ("func (s *server) get() ", " {\n\treturn nil, nil\n}\n", "(*server, error)", "a.go"),
        ("case $1 in\n  a)\n    ", "\n    ;;\nesac\n", "b\n    ;;\n  c)\n    d", "a.sh"),
        ("int f(void) {\n    return 0;\n", "    return 1;\n}\n", "fail:\n", "a.c"),
        # A later copy of the suffix, further in: the same words are no sign.
        ("def f(a):\n", "    return result\n", "    if a:\n        return result\n    b()\n", "a.py"),
        # The lexer of a language without a grammar misreads this: nothing is cut for it.
        ("x = (1 ", ")\n", "\\ 2) + (3", "a.jl"),
    ],
)
def test_what_a_model_ended_is_kept_letter_by_letter(
    prefix: str, suffix: str, middle: str, path: str
) -> None:
    assert kept(prefix, suffix, middle, path=path, why="model") == middle


@pytest.mark.parametrize(
    ("prefix", "suffix", "text", "middle", "path"),
    [
        ("print(total(", "))\n", "rows))", "rows", "a.py"),
        ("int f(void) {\n    ", "\n}\n", "return 1;\n}", "return 1;", "a.c"),
        ("x = [\n    ", "]\n", "1,\n]", "1,\n", "a.py"),
        ("a = 1\n", "c = 3\n", "b = 2", "b = 2\n", "a.py"),
        (
            "def f():\n",
            "    total = compute(rows)\n    return total\n",
            "    rows = read()\n    total = compute(rows)\n    return total\n",
            "    rows = read()\n",
            "a.py",
        ),
    ],
)
def test_what_a_model_ended_too_late_is_cut(
    prefix: str, suffix: str, text: str, middle: str, path: str
) -> None:
    assert kept(prefix, suffix, text, path=path, why="model") == middle


def test_a_line_of_the_suffix_further_in_is_not_the_suffix() -> None:
    middle = "    if a:\n        return result\n    b()\n"
    assert (
        kept("def f(a):\n", "    return result\n", f"{middle}    return result\n\nprint(f(1))\n" * 6)
        == middle
    )


def test_a_block_inside_of_a_long_middle_is_not_its_end() -> None:
    steps = "".join(f"    step({n});\n" for n in range(20))
    middle = "    if (a) {\n        b();\n    }\n" + steps
    assert kept("void f(void) {\n", "}\n", middle, path="a.c", why="model") == middle
    assert kept("void f(void) {\n", "}\n", middle + "}\n\nint g;\n" * 9, path="a.c") == middle


def test_a_long_middle_may_leave_its_block() -> None:
    other = "\n\ndef other():\n" + "".join(f"    step({n})\n" for n in range(30))
    middle = "    return 1\n" + other + "\n\ndef last():\n"
    assert kept("def f():\n", "    return 2\n", middle, why="model") == middle


def test_two_rules_may_begin_alike() -> None:
    rule = "  color: black;\n  font-family: monospace;\n  margin: 0;\n"
    middle = f"  top: 0;\n}}\n\nb {{\n{rule}" + "".join(f"  --a{n}: {n};\n" for n in range(30)) + "}\n\np {\n"
    assert kept("a {\n", f"{rule}  float: left;\n}}\n", middle, path="a.css", why="model") == middle


def test_functions_with_one_head_are_told_apart_by_what_follows() -> None:
    arguments = ("self", "url: str", "params: dict | None = None", "timeout: int = 5")
    head = "".join(f"        {argument},\n" for argument in arguments) + "    ) -> str:\n"

    def method(name: str) -> str:
        return f"    def {name}(\n{head}        return self.request('{name}', url, params, timeout)\n\n"

    middle = f"{head}        return self.request('put', url, params)\n\n{method('patch')}    def delete(\n"
    prefix = f"class Client:\n{method('get')}    def put(\n"
    suffix = (
        f"{head}        return self.request('delete', url, params, timeout)\n\n\nclass Other:\n    pass\n"
    )
    assert kept(prefix, suffix, middle, why="model") == middle
    assert kept(prefix, suffix, middle + suffix + "x = 1\n" * 40) == middle


def test_a_fence_ends_code_but_not_in_a_string() -> None:
    assert kept("def f():\n", "", "    return 1\n```\nThis returns one.\n") == "    return 1\n"
    middle = '    """Do it.\n\n```\nf()\n```\n    """\n    return 1\n'
    assert kept("def f():\n", "", middle, why="model") == middle
    assert kept("# Use\n\n", "", "```\nf()\n```\n", path="a.md", why="model") == "```\nf()\n```\n"


def test_a_file_whose_start_the_model_does_not_see_is_read_whole() -> None:
    lines = "".join(f"    a{n}();\n" for n in range(300))
    seen = Hole(lines[-200:], "", "a.c", before="void f(void) {\n" + lines[:-200])
    assert Span(seen).settled("    b();\n}\n", "model")[0] == "    b();\n}\n"
    closed = Hole(lines[-200:], lines[:200], "a.c", seen.before, after=lines[200:] + "}\n")
    assert Span(closed).settled("    b();\n}\n", "model")[0] == "    b();\n"


def test_samples_stop_where_the_text_after_the_hole_begins_letter_by_letter() -> None:
    suffix = "\n    total = compute(rows)\n\n    return checked(total)\n\n\ndef g():\n    pass\n"
    stops = Span(Hole("def f():\n", suffix, "a.py")).stops()
    assert stops == ("\n    total = compute(rows)\n\n    return checked(total)\n\n\ndef g():\n",)
    assert Span(Hole("x = 1\n", "}\n", "a.c")).stops() == ()
    assert Span(Hole("x = 1\n", "", "a.py")).stops() == ()


def test_half_a_line_is_dropped_when_time_or_tokens_end() -> None:
    assert kept("def f():\n", "", "    a = 1\n    b = 2\n    c = so", why="time") == "    a = 1\n    b = 2\n"


def test_nothing_is_nothing() -> None:
    assert kept("a = 1\n", "b = 2\n", "", why="model") == ""
    assert kept("a = 1\n", "b = 2\n", "\n\n", why="model") == ""


def test_prose_has_no_blocks() -> None:
    text = "First.\n\n- a (b\n- c\n"
    assert kept("# Title\n\n", "", text, path="a.md", why="model") == text


@pytest.mark.parametrize(
    ("prefix", "written", "suffix", "kept"),
    [
        ("def f(n):\n    return ", "n + 1\n\n", "\n\nprint(f(1))\n", "n + 1"),
        ("def f(n):\n    return ", "n + 1\n\n\n", "\n\nprint(f(1))\n", "n + 1\n"),
        ("let a = ", "f(b);\n", "\nlet c = 1;\n", "f(b);"),
        (
            "def f(n):\n",
            "    return n\n",
            "\nprint(f(1))\n",
            "    return n\n",
        ),  # whole lines: a blank one follows
        ("x = [", "1,\n    2,\n]\n", "\ny = 1\n", "1,\n    2,\n]\n"),  # the same
        ("x = ", "1\n", "", "1\n"),
    ],
)
def test_the_end_of_a_line_that_stands_there_already_is_not_written_again(
    prefix: str, written: str, suffix: str, kept: str
) -> None:
    path = "a.js" if "let" in prefix else "a.py"
    assert Span(Hole(prefix, suffix, path)).settled(written, "model")[0] == kept
