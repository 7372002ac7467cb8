"""A streamed answer ends as the same screen as the whole rendered at once, and each row is there once."""

from __future__ import annotations

import io
import random
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from screen import Screen

from qwen_cli.ui import blocks
from qwen_cli.ui.markdown import MarkdownStream

ANSWER = """\
# Sorting, a **short** tour

Python sorts with *Timsort*: stable, `O(n log n)`, and quick on data that is partly sorted already. See the \
[manual](https://docs.python.org/3/howto/sorting.html) or <https://example.org>. 中文也可以:排序算法是稳定的,\
所以相等的元素保持原来的顺序。 한국어도 됩니다. Emoji 🎉 too, and 👩‍👩‍👧.
A line break stays one, <b>HTML</b> is text, Vec<T> too.

[INFO]: this is text

## Steps

1. Make a list
   - of numbers
   - or of words
     1. any
     2. order
2. Sort it

   and look again
3. Use it:
   ```python
   for x in sorted(xs):
       print(x)
   ```
4. four
5. five
6. six
7. seven
8. eight
9. nine
10. ten, whose number is wider

* another list
* of bullets

| method | stable | memory |
|:-------|:------:|-------:|
| `sorted` | yes | n |
| heapq | no | 1 |
| 中文 | 是 | 22,222 |

> A quotation that is long enough to be wrapped, because quotations are indented and so have less room.
> - with a list

Setext is not a heading
---

```python
def quick(xs: list[int]) -> list[int]:
    \"\"\"A docstring
    over two lines.\"\"\"
    if len(xs) < 2:  # nothing to do

        return xs
\treturn quick([x for x in xs[1:] if x < xs[0]]) + [xs[0]] + quick([x for x in xs[1:] if x >= xs[0]])
```
Right after it: \\( a_1 * b_2 \\) and \\[ x^* = \\frac{1}{2} \\] and $$a*b*c$$.

    indented code

~~~~
```
a fence in a fence
~~~~

The end, #1, 3 * 4 * 5 and a_b_c.
"""
UNTERMINATED = "Here:\n\n```js\nconst a = 1;\n\n/* open\ncomment"
SAMPLES = {"everything": ANSWER, "unterminated fence": UNTERMINATED, "half bold": "So **this is"}


def stream(
    text: str | Sequence[str], *, size: int | None = 1, width: int = 80, height: int = 24, **options: object
) -> tuple[Screen, str]:
    """The screen after `text` came in pieces of `size` (`None`: random), or as the pieces it is given in, and
    what was written."""
    console = Console(
        file=io.StringIO(), force_terminal=True, width=width, height=height, color_system="truecolor"
    )
    answer = MarkdownStream(console, **{"interval": 0.0, **options})  # type: ignore[arg-type]
    for piece in pieces(text, size) if isinstance(text, str) else text:
        answer.feed(piece)
    answer.finish()
    screen, written = Screen(width, height), console.file.getvalue()  # type: ignore[attr-defined]
    screen.write(written)
    return screen, written


def pieces(text: str, size: int | None) -> Iterator[str]:
    chance, at = random.Random(7), 0
    while at < len(text):
        step = size or chance.randint(1, 9)
        yield text[at : at + step]
        at += step


def at_once(text: str, width: int = 80) -> list[str]:
    """The rows of the whole text, rendered block by block, as a terminal wraps and pads them."""
    console = Console(file=io.StringIO(), force_terminal=True, width=width)
    screen = Screen(width, 1000)
    for number, block in enumerate(blocks.parse(text)):
        rows = blocks.rows(console, block, width - 1)
        for row in ([()] if number else []) + rows:
            screen.write("".join(run for run, _ in row) + "\n")
    return screen.text


@pytest.mark.parametrize("width", [80, 41, 20])
@pytest.mark.parametrize("size", [1, 4, None, 10_000])
def test_a_stream_ends_as_the_whole_rendered_at_once(size: int | None, width: int) -> None:
    screen, _ = stream(ANSWER, size=size, width=width)
    assert screen.text == at_once(ANSWER, width)


