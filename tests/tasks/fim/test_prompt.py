"""What the model sees of a hole."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from scripted import Scripted

from qwen_cli.engines.core.prompt import plain
from qwen_cli.engines.parsing.marks import FAMILY, Marks
from qwen_cli.errors import UsageError
from qwen_cli.tasks.fim.prompt import (
    BARS,
    PLAIN,
    Hole,
    ends,
    fit,
    layout,
    prompt,
    restored,
    suitable,
    tokens_of,
)


@dataclass(frozen=True)
class Text:
    path: str
    text: str


def words(text: str) -> int:
    return len(text.split())


def test_a_single_file_has_the_layout_of_the_model_card() -> None:
    assert prompt(Hole("a = ", "\nb", "m.py")) == "<|fim_prefix|>a = <|fim_suffix|>\nb<|fim_middle|>"


def test_other_files_come_first_in_the_repository_layout() -> None:
    seen = prompt(
        Hole("a", "b", "src/m.py"), [Text("x.py", "x = 1\n"), Text("y.py", "y = 2")], repository="shop"
    )
    assert seen == (
        "<|repo_name|>shop\n<|file_sep|>x.py\nx = 1\n\n<|file_sep|>y.py\ny = 2\n\n"
        "<|file_sep|>src/m.py\n<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>\n"
    )


def test_the_repository_layout_is_that_of_the_official_script_byte_for_byte() -> None:
    # After examples/Qwen2.5-Coder-repolevel-fim.py, with shorter files: what stands between them is the same.
    official = """<|repo_name|>library-system
<|file_sep|>library.py
class Library:
    def list_books(self):
        return self.books

<|file_sep|>student.py
class Student:
    def borrow_book(self, book, library):
        return False

<|file_sep|>main.py
<|fim_prefix|>from library import Library

def main():
    # Student borrows a book<|fim_suffix|>
    if student.borrow_book(book, library):
        print(book)

if __name__ == "__main__":
    main()<|fim_middle|>
"""
    library = "class Library:\n    def list_books(self):\n        return self.books"
    student = "class Student:\n    def borrow_book(self, book, library):\n        return False"
    hole = Hole(
        "from library import Library\n\ndef main():\n    # Student borrows a book",
        "\n    if student.borrow_book(book, library):\n        print(book)\n\n"
        'if __name__ == "__main__":\n    main()',
        "main.py",
    )
    for end in ("", "\n", "\n\n"):  # however the files end
        files = [Text("library.py", library + end), Text("student.py", student + end)]
        assert prompt(hole, files, repository="library-system") == official
        assert layout(hole, files, repository="library-system") == official.removesuffix("\n")


def test_codeqwen_writes_the_marks_without_bars() -> None:
    assert prompt(Hole("a", "b"), tokens=PLAIN) == "<fim_prefix>a<fim_suffix>b<fim_middle>"


@pytest.mark.parametrize("where", ["prefix", "suffix", "hole path", "path", "text", "repository"])
def test_a_mark_in_what_is_shown_is_text(where: str) -> None:
    mark = "<|fim_middle|><|im_start|><tool_call>"
    given = {name: mark if name == where else "x" for name in ("prefix", "suffix", "path", "text")}
    seen = prompt(
        Hole(given["prefix"], given["suffix"], mark if where == "hole path" else "m.py"),
        [Text(given["path"], given["text"])],
        repository=mark if where == "repository" else "shop",
    )
    assert mark in seen
    pieces = Marks(FAMILY).pieces(seen)
    assert sum(piece.count("<|fim_middle|>") for piece in pieces) == 1
    assert not any("<|im_start|>" in piece or "<tool_call>" in piece for piece in pieces)


def test_a_joiner_that_the_model_copies_is_taken_out_again() -> None:
    broken = Marks(FAMILY).broken(plain("stop = '<|fim_middle|>' or '<think>'"))
    assert "<|fim_middle|>" not in broken
    assert restored(broken) == "stop = '<|fim_middle|>' or '<think>'"
    assert restored("a\u2060b") == "a\u2060b"


def test_a_mark_that_the_source_spells_ends_no_middle() -> None:
    assert "<|im_end|>" in ends(BARS, Hole("a", "b"))
    assert "<|im_end|>" not in ends(BARS, Hole("END = '<|im_end|>'", ""))
    assert "<|im_end|>" not in ends(BARS, Hole("", "END = '<|im_end|>'"))


def test_what_fits_is_left_alone() -> None:
    hole = Hole("a b c\n", "d e\n")
    assert fit(hole, 5, words).hole == hole
    assert fit(hole, 5, words).notice is None


def test_too_long_a_file_is_cut_from_its_far_ends_at_lines() -> None:
    hole = Hole("".join(f"before {n}\n" for n in range(500)), "".join(f"after {n}\n" for n in range(500)))
    cut = fit(hole, 200, words)
    assert words(cut.hole.prefix) + words(cut.hole.suffix) <= 200
    assert cut.hole.prefix.endswith("before 499\n")
    assert cut.hole.prefix.startswith("before ")
    assert cut.hole.suffix.startswith("after 0\n")
    assert cut.hole.suffix.endswith("\n")
    assert cut.notice is not None
    assert f"{500 - cut.hole.prefix.count(chr(10))} at the start" in cut.notice


def test_the_cut_stays_where_it_is_while_one_types() -> None:
    text = "".join(f"line number {n}\n" for n in range(500))
    starts = {fit(Hole(text + "typed " * n, ""), 300, words).hole.prefix[:20] for n in range(8)}
    assert len(starts) == 1


def test_a_share_that_one_side_does_not_need_goes_to_the_other() -> None:
    cut = fit(Hole("a\n" * 1000, "b\n"), 100, words)
    assert cut.hole.suffix == "b\n"
    assert words(cut.hole.prefix) > 60


def test_a_line_longer_than_the_room_is_cut_inside() -> None:
    cut = fit(Hole("x " * 1000, "y " * 1000), 40, words)
    assert 0 < words(cut.hole.prefix + " " + cut.hole.suffix) <= 40


def test_a_model_without_the_marks_is_refused_with_models_that_have_them() -> None:
    wordless = Scripted(context=512)
    wordless.model = "qwen3-8b"
    with pytest.raises(UsageError, match=r"qwen3-8b.*qwen2\.5-coder") as caught:
        tokens_of(wordless)
    assert caught.value.exit_code == 2
    assert "qwen3:8b" not in suitable()


def test_every_end_of_the_official_script_is_known() -> None:
    named = {"prefix", "suffix", "middle", "pad"}
    assert {f"<|fim_{name}|>" for name in named} <= set(BARS.ends)
    assert {"<|repo_name|>", "<|file_sep|>", "<|endoftext|>", "<|im_end|>"} <= set(BARS.ends)
