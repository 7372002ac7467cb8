"""Which models suit a machine best: for each task, and in what order the catalog is shown."""

from __future__ import annotations

from qwen_cli.models.catalog import lookup
from qwen_cli.models.planning.describe import of_model
from qwen_cli.models.planning.hardware import Machine
from qwen_cli.models.planning.plan import FITS, Plan, make

# Which model is better at what, best first: within a generation the larger one, then the newer generation.
RANKED: dict[str, tuple[str, ...]] = {
    "chat": (
        "qwen3:235b-a22b-instruct-2507", "qwen3-next:80b-a3b-instruct", "qwen3:30b-a3b-instruct-2507",
        "qwen3:32b", "qwen3:30b-a3b", "qwen3:14b", "qwen3:8b", "qwen3:4b-instruct-2507",
        "qwen3:4b", "qwen3:1.7b", "qwen3:0.6b",
    ),
    "code": (
        "qwen3-coder:480b-a35b", "qwen3-coder-next:80b-a3b", "qwen3-coder:30b-a3b", "qwen2.5-coder:32b",
        "qwen2.5-coder:14b", "qwen2.5-coder:7b", "qwen2.5-coder:3b", "qwen2.5-coder:1.5b",
        "qwen2.5-coder:0.5b",
    ),
    "math": (
        "qwen3:235b-a22b-thinking-2507", "qwen3-next:80b-a3b-thinking", "qwq:32b",
        "qwen3:30b-a3b-thinking-2507", "qwen3:30b-a3b", "qwen3:14b", "qwen3:8b", "qwen3:4b-thinking-2507",
        "qwen3:4b", "qwen2.5-math:1.5b", "qwen3:1.7b", "qwen3:0.6b",
    ),
    "vision": (
        "qwen3-vl:235b-a22b-instruct", "qwen3-vl:32b-instruct", "qwen3-vl:30b-a3b-instruct",
        "qwen3-vl:8b-instruct", "qwen3-vl:4b-instruct", "qwen3-vl:2b-instruct",
    ),
}  # fmt: skip


def best(machine: Machine) -> dict[str, Plan]:
    """Return for each task the best model that fits well and writes as fast as one reads, with its plan."""
    best_plans: dict[str, Plan] = {}
    for task, names in RANKED.items():
        for name in names:
            model = lookup.find(name)
            plan = make(of_model(model), machine) if model else None
            if plan and plan.fit == "well" and plan.bearable:
                best_plans[task] = plan
                break
    return best_plans


def table(machine: Machine, context: int | None = None) -> list[Plan]:
    """Return every model of the catalog that one talks with: what fits well and is fast enough first, then
    what fits, then the others; the larger before the smaller. `context` in tokens, or as much as each reads.
    """
    plans = [
        make(of_model(model), machine, context=min(context, model.context) if context else None)
        for model in lookup.MODELS
        if not model.base and "reward" not in model.tasks
    ]
    return sorted(
        plans,
        key=lambda plan: (
            FITS.index(plan.fit) if plan.bearable or plan.fit != "well" else 0.5,
            -plan.parameters,
        ),
    )
