"""What `auto` takes on the machines that people own: what a user of other programs for local models would get
there, or better."""

from __future__ import annotations

from pathlib import Path

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


TOP = "the best that there is"
ALL_OF_IT = "llama.cpp computes on GPU, which holds all of it"
METAL, PROCESSOR = "llama.cpp computes on Apple GPU", "without a GPU llama.cpp is the fastest"

# For each machine the model for chat, why no better one, the model for code, and why a 14B comes as it does.
CHOICES = {
    "8 GB NVIDIA": (
        "qwen3.5:4b", "qwen3.5:9b is better, but fits in parts alone", "qwen2.5-coder:7b",
        "llama.cpp computes on GPU, and on the processor what that does not hold",
    ),
    "12 GB NVIDIA": (
        "qwen3.5:9b", "qwen3.8:27b is better, but fits in parts alone", "qwen2.5-coder:7b", ALL_OF_IT,
    ),
    "16 GB NVIDIA": (
        "qwen3.5:9b", "qwen3.8:27b is better, but fits in parts alone", "qwen2.5-coder:14b", ALL_OF_IT,
    ),
    "24 GB NVIDIA": ("qwen3.8:27b", TOP, "qwen3-coder:30b-a3b", ALL_OF_IT),
    "48 GB NVIDIA": ("qwen3.8:27b", TOP, "qwen3-coder:30b-a3b", ALL_OF_IT),
    "2 × 24 GB NVIDIA": (
        "qwen3.8:27b", TOP, "qwen3-coder:30b-a3b", "llama.cpp computes on 2 × GPU, which holds all of it",
    ),
    "16 GB Apple": ("qwen3.5:9b", "qwen3.8:27b is better, but does not fit", "qwen2.5-coder:7b", METAL),
    "32 GB Apple": (
        "qwen3.5:9b", "qwen3.8:27b is better, but leaves little memory", "qwen3-coder:30b-a3b", METAL,
    ),
    "64 GB Apple": ("qwen3.8:27b", TOP, "qwen3-coder:30b-a3b", METAL),
    "16 GB laptop": ("qwen3.5:9b", "qwen3.8:27b is better, but does not fit", "qwen2.5-coder:7b", PROCESSOR),
    "32 GB laptop": (
        "qwen3.5:9b", "qwen3.8:27b is better, but writes 2.9 tokens/s", "qwen3-coder:30b-a3b", PROCESSOR,
    ),
    "2-core server": (
        "qwen3.5:4b", "qwen3.5:9b is better, but writes 4.5 tokens/s", "qwen2.5-coder:7b", PROCESSOR,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OWNED)
def test_the_model_where_none_is_named_is_a_gguf_of_four_bits(name: str) -> None:
    best = ranking.best(OWNED[name])
    chat, why, code, why_so = CHOICES[name]
    assert (best["chat"].name, best["chat"].why, best["code"].name) == (chat, why, code)
    assert plan.make(known("qwen3:14b"), OWNED[name]).why == why_so
    assert {one.engine for one in best.values()} == {"llamacpp"}
    assert all("Q4_K" in one.form for one in best.values())


def test_the_page_tells_the_same_reasons() -> None:
    page = (Path(__file__).parents[3] / "docs" / "models.md").read_text("utf-8")
    rows = [
        [cell.strip().replace("`", "") for cell in line.strip("|").split("|")] for line in page.splitlines()
    ]
    told = {row[0]: row[1:] for row in rows if len(row) == 5}
    names = {
        "8 GB NVIDIA": "8 GB NVIDIA, 16 GB of memory",
        "24 GB NVIDIA": "24 GB NVIDIA, two of them, or 48 GB",
        "48 GB NVIDIA": "24 GB NVIDIA, two of them, or 48 GB",
        "2 × 24 GB NVIDIA": "24 GB NVIDIA, two of them, or 48 GB",
        "16 GB laptop": "16 GB laptop, 8 cores",
        "32 GB laptop": "32 GB laptop, 8 cores",
        "2-core server": "24 GB server, 2 cores",
    }
    for name, (chat, why, code, _) in CHOICES.items():
        assert told[names.get(name, name)][:3] == [chat, why, code]


@pytest.mark.parametrize(
    ("machine", "model", "form", "why"),
    [
        (desktop(24, 64, 1008, engines=("transformers",)), "qwen3:8b", "bf16",
         "PyTorch alone computes on GPU, which holds all of it"),
        (desktop(24, 64, 1008, engines=("transformers",)), "qwen3:14b", "4bit",
         "PyTorch alone computes on GPU, which holds it in four bits"),
        (desktop(24, 64, 1008, engines=("transformers",)), "qwen3.6:35b-a3b", "UD-Q4_K_XL",
         "PyTorch alone computes on GPU, where it would not fit or be slower"),
        (desktop(24, 64, 1008, engines=()), "qwen3:14b", "Q4_K_M",
         "nothing that is installed computes on GPU"),
        (desktop(24, 64, 1008), "qwen3.6:35b-a3b", "UD-Q4_K_XL",
         "llama.cpp computes on GPU, with experts of 3 layers in main memory"),
        (desktop(24, 64, 1008, 2), "qwen3:14b", "Q4_K_M",
         "llama.cpp computes on 2 × GPU, which holds all of it"),
    ],
)  # fmt: skip
def test_the_form_has_a_reason_where_there_is_a_choice(
    machine: Machine, model: str, form: str, why: str
) -> None:
    made = plan.make(known(model), machine)
    assert (made.form, made.why) == (form, why)
    assert plan.make(known(model), machine, form=made.form).why == ""  # it was asked for


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
