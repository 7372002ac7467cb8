"""Mathematics: solved as `qwen math` does, or in raw text after shots."""

from __future__ import annotations

import pytest
from examined import Examined

from qwen_cli.engines.core.base import Sampling
from qwen_cli.tasks.eval import problems
from qwen_cli.tasks.eval.problems import concluded
from qwen_cli.tasks.eval.protocol import Protocol

GSM8K = {"question": "Two and two?", "answer": "2 + 2 = <<2+2=4>>4\n#### 4"}
GREEDY = Sampling(temperature=0.0)


def test_a_row_of_gsm8k_has_its_answer_and_its_solution() -> None:
    parsed = problems.parse(GSM8K, 7)
    assert (parsed.id, parsed.expected, parsed.worked.splitlines()[-1]) == ("7", "4", "#### 4")


def test_a_row_without_an_answer_is_refused() -> None:
    with pytest.raises(ValueError, match="no answer"):
        problems.parse({"problem": "1 + 1"}, 1)


def test_raw_text_has_worked_problems_before_it() -> None:
    shot = problems.parse(GSM8K, 1)
    asked = problems.Problem("2", "", "Three and three?", "6", shots=(shot,))
    engine = Examined(lambda prompt: " 3 + 3 = 6\n#### 6")
    attempt = asked.attempt(engine, Protocol("base", 1, sampling=GREEDY), 0, lambda: False)
    assert attempt
    assert (attempt.answer, attempt.correct) == ("6", 1.0)
    assert engine.prompts[0].startswith("Question: Two and two?\nAnswer: 2 + 2")
    assert engine.prompts[0].endswith("#### 4\n\nQuestion: Three and three?\nAnswer:")


def test_in_chat_the_box_is_the_answer() -> None:
    asked = problems.Problem("2", "", "Half of one?", "0.5")
    engine = Examined(lambda prompt: r"It is \boxed{\frac{1}{2}}.", model="qwen3:8b")
    attempt = asked.attempt(engine, Protocol("chat", 0, sampling=GREEDY), 0, lambda: False)
    assert attempt
    assert (attempt.answer, attempt.correct) == (r"\frac{1}{2}", 1.0)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("2 + 2 = 4\n#### 4", "4"),
        ("#### 1,200\n\nQuestion: another", "1,200"),
        (r"so \boxed{7}", "7"),
        ("The answer is 12.", "12"),
        ("the final answer is: $3.50", "$3.50"),
        ("That makes 5 and 6, so 11 apples", "11"),
        ("-3 degrees", "-3"),
        ("none", None),
        ("", None),
    ],
)
def test_the_answer_of_raw_text(text: str, answer: str | None) -> None:
    assert concluded(text) == answer
