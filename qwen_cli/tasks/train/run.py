"""The training itself: what is prepared before the model is loaded, then step after step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from qwen_cli.errors import UsageError
from qwen_cli.models.formats import lora
from qwen_cli.tasks.train import base, batches, memory, sequences
from qwen_cli.tasks.train import rows as forms
from qwen_cli.tasks.train.folder import Progress, RunFolder
from qwen_cli.tasks.train.loop import Learned, Loop, Measured
from qwen_cli.tasks.train.rows import Chat
from qwen_cli.tasks.train.settings import Planned, Report, TrainResult, TrainSettings

if TYPE_CHECKING:
    from qwen_cli.models.hub.resolve import Weights
    from qwen_cli.models.progress import Progress as OnProgress
    from qwen_cli.tasks.train.compute import Network
    from qwen_cli.tasks.train.sequences import Prepared


def train(
    settings: TrainSettings,
    rows: Sequence[Mapping[str, Any] | Chat],
    *,
    heldout: Sequence[Mapping[str, Any] | Chat] | None = None,
    report: Report = lambda event: None,
    progress: OnProgress | None = None,
) -> TrainResult:
    """Train an adapter on `rows` and return what became of it.

    A row is a chat: `{"messages": [{"role", "content", "reasoning_content", "tool_calls"}], "tools"}`,
    `{"prompt", "completion"}`, `{"instruction", "input", "output"}` or ShareGPT's `{"conversations"}`. The
    loss is that of the assistant's tokens alone; the output of programs in its turns does not count. With
    `heldout`, rows of the same forms, none of `rows` is held out, and those that are in both are left out.

    Where `settings.out` has the state of the same training it goes on with it, and where that was complete
    its result is returned. `report` is called after each step, `progress` while weights are fetched or
    converted. Raises `UsageError` for a row of no known form (by its number), a setting that makes no sense
    and a folder of something else; `ModelError` for weights that cannot be trained or do not fit; all before
    a model is loaded.
    """
    settings.check()
    chats = forms.chats(rows)
    held = forms.chats(heldout, "held-out row") if heldout is not None else None
    folder = RunFolder(settings.out)
    if settings.start_from:
        lora.check(settings.start_from.expanduser())
    weights = base.trainable(settings.model, progress)
    with folder.held():
        prepared = _prepare(settings, chats, held, weights)
        found = folder.begin(prepared.identity, asdict(prepared.plan))
        if found and found.result:
            return TrainResult(**found.result | {"out": folder.path})
        plan = memory.MemoryPlan(**found.plan) if found else prepared.plan
        report(prepared.event(plan))
        from qwen_cli.engines.transformers import load

        with load.quiet():
            learner = _Learner(_network(settings, prepared, plan), prepared, folder)
            state = Loop(settings, learner, prepared.steps, folder, report).run()
        result = _result(state, prepared, folder)
        folder.finish(result.to_json())
        return result


@dataclass(frozen=True)
class _Prepared:
    """All that is known before the model is loaded."""

    weights: Weights
    learned: Prepared
    held: Prepared
    rows: int
    held_rows: int
    repeated: int
    steps: tuple[tuple[int, tuple[int, ...]], ...]
    plan: memory.MemoryPlan
    trained: int
    dtype: str
    identity: dict[str, Any]

    def event(self, plan: memory.MemoryPlan) -> Planned:
        """Return what is told of it."""
        return Planned(
            model=self.weights.label,
            rows=self.rows,
            heldout_rows=self.held_rows,
            sequences=len(self.learned.sequences),
            tokens=self.learned.tokens,
            counted=self.learned.counted,
            split=self.learned.split + self.held.split,
            cut=self.learned.cut + self.held.cut,
            left_out=self.learned.left_out + self.held.left_out,
            repeated=self.repeated,
            longest=max(self.learned.longest, self.held.longest),
            steps=len(self.steps),
            at_once=plan.at_once,
            memory=plan.memory,
            parameters=self.trained,
            checkpointing=plan.recompute,
        )


def _prepare(
    settings: TrainSettings, chats: Sequence[Chat], held: Sequence[Chat] | None, weights: Weights
) -> _Prepared:
    from qwen_cli.engines.transformers import load

    mark = forms.digest(chats, held or ())
    template = sequences.Template(
        load.tokenizer(weights.path, trust_remote_code=False), weights.label, settings.turns
    )
    if held is None:
        chats, held = sequences.parted(chats, settings.heldout, settings.seed)
    measured = template.prepare(held, settings.max_length)
    learned, repeated = sequences.without(template.prepare(chats, settings.max_length), measured)
    if repeated and not learned.sequences:
        raise UsageError("all rows are held out too", "give others with `heldout`, or rows that differ")
    if not learned.sequences:
        raise UsageError(
            f"none of {len(chats):,} rows has an answer within {settings.max_length:,} tokens",
            "raise `max_length`, or give other rows",
        )
    lengths = [len(one) for one in learned.sequences]
    steps = [
        (epoch, tuple(step))
        for epoch in range(settings.epochs)
        for step in batches.epoch(lengths, settings.tokens_per_step, settings.seed, epoch)
    ][: settings.steps]
    dtype = base.number_format(settings.dtype)
    plan, trained = base.fitted(settings, weights, dtype, max(learned.longest, measured.longest))
    identity = settings.deciding() | {
        "dtype": dtype,
        "weights": base.weights_digest(weights.path),
        "data": mark,
        "start_from": base.adapter_digest(settings.start_from) if settings.start_from else None,
    }
    return _Prepared(
        weights, learned, measured, len(chats) + len(held), len(held), repeated, tuple(steps), plan,
        trained, dtype, identity,
    )  # fmt: skip


@dataclass(frozen=True)
class _Learner:
    """An adapter that learns the assistant's turns."""

    network: Network
    prepared: _Prepared
    folder: RunFolder

    @property
    def parameters(self) -> dict[str, Any]:
        """Return the adapter's matrices."""
        return self.network.parameters

    def gradients(self, chosen: Sequence[int]) -> Learned:
        """Add the gradients of the mean loss over the counted tokens of these sequences."""
        learned = [self.prepared.learned.sequences[at] for at in chosen]
        loss = self.network.gradients(learned)
        return Learned(loss, sum(map(len, learned)), sum(int(one.counts.sum()) for one in learned))

    def measure(self) -> Measured | None:
        """Return the mean loss over the counted tokens of the held-out rows."""
        held = self.prepared.held.sequences
        return Measured(self.network.loss(held)) if held else None

    def save(self) -> None:
        """Write the adapter into the folder."""
        label = self.prepared.weights.label
        self.folder.put_adapter(lambda place: base.save_adapter(self.network.adapted, label, place))


def _result(state: Progress, prepared: _Prepared, folder: RunFolder) -> TrainResult:
    measured = bool(prepared.held.sequences)
    return TrainResult(
        out=folder.path,
        model=prepared.weights.label,
        steps=state.step,
        best_step=state.best_step if measured else state.step,
        train_loss=state.loss_sum / max(1, state.loss_tokens),
        heldout_before=state.before,
        heldout_loss=state.best_loss,
        stopped="end" if state.step >= len(prepared.steps) else "patience",
        tokens=state.tokens,
        seconds=round(state.seconds, 1),
    )


def _network(settings: TrainSettings, prepared: _Prepared, plan: memory.MemoryPlan) -> Network:
    """Load the model and put the adapter on it."""
    from qwen_cli.tasks.train.compute import Network

    adapted = base.adapted(settings, prepared.weights, prepared.dtype)
    return Network(adapted, at_once=plan.at_once, recompute=plan.recompute)