_PARTS = [
    *("# ", "- ", "  - ", "1. ", "2. ", "> ", "    ", "```", "~~~~", "```python\n", "\n", "\n\n", "\n---\n"),
    *(
        "**",
        "*",
        "`",
        "[a](b)",
        "| a | b |\n|---|---|\n| 1 | 2 |\n",
        "<b>",
        "\\(",
        "\\)",
        "\\[x^2\\]",
        "$$",
        "$x_1$",
    ),
    *("\\[x^2\\]", "$x_1$", "word ", "中文", "x = 1", "a_b", "\t", "\\", "👩‍👩‍👧 "),
]


@settings(max_examples=80)
@given(
    text=st.lists(st.sampled_from(_PARTS), max_size=14).map("".join),
    places=st.lists(st.integers(0, 60), max_size=8),
    formulas=st.booleans(),
)
def test_any_answer_ends_alike_wherever_it_is_split(text: str, places: list[int], formulas: bool) -> None:
    cuts = [0, *sorted(min(place, len(text)) for place in places), len(text)]
    parts = [text[start:end] for start, end in pairwise(cuts)]
    whole, split, letters = (stream(way, formulas=formulas)[0].text for way in ([text], parts, list(text)))
    assert split == whole
    assert letters == whole


@pytest.mark.parametrize("height", [2, 5, 24])
def test_blocks_taller_than_the_screen_leave_no_garbage(height: int) -> None:
    table = "| n | square |\n|---|---|\n" + "".join(f"| {n} | {n * n} |\n" for n in range(30))
    nested = "- item\n" + "".join(f"  - nested {n} with some words\n" for n in range(40))
    code = "```python\n" + "".join(f"x_{n} = {n}\n" for n in range(40)) + "```\n"
    text = f"{table}\n{nested}\n{code}\n" + "word " * 450
    screen, _ = stream(text, height=height, size=7)
    assert screen.text == at_once(text)


def test_an_unterminated_fence_shows_all_its_lines() -> None:
    screen, _ = stream(UNTERMINATED)
    assert screen.text == ["Here:", "", "```js", "const a = 1;", "", "/* open", "comment"]


def test_no_word_gets_lost() -> None:
    screen, _ = stream(ANSWER, width=200)
    shown = re.findall(r"\w+", " ".join(screen.text))
    markers = {
        "python"
    }  # the languages of fences are shown; nothing of the source is left out but link titles
    assert [w for w in re.findall(r"\w+", ANSWER) if w not in markers] == [
        w for w in shown if w not in markers
    ]


@pytest.mark.parametrize(
    "text", ["plain words, nothing else", "a < b & c > d", "tab\tand *star", "1 * 2 * 3_4_5"]
)
def test_text_that_is_not_markdown_stays(text: str) -> None:
    screen, _ = stream(text)
    assert " ".join(screen.text).split() == text.split()


@pytest.mark.parametrize(
    "text",
    [
        r"5*3*2 = 30, edit __init__.py, C:\_x_\new",
        "2**8 and x**2*y**3",
        "a*b and c*d*e",
        "src/**/*.py and lib/**/*.js",
        "src/*.py, lib/*.js, **/*.ts or **/x",
        "*.py and *.txt",
        "/home/_cache_/x_y_/z",
        r"\\server\_share_\x and dir\a_b_\c",
        "__main__ and __name__ == '__main__'",
        "f(x)*g(x)*h(x) + 3*(4+5)*6",
        "int *a, *b; (*p)->x",
    ],
)
def test_the_signs_of_products_names_and_paths_stay(text: str) -> None:
    assert at_once(text, 120) == [text]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("**bold** and *it*, __Strong__ and _em_", "bold and it, Strong and em"),
        ("这是**重点**内容", "这是重点内容"),
        ("**A**/**B** or *he*/*she*", "A/B or he/she"),
        ("**bold**er and [**link**](http://a/b_c)", "bolder and link (http://a/b_c)"),
        ("***both*** and **2*3**", "both and 2*3"),
        (r"my\_file \*no\*", "my_file *no*"),
    ],
)
def test_emphasis_is_emphasis(text: str, shown: str) -> None:
    assert at_once(text, 120) == [shown]


