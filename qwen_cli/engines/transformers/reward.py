"""Qwen2.5-Math's reward models: how good a solution is, as one number (transformers, safetensors).

The published weights come with their model classes as Python files. Those are Qwen2 with a head of two
layers (github.com/vllm-project/vllm, models/qwen2_rm.py has the same), so they are written down here and no
code that comes with weights is run.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from qwen_cli import sanitize
from qwen_cli.engines.core.prompt import Prompt, joined, plain
from qwen_cli.engines.parsing.marks import Marks
from qwen_cli.engines.transformers import load
from qwen_cli.errors import EngineError, ModelError

if TYPE_CHECKING:
    from qwen_cli.engines.core.base import Message
    from qwen_cli.models.hub.resolve import Weights
    from qwen_cli.models.progress import Progress

# Architecture as config.json names it → outputs of its head.
_OUTPUTS = {"Qwen2ForRewardModel": 1, "Qwen2ForProcessRewardModel": 2}
_STEP = "<extra_0>"  # stands after each step (model card of Qwen2.5-Math-PRM-7B)
_BETWEEN = "\n\n"  # steps, as the same card takes Qwen2.5-Math-Instruct's answers apart


class Reward:
    """A loaded reward model. `process` says that it judges step by step."""

    def __init__(self, weights: Weights, *, dtype: str = "auto") -> None:
        self.model = weights.label
        architecture = _architecture(weights)
        self.process = _OUTPUTS[architecture] == 2
        self._tokenizer = load.tokenizer(weights.path, trust_remote_code=False)
        self._marks = Marks(self._tokenizer.get_added_vocab())
        self._alone = threading.Lock()
        self._step = self._tokenizer.convert_tokens_to_ids(_STEP)
        if self.process and self._step is None:
            raise ModelError(f"the tokenizer of {self.model} has no {_STEP}", "fetch the model again")
        self._model = load.model(weights, dtype=dtype, kind=_kind(architecture))

    def score(self, messages: Sequence[Message], solution: str) -> float:
        """Return how good `solution` is as the answer to `messages`; more is better.

        An outcome reward is a number without bounds, read at the last token. A process reward is the product
        over the steps of the probability that each is right (0 to 1). For several threads. Raises
        `EngineError`.
        """
        with self._alone:
            return self._scored(messages, solution)

    def _scored(self, messages: Sequence[Message], solution: str) -> float:
        if not self.process:
            return self._values(messages, solution)[-1][0]
        steps = [step for step in solution.split(_BETWEEN) if step.strip()] or [solution]
        marked = joined(part for step in steps for part in (plain(step), _STEP))
        return math.prod(1 / (1 + math.exp(no - yes)) for no, yes in self._values(messages, marked))

    def close(self) -> None:
        """Free the weights."""
        self._model = self._tokenizer = None

    def _values(self, messages: Sequence[Message], solution: str) -> list[list[float]]:
        """Return what the head says at every token, or of a process reward at the end of every step."""
        import torch

        turns = [*map(dict, messages), {"role": "assistant", "content": solution}]
        guarded = self._marks.guard(turns)
        text = self._tokenizer.apply_chat_template(
            guarded.messages if guarded else turns, tokenize=False, add_generation_prompt=False
        )
        pieces = self._marks.pieces(guarded.prompt(text) if guarded else Prompt(text))
        tokens = self._tokenizer(pieces, add_special_tokens=False).input_ids
        ids = torch.tensor([[token for piece in tokens for token in piece]])
        try:
            with torch.inference_mode():
                values = self._model(ids.to(self._model.device))[0].float().cpu()
        except (RuntimeError, MemoryError) as fault:
            if load.out_of_memory(fault):
                raise EngineError(f"{self.model} ran out of memory", "use a smaller reward model") from fault
            raise EngineError(f"{self.model} failed: {sanitize.error_line(fault)}") from fault
        if self.process:
            values = values[ids[0] == self._step]
        return values.tolist()


def load_reward(
    model: str,
    *,
    notice: Callable[[str], None] = lambda text: None,
    progress: Progress | None = None,
) -> Reward:
    """Load the reward model that `model` names (`qwen2.5-math-prm`, a hub id, a folder).

    Raises `ModelError`, `DownloadError`, `EngineError`.
    """
    from qwen_cli.models.hub import resolve

    weights = resolve.resolve(model, prefer="safetensors", strict=True, progress=progress)
    loaded = Reward(weights)
    notice(f"{loaded.model} judges {'every step' if loaded.process else 'whole solutions'}")
    return loaded


def _architecture(weights: Weights) -> str:
    try:
        named = json.loads((weights.path / "config.json").read_text(encoding="utf-8"))["architectures"]
    except (OSError, ValueError, KeyError, TypeError) as fault:
        raise ModelError(f"{weights.label} has no readable config.json", "fetch it again") from fault
    known = next((name for name in named if name in _OUTPUTS), None)
    if known is None:
        raise ModelError(
            f"{weights.label} is no reward model, it is a {named[0] if named else 'model of no name'}",
            "use qwen2.5-math-rm:72b or qwen2.5-math-prm:7b",
        )
    return known


def _kind(architecture: str) -> Callable[[Any], Any]:
    """Return a function from a config to the class that the weights are of."""

    def chosen(config: Any) -> Any:
        import torch
        from transformers import Qwen2Model, Qwen2PreTrainedModel

        class Scored(Qwen2PreTrainedModel):
            def __init__(self, config: Any) -> None:
                super().__init__(config)
                width = config.hidden_size
                self.model = Qwen2Model(config)
                self.score = torch.nn.Sequential(
                    torch.nn.Linear(width, width),
                    torch.nn.ReLU(),
                    torch.nn.Linear(width, _OUTPUTS[architecture]),
                )
                self.post_init()

            def forward(self, input_ids: Any) -> Any:
                return self.score(self.model(input_ids=input_ids).last_hidden_state)

        return Scored

    return chosen
