"""Open an engine the way a person sees it: a line while it loads, bars while it downloads, notices."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from qwen_cli.commands.options import Loading
from qwen_cli.config import SETTINGS

if TYPE_CHECKING:
    from qwen_cli.engines import Engine
    from qwen_cli.engines.reward import Reward
    from qwen_cli.ui.waiting import Waiting


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
    loading: Loading | None = None,
) -> Engine:
    """The engine that `settings` (flags that are settings already merged in) and `loading` describe."""
    from qwen_cli.engines.loading import load
    from qwen_cli.ui.waiting import Waiting

    given = asdict(loading or Loading()) | {"api_key": None}
    given |= {name: settings.get(name) for name in given if name in SETTINGS}
    with Waiting(f"loading {given['model'] or 'a model'} …") as waiting:
        return load(
            **{name: value for name, value in given.items() if value is not None},
            agree=lambda label, code: _trusted(label, code, waiting),
            notice=waiting.say,
            progress=waiting.progress,
        )


def _trusted(label: str, code: Sequence[str], waiting: Waiting) -> bool:
    """Whether the person who sits at the terminal wants `code`, which comes with weights, to run."""
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    waiting.say(f"{label} comes with Python code that would run as you: {', '.join(code)}")
    return waiting.confirm("Run it?")
