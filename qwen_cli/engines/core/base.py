"""The engine interface: what tasks may ask of a model, whatever runs it."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar
from uuid import uuid4

from qwen_cli.errors import EngineError

if TYPE_CHECKING:
    from typing_extensions import Self

    from qwen_cli.media.audio import Samples
    from qwen_cli.models.catalog.families import Model

Message: TypeAlias = Mapping[str, Any]
"""One turn as the OpenAI chat format has it: `role`, `content`; for tools `tool_calls`, `tool_call_id`."""

Kind: TypeAlias = Literal["answer", "thinking", "tool_call"]
StopReason: TypeAlias = Literal["stop", "length", "context", "tool_calls", "cancelled"]
"""Why a generation ended: the model or a stop string ended it, `max_tokens` was reached, the context was
full, the model called tools, or the caller closed the stream."""
CUT: tuple[StopReason, ...] = ("length", "context")
"""Limits that end an answer before its end."""


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen and when to stop. `None` means the model's own default.

    `temperature` 0 is greedy. `max_tokens` `None` is no limit but the context. `stop` holds strings that
    end the generation; they are not part of the text. `start` is what a raw completion has to begin with,
    in whatever tokens the model likes best, where the engine can (`Capabilities.start`). With `logprobs`
    pieces tell how likely their tokens were, and so many others in their place (`Capabilities.logprobs`).

    The repetition penalty is for tokens of the prompt and of the answer (transformers), presence and
    frequency penalties for those of the answer alone (OpenAI, vLLM). `extras` are further settings by their
    names in llama.cpp's server (`grammar`, `mirostat`), of which an engine heeds those in its
    `Capabilities.extras`.
    """

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    start: str = ""
    logprobs: int | None = None
    extras: Mapping[str, Any] | None = None

    def over(self, defaults: Sampling) -> Sampling:
        """Return these settings where they are given, `defaults` elsewhere."""
        given = {f.name: v for f in fields(self) if (v := getattr(self, f.name)) not in (None, ())}
        return replace(defaults, **given)

    def nth(self, index: int) -> Sampling:
        """Return these settings for one of several answers: a seed becomes its own, or all would be the
        same."""
        return self if self.seed is None else replace(self, seed=self.seed + index)


@dataclass(frozen=True)
class ToolCall:
    """A function the model wants called. `arguments` is parsed JSON; `id` pairs the result with the call."""

    id: str
    name: str
    arguments: dict[str, Any]


def call_id() -> str:
    """Return an id for a call that no other has, in this conversation or any: engines give every call one,
    whatever the model or a server calls it ("call_0", each time)."""
    return f"call_{uuid4().hex}"


@dataclass(frozen=True)
class Usage:
    """What one generation cost. `cached_tokens` of `prompt_tokens` came from the KV cache.

    `prefill_seconds` runs from the request to the first token, `decode_seconds` from there to the end.
    `accepted_tokens` of `drafted_tokens` that were guessed ahead were right. `thinking_tokens` of
    `generated_tokens` were thinking, where somebody has counted them; `stop_string` is the one that ended the
    answer, if one did.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0
    stop_reason: StopReason = "stop"
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    thinking_tokens: int = 0
    stop_string: str = ""

    @property
    def tokens_per_second(self) -> float:
        """Decode speed: the first token belongs to prefill."""
        return (self.generated_tokens - 1) / self.decode_seconds if self.decode_seconds > 0 else 0.0

    def __add__(self, other: Usage) -> Usage:
        """Return what two requests cost, prompts too; why it stopped is the second's."""
        sums = {
            f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self) if f.default == 0
        }
        return Usage(**sums, stop_reason=other.stop_reason, stop_string=other.stop_string)


@dataclass(frozen=True)
class TokenLogprob:
    """A token, its bytes, and how likely it was before anything was drawn: `logprob` is in nats. `others` are
    the likeliest in its place, itself among them if it is. `id` is its number in the vocabulary (-1: a server
    does not tell)."""

    token: str
    bytes: tuple[int, ...]
    logprob: float
    others: tuple[TokenLogprob, ...] = ()
    id: int = -1


@dataclass(frozen=True)
class Progress:
    """How far a request has come: `read_tokens` of the prompt are in the KV cache, `cached_tokens` of them
    were there before, and `generated_tokens` have followed. The seconds are those of reading and of
    generating."""

    prompt_tokens: int
    cached_tokens: int
    read_tokens: int
    generated_tokens: int = 0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0


Token: TypeAlias = tuple[int, bytes]
"""A token's number in the vocabulary, and what it writes."""


