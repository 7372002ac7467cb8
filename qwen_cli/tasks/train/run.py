"""The training itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qwen_cli.tasks.train.settings import Report, TrainResult, TrainSettings


def train(
    settings: TrainSettings,
    rows: Sequence[Mapping[str, Any]],
    *,
    heldout: Sequence[Mapping[str, Any]] | None = None,
    report: Report = lambda event: None,
) -> TrainResult:
    """Train an adapter on `rows` and return what became of it.

    A row is a chat: `{"messages": [{"role", "content", "reasoning_content", "tool_calls"}], "tools"}`,
    `{"prompt", "completion"}`, `{"instruction", "input", "output"}` or ShareGPT's `{"conversations"}`. The
    loss is that of the assistant's tokens alone; the output of programs in its turns does not count. With
    `heldout`, rows of the same forms, none of `rows` is held out, and those that are in both are left out.

    Where `settings.out` has the state of the same training it goes on with it, and where that was complete
    its result is returned. `report` is called after each step. Raises `UsageError` for a row of no known form
    (by its number), a setting that makes no sense and a folder of something else; `ModelError` for weights
    that cannot be trained or do not fit; all before a model is loaded.
    """
    raise NotImplementedError
