"""llama.cpp in the process: GGUF weights on CPU, Metal or CUDA, through the `xllamacpp` wheels."""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qwen_cli.engines.core import kv_file, rope
from qwen_cli.engines.core.base import (
    Capabilities,
    Completion,
    Engine,
    Message,
    Piece,
    Sampling,
    Stream,
    Usage,
    effective,
    recommended,
    seeing,
)
from qwen_cli.engines.llamacpp import load, requests
from qwen_cli.engines.llamacpp.slot import Slot
from qwen_cli.engines.parsing import bare_tool_calls
from qwen_cli.engines.parsing.openai import ToolCalls
from qwen_cli.engines.parsing.think_tags import thinking_mode
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

_CLOSE_SECONDS = 10.0  # a step on a machine that is busy with other things


class LlamaCpp:
    """A GGUF model, loaded. See `protocol.Engine` for what each method promises.

    `context` is in tokens (`None`: `llamacpp_load.default_context`), `parallel` is how many samples are
    decoded together, `chat_template` replaces the model's own. `draft` is what guesses tokens ahead,
    `rope_scaling` as in `rope.extended`. Raises `EngineError`, `UsageError`.

    `shift_cache` may be set for `complete`: where text goes from the front of a prompt, what follows is not
    computed again but moved in the cache. The model then remembers having seen the text that went, so answers
    may differ from those to a fresh prompt: for suggestions while typing, not for measuring.
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
        trained = architecture.read(weights.path)
        shape = rope.extended(trained, rope_scaling, context, weights.label)
        catalogued = weights.model
        self.model = weights.label
        self.defaults = recommended(shape.sampling, catalogued.sampling if catalogued else None, _UNKNOWN)
        template = chat_template or shape.chat_template or ""
        self.capabilities = Capabilities(
            context=load.context_size(weights, shape, context),
            thinking=thinking_mode(template) or (catalogued.thinking if catalogued else None),
            tools="tools" in template,
            fim=catalogued.fim if catalogued else shape.fim,
            vision=weights.mmproj is not None,
            # llama.cpp's own limits for Qwen's projectors (tools/mtmd/clip.cpp).
            seeing=replace(seeing(_named(weights, shape)), least=8, most=4_096, least_located=1_024),
            start=True,
            render=True,
            state=True,
            logprobs=True,
        )
        self._parallel = parallel
        self.shift_cache = False
        self.found = 0  # tokens of the latest prompt that were in the KV cache, told as soon as it is read
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
            rope=shape.rope_scaling if rope_scaling else None,
        )
        # Looked at before they are loaded: what is put in their place meanwhile is taken for something else.
        self._files = kv_file.stamps(_files(weights, adapters))
        self._key_settings = load.key_settings(params)
        server = load.start(params, weights)
        self._slot = Slot(server, key, _FIRST_SLOT, Path(self._slots.name))

    def chat(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        schema: Mapping[str, Any] | None = None,
        sampling: Sampling = Sampling(),
        thinking: bool | int | None = None,
    ) -> Stream:
        request = {
            **self._chat_request(messages, sampling, thinking),
            **({"tools": list(tools), "parallel_tool_calls": True} if tools else {}),
        }
        if schema is not None:
            request["response_format"] = {"type": "json_schema", "json_schema": {"schema": dict(schema)}}
        pieces = self._stream("handle_chat_completions", request)
        if not tools:
            return pieces
        return bare_tool_calls.recognise(pieces, tools, lambda: self.count_tokens(messages, tools=tools))

    def complete(self, prompt: str, *, sampling: Sampling = Sampling()) -> Stream:
        request = self._completion_request(prompt, sampling)
        if self.shift_cache:
            request["n_cache_reuse"] = _SHIFTED
        return self._stream("handle_completions", request)

    def render(self, messages: Sequence[Message], *, thinking: bool | int | None = None) -> str:
        body: dict[str, Any] = {"messages": requests.turns(messages)}
        if thinking is not None and self.capabilities.thinking is not None:
            body["chat_template_kwargs"] = {"enable_thinking": bool(thinking)}
        return str(self._slot.http("POST", "/apply-template", body)["prompt"])

    def interrupt(self) -> None:
        """End the running stream from another thread, also while it reads the prompt: closing a generator
        is up to the thread that waits in it. Without a running stream nothing happens."""
        self._slot.cancel()

    def sample(
        self,
        prompt: str | Sequence[Message],
        n: int,
        *,
        sampling: Sampling = Sampling(),
        thinking: bool | int | None = None,
    ) -> list[Completion]:
        if isinstance(prompt, str):
            request = {**self._completion_request(prompt, sampling), "logprobs": 1}
            handler = "handle_completions"
        else:
            request = self._chat_request(prompt, sampling, thinking) | {"logprobs": True, "top_logprobs": 1}
            handler = "handle_chat_completions"
        done: list[Completion] = []
        while len(done) < n:
            batch = min(n - len(done), self._parallel)
            # llama.cpp gives the i-th sample of a request the seed plus i: the next request goes on there.
            seed = {"seed": sampling.seed + len(done)} if sampling.seed is not None else {}
            done += self._samples(handler, {**request, **seed, "n": batch}, batch)
        return done

    def count_tokens(
        self, prompt: str | Sequence[Message], *, tools: Sequence[Mapping[str, Any]] | None = None
    ) -> int:
        if isinstance(prompt, str):
            body = {"content": prompt, "add_special": True, "parse_special": True}
            return len(self._slot.http("POST", "/tokenize", body)["tokens"])
        body = {"messages": requests.turns(prompt)} | ({"tools": list(tools)} if tools else {})
        return int(self._slot.http("POST", "/chat/completions/input_tokens", body)["input_tokens"])

    def lanes(self, n: int, *, warm: bool = False) -> list[Engine]:
        views: list[LlamaCpp] = []
        for slot in range(min(n, self._parallel)):
            view = copy.copy(self)
            view._slot = self._slot.another(slot)
            views.append(view)
        if warm and len(views) > 1:
            # llama.cpp gives the samples of one request a copy of its prompt, and drops it with them.
            with suppress(EngineError):  # no room for so many, or none on the disk: they begin with nothing
                self._slot.copy_to(view._slot for view in views if view._slot.number != self._slot.number)
        return list(views)

    def copy_state(self, other: LlamaCpp) -> None:
        """Begin with a copy of the KV cache of `other`, a lane of the same model. Neither may run; of all
        lanes only one at a time may do this, save or load. Raises `EngineError` where there is no room."""
        other._slot.copy_to([self._slot])

    def save_state(self, path: Path) -> bool:
        owned = self._owner()
        with kv_file.written(path) as half:
            tokens = self._slot.save(half)
            if tokens:
                kv_file.seal(half, owned)
            else:
                half.unlink()
        return bool(tokens)

    def load_state(self, path: Path) -> bool:
        try:
            return kv_file.sealed(path, self._owner()) and bool(self._slot.restore(path))
        except EngineError:  # longer than this context, or the weights are gone
            return False

    def _owner(self) -> str:
        return kv_file.owner(self._files, self._key_settings)

    def close(self) -> None:
        slot = self._slot
        slot.cancel()
        try:
            if slot.used:
                slot.wait(_CLOSE_SECONDS)
            elif slot.server is not None:
                # The destructor waits for ever for a loop that has not begun: an answer says that it has.
                with suppress(EngineError):
                    slot.erase()
        finally:  # also after a second Ctrl-C
            if slot.busy:
                load.abandon(slot.server)
            slot.server = None  # its destructor stops the loop and frees the weights
            self._slots.cleanup()

    def __enter__(self) -> LlamaCpp:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _chat_request(
        self, messages: Sequence[Message], sampling: Sampling, thinking: bool | int | None
    ) -> dict[str, Any]:
        switch = thinking if self.capabilities.thinking is not None else None
        return requests.chat(messages, self._settings(sampling), switch)

    def _completion_request(self, prompt: str, sampling: Sampling) -> dict[str, Any]:
        return requests.completion(prompt, self._settings(sampling), sampling)

    def _settings(self, sampling: Sampling) -> dict[str, Any]:
        return requests.settings(effective(sampling, self.defaults), self.capabilities.context)

    def _stream(self, handler: str, request: dict[str, Any]) -> Stream:
        """Pieces of one answer. The last carries usage."""
        started = time.perf_counter()
        first: float | None = None
        calls = ToolCalls()
        for moment, chunk in self._slot.stream(handler, request):
            if "prompt_progress" in chunk:
                self.found = chunk["prompt_progress"]["cache"]
            if "prompt_progress" in chunk or not chunk["choices"]:
                continue
            first = first or moment
            choice = chunk["choices"][0]
            delta = choice.get("delta") or {"content": choice.get("text")}
            if text := delta.get("reasoning_content"):
                yield Piece(text, "thinking")
            if text := delta.get("content"):
                yield Piece(text, logprobs=requests.logprobs(choice, request))
            calls.feed(delta.get("tool_calls") or ())
            if choice["finish_reason"]:
                for call in calls.finish():
                    yield Piece(kind="tool_call", call=call)
                yield Piece(usage=requests.usage(choice, chunk, request, first - started, moment - first))

    def _samples(self, handler: str, request: dict[str, Any], n: int) -> list[Completion]:
        started = time.perf_counter()
        first = 0.0
        texts, thoughts = [""] * n, [""] * n
        logprobs: list[list[float]] = [[] for _ in range(n)]
        usages = [Usage()] * n
        for moment, chunk in self._slot.stream(handler, request):
            if "prompt_progress" in chunk or not chunk["choices"]:
                continue
            first = first or moment
            choice = chunk["choices"][0]
            delta = choice.get("delta") or {"content": choice.get("text")}
            index = choice["index"]
            texts[index] += delta.get("content") or ""
            thoughts[index] += delta.get("reasoning_content") or ""
            logprobs[index] += [t["logprob"] for t in (choice.get("logprobs") or {}).get("content") or ()]
            if choice["finish_reason"]:
                usages[index] = requests.usage(choice, chunk, request, first - started, moment - first)
        means = [sum(values) / len(values) if values else None for values in logprobs]
        return [Completion(*parts) for parts in zip(texts, thoughts, usages, means, strict=True)]


def _files(weights: Weights, adapters: Sequence[Path]) -> tuple[Path, ...]:
    """All files that the keys and values of a token come from; a picture's come through the projector."""
    projector = (weights.mmproj,) if weights.mmproj else ()
    return (*gguf_header.shards(weights.path), *projector, *adapters)


def _named(weights: Weights, shape: architecture.Architecture) -> str:
    """All names there are: the GGUF architecture of Qwen2.5-VL is `qwen2vl` too."""
    known = weights.model.name if weights.model else ""
    return " ".join((known, shape.name or "", weights.label, shape.model_type))
