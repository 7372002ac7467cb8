"""What `auto` takes on the machines that people own: what a user of other programs for local models would get
there, or better."""

from __future__ import annotations

import pytest
from machines import GB, known

from qwen_cli.models.formats.weight_formats import Engine
from qwen_cli.models.planning import plan, ranking
from qwen_cli.models.planning.gpus import Gpu
from qwen_cli.models.planning.hardware import Machine

BOTH: tuple[Engine, ...] = ("llamacpp", "transformers")


def desktop(
    gpu: int, memory: int, bandwidth: float, count: int = 1, engines: tuple[Engine, ...] = BOTH
) -> Machine:
    """A desktop with GPUs of so many GB, and `bandwidth` in GB/s."""
    one = Gpu("GPU", gpu * GB, gpu * GB * 95 // 100, bandwidth * GB)
    free = memory * GB * 9 // 10
    return Machine(
        "desktop", memory * GB, free, 16, 80e9, (one,) * count, measured=True, gpu_engines=frozenset(engines)
    )


def apple(memory: int, bandwidth: float, engines: tuple[Engine, ...] = BOTH) -> Machine:
    gpu = Gpu("Apple GPU", memory * GB, memory * GB * 3 // 4)
    free = memory * GB * 9 // 10
    return Machine(
        "Mac", memory * GB, free, 8, bandwidth * GB, (gpu,),
        measured=True, unified=True, gpu_engines=frozenset(engines),
    )  # fmt: skip


def laptop(memory: int, cores: int = 8, bandwidth: float = 48) -> Machine:
    return Machine("laptop", memory * GB, memory * GB * 9 // 10, cores, bandwidth * GB, measured=True)


OWNED = {
    "8 GB NVIDIA": desktop(8, 16, 272),
    "12 GB NVIDIA": desktop(12, 32, 360),
    "16 GB NVIDIA": desktop(16, 32, 450),
    "24 GB NVIDIA": desktop(24, 64, 1008),
    "48 GB NVIDIA": desktop(48, 64, 768),
    "2 × 24 GB NVIDIA": desktop(24, 64, 1008, 2),
    "16 GB Apple": apple(16, 100),
    "32 GB Apple": apple(32, 150),
    "64 GB Apple": apple(64, 400),
    "16 GB laptop": laptop(16),
    "32 GB laptop": laptop(32),
    "2-core server": laptop(24, 2, 24),
}


@pytest.mark.parametrize(
    ("name", "chat", "code"),
    [
        ("8 GB NVIDIA", "qwen3.5:4b", "qwen2.5-coder:7b"),
        ("12 GB NVIDIA", "qwen3.5:9b", "qwen2.5-coder:7b"),
        ("16 GB NVIDIA", "qwen3.5:9b", "qwen2.5-coder:14b"),
        ("24 GB NVIDIA", "qwen3.8:27b", "qwen3-coder:30b-a3b"),
        ("48 GB NVIDIA", "qwen3.8:27b", "qwen3-coder:30b-a3b"),
        ("2 × 24 GB NVIDIA", "qwen3.8:27b", "qwen3-coder:30b-a3b"),
        ("16 GB Apple", "qwen3.5:9b", "qwen2.5-coder:7b"),
        ("32 GB Apple", "qwen3.5:9b", "qwen3-coder:30b-a3b"),
        ("64 GB Apple", "qwen3.8:27b", "qwen3-coder:30b-a3b"),
        ("16 GB laptop", "qwen3.5:9b", "qwen2.5-coder:7b"),
        ("32 GB laptop", "qwen3.5:9b", "qwen3-coder:30b-a3b"),
        ("2-core server", "qwen3.5:4b", "qwen2.5-coder:7b"),
    ],
)
def test_the_model_where_none_is_named_is_a_gguf_of_four_bits(name: str, chat: str, code: str) -> None:
    best = ranking.best(OWNED[name])
    assert (best["chat"].name, best["code"].name) == (chat, code)
    assert {one.engine for one in best.values()} == {"llamacpp"}
    assert all("Q4_K" in one.form for one in best.values())


@pytest.mark.parametrize(
    ("machine", "model", "form", "fit"),
    [
        (desktop(24, 64, 1008), "qwen3:14b", "Q4_K_M", "well"),
        (desktop(12, 32, 360), "qwen3:8b", "Q4_K_M", "well"),
        (apple(16, 100), "qwen3:8b", "Q4_K_M", "well"),
        (desktop(8, 16, 272), "qwen3:14b", "Q4_K_M", "spills"),  # 14 tokens/s; a smaller one is offered
        # llama.cpp as the package index has it, PyTorch for CUDA.
        (desktop(24, 64, 1008, engines=("transformers",)), "qwen3:8b", "bf16", "well"),
        (desktop(24, 64, 1008, engines=("transformers",)), "qwen3:14b", "4bit", "well"),
        (desktop(24, 64, 1008, engines=("transformers",)), "qwen3.6:35b-a3b", "UD-Q4_K_XL", "well"),
        (desktop(12, 32, 360, engines=("transformers",)), "qwen3:8b", "4bit", "well"),
        (desktop(80, 128, 3000, engines=("transformers",)), "qwen3.8:27b", "bf16", "well"),
        # A driver alone computes nothing.
        (desktop(24, 64, 1008, engines=()), "qwen3:14b", "Q4_K_M", "well"),
        (desktop(24, 64, 1008, engines=("llamacpp",)), "qwen3:14b", "Q4_K_M", "well"),
        # How fast the GPU's memory is nobody knows.
        (desktop(24, 64, 0), "qwen3:14b", "Q4_K_M", "well"),
        (desktop(24, 64, 0, engines=("transformers",)), "qwen3:14b", "4bit", "well"),
    ],
)
def test_a_named_model_comes_in_the_form_that_runs_best(
    machine: Machine, model: str, form: str, fit: str
) -> None:
    made = plan.make(known(model), machine)
    assert (made.form, made.fit) == (form, fit)


@pytest.mark.parametrize(
    ("machine", "model"),
    [
        # How fast the GPU's memory is nobody knows (Vulkan), and the model is partly in main memory.
        (desktop(8, 64, 0, engines=("llamacpp",)), "qwen3:14b"),
        (desktop(12, 64, 0, engines=("llamacpp",)), "qwen3:32b"),
        # It leaves little room on the GPU, while there is plenty for PyTorch in main memory.
        (desktop(8, 256, 60, engines=("llamacpp",)), "qwen3:8b"),
        (desktop(12, 256, 60, engines=("llamacpp",)), "qwen3:14b"),
        (desktop(6, 256, 200, engines=("llamacpp",)), "qwen3:30b-a3b"),
        (apple(8, 100, ("llamacpp",)), "qwen3:8b"),
        (apple(16, 100, ("llamacpp",)), "qwen3:14b"),
    ],
)
def test_pytorch_on_the_processor_is_none_where_llamacpp_computes_on_a_gpu(
    machine: Machine, model: str
) -> None:
    made = plan.make(known(model), machine)
    assert (made.engine, made.form) == ("llamacpp", "Q4_K_M")
    assert made.on.keys() & {"cuda:0", "mps"}


@pytest.mark.parametrize("machine", OWNED.values(), ids=OWNED)
@pytest.mark.parametrize("model", ["qwen3:1.7b", "qwen3:8b", "qwen3:14b", "qwen2.5-coder:7b", "qwen3:32b"])
def test_no_choice_is_slower_than_a_third_of_the_best_that_fits(machine: Machine, model: str) -> None:
    made = plan.make(known(model), machine)
    others = [plan.make(known(model), machine, form=form) for form in ("Q4_K_M", "Q8_0", "bf16", "4bit")]
    fastest = max((one.speed or 0 for one in others if one.fit != "no"), default=0)
    assert made.fit == "no" or (made.speed or 0) * 3 >= fastest


def test_without_a_use_for_the_gpu_an_engine_sees_a_processor() -> None:
    machine = desktop(24, 64, 1008, engines=("transformers",))
    assert machine.seen_by("transformers") is machine
    assert machine.seen_by("llamacpp").gpus == ()
    alone = plan.make(known("qwen3:8b"), laptop(64, 16, 80), form="Q4_K_M")
    made = plan.make(known("qwen3:8b"), machine, form="Q4_K_M")
    assert made.on.keys() == {"cpu"} and made.speed == alone.speed
