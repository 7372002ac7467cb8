"""The training itself: what is prepared before the model is loaded, then step after step."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qwen_cli.errors import EngineError, ModelError, UsageError
from qwen_cli.models.formats import gguf_vocabulary, lora, parameters, safetensors_header
from qwen_cli.models.hub import resolve, starter
from qwen_cli.tasks.train import batches, memory, sequences
from qwen_cli.tasks.train import rows as forms
from qwen_cli.tasks.train.folder import Progress, RunFolder
from qwen_cli.tasks.train.rows import Chat
from qwen_cli.tasks.train.schedule import learning_rate
from qwen_cli.tasks.train.settings import (
    Evaluated,
    Planned,
    Report,
    Resumed,
    Stepped,
    TrainResult,
    TrainSettings,
)

if TYPE_CHECKING:
    from qwen_cli.models.hub.resolve import Weights
    from qwen_cli.models.progress import Progress as OnProgress
    from qwen_cli.tasks.train.compute import Network
    from qwen_cli.tasks.train.sequences import Prepared

# AdamW's own of torch, and what LoRA is trained with nearly everywhere (https://arxiv.org/abs/2106.09685).
_BETAS = (0.9, 0.999)
_SAMPLES, _SAMPLE = 64, 4_096  # pieces of a weights file, and bytes of each, that tell it from another


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
    weights = trainable(settings.model, progress)
    with folder.held():
        prepared = _prepare(settings, chats, held, weights)
        found = folder.begin(prepared.identity, asdict(prepared.plan))
        if found and found.result:
            return TrainResult(**found.result | {"out": folder.path})
        plan = memory.MemoryPlan(**found.plan) if found else prepared.plan
        report(prepared.event(plan))
        from qwen_cli.engines.transformers import load

        with load.quiet():
            return _Training(settings, prepared, plan, folder, report).run()


def trainable(model: str, progress: OnProgress | None = None) -> Weights:
    """Return the safetensors that `model` names, fetched if they are not here; the starter, which comes as
    GGUF, is converted once. Raises `ModelError` for weights that LoRA cannot be trained on here."""
    from qwen_cli.engines.transformers import embedding
    from qwen_cli.models.formats import gguf_import

    place = resolve.as_path(model)
    if place and place.suffix.lower() == ".gguf":
        raise ModelError(
            f"{place} is GGUF, training needs safetensors", f"run `qwen models convert {place}` once"
        )
    if model == "starter" and not starter.safetensors_path().is_dir():
        gguf_import.to_safetensors(starter.fetch(progress), starter.safetensors_path(), progress=progress)
    weights = resolve.resolve(model, prefer="safetensors", strict=True, progress=progress)
    if gguf_vocabulary.json_of(weights.path / "config.json").get("quantization_config"):
        raise ModelError(f"{weights.label} is quantized, which training here cannot use", "name the original")
    if embedding.is_for(weights.path) or weights.architecture.audio:
        raise ModelError(f"{weights.label} is no model that writes answers", "choose one that chats")
    return weights


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
    dtype = _dtype(settings.dtype)
    plan, trained = _memory(settings, weights, dtype, max(learned.longest, measured.longest))
    identity = settings.deciding() | {
        "dtype": dtype,
        "weights": _weights_digest(weights.path),
        "data": mark,
        "start_from": _adapter_digest(settings.start_from) if settings.start_from else None,
    }
    return _Prepared(
        weights, learned, measured, len(chats) + len(held), len(held), repeated, tuple(steps), plan,
        trained, dtype, identity,
    )  # fmt: skip


def _dtype(name: str) -> str:
    """Return "bf16" or "fp32": what was asked for, or bfloat16 where the device has it in hardware."""
    if name not in ("auto", "bf16", "fp32"):
        raise UsageError(f"`dtype={name}` makes no sense for training", "it must be auto, bf16 or fp32")
    if name != "auto":
        return name
    import torch

    from qwen_cli.engines.transformers import device

    where = device.best_device(torch)
    if where == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    elif where == "cpu":
        known = (torch.cpu._is_avx512_bf16_supported, torch.cpu._is_amx_tile_supported)
        fast = any(ask() for ask in known)
    else:
        fast = False
    return "bf16" if fast else "fp32"


def _memory(
    settings: TrainSettings, weights: Weights, dtype: str, longest: int
) -> tuple[memory.MemoryPlan, int]:
    """Return how the training fits into memory, and how many parameters learn. Raises `ModelError` where it
    does not fit, `UsageError` for targets that the model does not have."""
    import torch

    from qwen_cli.engines.transformers import device, load

    with load.quiet():
        from qwen_cli.tasks.train.compute import logit_bytes  # and peft with it

    where = device.best_device(torch)
    free = load.free_memory(torch.device(where))
    config = gguf_vocabulary.json_of(weights.path / "config.json")
    counted = parameters.count(config, str(weights.path / "config.json"))
    if settings.start_from:
        stored = safetensors_header.read(settings.start_from.expanduser() / lora.WEIGHTS)
        trained = sum(entry.parameters for entry in stored)
    else:
        skeleton = load.skeleton(weights)
        trained = sum(
            settings.rank * (module.in_features + module.out_features)
            for name, module in skeleton.named_modules()
            if _is_target(name, module, settings.targets)
        )
        if not trained:
            raise UsageError(
                f"{weights.label} has no layers that end in {', '.join(settings.targets)}",
                "name some with `targets`, such as q_proj,v_proj",
            )
    size = 2 if dtype == "bf16" else 4
    demand = memory.Demand(
        counted, counted.parameters * size, size, trained, longest, logit_bytes(counted.vocabulary, where)
    )
    return memory.planned(demand, settings, free, where, weights.label), trained


def _is_target(name: str, module: Any, targets: Sequence[str]) -> bool:
    """Return whether an adapter is put at a layer of the model for text: its name ends in a target."""
    ends = name.endswith(tuple(f".{target}" for target in targets))
    return ends and hasattr(module, "in_features") and "visual" not in name.split(".")


class _Training:
    """A training that runs. `state` says how far it is; weights and moments are the optimizer's."""

    def __init__(
        self,
        settings: TrainSettings,
        prepared: _Prepared,
        plan: memory.MemoryPlan,
        folder: RunFolder,
        report: Report,
    ) -> None:
        import torch

        self._settings, self._prepared, self._folder, self._report = settings, prepared, folder, report
        self._network = _network(settings, prepared, plan)
        self._optimizer = torch.optim.AdamW(
            list(self._network.parameters.values()),
            lr=settings.learning_rate,
            betas=_BETAS,
            weight_decay=settings.weight_decay,
        )
        self._state = Progress()
        self._saved = time.monotonic()
        self._whole = True  # not in the middle of a change of the weights
        per_epoch = max(1, sum(epoch == 0 for epoch, _ in prepared.steps))
        self._every = max(1, per_epoch // settings.evaluations)

    def run(self) -> TrainResult:
        """Take all steps that are left, and return the result."""
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
        return self._result()

    def _finished(self) -> bool:
        """Measure where it is time to, and return whether the training is over."""
        state, total = self._state, len(self._prepared.steps)
        over = state.step >= total
        if self._prepared.held.sequences and state.evaluated < state.step:
            due = state.step % self._every == 0 or over
            if due:
                self._evaluate()
        patience = self._settings.patience
        return over or bool(patience and self._state.waited >= patience)

    def _step(self) -> None:
        import torch

        settings, state = self._settings, self._state
        epoch, chosen = self._prepared.steps[state.step]
        learned = [self._prepared.learned.sequences[at] for at in chosen]
        began = time.monotonic()
        # Chance (dropout) of each step is its own, so that none of it is to be saved.
        torch.manual_seed(_seed(settings.seed, state.step))
        rate = learning_rate(state.step, len(self._prepared.steps), settings.learning_rate, settings.warmup)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        loss = self._network.gradients(learned)
        values = list(self._network.parameters.values())
        norm = float(torch.nn.utils.clip_grad_norm_(values, settings.clip))
        if norm != norm or norm == float("inf"):
            raise EngineError(
                f"the training diverged at step {state.step + 1}: the gradient is {norm}",
                "use a smaller `learning_rate`, or `dtype=fp32`",
            )
        self._whole = False
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        tokens, counted = sum(map(len, learned)), sum(int(one.counts.sum()) for one in learned)
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
        total = len(self._prepared.steps)
        done = Stepped(state.step + 1, total, epoch + 1, loss, rate, norm, tokens, counted, round(seconds, 3))
        self._folder.log(_row(done))
        self._report(done)

    def _evaluate(self) -> None:
        state = self._state
        began = time.monotonic()
        loss = self._network.loss(self._prepared.held.sequences)
        best = state.best_loss is None or loss < state.best_loss
        seconds = time.monotonic() - began
        self._state = replace(
            state,
            evaluated=state.step,
            before=loss if state.before is None else state.before,
            best_step=state.step if best else state.best_step,
            best_loss=loss if best else state.best_loss,
            waited=0 if best else state.waited + 1,
            seconds=state.seconds + seconds,
        )
        done = Evaluated(state.step, loss, best, round(seconds, 3))
        self._folder.log(_row(done))
        if best:
            # First the state: after a kill between the two the adapter is written again from it.
            self._save()
            self._put_adapter()
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
            for name, parameter in self._network.parameters.items():
                parameter.copy_(tensors[f"weight.{name}"])
                if f"mean.{name}" in tensors:
                    self._optimizer.state[parameter] = {
                        "step": torch.tensor(float(self._state.step)),
                        "exp_avg": tensors[f"mean.{name}"].to(parameter.device),
                        "exp_avg_sq": tensors[f"square.{name}"].to(parameter.device),
                    }
        self._folder.cut_log(self._state)
        if self._state.evaluated >= 0 and self._state.best_step == self._state.step:
            self._put_adapter()
        self._report(Resumed(self._state.step, len(self._prepared.steps)))

    def _save(self) -> None:
        tensors = {}
        for name, parameter in self._network.parameters.items():
            tensors[f"weight.{name}"] = parameter.detach()
            if moments := self._optimizer.state.get(parameter):
                tensors[f"mean.{name}"] = moments["exp_avg"]
                tensors[f"square.{name}"] = moments["exp_avg_sq"]
        self._folder.save(self._state, tensors)
        self._saved = time.monotonic()

    def _put_adapter(self) -> None:
        label = self._prepared.weights.label
        if place := resolve.as_path(label):
            label = str(place.absolute())  # whoever reads it may be in another folder

        def save(place: Path) -> None:
            adapted = self._network.adapted
            adapted.peft_config["default"].base_model_name_or_path = label
            adapted.save_pretrained(place)

        self._folder.put_adapter(save)

    def _result(self) -> TrainResult:
        state = self._state
        measured = bool(self._prepared.held.sequences)
        if not measured:
            self._save()
            self._put_adapter()
        result = TrainResult(
            out=self._folder.path,
            model=self._prepared.weights.label,
            steps=state.step,
            best_step=state.best_step if measured else state.step,
            train_loss=state.loss_sum / max(1, state.loss_tokens),
            heldout_before=state.before,
            heldout_loss=state.best_loss,
            stopped="end" if state.step >= len(self._prepared.steps) else "patience",
            tokens=state.tokens,
            seconds=round(state.seconds, 1),
        )
        self._folder.finish(result.to_json())
        return result


def _network(settings: TrainSettings, prepared: _Prepared, plan: memory.MemoryPlan) -> Network:
    """Load the model and put the adapter on it."""
    import torch

    from qwen_cli.engines.transformers import adapters, load
    from qwen_cli.tasks.train.compute import Network

    model = load.model(prepared.weights, dtype=prepared.dtype)
    model.requires_grad_(False)
    torch.manual_seed(settings.seed)
    if settings.start_from:
        adapted = adapters.learning(model, settings.start_from.expanduser())
    else:
        from peft import LoraConfig, get_peft_model

        names = [name for name, m in model.named_modules() if _is_target(name, m, settings.targets)]
        config = LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,
            lora_dropout=settings.dropout,
            target_modules=_shortened(names, model, settings.targets),
            task_type="CAUSAL_LM",
        )
        adapted = get_peft_model(model, config)
    return Network(adapted, at_once=plan.at_once, recompute=plan.recompute)


