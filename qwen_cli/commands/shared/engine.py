"""Open an engine the way a person sees it: a line while it loads, bars while it downloads, notices."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from qwen_cli.commands.shared.options import Loading
from qwen_cli.commands.shared.output import relay
from qwen_cli.engines.core.base import Sampling
from qwen_cli.engines.core.options import Hooks, LoadOptions
from qwen_cli.errors import UsageError
from qwen_cli.models.catalog import answers
from qwen_cli.settings import SETTINGS

if TYPE_CHECKING:
    from qwen_cli.engines.core.base import Engine
    from qwen_cli.engines.transformers.reward import Reward
    from qwen_cli.models.planning.default_model import Task
    from qwen_cli.ui.progress import Waiting


# Parameters. A rule of thumb: the starter, with half a billion, hardly ever calls a tool as it should.
_FEW_FOR_TOOLS = 2_000_000_000


@contextmanager
def open_reward(model: str | None) -> Iterator[Reward | None]:
    """Yield the reward model of this name, loaded; `None` for none."""
    if model is None:
        yield None
        return
    from qwen_cli.engines.transformers.reward import load_reward
    from qwen_cli.ui.progress import Waiting

    with Waiting(f"loading {model} …", relay) as waiting:
        reward = load_reward(model, notice=waiting.say, progress=waiting.progress)
    try:
        yield reward
    finally:
        reward.close()


def open_engine(
    settings: dict[str, Any],
    loading: Loading | None = None,
    *,
    hears: bool = False,
) -> Engine:
    """Return the engine that `settings` (flags that are settings already merged in) and `loading` describe:
    on the server of this user, where one runs and has the model or can load it, else in this process. With
    `hears` it may be a speech recogniser."""
    from qwen_cli.ui.progress import Waiting

    wanted = load_options(settings, loading)
    doing = f"loading {wanted.model or 'a model'} …"
    if wanted.endpoint:
        doing = f"asking {wanted.endpoint} …"
        wanted = _elsewhere(wanted, loading)
    elif wanted.model and wanted.engine != "remote":
        answers.check(wanted.model, hears=hears)  # a server of this user is not asked for one, either
    from qwen_cli.models.hub import resolve

    if wanted.model and not wanted.endpoint and (remark := resolve.means_a_folder(wanted.model)):
        relay(remark)
    with Waiting(doing, relay) as waiting:
        if not (loading and loading.no_server) and (engine := _warm(wanted, waiting)):
            return engine
        from qwen_cli.engines import load

        hooks = Hooks(
            relay if wanted.endpoint else waiting.say,  # a server is waited for later, too
            waiting.progress,
            lambda label, code: _trusted(label, code, waiting),
        )
        return load.open_engine(wanted, hooks)


def look_at(settings: dict[str, Any], loading: Loading) -> Engine:
    """Return the engine that `open_engine` would, not loaded and nothing fetched; a server is asked."""
    wanted = load_options(settings, loading)
    if wanted.endpoint or wanted.engine == "remote" or not wanted.model:
        return open_engine(settings, loading)
    from qwen_cli.engines import load

    return load.look(wanted)


def _elsewhere(wanted: LoadOptions, loading: Loading | None) -> LoadOptions:
    """Return `wanted` of the server that its endpoint means. One with a name has a key of its own and is
    never sent one that is kept for another."""
    from qwen_cli import endpoints

    server = endpoints.find(str(wanted.endpoint))
    if server.name is None:
        return wanted
    model = (loading.model if loading else None) or server.model
    return replace(wanted, endpoint=server.url, api_key=server.key(), headers=server.sent(), model=model)


def choose_model(settings: dict[str, Any], task: Task) -> None:
    """Put the model for `task` into `settings` where they name none and it runs on this machine."""
    if settings.get("model") or settings.get("endpoint") or settings.get("engine") == "remote":
        return
    from qwen_cli.models.planning import default_model

    if chosen := default_model.for_task(task):
        settings["model"] = chosen


def load_options(settings: dict[str, Any], loading: Loading | None) -> LoadOptions:
    """Return how a model is loaded: what `settings` (flags already merged in) say, else the flags. Raises
    `UsageError`."""
    flags = asdict(loading or Loading()) | {"api_key": None}
    flags |= {name: settings.get(name) for name in flags if name in SETTINGS}
    return LoadOptions(
        **{name: value for name, value in flags.items() if value is not None and name != "no_server"}
    )


def check_thinking(
    settings: dict[str, Any], think: bool | None, given: int | None, effort: str | None = None
) -> None:
    """Raise `UsageError` for flags about thinking that contradict one another, or that the model is known not
    to take, before it is loaded. What only its template knows is looked at later."""
    if think is False and given is not None:
        raise UsageError("--no-think and --thinking-budget exclude each other", "choose one")
    if think is False and effort is not None:
        raise UsageError("--no-think and --effort exclude each other", "choose one")
    if settings.get("endpoint") or not settings.get("model"):
        return
    from qwen_cli.models.catalog import lookup

    model = lookup.known(str(settings["model"]))
    if model is None:
        return
    name = settings["model"]
    if (think or given is not None or effort is not None) and model.thinking is None:
        raise UsageError(f"{name} does not think", "choose a thinking model, such as qwen3:8b")
    if think is False and model.thinking is not None and model.thinking.mode == "always":
        raise UsageError(f"{name} always thinks", "choose its instruct sibling")


def thinking_wish(
    engine: Engine,
    think: bool | None,
    given: int | None,
    budget: int | None,
    before: bool | int | None = None,
) -> bool | int | None:
    """Return what the flags ask for, if this model can do it. Raises `UsageError`.

    `given` is --thinking-budget, `budget` that or the kept setting, which is for the models that think;
    `before` holds where nothing is said.
    """
    can = engine.capabilities.thinking
    if think is False and given is not None:
        raise UsageError("--no-think and --thinking-budget exclude each other", "choose one")
    if (think or given is not None) and not engine.capabilities.may_think:
        raise UsageError(f"{engine.model} does not think", "choose a thinking model, such as qwen3:8b")
    if think is False and can == "always":
        raise UsageError(f"{engine.model} always thinks", "choose its instruct sibling")
    if think is False:
        return False
    if budget is not None and engine.capabilities.may_think:
        return budget
    return think if think is not None else before


def poor_at_tools(engine: Engine) -> str | None:
    """Return the line about a model that hardly calls tools as it should; `None` where nothing speaks
    against it."""
    from qwen_cli.models.catalog import lookup

    can = engine.capabilities
    if not can.tools and not can.unverified:
        return f"the chat template of {engine.model} has no place for tools: it will hardly call any"
    model = lookup.known(lookup.STARTER if engine.model == "starter" else engine.model)
    if model is not None and (model.base or model.parameters < _FEW_FOR_TOOLS):
        return f"{engine.model} is poor at calling tools: qwen3:4b and larger models do it well"
    return None


def check_effort(engine: Engine, effort: str | None, think: bool | None, budget: int | None) -> None:
    """Raise `UsageError` for an --effort that the model does not take, or that other flags contradict."""
    if effort is None:
        return
    from qwen_cli.engines.core import template

    if think is False:
        raise UsageError("--no-think and --effort exclude each other", "choose one")
    template.check_effort(effort, engine.capabilities, engine.model)
    if budget is not None and not engine.capabilities.efforts:
        raise UsageError(
            f"--thinking-budget and --effort exclude each other: for {engine.model} an effort is a budget",
            "choose one",
        )


def changing(
    settings: dict[str, Any], loading: Loading | None, sampling: Sampling | None = None
) -> dict[str, Any]:
    """Return what of these flags and settings makes answers others than the model gives by itself: a journal
    of results is of one such set. A GGUF's quantization is in the model's name."""
    wanted = load_options(settings, loading)
    return {
        "adapters": [str(path) for path in wanted.adapters] or None,
        "quant": wanted.bits if wanted.bits != "none" else None,
        "dtype": wanted.dtype if wanted.dtype != "auto" else None,
        "rope_scaling": wanted.rope_scaling,
        "kv": wanted.kv,
        **({"dca_chunk": wanted.dca_chunk} if wanted.dca_chunk else {}),
        **{
            name: value
            for name, value in asdict(sampling or Sampling()).items()
            if value not in (None, "", ())
        },
    }


def _warm(wanted: LoadOptions, waiting: Waiting) -> Engine | None:
    """Return the model on the server of this user; `None` where it is to be loaded here."""
    if wanted.endpoint or wanted.engine == "remote":
        return None
    from qwen_cli.engines.daemon import paths

    if not paths.socket_path().exists():  # without a server nothing more is imported
        return None
    from qwen_cli.engines.daemon import client

    return client.connect(wanted, notice=waiting.say)


def _trusted(label: str, code: Sequence[str], waiting: Waiting) -> bool:
    """Return whether the person who sits at the terminal wants `code`, which comes with weights, to run."""
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    waiting.say(f"{label} comes with Python code that would run as you: {', '.join(code)}")
    return waiting.confirm("Run it?")
