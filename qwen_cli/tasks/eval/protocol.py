"""How a bench is asked: as raw text or in chat, after how many shots, rated or written, drawn how often.

Templates move a score by tens of points (lm-evaluation-harness#3405): every figure is told with its protocol.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from qwen_cli.engines.core.base import Engine, Sampling
from qwen_cli.errors import UsageError
from qwen_cli.models.catalog import lookup

Form: TypeAlias = Literal["base", "lm-eval", "chat", "thinking"]
FORMS: tuple[Form, ...] = ("base", "lm-eval", "chat", "thinking")
_SHOWN: dict[Form, str] = {
    "base": "completion",
    "lm-eval": "completion as lm-eval",
    "chat": "chat",
    "thinking": "chat, thinking",
}
# Qwen2.5-Math draws its samples so (arXiv:2409.12122, section 4).
_DRAWN = Sampling(temperature=0.7, top_p=0.8)
_THOUGHT = 32_768  # tokens that the model cards recommend for thinking


@dataclass(frozen=True)
class Protocol:
    """How every item of a run is asked. `shots` are worked items before it, `samples` answers to each.
    `max_tokens` `None` is the bench's own limit."""

    form: Form
    shots: int
    samples: int = 1
    sampling: Sampling = Sampling()
    thinking: bool | int | None = None

    @property
    def raw(self) -> bool:
        """Return whether items are raw text to be gone on with."""
        return self.form in ("base", "lm-eval")

    def limited(self, tokens: int) -> Sampling:
        """Return the sampling of one answer, of `tokens` where nothing else was said."""
        return self.sampling if self.sampling.max_tokens else replace(self.sampling, max_tokens=tokens)

    def words(self, scored: bool) -> str:
        """Return the protocol for people: "5-shot · completion · log-probability"."""
        drawn = "log-probability" if scored else "greedy" if self.sampling.temperature == 0 else "sampled"
        many = f" · {self.samples} samples" if self.samples > 1 else ""
        return f"{self.shots}-shot · {_SHOWN[self.form]} · {drawn}{many}"

    def settings(self) -> dict[str, Any]:
        """Return what results depend on, as a journal tells it."""
        drawn = {
            f"{name}": value for name, value in vars(self.sampling).items() if value not in (None, (), "")
        }
        return {"protocol": self.form, "shots": self.shots, "samples": self.samples, **drawn}


def choose(
    engine: Engine,
    *,
    wanted: str,
    shots: int | None,
    usual_shots: Mapping[bool, int],
    samples: int,
    sampling: Sampling,
) -> Protocol:
    """Return the protocol for `engine`: the one that its kind of model is measured with, unless another is
    `wanted`. `usual_shots` are those of raw text (true) and of chat. Raises `UsageError`."""
    form = _by_kind(engine) if wanted == "auto" else _known(engine, wanted)
    greedy = samples == 1 and form != "thinking"
    usual = Sampling(temperature=0.0) if greedy else Sampling() if form == "thinking" else _DRAWN
    if form == "thinking":
        usual = replace(usual, max_tokens=_THOUGHT)
    return Protocol(
        form,
        usual_shots[form in ("base", "lm-eval")] if shots is None else shots,
        samples,
        sampling.over(usual),
        {"thinking": True, "chat": False if engine.capabilities.thinking == "switch" else None}.get(form),
    )


def is_base(engine: Engine) -> bool:
    """Return whether the model was trained on text alone, not on conversations."""
    known = lookup.known(engine.model)
    if known is not None:
        return known.base
    named = engine.model.lower()
    return "-base" in named or (not engine.chat_template and engine.capabilities.render)


def _by_kind(engine: Engine) -> Form:
    can = engine.capabilities
    if is_base(engine):
        return "base"
    thinks = can.thinking == "always" or (can.thinking == "switch" and can.thinks_by_default)
    return "thinking" if thinks else "chat"


def _known(engine: Engine, wanted: str) -> Form:
    form = next((form for form in FORMS if form == wanted), None)
    if form is None:
        raise UsageError(f"`protocol` must be auto, {', '.join(FORMS)}, got {wanted!r}")
    if form == "thinking" and not engine.capabilities.may_think:
        raise UsageError(f"{engine.model} does not think", "leave `protocol` out")
    if form == "chat" and engine.capabilities.thinking == "always":
        raise UsageError(f"{engine.model} always thinks", "give `protocol=thinking`")
    return form
