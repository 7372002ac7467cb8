"""A number hidden in long texts."""

from __future__ import annotations

from examined import Examined

from qwen_cli.engines.core.base import Sampling
from qwen_cli.tasks.eval import passkey
from qwen_cli.tasks.eval.protocol import Protocol


def test_texts_are_as_long_as_asked_and_only_those_that_fit() -> None:
    engine = Examined()
    texts = passkey.hidden(8192, (1024, 4096, 8192), 4, seed=3)
    assert [item.length for item in texts] == [1024] * 4 + [4096] * 4
    for item in texts:
        text = item.text(engine)
        assert abs(engine.count_tokens(text) - item.length) < 40
        assert item.key in text


def test_the_same_seed_hides_the_same_numbers_and_another_others() -> None:
    one, same, other = (passkey.hidden(None, (1024,), 5, seed) for seed in (1, 1, 2))
    assert [item.key for item in one] == [item.key for item in same] != [item.key for item in other]


def test_the_first_number_of_five_digits_is_the_answer() -> None:
    (item,) = passkey.hidden(None, (512,), 1, 0)
    for said, right in ((f"The pass key is {item.key}.", 1.0), ("It is 00000.", 0.0), ("I do not know", 0.0)):
        engine = Examined(lambda prompt, said=said: said)  # type: ignore[misc]
        for form in ("chat", "base"):
            attempt = item.attempt(engine, Protocol(form, 0, sampling=Sampling()), 0, lambda: False)  # type: ignore[arg-type]
            assert attempt
            assert attempt.correct == right


def test_the_depth_is_where_the_number_stands() -> None:
    engine = Examined()
    first, last = (next(iter(t)) for t in ([item] for item in passkey.hidden(None, (2048,), 2, 0)))
    assert first.text(engine).index(first.key) < last.text(engine).index(last.key)