def _shortened(names: Sequence[str], model: Any, targets: Sequence[str]) -> list[str]:
    """Return the ends of names where they mean the same layers as `names`, as other programs know them."""
    meant = [name for name, _ in model.named_modules() if name.endswith(tuple(f".{t}" for t in targets))]
    return list(targets) if meant == list(names) else list(names)


def _row(event: Stepped | Evaluated) -> dict[str, Any]:
    """Return the line of the log for an event."""
    if isinstance(event, Evaluated):
        return {
            "step": event.step,
            "heldout_loss": event.loss,
            "best": event.best,
            "seconds": event.seconds,
        }
    return {name: value for name, value in asdict(event).items() if name != "steps"}


def _seed(seed: int, step: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed} {step}".encode()).digest()[:7], "big")


def _weights_digest(folder: Path) -> str:
    """Return what tells a model from another without reading all of it: its settings and its tokenizer, and
    of each file of weights the size, the begin, the end, and pieces between."""
    mark = hashlib.sha256()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        if (folder / name).is_file():
            mark.update((folder / name).read_bytes())
    for file in sorted(folder.glob("*.safetensors")):
        size = file.stat().st_size
        mark.update(f"{file.name} {size}".encode())
        with file.open("rb") as stored:
            for piece in range(_SAMPLES):
                stored.seek(max(0, size - _SAMPLE) * piece // (_SAMPLES - 1))
                mark.update(stored.read(_SAMPLE))
    return mark.hexdigest()


def _adapter_digest(folder: Path) -> str:
    mark = hashlib.sha256()
    for name in (lora.CONFIG, lora.WEIGHTS):
        mark.update((folder.expanduser() / name).read_bytes())
    return mark.hexdigest()
