"""Problems too near to a test: thirteen words in a row and most of the words in order, or the same."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen_cli.errors import UsageError
from qwen_cli.tasks.improve import decontaminate
from qwen_cli.tasks.improve.decontaminate import Protected, ProtectedTexts, longest_common, ordered_share
from qwen_cli.tasks.improve.problem import Problem, words

WORDS = st.lists(st.sampled_from("abcdef"), max_size=40)
TEST = (
    "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May. "
    "How many clips did Natalia sell altogether in April and May?"
)


def in_a_table(one: list[str], other: list[str]) -> int:
    """The longest common subsequence as textbooks compute it."""
    table = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    for i, a in enumerate(one):
        for j, b in enumerate(other):
            table[i + 1][j + 1] = table[i][j] + 1 if a == b else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


@given(WORDS, WORDS)
@settings(max_examples=150, deadline=None)
def test_the_sequence_is_the_longest(one: list[str], other: list[str]) -> None:
    assert longest_common(one, other) == in_a_table(one, other) == longest_common(other, one)


@given(WORDS, WORDS, st.floats(0.1, 0.9))
@settings(max_examples=150, deadline=None)
def test_what_bags_of_words_pass_over_is_not_near(one: list[str], other: list[str], above: float) -> None:
    least = min(len(one), len(other))
    length = in_a_table(one, other)
    share = ordered_share(one, other, above=above)
    assert share == (length / least if least and length > above * least else None)


@given(st.lists(WORDS, min_size=1, max_size=6), WORDS)
@settings(max_examples=150, deadline=None)
def test_a_match_is_what_the_rule_says_of_every_pair(tests: list[list[str]], said: list[str]) -> None:
    def near(test: list[str]) -> bool:
        grams = {tuple(test[i : i + 13]) for i in range(len(test) - 12)}
        shared = any(tuple(said[i : i + 13]) in grams for i in range(len(said) - 12))
        return test == said or (shared and in_a_table(said, test) > 0.6 * min(len(said), len(test)))

    texts = [Protected("test", str(number), " ".join(test)) for number, test in enumerate(tests)]
    match = ProtectedTexts(texts).match(" ".join(said))
    assert (match is not None) == any(map(near, tests))


@pytest.mark.parametrize(
    "text",
    [
        TEST,
        TEST.upper().replace(",", " "),
        "Please help me. " + TEST + " Give the number.",
        TEST.replace("48", "52"),
    ],
)
def test_a_problem_that_is_the_test_in_other_dress_is_near(text: str) -> None:
    match = ProtectedTexts([Protected("gsm8k", "0", TEST)]).match(text)
    assert match
    assert "gsm8k, 0" in match.why


@pytest.mark.parametrize(
    "text",
    [
        "Weng earns $12 an hour for babysitting. Yesterday, she just did 50 minutes. How much did she earn?",
        # The end of it, in a problem of its own: thirteen words, but few of all.
        "A shop had 90 hats, 12 of them red, and a third of the others went to Oslo by ship on one cold day. "
        "How many clips did Natalia sell altogether in April and May? None were sold in June, and the rest "
        "of the hats, which nobody wanted, were given to a school that has 7 classes of 25 pupils each.",
    ],
)
def test_what_has_only_a_sentence_in_common_is_not(text: str) -> None:
    assert ProtectedTexts([Protected("gsm8k", "0", TEST)]).match(text) is None


def test_short_problems_are_compared_with_their_signs() -> None:
    tests = ProtectedTexts([Protected("algebra", "1", "Solve x - 3 = 5.")])
    match = tests.match("solve  x-3 = 5")
    assert match
    assert match.why == "the same as algebra, 1"
    assert tests.match("Solve x + 3 = 5.") is None


def test_each_dropped_problem_comes_with_its_reason() -> None:
    problems = [Problem("a", "What is 1 + 1?", "2"), Problem("b", TEST, "72")]
    clean, dropped = decontaminate.split(problems, ProtectedTexts([Protected("gsm8k", "0", TEST)]))
    assert [one.id for one in clean] == ["a"]
    assert [(one.id, match.why) for one, match in dropped] == [("b", "the same as gsm8k, 0")]


def test_files_of_benches_are_read_in_their_own_formats(tmp_path: Path) -> None:
    files = {
        "gsm8k.jsonl": '{"question": "What is 2 + 2?", "answer": "2 + 2 = 4\\n#### 4"}\n',
        "mmlu.jsonl": '{"question": "Which is even?", "choices": ["1", "2", "3", "5"], "answer": 1}\n',
        "code.jsonl": '{"task_id": "t", "prompt": "def f():", "entry_point": "f", "test": "check"}\n',
    }
    texts = []
    for name, line in files.items():
        (tmp_path / name).write_text(line)
        texts += [one.text.strip() for one in decontaminate.of_file(tmp_path / name)]
    assert texts == ["What is 2 + 2?", "Which is even?", "def f():"]
    with pytest.raises(UsageError, match="there is no file"):
        decontaminate.of_file(tmp_path / "none.jsonl")
    (tmp_path / "other.jsonl").write_text('{"colour": "red"}\n')
    with pytest.raises(UsageError, match="row 1 of"):
        decontaminate.of_file(tmp_path / "other.jsonl")


def test_benches_that_were_fetched_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = tmp_path / "test.jsonl"
    there.write_text('{"problem": "Find $x$ if $x+1=2$.", "answer": "1", "unique_id": "u1"}\n')
    monkeypatch.setattr(
        decontaminate.datasets, "present", lambda repo, pattern: (there,) if "MATH" in repo else ()
    )
    found = decontaminate.of_this_machine(lambda text: pytest.fail(text))
    assert [(one.source, one.id) for one in found] == [("math", "u1")]
    there.write_text("not a row\n")
    said: list[str] = []
    assert decontaminate.of_this_machine(said.append) == []
    assert said[0].startswith("math is not compared with: cannot read")


def test_words_are_those_that_are_read_aloud() -> None:
    assert words("It’s $3.50, ＡＢＣ — done!") == ["it", "s", "3", "50", "abc", "done"]