@pytest.mark.parametrize("width", [20, 40, 60])
def test_a_table_folds_long_words_and_cuts_none(width: int) -> None:
    digest, address = "e3b0c44298fc1c149afbf4c8996fb924", "https://example.org/a/very/long/path.html"
    shown = at_once(f"| a | b |\n|---|---|\n| {digest} | {address} |", width)
    assert Counter("".join(shown[2:]).replace(" ", "")) >= Counter(digest + address)


def test_what_is_written_is_in_proportion_to_the_answer() -> None:
    long = (ANSWER + "\n") * 3
    _, once = stream(long, size=100_000)
    _, by_letters = stream(long, size=1)
    _, by_tokens = stream(long, size=4)
    assert len(by_tokens) < 4 * len(once)
    assert len(by_letters) < 6 * len(once)


def test_time_is_in_proportion_to_the_answer() -> None:
    def seconds(text: str) -> float:
        began = time.process_time()
        stream(text, size=4, interval=0.04)
        return time.process_time() - began

    seconds(ANSWER)
    short = min(seconds(ANSWER * 2) for _ in range(2))
    assert min(seconds(ANSWER * 16) for _ in range(2)) < 2.5 * 8 * short


def test_an_endless_paragraph_stays_cheap() -> None:
    began = time.process_time()
    stream("word " * 20_000, size=5, interval=0.04)
    assert time.process_time() - began < 10


def test_finished_code_is_highlighted_line_by_line_as_at_once() -> None:
    code = 'def f(x: int) -> str:\n    """Doc\n    string."""\n    return f"{x}"  # why\n'
    _, streamed = stream(f"```python\n{code}```\n", size=3)
    _, once = stream(f"```python\n{code}```\n", size=None)
    whole = list(blocks.code_rows(code, "python", "```"))
    from qwen_cli.ui import highlight as code_module

    line_by_line = code_module.Highlighter("python")
    assert whole[1:-1] == [line_by_line.line(line) for line in code.splitlines()]
    assert all(
        style for row in whole[2:4] for text, style in row if text.strip()
    )  # the docstring is a string
    assert "\x1b[" in streamed and "\x1b[" in once


def test_long_code_lines_are_wrapped_by_the_terminal_so_that_they_copy_whole() -> None:
    line = "x = '" + "a" * 150 + "'"
    _, written = stream(f"```\n{line}\n```\n", size=4)
    assert line in written


def test_escape_sequences_of_the_model_do_not_reach_the_terminal() -> None:
    _, written = stream("a \x1b]0;owned\x07b \x1b[2J `c\x9b31m` [x](http://y\x1b[1m)\n\n&#x202E;abc", size=2)
    assert (
        "owned" not in written and "[2J" not in written and "\u202e" not in written and "\x9b" not in written
    )


def test_a_terminal_that_changes_its_width_gets_whole_rows_after() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=80, height=24)
    answer = MarkdownStream(console, interval=0)
    answer.feed("one two three\n\nfour five ")
    console.width = 30
    answer.feed("six\n\n" + "seven " * 12)
    answer.finish()
    screen = Screen(30, 24)
    screen.write(console.file.getvalue())  # type: ignore[attr-defined]
    assert screen.text[-3:] == ["seven seven seven seven seven"] * 2 + ["seven seven"]
    assert "four five six" in screen.text


def test_without_a_terminal_the_text_passes_as_it_is() -> None:
    console = Console(file=io.StringIO(), force_terminal=False)
    answer = MarkdownStream(console)
    answer.thinking("hidden")
    for letter in "**bold**\x1b[31m\n\n- x\n":
        answer.feed(letter)
    answer.finish()
    assert console.file.getvalue() == "**bold**\n\n- x\n"  # type: ignore[attr-defined]


