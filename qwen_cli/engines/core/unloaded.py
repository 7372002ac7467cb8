"""A model that is known and not loaded: what it can do, and nothing done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from qwen_cli.engines.core.base import Capabilities, EngineBase
from qwen_cli.errors import EngineError


class Unloaded(EngineBase):
    """`model` as it would be on the engine `name`. Raises `EngineError` for whatever it is asked."""

    def __init__(self, name: str, model: str, capabilities: Capabilities) -> None:
        self.name, self.model, self.capabilities = name, model, capabilities

    def chat(self, messages: Sequence[Mapping[str, Any]], **rest: Any) -> NoReturn:
        raise self._not_loaded()

    def complete(self, prompt: str, **rest: Any) -> NoReturn:
        raise self._not_loaded()

    def sample(self, prompt: Any, n: int, **rest: Any) -> NoReturn:
        raise self._not_loaded()

    def count_tokens(self, prompt: Any, **rest: Any) -> NoReturn:
        raise self._not_loaded()

    def _not_loaded(self) -> EngineError:
        return EngineError(f"{self.model} is not loaded", "load it to ask it")
