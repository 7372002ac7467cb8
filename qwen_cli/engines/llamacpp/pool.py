"""The one KV cache that all slots of llama.cpp share, shared out: no answer takes the room of another.

Each slot believes that it has the whole context. When the cache is full, llama.cpp ends every running answer
with an error ("Context size has been exceeded", server-context.cpp), so that must not come to pass: who
begins waits until there is room for the prompt and the answer, and an answer that outgrows its room ends
alone, as one does whose context is full. Slots at rest count for nothing: llama.cpp drops what they hold.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from qwen_cli.errors import ContextFull

# Tokens that are kept for an answer without a limit, or with a very large one, where a slot's share is less.
ANSWER = 1_024
# Steps that llama.cpp computes until an answer stops that has to: one runs, the next is begun, one for a
# chunk that came late. A step takes the next token and all that are guessed after it.
_STEPS = 3


@dataclass(frozen=True)
class Claim:
    """What a request wants of the cache: `answers` to one prompt with at most `limit` tokens each (`None`: as
    many as there is room for). `count` tells the tokens of the prompt; it is asked only where it matters."""

    count: Callable[[], int]
    limit: int | None
    answers: int = 1


@dataclass(eq=False)
class Lease:
    """The room of a request that runs in `slot`: `tokens` for its prompt and its answers, all that may be
    needed until `prompt` is known."""

    slot: int
    claim: Claim
    tokens: int
    prompt: int | None = None
    full: bool = False  # it had to end


class Pool:
    """A cache of `size` tokens for `slots`, each of which may guess `drafted` tokens a step. Thread-safe."""

    def __init__(self, size: int, slots: int, *, drafted: int) -> None:
        self.size = size
        self._slots = slots
        self._slack = _STEPS * (1 + drafted)
        self._changed = threading.Condition()
        self._leases: list[Lease] = []
        self._waiting: deque[object] = deque()
        # What slots at rest hold, at most: until its new prompt is looked at, a slot keeps the old one.
        self._held = dict.fromkeys(range(slots), 0)

    def take(
        self, slot: int, claim: Claim, cancelled: threading.Event, erase: Callable[[int], None]
    ) -> Lease | None:
        """Wait for room, in the order of asking; `None` where it was `cancelled` first (see `wake`). `erase`
        empties a slot at rest.

        Raises `ContextFull` where the prompt alone is too long, and what `count` and `erase` raise.
        """
        turn = object()
        with self._changed:
            self._waiting.append(turn)
        try:
            with self._changed:
                self._changed.wait_for(lambda: cancelled.is_set() or self._waiting[0] is turn)
                if not cancelled.is_set() and not self._leases and claim.answers == 1:
                    return self._leased(slot, claim, self.size)  # alone: nothing to count
            if cancelled.is_set():
                return None
            prompt = claim.count()
            if prompt >= self.size:
                raise ContextFull(prompt, self.size)
            with self._changed:
                self._changed.wait_for(lambda: cancelled.is_set() or self._fits(claim, prompt))
                if cancelled.is_set():
                    return None
                self._make_room(slot, claim, prompt, erase)
                tokens = max(self._needed(claim, prompt), self._at_first(slot, claim, prompt))
                return self._leased(slot, claim, tokens)
        finally:
            with self._changed:
                self._waiting.remove(turn)
                self._changed.notify_all()

    def settle(self, lease: Lease, prompt: int) -> None:
        """Record that the prompt has so many tokens, and that the slot holds nothing else any more."""
        with self._changed:
            if lease.prompt is None:
                lease.prompt, lease.tokens = prompt, self._needed(lease.claim, prompt)
                self._changed.notify_all()

    def grow(self, lease: Lease, generated: int) -> bool:
        """Return whether an answer of so many tokens may go on. False is for good."""
        with self._changed:
            prompt, limit = lease.prompt or 0, lease.claim.limit
            needed = min(prompt + generated + self._slack, self.size)
            if limit is not None:
                needed = min(needed, prompt + limit)
            if needed > lease.tokens:
                if self._taken(lease) + needed > self.size:
                    lease.full = True
                else:
                    lease.tokens = needed
            return not lease.full

    def give_back(self, lease: Lease, generated: int | None = None) -> None:
        """Give the room back: the request has ended, after so many tokens if that is known. What it has
        computed stays in its slot, and that of its other answers in others."""
        with self._changed:
            self._leases.remove(lease)
            known = lease.prompt is not None and generated is not None
            self._held[lease.slot] = (lease.prompt or 0) + (generated or 0) if known else lease.tokens
            if lease.claim.answers > 1:
                for slot in self._resting():
                    self._held[slot] = max(self._held[slot], lease.tokens)
            self._changed.notify_all()

    def grows(self, claim: Claim) -> bool:
        """Return whether answers may come to need more room than they begin with: `grow` has to be asked."""
        return claim.answers == 1 and (claim.limit is None or claim.limit > self._share())

    def hold(self, slot: int, tokens: int) -> None:
        """Record that a slot at rest was given so many tokens."""
        with self._changed:
            self._held[slot] = tokens

    def together(self, prompt: int, limit: int | None, answers: int) -> tuple[int, int | None]:
        """Return how many of `answers` to a prompt of so many tokens may be computed at once, and the limit
        of each (`None`: the context). llama.cpp cannot end one of them alone: all have their room from the
        start."""
        room = max(1, self.size - prompt)
        each = min(limit, room) if limit else min(room, self._share())
        at_once = max(1, min(answers, self._slots, room // each))
        if at_once == 1:
            return 1, limit
        return at_once, limit or room // at_once

    def wake(self) -> None:
        """Make those who wait look whether they were cancelled."""
        with self._changed:
            self._changed.notify_all()

    def _share(self) -> int:
        """Return the tokens that every answer may have, if it wants as many."""
        return max(ANSWER, self.size // self._slots)

    def _needed(self, claim: Claim, prompt: int) -> int:
        """Return the room to begin with: all where that is no more than a share."""
        answer = self._share() if claim.limit is None else min(claim.limit, self._share())
        if claim.answers > 1 and claim.limit is not None:
            answer = claim.limit * claim.answers
        return min(self.size, prompt + answer)

    def _taken(self, but: Lease | None = None) -> int:
        return sum(lease.tokens for lease in self._leases if lease is not but)

    def _fits(self, claim: Claim, prompt: int) -> bool:
        return self._taken() + self._needed(claim, prompt) <= self.size

    def _resting(self) -> list[int]:
        running = {lease.slot for lease in self._leases}
        return [slot for slot in self._held if slot not in running]

    def _leased(self, slot: int, claim: Claim, tokens: int) -> Lease:
        lease = Lease(slot, claim, tokens)
        self._leases.append(lease)
        return lease

    def _at_first(self, slot: int, claim: Claim, prompt: int) -> int:
        """Return what the slots of a claim hold together when it begins: each keeps what it held until
        its prompt is looked at, which may take some batches of others, and llama.cpp cannot drop that
        any more."""
        copies = sum(self._held[number] for number in self._copied_to(slot, claim))
        return max(prompt, self._held[slot]) + copies

    def _make_room(self, slot: int, claim: Claim, prompt: int, erase: Callable[[int], None]) -> None:
        """Empty the slots of a claim where what they hold is too much beside what runs: its own at last."""
        for number in (*self._copied_to(slot, claim), slot):
            if self._taken() + self._at_first(slot, claim, prompt) <= self.size:
                return
            if self._held[number]:
                erase(number)
                self._held[number] = 0

    def _copied_to(self, slot: int, claim: Claim) -> list[int]:
        """Return where llama.cpp may compute the other answers of a claim: any slot at rest."""
        return [number for number in self._resting() if number != slot] if claim.answers > 1 else []
