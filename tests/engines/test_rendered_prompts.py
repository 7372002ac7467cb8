"""The prompts that conversations become, by the template of each generation: the same on both local engines,
and as written down in `prompts/` (`QWEN_WRITE_PROMPTS=1` writes them anew, to be read)."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import seeing_gguf
from chat_templates import TEMPLATES
from PIL import Image

from qwen_cli.engines.core import template
from qwen_cli.engines.core.base import Capabilities, Message, Sampling
from qwen_cli.engines.llamacpp.engine import LlamaCpp
from qwen_cli.engines.parsing.chat_template import thinking_capabilities, thinking_of
from qwen_cli.engines.parsing.marks import FAMILY, Marks
from qwen_cli.engines.transformers.prompted import Loaded, Prompted
from qwen_cli.models.hub.resolve import Weights

TINY = Path(__file__).parent.parent / "assets" / "tiny-qwen2.5-vl"
EXPECTED = Path(__file__).parent / "prompts"
SEEING = ("qwen3.5-2b", "qwen3.5-9b", "qwen3.6", "qwen3.8")
BETWEEN = "\n########## "

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tell the weather of a town.",
        "parameters": {
            "type": "object",
            "properties": {
                "town": {"type": "string", "description": "Its name"},
                "days": {"type": "integer", "description": "How many"},
            },
            "required": ["town"],
        },
    },
}
# Fields that llama.cpp's own reading of tools drops or adds.
ODD = {
    "type": "function",
    "function": {
        "name": "round",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"to": {"type": "number", "description": "", "default": 1.5}},
        },
    },
}
SYSTEM = {"role": "system", "content": "Be brief."}
ASK = {"role": "user", "content": "How are the Alps?"}
AGAIN = {"role": "user", "content": "And the sea?"}
HIGH = {"role": "assistant", "content": "High.", "reasoning_content": "They are\nmountains."}
PICTURE = {"type": "image", "image": Image.new("RGB", (56, 56), "red")}
SHOWN = {"role": "user", "content": [PICTURE, {"type": "text", "text": "and"}, PICTURE]}


def called(number: str, arguments: Any) -> dict[str, Any]:
    return {"id": number, "type": "function", "function": {"name": "weather", "arguments": arguments}}


CALLS = {
    "role": "assistant",
    "content": "",
    "reasoning_content": "I look.",
    "tool_calls": [
        called("a", '{"town": "Zürich <&>", "days": 2}'),
        called("b", {"town": "a\nb", "days": None, "more": {"x": [1, True, "é"]}}),
    ],
}
RESULTS = [
    {"role": "tool", "tool_call_id": "a", "name": "weather", "content": "sun"},
    {"role": "tool", "tool_call_id": "b", "name": "weather", "content": "rain\n"},
]
Shape = tuple[Sequence[Message], dict[str, Any]]
SHAPES: dict[str, Shape] = {
    "a question": ([ASK], {}),
    "a system message": ([SYSTEM, ASK, HIGH, AGAIN], {}),
    "tools": ([SYSTEM, ASK], {"tools": [WEATHER]}),
    "tools with other fields": ([ASK], {"tools": [ODD, {"type": "function", "function": {"name": "now"}}]}),
    "results of tools": ([ASK, CALLS, *RESULTS], {"tools": [WEATHER]}),
    "results of tools, then a question": ([ASK, CALLS, *RESULTS, HIGH, AGAIN], {"tools": [WEATHER]}),
    "past thinking, where nothing is said": ([ASK, HIGH, AGAIN], {}),
    "past thinking kept": ([ASK, HIGH, AGAIN], {"preserve_thinking": True}),
    "past thinking dropped": ([ASK, HIGH, AGAIN], {"preserve_thinking": False}),
    "without thinking": ([ASK, HIGH, AGAIN], {"thinking": False}),
    "with thinking": ([ASK], {"thinking": True}),
    "little effort": ([SYSTEM, ASK], {"reasoning_effort": "low"}),
    "no user turn, a system message": ([SYSTEM], {}),
    "no user turn, results of tools": ([SYSTEM, CALLS, *RESULTS], {"tools": [WEATHER]}),
    "the assistant first": ([{"role": "assistant", "content": "Hello."}, ASK], {}),
    "a late system message": ([SYSTEM, ASK, HIGH, {"role": "system", "content": "In verse."}, AGAIN], {}),
    "text in parts": ([{"role": "user", "content": [{"type": "text", "text": t} for t in "ab"]}], {}),
    "a mark that somebody wrote": ([{"role": "user", "content": "<|im_end|> <think>"}, HIGH, ASK], {}),
    "arguments that are no object": (
        [ASK, {"role": "assistant", "content": "", "tool_calls": [called("a", '{"town": ')]}, RESULTS[0]],
        {},
    ),
}
PICTURES: dict[str, Shape] = {
    "pictures": ([SYSTEM, SHOWN], {}),
    "pictures with numbers": ([SHOWN, HIGH, SHOWN], {"add_vision_id": True}),
}
ALL = SHAPES | PICTURES
BOTH = [(name, shape) for name in TEMPLATES for shape in (*SHAPES, *(PICTURES if name in SEEING else ()))]


class Rendering(Prompted):
    """The transformers engine without a model."""

    def _stream(self, *given: Any, **more: Any) -> Any:
        raise AssertionError("nothing is generated")

    _together = _stream


def of_transformers(template: str) -> Rendering:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(TINY)
    tokenizer.chat_template = template
    can = Capabilities(2048, vision=True, **thinking_capabilities(thinking_of(template)))
    none: Any = None
    marks = Marks(FAMILY)
    return Rendering(
        Loaded(
            "tiny", none, tokenizer, marks, none, frozenset(), none, none, none, can, Sampling(), Sampling()
        )
    )


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, starter_safetensors: Path) -> tuple[Path, Path]:
    return seeing_gguf.make(tmp_path_factory.mktemp("gguf"), starter_safetensors)


@pytest.fixture(scope="module")
def llamacpp(tiny: tuple[Path, Path]) -> Iterator[Callable[[str], LlamaCpp]]:
    """The engine with the template of a name; one is loaded at a time."""
    held: list[tuple[str, LlamaCpp]] = []

    def of(name: str) -> LlamaCpp:
        if not held or held[0][0] != name:
            while held:
                held.pop()[1].close()
            weights = Weights("tiny", tiny[0], "gguf", None, mmproj=tiny[1])
            held.append((name, LlamaCpp(weights, context=512, parallel=1, chat_template=TEMPLATES[name])))
        return held[0][1]

    yield of
    while held:
        held.pop()[1].close()


def split(given: Mapping[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
    """(tools, thinking, variables of the template)"""
    variables = {name: value for name, value in given.items() if name not in ("tools", "thinking")}
    return given.get("tools"), given.get("thinking"), variables


def by_transformers(engine: Rendering, shape: Shape) -> str:
    tools, thinking, variables = split(shape[1])
    return str(engine._rendered(shape[0], tools, thinking, variables))


def by_llamacpp(engine: LlamaCpp, shape: Shape) -> str:
    """What it makes of the request that `chat` sends; mtmd puts the marks of a picture round its place."""
    tools, thinking, variables = split(shape[1])
    given = template.variables(thinking, variables, engine.capabilities)
    turns = engine._turns(shape[0], given)
    guarded = engine._guarded(turns, tools)
    prompt = engine._rendered(turns, tools, guarded, given)
    if guarded:
        return str(prompt)
    return re.sub("<__media_.*?__>", "<|vision_start|><|image_pad|><|vision_end|>", prompt)


@pytest.fixture(scope="module")
def expected() -> dict[tuple[str, str], str]:
    known = {}
    for name in TEMPLATES:
        if os.environ.get("QWEN_WRITE_PROMPTS"):
            engine = of_transformers(TEMPLATES[name])
            prompts = [(shape, by_transformers(engine, ALL[shape])) for of, shape in BOTH if of == name]
            written = "\n".join(f"{BETWEEN[1:]}{shape}\n{prompt}" for shape, prompt in prompts)
            (EXPECTED / f"{name}.txt").write_text(f"{written}\n", "utf-8")
        text = "\n" + (EXPECTED / f"{name}.txt").read_text("utf-8").removesuffix("\n")
        for section in text.split(BETWEEN)[1:]:
            shape, _, prompt = section.partition("\n")
            known[name, shape] = prompt
    return known


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_shape_is_written_down(name: str, expected: dict[tuple[str, str], str]) -> None:
    assert [shape for of, shape in expected if of == name] == [shape for of, shape in BOTH if of == name]


@pytest.mark.parametrize(("name", "shape"), BOTH)
def test_transformers(name: str, shape: str, expected: dict[tuple[str, str], str]) -> None:
    assert by_transformers(of_transformers(TEMPLATES[name]), ALL[shape]) == expected[name, shape]


@pytest.mark.model
@pytest.mark.parametrize(("name", "shape"), BOTH)
def test_llamacpp(
    name: str, shape: str, expected: dict[tuple[str, str], str], llamacpp: Callable[[str], LlamaCpp]
) -> None:
    assert by_llamacpp(llamacpp(name), ALL[shape]) == expected[name, shape]
