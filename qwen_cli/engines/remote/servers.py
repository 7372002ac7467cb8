"""What the servers that speak OpenAI's protocol take beyond it.

A server names itself in the `owned_by` of the models it lists. The field names are from the servers' own
protocol definitions: vLLM `vllm/entrypoints/openai/chat_completion/protocol.py`, SGLang
`sglang/srt/entrypoints/openai/protocol.py` and `docs/advanced_features/thinking_budget`, TensorRT-LLM
`tensorrt_llm/serve/openai_protocol.py` (which refuses fields that it does not know), llama.cpp
`tools/server/server-schema.cpp`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from qwen_cli.engines.parsing.openai import BUDGET_MESSAGE


@dataclass(frozen=True)
class ServerKind:
    """`extras` maps names of `Sampling` to request fields. `budget` gives the fields that limit thinking.
    `template_kwargs` says that it takes variables of the chat template; the others take
    `reasoning_effort` beside the messages, whose word for not thinking at all is `no_thinking` (`None`:
    not known). `reasoning` is what it calls the thinking of a past turn (`None`: it takes none).
    `tokenize` is the route that counts a text under the body field `text_field`, and `count_messages` the
    one that counts messages; `None` where the server has no such route. `unlimited` says that a completion
    without `max_tokens` runs to the end of the context (elsewhere it stops at 16 tokens). `videos` says that
    it takes `video_url`, and gives the fields that have it look at so many frames. `pictures` are the forms
    of picture files that it reads. `parses` says that it tells thinking apart without being asked to.
    `goes_on` are the fields with which it goes on with a last turn that is the assistant's (`None`: it
    begins a new one, or that is not known).
    """

    name: str
    extras: Mapping[str, str]
    template_kwargs: bool = False
    no_thinking: str | None = None
    reasoning: str | None = None
    budget: Callable[[int], dict[str, Any]] | None = None
    tokenize: str | None = None
    text_field: str = "prompt"
    count_messages: str | None = None
    unlimited: bool = False
    videos: Callable[[int], dict[str, Any]] | None = None
    # What all read that take pictures at all: llama.cpp's stb_image, Ollama's Go decoders, OpenAI's API.
    pictures: tuple[str, ...] = ("jpeg", "png")
    parses: bool = False
    goes_on: Mapping[str, bool] | None = None


_BY_PILLOW = ("jpeg", "png", "webp")
_USUAL = {"top_k": "top_k", "min_p": "min_p", "repetition_penalty": "repetition_penalty"}

OTHER = ServerKind("OpenAI-compatible server", {})
KINDS = {
    "vllm": ServerKind(
        "vLLM",
        _USUAL,
        template_kwargs=True,
        # `_parse_chat_message_content` drops `reasoning_content` (`vllm/entrypoints/chat_utils.py`).
        reasoning="reasoning",
        budget=lambda tokens: {"thinking_token_budget": tokens},
        tokenize="/tokenize",
        count_messages="/tokenize",
        # Without it 32, whatever its length (`vllm/multimodal/media/video.py`).
        videos=lambda frames: {"media_io_kwargs": {"video": {"num_frames": frames}}},
        pictures=_BY_PILLOW,
        goes_on={"continue_final_message": True, "add_generation_prompt": False},
    ),
    "sglang": ServerKind(
        "SGLang",
        _USUAL,
        template_kwargs=True,
        reasoning="reasoning_content",
        budget=lambda tokens: {"custom_params": {"thinking_budget": tokens}},
        tokenize="/tokenize",
        videos=lambda frames: {},  # it takes 2 a second, at most 768 (`multimodal/processors/qwen_vl.py`)
        pictures=_BY_PILLOW,
        goes_on={"continue_final_message": True},
    ),
    "tensorrt_llm": ServerKind(
        "TensorRT-LLM",
        _USUAL,
        template_kwargs=True,
        budget=lambda tokens: {"thinking_token_budget": tokens},
        tokenize="/_internal/tokenize",
        pictures=_BY_PILLOW,
    ),
    "llamacpp": ServerKind(
        "llama.cpp",
        {"top_k": "top_k", "min_p": "min_p", "repetition_penalty": "repeat_penalty"},
        template_kwargs=True,
        reasoning="reasoning_content",
        budget=lambda tokens: {
            "thinking_budget_tokens": tokens,
            "reasoning_budget_message": BUDGET_MESSAGE,
        },
        tokenize="/tokenize",
        text_field="content",
        count_messages="/v1/chat/completions/input_tokens",
        unlimited=True,
        parses=True,
        goes_on={},  # unless it was started with --no-prefill-assistant
    ),
    # `qwen serve` on another machine (`qwen_cli/serve/asked.py`).
    "qwen": ServerKind(
        "qwen serve",
        _USUAL,
        template_kwargs=True,
        reasoning="reasoning_content",
        budget=lambda tokens: {"thinking_token_budget": tokens},
        videos=lambda frames: {},
        pictures=_BY_PILLOW,
        parses=True,
        goes_on={},
    ),
    # They take more than the standard's fields, but say nowhere which of them their models heed.
    "organization_owner": ServerKind("LM Studio", {}),
    "koboldcpp": ServerKind("KoboldCpp", {}),
    "tabbyAPI": ServerKind("TabbyAPI", {}),
    # Ollama: its OpenAI route takes the standard fields alone and ignores the rest (`openai/openai.go`).
    "library": ServerKind(
        "Ollama",
        {},
        no_thinking="none",
        reasoning="reasoning",
        unlimited=True,
        parses=True,
        goes_on={},  # its templates leave the last turn open where it is the assistant's
    ),
}


def context_overflow(message: str, body: Any) -> tuple[int, int] | None:
    """Return (needed, limit) in tokens where a refusal says that the prompt is too long, else `None`."""
    if isinstance(body, Mapping) and "n_prompt_tokens" in body:  # llama.cpp
        return int(body["n_prompt_tokens"]), int(body["n_ctx"])
    if "context length" not in message and "max_num_tokens" not in message:
        return None
    # vLLM: "maximum context length is 4096 tokens. However, you requested 5030 tokens" (also "you passed
    # 5030 input tokens"); SGLang: "The input (5030 tokens) is longer than the model's context length (4096".
    numbers = [int(n) for n in re.findall(r"\d+", message) if len(n) >= 3]
    return (max(numbers), min(numbers)) if len(numbers) >= 2 else (0, 0)