@dataclass(frozen=True)
class Piece:
    """A part of the answer as it is generated: whole characters, never half of one.

    A `tool_call` piece carries `call` and no text. The last piece of a stream has `usage` (and may have
    no text); a stream that was closed early has none. `logprobs` are of the tokens that were decided with
    this text, where they were asked for, `tokens` the numbers of those of a raw completion, where they were
    (`return_tokens` of `Sampling.extras`). `progress` comes where that was asked for: with no text while the
    prompt is read (`return_progress`), and with what is generated (`timings_per_token`).
    """

    text: str = ""
    kind: Kind = "answer"
    call: ToolCall | None = None
    usage: Usage | None = None
    logprobs: tuple[TokenLogprob, ...] = ()
    tokens: tuple[int, ...] = ()
    progress: Progress | None = None


Stream: TypeAlias = Generator[Piece, None, None]
"""Pieces as they come. `close()` stops the computation within one token."""


@dataclass(frozen=True)
class Completion:
    """One of several samples of the same prompt. `mean_logprob` is in nats per generated token."""

    text: str
    thinking: str
    usage: Usage
    mean_logprob: float | None = None


Boxes: TypeAlias = Literal["tags", "absolute", "thousand"]
"""How a generation writes where things are: Qwen2-VL in tags from 0 to 1000, Qwen2.5-VL as JSON in pixels of
the picture that it saw, Qwen3-VL as JSON from 0 to 1000 (their model cards and cookbooks)."""


@dataclass(frozen=True)
class Seeing:
    """How a generation of vision models is shown things, and how it speaks of them.

    One visual token covers `unit` × `unit` pixels (patches of 14 or 16, merged by 2); a picture may have
    `least` to `most` of them (qwen-vl-utils), and where things are to be found in it `least_located`. `boxes`
    is `None` where that is not known of a model: a wrong guess would be boxes in wrong places.
    `source_times` says that the times of a video are told as text and so are those of the source; the others
    count from the first frame that they see.
    """

    unit: int = 28
    boxes: Boxes | None = "absolute"
    source_times: bool = False
    least: int = 4
    most: int = 16_384
    least_located: int = 4


# A generation's number, and the minor one unless it counts parameters: "qwen2-7b", "qwen2_5_vl", "qwen25vl".
_GENERATION = re.compile(r"qwen[-_ ]?(\d)(?:[-_. ]?(\d)(?![\d.]*b)(?!\d))?")


def seeing(name: str) -> Seeing:
    """Return what holds for a model by its type or name ("qwen2_5_vl", "Qwen3-VL-8B").

    A GGUF's architecture cannot tell: llama.cpp calls Qwen2-VL and Qwen2.5-VL both "qwen2vl"; give the name
    before it.
    """
    name = name.lower()
    if "qvq" in name:  # QVQ-72B-Preview is built on Qwen2-VL-72B (its model card)
        return Seeing(boxes="tags")
    match = _GENERATION.search(name)
    generation, minor = (int(match[1]), match[2]) if match else (0, None)
    if generation >= 3:
        return Seeing(32, "thousand", source_times=True)
    if generation == 2:
        return Seeing() if minor == "5" else Seeing(boxes="tags")
    return Seeing(boxes=None)


