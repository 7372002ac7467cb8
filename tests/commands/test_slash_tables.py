"""Each slash command of a table is typed in a test of its prompt, beside the one before anything is said."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from qwen_cli.commands.chat.slash_table import COMMANDS as CHAT
from qwen_cli.commands.math.repl import COMMANDS as MATH
from qwen_cli.commands.shared.slash import Commands
from qwen_cli.commands.vision.repl import COMMANDS as VISION

_HERE = Path(__file__).parent
_EMPTY = "test_before_anything_is_said_a_command_says_what_is_missing_and_asks_nothing"


def typed(program: str) -> set[str]:
    """The commands that the tests of `program` type: `/retry`, and for `/{name}` the values of `name`."""
    found: set[str] = set()
    for test in ast.walk(ast.parse(program)):
        if isinstance(test, ast.FunctionDef) and test.name.startswith("test_") and test.name != _EMPTY:
            texts = [node.value for node in ast.walk(test) if isinstance(node, ast.Constant)]
            found |= {match[1] for text in texts if (match := re.match(r"/([a-z]+)", str(text)))}
            if "f'/{" in ast.unparse(test):
                found |= {text for text in texts if isinstance(text, str)}
    return found


@pytest.mark.parametrize(
    ("commands", "file"),
    [(CHAT, "chat/test_slash.py"), (MATH, "math/test_repl.py"), (VISION, "vision/test_repl.py")],
)
def test_every_command_has_a_test(commands: Commands, file: str) -> None:
    there = typed((_HERE / file).read_text(encoding="utf-8"))
    assert [f"/{name}" for name in commands if name not in there] == []


def test_one_that_is_not_typed_is_found() -> None:
    program = (
        "@pytest.mark.parametrize('word', ['quit', 'bye'])\n"
        "def test_quit(word):\n    at(f'/{word}')\n"
        "def test_set():\n    at('/set x')\n    at('now /undo')\n"
        f"def {_EMPTY}():\n    at('/save')\n"
    )
    assert {"quit", "bye", "set"} <= typed(program)
    assert not {"undo", "save"} & typed(program)
