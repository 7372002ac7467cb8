"""Programs of a model: taken out of what it wrote, and tested in the sandbox."""

from __future__ import annotations

import pytest
from examined import Examined

from qwen_cli.engines.core.base import Sampling
from qwen_cli.tasks.eval import programs
from qwen_cli.tasks.eval.programs import Program
from qwen_cli.tasks.eval.protocol import Protocol

PROMPT = 'from typing import List\n\n\ndef total(numbers: List[int]) -> int:\n    """ Add them. """\n'
TEST = "def check(candidate):\n    assert candidate([1, 2]) == 3\n    assert candidate([]) == 0\n"
ROW = {"task_id": "HumanEval/0", "prompt": PROMPT, "entry_point": "total", "test": TEST}
MBPP = {
    "task_id": 11, "text": "Write a function to double.", "code": "def twice(x):\n    return 2 * x",
    "test_list": ["assert twice(2) == 4", "assert twice(0) == 0"], "test_setup_code": "",
    "challenge_test_list": [],
}  # fmt: skip
GREEDY = Sampling(temperature=0.0)
WHOLE = "def total(numbers: List[int]) -> int:\n    return sum(numbers)\n"


def correct(task: Program, said: str, form: str = "chat", **can: object) -> float:
    engine = Examined(lambda prompt: said, **can)
    attempt = task.attempt(engine, Protocol(form, 0, sampling=GREEDY), 0, lambda: False)  # type: ignore[arg-type]
    assert attempt is not None
    return attempt.correct


class TestHumanEval:
    @pytest.mark.parametrize(
        "said",
        [
            f"```python\n{WHOLE}```",
            f"Here it is:\n\n```py\n{PROMPT}    return sum(numbers)\n```\nIt adds.",
            f"```\n{WHOLE}```",
            f"~~~python\n{WHOLE}~~~",
            f"```python\n{WHOLE}",  # cut before its end
            f"First:\n```bash\npip install x\n```\nthen\n```python\n{WHOLE}```",
            f"```python\ndef helper(x):\n    return x\n```\n```python\n{WHOLE}```",
            f"```python\n{WHOLE}```\nFor example:\n```python\nprint(total([1]))\n```",
            "```python\n    return sum(numbers)\n```",  # the body alone
            WHOLE,  # no fence at all
        ],
    )
    def test_a_right_program_passes_however_it_is_wrapped(self, said: str) -> None:
        assert correct(programs.parse(ROW, 1), said) == 1.0

    @pytest.mark.parametrize(
        "said",
        [
            "```python\ndef total(numbers):\n    return 3\n```",
            "```python\nimport sys\nsys.exit(0)\n```",
            "I cannot.",
            "",
            "```python\ndef other(): pass\n```",
        ],
    )
    def test_a_wrong_one_does_not(self, said: str) -> None:
        assert correct(programs.parse(ROW, 1), said) == 0.0

    def test_raw_text_goes_on_with_the_prompt(self) -> None:
        task = programs.parse(ROW, 1)
        engine = Examined(lambda prompt: "    return sum(numbers)")
        attempt = task.attempt(engine, Protocol("base", 0, sampling=GREEDY), 0, lambda: False)
        assert attempt
        assert attempt.correct == 1.0
        assert engine.prompts == [PROMPT.strip() + "\n"]
        sampling = engine.asked[0][0]
        assert sampling.max_tokens == 768
        assert "\ndef " in sampling.stop

    def test_the_answer_is_begun_where_the_engine_can_go_on_with_one(self) -> None:
        task = programs.parse(ROW, 1)
        engine = Examined(lambda prompt: WHOLE, prefill=True)
        attempt = task.attempt(engine, Protocol("chat", 0, sampling=GREEDY), 0, lambda: False)
        assert attempt
        assert attempt.correct == 1.0
        assert engine.turns[0][-1] == {"role": "assistant", "content": "```python\n"}

    def test_evalplus_own_rows_run_the_reference_on_more_inputs(self) -> None:
        row = {
            "task_id": "HumanEval/0", "prompt": PROMPT, "entry_point": "total",
            "canonical_solution": "    return sum(numbers)\n",
            "base_input": [[[1, 2]]], "plus_input": [[[-1, 5, 0.5]]], "atol": 1e-6,
        }  # fmt: skip
        task = programs.parse(row, 1)
        assert correct(task, f"```python\n{WHOLE}```") == 1.0
        assert correct(task, "```python\ndef total(numbers):\n    return 3\n```") == 0.0


class TestMbpp:
    def test_a_function_is_written_from_a_sentence(self) -> None:
        task = programs.parse(MBPP, 1)
        assert correct(task, "```python\ndef twice(x):\n    return x + x\n```") == 1.0
        assert correct(task, "```python\ndef twice(x):\n    return x\n```") == 0.0

    def test_raw_text_has_shots_between_their_marks(self) -> None:
        shot = programs.parse({**MBPP, "task_id": 2}, 1)
        task = Program(
            "1",
            "Write a function to halve.",
            "assert half(2) == 1",
            tests=("assert half(2) == 1",),
            shots=(shot,),
        )
        prompt = task.prompt(1)
        assert "[BEGIN]\ndef twice(x):\n    return 2 * x\n[DONE]\n\n" in prompt
        assert prompt.endswith("assert half(2) == 1\n[BEGIN]\n")

    def test_tests_as_json_text_and_the_sanitized_form_are_read(self) -> None:
        task = programs.parse(
            {
                "task_id": 1,
                "prompt": "p",
                "code": "c",
                "test_imports": ["import math"],
                "test_list": '["assert f(1)"]',
            },
            1,
        )
        assert (task.tests, task.before.strip()) == (("assert f(1)",), "import math")

    def test_a_row_without_tests_is_refused(self) -> None:
        with pytest.raises(KeyError):
            programs.parse({"task_id": 1, "prompt": "p"}, 1)
