"""Which tokens of a chat are learned, for the templates of Qwen's generations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import chat_templates
import pytest
import small_vocabulary

from qwen_cli.engines.transformers import load
from qwen_cli.errors import UsageError
from qwen_cli.tasks.train import rows, sequences

USER, END = "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"
TWO_TURNS = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "2 + 2?"},
    {"role": "assistant", "content": "It is 4."},
]
CALLS = [
    {"role": "user", "content": "Weather?"},
    {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]},
    {"role": "tool", "content": "sunny"},
    {"role": "assistant", "content": "It is sunny."},
]
CALL = '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'
EMPTY = "<think>\n\n</think>\n\n"


@pytest.fixture(scope="module")
def tokenizer(starter_safetensors: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("tokenizer")
    small_vocabulary.write(starter_safetensors, folder)
    (folder / "config.json").write_text('{"model_type": "qwen2"}')
    return load.tokenizer(folder, trust_remote_code=False)


def learned(tokenizer: Any, template: str, messages: list[dict[str, Any]], turns: str = "all") -> list[str]:
    """Each sequence of a chat, with brackets round what is learned."""
    tokenizer.chat_template = chat_templates.TEMPLATES[template]
    chats = rows.chats([{"messages": messages}])
    shown = []
    for one in sequences.Template(tokenizer, template, turns).prepare(chats, 10_000).sequences:
        text, inside = "", False
        for id, counts in zip(one.ids.tolist(), one.counts.tolist(), strict=True):
            text += ("[" if counts else "]") * (counts != inside) + tokenizer.decode([id])
            inside = counts
        shown.append(text + "]" * inside)
    return shown


def test_qwen25_learns_every_turn_and_its_end_in_one_sequence(tokenizer: Any) -> None:
    (text,) = learned(tokenizer, "qwen2.5", TWO_TURNS)

    assert text.startswith("<|im_start|>system\nYou are Qwen")
    assert text.endswith(f"{USER}Hi{END}[Hello<|im_end|>]\n{USER}2 + 2?{END}[It is 4.<|im_end|>]")


def test_the_last_turn_alone(tokenizer: Any) -> None:
    (text,) = learned(tokenizer, "qwen2.5", TWO_TURNS, "last")

    assert text.endswith(f"{USER}Hi{END}Hello<|im_end|>\n{USER}2 + 2?{END}[It is 4.<|im_end|>]")


def test_calls_are_learned_and_their_results_are_not(tokenizer: Any) -> None:
    (text,) = learned(tokenizer, "qwen2.5", CALLS)
    result = f"{USER}<tool_response>\nsunny\n</tool_response>{END}"

    assert text.endswith(f"[{CALL}<|im_end|>]\n{result}[It is sunny.<|im_end|>]")


def test_qwen3_learns_thinking_where_there_is_some_and_no_empty_block(tokenizer: Any) -> None:
    thought = [*TWO_TURNS[:3], {**TWO_TURNS[3], "reasoning_content": "Add."}]

    assert learned(tokenizer, "qwen3", thought) == [
        f"{USER}Hi{END}Hello<|im_end|>\n{USER}2 + 2?{END}[<think>\nAdd.\n</think>\n\nIt is 4.<|im_end|>]",
        f"{USER}Hi{END}{EMPTY}[Hello<|im_end|>]",
    ]


@pytest.mark.parametrize("template", ["qwen3-2507-thinking", "qwen3.5-2b", "qwen3.5-9b", "qwen3.6"])
def test_a_block_of_thinking_that_the_prompt_opens_is_not_learned(tokenizer: Any, template: str) -> None:
    thought = [TWO_TURNS[0], {**TWO_TURNS[1], "reasoning_content": "Greet."}]

    assert learned(tokenizer, template, thought) == [
        f"{USER}Hi{END}<think>\n[Greet.\n</think>\n\nHello<|im_end|>]"
    ]


@pytest.mark.parametrize("template", ["qwen3", "qwen3.5-2b", "qwen3.5-9b", "qwen3.6", "qwen3.8"])
def test_an_answer_without_thinking_is_learned_as_one_with_thinking_off(
    tokenizer: Any, template: str
) -> None:
    assert learned(tokenizer, template, TWO_TURNS[:2]) == [f"{USER}Hi{END}{EMPTY}[Hello<|im_end|>]"]


@pytest.mark.parametrize("template", chat_templates.TEMPLATES)
def test_each_turn_is_learned_once_after_the_prompt_that_asks_for_it(tokenizer: Any, template: str) -> None:
    for messages, spoken in ((TWO_TURNS, ("Hello", "It is 4.")), (CALLS, ("</tool_call>", "It is sunny."))):
        inside = [part.partition("]")[0] for text in learned(tokenizer, template, messages)
                  for part in text.split("[")[1:]]  # fmt: skip

        assert sorted(part.endswith(f"{words}<|im_end|>") for part in inside for words in spoken) == [
            *(False, False),
            *(True, True),
        ]


def test_a_template_that_forgets_thinking_learns_it_all_the_same(tokenizer: Any) -> None:
    # As QwQ-32B's does: asked to think, and past answers are without.
    forgets = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
    )
    tokenizer.chat_template = forgets
    thought = [TWO_TURNS[0], {**TWO_TURNS[1], "reasoning_content": "Greet."}]
    (text, spans), *more = sequences.Template(tokenizer, "qwq").texts(rows.chats([{"messages": thought}])[0])

    assert more == []
    assert text[spans[0][0] : spans[0][1]] == "Greet.\n</think>\n\nHello<|im_end|>"
    assert text.startswith(f"{USER}Hi{END}<think>\nGreet.")


def test_the_output_of_programs_is_not_learned(tokenizer: Any) -> None:
    wrote = "```python\nprint(4)\n```\n```output\n4\n```\nSo 4.\n```output\n5\n```"
    (text,) = learned(tokenizer, "qwen2.5", [TWO_TURNS[2], {"role": "assistant", "content": wrote}])

    assert text.endswith(
        "[```python\nprint(4)\n```\n```output]\n4\n```\n[So 4.\n```output]\n5\n```[<|im_end|>]"
    )


def test_control_tokens_in_data_are_text(tokenizer: Any) -> None:
    spelt = "<|im_end|>"
    asked, answered = {"role": "user", "content": spelt}, {"role": "assistant", "content": f"a{spelt}b"}
    tokenizer.chat_template = chat_templates.QWEN3
    (one,) = (
        sequences.Template(tokenizer, "qwen3")
        .prepare(rows.chats([{"messages": [asked, answered]}]), 999)
        .sequences
    )

    assert tokenizer.decode(one.ids).count(spelt) == 4
    assert one.ids.tolist().count(small_vocabulary.number(151_645)) == 2  # those of the template


def test_what_is_cut_and_what_is_left_out_is_counted(tokenizer: Any) -> None:
    tokenizer.chat_template = chat_templates.QWEN3
    chats = rows.chats(
        [
            {"prompt": "Hi", "completion": "Hello"},
            {"prompt": "Hi", "completion": "one two three four five six seven eight nine ten eleven"},
            {"prompt": "one two three four five six seven eight nine ten eleven twelve", "completion": "x"},
        ]
    )
    template = sequences.Template(tokenizer, "qwen3")
    most = template.prepare(chats[:1], 999).longest + 2
    made = template.prepare(chats, most)

    assert [one.number for one in made.sequences] == [1, 2]
    assert (made.cut, made.left_out, made.longest) == (2, 1, most)
    assert made.sequences[1].counts[-1]


def test_a_row_that_the_template_refuses_is_named(tokenizer: Any) -> None:
    tokenizer.chat_template = "{{ raise_exception('not this') }}"
    chats = rows.chats([{"prompt": "Hi", "completion": "Hello"}])

    with pytest.raises(UsageError, match="row 1: the chat template refused: not this"):
        sequences.Template(tokenizer, "strict").prepare(chats, 99)


def test_held_out_rows_are_a_share_and_repeated_ones_are_dropped(tokenizer: Any) -> None:
    chats = rows.chats([{"prompt": f"{n // 2}", "completion": "x"} for n in range(20)])
    kept, held = sequences.parted(chats, 0.1, seed=0)
    tokenizer.chat_template = chat_templates.QWEN3
    template = sequences.Template(tokenizer, "qwen3")
    left, dropped = sequences.without(template.prepare(kept, 99), template.prepare(held, 99))

    assert (len(kept), len(held)) == (18, 2)
    assert {chat.number for chat in kept + held} == set(range(1, 21))
    assert dropped == 2 - (held[0].messages == held[1].messages) * 2
    assert not {one.key for one in left.sequences} & {one.key for one in template.prepare(held, 99).sequences}
    assert sequences.parted(chats[:5], 0.1, seed=0)[1] == []
