"""Several answers in one KV cache: each gets what it was promised, and none takes the others with it."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import small_models

from qwen_cli.engines.core.base import Engine, Sampling, Usage
from qwen_cli.engines.llamacpp.engine import LlamaCpp
from qwen_cli.engines.llamacpp.pool import ANSWER, Claim, Lease, Pool
from qwen_cli.engines.llamacpp.slot import Slot
from qwen_cli.errors import ContextFull
from qwen_cli.models.hub.resolve import Weights

CONTEXT = 4_096
WORDS = "one two three four five six seven eight nine ten "  # ten tokens


def claim(prompt: int, limit: int | None, answers: int = 1) -> Claim:
    return Claim(lambda: prompt, limit, answers)


def no_erase(slot: int) -> None:
    raise AssertionError(f"slot {slot} was emptied")


class Asking:
    """Somebody who asks `pool` for room from a thread of their own."""

    def __init__(self, pool: Pool, slot: int, asked: Claim, erase: Callable[[int], None] = no_erase) -> None:
        self.cancelled = threading.Event()
        self.lease: Lease | None = None
        self.thread = threading.Thread(target=self._ask, args=(pool, slot, asked, erase), daemon=True)
        self.thread.start()
        self.thread.join(0.1)

    def _ask(self, pool: Pool, slot: int, asked: Claim, erase: Callable[[int], None]) -> None:
        self.lease = pool.take(slot, asked, self.cancelled, erase)

    @property
    def waits(self) -> bool:
        return self.thread.is_alive()

    def granted(self) -> Lease:
        self.thread.join(5)
        assert self.lease
        return self.lease


def taken(pool: Pool, slot: int, prompt: int, limit: int | None) -> Lease:
    lease = Asking(pool, slot, claim(prompt, limit)).granted()
    pool.settle(lease, prompt)
    return lease


class TestPool:
    def test_who_is_alone_is_not_counted_and_others_wait_until_it_is(self) -> None:
        def count() -> int:
            raise AssertionError("counted")

        pool = Pool(4_096, 8, drafted=0)
        alone = Asking(pool, 0, Claim(count, None)).granted()
        other = Asking(pool, 1, claim(100, 200))
        assert other.waits

        pool.settle(alone, 50)

        assert other.granted().tokens == 300
        assert alone.tokens == 50 + ANSWER

    def test_a_limited_answer_has_its_room_from_the_beginning(self) -> None:
        pool = Pool(1_000, 8, drafted=16)
        first, second = taken(pool, 0, 100, 400), taken(pool, 1, 50, 300)
        third = Asking(pool, 2, claim(100, 100))
        assert third.waits
        assert pool.grow(first, 400)
        assert pool.grow(second, 300)

        pool.give_back(second, 300)

        assert third.granted().tokens == 200

    def test_in_the_order_of_asking(self) -> None:
        """A small request does not pass a large one for ever."""
        pool = Pool(1_000, 8, drafted=0)
        first = taken(pool, 0, 100, 400)
        large, small = Asking(pool, 1, claim(100, 800)), Asking(pool, 2, claim(10, 10))
        assert large.waits
        assert small.waits

        pool.give_back(first)

        pool.settle(large.granted(), 100)
        assert small.granted()

    def test_an_answer_without_a_limit_goes_on_while_there_is_room_and_ends_alone(self) -> None:
        pool = Pool(4_096, 8, drafted=0)
        first, second = taken(pool, 0, 100, None), taken(pool, 1, 100, None)
        third = taken(pool, 2, 100, 1_000)
        assert pool.grow(first, 1_500)
        assert not pool.grow(first, 2_000)  # with the promises to the others that is more than there is
        assert first.full
        assert pool.grow(second, ANSWER)
        assert pool.grow(third, 1_000)

        pool.give_back(first, 2_000)

        assert pool.grow(second, 2_500)

    def test_a_very_large_limit_is_no_promise(self) -> None:
        pool = Pool(16_384, 8, drafted=0)
        leases = [taken(pool, slot, 100, 8_192) for slot in range(7)]
        assert [lease.tokens for lease in leases] == [100 + 16_384 // 8] * 7

    def test_alone_an_answer_may_have_everything(self) -> None:
        pool = Pool(1_024, 8, drafted=16)
        lease = taken(pool, 0, 1_000, None)
        assert lease.tokens == 1_024
        assert pool.grow(lease, 24)

    def test_a_prompt_that_never_fits_is_not_waited_for(self) -> None:
        pool = Pool(1_000, 8, drafted=0)
        taken(pool, 0, 10, 10)
        with pytest.raises(ContextFull, match="1,000"):
            pool.take(1, claim(1_000, 1), threading.Event(), no_erase)
        assert Asking(pool, 1, claim(10, 10)).granted()  # the queue goes on

    def test_a_count_that_fails_leaves_the_queue(self) -> None:
        def count() -> int:
            raise ZeroDivisionError

        pool = Pool(1_000, 8, drafted=0)
        taken(pool, 0, 10, 10)
        with pytest.raises(ZeroDivisionError):
            pool.take(1, Claim(count, 1), threading.Event(), no_erase)
        assert Asking(pool, 1, claim(10, 10)).granted()

    def test_who_waits_can_be_cancelled(self) -> None:
        pool = Pool(1_000, 8, drafted=0)
        taken(pool, 0, 500, 400)
        first, second = Asking(pool, 1, claim(500, 400)), Asking(pool, 2, claim(10, 10))
        first.cancelled.set()
        pool.wake()
        assert second.granted()
        first.thread.join(5)
        assert first.lease is None

    def test_what_a_slot_holds_counts_until_its_prompt_is_looked_at(self) -> None:
        """llama.cpp drops what slots at rest hold, but not what one holds that has just been asked."""
        pool = Pool(4_096, 8, drafted=0)
        pool.hold(1, 2_000)
        first = taken(pool, 0, 1_000, 500)
        second = Asking(pool, 1, claim(100, 100)).granted()
        assert second.tokens == 2_000
        third = Asking(pool, 2, claim(500, 500))
        assert third.waits

        pool.settle(second, 100)

        assert second.tokens == 200
        assert third.granted()
        assert first.tokens == 1_500

    def test_a_slot_is_emptied_where_what_it_holds_is_in_the_way(self) -> None:
        pool, emptied = Pool(4_096, 8, drafted=0), []
        pool.hold(1, 3_500)
        taken(pool, 0, 1_000, 500)
        assert Asking(pool, 1, claim(100, 100), emptied.append).granted().tokens == 200
        assert emptied == [1]

    def test_a_conversation_that_goes_on_is_not_emptied(self) -> None:
        pool = Pool(4_096, 8, drafted=0)
        lease = taken(pool, 1, 2_000, 100)
        pool.give_back(lease, 50)
        taken(pool, 0, 500, 500)
        assert Asking(pool, 1, claim(2_060, 100)).granted().tokens == 2_160

    def test_copies_of_an_answer_go_to_slots_that_are_emptied_for_them(self) -> None:
        pool, emptied = Pool(1_000, 4, drafted=0), []
        for slot in range(4):
            pool.hold(slot, 240)
        asked = Asking(pool, 0, claim(400, 200, answers=3), emptied.append).granted()
        assert asked.tokens == 1_000
        assert emptied == [1]  # 400 for the prompt beside what the two others hold

    @pytest.mark.parametrize(
        ("size", "prompt", "limit", "answers", "expected"),
        [
            (16_384, 300, 1_000, 8, (8, 1_000)),
            (16_384, 300, 2_048, 8, (7, 2_048)),
            (16_384, 300, 8_192, 8, (1, 8_192)),
            (16_384, 300, 100_000, 8, (1, 100_000)),
            (16_384, 300, None, 4, (4, 4_021)),
            (16_384, 300, None, 1, (1, None)),
            (1_024, 1_000, None, 4, (1, None)),
            (1_024, 2_000, 5, 4, (1, 5)),  # llama.cpp says that the prompt is too long
        ],
    )
    def test_answers_of_one_request(
        self, size: int, prompt: int, limit: int | None, answers: int, expected: tuple[int, int | None]
    ) -> None:
        at_once, each = Pool(size, 8, drafted=16).together(prompt, limit, answers)
        assert (at_once, each) == expected
        assert at_once == 1 or prompt + at_once * (each or 0) <= size

    @pytest.mark.parametrize("seed", range(5))
    def test_whatever_is_asked_the_cache_is_never_full(self, seed: int) -> None:
        """As llama.cpp would fill it: steps of several tokens, and some more after an answer was stopped."""
        drafted, chance = 4, random.Random(seed)
        pool = Pool(4_096, 6, drafted=drafted)
        there = [0] * 6
        lock, ends = threading.Lock(), []

        def fill(slot: int, tokens: int) -> None:
            with lock:
                there[slot] = tokens
                assert sum(there) <= pool.size

        def work(slot: int) -> None:
            for _ in range(12):
                with lock:
                    prompt, goal = chance.randrange(1, 3_000), chance.randrange(1, 3_000)
                    limit = chance.choice([None, 50, 500, 2_000, 50_000])
                asked = claim(prompt, limit)
                lease = pool.take(slot, asked, threading.Event(), lambda number: fill(number, 0))
                assert lease
                fill(slot, prompt)
                pool.settle(lease, prompt)
                generated, goes_on = 0, True
                most = min(goal, pool.size - prompt, limit or pool.size)
                while goes_on and generated < most:
                    generated = min(most, generated + drafted + 1)
                    fill(slot, prompt + generated)
                    goes_on = not pool.grows(asked) or pool.grow(lease, generated)
                if not goes_on:
                    fill(slot, prompt + min(most, generated + 2 * (drafted + 1)))
                ends.append((limit, goes_on))
                fill(slot, 0)  # llama.cpp drops what a slot at rest holds as soon as it is in the way
                pool.give_back(lease, generated)

        with ThreadPoolExecutor(6) as threads:
            list(threads.map(work, range(6)))
        assert all(whole for limit, whole in ends if limit in (50, 500))


def test_a_stream_that_cannot_begin_gives_its_room_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Server:
        def handle_completions(self, request: dict[str, Any], on_chunk: Callable[[Any], bool]) -> None:
            on_chunk({"prompt_progress": {"total": 3, "cache": 0}})
            on_chunk({"choices": [{"finish_reason": "stop"}], "timings": {"predicted_n": 1}})

    pool = Pool(100, 2, drafted=0)
    slot = Slot(Server(), "key", 0, tmp_path, pool)
    with monkeypatch.context() as patch:
        patch.setattr(
            threading.Thread, "start", lambda self: (_ for _ in ()).throw(RuntimeError("no thread"))
        )
        with pytest.raises(RuntimeError, match="no thread"):
            next(slot.stream("handle_completions", {"prompt": "x"}))
    assert not pool._leases

    assert len(list(slot.stream("handle_completions", {"prompt": "x"}))) == 2
    assert not pool._leases


@pytest.fixture(scope="module")
def gguf(starter_safetensors: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that is quick, and never done."""
    return small_models.make_endless(tmp_path_factory.mktemp("endless"), starter_safetensors, light=True)


