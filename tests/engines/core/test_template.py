"""Variables of a chat template: efforts, thinking, and what may not be given."""

from __future__ import annotations

import inspect
from unittest.mock import Mock

import pytest

from qwen_cli.engines.core import template
from qwen_cli.engines.core.base import Capabilities
from qwen_cli.errors import UsageError

EFFORTS = Capabilities(None, thinking="switch", efforts=("xhigh", "medium", "low"))
SWITCH, ALWAYS, NEVER = (Capabilities(None, thinking=how) for how in ("switch", "always", None))
OFF_BY_ITSELF = Capabilities(None, thinking="switch", thinks_by_default=False)
UNKNOWN = Capabilities(None, unverified=True)


@pytest.mark.parametrize(
    ("asked", "given", "can", "expected"),
    [
        (None, None, SWITCH, True),
        (None, None, OFF_BY_ITSELF, False),
        (True, None, OFF_BY_ITSELF, True),
        (64, None, OFF_BY_ITSELF, 64),
        (0, None, SWITCH, 0),
        (None, {"enable_thinking": False}, SWITCH, False),
        (None, {"enable_thinking": "no"}, SWITCH, True),
        (True, {"enable_thinking": False}, SWITCH, True),
        (False, None, ALWAYS, None),  # its template would raise
        (64, None, ALWAYS, 64),
        (False, None, NEVER, None),
    ],
)
def test_whether_to_think(asked: object, given: object, can: Capabilities, expected: object) -> None:
    assert template.thinking_asked(asked, given, can) is expected or expected == 64  # type: ignore[arg-type]


def test_the_switch_is_always_said_and_never_where_there_is_none() -> None:
    assert template.variables(False, {"x": 1}, SWITCH) == {"x": 1, "enable_thinking": False}
    assert template.variables(64, None, SWITCH) == {"enable_thinking": True}
    assert template.variables(64, {"enable_thinking": False}, ALWAYS) == {}


@pytest.mark.parametrize(
    ("effort", "thinking", "can", "expected"),
    [
        (None, True, EFFORTS, (True, {})),
        ("low", None, EFFORTS, (None, {"reasoning_effort": "low"})),
        ("low", 100, EFFORTS, (100, {"reasoning_effort": "low"})),
        ("low", False, EFFORTS, (False, {})),
        ("low", None, SWITCH, (1_638, {})),
        ("low", True, ALWAYS, (1_638, {})),
        ("low", 100, SWITCH, (100, {})),
        ("xhigh", None, SWITCH, (True, {})),
        ("none", None, SWITCH, (False, {})),
        ("low", None, UNKNOWN, (None, {"reasoning_effort": "low"})),
    ],
)
def test_an_effort(effort: str, thinking: int | None, can: Capabilities, expected: object) -> None:
    assert template.by_effort(effort, thinking, can) == expected


@pytest.mark.parametrize(
    ("effort", "can", "names"),
    [
        ("high", EFFORTS, "xhigh, medium, low"),
        ("none", ALWAYS, "low, medium, high"),
        ("most", UNKNOWN, "low"),
    ],
)
def test_an_effort_that_is_not_taken(effort: str, can: Capabilities, names: str) -> None:
    with pytest.raises(UsageError, match=f"takes no effort '{effort}'") as refusal:
        template.check_effort(effort, can, "m")
    assert names in (refusal.value.hint or "")


def test_a_model_that_does_not_think_takes_none() -> None:
    with pytest.raises(UsageError, match="does not think"):
        template.check_effort("low", NEVER, "m")


@pytest.mark.parametrize(
    ("sent", "word"),
    [("high", "xhigh"), ("max", "xhigh"), ("minimal", "low"), ("medium", "medium"), ("odd", "odd")],
)
def test_words_of_openai(sent: str, word: str) -> None:
    assert template.nearest_effort(sent, EFFORTS) == word


def test_the_material_of_a_template_is_no_variable() -> None:
    from transformers import PreTrainedTokenizerBase

    names = set(inspect.signature(PreTrainedTokenizerBase.apply_chat_template).parameters)
    assert names - {"self", "kwargs"} <= template.RESERVED
    for name in ("chat_template", "messages", "add_generation_prompt"):
        with pytest.raises(UsageError, match="no variable"):
            template.variables(None, {name: "x"}, SWITCH)


@pytest.mark.parametrize(
    ("prompt", "own"),
    [
        ("<|im_start|>system\nYou are Qwen.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n", "You are Qwen."),
        ("<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n", None),
        ("<|im_start|>system\n<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n", None),
    ],
)
def test_the_system_prompt_of_the_template_itself(prompt: str, own: str | None) -> None:
    engine = Mock(capabilities=Capabilities(None, render=True), render=lambda messages: prompt)
    assert template.own_system(engine) == own
    engine.capabilities = Capabilities(None)
    assert template.own_system(engine) is None, "a server that does not tell"
