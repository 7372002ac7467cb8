"""The steps of a training, one after another, and what is needed to go on after a kill.

Imports nothing heavy at the top; what learns is the caller's.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

from qwen_cli.errors import EngineError
from qwen_cli.tasks.train.folder import Progress, RunFolder
from qwen_cli.tasks.train.schedule import learning_rate
from qwen_cli.tasks.train.settings import Evaluated, Resumed, Stepped, TrainSettings

# AdamW's own of torch, and what LoRA is trained with nearly everywhere (https://arxiv.org/abs/2106.09685).
_BETAS = (0.9, 0.999)

Steps = Sequence[tuple[int, tuple[int, ...]]]
"""The epoch of each step, and the numbers of what it learns from."""


@dataclass(frozen=True)
class Learned:
    """What a step came to: the mean `loss` over what `counted`, of so many `tokens`."""

    loss: float
    tokens: int
    counted: int


@dataclass(frozen=True)
class Measured:
    """The mean `loss` over what is held out, and other `figures` of it by their names."""

    loss: float
    figures: Mapping[str, float] = field(default_factory=dict)


class Learner(Protocol):
    """What learns: the `parameters` by name, torch's, in an order that is always the same."""

    @property
    def parameters(self) -> dict[str, Any]: ...

    def gradients(self, chosen: Sequence[int]) -> Learned:
        """Add the gradients of the mean loss over what `chosen` numbers."""
        ...

    def measure(self) -> Measured | None:
        """Return how it does on what is held out; `None` where nothing is."""
        ...

    def save(self) -> None:
        """Keep the parameters of now in the folder, as what uses them reads them."""
        ...


class Loop:
    """A training that runs in `folder`. Of the settings it knows those of time and pace. Its state says how
    far it is; weights and moments are the optimizer's."""

    def __init__(
        self,
        settings: TrainSettings,
        learner: Learner,
        steps: Steps,
        folder: RunFolder,
        report: Callable[[Resumed | Stepped | Evaluated], None],
    ) -> None:
        import torch

        self._settings, self._learner, self._folder, self._report = settings, learner, folder, report
        self._steps = steps
        self._optimizer = torch.optim.AdamW(
            list(learner.parameters.values()),
            lr=settings.learning_rate,
            betas=_BETAS,
            weight_decay=settings.weight_decay,
        )
        self._state = Progress()
        self._saved = time.monotonic()
        self._whole = True  # not in the middle of a change of the weights
        per_epoch = max(1, sum(epoch == 0 for epoch, _ in steps))
        self._every = max(1, per_epoch // settings.evaluations)

    def run(self) -> Progress:
        """Take all steps that are left, and return what became of them. The parameters in the folder are then
        those of the best step; of the last where nothing is held out."""
        self._resume()
        try:
            while not self._finished():
                self._step()
                if time.monotonic() - self._saved >= self._settings.save_seconds:
                    self._save()
        except KeyboardInterrupt:
            if self._whole:
                self._save()
            raise
        if self._state.evaluated < 0:
            self._save()
            self._learner.save()
        return self._state

    def _finished(self) -> bool:
        """Measure where it is time to, and return whether the training is over."""
        state, total = self._state, len(self._steps)
        over = state.step >= total
        if state.evaluated < state.step and (state.step % self._every == 0 or over):
            self._evaluate()
        patience = self._settings.patience
        return over or bool(patience and self._state.waited >= patience)

    def _step(self) -> None:
        import torch

        settings, state = self._settings, self._state
        epoch, chosen = self._steps[state.step]
        began = time.monotonic()
        # Chance (dropout) of each step is its own, so that none of it is to be saved.
        torch.manual_seed(_seed(settings.seed, state.step))
        rate = learning_rate(state.step, len(self._steps), settings.learning_rate, settings.warmup)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        learned = self._learner.gradients(chosen)
        values = list(self._learner.parameters.values())
        norm = float(torch.nn.utils.clip_grad_norm_(values, settings.clip))
        if norm != norm or norm == float("inf"):
            raise EngineError(
                f"the training diverged at step {state.step + 1}: the gradient is {norm}",
                "use a smaller `learning_rate`, or `dtype=fp32`",
            )
        self._whole = False
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        loss, tokens, counted = learned.loss, learned.tokens, learned.counted
        seconds = time.monotonic() - began
        fresh = epoch != state.epoch
        self._state = replace(
            state,
            step=state.step + 1,
            epoch=epoch,
            loss_sum=(0.0 if fresh else state.loss_sum) + loss * counted,
            loss_tokens=(0 if fresh else state.loss_tokens) + counted,
            tokens=state.tokens + tokens,
            seconds=state.seconds + seconds,
        )
        self._whole = True
        total = len(self._steps)
        done = Stepped(state.step + 1, total, epoch + 1, loss, rate, norm, tokens, counted, round(seconds, 3))
        self._folder.log(_row(done))
        self._report(done)

    def _evaluate(self) -> None:
        state = self._state
        began = time.monotonic()
        measured = self._learner.measure()
        if measured is None:
            return
        loss, figures = measured.loss, dict(measured.figures)
        best = state.best_loss is None or loss < state.best_loss
        seconds = time.monotonic() - began
        self._state = replace(
            state,
            evaluated=state.step,
            before=loss if state.before is None else state.before,
            best_step=state.step if best else state.best_step,
            best_loss=loss if best else state.best_loss,
            figures_before=figures if state.before is None else state.figures_before,
            figures=figures if best else state.figures,
            waited=0 if best else state.waited + 1,
            seconds=state.seconds + seconds,
        )
        done = Evaluated(state.step, loss, best, round(seconds, 3), figures)
        self._folder.log(_row(done))
        if best:
            # First the state: after a kill between the two the adapter is written again from it.
            self._save()
            self._learner.save()
        self._report(done)

    def _resume(self) -> None:
        """Go on where the state in the folder is; without one, begin."""
        import torch

        saved = self._folder.load()
        if saved is None:
            self._folder.cut_log(self._state)
            return
        self._state, tensors = saved
        with torch.no_grad():
            for name, parameter in self._learner.parameters.items():
                parameter.copy_(tensors[f"weight.{name}"])
                if f"mean.{name}" in tensors:
                    self._optimizer.state[parameter] = {
                        "step": torch.tensor(float(self._state.step)),
                        "exp_avg": tensors[f"mean.{name}"].to(parameter.device),
                        "exp_avg_sq": tensors[f"square.{name}"].to(parameter.device),
                    }
        self._folder.cut_log(self._state)
        if self._state.evaluated >= 0 and self._state.best_step == self._state.step:
            self._learner.save()
        self._report(Resumed(self._state.step, len(self._steps)))

    def _save(self) -> None:
        tensors = {}
        for name, parameter in self._learner.parameters.items():
            tensors[f"weight.{name}"] = parameter.detach()
            if moments := self._optimizer.state.get(parameter):
                tensors[f"mean.{name}"] = moments["exp_avg"]
                tensors[f"square.{name}"] = moments["exp_avg_sq"]
        self._folder.save(self._state, tensors)
        self._saved = time.monotonic()


def _row(event: Stepped | Evaluated) -> dict[str, Any]:
    """Return the line of the log for an event."""
    if isinstance(event, Evaluated):
        return {
            "step": event.step,
            "heldout_loss": event.loss,
            "best": event.best,
            "seconds": event.seconds,
            **event.figures,
        }
    return {name: value for name, value in asdict(event).items() if name != "steps"}


def _seed(seed: int, step: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed} {step}".encode()).digest()[:7], "big")
