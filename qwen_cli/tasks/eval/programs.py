"""Programs that must pass tests, in the sandbox: HumanEval and MBPP, plain and in EvalPlus's forms."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from qwen_cli.engines.core.base import Engine, Message
from qwen_cli.errors import UsageError
from qwen_cli.tasks.chat import prefill
from qwen_cli.tasks.common import tested
from qwen_cli.tasks.common.parallel import Stopped
from qwen_cli.tasks.eval.item import Attempt, Written, written
from qwen_cli.tasks.eval.protocol import Protocol

# EvalPlus's for raw text, so that Qwen's published figures can be met: 768 tokens and these ends.
_RAW_TOKENS, _CHAT_TOKENS = 768, 2048
_ENDS = (
    "\nif __name__", "\ndef main(", "\nprint(", "\ndef ", "\nclass ", "\nimport ", "\nfrom ", "\nassert ",
)  # fmt: skip
_DONE = "[DONE]"
# Those of Qwen2.5-Coder's evaluation of instruct models.
_SYSTEM = "You are an intelligent programming assistant to produce Python algorithmic solutions"
_FUNCTION = "Can you complete the following Python function?\n```python\n{prompt}\n```"
# MBPP's own words (Austin et al., 2021, arXiv:2108.07732).
_MBPP = (
    "You are an expert Python programmer, and here is your task: {text}"
    " Your code should pass these tests:\n\n{tests}"
)
# The answer begins with a fence, so that it is code and ends where the fence does.
_BEGUN = {"content": "```python\n"}
# A right program on a slow machine is right: OpenAI's three seconds are for one that is free.
_SECONDS = 15.0


@dataclass(frozen=True)
class Program:
    """One task: `asked` is what a function begins with (HumanEval) or what it is to do (MBPP), `test` decides
    what passes, `before` has to stand before both. `shots` come before an MBPP task in raw text."""

    id: str
    asked: str
    test: str
    entry: str = ""
    before: str = ""
    tests: tuple[str, ...] = ()
    solution: str = ""
    shots: tuple[Program, ...] = ()

    subject = ""
    expected = "passes its tests"

    @property
    def is_function(self) -> bool:
        """Return whether a function is to be completed, rather than one written."""
        return not self.tests

    def attempt(self, engine: Engine, protocol: Protocol, number: int, stopped: Stopped) -> Attempt | None:
        ask = self._raw if protocol.raw else self._in_chat
        answer = ask(engine, protocol, number, stopped)
        if answer is None:
            return None
        program = self.completed(answer.text) if protocol.raw else self.program(answer.text)
        why = tested.failure(f"{self.before}\n{program}\n{self.test}", _SECONDS)
        return answer.attempt(None, float(why is None), why)

    def _raw(self, engine: Engine, protocol: Protocol, number: int, stopped: Stopped) -> Written | None:
        sampling = protocol.limited(_RAW_TOKENS).nth(number)
        ends = _ENDS if self.is_function else (_DONE,)
        asked = replace(sampling, stop=ends)
        return written(engine.complete(self.prompt(protocol.shots), sampling=asked), stopped)

    def prompt(self, shots: int) -> str:
        """Return the raw text before the program."""
        if self.is_function:
            return self.asked.strip() + "\n"
        worked = "".join(
            f"{shot._task()}\n[BEGIN]\n{shot.solution.strip()}\n{_DONE}\n\n" for shot in self.shots[:shots]
        )
        return f"{worked}{self._task()}\n[BEGIN]\n"

    def _task(self) -> str:
        return _MBPP.format(text=self.asked.strip(), tests="\n".join(self.tests))

    def _in_chat(self, engine: Engine, protocol: Protocol, number: int, stopped: Stopped) -> Written | None:
        words = _FUNCTION.format(prompt=self.asked.strip()) if self.is_function else self._task()
        messages = [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": words}]
        sampling = protocol.limited(_CHAT_TOKENS).nth(number)
        if protocol.thinking or not _goes_on(engine, messages):
            return written(engine.chat(messages, sampling=sampling, thinking=protocol.thinking), stopped)
        begun = replace(sampling, stop=("\n```",))
        stream = prefill.stream(engine, messages, _BEGUN, sampling=begun, thinking=protocol.thinking)
        answer = written(stream, stopped)
        return answer and Written(f"{_BEGUN['content']}{answer.text}\n```", answer.usage)

    def completed(self, text: str) -> str:
        """Return the program that a raw continuation makes."""
        return f"{self.asked.strip()}\n{text}" if self.is_function else text

    def program(self, text: str) -> str:
        """Return the program in a written answer: its blocks of code, or the one that has the function. The
        imports that the task begins with stand before it, and a body alone goes under the task's own
        head."""
        blocks = fenced(text) or [text]
        having = [block for block in blocks if self.entry and re.search(rf"\bdef\s+{self.entry}\b", block)]
        code = having[-1] if having else blocks[-1] if len(blocks) == 1 else "\n\n".join(blocks)
        if not self.is_function:
            return code
        if self.entry and not having and not _stands_alone(code):
            return f"{self.asked.rstrip()}\n{code}"
        return f"{_imports(self.asked)}\n{code}"


def _goes_on(engine: Engine, messages: Sequence[Message]) -> bool:
    """Return whether an answer can be begun for the model."""
    try:
        prefill.check(engine, messages, _BEGUN, None)
    except UsageError:
        return False
    return True


_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[ \t]*([\w+-]*)[^\n`]*\n(.*?)(?:^[ \t]*\1[ \t]*$|\Z)", re.M | re.S)


def fenced(text: str) -> list[str]:
    """Return the Python blocks of a text, those of no language too; the last may have no end."""
    blocks = _FENCE.findall(text)
    return [code for _, language, code in blocks if language.lower() in ("", "python", "py", "python3")]


def _stands_alone(code: str) -> bool:
    try:
        ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _imports(prompt: str) -> str:
    """Return the lines with which a HumanEval prompt imports what its signature names."""
    lines = prompt.split("\n")
    return "\n".join(line for line in lines if re.match(r"(?:from\s+[\w.]+\s+import|import)\s", line))


def parse(row: dict[str, Any], number: int) -> Program:
    """Return the task in one row of HumanEval, MBPP, or EvalPlus's forms of both. Raises `KeyError`."""
    named = str(row.get("task_id", number))
    if "plus_input" in row:
        return Program(
            named, row["prompt"], _plus(row), row["entry_point"], solution=row["canonical_solution"]
        )
    if "test" in row and "entry_point" in row:
        test = f"{row['test']}\ncheck({row['entry_point']})\n"
        return Program(
            named, row["prompt"], test, row["entry_point"], solution=row.get("canonical_solution", "")
        )
    if "test_list" not in row:
        raise KeyError("test")
    tests = _texts(row["test_list"])
    before = "\n".join([*_texts(row.get("test_imports", ())), str(row.get("test_setup_code") or "")])
    whole = (
        str(row["test"])
        if row.get("test")
        else "\n".join([*tests, *_texts(row.get("challenge_test_list", ()))])
    )
    text = str(row.get("text") or row["prompt"])
    return Program(named, text, whole, "", before, tuple(tests), str(row.get("code", "")))


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        value = json.loads(value) if value.lstrip().startswith("[") else [value]
    return [str(one) for one in value or ()]


def _plus(row: dict[str, Any]) -> str:
    """Return EvalPlus's check as a program: the reference is run on the same inputs, floats may differ by
    `atol`."""
    inputs: Sequence[Any] = [*row.get("base_input", ()), *row["plus_input"]]
    reference = row["prompt"] + row["canonical_solution"]
    return (
        f"_ours = {row['entry_point']}\n{reference}\n_reference = {row['entry_point']}\n"
        f"_atol = {float(row.get('atol') or 0)!r}\n"
        "def _same(a, b):\n"
        "    if isinstance(a, float) or isinstance(b, float):\n"
        "        return a == b or (isinstance(a, (int, float)) and isinstance(b, (int, float))\n"
        "                          and abs(a - b) <= max(_atol, 1e-6 if _atol == 0 else 0))\n"
        "    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):\n"
        "        return len(a) == len(b) and all(map(_same, a, b))\n"
        "    return a == b\n"
        "import copy as _copy\n"
        f"for _input in {inputs!r}:\n"
        "    assert _same(_ours(*_copy.deepcopy(_input)), _reference(*_copy.deepcopy(_input))), _input\n"
    )
