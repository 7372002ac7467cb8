"""Which parsers take thinking and tool calls out of the text of each generation.

From the model cards, vLLM's "Reasoning Outputs" and "Tool Calling", and SGLang's "Reasoning Parser" and "Tool
Parser". A model that is not known has none named for it: the engine's default stands.
"""

from __future__ import annotations

from qwen_cli.launch.target import EngineName
from qwen_cli.models.catalog import Model


def reasoning(model: Model | None, engine: EngineName) -> str | None:
    """The parser for what `model` thinks; `None` where it does not think."""
    if model is None or model.thinking is None:
        return None
    if model.family == "qwq":  # its template opens <think> as DeepSeek-R1's does
        return "deepseek_r1" if engine == "vllm" else "deepseek-r1"
    if engine == "sglang" and model.thinking == "always":
        return "qwen3-thinking"
    return "qwen3"


def tools(model: Model | None, engine: EngineName) -> str | None:
    """The parser for the tool calls of `model`; `None` where its template has no tools."""
    if model is None or model.base or not {"chat", "code"} & set(model.tasks):
        return None
    if model.family.startswith("qwen3-coder"):
        return "qwen3_coder"  # <function=…><parameter=…>
    if model.generation not in ("2.5", "3") or (model.vision and model.generation == "2.5"):
        return None
    return "hermes" if engine == "vllm" else "qwen"
