"""Lettered questions: rows of any bench, letters that are rated or written."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from examined import Examined
from hypothesis import given
from hypothesis import strategies as st

from qwen_cli.engines.core.base import Sampling
from qwen_cli.tasks.eval import choices
from qwen_cli.tasks.eval.choices import Choice, chosen
from qwen_cli.tasks.eval.protocol import Protocol

SHOT = Choice("s", "high school physics", "What is heavy?", ("air", "lead", "dust", "foam"), 1)
SKY = Choice(
    "q",
    "high school physics",
    " Which colour is the sky? ",
    ("red", "green", "blue", "black"),
    2,
    shots=(SHOT,),
)
GREEDY = Sampling(temperature=0.0)


def never() -> bool:
    return False


class TestRows:
    @pytest.mark.parametrize(
        ("row", "letter", "subject"),
        [
            ({"question": "?", "choices": ["a", "b"], "answer": 1, "subject": "low_law"}, "B", "low law"),
            ({"question": "?", "choices": ["a", "b"], "answer": "A", "type": "x"}, "A", "x"),
            ({"question": "?", "options": list("abcdefghij"), "answer": "J", "category": "law"}, "J", "law"),
            ({"id": 3, "question": "？", "A": "一", "B": "二", "C": "三", "D": "四", "answer": "C"}, "C", ""),
            ({"question": "?", "choices": {"text": ["u", "v"], "label": "12"}, "answerKey": "2"}, "B", ""),
            ({"question": "?", "choices": ["4", "2", "0"], "answer": "2"}, "B", ""),  # a choice's own text
            ({"question": "?", "choices": ["a", "b", "c"], "answer": "2"}, "C", ""),  # a number as text
        ],
    )  # fmt: skip
    def test_of_every_shape_are_read(self, row: dict[str, Any], letter: str, subject: str) -> None:
        parsed = choices.parse(row, 1)
        assert (parsed.expected, parsed.subject) == (letter, subject)

    @pytest.mark.parametrize(
        "row",
        [
            {"question": "?", "choices": ["a", "b"]},
            {"question": "?", "choices": ["a", "b"], "answer": "E"},
            {"question": "?", "choices": ["a", "b"], "answer": 2},
            {"question": "?", "choices": ["a", "b"], "answer": -1},
            {"question": "?", "choices": ["a", "b"], "answer": True},
            {"choices": ["a", "b"], "answer": 0},
            {"question": "?", "answer": "A"},
        ],
    )
    def test_without_a_question_or_answer_are_refused(self, row: dict[str, Any]) -> None:
        with pytest.raises((KeyError, ValueError)):
            choices.parse(row, 1)


class TestRated:
    """The likeliest letter after `Answer:` counts, however unlikely all of them are."""

    LIKES: ClassVar = {" A": 0.02, " B": 0.01, " C": 0.04, " D": 0.03, " the": 0.9}

    def test_the_prompt_is_qwens_own(self) -> None:
        engine = Examined(likes=self.LIKES)
        SKY.attempt(engine, Protocol("base", 5, sampling=GREEDY), 0, never)
        assert engine.prompts[0] == (
            "The following are multiple choice questions (with answers) about high school physics.\n\n"
            "Question: What is heavy?\nA. air\nB. lead\nC. dust\nD. foam\nAnswer: B\n\n"
            "Question: Which colour is the sky?\nA. red\nB. green\nC. blue\nD. black\nAnswer:"
        )

    def test_as_lm_eval_writes_it_there_is_no_word_before_a_question(self) -> None:
        engine = Examined(likes=self.LIKES)
        SKY.attempt(engine, Protocol("lm-eval", 1, sampling=GREEDY), 0, never)
        assert "\n\nWhich colour is the sky?\nA. red" in engine.prompts[0]
        assert "Question" not in engine.prompts[0]

    def test_the_likeliest_letter_is_the_answer(self) -> None:
        attempt = SKY.attempt(Examined(likes=self.LIKES), Protocol("base", 0, sampling=GREEDY), 0, never)
        assert attempt
        assert (attempt.answer, attempt.correct) == ("C", 1.0)
        assert attempt.chances is not None
        assert max(attempt.chances, key=lambda letter: attempt.chances[letter]) == "C"  # type: ignore[index]

    def test_an_engine_that_shows_no_likely_tokens_rates_each_letter(self) -> None:
        engine = Examined(likes={" A": 0.5, " B": 0.1, " C": 0.2, " D": 0.1}, logprobs=False)
        attempt = SKY.attempt(engine, Protocol("base", 0, sampling=GREEDY), 0, never)
        assert attempt
        assert attempt.answer == "A"
        assert len(engine.prompts) == 4

    def test_chinese_questions_have_chinese_words(self) -> None:
        engine = Examined(likes={"A": 0.6, "B": 0.1})
        question = Choice("1", "计算机", "下列哪个是二进制？", ("101", "A1"), 0, chinese=True)
        attempt = question.attempt(engine, Protocol("base", 0, sampling=GREEDY), 0, never)
        assert attempt
        assert attempt.correct == 1.0
        assert engine.prompts[0].startswith("以下是中国关于计算机考试的单项选择题")
        assert engine.prompts[0].endswith("答案：")


class TestInChat:
    def test_shots_are_turns_and_the_letter_is_read(self) -> None:
        engine = Examined(lambda prompt: 'Blue light is scattered most.\n\n"answer": "C"')
        attempt = SKY.attempt(engine, Protocol("chat", 1, sampling=GREEDY), 0, never)
        assert attempt
        assert (attempt.answer, attempt.correct, attempt.tokens) == ("C", 1.0, 7)
        assert [turn["role"] for turn in engine.turns[0]] == ["user", "assistant", "user"]
        assert "thinking" not in attempt.text

    def test_a_limit_is_told(self) -> None:
        engine = Examined(lambda prompt: "First, the sky", stop="length")
        attempt = SKY.attempt(engine, Protocol("chat", 0, sampling=GREEDY), 0, never)
        assert attempt
        assert (attempt.answer, attempt.correct, attempt.cut) == (None, 0.0, True)


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ('"answer": "C"', "C"),
        ('```json\n{"answer": "B"}\n```', "B"),
        ("{'answer': 'D'}", "D"),
        ("**Answer: C**", "C"),
        ("The answer is (B).", "B"),
        ("the correct answer is **D**", "D"),
        (r"\boxed{A}", "A"),
        (r"$\boxed{\text{C}}$", "C"),
        (r"so \boxed{B. green}", "B"),
        ("答案：C", "C"),
        ("答案是 B。", "B"),
        ("故选：D", "D"),
        ("正确选项为A", "A"),
        ("C", "C"),
        ("(C)", "C"),
        ("C. blue", "C"),
        ("Option B is wrong. The answer is C.", "C"),
        ("Answer: A\nWait, that is wrong.\nAnswer: D", "D"),
        ("It is blue", "C"),
        ("A red sky is rare, and so is a green one.", None),
        ("", None),
        ("E", None),
        ("I cannot answer this.", None),
    ],
)
def test_the_letter_is_read_from_what_was_said(text: str, letter: str | None) -> None:
    assert chosen(text, "ABCD", SKY.choices) == letter


@given(st.text(max_size=200))
def test_what_is_read_is_one_of_the_letters_or_nothing(text: str) -> None:
    assert chosen(text, "ABCD", SKY.choices) in (None, *"ABCD")
