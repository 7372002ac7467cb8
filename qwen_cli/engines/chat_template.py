"""What a chat template tells about its model."""

from __future__ import annotations

from typing import Literal


def thinking_mode(template: str) -> Literal["switch", "always"] | None:
    """Whether the model thinks and whether that can be turned off.

    Qwen3's template has the variable `enable_thinking`. Models that always think (QwQ, Qwen3-2507 Thinking)
    open the block in the generation prompt.
    """
    if "enable_thinking" in template:
        return "switch"
    return "always" if r"<|im_start|>assistant\n<think>" in template else None
