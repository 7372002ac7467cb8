"""What a template does about thinking is found by rendering it."""

from __future__ import annotations

import pytest
from chat_templates import QWEN38, QWEN38_MAX, TEMPLATES
from hypothesis import given
from hypothesis import strategies as some
from small_models import ALWAYS, SWITCH

from qwen_cli.engines.parsing.chat_template import thinking_of
from qwen_cli.models.catalog.families import Thinking

EFFORTS = ("xhigh", "medium", "low")
KNOWN = {
    "qwen2.5": None,
    "qwen3": Thinking("switch"),
    "qwen3-2507-thinking": Thinking("always"),
    "qwen3-coder": None,
    "qwen3.5-2b": Thinking("switch", default=False),
    "qwen3.5-9b": Thinking("switch"),
    "qwen3.6": Thinking("switch", preserve=False),
    "qwen3.8": Thinking("switch", efforts=EFFORTS, preserve=True),
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_each_generation(name: str) -> None:
    assert thinking_of(TEMPLATES[name]) == KNOWN[name]


def test_one_that_raises_when_thinking_is_off() -> None:
    assert thinking_of(QWEN38_MAX) == Thinking("always", efforts=EFFORTS, preserve=True)


def ask(ending: str) -> str:
    return (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
        "<|im_start|>assistant\n" + ending
    )


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (SWITCH, Thinking("switch")),
        (ALWAYS, Thinking("always")),
        # communities' own ways to write them
        (ask("{% set t = enable_thinking if enable_thinking is defined else true %}{% if t %}<think>\n"
             "{% else %}<think>\n\n</think>\n\n{% endif %}"), Thinking("switch")),
        (ask("{% if enable_thinking|default(false) %}<think>\n{% endif %}"),
         Thinking("switch", default=False)),
        (ask("{% if enable_thinking is not defined or not enable_thinking %}<think></think>{% endif %}"),
         Thinking("switch", default=False)),
        (ask("{# enable_thinking #}"), None),
        (ask("{% set enable_thinking = false %}{{ '<think>\n\n</think>' }}"), None),
        (ask("{{ raise_exception('think not') }}"), None),
        (ask("{% if"), None),
        (ask("{% if enable_thinking %}{{ raise_exception('I cannot think') }}{% endif %}"), None),
        (ask("{% generation %}{% endgeneration %}<think>"), Thinking("always")),
        ("", None),
    ],
)  # fmt: skip
def test_other_templates(template: str, expected: Thinking | None) -> None:
    assert thinking_of(template) == expected


def test_an_effort_that_is_written_as_it_comes() -> None:
    """gpt-oss' way: any word is taken."""
    opened = ask("{{ reasoning_effort or 'medium' }}<think>\n")
    assert thinking_of(opened) == Thinking(
        "always", efforts=("medium", "max", "xhigh", "high", "low", "minimal")
    )


def test_an_effort_that_is_known_or_ignored() -> None:
    template = ask("{% if reasoning_effort == 'low' %}Short.{% endif %}<think>\n")
    found = thinking_of(template)
    assert found and found.efforts == ("low",)


def test_the_catalog_counts_where_the_template_says_nothing() -> None:
    known = Thinking("switch", efforts=EFFORTS, preserve=True)
    assert thinking_of("", known) == Thinking("switch")  # words and variables are the template's alone
    assert thinking_of(QWEN38, Thinking("always")) == known


@given(some.text(alphabet="{}%think enable_reasoning effort if end|'\\n<>", max_size=60))
def test_no_text_is_a_fault(text: str) -> None:
    thinking_of("think" + text)