@pytest.fixture
def engine(gguf: Path) -> Iterator[LlamaCpp]:
    with LlamaCpp(Weights("endless", gguf, "gguf", None), context=CONTEXT) as loaded:
        yield loaded


def answered(engine: Engine, prompt: str, limit: int | None) -> tuple[str, Usage]:
    pieces = list(engine.complete(prompt, sampling=Sampling(temperature=0, max_tokens=limit)))
    assert pieces[-1].usage
    return "".join(piece.text for piece in pieces), pieces[-1].usage


def all_at_once(lanes: list[Engine], asked: list[tuple[str, int | None]]) -> list[tuple[str, Usage]]:
    with ThreadPoolExecutor(len(lanes)) as threads:
        return list(threads.map(lambda lane, one: answered(lane, *one), lanes, asked))


class TestLlamaCpp:
    def test_answers_whose_sum_is_more_than_the_cache_are_all_whole(self, engine: LlamaCpp) -> None:
        asked: list[tuple[str, int | None]] = [(f"{number} {WORDS}", 900) for number in range(8)]
        expected = [answered(engine, *one)[0] for one in asked[:2]]

        done = all_at_once(engine.lanes(8), asked)

        assert [(usage.stop_reason, usage.generated_tokens) for _, usage in done] == [("length", 900)] * 8
        assert [text[:200] for text, _ in done[:2]] == [text[:200] for text in expected]

    def test_the_one_that_does_not_fit_ends_for_the_context_and_the_others_go_on(
        self, engine: LlamaCpp
    ) -> None:
        limits = [None, None, None, 700, 700, 10_000]
        done = all_at_once(engine.lanes(6), [(f"{n} {WORDS}", limit) for n, limit in enumerate(limits)])

        usages = [usage for _, usage in done]
        assert [usage.stop_reason for usage in usages] == ["context"] * 3 + ["length"] * 2 + ["context"]
        assert [usage.generated_tokens for usage in usages[3:5]] == [700] * 2
        endless = [usages[index] for index in (0, 1, 2, 5)]
        assert all(usage.generated_tokens >= ANSWER for usage in endless)
        # Those that are left have the room of those that ended; the last two may end together.
        assert max(usage.prompt_tokens + usage.generated_tokens for usage in endless) >= CONTEXT // 2

    def test_chats_that_outgrow_the_cache_end_as_answers_do(self, gguf: Path) -> None:
        def chat(lane: Engine) -> Usage:
            *_, last = lane.chat([{"role": "user", "content": WORDS}], sampling=Sampling(temperature=0))
            assert last.usage
            return last.usage

        with (
            LlamaCpp(Weights("endless", gguf, "gguf", None), context=2_304) as engine,
            ThreadPoolExecutor(2) as threads,
        ):
            done = list(threads.map(chat, engine.lanes(2)))
        assert [usage.stop_reason for usage in done] == ["context"] * 2
        assert min(usage.prompt_tokens for usage in done) > 10
        first, last = sorted(usage.prompt_tokens + usage.generated_tokens for usage in done)
        # Who is left has the room of the one that ended; they may end together.
        assert first < 1_280
        assert last >= 2_300 or first + last >= 2_100

    def test_old_conversations_in_the_slots_are_in_nobodys_way(self, engine: LlamaCpp) -> None:
        lanes = engine.lanes(4)
        for number, lane in enumerate(lanes):
            answered(lane, f"{number} " + WORDS * 90, 8)  # 900 tokens each
        pool: Pool = engine.slot.pool
        with ThreadPoolExecutor(4) as threads:
            done = [threads.submit(answered, lanes[0], "x " + WORDS * 300, 20)]
            while not (pool._leases and pool._leases[0].prompt):
                time.sleep(0.001)
            # A prompt of 3,000 tokens is being read: slots that are asked now keep their 900 until it is.
            done += [threads.submit(answered, lane, f"y {WORDS}", 100) for lane in lanes[1:]]

        assert [one.result()[1].generated_tokens for one in done] == [20, 100, 100, 100]

    @pytest.mark.parametrize(("limit", "reason"), [(700, "length"), (None, "context")])
    def test_samples_share_the_cache(self, engine: LlamaCpp, limit: int | None, reason: str) -> None:
        answered(engine.lanes(8)[5], WORDS * 300, 4)  # an old conversation, in a slot of theirs
        done = engine.sample(
            "x " + WORDS, 6, sampling=Sampling(temperature=1, top_k=20, seed=3, max_tokens=limit)
        )
        assert [one.usage.stop_reason for one in done] == [reason] * 6
        assert all(one.usage.generated_tokens >= min(limit or ANSWER, 600) for one in done)
        assert len({one.text for one in done}) == 6

    def test_samples_beside_other_answers(self, engine: LlamaCpp) -> None:
        lanes = engine.lanes(8)
        with ThreadPoolExecutor(3) as threads:
            beside = [threads.submit(answered, lane, f"{n} {WORDS}", 900) for n, lane in enumerate(lanes[:2])]
            done = lanes[2].sample(
                "x " + WORDS, 4, sampling=Sampling(temperature=1, top_k=20, max_tokens=600)
            )
        assert [one.usage.generated_tokens for one in done] == [600] * 4
        assert [one.result()[1].generated_tokens for one in beside] == [900] * 2

    def test_who_waits_is_interrupted_at_once(self, engine: LlamaCpp) -> None:
        first, second, third = engine.lanes(3)
        running = first.complete("x " + WORDS, sampling=Sampling(temperature=0, max_tokens=CONTEXT))
        next(running)
        pool: Pool = engine.slot.pool
        with ThreadPoolExecutor(2) as threads:
            waiting = threads.submit(
                lambda: list(second.complete("y " + WORDS * 300, sampling=Sampling(max_tokens=100)))
            )
            while not pool._waiting:
                time.sleep(0.01)
            interrupt: Any = second
            interrupt.interrupt()
            assert waiting.result(60) == []  # before what it waits for has ended
            running.close()
            assert answered(third, "z " + WORDS, 5)[1].generated_tokens == 5

    def test_prompts_longer_than_the_context_are_told_beside_others_too(self, engine: LlamaCpp) -> None:
        first, second = engine.lanes(2)
        running = first.complete("x " + WORDS, sampling=Sampling(temperature=0, max_tokens=2_000))
        next(running)
        with pytest.raises(ContextFull) as fault:
            next(second.complete(WORDS * 500, sampling=Sampling(max_tokens=1)))
        running.close()
        assert fault.value.limit == CONTEXT
        assert fault.value.needed > 5_000
