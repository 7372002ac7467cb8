"""Presence and frequency penalties in llama.cpp that count what was generated alone, as in OpenAI's API,
vLLM and our transformers engine.

llama.cpp has one sampler for three penalties, and its server shows it the whole prompt before the first token
(`server_slot::init_sampler`). For the repetition penalty that is right: its recommended values come from
transformers. The others would punish every word of a document, and no field of a request separates them.

So a request with them gets a second sampler, of the kind "typ_p", which nothing here uses otherwise and which
is shown no tokens. When it is asked for the first time, the prompt is read and nothing is generated: there it
changes places with a penalties sampler that has seen nothing. From then on all is llama.cpp's own work, with
drafts and the samples of one prompt too; Python is entered once a request.

The structures are those of llama.cpp's public header (`llama_sampler`, `llama_sampler_i` in include/llama.h).
"""

from __future__ import annotations

import ctypes
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

# In front of what cuts candidates off, as in llama.cpp's own order (`common_params_sampling::samplers`).
_ORDER = ["penalties", "typ_p", "top_k", "top_p", "min_p", "temperature"]
_ACCEPT, _APPLY = 1, 2  # their places in `llama_sampler_i`, after `name`

# A request hands its penalties over as the one number of a "typ_p" sampler, a float of 24 bits below zero:
# both in thousandths from -2 to 2, which are OpenAI's limits and those of our own settings.
_MOST, _STEPS = 2.0, 1000
_VALUES = int(2 * _MOST * _STEPS) + 1
# The numbers from here to 2**24 name answers that are gone on with (`continued`): as many as may be asked for
# before the first of them is forgotten.
_CONTINUED, _KEPT = _VALUES**2, 256

# How far back llama.cpp's own penalties look where it does not lend its functions: its default.
_FEW = 64


class _Sampler(ctypes.Structure):
    _fields_ = (("functions", ctypes.c_void_p), ("state", ctypes.c_void_p))


class _Candidate(ctypes.Structure):
    """`llama_token_data`."""

    _fields_ = (("id", ctypes.c_int32), ("logit", ctypes.c_float), ("p", ctypes.c_float))


class _Candidates(ctypes.Structure):
    """`llama_token_data_array`."""

    _fields_ = (
        ("data", ctypes.POINTER(_Candidate)),
        ("size", ctypes.c_size_t),
        ("selected", ctypes.c_int64),
        ("sorted", ctypes.c_bool),
    )


_AcceptFunction = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Sampler), ctypes.c_int32)
_ApplyFunction = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Sampler), ctypes.c_void_p)


def fields(
    repetition: float | None,
    presence: float | None,
    frequency: float | None,
    context: int,
    *,
    inside: bool = True,
) -> dict[str, Any]:
    """Return what a request says about its penalties; `context` is the window in tokens.

    Where the library lends no functions (Windows), or llama.cpp is not `inside` this process, presence and
    frequency are llama.cpp's own, which look at the last 64 tokens, or at all of them beside a repetition
    penalty.
    """
    request: dict[str, Any] = {"repeat_last_n": context}
    if repetition is not None:
        request["repeat_penalty"] = repetition
    if not presence and not frequency:
        return request
    number = _number(presence or 0.0, frequency or 0.0)
    if inside and _hook.installed(context):
        return request | {"samplers": _ORDER, "typical_p": number}
    if repetition in (None, 1.0):
        request["repeat_last_n"] = _FEW
    return request | {"presence_penalty": presence or 0.0, "frequency_penalty": frequency or 0.0}


def continued(request: Mapping[str, Any], said: Sequence[int]) -> dict[str, Any]:
    """Return a `request` whose prompt ends in the tokens `said` of its own answer: they were generated, and
    count."""
    if request.get("typical_p", 0) >= 0:
        return dict(request)
    return {**request, "typical_p": _hook.remember(*_penalties(request["typical_p"]), said)}


def forced(tokens: Sequence[int], *, inside: bool = True) -> dict[str, Any]:
    """Return a request's fields that make it write `tokens` and nothing else, for its log probabilities of
    them to be read: the same sampler leaves of the candidates the token whose turn it is. By a grammar, as
    where no functions are lent, each token takes a look at the whole vocabulary: half a second."""
    if not (inside and _hook.installed(0)):
        return {"grammar": "root ::= " + " ".join(f"<[{token}]>" for token in tokens)}
    return {"samplers": ["typ_p"], "typical_p": _hook.remember_forced(tokens)}


def _number(presence: float, frequency: float) -> float:
    first, second = _thousandths(presence), _thousandths(frequency)
    return -1.0 - (first * _VALUES + second)


