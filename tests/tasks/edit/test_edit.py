"""What a model is asked for an edit, and which lines it is about."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from told import Told

from qwen_cli.engines.core.base import Capabilities
from qwen_cli.errors import UsageError
from qwen_cli.tasks.common.drain import drain
from qwen_cli.tasks.edit import edit
from qwen_cli.tasks.edit.answer import EditRefused
from qwen_cli.tasks.fim.source import Source

CODE = "import math\n\n\ndef area(w, h):\n    return w * h\n\n\nprint(area(1, 2))\n"


def run(engine: Told, source: Source, words: str = "change it", **given: Any) -> edit.Proposal:
    return drain(edit.stream(engine, source, words, **given))


def asked(engine: Told) -> str:
    return str(engine.seen[0][0][1]["content"])


def test_only_the_lines_that_are_named_change() -> None:
    engine = Told("```python\ndef area(w, h):\n    return h * w\n```")
    found = run(engine, edit.selected(Source(CODE), 4, 5), "swap the factors", name="a.py")
    assert found.text == CODE.replace("w * h", "h * w")
    assert [(c.start, c.end - 1) for c in found.changes] == [(4, 5)]
    assert "Instruction: swap the factors" in asked(engine)
    assert "The code to edit, of a.py:\n```py\ndef area(w, h):\n    return w * h\n```" in asked(engine)
    assert "code before it:\n```py\nimport math" in asked(engine)
    assert "code after it:\n```py\n\n\nprint(" in asked(engine)


@pytest.mark.parametrize("newline", ["\r\n", "\r"])
def test_line_ends_of_the_file_stay(newline: str) -> None:
    code = CODE.replace("\n", newline)
    engine = Told("```\ndef area(w, h):\n    # by hand\n    return w * h\n```")
    found = run(engine, edit.selected(Source(code), 4, 5))
    assert found.text == code.replace("    return", f"    # by hand{newline}    return")
    assert "\r" not in asked(engine)


def test_a_line_in_a_file_with_mixed_ends_changes_alone() -> None:
    code = "a\r\nb\nc\r\nd\r\n"
    assert run(Told("```\na\nx\nc\nd\n```"), edit.selected(Source(code))).text == "a\r\nx\r\nc\r\nd\r\n"
    assert run(Told("```\na\nb\nx\nd\n```"), edit.selected(Source(code))).text == "a\r\nb\nx\r\nd\r\n"


@pytest.mark.parametrize("end", ["", "\n"])
def test_whether_the_file_ends_with_a_line_end_stays(end: str) -> None:
    assert run(Told("```\na\nc\nd\n```"), edit.selected(Source(f"a\nb{end}"))).text == f"a\nc\nd{end}"


def test_an_empty_file_is_written_into() -> None:
    assert run(Told("```\nx = 1\n```"), edit.selected(Source(""))).text == "x = 1\n"


def test_the_same_code_again_is_no_change() -> None:
    assert not run(Told(f"```\n{CODE}```"), edit.selected(Source(CODE))).changed


def test_many_lines_are_asked_for_in_search_replace_blocks_few_whole() -> None:
    long = edit.selected(Source("x = 1\n" * 61))
    short = edit.selected(Source("x = 1\n" * 60))
    assert (edit.form_of(long), edit.form_of(short)) == ("search", "whole")
    engine = Told("<<<<<<< SEARCH\nx = 1\n=======\nx = 2\n>>>>>>> REPLACE")
    with pytest.raises(EditRefused, match="stands at lines 1 and 2 and 3 and more"):
        run(engine, long)
    assert "<<<<<<< SEARCH" in asked(engine)
    assert edit.form_of(short, "search") == "search"


def test_code_that_has_the_marks_of_blocks_is_edited_whole_only() -> None:
    code = "a\n<<<<<<< SEARCH\nfoo\n=======\nbar\n>>>>>>> REPLACE\nb\n"
    source = edit.selected(Source(code * 20))
    assert edit.form_of(source) == "whole"
    found = run(Told(f"```\n{code}```"), edit.selected(Source(code.replace("b\n", "c\n"))))
    assert found.text == code


def test_a_fence_longer_than_any_in_the_code_is_asked_for() -> None:
    engine = Told("````\n# B\n````")
    run(engine, edit.selected(Source("# A\n```sh\nls\n```\n")))
    assert "begins and ends with ````," in asked(engine)


@pytest.mark.parametrize("stop", ["length", "context"])
def test_an_answer_that_was_cut_changes_nothing_even_where_it_reads_whole(stop: str) -> None:
    with pytest.raises(edit.CutOff, match="cut after 7 tokens") as caught:
        run(Told("```\nx = 1\n```", stop_reason=stop), edit.selected(Source(CODE)))
    assert caught.value.stop == stop


@pytest.mark.parametrize(
    ("thinking", "asked_for", "temperature"),
    [(None, None, 0.0), ("switch", False, 0.0), ("always", None, None)],
)
def test_greedy_and_without_thinking_where_that_can_be(
    thinking: Any, asked_for: bool | None, temperature: float | None
) -> None:
    engine = Told("```\nx\n```")
    engine.capabilities = replace(Capabilities(context=8_192), thinking=thinking)
    run(engine, edit.selected(Source(CODE)))
    sampling, given = engine.asked[0]
    assert (given, sampling.temperature) == (asked_for, temperature)
    most = None if thinking == "always" else 1_024 + 2 * engine.count_tokens(CODE)
    assert sampling.max_tokens == most


def test_a_model_that_always_thinks_does_it_as_its_card_has_it_for_code() -> None:
    engine = Told("```\nx\n```")
    engine.model = "qwen3.8:2.4t-a95b"
    engine.capabilities = Capabilities(context=8_192, thinking="always")
    run(engine, edit.selected(Source(CODE)))
    sampling, _ = engine.asked[0]
    assert (sampling.temperature, sampling.top_p, sampling.top_k) == (0.6, 0.95, 20)
    assert sampling.presence_penalty == 0


@pytest.mark.parametrize(
    ("first", "last", "says"),
    [
        (9, None, "has 8 lines, not 9"),
        (4, 12, "not 12"),
        (5, 4, "no lines 5 to 4"),
        (0, 2, "no lines 0 to 2"),
    ],
)
def test_lines_that_are_not_there_are_refused(first: int, last: int | None, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        edit.selected(Source(CODE), first, last)


def test_an_empty_instruction_asks_nothing() -> None:
    engine = Told("```\nx\n```")
    with pytest.raises(UsageError, match="empty"):
        run(engine, edit.selected(Source(CODE)), " \n")
    assert engine.seen == []


def test_far_code_is_left_out_of_what_is_shown() -> None:
    engine = Told("```\nx = 0\n```", context=2_048)
    text = "".join(f"before_{n} = {n}\n" for n in range(2_000)) + "x = 1\n"
    found = run(engine, edit.selected(Source(text), 2_001))
    assert found.text.endswith("before_1999 = 1999\nx = 0\n")
    assert "before_1999" in asked(engine)
    assert "before_7 " not in asked(engine)
    assert engine.count_tokens(asked(engine)) < 1_000
