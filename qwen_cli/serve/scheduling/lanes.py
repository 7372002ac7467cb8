"""Who computes next, and where: requests wait in a fair queue for the lane that holds most of them."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from qwen_cli.engines.core.base import Engine
from qwen_cli.errors import EngineError

# Characters in common, or the share of the prompt that they are, which are worth looking for a lane for. To
# copy the KV cache of a hundred tokens of the starter takes a fiftieth of the time of computing them.
_WORTH_IT = 200
_SHARE = 0.5
# A lane whose rest is more than this share of what it holds is somebody else's conversation that only begins
# alike: it is left as it is, and its beginning copied.
_ANOTHER = 0.5
_CHARACTERS = 3  # a token has at least so many in most texts
_ANSWER = 1_024  # tokens to keep room for where a request names no limit


class Busy(EngineError):
    """So many wait already that this one is turned away. `seconds` is when to try again."""

    def __init__(self, waiting: int, seconds: int) -> None:
        super().__init__(f"{waiting:,} requests wait already", f"try again in {seconds} seconds")
        self.seconds = seconds


class Stopping(EngineError):
    """The server finishes what runs and begins nothing more."""

    def __init__(self) -> None:
        super().__init__("the server is stopping", "start it again")


class Gone(EngineError):
    """Nobody waits for the answer any more."""

    def __init__(self) -> None:
        super().__init__("the request was cancelled")


@dataclass(eq=False)
class Ticket:
    """A request in the queue. `prompt` is what tells whose KV cache it continues, `owner` the session that it
    belongs to, `client` who has to share with others, `tokens` the room that it may take, `admitted` that the
    request that it is a part of has its place already (`Lanes.admitted`)."""

    client: str
    prompt: str = ""
    owner: str = ""
    tokens: int = _ANSWER
    admitted: bool = False
    cancelled: threading.Event = field(default_factory=threading.Event)


@dataclass(eq=False)
class Lane:
    """A view of a model that one request uses at a time. `cached_text` is what its KV cache holds."""

    engine: Engine
    cached_text: str = ""
    owner: str = ""
    used: float = 0.0
    holder: Ticket | None = None

    @property
    def ending(self) -> bool:
        """Return whether it is held by a request that nobody waits for, and so will be free in a moment."""
        return self.holder is not None and self.holder.cancelled.is_set()


class Lanes:
    """The lanes of one model. `room` is what they hold together, in tokens (`None`: each has its own);
    `copy` gives the second lane a copy of the first one's KV cache, where an engine can."""

    def __init__(
        self,
        engines: Sequence[Engine],
        *,
        max_queue: int,
        room: int | None = None,
        copy: Callable[[Engine, Engine], None] | None = None,
    ) -> None:
        self._lanes = [Lane(engine) for engine in engines]
        self._max_queue = max_queue
        self._room = room
        self._copy = copy
        self._changed = threading.Condition()
        self._waiting: OrderedDict[str, deque[Ticket]] = OrderedDict()
        self._seconds = 5.0  # that a request takes; a moving average
        self._inside = 0  # requests with a place, whether they wait, run or are still made ready
        self._stopping = False

    def __len__(self) -> int:
        return len(self._lanes)

    @property
    def running(self) -> int:
        return sum(lane.holder is not None for lane in self._lanes)

    def busy(self) -> list[bool]:
        """Return whether each lane computes."""
        return [lane.holder is not None for lane in self._lanes]

    @property
    def waiting(self) -> int:
        return sum(map(len, self._waiting.values()))

    def check_room(self) -> None:
        """Raise `Busy` where no place is left."""
        if self._inside >= len(self._lanes) + self._max_queue:
            raise Busy(self._inside - self.running, self._patience())

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Hold a place for one request, before anything is fetched or computed for it: as many have one as
        may run and wait. Raises `Busy`, `Stopping`."""
        with self._changed:
            self._enter()
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1

    def take(self, ticket: Ticket) -> Lane:
        """Wait for a turn, and the lane for it. Raises `Busy`, `Stopping`, `Gone`.

        Clients take turns, so that one who asks for much does not hold up one who asks for little.
        """
        with self._changed:
            if not ticket.admitted:
                self._enter()
            self._waiting.setdefault(ticket.client, deque()).append(ticket)
            try:
                lane = self._my_turn(ticket)
            except BaseException:
                self._inside -= not ticket.admitted
                raise
            finally:
                self._leave(ticket)
                self._changed.notify_all()
            source = self._source(ticket, lane)
            lane.holder, lane.owner, began = ticket, ticket.owner, time.monotonic()
            lane.cached_text, lane.used = ticket.prompt, began
            if source:
                source.holder = ticket
        if source and self._copy:
            try:
                self._copy(source.engine, lane.engine)
            except EngineError:  # no room for both: it begins with nothing
                pass
            finally:
                with self._changed:
                    source.holder = None
                    self._changed.notify_all()
        return lane

    def give_back(self, lane: Lane, said: str) -> None:
        """Free `lane`: the request is done; the KV cache holds its prompt and `said`."""
        with self._changed:
            now = time.monotonic()
            self._seconds += 0.1 * (now - lane.used - self._seconds)
            self._inside -= lane.holder is not None and not lane.holder.admitted
            lane.cached_text, lane.used, lane.holder = lane.cached_text + said, now, None
            self._changed.notify_all()

    def of(self, owner: str) -> Lane | None:
        """Return the lane that holds what `owner` said last; `None` where others have used it since."""
        with self._changed:
            return max(
                (lane for lane in self._lanes if lane.owner == owner),
                key=lambda lane: lane.used,
                default=None,
            )

    def cancel(self, ticket: Ticket) -> None:
        """Cancel `ticket`, for which nobody waits any more."""
        with self._changed:
            ticket.cancelled.set()
            self._changed.notify_all()

    def stop(self) -> None:
        """Turn away who waits; what runs goes on."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def settle(self, seconds: float) -> bool:
        """Wait until nothing runs. False where something still does after `seconds`."""
        with self._changed:
            return self._changed.wait_for(lambda: not self.running, seconds)

    def _enter(self) -> None:
        if self._stopping:
            raise Stopping
        self.check_room()
        self._inside += 1

    def _my_turn(self, ticket: Ticket) -> Lane:
        while True:
            if ticket.cancelled.is_set():
                raise Gone
            if self._stopping:
                raise Stopping
            if self._first() is ticket and self._fits(ticket) and (lane := self._lane_for(ticket)):
                return lane
            self._changed.wait()

    def _first(self) -> Ticket:
        return next(iter(self._waiting.values()))[0]

    def _fits(self, ticket: Ticket) -> bool:
        """Return whether the tokens it may come to fit beside what runs; alone anything may be tried."""
        held = [lane.holder.tokens for lane in self._lanes if lane.holder]
        return not held or self._room is None or sum(held) + ticket.tokens <= self._room

    def _lane_for(self, ticket: Ticket) -> Lane | None:
        """Choose the free lane for it; `None` to wait a moment longer."""
        there = [lane for lane in self._lanes if not lane.holder or lane.ending]
        free = [lane for lane in there if not lane.holder]
        if not there:
            return None
        best = max(there, key=lambda lane: (common(lane.cached_text, ticket.prompt), lane.used))
        shared = common(best.cached_text, ticket.prompt)
        if _is_worth_it(shared, ticket.prompt):
            others = [lane for lane in free if lane is not best]
            again = shared == len(ticket.prompt)  # the same once more: only the old answer goes
            if again or not (self._copy and others and self._is_anothers(best, shared)):
                return best if best in free else None
            free = others
        elif mine := [
            lane for lane in free if ticket.owner and lane.owner == ticket.owner and not lane.cached_text
        ]:
            return mine[0]  # a state that was loaded: nobody knows what it says
        return min(free, key=lambda lane: lane.used, default=None)

    def _is_anothers(self, lane: Lane, shared: int) -> bool:
        return len(lane.cached_text) - shared > _ANOTHER * len(lane.cached_text)

    def _source(self, ticket: Ticket, lane: Lane) -> Lane | None:
        """Return the free lane whose beginning is worth copying into `lane`."""
        if not self._copy:
            return None
        others = [other for other in self._lanes if not other.holder and other is not lane]
        best = max(others, key=lambda other: common(other.cached_text, ticket.prompt), default=None)
        if best is None:
            return None
        more = common(best.cached_text, ticket.prompt) - common(lane.cached_text, ticket.prompt)
        return best if _is_worth_it(more, ticket.prompt) else None

    def _leave(self, ticket: Ticket) -> None:
        """Remove it from the queue; its client goes to the end of it."""
        mine = self._waiting[ticket.client]
        mine.remove(ticket)
        if mine:
            self._waiting.move_to_end(ticket.client)
        else:
            del self._waiting[ticket.client]

    def _patience(self) -> int:
        return max(1, min(600, round(self._seconds * (self.waiting + 1) / len(self._lanes))))


def _is_worth_it(shared: int, prompt: str) -> bool:
    return shared >= _WORTH_IT or 0 < _SHARE * len(prompt) <= shared


def common(one: str, other: str) -> int:
    """Count the characters that both begin with."""
    low, high = 0, min(len(one), len(other))
    if one[:high] == other[:high]:
        return high
    while low < high:  # `low` are alike, `high` are not
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def tokens(prompt: str, limit: int | None, context: int | None) -> int:
    """Estimate the tokens that a request may take: counting exactly would cost more than being a little
    off."""
    wanted = len(prompt) // _CHARACTERS + (limit or _ANSWER)
    return min(wanted, context) if context else wanted
