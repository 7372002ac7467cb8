"""What a model is told before a problem, and the one form in which code and its output are written.

`COT` and `TIR` are those of Qwen2.5-Math's model cards (github.com/QwenLM/Qwen2.5-Math, README); the Chinese
one is Qwen3's recommendation for mathematics (model card of Qwen3-235B-A22B-Instruct-2507). `GENERAL` is our
own, for models that were not trained to call an interpreter in this way; `SHORT` is too, for problems that
need a line or two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Mode: TypeAlias = Literal["tir", "cot", "short"]
Language: TypeAlias = Literal["en", "zh"]

COT: dict[Language, str] = {
    "en": r"Please reason step by step, and put your final answer within \boxed{}.",
    "zh": r"请逐步推理，并将最终答案放在 \boxed{} 中。",
}
SHORT: dict[Language, str] = {
    "en": "Solve the problem in one or two short lines of arithmetic, then put the final answer within"
    r" \boxed{}.",
    "zh": r"请用一两行简短的算式解题，然后将最终答案放在 \boxed{} 中。",
}
# What a line or two is, shown: without them the starter explains itself at length.
_SHORT_EXAMPLES: dict[Language, tuple[tuple[str, str], ...]] = {
    "en": (
        ("What is x if 3(x + 2) = 27?", "3(x + 2) = 27, x + 2 = 9, x = 7\n\\boxed{7}"),
        (
            "A shop sells pens in boxes of 12 for $9. How many dollars do 5 boxes and 3 single pens at $1"
            " cost?",
            "5 * 9 = 45, 3 * 1 = 3, 45 + 3 = 48\n\\boxed{48}",
        ),
        (
            "Today is Tuesday. What day of the week is it in 16 days?",
            "16 = 2 * 7 + 2, Tuesday + 2 = Thursday\n\\boxed{Thursday}",
        ),
    ),
    "zh": (
        ("解方程 3(x + 2) = 27，x 是多少？", "3(x + 2) = 27，x + 2 = 9，x = 7\n\\boxed{7}"),
        (
            "一盒铅笔9元，一支钢笔11元。买5盒铅笔和3支钢笔一共多少元？",
            "5 * 9 = 45，3 * 11 = 33，45 + 33 = 78\n\\boxed{78}",
        ),
        ("今天是星期二，16天后是星期几？", "16 = 2 * 7 + 2，星期二 + 2 = 星期四\n\\boxed{星期四}"),
    ),
}
TIR: dict[Language, str] = {
    "en": "Please integrate natural language reasoning with programs to solve the problem above, and put your"
    r" final answer within \boxed{}.",
    "zh": r"请结合自然语言推理与程序来解决上面的问题，并将最终答案放在 \boxed{} 中。",
}
GENERAL: dict[Language, str] = {
    "en": "Solve the problem. First reason step by step in words. Then write one Python program in a"
    " ```python block that computes the answer and prints it. The program is run for you, and what it printed"
    " follows in an ```output block. If that is an error or cannot be right, correct the program. At the end,"
    r" put the final answer alone within \boxed{}.",
    "zh": "请解决这个问题。先用文字逐步推理，然后在 ```python 代码块中写一个 Python 程序来计算并打印答案。"
    "程序会被运行，它的输出会出现在随后的 ```output 代码块中。如果输出是错误或者不合理，请修改程序。"
    r"最后，只将最终答案放在 \boxed{} 中。",
}
# What the words of GENERAL mean, shown once: without it the starter writes a program in few of its answers.
_EXAMPLE: dict[Language, tuple[str, str]] = {
    "en": (
        "A shop sells pens in boxes of 12 for $9. How many dollars do 5 boxes and 3 single pens at $1 cost?",
        "Five boxes cost 5 times 9 dollars. Three single pens cost 3 times 1 dollar. The total is the sum."
        "\n\n```python\nboxes = 5 * 9\npens = 3 * 1\nprint(boxes + pens)\n```\n```output\n48\n```\n"
        "The total cost is 48 dollars.\n\n\\boxed{48}",
    ),
    "zh": (
        "一盒铅笔9元，一支钢笔11元。买5盒铅笔和3支钢笔一共多少元？",
        "5盒铅笔的价钱是5乘9元，3支钢笔的价钱是3乘11元，总价是两者之和。"
        "\n\n```python\npencils = 5 * 9\npens = 3 * 11\nprint(pencils + pens)\n```\n```output\n78\n```\n"
        "一共78元。\n\n\\boxed{78}",
    ),
}


@dataclass(frozen=True)
class Nudge:
    """What brings a model to a program, and to its answer: the beginning of it, or where answers cannot be
    begun, a request."""

    begin: str
    ask: str
    conclude: str
    ask_answer: str


NUDGE: dict[Language, Nudge] = {
    "en": Nudge(
        "Let me compute this with a program.\n\n```python\n",
        "Now write a Python program in a ```python block that computes the answer and prints it.",
        r"The final answer is \boxed{",
        r"Now put the final answer alone within \boxed{}.",
    ),
    "zh": Nudge(
        "下面用程序来计算。\n\n```python\n",
        "现在请在 ```python 代码块中写一个计算并打印答案的 Python 程序。",
        r"最终答案是 \boxed{",
        r"现在请只将最终答案放在 \boxed{} 中。",
    ),
}
# Our own, for `verify`.
VERIFY: dict[Language, str] = {
    "en": "Below are a problem and an answer to it, which may be wrong. Write one Python program in a"
    " ```python block that puts the answer back into the problem and tests every condition that the problem"
    " states. The variable `answer` already holds the answer: use it, and do not assign it. At the end the"
    " program prints True if all conditions hold, else False, and nothing after that.",
    "zh": "下面是一个问题和它的一个答案，答案可能是错的。请在 ```python 代码块中写一个 Python 程序，"
    "把答案代回题目，检验题目给出的每个条件。变量 `answer` 已经是这个答案：请使用它，不要给它赋值。"
    "程序最后在所有条件成立时打印 True，否则打印 False，之后不再打印任何内容。",
}
VERIFY_AGAIN: dict[Language, str] = {
    "en": "That was to be True or False. Correct the program, and write all of it.",
    "zh": "这里应该是 True 或 False。请修改程序，并完整写出。",
}
_GIVEN: dict[Language, tuple[str, str]] = {"en": ("Problem", "Answer"), "zh": ("问题", "答案")}
PICTURED: dict[Language, str] = {"en": "Solve the problem in the picture.", "zh": "请解答图中的题目。"}
NO_MORE_RUNS = "\nReach max function call limit."
"""Qwen2.5-Math's evaluation code appends it to the output of the last run it allows."""


