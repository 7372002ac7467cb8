"""Open an engine the way a person sees it: a line while it loads, bars while it downloads, notices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

if TYPE_CHECKING:
    from qwen_cli.engines import Engine
    from qwen_cli.engines.reward import Reward


def say(text: str) -> None:
    """One remark on stderr, dim where that can be shown; never a raw escape sequence."""
    from qwen_cli.ui.terminal import strip_escapes

    typer.secho(strip_escapes(text), err=True, dim=True)


@contextmanager
def open_reward(model: str | None) -> Iterator[Reward | None]:
    """The reward model of this name, loaded; `None` for none."""
    if model is None:
        yield None
        return
    from qwen_cli.engines.reward import load_reward
    from qwen_cli.ui.waiting import Waiting

    with Waiting(f"loading {model} …") as waiting:
        reward = load_reward(model, notice=waiting.say, progress=waiting.progress)
    try:
        yield reward
    finally:
        reward.close()


def open_engine(
    settings: dict[str, Any],
    *,
    adapters: Sequence[Path] = (),
    trust_remote_code: bool = False,
    draft: Literal["ngram"] | None = None,
) -> Engine:
    """The engine that `settings` (model, engine, endpoint, api_key, context) describe, loaded."""
    from qwen_cli.engines.loading import load
    from qwen_cli.ui.waiting import Waiting

    with Waiting(f"loading {settings.get('model') or 'a model'} …") as waiting:
        return load(
            settings.get("model"),
            engine=settings.get("engine", "auto"),
            endpoint=settings.get("endpoint"),
            api_key=settings.get("api_key"),
            context=settings.get("context"),
            adapters=tuple(adapters),
            trust_remote_code=trust_remote_code,
            draft=draft,
            notice=waiting.say,
            progress=waiting.progress,
        )
