"""What can go wrong between here and a server, in words for a person."""

from __future__ import annotations

import functools
import importlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from qwen_cli.engines.remote.servers import context_overflow
from qwen_cli.errors import ContextFull, EndpointError


class NoRoute(EndpointError):
    """The server does not know the address."""


class KeyRefused(EndpointError):
    """The server wants another key."""


@functools.cache  # and imported once, before there are threads that would do it at the same time
def transport_errors() -> tuple[type[Exception], ...]:
    """Return what a connection fails with: newer releases of the client have httpx2 under them, older ones
    httpx."""
    kinds = []
    for name in ("httpx", "httpx2"):
        with suppress(ImportError):
            kinds.append(importlib.import_module(name).TransportError)
    return tuple(kinds)


@contextmanager
def faults(endpoint: str) -> Iterator[None]:
    """Raise the client's exceptions as ours: `EndpointError`, `NoRoute` for a 404, `ContextFull`."""
    import openai

    unreached: tuple[type[Exception], ...] = (openai.APIConnectionError, *transport_errors())
    try:
        yield
    except unreached as error:
        cause = error.__cause__ or error
        if isinstance(cause, EndpointError):
            raise cause from None
        raise EndpointError(
            f"cannot reach {endpoint}: {cause}", "check that the server runs, and `endpoint`"
        ) from error
    except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
        raise KeyRefused(
            f"{endpoint} refuses the API key",
            "check QWEN_API_KEY, or for a name the key that `qwen config endpoint list` shows",
        ) from error
    except openai.NotFoundError as error:
        raise NoRoute(f"{endpoint} answers: {message(error)}", "check `endpoint`") from error
    except openai.APIStatusError as error:
        text = message(error)
        if overflow := context_overflow(text, error.body):
            raise ContextFull(*overflow) from error
        raise EndpointError(f"{endpoint} answers {error.status_code}: {text}", _advice(text)) from error
    except openai.APIError as error:
        raise EndpointError(f"{endpoint} answers: {error.message}") from error
    except json.JSONDecodeError as error:
        raise EndpointError(f"{endpoint} does not answer in JSON", "check `endpoint`") from error


def unencoded(endpoint: str) -> Callable[[Any], None]:
    """Return what raises `EndpointError` for the head of an answer that comes encoded."""

    def check(answer: Any) -> None:
        encoding = answer.headers.get("content-encoding", "").strip()
        if encoding.lower() not in ("", "identity"):
            raise EndpointError(f"{endpoint} answers encoded ({encoding[:40]}), unasked", "check `endpoint`")

    return check


@contextmanager
def misread(endpoint: str) -> Iterator[None]:
    """Raise `EndpointError` where an answer is JSON, but not of the form that the protocol gives it: the
    client takes whatever a server sends."""
    try:
        yield
    except UnicodeEncodeError:  # of what was to be sent
        raise
    except (AttributeError, TypeError, LookupError, ValueError, ArithmeticError, RecursionError) as error:
        what = f"{type(error).__name__}: {error}"
        raise EndpointError(
            f"{endpoint} answers in another form than OpenAI's ({what})",
            "check `endpoint`",
        ) from error


def message(error: Any) -> str:
    """Return the server's own words, on one line."""
    body = error.body
    text = body.get("message") if isinstance(body, Mapping) else None
    return " ".join(str(text or error.message).split())[:500]


def _advice(text: str) -> str | None:
    """Return what to do where a server was started without something."""
    if "tool-call-parser" in text:  # vLLM without tools
        return "start it by `qwen serve` with `engine=vllm`, which names the parser of the model"
    if "reasoning_config" in text or "reasoning-config" in text:  # vLLM's thinking budgets
        return "start vLLM with --reasoning-parser, or turn thinking on or off instead"
    return None
