"""Hybrids (Qwen3-Next, Qwen3.5) compute nothing twice: the running state of linear attention cannot go back,
so both engines keep it where a later prompt may part from the one before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import small_models

from qwen_cli.engines.core.base import Engine, Message, Piece, Sampling, Usage
from qwen_cli.engines.llamacpp.engine import LlamaCpp
from qwen_cli.engines.transformers.device_map import Places
from qwen_cli.engines.transformers.engine import Transformers
from qwen_cli.models.formats import gguf_export, parameters
from qwen_cli.models.hub.resolve import Weights
from qwen_cli.tasks.chat import opening, sessions
from qwen_cli.tasks.chat.conversation import Conversation

GREEDY = Sampling(temperature=0, max_tokens=6)
# Tokens that are computed again to answer a prompt once more: "<|im_start|>assistant\n" on transformers (in
# the small vocabulary), as many on llama.cpp whatever they are.
ANSWER_BEGINS = 4
RHYMES = "You answer in rhymes, as sailors of old would."


@pytest.fixture(scope="module")
def gguf(starter_safetensors: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hybrid") / "qwen35"
    small_models.make_wordy("Qwen3_5", folder, starter_safetensors)
    return gguf_export.to_gguf(folder, folder.with_suffix(".gguf"), quant="f32")


@pytest.fixture(scope="module")
def template(starter_safetensors: Path) -> str:
    """One that llama.cpp finds the beginnings of messages in: not that of the small models."""
    settings = json.loads((starter_safetensors / "tokenizer_config.json").read_text())
    return str(settings["chat_template"])


@pytest.fixture(scope="module", params=["transformers", "llamacpp"])
def hybrid(
    request: pytest.FixtureRequest, starter_safetensors: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    """A hybrid with as few checkpoints as a 27B has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parameters, "_CHECKPOINT_BYTES", 0)
        if request.param == "llamacpp":
            path, template = request.getfixturevalue("gguf"), request.getfixturevalue("template")
            with LlamaCpp(weights(path), context=2048, chat_template=template) as loaded:
                yield loaded
            return
        folder = tmp_path_factory.mktemp("hybrid") / "qwen3next"
        small_models.make_wordy("Qwen3Next", folder, starter_safetensors)
        with Transformers(weights(folder), dtype="fp32", context=2048, places=Places({"": "cpu"})) as made:
            yield made


def weights(path: Path) -> Weights:
    return Weights("hybrid", path, "gguf" if path.is_file() else "safetensors", None)


def said(engine: Engine, turns: list[Message]) -> tuple[str, Usage]:
    pieces = list(engine.chat(turns, sampling=GREEDY))
    assert pieces[-1].usage
    return "".join(piece.text for piece in pieces), pieces[-1].usage


def fresh(engine: Engine, turns: list[Message]) -> str:
    """Return the answer that is computed from the beginning."""
    said(engine, [user("Begin otherwise.", "system"), user("So?")])
    text, usage = said(engine, turns)
    assert usage.cached_tokens < 4
    return text


def user(text: str, role: str = "user") -> Message:
    return {"role": role, "content": text}


def known_after(usage: Usage) -> int:
    """Return the tokens that are computed when an answer has ended: nobody asked what follows its last."""
    return usage.prompt_tokens + usage.generated_tokens - 1


def test_only_what_is_new_is_computed_in_twenty_turns(hybrid: Engine) -> None:
    turns: list[Message] = [user("You know the sky.", "system")]
    told: list[Usage] = []
    for number in range(20):
        turns.append(user(f"What is above number {number}, {'and ' * (number % 4)}so on?"))
        answer, usage = said(hybrid, turns)
        if told:
            assert usage.cached_tokens == known_after(told[-1])
        told.append(usage)
        turns.append(user(answer, "assistant"))
    assert told[-1].prompt_tokens > 500

    retry, undo = turns[:-1], [*turns[:-2], user("And below?")]
    retried, usage = said(hybrid, retry)
    assert usage.cached_tokens >= usage.prompt_tokens - ANSWER_BEGINS
    undone, usage = said(hybrid, undo)  # or the last message edited
    assert usage.cached_tokens >= known_after(told[-2])
    assert (retried, undone) == (answer, fresh(hybrid, undo))
    assert retried == fresh(hybrid, retry)


def test_several_turns_are_taken_back(hybrid: Engine) -> None:
    """To a checkpoint before them, which may be the first."""
    turns: list[Message] = [user("You know the sky.", "system")]
    system = hybrid.count_tokens(f"<|im_start|>system\n{turns[0]['content']}<|im_end|>\n")
    for number in range(6):
        turns.append(user(f"What is above number {number}?"))
        turns.append(user(said(hybrid, turns)[0], "assistant"))
    back = [*turns[:5], user("And below?")]
    text, usage = said(hybrid, back)
    assert usage.cached_tokens >= system
    assert text == fresh(hybrid, back)


