"""Functions as people write them: in caches and decorators, with types of every kind, odd ones among them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qwen_cli.engines.core.base import ToolCall
from qwen_cli.errors import ToolError
from qwen_cli.tasks.tools.toolbox import MOST_CHARACTERS, Toolbox

SOURCE = '''
import asyncio, enum, functools, os
from dataclasses import dataclass
from datetime import date, datetime
from os.path import join
from pathlib import Path
from typing import Annotated, Literal, Optional, TypedDict, Union


class Colour(enum.Enum):
    RED = enum.auto()
    BLUE = enum.auto()


class Size(enum.Enum):
    SMALL = "s"
    LARGE = "l"


class Shape(TypedDict):
    sides: int
    colour: Colour


class Options(TypedDict, total=False):
    deep: bool


@dataclass
class Person:
    name: str


def _keeps(function):
    @functools.wraps(function)
    def inner(*args, **kwargs):
        return function(*args, **kwargs)
    return inner


def _loses(function):
    def inner(*args, **kwargs):
        return function(*args, **kwargs)
    return inner


@functools.cache
def cached(number: int) -> int:
    """Cached."""
    return number + 1


@functools.lru_cache(maxsize=8)
def lru(number: int, text: str = "x") -> str:
    return text * number


@_keeps
def decorated(number: int) -> int:
    return number


@_loses
def lost(number: int) -> int:
    return number


def colour(
    one: Colour, other: Colour = Colour.BLUE, all: list[Colour] = [], size: Optional[Size] = None
) -> str:
    return " ".join([one.name, other.name, *(each.name for each in all), size.name if size else "-"])


def shape(shape: Shape, options: Options | None = None) -> str:
    return f"{shape['sides']} {shape['colour'].name} {options}"


def everything(
    a: Literal[1, "x"],
    b: Union[int, str],
    when: datetime,
    day: date,
    file: Path,
    who: Person,
    many: Annotated[int, "how many"] = 3,
) -> str:
    return f"{a} {b} {when:%H} {day:%d} {file.name} {who.name} {many}"


def starred(number: int, *rest: int, key: int = 3, **more: str) -> int:
    return number + key


def positional(number: int, /, factor: int = 2) -> int:
    return number * factor


def unsaid(number, other: int) -> int:
    return 1


def nowhere(number: "Nowhere") -> int:
    return 1


async def later(number: int) -> int:
    await asyncio.sleep(0)
    return number


def prints(number: int) -> int:
    print("noise")
    os.system("echo more noise")
    return number


def much() -> str:
    return "x" * 200_000


def raises() -> str:
    raise ValueError("no way")


part = functools.partial(starred, 1)
'''


@pytest.fixture
def box(tmp_path: Path) -> Toolbox:
    (tmp_path / "tools.py").write_text(SOURCE)
    return Toolbox.from_python(tmp_path / "tools.py", approve=lambda call: True)


def run(box: Toolbox, name: str, **arguments: Any) -> tuple[str, bool]:
    result = box.run(ToolCall("1", name, arguments))
    return result.output, result.ok


def test_one_odd_function_costs_none_of_the_others(box: Toolbox) -> None:
    offered = "cached lru decorated colour shape everything starred positional later prints much raises"
    assert box.names == offered.split()
    lost, unsaid, nowhere = box.remarks
    assert "lost() is decorated, and its arguments are not known. Put @functools.wraps on" in lost
    assert "unsaid() does not say what 'number' is" in unsaid and unsaid.endswith("It is left out")
    assert "nowhere() has an annotation that names nothing" in nowhere
    assert not any("\n" in remark for remark in box.remarks)


@pytest.mark.parametrize(
    ("name", "arguments", "output"),
    [
        ("cached", {"number": 1}, "2"),
        ("lru", {"number": 2}, "xx"),
        ("decorated", {"number": 3}, "3"),
        ("colour", {"one": "RED"}, "RED BLUE -"),
        ("colour", {"one": "BLUE", "other": "RED", "all": ["RED"], "size": "s"}, "BLUE RED RED SMALL"),
        ("colour", {"one": "RED", "size": "LARGE"}, "RED BLUE LARGE"),
        ("shape", {"shape": {"sides": 3, "colour": "RED"}, "options": {}}, "3 RED {}"),
        (
            "everything",
            {
                "a": "x",
                "b": "5",
                "when": "2026-01-02T10:00:00",
                "day": "2026-01-02",
                "file": "/a/b",
                "who": {"name": "Ann"},
            },
            "x 5 10 02 b Ann 3",
        ),
        ("starred", {"number": 1, "key": 4}, "5"),
        ("positional", {"number": 3}, "6"),
        ("positional", {"number": 3, "factor": 3}, "9"),
        ("later", {"number": 7}, "7"),
    ],
)
def test_it_is_called_with_what_its_annotations_say(
    box: Toolbox, name: str, arguments: dict[str, Any], output: str
) -> None:
    assert run(box, name, **arguments) == (output, True)


def test_the_model_sees_names_where_values_tell_nothing(box: Toolbox) -> None:
    by_name = {tool["function"]["name"]: tool["function"]["parameters"] for tool in box.definitions}
    colour = by_name["colour"]["properties"]
    assert colour["one"]["enum"] == ["RED", "BLUE"] and colour["other"]["default"] == "BLUE"
    assert "s" in json.dumps(by_name["colour"]) and '"SMALL"' not in json.dumps(by_name["colour"])
    assert by_name["everything"]["properties"]["many"]["description"] == "how many"
    assert by_name["shape"]["$defs"]["Shape"]["required"] == ["sides", "colour"]
    assert "required" not in by_name["shape"]["$defs"]["Options"]


def test_what_is_printed_stays_off_standard_output(box: Toolbox, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(box, "prints", number=1) == ("1", True)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "noise" in captured.err and "more noise" in captured.err


def test_a_large_result_is_limited_and_said(box: Toolbox) -> None:
    output, ok = run(box, "much")
    assert ok and len(output) <= MOST_CHARACTERS and "characters left out" in output
    box.fit(1_000)
    assert len(run(box, "much")[0]) <= 2_000


def test_faults_are_told_to_the_model_and_not_asked_about(box: Toolbox) -> None:
    asked: list[ToolCall] = []

    def approve(call: ToolCall) -> bool:
        asked.append(call)
        return True

    box.approve = approve
    assert run(box, "colour", one="GREEN")[0] == (
        "error: wrong arguments for colour: one: Value error, it is one of RED, BLUE"
    )
    assert run(box, "cached", number="many")[0].startswith("error: wrong arguments for cached: number: ")
    assert run(box, "cached")[0] == "error: wrong arguments for cached: number: Field required"
    assert run(box, "cached", invalid_json="{")[0].startswith("error: wrong arguments for cached: ")
    assert run(box, "nothing")[0].startswith("error: there is no tool 'nothing'")
    assert asked == []
    assert run(box, "raises") == ("error: ValueError: no way", False)


def test_a_file_that_is_not_there_is_a_wrong_option(tmp_path: Path) -> None:
    with pytest.raises(ToolError) as error:
        Toolbox.from_python(tmp_path / "nope")
    assert error.value.exit_code == 2
    with pytest.raises(ToolError) as error:
        Toolbox.from_mcp(tmp_path / "nope.json")
    assert error.value.exit_code == 2
