"""llama.cpp in the process: GGUF weights on CPU, Metal or CUDA, through the `xllamacpp` wheels."""

from __future__ import annotations

import copy
import functools
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qwen_cli.engines.core import kv_file, rope
from qwen_cli.engines.core.base import (
    Capabilities,
    Completion,
    Engine,
    EngineBase,
    Message,
    Piece,
    Reuse,
    Sampling,
    ServingLanes,
    Stream,
    TokenLogprob,
    Usage,
    effective,
    is_off,
    recommended,
    seeing,
    with_logprobs,
    without_thinking,
)
from qwen_cli.engines.core.prompt import Prompt
from qwen_cli.engines.llamacpp import load, requests
from qwen_cli.engines.llamacpp.pool import Pool
from qwen_cli.engines.llamacpp.slot import Slot
from qwen_cli.engines.parsing import bare_tool_calls
from qwen_cli.engines.parsing.answer import AnswerParser
from qwen_cli.engines.parsing.marks import FAMILY, Guarded, Marks
from qwen_cli.engines.parsing.openai import ToolCalls
from qwen_cli.engines.parsing.think_tags import CLOSE, OPEN, is_left_out, thinking_mode
from qwen_cli.errors import EngineError
from qwen_cli.models.formats import architecture, gguf_header

if TYPE_CHECKING:
    from qwen_cli.engines.core.draft import Draft
    from qwen_cli.models.hub.resolve import Weights

# For weights that recommend nothing and are in no catalog: llama.cpp's own defaults (common/common.h).
_UNKNOWN = {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05}

_FIRST_SLOT = 0  # the conversation's: pinned, so that its prefix is found again and can be saved

# Fewest tokens in a row that are worth moving in the cache: llama.vim's recommendation (`--cache-reuse 256`).
_SHIFTED = 256

# Bytes of running states (hybrids) for samples decoded together. Each has a state of its own and copies of
# its prompt's checkpoints, of which llama.cpp makes three.
_SAMPLE_BYTES = 2 * 2**30
_SAMPLE_STATES = 4

_CLOSE_SECONDS = 10.0  # a step on a machine that is busy with other things


