"""Which models suit a machine best: for each task, and in what order the catalog is shown."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

from qwen_cli.models.catalog import answers, lookup, published
from qwen_cli.models.hub.resolve import FORMATS, Format
from qwen_cli.models.planning import reasons
from qwen_cli.models.planning.describe import of_model
from qwen_cli.models.planning.hardware import Machine
from qwen_cli.models.planning.plan import FITS, Plan, make, usual_form

# Which model is better at what, best first. Chat, math and vision: by the scores of whatmodel.sh (October
# 2026: hundreds of published benchmark results on one scale), where it has them:
#   Qwen3.8 Flash-Next 73.4, 27B 71.8; Qwen3.5 397B-A17B 69.4; Qwen3.6 27B 68.3; Qwen3.5 27B 67.6;
#   Qwen3.6 35B-A3B 66.8; Qwen3.5 35B-A3B 65.7; Qwen3 235B-A22B thinking 65.7, instruct 64.3; Qwen3-VL
#   235B-A22B 63.2; Qwen3-Next thinking 62.7; Qwen3.5 9B 62.0; Qwen3 30B-A3B thinking 60.2, instruct 60.1;
#   Qwen3.5 4B 60.0; Qwen3-VL 30B-A3B 59.3; Qwen3 30B-A3B 55.3, 4B instruct 55.3, 4B 51.2, 1.7B 44.5.
# Those two of Qwen3.8 whose licences are their own (2.4T-A95B, Flash-Next) are taken by their names alone.
# The others stand by their size among those of their generation. Code: those that fill in the middle, which
# is what `qwen code-fim` asks of a model, within a generation the larger one first.
RANKED: dict[str, tuple[str, ...]] = {
    "chat": (
        "qwen3.8:27b", "qwen3.5:397b-a17b", "qwen3.6:27b", "qwen3.5:122b-a10b", "qwen3.5:27b",
        "qwen3.6:35b-a3b", "qwen3.5:35b-a3b", "qwen3:235b-a22b-instruct-2507", "qwen3-next:80b-a3b-instruct",
        "qwen3.5:9b", "qwen3:30b-a3b-instruct-2507", "qwen3.5:4b", "qwen3:32b", "qwen3:30b-a3b", "qwen3:14b",
        "qwen3:8b", "qwen3:4b-instruct-2507", "qwen3:4b", "qwen3.5:2b", "qwen3:1.7b", "qwen3.5:0.8b",
        "qwen3:0.6b",
    ),
    "code": (
        "qwen3-coder:480b-a35b", "qwen3-coder-next:80b-a3b", "qwen3-coder:30b-a3b", "qwen2.5-coder:32b",
        "qwen2.5-coder:14b", "qwen2.5-coder:7b", "qwen2.5-coder:3b", "qwen2.5-coder:1.5b",
        "qwen2.5-coder:0.5b",
    ),
    "math": (
        "qwen3.8:27b", "qwen3.5:397b-a17b", "qwen3.6:27b", "qwen3.5:122b-a10b", "qwen3.5:27b",
        "qwen3.6:35b-a3b", "qwen3.5:35b-a3b", "qwen3:235b-a22b-thinking-2507", "qwen3-next:80b-a3b-thinking",
        "qwen3.5:9b", "qwen3:30b-a3b-thinking-2507", "qwen3.5:4b", "qwq:32b", "qwen3:32b", "qwen3:30b-a3b",
        "qwen3:14b", "qwen3:8b", "qwen3:4b-thinking-2507", "qwen3:4b", "qwen2.5-math:72b", "qwen2.5-math:7b",
        "qwen2.5-math:1.5b", "qwen3.5:2b", "qwen3:1.7b", "qwen3.5:0.8b", "qwen3:0.6b",
    ),
    "vision": (
        "qwen3.8:27b", "qwen3.5:397b-a17b", "qwen3.6:27b", "qwen3.5:122b-a10b", "qwen3.5:27b",
        "qwen3.6:35b-a3b", "qwen3.5:35b-a3b", "qwen3-vl:235b-a22b-instruct", "qwen3.5:9b",
        "qwen3-vl:32b-instruct", "qwen3.5:4b", "qwen3-vl:30b-a3b-instruct", "qwen3-vl:8b-instruct",
        "qwen3-vl:4b-instruct", "qwen3.5:2b", "qwen3-vl:2b-instruct", "qwen3.5:0.8b",
    ),
}  # fmt: skip


def ranked(task: str) -> list[lookup.Model]:
    """Return the models of `RANKED` for `task`, best first."""
    return [model for name in RANKED[task] if (model := lookup.find(name))]


def ordered(task: str) -> list[lookup.Model]:
    """Return every model that is trained to answer and does `task`, best first: those of `RANKED`, then the
    others, of the newest generation and the largest first."""
    first = ranked(task)
    others = [
        model
        for model in lookup.MODELS
        if task in model.tasks and not model.base and model not in first and published.has_shape(model)
    ]
    return first + sorted(others, key=lambda model: (model.generation, model.parameters), reverse=True)


def suited(task: str, machine: Machine, formats: Collection[Format] = FORMATS) -> Iterator[lookup.Model]:
    """Yield those of `ranked` that are published in one of `formats`, fit `machine` well and write as fast as
    one reads."""
    for model in ranked(task):
        if ("safetensors" in formats or model.gguf_repo) and fits(model, machine, formats) == 0:
            yield model


def fits(model: lookup.Model, machine: Machine, formats: Collection[Format] = FORMATS) -> int:
    """Return how `model` runs on `machine` in the best of `formats`: 0 well and as fast as one reads, 1 well,
    2 somehow, 3 not."""
    described = of_model(model)
    plan = make(described, machine, form=usual_form(described, machine, formats=formats))
    if plan.fit == "well":
        return 0 if plan.bearable else 1
    return 3 if plan.fit == "no" else 2


def best(machine: Machine) -> dict[str, Plan]:
    """Return for each task the best model that fits well and writes as fast as one reads, with its plan,
    which tells why it is none that is better (`Plan.why`)."""
    plans: dict[str, Plan] = {}
    best_plans: dict[str, Plan] = {}
    for task in RANKED:
        better: list[Plan] = []
        for model in ranked(task):
            plan = plans.get(model.name) or make(of_model(model), machine)
            plans[model.name] = plan
            if plan.fit == "well" and plan.bearable:
                best_plans[task] = replace(plan, why=reasons.of_model(better))
                break
            better.append(plan)
    return best_plans


def table(machine: Machine, context: int | None = None) -> list[Plan]:
    """Return every model of the catalog that one talks with: what fits well and is fast enough first, then
    what fits, then the others; the larger before the smaller. `context` in tokens, or as much as each reads.
    """
    plans = [
        make(of_model(model), machine, context=min(context, model.context) if context else None)
        for model in lookup.MODELS
        if not model.base and not answers.silent_task(model) and published.has_shape(model)
    ]
    return sorted(
        plans,
        key=lambda plan: (
            FITS.index(plan.fit) if plan.bearable or plan.fit != "well" else 0.5,
            -plan.parameters,
        ),
    )