def test_an_answer_that_comes_back_changed_costs_itself_alone(hybrid: Engine) -> None:
    """Thinking that the template drops, spaces that are stripped."""
    turns = [user("What is above?")]
    _, first = said(hybrid, turns)
    turns += [user("the sky, and the moon above the sea", "assistant"), user("And below?")]
    answer, usage = said(hybrid, turns)
    assert usage.cached_tokens >= first.prompt_tokens - ANSWER_BEGINS
    # From the end of that answer on nothing is computed twice.
    _, edited = said(hybrid, [*turns[:-1], user("And beside?")])
    assert edited.cached_tokens > first.prompt_tokens
    assert fresh(hybrid, turns) == answer


def test_a_new_conversation_begins_behind_the_system_prompt(hybrid: Engine) -> None:
    system = user("You know the sky and the sea.", "system")
    said(hybrid, [system, user("What is above?")])
    answer, usage = said(hybrid, [system, user("Who are you?")])
    assert usage.cached_tokens >= hybrid.count_tokens(f"<|im_start|>system\n{system['content']}<|im_end|>\n")
    assert fresh(hybrid, [system, user("Who are you?")]) == answer


def test_a_closed_answer_is_gone_on_from(hybrid: Engine) -> None:
    turns = [user("What is above?")]
    stream = hybrid.chat(turns, sampling=Sampling(temperature=0, max_tokens=200))
    begun = next(stream).text + next(stream).text
    stream.close()
    turns += [user(begun, "assistant"), user("Go on.")]
    answer, usage = said(hybrid, turns)
    opening = hybrid.count_tokens(turns[:1])
    assert usage.cached_tokens >= opening - ANSWER_BEGINS
    assert fresh(hybrid, turns) == answer


def test_several_answers_and_then_one(hybrid: Engine) -> None:
    turns = [user("What is above?")]
    alone, first = said(hybrid, turns)
    again = first.prompt_tokens - ANSWER_BEGINS
    many = hybrid.sample(turns, 3, sampling=GREEDY)
    assert [one.text for one in many] == [alone] * 3
    assert many[0].usage.cached_tokens >= again
    text, usage = said(hybrid, turns)
    assert text == alone
    assert usage.cached_tokens >= again


def test_a_saved_cache_goes_on_where_it_was(hybrid: Engine, tmp_path: Path) -> None:
    """With the checkpoints of its last turn."""
    turns = [user("What is above?")]
    answer = fresh(hybrid, turns)
    _, first = said(hybrid, turns)
    state = tmp_path / "hybrid.kv"
    assert hybrid.capabilities.state
    assert hybrid.save_state(state)
    more = [*turns, user(answer, "assistant"), user("And below?")]
    changed = [*turns, user("the sea", "assistant"), user("And below?")]
    again = first.prompt_tokens - ANSWER_BEGINS
    for later, cached in ((more, known_after(first)), (changed, again)):
        text = fresh(hybrid, later)
        assert hybrid.load_state(state)
        resumed, usage = said(hybrid, later)
        assert resumed == text
        assert usage.cached_tokens >= cached
    cut = tmp_path / "cut.kv"
    cut.write_bytes(state.read_bytes()[:-100])
    assert not hybrid.load_state(cut)


def test_drafts_on_llamacpp_change_nothing(gguf: Path, template: str) -> None:
    """It makes a checkpoint before each, and goes back to it where a token is rejected."""
    known = "the of and in to for the of and in to for the of and in to for the of and in to for the of and"
    turns = [user(f"Go on: {known}")]
    sampling = Sampling(temperature=0, max_tokens=150)
    texts, drafted, accepted = [], 0, 0
    for draft in (None, "ngram"):
        with LlamaCpp(weights(gguf), context=2048, chat_template=template, draft=draft) as engine:
            pieces = list(engine.chat(turns, sampling=sampling))
            usage = pieces[-1].usage
            assert usage
            drafted, accepted = usage.drafted_tokens, usage.accepted_tokens
            texts.append(("".join(piece.text for piece in pieces), said(engine, turns)[0]))
    assert texts[0] == texts[1]
    assert 0 < accepted < drafted


def test_an_opening_that_was_kept_is_gone_on_from(
    hybrid: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last token is the end of a word, which joins to nothing: no state has to go back."""
    if not isinstance(hybrid, LlamaCpp):
        pytest.skip("transformers reads an opening as fast as a token")
    monkeypatch.setenv("QWEN_HOME", str(tmp_path))

    def asked() -> tuple[str, int]:
        said(hybrid, [user("Begin otherwise.", "system"), user("So?")])
        talk = Conversation(hybrid, system=RHYMES, sampling=GREEDY)
        pieces = [e for e in opening.begun(talk, talk.send("What is the sea?"), 1e9) if isinstance(e, Piece)]
        assert pieces[-1].usage
        return "".join(piece.text for piece in pieces), pieces[-1].usage.cached_tokens

    first, second = asked(), asked()
    assert len(list(sessions.files_folder().glob("*.kv"))) == 1
    assert first == second
    assert first[1] == hybrid.count_tokens(opening.text(Conversation(hybrid, system=RHYMES)))
