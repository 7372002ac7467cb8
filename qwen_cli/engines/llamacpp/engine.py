"""llama.cpp in the process: GGUF weights on CPU, Metal or CUDA, through the `xllamacpp` wheels."""

from __future__ import annotations

import copy
import functools
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
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
    Seeing,
    ServingLanes,
    Stream,
    Token,
    TokenLogprob,
    Usage,
    budget_of,
    effective,
    is_off,
    recommended,
    seeing,
    with_logprobs,
    with_progress,
    without_thinking,
)
from qwen_cli.engines.core.content import parts_of
from qwen_cli.engines.core.prompt import Prompt, Tokens
from qwen_cli.engines.core.ratings import Ratings
from qwen_cli.engines.core.template import TemplateKwargs, thinking_asked, variables
from qwen_cli.engines.llamacpp import grammar, load, penalties, requests, tool_grammar
from qwen_cli.engines.llamacpp.pool import Pool
from qwen_cli.engines.llamacpp.reader import Asked, Reader, held
from qwen_cli.engines.llamacpp.slot import Slot
from qwen_cli.engines.parsing import bare_tool_calls
from qwen_cli.engines.parsing.answer import parts
from qwen_cli.engines.parsing.chat_template import thinking_capabilities, thinking_of
from qwen_cli.engines.parsing.marks import FAMILY, Guarded, Marks
from qwen_cli.engines.parsing.think_tags import CLOSE, OPEN, is_left_out
from qwen_cli.engines.parsing.think_tags import closing as closing_of
from qwen_cli.engines.parsing.turns import is_unusual, labelled, repaired
from qwen_cli.errors import ContextFull, EngineError, UsageError
from qwen_cli.models.formats import architecture, gguf_header

if TYPE_CHECKING:
    from qwen_cli.engines.core.draft import Draft
    from qwen_cli.models.hub.resolve import Weights

# For weights that recommend nothing and are in no catalog: llama.cpp's own defaults (common/common.h).
_UNKNOWN = {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05}

_FIRST_SLOT = 0  # the conversation's: pinned, so that its prefix is found again and can be saved

# Fewest tokens in a row that are worth moving in the cache: llama.vim's recommendation (`--cache-reuse 256`).
_SHIFTED = 256

_HELLO = {"role": "user", "content": "Hello"}  # to see how the template writes a turn

_CLOSE_SECONDS = 10.0  # a step on a machine that is busy with other things