@dataclass(frozen=True)
class Capabilities:
    """What a loaded model can do. `context` is the usable window in tokens (`None`: the server does not say).

    `pictures` are the forms of files ("jpeg", "png", "webp") that may be sent as they are; others go as PNG.
    `thinking` is `None` where the model never thinks, `"switch"` where it can be turned off, `"always"`
    where it cannot. `thinks_by_default` is what a model that can do both does when nothing is said. `efforts`
    are the words that its template takes as `reasoning_effort`, the default first; `preserve_thinking` is
    whether that keeps the thinking of past turns when nothing is said (`None`: it has no such variable).
    `vision` and `video` are what it can be shown, `seeing` says how; with `video_files` it
    takes a whole video as a file, and chosen frames as pictures with their times. With `audio` it hears
    sounds, each of `audio_seconds` at most (`None`: as long as the context has room), and with `transcribes`
    it writes down what is said in one (`Engine.transcribe`). `constrained` says
    that a JSON schema is kept to while tokens are chosen, as far as grammars go; a server may not. With
    `whole_schemas` that takes schemas as they are, and passes over what it cannot hold of them. `weights`
    says which numbers the weights are held in ("Q4_K_M", "bfloat16", "4bit"; `None`: not known).
    """

    context: int | None
    thinking: Literal["switch", "always"] | None = None
    thinks_by_default: bool = True
    efforts: tuple[str, ...] = ()
    preserve_thinking: bool | None = None
    tools: bool = False
    schema: bool = True
    constrained: bool = False
    whole_schemas: bool = False
    fim: bool = False
    vision: bool = False
    video: bool = False
    video_files: bool = False
    pictures: Sequence[str] = ()
    audio: bool = False
    audio_seconds: float | None = None
    transcribes: bool = False
    seeing: Seeing = Seeing()
    start: bool = False  # `Sampling.start` is heeded
    render: bool = False  # `Engine.render` tells what `chat` would send
    prefill: bool = False  # `Engine.chat` goes on with a last turn that is the assistant's
    state: bool = False  # the KV cache can be saved to and restored from a file
    openings: bool = False  # that of a system prompt is worth it: it is read slowly and restored at once
    logprobs: bool = False  # `Sampling.logprobs` is heeded
    extras: tuple[str, ...] = ()  # those of `Sampling.extras` that are heeded
    tokens: bool = False  # `Engine.tokenize` and `detokenize` know the vocabulary; `score` rates a prompt
    infill: bool = False  # `Engine.infill` completes between two texts in the server's own layout
    interrupt: bool = False  # `Engine.interrupt` ends a stream that another thread waits in
    concurrent_requests: int = 1  # how many are worth sending at the same time
    stop_strings: int | None = None  # at most so many (`None`: any number)
    weights: str | None = None
    unverified: bool = False  # a server tells little of its model: it may do what is not said here

    @property
    def may_think(self) -> bool:
        """Return whether the model can be asked to think."""
        return self.thinking is not None or self.unverified

    @property
    def may_fim(self) -> bool:
        """Return whether it is worth looking for a layout of fill-in-the-middle."""
        return self.fim or self.unverified


Reuse: TypeAlias = Literal["prefix", "shift"]
"""What a raw completion takes from the KV cache: "prefix" is what the prompt begins with, "shift" also text
that now stands further to the front because something before it has gone. The model then remembers having
seen what went, so answers may differ from those to a fresh prompt: for suggestions while typing, not for
measuring. Engines that cannot shift reuse the prefix."""


@dataclass(frozen=True)
class ServingLanes:
    """One loaded model for the threads of a server. Each of `lanes` computes one stream at a time, with a KV
    cache of its own; `close` frees them and the model.

    `engine` answers what needs no lane (`count_tokens`, `render`). `room` is what all lanes hold together, in
    tokens (`None`: they look after that themselves). `copy(source, target)` gives a lane a copy of another's
    KV cache (`None`: they share equal beginnings, or cannot).
    """

    engine: Engine
    lanes: Sequence[Engine]
    close: Callable[[], None]
    room: int | None = None
    copy: Callable[[Engine, Engine], None] | None = None


