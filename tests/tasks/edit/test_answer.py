"""Reading an edit out of a model's answer, and putting it into the text: exactly, or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_cli.tasks.edit.answer import EditRefused, Whole, parse
from qwen_cli.tasks.edit.apply import Edit, bare, edited, edits, lines_of

CODE = "def area(w, h):\n    return w * h\n\n\ndef half(x):\n    return x / 2\n"
LINES = CODE.splitlines()


def block(search: str, replace: str) -> str:
    return f"<<<<<<< SEARCH\n{search}=======\n{replace}>>>>>>> REPLACE\n"


def apply(code: str, answer: str) -> str:
    changes = edits([bare(line) for line in lines_of(code)], parse(answer))
    return edited(code, changes, "\n")


def test_a_block_replaces_the_lines_it_names() -> None:
    assert apply(CODE, block("    return x / 2\n", "    return x // 2\n")) == CODE.replace("x / 2", "x // 2")


def test_several_blocks_in_any_order_with_words_and_fences_around_them() -> None:
    answer = (
        "Sure:\n\n```python\n"
        + block("    return x / 2\n", "    return x >> 1\n")
        + "```\nand\n```python\n"
        + block("def area(w, h):\n", "def area(w: int, h: int) -> int:\n")
        + "```\nDone."
    )
    new = CODE.replace("x / 2", "x >> 1").replace("def area(w, h):", "def area(w: int, h: int) -> int:")
    assert apply(CODE, answer) == new


def test_lines_are_taken_away_and_put_in() -> None:
    assert (
        apply(CODE, block("\n\ndef half(x):\n    return x / 2\n", ""))
        == "def area(w, h):\n    return w * h\n"
    )
    added = block("def half(x):\n", "# half of it\n\ndef half(x):\n")
    assert apply(CODE, added) == CODE.replace("def half", "# half of it\n\ndef half")


def test_an_empty_file_takes_a_block_that_searches_for_nothing() -> None:
    assert apply("", block("", "x = 1\n")) == "x = 1\n"


@pytest.mark.parametrize("fence", ["```", "````", "~~~"])
@pytest.mark.parametrize("info", ["", "python", "python title=a.py"])
def test_a_code_block_is_the_code_whole(fence: str, info: str) -> None:
    assert apply(CODE, f"Here it is.\n{fence}{info}\nx = 1\n{fence}\n") == "x = 1\n"


def test_code_with_fences_inside_comes_in_a_longer_one() -> None:
    assert apply("# A\n", "````md\n# B\n```sh\nls\n```\n````") == "# B\n```sh\nls\n```\n"


def test_a_line_like_the_divider_is_code_where_only_one_reading_is_there() -> None:
    title = "Title\n=======\nold\n"
    assert apply(title, block("=======\nold\n", "=======\nnew\n")) == "Title\n=======\nnew\n"


def test_code_written_at_the_margin_goes_back_to_where_it_was() -> None:
    code = "    def f(self):\n        return 1\n"
    answer = "```python\ndef f(self):\n\n    return 2\n```"
    assert apply(code, answer) == "    def f(self):\n\n        return 2\n"
    assert (
        apply(code, "```\n    def f(self):\n        return 2\n```") == "    def f(self):\n        return 2\n"
    )


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("I cannot do that.", "neither a search/replace block nor a code block"),
        ("", "neither"),
        ("```\na\n```\n```\nb\n```", "2 code blocks"),
        ("```python\nx = 1\n", "ends inside its code block"),
        ("```md\n# A\n```sh\nls\n```\n# B", "code fence inside its code block"),
        ("<<<<<<< SEARCH\nx\n=======\ny\n", "ends inside a search/replace block"),
        ("<<<<<<< SEARCH\nx\n>>>>>>> REPLACE\n", "has no ======= line"),
        ("<<<<<<< SEARCH\nx\n<<<<<<< SEARCH\ny\n=======\n>>>>>>> REPLACE", "inside of another"),
        (block("x\n", "y\n") + ">>>>>>> REPLACE\n", "did not begin"),
        (block("def gone():\n", "y\n"), "not there: 'def gone():'"),
        (block("def half(x):\n    return 0\n", "y\n"), "line 6 is another than 'return 0'"),
        (block("    return w*h\n", "y\n"), "not there"),
        (block("\n", "y\n"), "stands at lines 3 and 4"),
        (block("", "y\n"), "searches for nothing"),
        (block("def half(x):\n", "a\n") + block("def half(x):\n    return x / 2\n", "b\n"), "change line 5"),
        (block("def half(x):\n", "a\n=======\nb\n") + "x", None),
    ],
)
def test_what_cannot_be_applied_exactly_is_refused_with_the_reason(answer: str, says: str | None) -> None:
    if says is None:  # the divider in what is put there: one reading alone finds its text
        assert apply(CODE, answer) == CODE.replace("def half(x):", "a\n=======\nb")
        return
    with pytest.raises(EditRefused) as caught:
        apply(CODE, answer)
    assert says in str(caught.value)


def test_a_block_with_two_readings_is_refused() -> None:
    with pytest.raises(EditRefused, match="divided in two ways"):
        apply("a\n=======\nb\n", block("a\n=======\nb\n", ""))


LINE = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=12)
FENCED = st.lists(LINE.filter(lambda line: not line.lstrip(" ").startswith(("`", "~"))), max_size=8)
ENDS = st.sampled_from(["\n", "\r\n"])


@given(FENCED, FENCED)
def test_any_code_comes_out_of_a_code_block_as_it_went_in(code: list[str], around: list[str]) -> None:
    said = "\n".join([*around, "```python", *code, "```", *around])
    if any("SEARCH" in line or "REPLACE" in line for line in (*code, *around)):
        return
    assert parse(said) == Whole(tuple(code))


@given(st.lists(LINE, min_size=1, max_size=12, unique=True), st.data())
def test_a_block_made_of_the_code_changes_those_lines_and_no_others(
    code: list[str], data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(code) - 1))
    end = data.draw(st.integers(start + 1, len(code)))
    new = data.draw(st.lists(LINE, max_size=4))
    marks = ("<", "=", ">")
    if any(line.startswith(marks) for line in (*code, *new)):
        return
    said = "\n".join(["<<<<<<< SEARCH", *code[start:end], "=======", *new, ">>>>>>> REPLACE"])
    [change] = edits(code, parse(said))
    assert change == Edit(start, end, tuple(new))


@given(st.lists(st.tuples(LINE, ENDS), max_size=10), st.data())
def test_lines_that_stay_keep_their_ends_and_the_last_its_own(
    code: list[tuple[str, str]], data: st.DataObject
) -> None:
    text = "".join(line + end for line, end in code)
    if data.draw(st.booleans()):
        text = text.rstrip("\r\n")
    lines = lines_of(text)
    assert "".join(lines) == text
    start = data.draw(st.integers(0, len(lines)))
    end = data.draw(st.integers(start, len(lines)))
    new = tuple(data.draw(st.lists(LINE, max_size=4)))
    after = edited(text, [Edit(start, end, new)], "\n")
    wanted = [bare(line) for line in (*lines[:start], *new, *lines[end:])]
    assert [bare(line) for line in lines_of(after)] == [
        *wanted[:-1],
        *([wanted[-1]] if wanted and (wanted[-1] or lines_of(after)[len(wanted) - 1 :]) else []),
    ]
    assert after.startswith("".join(lines[:start]) if end < len(lines) or new else "")
    if end < len(lines):
        assert after.endswith("".join(lines[end:]))


@given(st.text(max_size=200))
def test_no_answer_breaks_the_reader(said: str) -> None:
    try:
        apply(CODE, said)
    except EditRefused as fault:
        assert "\n" not in str(fault)