class LlamaCpp(EngineBase):
    """A GGUF model, loaded. See `protocol.Engine` for what each method promises.

    `context` is in tokens (`None`: `llamacpp_load.default_context`), `parallel` is how many samples are
    decoded together, `chat_template` replaces the model's own. `draft` is what drafts tokens ahead,
    `rope_scaling` as in `rope.extended`. Raises `EngineError`, `UsageError`.
    """

    name = "llamacpp"

    def __init__(
        self,
        weights: Weights,
        *,
        context: int | None = None,
        adapters: Sequence[Path] = (),
        threads: int | None = None,
        parallel: int = 8,
        chat_template: str | None = None,
        draft: Draft = "auto",
        rope_scaling: rope.Scaling | None = None,
    ) -> None:
        trained = weights.architecture
        shape = rope.extended(trained, rope_scaling, context, weights.label)
        catalogued = weights.model
        self.model = weights.label
        self.defaults = recommended(catalogued.sampling if catalogued else None, shape.sampling, _UNKNOWN)
        self.plain_defaults = without_thinking(catalogued, self.defaults)
        self._template = template = chat_template or shape.chat_template or ""
        self._marks = Marks([*FAMILY, *gguf_header.special_tokens(weights.path)])
        self.capabilities = Capabilities(
            context=load.context_size(weights, shape, context),
            thinking=thinking_mode(template) or (catalogued.thinking_mode if catalogued else None),
            tools="tools" in template,
            fim=catalogued.fim if catalogued else shape.fim,
            vision=weights.mmproj is not None,
            # llama.cpp's own limits for Qwen's projectors (tools/mtmd/clip.cpp).
            seeing=replace(seeing(_named(weights, shape)), least=8, most=4_096, least_located=1_024),
            start=True,
            render=True,
            state=True,
            logprobs=True,
            constrained=True,
            interrupt=True,
        )
        self._parallel = parallel
        states = _SAMPLE_STATES * trained.running_state
        self._together = max(1, _SAMPLE_BYTES // states) if states else parallel
        self._one_state = threading.Lock()  # of all views only one copies, saves or loads at a time
        self._slots = tempfile.TemporaryDirectory(prefix="qwen-kv-")
        key = load.new_key()
        params = load.parameters(
            weights,
            context=self.capabilities.context or 0,
            adapters=adapters,
            threads=threads,
            parallel=parallel,
            slots=Path(self._slots.name),
            key=key,
            chat_template=chat_template,
            draft=draft,
            rope=(shape.rope_scaling or {}) if rope_scaling else None,
        )
        # Looked at before they are loaded: what is put in their place meanwhile is taken for something else.
        self._files = kv_file.stamps(_files(weights, adapters))
        self._key_settings = load.key_settings(params)
        server = load.start(params, weights)
        pool = Pool(params.n_ctx, parallel, drafted=load.drafted(params))
        self.slot = Slot(server, key, _FIRST_SLOT, Path(self._slots.name), pool)

    def chat(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        schema: Mapping[str, Any] | None = None,
        sampling: Sampling = Sampling(),
        thinking: bool | int | None = None,
    ) -> Stream:
        turns = requests.turns(messages)
        guarded = self._guarded(turns, tools)
        if guarded and self._exactly(schema, thinking):
            request, parser = self._guarded_request(guarded, tools, schema, sampling, thinking)
            pieces = self._stream("handle_completions", request, parser)
        else:
            sent = self._broken(turns, tools) if guarded else (turns, tools)
            request = self._chat_request(*sent, schema, sampling, thinking)
            pieces = self._stream("handle_chat_completions", request)
        if not tools:
            return pieces
        return bare_tool_calls.recognise(pieces, tools, lambda: self.count_tokens(messages, tools=tools))

    def complete(self, prompt: str, *, sampling: Sampling = Sampling(), reuse: Reuse = "prefix") -> Stream:
        request = self._completion_request(prompt, sampling)
        if reuse == "shift":
            request["n_cache_reuse"] = _SHIFTED
        return self._stream("handle_completions", request)

    def render(self, messages: Sequence[Message], *, thinking: bool | int | None = None) -> str:
        turns = requests.turns(messages)
        if guarded := self._guarded(turns, None):
            return self._rendered(guarded, thinking)
        return Prompt(self._apply({"messages": turns}, thinking))

    def interrupt(self) -> None:
        self.slot.cancel()

    def sample(
        self,
        prompt: str | Sequence[Message],
        n: int,
        *,
        sampling: Sampling = Sampling(),
        thinking: bool | int | None = None,
    ) -> list[Completion]:
        parser: Callable[[], AnswerParser] = AnswerParser
        if isinstance(prompt, str):
            request = {**self._completion_request(prompt, sampling), "logprobs": 1}
            handler = "handle_completions"
        elif (guarded := self._guarded(turns := requests.turns(prompt), None)) and self._exactly(
            None, thinking
        ):
            rendered = self._rendered(guarded, thinking)
            request = {**self._completion_request(rendered, sampling), "logprobs": 1}
            handler, parser = "handle_completions", partial(self._parser, rendered)
        else:
            turns = self._broken(turns, None)[0] if guarded else turns
            request = self._chat_request(turns, None, None, sampling, thinking)
            request |= {"logprobs": True, "top_logprobs": 1}
            handler = "handle_chat_completions"
        done: list[Completion] = []
        limit = request.get("max_tokens")
        tokens = self.count_tokens(prompt) if n > 1 else 0
        while len(done) < n:
            wanted = min(n - len(done), self._together)
            batch, each = self.slot.pool.together(tokens, limit, wanted)
            # llama.cpp gives the i-th sample of a request the seed plus i: the next request goes on there.
            seed = {"seed": sampling.seed + len(done)} if sampling.seed is not None else {}
            most = {"max_tokens": each} if each is not None else {}
            parsers = [parser() for _ in range(batch)]
            done += self._samples(handler, {**request, **seed, **most, "n": batch}, parsers, limit)
        return done

    def count_tokens(
        self, prompt: str | Sequence[Message], *, tools: Sequence[Mapping[str, Any]] | None = None
    ) -> int:
        if isinstance(prompt, str):
            return len(self._ids(self._pieces(prompt)))
        messages = requests.turns(prompt)
        guarded = self._guarded(messages, tools)
        if guarded and not self.capabilities.vision:
            return len(self._ids(self._marks.pieces(self._rendered(guarded, None))))
        if guarded:
            messages, tools = self._broken(messages, tools)
        body: dict[str, Any] = {"messages": messages} | ({"tools": list(tools)} if tools else {})
        return int(self.slot.http("POST", "/chat/completions/input_tokens", body)["input_tokens"])

    def lanes(self, n: int, *, warm: bool = False) -> list[Engine]:
        views: list[LlamaCpp] = []
        for slot in range(min(n, self._parallel)):
            view = copy.copy(self)
            view.slot = self.slot.another(slot)
            views.append(view)
        if warm and len(views) > 1:
            # llama.cpp gives the samples of one request a copy of its prompt, and drops it with them.
            # No room for so many, or none on the disk: they begin with nothing.
            with suppress(EngineError), self._one_state:
                self.slot.copy_to(view.slot for view in views if view.slot.number != self.slot.number)
        return list(views)

    def serving_lanes(self, n: int) -> ServingLanes:
        views = self.lanes(n)

        def close() -> None:
            for view in views:  # each holds the model
                view.close()
            self.close()

        # The slots share one KV cache, which the engine shares out to them.
        return ServingLanes(self, views, close, copy=_copy_state)

    def copy_state(self, other: LlamaCpp) -> None:
        """Begin with a copy of the KV cache of `other`, a lane of the same model. Neither may run. Raises
        `EngineError` where there is no room."""
        with self._one_state:
            other.slot.copy_to([self.slot])

    def save_state(self, path: Path) -> bool:
        owned = self._owner()
        with self._one_state, kv_file.written(path) as half:
            tokens = self.slot.save(half)
            if tokens:
                kv_file.seal(half, owned)
            else:
                half.unlink()
        return bool(tokens)

    def load_state(self, path: Path) -> bool:
        try:
            with self._one_state:
                return kv_file.sealed(path, self._owner()) and bool(self.slot.restore(path))
        except EngineError:  # longer than this context, or the weights are gone
            return False

    def _owner(self) -> str:
        return kv_file.owner(self._files, self._key_settings)

    def close(self) -> None:
        slot = self.slot
        slot.shut()
        try:
            if slot.used:
                slot.wait(_CLOSE_SECONDS)
            if slot.server is not None and not slot.busy:
                # The destructor holds the interpreter's lock and waits for ever for a loop that has not begun
                # or that wants the lock (`llamacpp_penalties`): an answer says that it is idle.
                with suppress(EngineError):
                    slot.erase()
        finally:  # also after a second Ctrl-C
            if slot.busy:
                load.abandon(slot.server)
            slot.server = None  # its destructor stops the loop and frees the weights
            self._slots.cleanup()

    def _chat_request(
        self,
        messages: list[dict[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None,
        schema: Mapping[str, Any] | None,
        sampling: Sampling,
        thinking: bool | int | None,
    ) -> dict[str, Any]:
        switch = thinking if self.capabilities.thinking is not None else None
        plain = self._plain_by_itself if switch is None else is_off(switch)
        request = requests.chat(messages, self._settings(sampling, plain), switch)
        if tools:
            request |= {"tools": list(tools), "parallel_tool_calls": True}
        if schema is not None:
            request["response_format"] = {"type": "json_schema", "json_schema": {"schema": dict(schema)}}
        return request

    def _completion_request(self, prompt: str, sampling: Sampling) -> dict[str, Any]:
        request = requests.completion(prompt, self._settings(sampling, is_left_out(prompt)), sampling)
        pieces = self._pieces(prompt)
        # One text stays one: llama.cpp tokenizes it.
        return {**request, "prompt": pieces[0] if len(pieces) == 1 else self._ids(pieces)}

    def _guarded(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] | None
    ) -> Guarded | None:
        """Return `messages` and `tools` with stand-ins where somebody wrote a special token, which is
        seldom."""
        return self._marks.guard(messages, tools, template=self._template)

    def _broken(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] | None
    ) -> tuple[list[dict[str, Any]], Sequence[Mapping[str, Any]] | None]:
        """Return `messages` and `tools` with a joiner in what spells a special token."""
        return self._marks.guard_broken(messages, tools, template=self._template)

    def _exactly(self, schema: Mapping[str, Any] | None, thinking: bool | int | None) -> bool:
        """Return whether what spells a special token can be sent as the tokens of its text. llama.cpp takes
        tokens in raw prompts only, those without pictures; what it does after thinking (a schema, the end of
        a budget) it does for chats only. There a joiner breaks each mark."""
        budget = thinking is not None and not isinstance(thinking, bool)
        thinks = self.capabilities.thinking is not None and thinking is not False
        return not (self.capabilities.vision or budget or (schema is not None and thinks))

    def _guarded_request(
        self,
        guarded: Guarded,
        tools: Sequence[Mapping[str, Any]] | None,
        schema: Mapping[str, Any] | None,
        sampling: Sampling,
        thinking: bool | int | None,
    ) -> tuple[dict[str, Any], AnswerParser]:
        """Return a turn as a raw prompt, and who reads the answer in llama.cpp's place."""
        prompt = self._rendered(guarded, thinking)
        request = self._completion_request(prompt, sampling)
        if schema is not None:
            request["json_schema"] = dict(schema)
        request["preserved_tokens"] += ["<think>", "</think>", "<tool_call>", "</tool_call>"]
        return request, self._parser(prompt, tools)

    def _parser(self, prompt: str, tools: Sequence[Mapping[str, Any]] | None = None) -> AnswerParser:
        """Return what reads the answer to a rendered prompt."""
        end = prompt.rstrip()
        thinks = self.capabilities.thinking is not None and not end.endswith(CLOSE)
        return AnswerParser(thinks=thinks, opened=thinks and end.endswith(OPEN), tools=tools)

    def _rendered(self, guarded: Guarded, thinking: bool | int | None) -> Prompt:
        body = {"messages": guarded.messages} | ({"tools": guarded.tools} if guarded.tools else {})
        return guarded.prompt(self._apply(body, thinking))

    def _apply(self, body: Mapping[str, Any], thinking: bool | int | None) -> str:
        """Return what the template makes of messages."""
        if thinking is not None and self.capabilities.thinking is not None:
            body = {**body, "chat_template_kwargs": {"enable_thinking": bool(thinking)}}
        return str(self.slot.http("POST", "/apply-template", body)["prompt"])

    def _pieces(self, prompt: str) -> list[str]:
        """Return `prompt` in pieces that are tokenized one by one. With a projector llama.cpp takes one text
        alone."""
        return [self._marks.broken(prompt)] if self.capabilities.vision else self._marks.pieces(prompt)

    def _ids(self, pieces: list[str]) -> list[int]:
        body = {"content": pieces, "add_special": True, "parse_special": True}
        return list(self.slot.http("POST", "/tokenize", body)["tokens"])

    def _settings(self, sampling: Sampling, plain: bool) -> dict[str, Any]:
        defaults = self.plain_defaults if plain else self.defaults
        return requests.settings(effective(sampling, defaults), self.capabilities.context or 0)

    @functools.cached_property
    def _plain_by_itself(self) -> bool:
        """Return whether the model answers without thinking when nothing is said about it."""
        if self.plain_defaults == self.defaults:
            return False  # it does not matter
        return is_left_out(self.render([{"role": "user", "content": "Hello"}]))

    def _stream(self, handler: str, request: dict[str, Any], parser: AnswerParser | None = None) -> Stream:
        """Yield the pieces of one answer. The last carries usage. `parser` finds thinking and calls in the
        text where llama.cpp does not."""
        started = time.perf_counter()
        first: float | None = None
        calls = ToolCalls()
        known: list[TokenLogprob] = []  # not with_logprobs yet
        for moment, chunk in self.slot.stream(handler, request):
            if "prompt_progress" in chunk:
                self.cached_tokens = chunk["prompt_progress"]["cache"]
            if "prompt_progress" in chunk or not chunk["choices"]:
                continue
            first = first or moment
            choice = chunk["choices"][0]
            delta = choice.get("delta") or {"content": choice.get("text")}
            if text := delta.get("reasoning_content"):
                yield Piece(text, "thinking")
            if text := delta.get("content"):
                known += requests.logprobs(choice, request)
                yield from with_logprobs(parser.feed(text) if parser else [Piece(text)], known)
            calls.feed(delta.get("tool_calls") or ())
            if choice["finish_reason"]:
                yield from with_logprobs(parser.finish() if parser else [], known)
                for call in calls.finish():
                    yield Piece(kind="tool_call", call=call)
                usage = requests.usage(choice, chunk, request, first - started, moment - first)
                if parser and parser.called and usage.stop_reason == "stop":
                    usage = replace(usage, stop_reason="tool_calls")
                yield Piece(usage=usage)

    def _samples(
        self, handler: str, request: dict[str, Any], parsers: Sequence[AnswerParser], limit: int | None
    ) -> list[Completion]:
        """Return an answer for each parser. One at `limit` ends for that, any other for want of room."""
        started = time.perf_counter()
        first = 0.0
        n = len(parsers)
        texts, thoughts = [""] * n, [""] * n
        logprobs: list[list[float]] = [[] for _ in range(n)]
        usages = [Usage()] * n
        for moment, chunk in self.slot.stream(handler, request):
            if "prompt_progress" in chunk or not chunk["choices"]:
                continue
            first = first or moment
            choice = chunk["choices"][0]
            delta = choice.get("delta") or {"content": choice.get("text")}
            index = choice["index"]
            pieces = parsers[index].feed(delta.get("content") or "")
            if choice["finish_reason"]:
                pieces += parsers[index].finish()
            for piece in pieces:
                (thoughts if piece.kind == "thinking" else texts)[index] += piece.text
            thoughts[index] += delta.get("reasoning_content") or ""
            logprobs[index] += [t["logprob"] for t in (choice.get("logprobs") or {}).get("content") or ()]
            if choice["finish_reason"]:
                limits = {"max_tokens": limit} if limit else {}
                usages[index] = requests.usage(choice, chunk, limits, first - started, moment - first)
        means = [sum(values) / len(values) if values else None for values in logprobs]
        return [Completion(*parts) for parts in zip(texts, thoughts, usages, means, strict=True)]


def _copy_state(source: Engine, target: Engine) -> None:
    assert isinstance(source, LlamaCpp) and isinstance(target, LlamaCpp)
    target.copy_state(source)


def _files(weights: Weights, adapters: Sequence[Path]) -> tuple[Path, ...]:
    """Return all files that the keys and values of a token come from; a picture's come through the
    projector."""
    projector = (weights.mmproj,) if weights.mmproj else ()
    return (*gguf_header.shards(weights.path), *projector, *adapters)


def _named(weights: Weights, shape: architecture.Architecture) -> str:
    """Return all names of the model: the GGUF architecture of Qwen2.5-VL is `qwen2vl` too."""
    known = weights.model.name if weights.model else ""
    return " ".join((known, shape.name or "", weights.label, shape.model_type))
