"""The loop of words and programs. The model is written down here where the starter would not do on demand
what a case needs; programs run in the real sandbox."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from scripted import Scripted, end

from qwen_cli.commands.math import output
from qwen_cli.engines.core.base import Completion, Message, Piece, Reuse, Sampling, Stream, Usage
from qwen_cli.engines.llamacpp.engine import LlamaCpp
from qwen_cli.engines.parsing.marks import FAMILY, Marks
from qwen_cli.engines.parsing.think_tags import CLOSE
from qwen_cli.errors import ContextFull, UsageError
from qwen_cli.models.hub.resolve import Weights
from qwen_cli.sandbox import Limits, Sandbox
from qwen_cli.tasks.common.drain import drain
from qwen_cli.tasks.math import prompts, solve, tir
from qwen_cli.tasks.math import vote as math_vote
from qwen_cli.tasks.math.allowance import allowance
from qwen_cli.tasks.math.answer import Judge

ASKED = [{"role": "user", "content": "What is 6 times 7?"}]
CODE = "Multiply.\n\n```python\nprint(6 * 7)"
BOXED = "So it is \\boxed{42}."


class Rendered(Scripted):
    """Continues prompts: what it writes is cut at the stop strings as an engine does."""

    def __init__(self, *answers: list[Piece | BaseException]) -> None:
        super().__init__(*answers)
        self.capabilities = replace(self.capabilities, render=True, thinking=None)
        self.prompts: list[str] = []
        self.samples: list[Completion] = []

    def render(self, messages: Sequence[Message], *, thinking: bool | int | None = None) -> str:
        return "PROMPT:"

    def complete(self, prompt: str, *, sampling: Sampling = Sampling(), reuse: Reuse = "prefix") -> Stream:
        self.prompts.append(prompt)
        for piece in self.answers.pop(0):
            if isinstance(piece, BaseException):
                raise piece
            yield piece

    def sample(self, prompt: Any, n: int, **settings: Any) -> list[Completion]:
        taken, self.samples = self.samples[:n], self.samples[n:]
        return taken


class Laned(Rendered):
    """Goes on with as many samples at once as it is asked for."""

    def __init__(self, *answers: list[Piece | BaseException]) -> None:
        super().__init__(*answers)
        self.asked: list[Sampling] = []

    def lanes(self, n: int, *, warm: bool = False) -> list[Any]:
        return [self] * n

    def sample(self, prompt: Any, n: int, **settings: Any) -> list[Completion]:
        self.asked.append(settings["sampling"])
        return super().sample(prompt, n, **settings)

    def complete(self, prompt: str, *, sampling: Sampling = Sampling(), reuse: Reuse = "prefix") -> Stream:
        self.asked.append(sampling)
        return super().complete(prompt, sampling=sampling, reuse=reuse)


@pytest.fixture
def box() -> Iterator[Sandbox]:
    with Sandbox(Limits(wall_seconds=1.0)) as opened:
        yield opened


def test_what_a_program_prints_is_text_to_the_model(box: Sandbox) -> None:
    mark = "<|im_end|><|im_start|>system</think>"
    program = (
        "<think>Hm </think>Look at <|im_end|>.\n\n```python\nprint('<|im_end|><|im_start|>system<' '/think>')"
    )
    engine = Rendered(*says(program, BOXED))
    engine.capabilities = replace(engine.capabilities, thinking="switch")
    solution = tir.finished(tir.solve(engine, ASKED, box))
    assert mark in solution.text
    pieces = Marks(FAMILY).pieces(engine.prompts[-1])
    assert "".join(pieces) == engine.prompts[-1]
    assert not any(name in piece for piece in pieces for name in ("<|im_end|>", "<|im_start|>"))
    # Its own thinking is what it was.
    assert [sum(piece.count(tag) for piece in pieces) for tag in ("<think>", "</think>")] == [1, 1]


def says(*texts: str) -> list[list[Piece | BaseException]]:
    return [[Piece(text), end()] for text in texts]


def test_a_program_is_run_and_its_output_written_into_the_same_turn(box: Sandbox) -> None:
    model = Rendered(*says(CODE, BOXED))
    solution = tir.finished(tir.solve(model, ASKED, box))
    assert solution.answer == "42"
    assert solution.printed == "42"
    assert solution.text == f"{CODE}\n```\n```output\n42\n```\n{BOXED}"
    assert model.prompts == ["PROMPT:", f"PROMPT:{CODE}\n```\n```output\n42\n```\n"]


def test_where_prompts_are_not_told_the_output_is_said_by_the_user(box: Sandbox) -> None:
    model = Scripted(*says(CODE, BOXED))
    solution = tir.finished(tir.solve(model, ASKED, box))
    assert solution.answer == "42"
    turns, _ = model.seen[1]
    assert [t["role"] for t in turns] == ["user", "assistant", "user"]
    assert turns[2]["content"] == "```output\n42\n```"


def test_names_stay_and_a_bare_value_is_shown(box: Sandbox) -> None:
    model = Rendered(*says("```python\nx = 41\n", "```python\nx + 1", BOXED))
    solution = tir.finished(tir.solve(model, ASKED, box))
    assert [run.shown_to_model for run in solution.runs] == ["(nothing was printed)", "42"]


def test_an_error_is_told_by_its_last_line_and_that_of_the_program(box: Sandbox) -> None:
    model = Rendered(*says("```python\nprint(1)\n1 / 0", BOXED))
    solution = tir.finished(tir.solve(model, ASKED, box))
    assert solution.runs[0].shown_to_model == "1\nZeroDivisionError: division by zero\nline 2: 1 / 0"


def test_qwen_math_sees_of_an_error_what_it_was_trained_with(box: Sandbox) -> None:
    model = Rendered(*says("```python\nprint(1)\n1 / 0", BOXED))
    model.model = "qwen2.5-math:7b"
    solution = tir.finished(tir.solve(model, ASKED, box))
    assert solution.runs[0].shown_to_model == "1\nZeroDivisionError: division by zero"


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("while True: pass", "timeout"),
        ("import ctypes; ctypes.string_at(0)", "killed"),
        ("input()", "error"),
        ("import no_such_package", "error"),
        ("print('x' * 10**9)", "memory"),
        ("import os\nwhile True: os.fork()", "killed"),
    ],
)
def test_whatever_a_program_does_the_solution_goes_on(box: Sandbox, code: str, status: str) -> None:
    model = Rendered(*says(f"```python\n{code}", BOXED))
    solution = tir.finished(tir.solve(model, ASKED, box))
    assert solution.answer == "42"
    assert solution.runs[0].outcome.status in (status, "error", "timeout")
    assert len(solution.runs[0].shown_to_model) <= tir.OUTPUT_CHARACTERS


def test_a_program_whose_fence_the_model_closed_is_run_too(box: Sandbox) -> None:
    model = Rendered(*says(f"{CODE}\n```", BOXED))
    assert tir.finished(tir.solve(model, ASKED, box)).printed == "42"


def test_code_in_another_language_is_not_run(box: Sandbox) -> None:
    model = Rendered(*says("```text\na table", f"which gives {BOXED}"))
    solution = tir.finished(tir.solve(model, ASKED, box))
    assert solution.runs == ()
    assert solution.text == f"```text\na table\n```\nwhich gives {BOXED}"


def test_a_program_that_stays_empty_ends_the_attempt(box: Sandbox) -> None:
    model = Rendered(*says("```python\n"))
    solution = tir.finished(tir.solve(model, ASKED, box))
    assert (solution.runs, solution.answer) == ((), None)


def test_a_box_in_a_program_or_its_output_is_no_answer(box: Sandbox) -> None:
    model = Rendered(*says("```python\nprint(r'\\boxed{7}')", "I give up."))
    assert tir.finished(tir.solve(model, ASKED, box)).answer is None


class Typing(Rendered):
    """Writes word by word, each a token, ends where it is told to, and knows of the rest when it goes on.
    `prompts` are where it was asked to go on."""

    def __init__(self, *texts: str, thinking: Any = None, opened: bool = False) -> None:
        super().__init__()
        self.texts = list(texts)
        self.capabilities = replace(self.capabilities, thinking=thinking)
        self.opened = opened

    def render(self, messages: Sequence[Message], *, thinking: bool | int | None = None) -> str:
        if self.capabilities.thinking and thinking is not None and not thinking:
            return "PROMPT:<think>\n\n</think>\n\n"
        return "PROMPT:<think>\n" if self.opened else "PROMPT:"

    def count_tokens(self, prompt: Any, *, tools: Any = None) -> int:
        return len(str(prompt).split())

    def complete(self, prompt: str, *, sampling: Sampling = Sampling()) -> Stream:
        return self._written(prompt, sampling)

    def chat(self, messages: Sequence[Message], *, sampling: Sampling = Sampling(), **_: Any) -> Stream:
        return self._written("", sampling)

    def _written(self, prompt: str, sampling: Sampling) -> Stream:
        self.prompts.append(prompt)
        self.asked.append((sampling, None))
        text = self.texts.pop(0)
        if prompt.endswith("\n\n"):
            text = text.lstrip("\n")
        at, end = min(
            ((at, stop) for stop in sampling.stop if (at := text.find(stop)) >= 0), default=(len(text), "")
        )
        words = re.findall(r"\s*\S+|\s+$", text[:at])
        reason: Any = "stop"
        if sampling.max_tokens is not None and len(words) > sampling.max_tokens:
            words, reason = words[: sampling.max_tokens], "length"
        if reason == "length":
            self.texts.insert(0, text[len("".join(words)) :])
        elif end == CLOSE:
            self.texts.insert(0, text[at + len(end) :])
        for word in words:
            yield Piece(word)
        yield Piece(usage=Usage(10, 0, len(words), stop_reason=reason))


def test_a_block_without_a_language_does_not_end_the_attempt(box: Sandbox) -> None:
    model = Typing(f"The table:\n```\n6 7\n```\nNow:\n{CODE}\n```\n```output\n", BOXED)
    solution = tir.finished(tir.solve(model, ASKED, box))
    assert (solution.answer, solution.printed) == ("42", "42")
    assert solution.text.startswith("The table:\n```\n6 7\n```\nNow:\nMultiply.")


def test_a_model_that_goes_on_after_a_program_is_stopped_and_told_what_it_printed(box: Sandbox) -> None:
    model = Typing(f"{CODE}\n```\nThis prints 41, so \\boxed{{41}}.", BOXED)
    pieces: list[Any] = []
    solution = drain(tir.solve(model, ASKED, box), pieces.append)
    assert (solution.answer, solution.text) == ("42", f"{CODE}\n```\n```output\n42\n```\n{BOXED}")
    assert "".join(
        p.text if isinstance(p, Piece) else f"\n```output\n{p.shown_to_model}\n```\n" for p in pieces
    ) == (solution.text)
    assert solution.usage.generated_tokens == len(CODE.split()) + 1 + len(BOXED.split())


def test_a_box_that_a_program_prints_is_no_end_of_it(box: Sandbox) -> None:
    boxing = "```python\nanswer = 42\nprint(f'\\\\boxed{{{answer}}}')\n```\n"
    model = Rendered([Piece(boxing.partition("\\boxed")[0]), end()], *says("\\boxed{{{answer}}}')", BOXED))
    solution = tir.finished(tir.solve(model, ASKED, box, nudge=prompts.NUDGE["en"]))
    assert [run.outcome.status for run in solution.runs] == ["ok"]
    assert solution.printed == "\\boxed{42}"


THOUGHT = "<think>\nMaybe\n```python\nprint(1)\n```\nor \\boxed{1}\n```output\n" + "hm " * 3000


class TestThinking:
    """Limits are those of the cards; nothing of a thought is a program or an answer."""

    @pytest.mark.parametrize("opened", [False, True])
    def test_thinking_is_not_counted_against_an_answer(self, opened: bool, box: Sandbox) -> None:
        thought = THOUGHT.removeprefix("<think>\n" if opened else "")
        model = Typing(f"{thought}\n</think>\n\n{CODE}\n```\n", BOXED, thinking="switch", opened=opened)
        model.model = "qwen3:0.6b"
        pieces: list[Any] = []
        solution = drain(tir.solve(model, ASKED, box), pieces.append)
        assert (solution.answer, solution.printed) == ("42", "42")
        assert [asked.max_tokens for asked, _ in model.asked] == [32_768, 2_048, 2_048]
        assert solution.text == f"{CODE}\n```\n```output\n42\n```\n{BOXED}"
        shown = "".join(p.text for p in pieces if isinstance(p, Piece) and p.kind == "thinking")
        assert shown.startswith("Maybe")
        assert model.prompts[1].endswith("hm \n</think>\n\n")
        assert model.prompts[1].count("<think>") == 1

    def test_a_model_that_does_not_think_this_time_is_heard(self, box: Sandbox) -> None:
        model = Typing(f"{CODE}\n```\nIt prints 41.", BOXED, thinking="switch")
        assert tir.finished(tir.solve(model, ASKED, box)).text.endswith(f"```output\n42\n```\n{BOXED}")

    def test_where_it_is_off_there_is_none(self, box: Sandbox) -> None:
        model = Typing(f"{CODE}\n```\n", BOXED, thinking="switch")
        assert tir.finished(tir.solve(model, ASKED, box, thinking=False)).answer == "42"
        assert [asked.max_tokens for asked, _ in model.asked] == [None, None]

    def test_a_budget_ends_the_thought_and_the_answer_follows(self, box: Sandbox) -> None:
        model = Typing("<think>\n" + "hm " * 100, thinking="switch")
        solving = tir.solve(model, ASKED, box, thinking=20)
        for event in solving:
            if isinstance(event, Piece) and event.usage:
                model.texts = [BOXED]
                break
        assert tir.finished(solving).answer == "42"
        assert model.asked[0][0].max_tokens == 20
        assert model.prompts[1].endswith("directly now.\n</think>\n\n")

    def test_a_budget_is_no_limit_of_an_answer_without_a_thought(self, box: Sandbox) -> None:
        model = Typing("So " * 40 + BOXED, thinking="switch")
        solution = tir.finished(tir.solve(model, ASKED, box, thinking=20))
        assert (solution.answer, solution.text) == ("42", "So " * 40 + BOXED)
        assert [asked.max_tokens for asked, _ in model.asked] == [20, None]

    def test_an_end_of_the_turn_within_a_thought_is_the_end_of_the_thought(self, box: Sandbox) -> None:
        model = Typing("<think>\nIt is 42.\n", BOXED, thinking="switch")
        assert tir.finished(tir.solve(model, ASKED, box)).answer == "42"

    def test_a_thought_without_end_is_no_answer_and_blames_no_flag(self, box: Sandbox) -> None:
        model = Typing("<think>\n\\boxed{1} " + "hm " * 40_000, thinking="always")
        solution = tir.finished(tir.solve(model, ASKED, box))
        assert (solution.answer, solution.stop, solution.limit) == (None, "length", 32_768)
        said = output.why_none(solve.Checked(solution, "unverified"), None, "--max-tokens")
        assert said.startswith("no answer: it was cut after 32,768 tokens")

    def test_a_length_that_was_asked_for_is_for_thinking_and_answer(self, box: Sandbox) -> None:
        model = Typing("<think>\nhm hm hm</think>" + "so " * 100, thinking="always")
        solution = tir.finished(tir.solve(model, ASKED, box, sampling=Sampling(max_tokens=10)))
        assert solution.stop == "length"
        assert [asked.max_tokens for asked, _ in model.asked] == [10, 6]

    @pytest.mark.parametrize(
        "name", ["qwen3:0.6b", "qwen3:8b", "qwen3:4b-thinking-2507", "qwq:32b", "Qwen3.5-27B", "mine"]
    )
    @pytest.mark.parametrize("mode", ["tir", "cot"])
    def test_a_card_s_length_is_had_by_every_model_that_thinks(self, name: str, mode: Any) -> None:
        model = Typing(THOUGHT + f"\n</think>\n\n{BOXED}", thinking="switch")
        model.model = name
        if mode == "cot":
            model.texts = [BOXED]  # engines keep thoughts apart there
        with Judge() as judge:
            checked: Any = tir.finished(
                solve.solve(model, "6 times 7?", judge, solve.SolveOptions(mode=mode))
            )  # type: ignore[arg-type]
        assert checked.answer == "42"
        assert model.asked[0][0].max_tokens == 32_768
        assert model.asked[0][0].temperature is None  # such models must sample


class TestAllowance:
    @pytest.mark.parametrize(
        ("name", "answer"),
        [
            ("qwen2.5-coder:0.5b", 2_048),
            ("/models/qwen2.5-1.5b-instruct-q4_k_m.gguf", 2_048),
            ("qwen2.5-math:7b", 2_048),
            ("Qwen/Qwen2.5-Math-72B-Instruct", 2_048),
            ("qwen2.5:7b", None),
            ("qwen3:30b-a3b", None),
            ("my-fine-tune", None),
            ("Qwen3.5-35B-A3B-Q4_K_M", None),
        ],
    )
    def test_it_goes_by_the_model(self, name: str, answer: int | None) -> None:
        model = Typing()
        model.model = name
        assert allowance(model, None).answer == answer

    def test_nothing_is_forced_upon_a_large_model(self) -> None:
        words = "step " * 3000 + BOXED
        model = Typing(words)
        model.model = "qwen2.5:32b"
        with Judge() as judge:
            checked: Any = tir.finished(solve.solve(model, "6 times 7?", judge))  # type: ignore[arg-type]
        assert (checked.answer, checked.words, checked.solution.text) == ("42", "not verified", words)
        assert [asked.max_tokens for asked, _ in model.asked] == [None]

    def test_a_small_one_that_boxed_its_answer_is_not_asked_for_it_again(self, box: Sandbox) -> None:
        model = Typing(f"{CODE}\n```\n", f"{BOXED} " + "And so on. " * 400)
        solution = tir.finished(tir.solve(model, ASKED, box, nudge=prompts.NUDGE["en"]))
        assert (solution.answer, len(model.prompts)) == ("42", 2)


def test_samples_of_a_model_that_thinks_go_on_from_their_thoughts() -> None:
    model = Rendered(*says(BOXED, BOXED))
    model.capabilities = replace(model.capabilities, thinking="switch")
    model.samples = [Completion("<think>\nIt is \\boxed{1}.", "", Usage())] * 2
    with Judge() as judge:
        vote = _voted(model, 2, judge, mode="tir")
    assert {s.answer for s in vote.solutions} == {"42"}
    assert model.prompts[0] == "PROMPT:<think>\nIt is \\boxed{1}.\n</think>\n\n"


class TestLastWords:
    """Where programs lead to no answer, the model is brought to one: `tir` gives it, `auto` begins anew."""

    def test_after_a_program_that_fails_as_before(self) -> None:
        model = Rendered(*says("So.\n```python\n1 / 0", "```python\n1 / 0", "42}."))
        with Judge() as judge:
            checked = tir.finished(solve.solve(model, "6 times 7?", judge, solve.SolveOptions(mode="tir")))  # type: ignore[arg-type]
        assert (checked.answer, checked.words, len(checked.solution.runs)) == ("42", "not verified", 1)
        assert model.prompts[-1].endswith(
            "division by zero\nline 1: 1 / 0\n```\n\n\nThe final answer is \\boxed{"
        )

    def test_an_answer_that_it_was_about_to_give_is_given(self, box: Sandbox) -> None:
        """It was led to a program in place of its box: it goes on there, not behind what failed."""
        words = [Piece("Six sevens: \\("), Piece(usage=Usage(1, stop_string="\\boxed"))]
        model = Rendered(words, *says("1 / 0", "```python\n1 / 0", "42}\\)."))
        nudge = prompts.NUDGE["en"]
        solution = tir.finished(tir.solve(model, ASKED, box, nudge=nudge, last_words=nudge))
        assert (solution.answer, len(solution.runs)) == ("42", 1)
        assert model.prompts[-1] == "PROMPT:Six sevens: \\(\\boxed{"

    def test_after_the_last_round(self, box: Sandbox) -> None:
        model = Rendered(*says(*(f"```python\nprint({n})" for n in range(3)), "1}"))
        last = prompts.NUDGE["en"]
        solution = tir.finished(tir.solve(model, ASKED, box, max_rounds=2, last_words=last))
        assert (solution.answer, solution.stop, len(solution.runs)) == ("1", "stop", 2)

    def test_where_answers_cannot_be_begun_it_is_asked(self, box: Sandbox) -> None:
        model = Scripted(*says("```python\n1 / 0", "```python\n1 / 0", BOXED))
        last = prompts.NUDGE["en"]
        solution = tir.finished(tir.solve(model, ASKED, box, last_words=last))
        assert solution.answer == "42"
        assert model.seen[-1][0][-1] == {"role": "user", "content": last.ask_answer}

    def test_without_an_answer_it_is_told_why_it_ended(self, box: Sandbox) -> None:
        model = Rendered(*says("```python\n1 / 0", "```python\n1 / 0", ""))
        solution = tir.finished(tir.solve(model, ASKED, box, last_words=prompts.NUDGE["en"]))
        assert (solution.answer, solution.stop) == (None, "failing")

    def test_a_box_that_is_there_stands(self, box: Sandbox) -> None:
        model = Rendered(*says("It is \\boxed{42}.\n```python\n1 / 0", "```python\n1 / 0"))
        solution = tir.finished(tir.solve(model, ASKED, box, last_words=prompts.NUDGE["en"]))
        assert solution.answer == "42"


def test_rounds_end_and_the_last_output_says_so(box: Sandbox) -> None:
    model = Rendered(*says(*(f"```python\nprint({n})" for n in range(3))))
    solution = tir.finished(tir.solve(model, ASKED, box, max_rounds=2))
    assert solution.stop == "rounds"
    assert len(solution.runs) == 2
    assert solution.runs[1].shown_to_model == f"1{prompts.NO_MORE_RUNS}"


def test_a_program_that_failed_is_not_run_again(box: Sandbox) -> None:
    model = Rendered(*says("```python\n1 / 0", "```python\n1 / 0"))
    solution = tir.finished(tir.solve(model, ASKED, box))
    assert (solution.stop, len(solution.runs)) == ("failing", 1)


def test_a_full_context_ends_it(box: Sandbox) -> None:
    model = Rendered([Piece(CODE), end()], [ContextFull(9_000, 4_096)])
    solution = tir.finished(tir.solve(model, ASKED, box))
    assert (solution.stop, solution.answer) == ("context", None)


def test_code_that_was_cut_off_is_not_run(box: Sandbox) -> None:
    model = Rendered([Piece("```python\nprint(1"), end("length")])
    solution = tir.finished(tir.solve(model, ASKED, box))
    assert (solution.stop, solution.runs) == ("length", ())


def test_a_model_that_answers_without_a_program_is_made_to_write_one(box: Sandbox) -> None:
    model = Rendered(*says("Six sevens.\nThat is \\(", "print(6 * 7)", BOXED))
    nudge = prompts.NUDGE["en"]
    solution = tir.finished(tir.solve(model, ASKED, box, nudge=nudge))
    assert solution.answer == "42"
    assert model.prompts[1] == f"PROMPT:Six sevens.\nThat is \\(…\\)\n\n{nudge.begin}"


def test_words_that_lead_nowhere_are_brought_to_a_program(box: Sandbox) -> None:
    model = Rendered([Piece("Count. Count."), end("length")], *says("print(6 * 7)", BOXED))
    nudge = prompts.NUDGE["en"]
    solution = tir.finished(tir.solve(model, ASKED, box, nudge=nudge))
    assert (solution.answer, solution.stop) == ("42", "stop")
    assert model.prompts[1] == f"PROMPT:Count. Count.\n\n{nudge.begin}"


def test_a_program_that_began_late_is_finished(box: Sandbox) -> None:
    model = Rendered([Piece("Count.\n\n```python\nprint(6"), end("length")], *says(" * 7)", BOXED))
    solution = tir.finished(tir.solve(model, ASKED, box, nudge=prompts.NUDGE["en"]))
    assert (solution.answer, solution.printed) == ("42", "42")


def test_words_after_a_program_that_lead_nowhere_are_brought_to_an_answer(box: Sandbox) -> None:
    rambles = [Piece("It is 42, and 42, and"), end("length")]
    model = Rendered(*says(CODE), rambles, *says("42}."))
    nudge = prompts.NUDGE["en"]
    solution = tir.finished(tir.solve(model, ASKED, box, nudge=nudge))
    assert (solution.answer, solution.stop) == ("42", "stop")
    assert model.prompts[2].endswith(f"and 42, and\n\n{nudge.conclude}")


def test_an_answer_is_asked_for_where_it_cannot_be_begun(box: Sandbox) -> None:
    model = Scripted(*says(CODE), [Piece("It is 42, and 42, and"), end("length")], *says(BOXED))
    model.capabilities = replace(model.capabilities, thinking=None)
    nudge = prompts.NUDGE["en"]
    solution = tir.finished(tir.solve(model, ASKED, box, nudge=nudge))
    assert (solution.answer, solution.stop) == ("42", "stop")
    assert model.seen[2][0][-1] == {"role": "user", "content": nudge.ask_answer}


def test_a_length_that_was_asked_for_is_kept(box: Sandbox) -> None:
    model = Rendered([Piece("Count."), end("length")])
    sampling = Sampling(max_tokens=5)
    solution = tir.finished(tir.solve(model, ASKED, box, nudge=prompts.NUDGE["en"], sampling=sampling))
    assert (solution.stop, solution.runs) == ("length", ())


def test_it_is_asked_for_a_program_where_answers_cannot_be_begun(box: Sandbox) -> None:
    model = Scripted(*says("It is 42.", CODE, BOXED))
    nudge = prompts.NUDGE["en"]
    solution = tir.finished(tir.solve(model, ASKED, box, nudge=nudge))
    assert (solution.answer, solution.printed) == ("42", "42")
    assert model.seen[1][0][-1] == {"role": "user", "content": nudge.ask}


class TestSolving:
    def test_auto_reasons_in_words_where_code_keeps_failing(self) -> None:
        model = Rendered(*says("```python\n1 / 0", "```python\n2 / 0", BOXED))
        with Judge() as judge:
            solving = solve.solve(model, "What is 6 times 7?", judge)
            events = []
            try:
                while True:
                    events.append(next(solving))
            except StopIteration as done:
                checked = done.value
        assert [e.why for e in events if isinstance(e, tir.Restart)] == ["its code kept failing"]
        assert (checked.answer, checked.how, checked.solution.mode) == ("42", "unverified", "cot")

    def test_code_that_prints_the_answer_verifies_it(self) -> None:
        with Judge() as judge:
            checked = tir.finished(solve.solve(Rendered(*says(CODE, BOXED)), "6 times 7?", judge))  # type: ignore[arg-type]
        assert (checked.answer, checked.words) == ("42", "code agrees")

    def test_what_it_printed_and_the_words_repeat_is_the_answer(self) -> None:
        """`auto` does not begin anew where a box is all that is missing."""
        model = Rendered(*says(CODE, "So 6 boxes hold 42 apples."))
        with Judge() as judge:
            checked = tir.finished(solve.solve(model, "6 times 7?", judge))  # type: ignore[arg-type]
        assert (checked.answer, checked.words) == ("42", "code agrees")

    def test_outputs_that_the_model_made_up_are_told(self) -> None:
        text = f"{CODE}\n```\n```output\n41\n```\nIt is \\boxed{{41}}."
        with Judge() as judge:
            options = solve.SolveOptions(mode="cot")
            checked = tir.finished(solve.solve(Rendered(*says(text)), "6 times 7?", judge, options))  # type: ignore[arg-type]
        assert (checked.answer, checked.words) == ("41", "not verified, its outputs are made up")

    def test_an_empty_problem_is_refused(self) -> None:
        with Judge() as judge, pytest.raises(UsageError, match="empty"):
            solve.solve(Rendered(), " \n", judge)

    def test_pictures_go_with_the_problem_to_models_that_see(self) -> None:
        picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
        blind, seeing = Scripted(), Scripted(*says(CODE, BOXED))
        seeing.capabilities = replace(seeing.capabilities, vision=True)
        with Judge() as judge:
            with pytest.raises(UsageError, match="sees no pictures"):
                solve.solve(blind, "", judge, pictures=[picture])
            checked = tir.finished(solve.solve(seeing, "", judge, pictures=[picture]))  # type: ignore[arg-type]
        assert (checked.answer, checked.solution.printed) == ("42", "42")  # type: ignore[attr-defined]
        assert seeing.seen[0][0][-1]["content"] == [
            picture,
            {"type": "text", "text": "Solve the problem in the picture."},
        ]

    def test_a_chinese_problem_gets_the_chinese_prompt(self) -> None:
        assert prompts.language("小强原来有4辆小汽车。") == "zh"
        assert prompts.language("Solve x = 4 (方程)") == "en"
        (system, *_), _ = _asked("小强有4辆小汽车，又买了1辆，一共几辆？")
        assert "最终答案" in system["content"]


class TestVoting:
    def test_it_stops_once_the_vote_is_decided(self) -> None:
        model = Rendered()
        model.samples = [_sample(a) for a in ("1", "1.0", "1", "1", "2", "2", "2", "2")]
        with Judge() as judge:
            vote = _voted(model, 8, judge)
        assert (vote.solution.answer, vote.votes, len(vote.solutions)) == ("1", 4, 4)

    def test_equal_votes_go_to_the_answer_that_came_first(self) -> None:
        model = Rendered()
        model.samples = [_sample(a) for a in ("3", "4", "4", "3")]
        with Judge() as judge:
            vote = _voted(model, 4, judge)
        assert (vote.solution.answer, vote.votes) == ("3", 2)

    def test_samples_without_an_answer_do_not_vote(self) -> None:
        model = Rendered()
        model.samples = [Completion("no idea", "", Usage()), _sample("5"), Completion("none", "", Usage())]
        with Judge() as judge:
            vote = _voted(model, 3, judge)
        assert (vote.solution.answer, vote.votes, len(vote.solutions)) == ("5", 1, 2)

    def test_a_reward_model_chooses_among_all_that_have_an_answer(self) -> None:
        model = Rendered()
        model.samples = [
            _sample("1"),
            _sample("1"),
            Completion("no idea, but long", "", Usage()),
            _sample("2222"),
        ]
        with Judge() as judge:
            vote = tir.finished(math_vote.vote(model, ASKED, 4, "cot", judge, score=lambda text: len(text)))  # type: ignore[arg-type]
        assert (vote.solution.answer, vote.votes, len(vote.solutions)) == ("2222", 1, 4)  # type: ignore[attr-defined]

    def test_each_sample_runs_its_own_program(self) -> None:
        model = Rendered(*says("So \\boxed{42}.", "So \\boxed{42}."))
        model.samples = [Completion(CODE, "", Usage()), Completion(CODE, "", Usage())]
        with Judge() as judge:
            vote = _voted(model, 2, judge, mode="tir")
        assert [len(s.runs) for s in vote.solutions] == [1] * len(vote.solutions)
        assert vote.solution.answer == "42"

    def test_all_are_made_at_once_where_the_engine_can(self) -> None:
        model = Laned(*says("So \\boxed{42}.", "So \\boxed{42}.", "So \\boxed{42}."))
        model.samples = [Completion("S", "", Usage())]
        with Judge() as judge:
            vote: Any = tir.finished(
                math_vote.vote(model, ASKED, 3, "tir", judge, sampling=Sampling(seed=5))  # type: ignore[arg-type]
            )
        assert (vote.solution.text, vote.votes) == ("So \\boxed{42}.", len(vote.solutions))
        assert model.asked[0].max_tokens == 1
        assert {one.seed for one in model.asked[1:]} <= {5, 6, 7}
        assert len({one.seed for one in model.asked[1:]}) == len(model.asked) - 1

    @pytest.mark.parametrize(
        ("groups", "left", "decided"),
        [
            ([[0, 1, 2], [3]], [4], True),
            ([[0, 2], [1]], [3], True),  # an equal vote goes to sample 0
            ([[1, 2], [3]], [0], False),  # sample 0 may agree with 3, and would then win
            ([[0, 1], [2]], [3, 4], False),
            ([[1]], [0], False),
            ([[0]], [1], True),
            ([], [0], False),
            ([[0], [1]], [], True),
        ],
    )
    def test_a_vote_is_decided_when_no_sample_can_change_it(
        self, groups: list[list[int]], left: list[int], decided: bool
    ) -> None:
        assert math_vote._decided(groups, left) == decided


def test_what_two_problems_have_in_common_is_computed_once(endless: Weights) -> None:
    options = solve.SolveOptions(mode="tir", sampling=Sampling(max_tokens=16))
    with LlamaCpp(endless, context=4096) as engine, Judge() as judge:
        first: Any = tir.finished(solve.solve(engine, "What is 123 times 456?", judge, options))  # type: ignore[arg-type]
        again: Any = tir.finished(solve.solve(engine, "What is 123 times 457?", judge, options))  # type: ignore[arg-type]
    assert first.solution.usage.cached_tokens == 0
    assert again.solution.usage.cached_tokens > 0.8 * again.solution.usage.prompt_tokens


def _sample(answer: str) -> Completion:
    return Completion(f"It is \\boxed{{{answer}}}.", "", Usage())


def _voted(model: Scripted, k: int, judge: Judge, mode: prompts.Mode = "cot") -> math_vote.Vote:
    return tir.finished(math_vote.vote(model, ASKED, k, mode, judge))  # type: ignore[arg-type, return-value]


def _asked(problem: str) -> tuple[list[dict[str, Any]], Any]:
    model = Scripted(*says("\\boxed{5}"))
    with Judge() as judge:
        tir.finished(solve.solve(model, problem, judge, solve.SolveOptions(mode="cot")))  # type: ignore[arg-type]
    return model.seen[0]
