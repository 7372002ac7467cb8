"""How a completion begins: what the model is made to write again, and what of it belongs to the hole."""

from __future__ import annotations

import pytest

from qwen_cli.tasks.fim import token_healing
from qwen_cli.tasks.fim.prompt import Hole


@pytest.mark.parametrize("inner", ["    ", "        ", "\t", "\t\t"])
@pytest.mark.parametrize("again", [False, True], ids=["as_asked", "from_the_margin"])
def test_indentation_that_was_put_there_is_not_doubled(inner: str, again: bool) -> None:
    start = token_healing.indented(Hole("if a:\n", "", "a.py"), inner)
    written = inner if again else inner[-1:]
    assert start.middle(f"{written}b()\n{inner}c()\n") == f"{inner}b()\n{inner}c()\n"


def test_a_word_that_is_finished_is_written_once() -> None:
    start = token_healing.Start("x = ", expected="pri", forced="pri")
    assert start.middle("pr") == ""
    assert start.middle("print(1)") == "nt(1)"
