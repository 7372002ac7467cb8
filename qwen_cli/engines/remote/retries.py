"""Requests that are made again: only those of which nothing was answered, and which can succeed."""

from __future__ import annotations

import email.utils
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from qwen_cli.engines.remote.errors import transport_errors

Answer = TypeVar("Answer")

# Too many, too early, a lock, or a gateway that got nothing from the server behind it. 500 is not among them:
# the server has failed at this very request (memory, a bug) and would again.
_STATUSES = (408, 409, 429, 502, 503, 504)


@dataclass(frozen=True)
class Retries:
    """How often, and after how long: `first` seconds, doubled each time up to `most`, less a random part of
    up to a half, so that those who failed together do not come again together. A server's Retry-After is
    heeded up to `longest` seconds; one that wants more is not waited for."""

    times: int = 4
    first: float = 0.5
    most: float = 8.0
    longest: float = 60.0

    def run(self, ask: Callable[[], Answer], tell: Callable[[str], None], *, reached: bool = True) -> Answer:
        """Return what `ask` returns, asked again where that is safe; `tell` is told of it before each wait.
        Unless the server was `reached` before, a connection that cannot be made is a wrong address. Raises
        what `ask` raised last."""
        import openai

        failures: tuple[type[Exception], ...] = (openai.APIError, *transport_errors())
        for attempt in range(self.times + 1):
            try:
                return ask()
            except failures as error:
                wished = _retry_after(error)
                lost = not isinstance(error, openai.APIStatusError)
                if (
                    attempt == self.times
                    or not is_safe(error)
                    or (lost and not reached)
                    or (wished or 0) > self.longest
                ):
                    raise
                wait = wished if wished is not None else self._wait(attempt)
                remark = f"{_reason(error)}; retrying in {wait:.1f} s ({attempt + 1} of {self.times})"
                tell(remark)
                time.sleep(wait)
        raise AssertionError("unreachable")

    def _wait(self, attempt: int) -> float:
        return min(self.most, self.first * 2.0**attempt) * random.uniform(0.5, 1.0)  # noqa: S311


PATIENT = Retries()


def is_safe(error: Exception) -> bool:
    """Return whether the same request may be made again: the server was not reached, closed the connection
    before it answered, or said that it could not take the request now. One that was silent for too long may
    still be computing it."""
    import openai

    if isinstance(error, openai.APIStatusError):
        return error.status_code in _STATUSES
    cause = error.__cause__ if isinstance(error, openai.APIConnectionError) else error
    kinds = {kind.__name__ for kind in type(cause).__mro__}  # httpx and httpx2 call them the same
    if "TimeoutException" in kinds:
        return bool(kinds & {"ConnectTimeout", "PoolTimeout"})
    return bool(kinds & {"NetworkError", "RemoteProtocolError"})


def _retry_after(error: Exception) -> float | None:
    """Return the seconds that the server wants to be left alone: Retry-After, a number or a date (RFC 9110,
    10.2.3)."""
    import openai

    if not isinstance(error, openai.APIStatusError):
        return None
    text = error.response.headers.get("retry-after", "").strip()
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None


def _reason(error: Exception) -> str:
    import openai

    if isinstance(error, openai.APIStatusError):
        return f"answers {error.status_code}"
    cause = error.__cause__ or error
    return f"cannot be reached: {cause}" if str(cause) else f"cannot be reached: {type(cause).__name__}"
