"""llama.cpp in 32 bits, for what is compared token by token with transformers or with other batches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from qwen_cli.engines.llamacpp import load


@contextmanager
def attention() -> Iterator[None]:
    """Let llama.cpp engines that are made meanwhile keep keys and values in f32, without flash attention.

    With it the log-probabilities of the small models are up to 0.007 from those in float64, without 5e-6: two
    tokens of random weights are often nearer to each other than the former.
    """

    def keep(xllamacpp: Any, params: Any, kv: str) -> None:
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(load, "_keep_as", keep)
        yield