class LlamaCpp(EngineBase):
    """A GGUF model, loaded. See `protocol.Engine` for what each method promises.

    `context` is in tokens (`None`: `llamacpp_load.default_context`), `parallel` is how many samples are
    decoded together, `chat_template` replaces the model's own. `adapters` are GGUF files, or folders of peft.
    `draft` is what drafts tokens ahead, `rope_scaling` as in `rope.extended`, `kv` and `n_cpu_moe` as in
    `LoadOptions`. Raises `EngineError`, `ModelError`, `UsageError`.
    """

    name = "llamacpp"
    inside = True  # this process

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
        kv: str | None = None,
        n_cpu_moe: int | None = None,
    ) -> None:
        trained = weights.architecture
        shape = rope.extended(trained, rope_scaling, context, weights.label)
        drafting = draft in ("auto", "mtp")
        if adapters:
            from qwen_cli.models.formats import lora  # 10 ms

            adapters = tuple(lora.as_gguf(adapter, weights.path) for adapter in adapters)
        self.kv = kv = load.kv_type(weights, shape, context, kv, drafting=drafting)
        catalogued = weights.model
        self.model = weights.label
        self.defaults = recommended(catalogued.sampling if catalogued else None, shape.sampling, _UNKNOWN)
        self.plain_defaults = without_thinking(catalogued, self.defaults)
        self.chat_template = template = chat_template or shape.chat_template or ""
        self._tags = frozenset(gguf_header.special_tokens(weights.path))
        self._marks = Marks([*FAMILY, *self._tags])
        self.capabilities = Capabilities(
            context=load.context_size(weights, shape, context, kv, drafting=drafting),
            **thinking_capabilities(thinking_of(template, catalogued.thinking if catalogued else None)),
            tools="tools" in template,
            fim=catalogued.fim if catalogued else shape.fim,
            vision=weights.mmproj is not None,
            seeing=sight(weights),
            start=True,
            render=True,
            state=True,
            openings=weights.mmproj is None,  # with a projector llama.cpp saves nothing
            logprobs=True,
            extras=requests.EXTRAS,
            tokens=True,
            constrained=True,
            interrupt=True,
            weights=trained.quantization,
        )
        self._parallel = parallel
        self._together = load.samples_together(trained.running_state, parallel)
        self._ratings = Ratings()
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
            kv=kv,
            n_cpu_moe=n_cpu_moe,
            gpu=self._on_gpu(),
        )
        # Looked at before they are loaded: what is put in their place meanwhile is taken for something else.
        self._files = kv_file.stamps(_files(weights, adapters))
        self._key_settings = load.key_settings(params, self._version())
        server = self._started(params, weights, key)
        pool = Pool(params.n_ctx, parallel, drafted=load.drafted(params))
        self.slot = Slot(server, key, _FIRST_SLOT, Path(self._slots.name), pool)
        whole = self.inside and grammar.claim(self._slots, (trained.vocabulary, self._tags))
        self.capabilities = replace(self.capabilities, whole_schemas=whole)

    def _on_gpu(self) -> bool | None:
        """Return whether llama.cpp computes on a GPU; `None` for as the library in the process says."""
        return None

    def _version(self) -> str | None:
        """Return which llama.cpp it is; `None` for the library in the process."""
        return None

    def _started(self, params: Any, weights: Weights, key: str) -> Any:
        """Return the server, loaded. Raises `EngineError`."""
        return load.start(params, weights)

    def _abandon(self, server: Any) -> None:
        """Do what is left to do with a server that still computes when it is to end."""
        load.abandon(server)

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
        asked = self._asked(messages, tools, schema, sampling, thinking, template_kwargs)
        # llama.cpp does not tell which string it was that ended an answer.
        asked = asked.ended_by(sampling.stop) if sampling.stop else asked
        pieces = self._stream(asked.telling(sampling.extras or {}))
        if not tools or asked.prompt is not None:  # the parser has read it
            return pieces
        return bare_tool_calls.recognise(pieces, tools, lambda: self.count_tokens(messages, tools=tools))

    def complete(self, prompt: str, *, sampling: Sampling = Sampling(), reuse: Reuse = "prefix") -> Stream:
        request = self._completion_request(prompt, sampling)
        if reuse == "shift":
            request["n_cache_reuse"] = _SHIFTED
        return self._stream(Asked("handle_completions", request).telling(sampling.extras or {}))

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        thinking: bool | int | None = None,
        template_kwargs: Mapping[str, Any] | None = None,
    ) -> str:
        given = variables(thinking, template_kwargs, self.capabilities)
        turns = self._turns(messages, given)
        return self._rendered(turns, tools, self._guarded(turns, tools), given)

    def interrupt(self) -> None:
        self.slot.cancel()

    def sample(
        self,
        prompt: str | Sequence[Message],
        n: int,
        *,
        sampling: Sampling = Sampling(),
        thinking: bool | int | None = None,
        template_kwargs: Mapping[str, Any] | None = None,
    ) -> list[Completion]:
        if isinstance(prompt, str):
            asked = Asked("handle_completions", self._completion_request(prompt, sampling))
        else:
            asked = self._asked(prompt, None, None, sampling, thinking, template_kwargs)
        if asked.counted:  # llama.cpp cannot end one of several
            return [self._single(asked, sampling.nth(index)) for index in range(n)]
        likely = {"logprobs": 1} if asked.raw else {"logprobs": True, "top_logprobs": 1}
        asked = replace(asked, request={**asked.request, **likely})
        done: list[Completion] = []
        limit = asked.request.get("max_tokens")
        tokens = self.count_tokens(prompt, template_kwargs=template_kwargs) if n > 1 else 0
        while len(done) < n:
            wanted = min(n - len(done), self._together)
            batch, each = self.slot.pool.together(tokens, limit, wanted)
            # llama.cpp gives the i-th sample of a request the seed plus i: the next request goes on there.
            seed = {"seed": sampling.seed + len(done)} if sampling.seed is not None else {}
            most = {"max_tokens": each} if each is not None else {}
            part = replace(asked, request={**asked.request, **seed, **most})
            done += self._samples(part, batch, limit)
        return done

    def count_tokens(
        self,
        prompt: str | Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        template_kwargs: Mapping[str, Any] | None = None,
    ) -> int:
        if isinstance(prompt, str):
            return len(self._prompt_ids(prompt))
        given = variables(None, template_kwargs, self.capabilities)
        messages = self._turns(prompt, given)
        guarded = self._guarded(messages, tools)
        if (guarded or tools) and (not self.capabilities.vision or (tools and not _shows(messages))):
            rendered = self._rendered(messages, tools, guarded, given)
            return len(self._ids(self._pieces(rendered)))
        if guarded:
            messages, tools = self._broken(messages, tools)
        body: dict[str, Any] = {"messages": messages} | ({"tools": list(tools)} if tools else {})
        if given:
            body["chat_template_kwargs"] = given
        return int(self.slot.http("POST", "/chat/completions/input_tokens", body)["input_tokens"])

    def tokenize(self, text: str, *, special: bool = True) -> list[Token]:
        pieces = self._pieces(text) if special else [text]
        body = {"content": pieces, "add_special": False, "parse_special": special, "with_pieces": True}
        found = self.slot.http("POST", "/tokenize", body)["tokens"]
        return [(int(one["id"]), requests.piece_bytes(one["piece"])) for one in found]

    def detokenize(self, ids: Sequence[int]) -> str:
        if wrong := next((id for id in ids if not 0 <= id < self._vocabulary), None):
            raise UsageError(
                f"there is no token {wrong}: the vocabulary has {self._vocabulary:,}",
                "tokenize with this model",
            )
        return str(self.slot.http("POST", "/detokenize", {"tokens": list(ids)})["content"])

    def score(self, prompt: str, *, likely: int = 0, begin: int = 1) -> list[TokenLogprob]:
        ids = self._prompt_ids(prompt)
        if len(ids) > (self.capabilities.context or 0):
            raise ContextFull(len(ids), self.capabilities.context or 0)
        return self._ratings.of(ids, likely, begin, lambda number: self._rated(ids, likely, number))

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

    def counters(self) -> Mapping[str, float]:
        return self.slot.counters()

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
                self._abandon(slot.server)
            grammar.release(self._slots)
            slot.server = None  # its destructor stops the loop and frees the weights
            self._slots.cleanup()

    def _asked(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] | None,
        schema: Mapping[str, Any] | None,
        sampling: Sampling,
        thinking: bool | int | None,
        template_kwargs: TemplateKwargs,
    ) -> Asked:
        """Return what is asked of llama.cpp for a turn: a chat, or the raw prompt of one where that is better
        read here."""
        thinking = thinking_asked(thinking, template_kwargs, self.capabilities)
        given = variables(thinking, template_kwargs, self.capabilities)
        turns = self._turns(messages, given)
        guarded = self._guarded(turns, tools)
        can = self.capabilities.thinking
        budget = budget_of(thinking)
        off = is_off(thinking) or self._plain
        thinks = can == "always" or (can is not None and not off)
        # llama.cpp looks for the end of a budget token by token.
        read = not thinks or (self._reads_thinking and (budget is None or OPEN in self._tags))
        whole = None
        if isinstance(schema, Mapping) and self.capabilities.whole_schemas:
            whole = grammar.of(schema)
            if thinks or not (tools and self.capabilities.vision):
                schema = None
        ours = (guarded is not None or not read or bool(tools)) and not (schema is not None and thinks)
        # With a projector a raw prompt is one text: what is plain in it is broken, and it shows nothing.
        if ours and (not self.capabilities.vision or (tools and not _shows(turns))):
            asked = replace(self._raw(guarded, turns, tools, schema, sampling, given), budget=budget)
        else:
            sent = self._broken(turns, tools) if guarded else (turns, tools)
            request = self._chat_request(*sent, schema, sampling, thinking, given)
            asked = Asked("handle_chat_completions", request, tools=tools or (), thinks=thinks)
            asked = replace(asked, opened=thinks and self._opens, budget=None if read else budget)
        if whole is not None and thinks:
            asked = replace(asked, grammar=whole)
        elif whole is not None and schema is None:
            asked = replace(asked, request=held(asked.request, whole))
        if not asked.thinks:
            return replace(asked, budget=None)
        asked = asked.ended_by(sampling.stop)
        if budget == 0:
            return self._after(asked, Reader(asked), Usage(), None)[0] or asked
        return asked

    def _after(
        self, asked: Asked, reader: Reader, usage: Usage, limit: int | None, *, spent: bool = False
    ) -> tuple[Asked | None, list[Piece]]:
        """Return how to go on with `asked` after its thinking, and what ends that. `None` where no token is
        left of `limit`; `usage` is what was spent."""
        prompt, request, said = reader.after_thinking(self._marks, spent=spent)
        if prompt is not None:
            request |= self._prompt_field(prompt)
        if "typical_p" in request:
            words = f"{reader.generated}{said[0].text if said else ''}"
            request = penalties.continued(request, self._ids([words + closing_of(words)]))
        over = replace(asked, request=request, prompt=prompt, thinks=False, opened=False, budget=None)
        after = replace(over, grammar=None)
        if limit is None:
            return after, said
        left = limit - (self.slot.count(request) - usage.prompt_tokens if usage.prompt_tokens else 0)
        return (replace(after, request={**request, "max_tokens": left}), said) if left > 0 else (None, said)

    def _chat_request(
        self,
        messages: list[dict[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None,
        schema: Mapping[str, Any] | None,
        sampling: Sampling,
        thinking: bool | int | None,
        given: Mapping[str, Any],
    ) -> dict[str, Any]:
        plain = is_off(thinking) or self._plain
        request = requests.chat(messages, self._settings(sampling, plain), thinking, given)
        if tools:
            request |= {"tools": list(tools), "parallel_tool_calls": True}
        if schema is not None:
            request["response_format"] = {
                "type": "json_schema",
                "json_schema": {"schema": grammar.spread(schema)},
            }
        return request

    def _completion_request(self, prompt: str, sampling: Sampling) -> dict[str, Any]:
        request = requests.completion(prompt, self._settings(sampling, is_left_out(prompt)), sampling)
        return {**request, **self._prompt_field(prompt)}

    def _rated(self, ids: list[int], likely: int, begin: int) -> list[TokenLogprob]:
        """Return how likely each of `ids` from number `begin` on is."""
        known: list[TokenLogprob] = []
        while len(known) < len(ids) - begin:
            at = len(known) + begin
            known += self._forced(ids[:at], ids[at:], likely)
            if (at := len(known) + begin) < len(ids):  # llama.cpp ended there, and streams no more of it
                last = self._forced(ids[:at], ids[at : at + 1], likely, stream=False)
                if not last:
                    raise EngineError("llama.cpp did not rate the prompt")
                known += last
        return known

    def _forced(
        self, prompt: list[int], after: list[int], likely: int, *, stream: bool = True
    ) -> list[TokenLogprob]:
        """Return how likely the tokens `after` a prompt are, one step each: llama.cpp rates no prompts."""
        request = {
            "prompt": prompt,
            "stream": stream,
            "temperature": 0.0,
            "n_probs": likely + 1,
            "max_tokens": len(after),
            **penalties.forced(after, inside=self.inside),
        }
        known: list[TokenLogprob] = []
        with closing(self.slot.stream("handle_completions", request)) as chunks:
            for _, chunk in chunks:
                for choice in chunk["choices"]:
                    known += requests.logprobs(choice, request)
        return known

    @functools.cached_property
    def _vocabulary(self) -> int:
        """Return how many tokens there are."""
        return int(self.slot.http("GET", "/v1/models")["data"][0]["meta"]["n_vocab"])

    def _prompt_ids(self, prompt: str) -> list[int]:
        return list(prompt.ids) if isinstance(prompt, Tokens) else self._ids(self._pieces(prompt))

    def _prompt_field(self, prompt: str) -> dict[str, Any]:
        if isinstance(prompt, Tokens):
            return {"prompt": list(prompt.ids)}
        pieces = self._pieces(prompt)
        # One text stays one: llama.cpp tokenizes it.
        return {"prompt": pieces[0] if len(pieces) == 1 else self._ids(pieces)}

    def _guarded(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] | None
    ) -> Guarded | None:
        """Return `messages` and `tools` with stand-ins where somebody wrote a special token, which is
        seldom."""
        return self._marks.guard(messages, tools, template=self.chat_template)

    def _broken(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] | None
    ) -> tuple[list[dict[str, Any]], Sequence[Mapping[str, Any]] | None]:
        """Return `messages` and `tools` with a joiner in what spells a special token."""
        return self._marks.guard_broken(messages, tools, template=self.chat_template)

    def _raw(
        self,
        guarded: Guarded | None,
        turns: list[dict[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None,
        schema: Mapping[str, Any] | None,
        sampling: Sampling,
        given: Mapping[str, Any],
    ) -> Asked:
        """Return a turn as a raw prompt. There what spells a special token is sent as the tokens of its text,
        which llama.cpp takes in raw prompts only, those without pictures; what it does after thinking (a
        schema, the end of a budget) it does for chats only."""
        prompt = self._rendered(turns, tools, guarded, given)
        request = self._completion_request(prompt, sampling)
        if schema is not None:
            request["json_schema"] = dict(schema)
        request["preserved_tokens"] += [OPEN, CLOSE, tool_grammar.OPEN, tool_grammar.CLOSE]
        end = prompt.rstrip()
        thinks = self.capabilities.thinking is not None and not end.endswith(CLOSE)
        opened = thinks and end.endswith(OPEN)
        if tools and schema is None and not opened:
            request |= tool_grammar.fields(self.chat_template, tools)
            if thinks:  # thoughts that speak of a call are not held to it
                request |= {"reasoning_budget_start_tag": OPEN, "reasoning_budget_end_tags": [CLOSE]}
        return Asked("handle_completions", request, prompt, tools or (), thinks=thinks, opened=opened)

    def _rendered(
        self,
        turns: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] | None,
        guarded: Guarded | None,
        given: Mapping[str, Any],
    ) -> Prompt:
        """Return the prompt of `turns`. What is `guarded` of them stays plain in it."""
        messages, tools = (guarded.messages, guarded.tools) if guarded else (turns, tools)
        # As a variable they reach the template as they are: llama.cpp keeps three fields of its own tools.
        text = self._apply({"messages": messages}, {**given, "tools": list(tools)} if tools else given)
        return guarded.prompt(text) if guarded else Prompt(text)

    def _turns(self, messages: Sequence[Message], given: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return `messages` in the form of the API, as the template takes them."""
        labels = given.get("add_vision_id") and "add_vision_id" in self.chat_template
        turns = requests.turns(labelled(messages) if labels else messages)
        while is_unusual(turns):
            try:
                self._apply({"messages": turns}, given)
            except EngineError as refusal:
                if (mended := repaired(turns, refusal.message)) is not None:
                    turns = mended
                    continue
            break
        return turns

    def _apply(self, body: Mapping[str, Any], given: Mapping[str, Any]) -> str:
        """Return what the template makes of messages with the variables `given`."""
        body = {**body, "chat_template_kwargs": given} if given else body
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
        return requests.settings(
            effective(sampling, defaults), self.capabilities.context or 0, inside=self.inside
        )

    @property
    def _plain(self) -> bool:
        """Return whether the model answers without thinking whatever is said about it."""
        return self.capabilities.thinking is None or is_left_out(self._to_think)

    @property
    def _opens(self) -> bool:
        """Return whether the template itself writes the tag that begins thinking."""
        return self._to_think.rstrip().endswith(OPEN)

    @functools.cached_property
    def _to_think(self) -> str:
        """Return what the template writes where the model is to think."""
        return self.render([_HELLO], thinking=True)

    @functools.cached_property
    def _reads_thinking(self) -> bool:
        """Return whether llama.cpp has found out how the template writes thinking: by that it knows it in an
        answer."""
        turn = {"role": "assistant", "reasoning_content": "thought", "content": ""}
        written = self._apply({"messages": [_HELLO, turn], **requests.GO_ON}, {})
        return CLOSE in written.partition("thought")[2]

    def _stream(self, asked: Asked) -> Stream:
        """Yield the pieces of one answer. The last carries usage. Where llama.cpp ended it in thinking, the
        answer is asked for after that."""
        before: Usage | None = None
        known: list[TokenLogprob] = []  # not with_logprobs yet
        while True:
            started, first = time.perf_counter(), 0.0
            reader, usage, spent, finish, begun = Reader(asked), None, False, None, False
            request = {**asked.request, **({"timings_per_token": True} if asked.counted else {})}
            try:
                with closing(self.slot.stream(asked.handler, request)) as chunks:
                    for moment, chunk in chunks:
                        if "prompt_progress" in chunk and before is None:
                            progress = chunk["prompt_progress"]
                            self.cached_tokens = progress["cache"]
                            if self.reading:
                                self.reading(progress["cache"], progress["processed"], progress["total"])
                            if asked.reports:
                                yield Piece(progress=requests.progress(chunk["prompt_progress"]))
                        if "prompt_progress" in chunk or not chunk["choices"]:
                            continue
                        first = first or moment
                        choice = chunk["choices"][0]
                        finish = choice["finish_reason"]
                        known += requests.logprobs(choice, request)
                        pieces = reader.feed(choice)
                        if begun := asked.grammar is not None and reader.answered:
                            pieces = [piece for piece in pieces if piece.kind == "thinking"]
                            known.clear()
                        said = requests.numbered(with_logprobs(pieces, known), chunk)
                        yield from with_progress(said, requests.reached(chunk) if asked.times else None)
                        spent = reader.spent(chunk)
                        if finish or reader.stopped or spent or begun:
                            usage = requests.usage(choice, chunk, request, first - started, moment - first)
                            break
            except ContextFull:
                if before is None:
                    raise
                yield Piece(usage=replace(before, stop_reason="context"))
                return
            if usage is None:  # interrupted
                return
            usage = requests.joined(before, usage)
            thought = begun or (reader.thinking and (spent or finish == "stop"))
            yield from reader.finish() if reader.thinking else ()
            if thought and not spent and not begun and (calls := reader.calls_while_thinking()):
                yield from [*calls, Piece(usage=replace(usage, stop_reason="tool_calls"))]
                return
            after = None
            if thought:
                after, said = self._after(asked, reader, usage, request.get("max_tokens"), spent=spent)
            if after is None:
                reason = "length" if thought else usage.stop_reason
                if reader.called and reason == "stop":
                    reason = "tool_calls"
                yield Piece(
                    usage=replace(
                        usage, stop_reason=reason, stop_string=reader.stop_string or usage.stop_string
                    )
                )
                return
            yield from said
            asked, before = after, usage

    def _single(self, asked: Asked, sampling: Sampling) -> Completion:
        """Return one sample."""
        seed = {} if sampling.seed is None else {"seed": sampling.seed}
        pieces = list(self._stream(replace(asked, request={**asked.request, **seed, "n_probs": 1})))
        text, thinking = parts(pieces)
        values = [one.logprob for piece in pieces for one in piece.logprobs]
        usage = next(
            (piece.usage for piece in reversed(pieces) if piece.usage), Usage(stop_reason="cancelled")
        )
        return Completion(text, thinking, usage, sum(values) / len(values) if values else None)

    def _samples(self, asked: Asked, n: int, limit: int | None) -> list[Completion]:
        """Return `n` answers. One at `limit` ends for that, any other for want of room; one that ended in
        thinking is gone on with."""
        started = time.perf_counter()
        first = 0.0
        readers = [Reader(asked) for _ in range(n)]
        pieces: list[list[Piece]] = [[] for _ in range(n)]
        logprobs: list[list[float]] = [[] for _ in range(n)]
        usages = [Usage()] * n
        limits = {"max_tokens": limit} if limit else {}
        for moment, chunk in self.slot.stream(asked.handler, {**asked.request, "n": n}):
            if "prompt_progress" in chunk or not chunk["choices"]:
                continue
            first = first or moment
            choice = chunk["choices"][0]
            index = choice["index"]
            pieces[index] += readers[index].feed(choice)
            logprobs[index] += [t["logprob"] for t in (choice.get("logprobs") or {}).get("content") or ()]
            if choice["finish_reason"]:
                usages[index] = requests.usage(choice, chunk, limits, first - started, moment - first)
        done = []
        for reader, said, values, usage in zip(readers, pieces, logprobs, usages, strict=True):
            after = None
            said += reader.finish() if reader.thinking else []
            if reader.thinking and usage.stop_reason == "stop":
                after, thought = self._after(asked, reader, usage, limit)
            if after:
                (rest,) = self._samples(after, 1, after.request.get("max_tokens"))
                said += [*thought, Piece(rest.text)]
                usage = requests.joined(usage, rest.usage)
            mean = sum(values) / len(values) if values else None
            done.append(Completion(*parts(said), usage, mean))
        return done


def _copy_state(source: Engine, target: Engine) -> None:
    assert isinstance(source, LlamaCpp) and isinstance(target, LlamaCpp)
    target.copy_state(source)


def _shows(turns: Sequence[Message]) -> bool:
    """Return whether a turn has a part that is no text."""
    return any(part.get("type") != "text" for turn in turns for part in parts_of(turn))


def _files(weights: Weights, adapters: Sequence[Path]) -> tuple[Path, ...]:
    """Return all files that the keys and values of a token come from; a picture's come through the
    projector."""
    projector = (weights.mmproj,) if weights.mmproj else ()
    return (*gguf_header.shards(weights.path), *projector, *adapters)


def sight(weights: Weights) -> Seeing:
    """Return how the model of a GGUF file is shown pictures, with llama.cpp's own limits for Qwen's
    projectors (tools/mtmd/clip.cpp)."""
    known = seeing(_named(weights, weights.architecture))
    return replace(known, least=8, most=4_096, least_located=1_024)


def _named(weights: Weights, shape: architecture.Architecture) -> str:
    """Return all names of the model: the GGUF architecture of Qwen2.5-VL is `qwen2vl` too."""
    known = weights.model.name if weights.model else ""
    return " ".join((known, shape.name or "", weights.label, shape.model_type))