def _thousandths(penalty: float) -> int:
    return round((min(_MOST, max(-_MOST, penalty)) + _MOST) * _STEPS)


def _penalties(number: float) -> tuple[float, float]:
    """Return the (presence, frequency) that `_number` was given."""
    first, second = divmod(round(-1.0 - number), _VALUES)
    return first / _STEPS - _MOST, second / _STEPS - _MOST


class _Hook:
    """The function of "typ_p" samplers in this process, once it is ours."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._works: bool | None = None
        self._window = 0  # tokens: as many as the largest context may generate
        self._function: Any = None  # llama.cpp holds its address
        self._said: dict[int, tuple[float, float, tuple[int, ...]]] = {}
        self._forced: dict[int, deque[int]] = {}
        self._count = 0

    def remember(self, presence: float, frequency: float, said: Sequence[int]) -> float:
        """Keep what an answer that is gone on with has said: the number that stands for it."""
        with self._lock:
            number = self._next()
            self._said[number] = presence, frequency, tuple(said)
        return -1.0 - number

    def remember_forced(self, tokens: Sequence[int]) -> float:
        """Keep the tokens that are to come next: the number that stands for them."""
        with self._lock:
            number = self._next()
            self._forced[number] = deque(tokens)
        return -1.0 - number

    def _next(self) -> int:
        """Return a number that stands for nothing any more."""
        number = _CONTINUED + self._count % _KEPT
        self._count += 1
        self._said.pop(number, None)
        self._forced.pop(number, None)
        return number

    def _meant(self, number: float) -> tuple[float, float, tuple[int, ...]]:
        """Return (presence, frequency, what was said before) that a number stands for."""
        return self._said.get(round(-1.0 - number)) or (*_penalties(number), ())

    def installed(self, context: int) -> bool:
        """Install it if it is not. False where that cannot be done."""
        with self._lock:
            self._window = max(self._window, context)
            if self._works is None:
                self._works = self._install()
            return self._works

    def _install(self) -> bool:
        from xllamacpp import xllamacpp  # loaded with the engine

        try:
            library = ctypes.CDLL(xllamacpp.__file__)
            typical, penalties = library.llama_sampler_init_typical, library.llama_sampler_init_penalties
            free = library.llama_sampler_free
        except (OSError, AttributeError):  # it lends none
            return False
        for make in (typical, penalties):
            make.restype = ctypes.POINTER(_Sampler)
        typical.argtypes = (ctypes.c_float, ctypes.c_size_t)
        penalties.argtypes = (ctypes.c_int32, ctypes.c_int32, *[ctypes.c_float] * 3)
        free.argtypes, free.restype = (ctypes.POINTER(_Sampler),), None
        sample = typical(-3.0, 1)
        functions = _functions(sample)
        known = _parameter_of(sample) == -3.0
        free(sample)
        if not known:
            return False
        original = _ApplyFunction(functions[_APPLY] or 0)

        def apply(sampler: Any, candidates: int) -> None:
            number = _parameter_of(sampler)
            if number >= 0:  # typical sampling that somebody means
                original(sampler, candidates)
                return
            if (left := self._forced.get(round(-1.0 - number))) is not None:
                if left:
                    _leave(candidates, left.popleft())
                return
            presence, frequency, said = self._meant(number)
            # The size of the vocabulary, 1 here, is read by samplers in a GPU's graph alone.
            fresh = penalties(1, self._window, 1.0, frequency, presence)
            if said:
                own = _functions(fresh)
                accept, punish = _AcceptFunction(own[_ACCEPT] or 0), _ApplyFunction(own[_APPLY] or 0)
                for token in said:
                    accept(fresh, token)
                punish(fresh, candidates)
            one, other = sampler.contents, fresh.contents
            one.functions, other.functions = other.functions, one.functions
            one.state, other.state = other.state, one.state
            free(fresh)

        self._function = _ApplyFunction(apply)
        functions[_APPLY] = ctypes.cast(self._function, ctypes.c_void_p).value
        return True


def _functions(sampler: Any) -> Any:
    """Return the first functions of a sampler's kind."""
    return (ctypes.c_void_p * (_APPLY + 1)).from_address(sampler.contents.functions)


def _leave(candidates: int, token: int) -> None:
    """Leave of the candidates at an address one, `token`."""
    array = _Candidates.from_address(candidates)
    array.data[0].id, array.data[0].logit, array.data[0].p = token, 0.0, 1.0
    array.size, array.selected, array.sorted = 1, 0, True


def _parameter_of(sampler: Any) -> float:
    """Return the number that a "typ_p" sampler was made with, the first of its state."""
    return float(ctypes.c_float.from_address(sampler.contents.state).value)


_hook = _Hook()
