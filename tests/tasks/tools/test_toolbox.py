"""A user's Python functions as tools."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qwen_cli.engines.core.base import Engine, Sampling, ToolCall
from qwen_cli.errors import ToolError
from qwen_cli.tasks.chat.conversation import Conversation
from qwen_cli.tasks.tools import python
from qwen_cli.tasks.tools.base import Tool, ToolResult
from qwen_cli.tasks.tools.python import NO_RESULT
from qwen_cli.tasks.tools.toolbox import REFUSED, Toolbox

Write = Callable[[str], Path]

WEATHER = '''
from __future__ import annotations
import enum
from dataclasses import dataclass
from datetime import date
from pathlib import Path  # a name of another module is no tool
from typing import Literal


@dataclass
class Place:
    city: str
    country: str = "FR"


class Unit(enum.Enum):
    C = "celsius"
    F = "fahrenheit"


def weather(
    place: Place,
    day: date,
    hours: list[int] = [],
    unit: Unit = Unit.C,
    kind: Literal["short", "long"] = "short",
    title: str | None = None,
) -> dict:
    """The weather of a place.

    Only for Europe.

    Args:
        place: where, a city
            and its country
        day (date): which day

    Returns:
        nothing that the model needs to know beforehand
    """
    print("looking out of the window")
    return {"city": place.city, "day": day, "unit": unit, "hours": sum(hours)}


async def later(seconds: float) -> str:
    """Wait."""
    import asyncio
    await asyncio.sleep(seconds)
    return "done"


def nothing() -> None: ...


def fails(count: int) -> int:
    raise LookupError(f"no {count}")


def leaves() -> str:
    raise SystemExit(3)


def _private(x): ...


Alias = weather
'''


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to_file(source: str) -> Path:
        file = tmp_path / "my_tools.py"
        file.write_text(textwrap.dedent(source), encoding="utf-8")
        return file

    return to_file


@pytest.fixture
def box(write: Write) -> Toolbox:
    return Toolbox.from_python(write(WEATHER), approve=lambda call: True)


def run(box: Toolbox, name: str, **arguments: Any) -> tuple[str, bool]:
    result = box.run(ToolCall("1", name, arguments))
    return result.output, result.ok


def test_public_functions_of_the_file_are_the_tools(box: Toolbox) -> None:
    assert box.names == ["weather", "later", "nothing", "fails", "leaves"]


def test_signature_and_docstring_become_the_definition(box: Toolbox) -> None:
    function = box.definitions[0]["function"]

    assert box.definitions[0]["type"] == "function"
    assert function["name"] == "weather"
    assert function["description"] == "The weather of a place.\n\nOnly for Europe."
    parameters = function["parameters"]
    assert parameters["type"] == "object"
    assert parameters["required"] == ["place", "day"]
    assert parameters["properties"] == {
        "place": {"$ref": "#/$defs/Place", "description": "where, a city and its country"},
        "day": {"type": "string", "format": "date", "description": "which day"},
        "hours": {"type": "array", "items": {"type": "integer"}, "default": []},
        "unit": {"$ref": "#/$defs/Unit", "default": "celsius"},
        "kind": {"type": "string", "enum": ["short", "long"], "default": "short"},
        "title": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
    }
    assert parameters["$defs"]["Place"]["required"] == ["city"]
    json.dumps(box.definitions)


def test_arguments_arrive_as_the_types_that_were_written(box: Toolbox) -> None:
    output, ok = run(
        box, "weather", place={"city": "Nice"}, day="2026-05-01", hours=[1, "2"], unit="fahrenheit"
    )

    assert ok
    assert json.loads(output) == {"city": "Nice", "day": "2026-05-01", "unit": "fahrenheit", "hours": 3}


def test_arguments_that_do_not_fit_are_explained_to_the_model(box: Toolbox) -> None:
    output, ok = run(box, "weather", place={}, day="someday", colour="red")

    assert not ok
    assert output.startswith("error: wrong arguments for weather: ")
    for fault in ("place.city: Field required", "day: Input should be a valid date", "colour: Extra inputs"):
        assert fault in output


def test_what_a_tool_prints_stays_out_of_the_answer(box: Toolbox, capsys: pytest.CaptureFixture[str]) -> None:
    run(box, "weather", place={"city": "Nice"}, day="2026-05-01")

    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "looking out of the window\n"


def test_an_async_function_is_awaited(box: Toolbox) -> None:
    assert run(box, "later", seconds=0.01) == ("done", True)


def test_an_async_function_is_awaited_where_a_loop_already_runs(box: Toolbox) -> None:
    import asyncio

    async def notebook() -> tuple[str, bool]:
        return run(box, "later", seconds=0.01)

    assert asyncio.run(notebook()) == ("done", True)


def test_no_result_is_said(box: Toolbox) -> None:
    assert run(box, "nothing") == (NO_RESULT, True)


def test_a_tool_that_fails_tells_the_model(box: Toolbox) -> None:
    assert run(box, "fails", count=3) == ("error: LookupError: no 3", False)
    assert run(box, "leaves") == ("error: SystemExit: 3", False)


def test_a_tool_that_is_not_there_is_answered_with_those_that_are(box: Toolbox) -> None:
    output, ok = run(box, "rm_rf")

    assert not ok
    assert output.startswith("error: there is no tool 'rm_rf'; the tools are: weather, later")


def test_nothing_runs_without_approval(write: Write, tmp_path: Path) -> None:
    source = "def touch(path: str) -> None:\n    open(path, 'w').close()\n"
    asked: list[ToolCall] = []

    def approve(call: ToolCall) -> bool:
        asked.append(call)
        return False

    call = ToolCall("1", "touch", {"path": str(tmp_path / "made")})
    for box in (Toolbox.from_python(write(source)), Toolbox.from_python(write(source), approve=approve)):
        assert box.run(call) == ToolResult(call, REFUSED, ok=False)
    assert asked == [call]
    assert not (tmp_path / "made").exists()


def test_all_narrows_what_is_offered(write: Write) -> None:
    box = Toolbox.from_python(write("__all__ = ['a']\ndef a() -> str: ...\ndef b() -> str: ...\n"))

    assert box.names == ["a"]


def test_an_argument_may_have_any_name(write: Write) -> None:
    source = "def f(schema: int, json: str, model_x: int, title: str): return f'{schema}{json}{title}'\n"
    box = Toolbox.from_python(write(source), approve=lambda call: True)

    assert list(box.definitions[0]["function"]["parameters"]["properties"])[-1] == "title"
    assert run(box, "f", schema=1, json="2", model_x=3, title="4") == ("124", True)


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("x = (1,\ny = 2 3\n", r"my_tools\.py, line \d+: "),
        ("import os\n\nraise ValueError('boom\\nmore')\n", r"my_tools\.py, line 3: ValueError: boom"),
        ("import sys\nsys.exit(2)\n", r"my_tools\.py, line 2: SystemExit: 2"),
        ("import no_such_module\n", r"line 1: ModuleNotFoundError: No module named 'no_such_module'"),
        ("x = 1\n", r"defines no public function"),
        ("def f(a, b: int): ...\n", r"f\(\) does not say what 'a' is"),
        ("def f(*numbers: int): ...\n", r"f\(\) takes \*numbers: int"),
        ("def f(a: 'Nowhere'): ...\n", r"f\(\) has an annotation that names nothing: NameError"),
        ("class C: ...\ndef f(a: C): ...\n", r"f\(\): .*C"),
    ],
)
def test_a_file_that_cannot_be_used_is_said_in_one_line(write: Write, source: str, fault: str) -> None:
    with pytest.raises(ToolError, match=fault) as error:
        Toolbox.from_python(write(source))
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    for name in ("none.py", "none.txt", "."):
        with pytest.raises(ToolError, match="no tool file"):
            Toolbox.from_python(tmp_path / name)


def test_a_module_beside_the_file_can_be_imported(write: Write, tmp_path: Path) -> None:
    (tmp_path / "beside_my_tools.py").write_text("ANSWER = 42\n")
    box = Toolbox.from_python(
        write("from beside_my_tools import ANSWER\ndef answer() -> int:\n    return ANSWER\n"),
        approve=lambda call: True,
    )

    assert run(box, "answer") == ("42", True)


def a_tool(name: str, source: str) -> Tool:
    return Tool(name, "", {"type": "object"}, lambda arguments: source, source)


def test_names_are_prefixed_only_where_they_clash_and_fit_what_servers_take() -> None:
    boxes = [Toolbox([a_tool("read", "files"), a_tool("add", "maths")]), Toolbox([a_tool("read", "my web")])]
    box = Toolbox.joined([*boxes, Toolbox([a_tool("sum.all/数", "x")])], approve=lambda call: True)

    assert box.names == ["files_read", "add", "my_web_read", "sum_all__"]
    assert run(box, "my_web_read") == ("my web", True)


def test_the_model_sees_the_tools(small_engine: Engine, write: Write) -> None:
    """That they cost prompt tokens is what can be relied on with the starter: it rarely calls them."""
    source = 'def add(a: int, b: int) -> int:\n    """Add two numbers."""\n    return a + b\n'
    box = Toolbox.from_python(write(source), approve=lambda call: True)
    prompt = "What is 2 + 2? Use no tool."
    usage = []
    for toolbox in (None, box):
        talk = Conversation(small_engine, sampling=Sampling(temperature=0, max_tokens=2), toolbox=toolbox)
        list(talk.send(prompt))
        assert talk.usage is not None
        usage.append(talk.usage.prompt_tokens)

    assert usage[1] > usage[0] + 50


GOOGLE = """Do it.

    At once.

    Args:
        a: first
            goes on
        b (int, optional): second: with a colon

    Raises:
        ValueError: c: not an argument
"""
NUMPY = """Do it.

At once.

Parameters
----------
a : str
    first
    goes on
b : int, optional
    second: with a colon

Raises
------
ValueError
    c: not an argument
"""
SPHINX = """Do it.

At once.

:param a: first
    goes on
:param int b: second: with a colon
:raises ValueError: c: not an argument
:return: it
"""


@pytest.mark.parametrize("text", [GOOGLE, NUMPY, SPHINX], ids=["google", "numpy", "sphinx"])
def test_docstrings_of_every_layout_are_read(text: str) -> None:
    assert python.split(text) == (
        "Do it.\n\nAt once.",
        {"a": "first goes on", "b": "second: with a colon"},
    )


def test_a_plain_docstring_is_the_description() -> None:
    assert python.split("Add: a and b.\n\nReturns the sum: a + b.") == (
        "Add: a and b.\n\nReturns the sum: a + b.",
        {},
    )
    assert python.split(None) == ("", {})
