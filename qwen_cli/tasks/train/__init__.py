"""Fine-tuning with LoRA: chats in, an adapter out."""

from qwen_cli.tasks.train.run import train
from qwen_cli.tasks.train.settings import (
    Evaluated,
    Event,
    Planned,
    Report,
    Resumed,
    Stepped,
    TrainResult,
    TrainSettings,
)

__all__ = [
    "Evaluated",
    "Event",
    "Planned",
    "Report",
    "Resumed",
    "Stepped",
    "TrainResult",
    "TrainSettings",
    "train",
]
