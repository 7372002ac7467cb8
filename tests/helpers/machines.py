"""Machines that are not here, and models as they were published, to plan for."""

from __future__ import annotations

from qwen_cli.models.catalog import lookup
from qwen_cli.models.planning import describe, hardware
from qwen_cli.models.planning.describe import Described
from qwen_cli.models.planning.gpus import Gpu
from qwen_cli.models.planning.hardware import Machine

GB = 10**9


def laptop(memory: int = 24, cores: int = 2) -> Machine:
    free = memory * GB * 9 // 10
    return Machine("laptop", memory * GB, free, cores, hardware.assumed_bandwidth(cores))


def with_gpu(memory: int, count: int = 1) -> Machine:
    gpu = Gpu("GPU", memory * GB, memory * GB * 95 // 100, 1e12)
    return Machine("desktop", 64 * GB, 58 * GB, 16, 80e9, (gpu,) * count, measured=True)


def known(name: str) -> Described:
    model = lookup.find(name)
    assert model
    return describe.of_model(model)
