"""A loaded model for one request: an engine like any other, whose every call waits for its turn."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qwen_cli.engines.core.base import (
    Completion,
    Engine,
    EngineBase,
    Message,
    Reuse,
    Sampling,
    Stream,
    Token,
    TokenLogprob,
)
from qwen_cli.engines.core.template import given
from qwen_cli.errors import ContextFull
from qwen_cli.serve.scheduling import lanes as scheduling_lanes
from qwen_cli.serve.scheduling.lanes import Gone, Lane, Ticket
from qwen_cli.serve.scheduling.resident import Resident

if TYPE_CHECKING:
    from qwen_cli.media.audio import Samples


class QueuedEngine(EngineBase):
    """The engine of `resident` as `client` may use it. See `protocol.Engine` for what each method promises.

    `session` names who asks: what it said last is looked for where it was said. Where the queue is full, or
    the server stops, calls raise `Busy` and `Stopping`.
    """

    def __init__(self, resident: Resident, *, client: str, session: str = "") -> None:
        self._resident = resident
        self._client = client
        self._session = session
        self._ticket: Ticket | None = None
        self._lane: Lane | None = None
        self._views: list[QueuedEngine] = []
        self._admitted = False
        self._cancelled = False
        self.name = resident.engine.name
        self.model = resident.engine.model
        self.capabilities = replace(resident.engine.capabilities, interrupt=True)
        self.defaults = resident.engine.defaults
        self.plain_defaults = resident.engine.plain_defaults
        self.chat_template = resident.engine.chat_template

    def chat(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        schema: Mapping[str, Any] | None = None,
        sampling: Sampling = Sampling(),
        thinking: bool | int | None = None,
        template_kwargs: Mapping[str, Any] | None = None,
    ) -> Stream:
        said = said_in(messages, tools)
        return self._stream(
            said + _TURN + "assistant\n",
            sampling,
            lambda engine: engine.chat(
                messages,
                tools=tools,
                schema=schema,
                sampling=sampling,
                thinking=thinking,
                **given(template_kwargs),
            ),
        )

    def complete(self, prompt: str, *, sampling: Sampling = Sampling(), reuse: Reuse = "prefix") -> Stream:
        return self._stream(
            prompt, sampling, lambda engine: engine.complete(prompt, sampling=sampling, reuse=reuse)
        )

    def transcribe(
        self,
        samples: Samples,
        *,
        language: str | None = None,
        context: str = "",
        sampling: Sampling = Sampling(),
    ) -> Stream:
        return self._stream(
            context,
            sampling,
            lambda engine: engine.transcribe(samples, language=language, context=context, sampling=sampling),
        )

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        thinking: bool | int | None = None,
        template_kwargs: Mapping[str, Any] | None = None,
    ) -> str:
        ways = {"thinking": thinking, **given(template_kwargs), **({"tools": tools} if tools else {})}
        return self._resident.engine.render(messages, **ways)

    def sample(
        self,
        prompt: str | Sequence[Message],
        n: int,
        *,
        sampling: Sampling = Sampling(),
        thinking: bool | int | None = None,
        template_kwargs: Mapping[str, Any] | None = None,
    ) -> list[Completion]:
        said = prompt if isinstance(prompt, str) else said_in(prompt, None)
        with self._turn(said, sampling) as lane:
            return lane.engine.sample(
                prompt, n, sampling=sampling, thinking=thinking, **given(template_kwargs)
            )

    def count_tokens(
        self,
        prompt: str | Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        template_kwargs: Mapping[str, Any] | None = None,
    ) -> int:
        return self._resident.engine.count_tokens(prompt, tools=tools, **given(template_kwargs))

    def check_length(self, said: str) -> None:
        """Raise `ContextFull` for a text that is longer than any tokens that the context holds."""
        context = self.capabilities.context
        if context and len(said) > _LONGEST_TOKEN * context:
            raise ContextFull(len(said) // _LONGEST_TOKEN, context)  # at least

    def tokenize(self, text: str, *, special: bool = True) -> list[Token]:
        return self._resident.engine.tokenize(text, special=special)

    def detokenize(self, ids: Sequence[int]) -> str:
        return self._resident.engine.detokenize(ids)

    def score(self, prompt: str, *, likely: int = 0, begin: int = 1) -> list[TokenLogprob]:
        with self._turn(prompt, Sampling(max_tokens=1)) as lane:
            return lane.engine.score(prompt, likely=likely, begin=begin)

    def lanes(self, n: int, *, warm: bool = False) -> list[Engine]:
        """Return this and views of it; KV caches that begin alike are copied when a request comes, `warm` or
        not."""
        return [self, *self.views(min(n, len(self._resident.lanes)) - 1)]

    @property
    def width(self) -> int:
        """Return how many views of this are computed at the same time, at most."""
        return len(self._resident.lanes)

    def views(self, n: int) -> list[QueuedEngine]:
        """Return `n` more of this for the same request, each for a thread; `interrupt` ends them too."""
        views = [QueuedEngine(self._resident, client=self._client) for _ in range(n)]
        for view in views:
            view._admitted = self._admitted
        self._views += views
        if self._cancelled:
            self.interrupt()
        return views

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Hold a place in the queue for all that this and its views are asked meanwhile. Raises `Busy`,
        `Gone` and `Stopping`."""
        with self._resident.lanes.admitted():
            self._admitted = True
            if self._cancelled:
                raise Gone
            yield

    def save_state(self, path: Path) -> bool:
        lane = self._resident.lanes.of(self._session) if self._session else None
        if lane is None or lane.holder:
            return False
        return lane.engine.save_state(path)

    def load_state(self, path: Path) -> bool:
        if not self.capabilities.state:
            return False
        with self._turn("", Sampling(max_tokens=1)) as lane:
            lane.cached_text = ""  # whatever it says
            return lane.engine.load_state(path)

    def interrupt(self) -> None:
        """End what runs or waits, from another thread."""
        self._cancelled = True
        for view in self._views:
            view.interrupt()
        if ticket := self._ticket:
            self._resident.lanes.cancel(ticket)
        if lane := self._lane:
            lane.engine.interrupt()

    @property
    def cancelled(self) -> bool:
        """Return whether nobody waits any more for what it is asked."""
        return self._cancelled

    def close(self) -> None:
        """Leave the model loaded: it is the server's."""

    def _stream(self, said: str, sampling: Sampling, ask: Callable[[Engine], Stream]) -> Stream:
        with self._turn(said, sampling) as lane:
            pieces = ask(lane.engine)
            answer: list[str] = []
            try:
                for piece in pieces:
                    if self._cancelled:
                        return
                    answer.append(piece.text)
                    self.cached_tokens = lane.engine.cached_tokens
                    if piece.usage:
                        # Who reads the last piece may ask again at once: the lane is free by then.
                        pieces.close()
                        self._give_back(lane, "".join(answer))
                    yield piece
            finally:
                pieces.close()
                self._give_back(lane, "".join(answer))

    @contextmanager
    def _turn(self, said: str, sampling: Sampling) -> Iterator[Lane]:
        """Hold a lane for one request, given back at the latest here."""
        resident = self._resident
        self.check_length(said)
        room = scheduling_lanes.tokens(said, sampling.max_tokens, self.capabilities.context)
        self._ticket = ticket = Ticket(self._client, said, self._session, room, admitted=self._admitted)
        if self._cancelled:
            raise Gone
        resident.requests += 1
        lane = resident.lanes.take(ticket)
        self._lane = lane
        try:
            if self._cancelled:
                raise Gone
            yield lane
        finally:
            self._give_back(lane, "")
            resident.touch()

    def _give_back(self, lane: Lane, said: str) -> None:
        """Give `lane` back, once: what comes after may run there already."""
        if self._lane is lane:
            self._lane = None
            self._resident.lanes.give_back(lane, said)


LONG = 1 << 16
"""Characters that take so long to tokenize that others would notice."""

TOKENIZING = threading.BoundedSemaphore(2)
"""Of texts as long as that which are counted at the same time."""

_TURN = "\x1e"
# Characters, twice as many as the longest of Qwen's tokens has (128 blanks): to count the tokens of tens of
# megabytes takes seconds in which nobody else is served.
_LONGEST_TOKEN = 256


def said_in(messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] | None) -> str:
    """Return messages as one text, of which that of a longer conversation begins with that of a shorter
    one."""
    turns = [json.dumps(list(tools))] if tools else []
    for message in messages:
        content = message.get("content")
        if isinstance(content, list):
            content = "".join(str(part.get("text") or part["type"]) for part in content)
        called = json.dumps(message["tool_calls"]) if message.get("tool_calls") else ""
        turns.append(f"{message.get('role')}\n{content or ''}{called}")
    return _TURN.join(turns)
