"""Models behind a server that speaks OpenAI's protocol: vLLM, SGLang, TensorRT-LLM, llama-server, Ollama."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qwen_cli.engines import bare_calls
from qwen_cli.engines.chat_template import thinking_mode
from qwen_cli.engines.openai_stream import ThinkTags, ToolCalls, wire_messages
from qwen_cli.engines.parts import clip_of, is_sent_as_file
from qwen_cli.engines.protocol import (
    Capabilities,
    Completion,
    Engine,
    Message,
    Piece,
    Sampling,
    Stream,
    seeing,
)
from qwen_cli.engines.remote_answers import delta, infilled, logprobs
from qwen_cli.engines.remote_answers import usage as read_usage
from qwen_cli.engines.server_kinds import KINDS, OTHER, base_url, context_overflow
from qwen_cli.errors import ContextFull, EndpointError, EngineError, UsageError

_STANDARD = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "seed", "max_tokens")

# A server that is up accepts at once; a long prompt on a slow machine may take minutes to its first token.
_CONNECT_SECONDS = 5.0
_READ_SECONDS = 600.0


class Remote:
    """A model on a server. See `protocol.Engine` for what each method promises.

    `endpoint` is the server's address (with or without `/v1`), `model` one that it serves (`None`: its
    first). Sampling defaults are the server's own. Raises `EndpointError`, `UsageError`.
    """

    name = "remote"

    def __init__(self, endpoint: str, *, model: str | None = None, api_key: str | None = None) -> None:
        import openai  # 1 to 2 s of imports that the local engines do not need

        self.endpoint = base_url(endpoint)
        self.defaults = Sampling()
        self._client = openai.OpenAI(
            base_url=self.endpoint,
            api_key=api_key or "none",
            # A prompt sent twice may be computed twice: only look-ups, which change nothing, are repeated.
            max_retries=0,
            timeout=openai.Timeout(_READ_SECONDS, connect=_CONNECT_SECONDS),
        )
        card = self._choose(model)
        self.model = str(card["id"])
        self._kind = KINDS.get(str(card.get("owned_by")), OTHER)
        self.capabilities = self._look(card)

    def chat(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        schema: Mapping[str, Any] | None = None,
        sampling: Sampling = Sampling(),
        thinking: bool | int | None = None,
    ) -> Stream:
        request = self._chat_request(messages, sampling, thinking)
        if tools:
            request["tools"] = list(tools)
        if schema is not None:
            wrapped = {"name": "answer", "schema": dict(schema), "strict": True}
            request["response_format"] = {"type": "json_schema", "json_schema": wrapped}
        pieces = self._stream(self._client.chat.completions, request)
        if not tools:
            return pieces
        return bare_calls.recognise(pieces, tools, lambda: self.count_tokens(messages, tools=tools))

    def complete(self, prompt: str, *, sampling: Sampling = Sampling()) -> Stream:
        return self._stream(self._client.completions, self._completion_request(prompt, sampling))

    def infill(self, prefix: str, suffix: str, *, sampling: Sampling = Sampling()) -> Stream:
        """What belongs between two texts, by the server's own route, for models whose layout only it knows.

        llama.cpp's `/infill`, elsewhere `suffix` of `/v1/completions`. Raises `EndpointError` where the
        server or its model has neither.
        """
        settings = self._settings(sampling)
        if self._kind.name != "llama.cpp":
            return self._stream(self._client.completions, {"prompt": prefix, "suffix": suffix, **settings})
        extra = settings.pop("extra_body")
        body = {"input_prefix": prefix, "input_suffix": suffix, "n_predict": sampling.max_tokens or -1}
        return infilled(lambda: self._native("POST", "/infill", {**settings, **extra, **body}))

    def render(self, messages: Sequence[Message], *, thinking: bool | int | None = None) -> str:
        if not self.capabilities.render:
            raise EngineError(f"{self._kind.name} at {self.endpoint} does not tell its prompts", "use chat")
        body: dict[str, Any] = {"messages": wire_messages(messages)}
        if thinking is not None:
            body["chat_template_kwargs"] = {"enable_thinking": bool(thinking)}
        return str(self._native("POST", "/apply-template", body)["prompt"])

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
            route: Any = self._client.completions
        else:
            request = {**self._chat_request(prompt, sampling, thinking), "logprobs": True}
            route = self._client.chat.completions
        try:
            return self._samples(route, {**request, "n": n})
        except EndpointError as error:
            if n == 1 or ("'n'" not in error.message and "n_cmpl" not in error.message):
                raise
        # llama.cpp serves as many at once as it has slots; one after the other the prompt stays cached.
        done: list[Completion] = []
        for index in range(n):
            seed = {"seed": sampling.seed + index} if sampling.seed is not None else {}
            done += self._samples(route, {**request, **seed, "n": 1})
        return done

    def count_tokens(
        self, prompt: str | Sequence[Message], *, tools: Sequence[Mapping[str, Any]] | None = None
    ) -> int:
        """Raises `EngineError` where the server has no route that counts: a guess would be wrong where it
        matters, at the edge of the context."""
        kind = self._kind
        route = kind.tokenize if isinstance(prompt, str) else kind.count_messages
        if route is None:
            raise EngineError(f"{kind.name} at {self.endpoint} does not count tokens", "rely on its usage")
        body: dict[str, Any] = {"model": self.model}
        if isinstance(prompt, str):
            body |= {kind.text_field: prompt, "add_special": True, "parse_special": True}
            if kind.name != "llama.cpp":
                del body["add_special"], body["parse_special"]
        else:
            body |= {"messages": self._wired(prompt)} | ({"tools": list(tools)} if tools else {})
        answer = self._native("POST", route, body)
        for name in ("count", "input_tokens"):
            if name in answer:
                return int(answer[name])
        return len(answer["tokens"])

    def lanes(self, n: int, *, warm: bool = False) -> list[Engine]:
        return [self] * n  # a request holds no state here, and the client is made for several threads

    def save_state(self, path: Path) -> bool:
        return False

    def load_state(self, path: Path) -> bool:
        return False

    def close(self) -> None:
        self._client.close()

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _choose(self, wanted: str | None) -> dict[str, Any]:
        """The listing of the wanted model, or of the first. Raises `EndpointError` naming those served."""
        import openai

        try:
            with self._faults():
                listed = self._client.with_options(max_retries=2).models.list().data
        except _NoRoute:
            if wanted is None:
                raise EndpointError(
                    f"{self.endpoint} lists no models", "name one with --model, or correct --endpoint"
                ) from None
            return {"id": wanted}
        except (openai.OpenAIError, AttributeError) as error:  # a listing of another shape, a web page
            raise EndpointError(
                f"{self.endpoint} is not an OpenAI-compatible server", "check --endpoint"
            ) from error
        cards = [model.model_dump() for model in listed or ()]
        if not cards:
            raise EndpointError(f"{self.endpoint} serves no model", "load one there first")
        if wanted is None:
            return cards[0]
        for card in cards:
            if _names(card["id"]) & _names(wanted):
                return card
        served = ", ".join(str(card["id"]) for card in cards[:8]) + (", …" if len(cards) > 8 else "")
        raise EndpointError(f"{self.endpoint} does not serve {wanted!r}", f"it serves {served}")

    def _look(self, card: Mapping[str, Any]) -> Capabilities:
        from qwen_cli.models import catalog

        known = catalog.find(self.model)
        props: Mapping[str, Any] = {}
        if self._kind.name == "llama.cpp":
            props = self._native("GET", "/props")
        context = card.get("max_model_len") or (card.get("meta") or {}).get("n_ctx")
        sees = bool((props.get("modalities") or {}).get("vision")) or (
            known.vision if known else "vl" in self.model.lower()
        )
        return Capabilities(
            context=int(context) if context else None,
            thinking=(thinking_mode(props["chat_template"]) if props else known.thinking if known else None),
            tools=True,
            fim=known.fim if known else False,
            render=self._kind.name == "llama.cpp",
            vision=sees,
            video_files=sees and self._kind.videos is not None,
            seeing=seeing(self.model),
        )

    def _chat_request(
        self, messages: Sequence[Message], sampling: Sampling, thinking: bool | int | None
    ) -> dict[str, Any]:
        if not messages:
            raise UsageError("there is no message to answer", "say something first")
        request = {"messages": self._wired(messages), **self._settings(sampling)}
        if self._kind.videos and (frames := _frames(messages)):
            request["extra_body"] |= self._kind.videos(frames)
        if thinking is None:
            return request
        budget = thinking if thinking is not True and thinking > 0 else None
        extra: dict[str, Any] = request["extra_body"]
        if self._kind.template_kwargs:
            extra["chat_template_kwargs"] = {"enable_thinking": bool(thinking)}
        if budget is not None:
            if self._kind.budget is None:
                raise EndpointError(
                    f"{self._kind.name} at {self.endpoint} takes no thinking budget",
                    "turn thinking on or off instead",
                )
            extra |= self._kind.budget(budget)
        return request

    def _wired(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        return wire_messages(messages, files=self.capabilities.video_files)

    def _completion_request(self, prompt: str, sampling: Sampling) -> dict[str, Any]:
        if not prompt:
            raise UsageError("the prompt is empty", "give some text to continue")
        request = {"prompt": prompt, **self._settings(sampling)}
        if sampling.max_tokens is None and not self._kind.unlimited:
            try:
                request["max_tokens"] = (self.capabilities.context or 0) - self.count_tokens(prompt)
            except EngineError:
                # An explicit null is "no limit" where leaving it out is 16 tokens.
                request["extra_body"]["max_tokens"] = None
        return request

    def _settings(self, sampling: Sampling) -> dict[str, Any]:
        request: dict[str, Any] = {"model": self.model}
        request |= {name: v for name in _STANDARD if (v := getattr(sampling, name)) is not None}
        if sampling.stop:
            request["stop"] = list(sampling.stop)
        request["extra_body"] = {
            field: v
            for name, field in self._kind.extras.items()
            if (v := getattr(sampling, name)) is not None
        }
        return request

    def _stream(self, route: Any, request: dict[str, Any]) -> Stream:
        """Pieces of one answer. Closing it closes the connection, which is how a server learns to stop."""
        started = time.perf_counter()
        first: float | None = None
        finish: str | None = None
        usage: Any = None
        generated = 0
        calls, tags = ToolCalls(), ThinkTags()
        with self._faults():
            stream = route.create(**request, stream=True, stream_options={"include_usage": True})
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
                    if thought:
                        yield Piece(thought, "thinking")
                    if text:
                        yield from tags.feed(text) if hasattr(choice, "delta") else [Piece(text)]
                    calls.feed(deltas)
            finally:
                stream.close()
        if finish is None:
            raise EndpointError(f"{self.endpoint} broke the answer off", "try again")
        yield from tags.finish()
        for call in calls.finish():
            yield Piece(kind="tool_call", call=call)
        ended = time.perf_counter()
        first = first or ended
        yield Piece(usage=read_usage(usage, generated, finish, request, first - started, ended - first))

    def _samples(self, route: Any, request: dict[str, Any]) -> list[Completion]:
        started = time.perf_counter()
        with self._faults():
            answer = route.create(**request)
        seconds = time.perf_counter() - started
        done = []
        for choice in sorted(answer.choices, key=lambda choice: choice.index):
            values = logprobs(choice)
            if hasattr(choice, "message"):
                extra = choice.message.model_extra or {}
                thought = extra.get("reasoning") or extra.get("reasoning_content") or ""
                text = choice.message.content or ""
            else:
                thought, text = "", choice.text
            generated = len(values) or (answer.usage.completion_tokens if len(answer.choices) == 1 else 0)
            usage = read_usage(answer.usage, generated, choice.finish_reason, request, 0.0, seconds, own=True)
            done.append(Completion(text, thought, usage, sum(values) / len(values) if values else None))
        return done

    def _native(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """A route of the server's own, beside `/v1`."""
        root = self.endpoint.removesuffix("/v1")
        with self._faults():
            try:
                if method == "GET":
                    return self._client.get(f"{root}{path}", cast_to=dict)
                return self._client.post(f"{root}{path}", cast_to=dict, body=body)
            except _NoRoute:
                raise EngineError(f"{self.endpoint} has no {path}", "update the server") from None
        raise AssertionError("unreachable")

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """The client's exceptions as ours."""
        import httpx
        import openai

        try:
            yield
        except (openai.APIConnectionError, httpx.TransportError) as error:
            cause = error.__cause__ or error
            raise EndpointError(
                f"cannot reach {self.endpoint}: {cause}", "check that the server runs and --endpoint"
            ) from error
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise EndpointError(
                f"{self.endpoint} refuses the API key", "set QWEN_API_KEY, or api_key with `qwen config`"
            ) from error
        except openai.NotFoundError as error:
            raise _NoRoute(f"{self.endpoint} answers: {_message(error)}", "check --endpoint") from error
        except openai.APIStatusError as error:
            message = _message(error)
            if overflow := context_overflow(message, error.body):
                raise ContextFull(*overflow) from error
            raise EndpointError(f"{self.endpoint} answers {error.status_code}: {message}") from error
        except openai.APIError as error:
            raise EndpointError(f"{self.endpoint} answers: {error.message}") from error
        except json.JSONDecodeError as error:
            raise EndpointError(f"{self.endpoint} does not answer in JSON", "check --endpoint") from error


class _NoRoute(EndpointError):
    """The server does not know the address."""


def _frames(messages: Sequence[Message]) -> int:
    """The most frames that are to be seen of a video which is sent as a file; 0 without one."""
    contents = [m["content"] for m in messages if isinstance(m.get("content"), list)]
    parts = [part for content in contents for part in content if part.get("type") == "video"]
    return max((len(clip_of(part).indices) for part in parts if is_sent_as_file(part)), default=0)


def _names(model: str) -> set[str]:
    """What a served model may be called: its id, its hub id by our alias, the name of its file."""
    from qwen_cli.models import catalog

    known = catalog.find(model)
    names = {model, Path(model).name, Path(model).name.removesuffix(".gguf")}
    return {name.lower() for name in names | ({known.repo} if known else set())}


def _message(error: Any) -> str:
    """The server's own words, on one line."""
    body = error.body
    text = body.get("message") if isinstance(body, Mapping) else None
    return " ".join(str(text or error.message).split())[:500]