def language(problem: str) -> Language:
    """Return "zh" where at least a third of the letters are Chinese characters, else "en"."""
    chinese = sum("\u4e00" <= c <= "\u9fff" for c in problem)
    letters = sum(c.isalpha() for c in problem)
    return "zh" if chinese and chinese * 3 >= letters else "en"


def messages(
    problem: str,
    mode: Mode,
    language: Language,
    *,
    specialist: bool,
    pictures: Sequence[dict[str, Any]] = (),
) -> list[dict[str, Any]]:
    """Return the messages that ask for a solution. `specialist`: the model is of Qwen's mathematics family;
    `pictures` are content parts that belong to the problem."""
    words: list[dict[str, Any]] = [{"type": "text", "text": problem or PICTURED[language]}]
    question = {"role": "user", "content": [*pictures, *words] if pictures else problem}
    if mode == "cot":
        return [{"role": "system", "content": COT[language]}, question]
    if mode == "short":
        shown = () if specialist else _SHORT_EXAMPLES[language]
        return [{"role": "system", "content": SHORT[language]}, *_turns(shown), question]
    if specialist:
        return [{"role": "system", "content": TIR[language]}, question]
    return [{"role": "system", "content": GENERAL[language]}, *_turns([_EXAMPLE[language]]), question]


def _turns(examples: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """Return examples as turns of a conversation."""
    return [
        {"role": role, "content": text}
        for example in examples
        for role, text in zip(("user", "assistant"), example, strict=True)
    ]


def verification(
    problem: str, answer: str, language: Language, pictures: Sequence[dict[str, Any]] = ()
) -> list[dict[str, Any]]:
    """Return the messages that ask for a program which puts `answer` back into `problem`."""
    question, given = _GIVEN[language]
    text = f"{question}: {problem or PICTURED[language]}\n\n{given}: {answer}"
    content: Any = [*pictures, {"type": "text", "text": text}] if pictures else text
    return [{"role": "system", "content": VERIFY[language]}, {"role": "user", "content": content}]