def test_thoughts_fold_to_one_line() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=60, height=24)
    screen = Screen(60, 24)
    answer = MarkdownStream(console, interval=0)
    for word in ("Hmm, " * 40 + "\n\nso it is *four*.").split(" "):
        answer.thinking(word + " ")
    screen.write(console.file.getvalue())  # type: ignore[attr-defined]
    assert any("so it is *four*." in row for row in screen.visible), "shown while they come"
    assert len(screen.text) <= 6
    answer.feed("Four.")
    answer.finish()
    screen = Screen(60, 24)
    screen.write(console.file.getvalue())  # type: ignore[attr-defined]
    assert re.fullmatch(r"thought for \d+\.\d s, ~44 tokens", screen.text[0])
    assert screen.text[1:] == ["", "Four."]


def test_thoughts_stay_when_not_folded() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=60, height=8)
    answer = MarkdownStream(console, interval=0, fold=False)
    lines = [f"thought number {n}" for n in range(30)]
    for letter in "\n".join(lines):
        answer.thinking(letter)
    answer.feed("Done.")
    answer.finish()
    screen = Screen(60, 8)
    screen.write(console.file.getvalue())  # type: ignore[attr-defined]
    assert screen.text[:30] == lines
    assert screen.text[-1] == "Done."


def test_a_status_line_vanishes() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=60, height=24)
    answer = MarkdownStream(console, interval=0)
    answer.status("reading 3,000 tokens …")
    answer.feed("Hello.")
    answer.finish()
    screen = Screen(60, 24)
    screen.write(console.file.getvalue())  # type: ignore[attr-defined]
    assert screen.text == ["Hello."]
    assert screen.cursor == (0, 1)


FORMULAS = r"""Thus \( a_1 * b_2 \) and \[ x^* = \frac{1}{2} \] and $$a*b*c$$, $x_1$ and $f_{a}*g_{b}$.

1. Compute
   \[
   - 5 + x
   = \frac{3}{4}

   \]
2. Next: $- 3$ is.
$$
> 5
$$
after **it**
\begin{align}
x &= 1 \\
y &= 2
\end{align}

> quoted
> \[
> - 7
> \]

- `echo $A$` and $5 and $10, \$5, $> 3$, $\overline{AB}*x*$
- \boxed{\frac{3}{4}}

```sh
echo $x^2$
```

    echo $x^2$

$$ is the PID

- item

\[ is open

- item
"""
SHOWN = """\
Thus a₁ * b₂ and x^* = 1/2 and a*b*c, x₁ and fₐ*g_b.

 1. Compute
    - 5 + x = 3/4
 2. Next: - 3 is.

> 5

after it

x = 1
y = 2

▌ quoted
▌ - 7

 • echo $A$ and $5 and $10, $5, > 3, $\\overline{AB}*x*$
 • 3/4

```sh
echo $x^2$
```

echo $x^2$

$$ is the PID

 • item

\\[ is open

 • item"""


@pytest.mark.parametrize("size", [1, 4, None, 10_000])
def test_formulas_are_unicode_where_that_means_the_same(size: int | None) -> None:
    screen, _ = stream(FORMULAS, size=size, formulas=True)
    assert "\n".join(row.rstrip() for row in screen.text) == SHOWN


def test_without_formulas_latex_is_shown_as_it_is_written() -> None:
    screen, _ = stream(r"\( a_1 * b_2 \) and $\frac{1}{2}$", formulas=False)
    assert screen.text == [r"\( a_1 * b_2 \) and $\frac{1}{2}$"]


def test_a_display_formula_that_never_ends_does_not_swallow_the_answer() -> None:
    screen, _ = stream("\\[\n" + "- a + b\n" * 500, size=50, formulas=True, height=10)
    assert sum("• a + b" in row for row in screen.text) == 500


@pytest.mark.parametrize(("parts", "written"), [(["a"], "a\n"), (["a", "\n"], "a\n"), ([], ""), ([""], "")])
def test_where_nothing_is_rendered_the_end_is_on_a_fresh_row_too(parts: list[str], written: str) -> None:
    file = io.StringIO()
    answer = MarkdownStream(Console(file=file, force_terminal=False))
    for part in parts:
        answer.feed(part)
    answer.finish()
    answer.finish()
    assert file.getvalue() == written