class Engine(Protocol):
    """A loaded model. Not thread-safe: one stream at a time.

    `name` is the engine ("llamacpp"), to be shown: what it can do is in `capabilities`. `model` is the label
    of the weights, `defaults` the sampling that a `None` stands for, `plain_defaults` the same where thinking
    is turned off. `cached_tokens` is how many tokens of the latest prompt were in the KV cache, as soon as
    the engine knows; 0 where it tells only in the `Usage`. `chat_template` is the model's, "" where it is not
    known.

    `EngineBase` has what an engine does that can do no more than `chat`, `complete` and `sample`.
    """

    name: str
    model: str
    capabilities: Capabilities
    defaults: Sampling
    plain_defaults: Sampling
    cached_tokens: int
    chat_template: str

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
        """Stream the next assistant turn, through the model's own chat template.

        `tools` are OpenAI tool definitions; `schema` is a JSON schema that the answer must satisfy.
        `thinking` is on, off, or a budget in tokens; `None` leaves it to the model. `template_kwargs` are
        further variables of the chat template (`core.template`), which may refuse their values.
        Raises `ContextFull`, `EngineError`, `EndpointError`.
        """
        ...

    def complete(self, prompt: str, *, sampling: Sampling = Sampling(), reuse: Reuse = "prefix") -> Stream:
        """Stream what follows a raw prompt: no template, special tokens in `prompt` are parsed as such, but
        for the plain spans of a `prompt.Prompt`. (In messages it is the other way round: what is written
        there is text, whatever it spells.)"""
        ...

    def infill(self, prefix: str, suffix: str, *, sampling: Sampling = Sampling()) -> Stream:
        """Return what belongs between two texts, in a layout that only a server knows. Raises `EngineError`
        where there is none (`capabilities.infill`)."""
        ...

    def transcribe(
        self,
        samples: Samples,
        *,
        language: str | None = None,
        context: str = "",
        sampling: Sampling = Sampling(),
    ) -> Stream:
        """Stream what is said in a sound as a speech recogniser writes it (`parsing.transcript`), greedily
        unless `sampling` says otherwise. `language` is its name in English ("German"), `None` has the model
        find out; `context` are names and words that may occur. Raises `EngineError` where the model is none
        (`capabilities.transcribes`), `ContextFull`."""
        ...

    def prepare(self, messages: Sequence[Message]) -> None:
        """Get the pictures and videos of `messages` ready in this thread, while another computes with the
        engine: the chat with them begins at once then. Nothing is to be done where there are none, or where
        the engine prepares them elsewhere. Raises `UsageError`."""
        ...

    def interrupt(self) -> None:
        """End the running stream from another thread, also while it reads the prompt: closing a generator is
        up to the thread that waits in it. Nothing happens without one, or where the engine cannot
        (`capabilities.interrupt`)."""
        ...

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        thinking: bool | int | None = None,
        template_kwargs: Mapping[str, Any] | None = None,
    ) -> str:
        """Return the raw prompt that `chat` would send with `tools`, up to where the answer begins; as a
        `prompt.Prompt`, what was said that spells a special token is plain in it. With `complete`, an answer
        can be gone on with after something was put into it. Raises `EngineError` where a server does not
        tell (`capabilities.render`)."""
        ...

    def sample(
        self,
        prompt: str | Sequence[Message],
        n: int,
        *,
        sampling: Sampling = Sampling(),
        thinking: bool | int | None = None,
        template_kwargs: Mapping[str, Any] | None = None,
    ) -> list[Completion]:
        """Return `n` samples of one prompt (raw, or messages) decoded together; the prompt is prefilled
        once."""
        ...

    def count_tokens(
        self,
        prompt: str | Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        template_kwargs: Mapping[str, Any] | None = None,
    ) -> int:
        """Count the tokens of a raw text, or of messages as the template renders them with the generation
        prompt."""
        ...

    def tokenize(self, text: str, *, special: bool = True) -> list[Token]:
        """Return the tokens of `text`; without `special` what spells a special token is text too. Raises
        `EngineError` where the vocabulary is not known (`capabilities.tokens`), as the next two do."""
        ...

    def detokenize(self, ids: Sequence[int]) -> str:
        """Return the text of tokens. Raises `UsageError` for numbers that the vocabulary does not have."""
        ...

    def score(self, prompt: str, *, likely: int = 0, begin: int = 1) -> list[TokenLogprob]:
        """Return how likely each token of a raw prompt was after those before it, from the one numbered
        `begin` on (the first, 0, has none before it); with the `likely` likeliest in its place. Raises
        `ContextFull`."""
        ...

    def lanes(self, n: int, *, warm: bool = False) -> list[Engine]:
        """Return at most `n` views of this model that different threads may use at once, each with a KV cache
        of its own; this engine must not be used meanwhile. One where it computes one answer at a time.

        `warm`: each begins with a copy of this engine's KV cache where it has one, to answer a prompt that
        it holds without a second prefill.
        """
        ...

    def counters(self) -> Mapping[str, float]:
        """Return what the engine itself has counted since it was loaded, under llama.cpp's names. From any
        thread; it may wait for a running step."""
        ...

    def serving_lanes(self, n: int) -> ServingLanes:
        """Return at most `n` views of this model for a server, which owns the engine from now on."""
        ...

    def save_state(self, path: Path) -> bool:
        """Write the KV cache to `path`. False where the engine cannot (`capabilities.state`)."""
        ...

    def load_state(self, path: Path) -> bool:
        """Take the KV cache from `path`. False where it cannot or the file does not fit this model."""
        ...

    def close(self) -> None:
        """Free the weights and the cache. The engine cannot be used afterwards."""
        ...

    def __enter__(self) -> Engine: ...

    def __exit__(self, *exc: object) -> None: ...


EngineT = TypeVar("EngineT", bound=Engine)


