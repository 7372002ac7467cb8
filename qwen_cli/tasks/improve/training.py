"""Adapters of a run, trained by `tasks.train`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

from qwen_cli import paths
from qwen_cli.errors import ModelError, UsageError
from qwen_cli.models.formats import gguf_import
from qwen_cli.models.hub import resolve, starter
from qwen_cli.models.progress import Progress
from qwen_cli.tasks.improve import ranking, reward
from qwen_cli.tasks.improve.rounds import Lessons, Rewarding, RewardTraining, Trainer, Training
from qwen_cli.tasks.improve.stages import Say
from qwen_cli.tasks.train import TrainSettings, train
from qwen_cli.tasks.train.settings import Event, Report

_FIGURES = ("problems", "heldout", "pairs", "accuracy_before", "accuracy", "interval", "loss_before", "loss")
_SHORT = "What is 12 + 30? " * 16  # some 200 tokens with its answer


def trainable(model: str, say: Say, progress: Progress | None = None) -> str:
    """Return what of `model` can be trained: its safetensors, or where it has none those that its GGUF file
    is converted to, once. Raises `ModelError` where there is neither."""
    try:
        found = resolve.resolve(model, prefer="safetensors", strict=True, progress=progress)
        return str(found.path)
    except (ModelError, UsageError) as fault:
        try:
            file = resolve.resolve(model, prefer="gguf", strict=True, progress=progress)
        except (ModelError, UsageError):
            raise fault from None
    own = file.label == "starter"
    folder = paths.data_folder() / "models" / f"{file.path.stem}-safetensors"
    folder = starter.safetensors_path() if own else folder
    if not (folder / "config.json").is_file():
        say(f"{model} is a GGUF file, which is not trained: it is converted to {folder}")
        gguf_import.to_safetensors(file.path, folder, progress=progress)
    return str(folder)


def check(model: str, lessons: Lessons) -> None:
    """Raise `ModelError` where `model` cannot be trained on this machine: what it is, and whether even short
    solutions fit into memory. Nothing is loaded."""

    def stop(event: Event) -> NoReturn:
        raise _Planned

    chat = {"messages": [{"role": "user", "content": _SHORT}, {"role": "assistant", "content": _SHORT}]}
    with TemporaryDirectory() as folder, suppress(_Planned):
        train(_settings(model, Path(folder) / "adapter", lessons), [chat], report=stop)


class _Planned(Exception):
    """Ends a training whose plan is known."""


def _settings(model: str, out: Path, lessons: Lessons, **more: Any) -> TrainSettings:
    return TrainSettings(
        model,
        out,
        rank=lessons.rank,
        alpha=2.0 * lessons.rank,
        epochs=lessons.epochs,
        learning_rate=lessons.learning_rate,
        max_length=lessons.max_length,
        turns="last",
        heldout=0.0,
        **more,
    )


def rewarding(
    model: str, name: str, told: Callable[[Path], AbstractContextManager[reward.Report]]
) -> Rewarding:
    """Return what trains reward models for the safetensors `model`, which is called `name`, and loads them.
    `told` is as in `trainer`."""

    def run(training: RewardTraining) -> Mapping[str, Any]:
        settings = reward.RewardSettings(model, training.out, name, training.mode, seed=training.seed)
        with told(training.out) as report:
            done = reward.train(settings, training.compared, report)
        figures = {name: value for name, value in done.to_json().items() if name in _FIGURES}
        return {"words": done.words, **figures}

    return Rewarding(run, lambda folder: scorer(folder, model))


@contextmanager
def scorer(folder: Path, model: str) -> Iterator[ranking.Scorer]:
    """Load the reward model in `folder` on the safetensors `model`, and free it."""
    with reward.RewardModel(folder, model) as loaded:
        yield loaded.scores


def trainer(model: str, told: Callable[[Path], AbstractContextManager[Report]]) -> Trainer:
    """Return what trains adapters for the safetensors `model`. `told` gives for each one, by its
    folder, who is told how it goes."""

    def run(training: Training) -> Mapping[str, Any]:
        settings = _settings(
            model, training.out, training.lessons, start_from=training.start_from, seed=training.seed
        )
        held = list(training.held) or None
        with told(training.out) as report:
            done = train(settings, list(training.rows), heldout=held, report=report)
        return {"steps": done.steps, "loss": done.train_loss, "held-out loss": done.heldout_loss}

    return run
