"""Models behind a server that speaks OpenAI's protocol: vLLM, SGLang, TensorRT-LLM, llama-server, Ollama."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from qwen_cli.endpoints import base_url
from qwen_cli.engines.core.base import (
    Completion,
    Engine,
    EngineBase,
    Message,
    Piece,
    Reuse,
    Sampling,
    Stream,
    TokenLogprob,
    effective,
    is_off,
    usual,
)
from qwen_cli.engines.core.prompt import Prompt
from qwen_cli.engines.core.template import TemplateKwargs
from qwen_cli.engines.parsing import bare_tool_calls
from qwen_cli.engines.parsing.marks import FAMILY, Marks
from qwen_cli.engines.parsing.openai import ToolCalls
from qwen_cli.engines.parsing.think_tags import CLOSE, is_left_out
from qwen_cli.engines.parsing.turns import goes_on, repaired
from qwen_cli.engines.remote import requests
from qwen_cli.engines.remote.errors import NoRoute, faults, message, misread, unencoded
from qwen_cli.engines.remote.probe import catalogued, chosen, listed, probe
from qwen_cli.engines.remote.reader import Reader
from qwen_cli.engines.remote.responses import delta, infilled, rated, samples
from qwen_cli.engines.remote.responses import usage as read_usage
from qwen_cli.engines.remote.retries import PATIENT, Retries
from qwen_cli.engines.remote.servers import KINDS, OTHER
from qwen_cli.engines.remote.unsupported import refused, remedy
from qwen_cli.errors import EndpointError, EngineError, UsageError

# A server that is up accepts at once; a long prompt on a slow machine may take minutes to its first token.
_CONNECT_SECONDS = 5.0
_READ_SECONDS = 600.0

# A server's tokenizer is its own: of raw prompts it takes text alone, so a joiner breaks what spells a mark.
# Messages are sent as they are: how the text in them is read is the server's to see to.
_MARKS = Marks(FAMILY)


class Remote(EngineBase):
    """A model on a server. See `protocol.Engine` for what each method promises.

    `endpoint` is the server's address (with or without `/v1`), `model` one that it serves (`None`: its
    first). `headers` go with each request. `notice` is told of requests that are made again, and of what the
    server does not take. `patience` is how many seconds it may be silent. `vision` says whether the model
    sees, where that is known better than the server tells. Sampling defaults are the server's
    own, but for what it cannot know (`remote_requests.defaults`). Raises `EndpointError`, `UsageError`.
    """

    name = "remote"

    def __init__(
        self,
        endpoint: str,
        *,
        model: str | None = None,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        notice: Callable[[str], None] = lambda text: None,
        retries: Retries = PATIENT,
        patience: float = _READ_SECONDS,
        vision: bool | None = None,
    ) -> None:
        import openai  # 1 to 2 s of imports that the local engines do not need

        self.endpoint = base_url(endpoint)
        self._client = openai.OpenAI(
            base_url=self.endpoint,
            api_key=api_key or "none",
            # An encoded answer can grow to a million times its size, and nobody asks for one.
            default_headers={"Accept-Encoding": "identity", **(headers or {})},
            http_client=openai.DefaultHttpxClient(event_hooks={"response": [unencoded(self.endpoint)]}),
            # The client's own repeat what failed in the middle of computing, and say nothing.
            max_retries=0,
            timeout=openai.Timeout(patience, connect=min(patience, _CONNECT_SECONDS)),
        )
        self._notice, self._retries = notice, retries
        self._refused: list[str] = []  # fields that this server does not take
        cards = listed(lambda: self._again(self._client.models.list, reached=False), model, self.endpoint)
        with misread(self.endpoint):
            self.served = [str(card["id"]) for card in cards]
            card = chosen(cards, model, self.endpoint)
            self.model = str(card["id"])
            self._kind = KINDS.get(str(card.get("owned_by")), OTHER)
            self.capabilities = probe(self._kind, card, self.model, self._native, vision)
        self.defaults, self.plain_defaults = requests.defaults(self.model, self._kind)
        known = catalogued(self.model, str(card.get("root") or ""))
        self._never_thinks = known is not None and known.thinking is None
        # Whether text begins with thinking that the template has opened: of a server that has no parser.
        self._opens = bool(known and known.thinking and known.thinking.opens) and not self._kind.parses

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
        request = self._chat_request(messages, sampling, thinking, template_kwargs)
        if tools:
            request["tools"] = list(tools)
        if schema is not None:
            wrapped = {"name": "answer", "schema": dict(schema), "strict": True}
            request["response_format"] = {"type": "json_schema", "json_schema": wrapped}
        stop = self._own_stops(request, thinking)
        opened = self._opens and self._wants_thinking(thinking) and not goes_on(messages)
        pieces = self._stream(self._client.chat.completions, request, opened=opened, stop=stop)
        if stop:
            pieces = self._counted(pieces, lambda: self.count_tokens(messages, tools=tools))
        if least := requests.least_visual_tokens(messages, self.capabilities):
            pieces = self._watched(pieces, least)
        if not tools:
            return pieces
        return bare_tool_calls.recognise(pieces, tools, lambda: self.count_tokens(messages, tools=tools))

    def complete(self, prompt: str, *, sampling: Sampling = Sampling(), reuse: Reuse = "prefix") -> Stream:
        return self._stream(self._client.completions, self._completion_request(prompt, sampling))

    def infill(self, prefix: str, suffix: str, *, sampling: Sampling = Sampling()) -> Stream:
        """Stream what belongs between two texts, by the server's own route, for models whose layout only it
        knows.

        llama.cpp's `/infill`, elsewhere `suffix` of `/v1/completions`. Raises `EndpointError` where the
        server or its model has neither.
        """
        settings = requests.settings(self.model, sampling, self._kind)
        if self._kind.name != "llama.cpp":
            return self._stream(self._client.completions, {"prompt": prefix, "suffix": suffix, **settings})
        extra = settings.pop("extra_body")
        body = {"input_prefix": prefix, "input_suffix": suffix, "n_predict": sampling.max_tokens or -1}
        return self._infilled({**settings, **extra, **body})

    def _infilled(self, body: Mapping[str, Any]) -> Stream:
        with misread(self.endpoint):
            yield from infilled(lambda: self._native("POST", "/infill", body))

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        thinking: bool | int | None = None,
        template_kwargs: Mapping[str, Any] | None = None,
    ) -> str:
        if not self.capabilities.render:
            raise EngineError(f"{self._kind.name} at {self.endpoint} does not show its prompts", "use chat")
        turns = requests.turns(messages, self._kind, self.capabilities)
        guarded = _MARKS.guard(turns, tools, template=CLOSE)
        turns, tools = (guarded.messages, guarded.tools) if guarded else (turns, tools)
        body: dict[str, Any] = {"messages": turns, **({"tools": list(tools)} if tools else {})}
        if given := requests.template_kwargs(thinking, template_kwargs, self.capabilities):
            body["chat_template_kwargs"] = given
        with misread(self.endpoint):
            text = str(self._native("POST", "/apply-template", body)["prompt"])
        return guarded.prompt(text) if guarded else Prompt(text)

    def sample(
        self,
        prompt: str | Sequence[Message],
        n: int,
        *,
        sampling: Sampling = Sampling(),
        thinking: bool | int | None = None,
        template_kwargs: Mapping[str, Any] | None = None,
    ) -> list[Completion]:
        stop: tuple[str, ...] = ()
        opened = False
        if isinstance(prompt, str):
            request = {**self._completion_request(prompt, sampling), "logprobs": 1}
            route: Any = self._client.completions
        else:
            request = {**self._chat_request(prompt, sampling, thinking, template_kwargs), "logprobs": True}
            route = self._client.chat.completions
            stop, opened = self._own_stops(request, thinking), self._opens and self._wants_thinking(thinking)
        asked = partial(self._samples, route, opened=opened, stop=stop)
        try:
            return asked({**request, "n": n})
        except EndpointError as error:
            if n == 1 or ("'n'" not in error.message and "n_cmpl" not in error.message):
                raise
        # llama.cpp serves as many at once as it has slots; one after the other the prompt stays cached.
        done: list[Completion] = []
        for index in range(n):
            seed = {"seed": sampling.seed + index} if sampling.seed is not None else {}
            done += asked({**request, **seed, "n": 1})
        return done

    def score(self, prompt: str, *, likely: int = 0, begin: int = 1) -> list[TokenLogprob]:
        sampling = Sampling(temperature=0.0, max_tokens=1)
        request = {**self._completion_request(prompt, sampling), "echo": True, "logprobs": max(1, likely)}
        with faults(self.endpoint):
            answer = self._create(self._client.completions, request)
        known = rated(answer, prompt)
        if not known:
            raise EngineError(
                f"{self.endpoint} does not tell how likely a prompt is: it echoes no prompt",
                "ask it in chat",
            )
        return known[begin - 1 :]

    def count_tokens(
        self,
        prompt: str | Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        template_kwargs: Mapping[str, Any] | None = None,
    ) -> int:
        """Count tokens; raise `EngineError` where the server has no route for it: a guess would be wrong
        where it matters, at the edge of the context."""
        kind = self._kind
        route = kind.tokenize if isinstance(prompt, str) else kind.count_messages
        if route is None:
            raise EngineError(f"{kind.name} at {self.endpoint} does not count tokens", "rely on its usage")
        body: dict[str, Any] = {"model": self.model}
        if isinstance(prompt, str):
            body |= {kind.text_field: _MARKS.broken(prompt), "add_special": True, "parse_special": True}
            if kind.name != "llama.cpp":
                del body["add_special"], body["parse_special"]
        else:
            body["messages"] = requests.turns(prompt, kind, self.capabilities)
            body |= {"tools": list(tools)} if tools else {}
            body |= {"chat_template_kwargs": dict(template_kwargs)} if template_kwargs else {}
        answer = self._native("POST", route, body)
        with misread(self.endpoint):
            for name in ("count", "input_tokens"):
                if name in answer:
                    return int(answer[name])
            return len(answer["tokens"])
        raise AssertionError("unreachable")

    def lanes(self, n: int, *, warm: bool = False) -> list[Engine]:
        return [self] * n  # a request holds no state here, and the client is made for several threads

    @property
    def server(self) -> str:
        """Return what kind of server it is ("vLLM")."""
        return self._kind.name

    @property
    def counts(self) -> bool:
        """Return whether it counts the tokens of a text."""
        return self._kind.tokenize is not None

    def close(self) -> None:
        self._client.close()

    def _chat_request(
        self,
        messages: Sequence[Message],
        sampling: Sampling,
        thinking: bool | int | None,
        template_kwargs: TemplateKwargs,
    ) -> dict[str, Any]:
        sampling = effective(sampling, usual(self, thinking))
        settings = requests.settings(self.model, sampling, self._kind)
        request = requests.chat(messages, settings, self._kind, self.capabilities)
        if goes_on(messages):
            request["extra_body"] |= self._kind.goes_on or {}
        return requests.thinking(
            request, thinking, template_kwargs, self._kind, self.capabilities, self.endpoint
        )

    def _completion_request(self, prompt: str, sampling: Sampling) -> dict[str, Any]:
        if not prompt:
            raise UsageError("the prompt is empty", "give some text to continue")
        sampling = effective(sampling, self.plain_defaults if is_left_out(prompt) else self.defaults)
        request = {"prompt": _MARKS.broken(prompt), **requests.settings(self.model, sampling, self._kind)}
        if sampling.max_tokens is None and not self._kind.unlimited:
            try:
                request["max_tokens"] = (self.capabilities.context or 0) - self.count_tokens(prompt)
            except EngineError:
                # An explicit null is "no limit" where leaving it out is 16 tokens.
                request["extra_body"]["max_tokens"] = None
        return request

    def _wants_thinking(self, thinking: bool | int | None) -> bool:
        """Return whether the model is to think in a turn that says so much about it."""
        if thinking is None:
            return self.capabilities.thinks_by_default
        return not is_off(thinking)

    def _own_stops(self, request: dict[str, Any], thinking: bool | int | None) -> tuple[str, ...]:
        """Take the stop strings out of a `request` that may make the model think: servers look for them in
        its thoughts too. `qwen serve` does not."""
        if self._never_thinks or is_off(thinking) or self._kind.name == "qwen serve":
            return ()
        return tuple(request.pop("stop", ()))

    def _counted(self, pieces: Stream, count: Callable[[], int]) -> Stream:
        """Yield `pieces`, with the tokens of the prompt counted where an answer was ended here: then the
        server does not tell."""
        for piece in pieces:
            usage = piece.usage
            if usage and not usage.prompt_tokens:
                with suppress(EngineError, EndpointError):
                    piece = replace(piece, usage=replace(usage, prompt_tokens=count()))
            yield piece

    def _stream(
        self, route: Any, request: dict[str, Any], *, opened: bool = False, stop: Sequence[str] = ()
    ) -> Stream:
        """Yield the pieces of one answer. Closing it closes the connection, which is how a server learns to
        stop."""
        with misread(self.endpoint):
            yield from self._pieces(route, request, opened=opened, stop=stop)

    def _pieces(self, route: Any, request: dict[str, Any], *, opened: bool, stop: Sequence[str]) -> Stream:
        started = time.perf_counter()
        first: float | None = None
        finish: str | None = None
        usage: Any = None
        generated = 0
        calls, reader = ToolCalls(), Reader(opened=opened, stop=stop)
        with faults(self.endpoint):
            stream = self._create(
                route, {**request, "stream": True, "stream_options": {"include_usage": True}}
            )
            try:
                for chunk in stream:
                    usage = chunk.usage or usage
                    if not chunk.choices:
                        continue
                    choice = chunk.choices[0]
                    finish = choice.finish_reason or finish
                    thought, text, deltas = delta(choice)
                    if not (thought or text or deltas):
                        continue
                    first = first or time.perf_counter()
                    generated += 1
                    if hasattr(choice, "delta"):
                        yield from reader.feed(thought, text)
                    elif text:
                        yield Piece(text)
                    calls.feed(deltas)
                    if reader.stopped:
                        finish = "stop"
                        break
            finally:
                stream.close()
        if finish is None:
            raise EndpointError(
                f"{self.endpoint} closed the connection before the answer was complete", "try again"
            )
        yield from reader.finish(finish)
        self._learn(reader)
        for call in calls.finish():
            yield Piece(kind="tool_call", call=call)
        ended = time.perf_counter()
        first = first or ended
        spent = read_usage(usage, generated, finish, request, first - started, ended - first)
        yield Piece(usage=replace(spent, stop_string=reader.stop_string))

    def _learn(self, reader: Reader) -> None:
        """Remember how this server tells thinking, for the answers to come."""
        if reader.parses or reader.unclosed:
            self._opens = False
        elif reader.closed_alone:
            self._opens = True

    def _watched(self, pieces: Stream, least: int) -> Stream:
        """Yield `pieces`, and tell where the server has counted fewer tokens than the pictures alone take:
        some drop what their model cannot see."""
        try:
            for piece in pieces:
                if piece.usage and 0 < piece.usage.prompt_tokens < least:
                    self._notice(
                        f"{self.endpoint} counted {piece.usage.prompt_tokens:,} tokens for the question and "
                        "its pictures: it has hardly shown them to the model"
                    )
                yield piece
        finally:
            pieces.close()

    def _samples(
        self, route: Any, request: dict[str, Any], *, opened: bool = False, stop: Sequence[str] = ()
    ) -> list[Completion]:
        started = time.perf_counter()
        with faults(self.endpoint):
            answer = self._create(route, request)
        with misread(self.endpoint):
            return samples(answer, request, time.perf_counter() - started, opened=opened, stop=stop)

    def _native(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Request a route of the server's own, beside `/v1`."""
        root = self.endpoint.removesuffix("/v1")
        with faults(self.endpoint):
            try:
                if method == "GET":
                    answer = self._again(lambda: self._client.get(f"{root}{path}", cast_to=dict))
                else:
                    answer = self._again(lambda: self._client.post(f"{root}{path}", cast_to=dict, body=body))
                if not isinstance(answer, dict):
                    raise EngineError(f"{self.endpoint} does not answer {path} in JSON", "update the server")
                return answer
            except NoRoute:
                raise EngineError(f"{self.endpoint} has no {path}", "update the server") from None
        raise AssertionError("unreachable")

    def _again(self, ask: Callable[[], Any], *, reached: bool = True) -> Any:
        return self._retries.run(ask, lambda why: self._notice(f"{self.endpoint} {why}"), reached=reached)

    def _create(self, route: Any, request: dict[str, Any]) -> Any:
        """Return the answer, or the stream before its first piece. A field that the server does not take is
        left out, or put as it takes it, and that is told once; turns that the model's template refuses are
        put as it takes them."""
        import openai

        field: str | None
        for field in self._refused:
            request = refused(field, request)[0]
        while True:
            try:
                return self._again(partial(route.create, **request))
            except openai.APIStatusError as error:
                # llama.cpp answers 500 where a template raises, the others 400.
                mended = repaired(request.get("messages", ()), message(error))
                if mended is not None:
                    request = {**request, "messages": mended}
                    continue
                refused_it = isinstance(error, (openai.BadRequestError, openai.UnprocessableEntityError))
                field = remedy(message(error), request) if refused_it else None
                if field is None:
                    raise
                request, remark = refused(field, request)
                if field not in self._refused:
                    self._refused.append(field)
                    self._notice(f"{self.endpoint} {remark}")