class EngineBase:
    """What an engine does that can do no more than it must: it answers one request at a time, and keeps its
    KV cache to itself. Subclasses have `name`, `model`, `capabilities`, `chat`, `complete`, `sample` and
    `count_tokens`, and replace what they do better."""

    defaults = Sampling()
    plain_defaults = Sampling()
    cached_tokens = 0
    chat_template = ""
    reading: Callable[[int, int, int], None] | None = None
    """Told of a prompt while it is read: tokens that were cached, that are done with those, and all. Engines
    that do not know leave it alone."""

    def infill(self, prefix: str, suffix: str, *, sampling: Sampling = Sampling()) -> Stream:
        raise EngineError("this engine has no layout of its own to fill in with", "use complete")

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        thinking: bool | int | None = None,
        template_kwargs: Mapping[str, Any] | None = None,
    ) -> str:
        raise EngineError("this engine does not tell its prompts", "use chat")

    def transcribe(
        self,
        samples: Samples,
        *,
        language: str | None = None,
        context: str = "",
        sampling: Sampling = Sampling(),
    ) -> Stream:
        raise EngineError("this model is no speech recogniser", "use Qwen3-ASR")

    def tokenize(self, text: str, *, special: bool = True) -> list[Token]:
        raise _no_vocabulary()

    def detokenize(self, ids: Sequence[int]) -> str:
        raise _no_vocabulary()

    def score(self, prompt: str, *, likely: int = 0, begin: int = 1) -> list[TokenLogprob]:
        raise _no_vocabulary()

    def prepare(self, messages: Sequence[Message]) -> None: ...

    def interrupt(self) -> None: ...

    def lanes(self: EngineT, n: int, *, warm: bool = False) -> list[Engine]:
        return [self]

    def counters(self) -> Mapping[str, float]:
        return {}

    def serving_lanes(self: EngineT, n: int) -> ServingLanes:
        lanes = self.lanes(n)
        return ServingLanes(self, lanes, self.close)

    def save_state(self, path: Path) -> bool:
        return False

    def load_state(self, path: Path) -> bool:
        return False

    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _no_vocabulary() -> EngineError:
    return EngineError("this engine does not tell its tokens", "serve the model on llamacpp or transformers")


def recommended(
    card: Mapping[str, Any] | None, own: Mapping[str, Any] | None, unknown: Mapping[str, Any]
) -> Sampling:
    """Return the settings that the weights' `own` files name, and those of the model's `card` that the files
    do not: they have no name for a presence penalty. `unknown` where neither says anything."""
    names = {f.name for f in fields(Sampling)} - {"seed", "max_tokens", "stop"}
    settings = {name: value for name, value in {**(card or {}), **(own or {})}.items() if name in names}
    return Sampling(**(settings or unknown))


def without_thinking(model: Model | None, defaults: Sampling) -> Sampling:
    """Return the settings for answers of `model` without thinking. `defaults` are the usual ones: files have
    one set, which is for thinking where a model can do both."""
    return Sampling(**model.plain_sampling) if model and model.plain_sampling else defaults


def usual(engine: Engine, thinking: bool | int | None) -> Sampling:
    """Return the sampling that a `None` stands for in a turn with `thinking`, which is on, off, a budget, or
    the model's own."""
    can = engine.capabilities
    by_itself = thinking is None and can.thinking == "switch" and not can.thinks_by_default
    return engine.plain_defaults if by_itself or is_off(thinking) else engine.defaults


def is_off(thinking: bool | int | None) -> bool:
    """Return whether there is no thinking: a budget of no tokens is none too."""
    return thinking is not None and not thinking


def budget_of(thinking: bool | int | None) -> int | None:
    """Return the tokens of thinking that are asked for; `None` where it is just on, off or as usual."""
    return None if thinking is None or isinstance(thinking, bool) else thinking


def effective(given: Sampling, defaults: Sampling) -> Sampling:
    """Return `given` over `defaults`; greedy takes penalties only as given.

    Penalties come with a model's recommendation for random sampling. Under `temperature` 0 they would make
    the answer differ from the model's most likely one without anybody having asked for it.
    """
    merged = given.over(defaults)
    return merged if merged.temperature != 0 else given.over(Sampling(temperature=0.0))


def with_progress(pieces: Iterable[Piece], progress: Progress | None) -> list[Piece]:
    """Return `pieces`, the first with the `progress` that they were made at; where there are none that only
    has no text is a piece of its own."""
    made = list(pieces)
    if progress is None:
        return made
    if made:
        return [replace(made[0], progress=progress), *made[1:]]
    return [] if progress.generated_tokens else [Piece(progress=progress)]


def with_logprobs(pieces: list[Piece], known: list[TokenLogprob]) -> Sequence[Piece]:
    """Return `pieces`, the first of their texts with what is `known` and was not reported yet."""
    for index, piece in enumerate(pieces):
        if piece.text:
            pieces[index] = replace(piece, logprobs=tuple(known))
            known.clear()
            break
    return pieces
