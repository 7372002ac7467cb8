"""What a conversation keeps in memory: keys and values that grow with it, and states that do not."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cache:
    """The layers of a model by what they keep.

    `full` layers keep all tokens, `sliding` ones at most `window`, `linear` ones (Gated DeltaNet, Qwen3-Next
    and Qwen3.5) a state of constant size: the last `conv_kernel` inputs of `conv_channels` each, and
    `state_values` (value heads × key size × value size).
    """

    full: int
    kv_heads: int
    head_dim: int
    sliding: int = 0
    window: int = 0
    linear: int = 0
    conv_channels: int = 0
    conv_kernel: int = 0
    state_values: int = 0

    def bytes_per_token(self, value_bytes: float = 2) -> int:
        """Bytes that one more token takes while no window is full. `value_bytes` is 2 for f16 and bf16."""
        return int(2 * (self.full + self.sliding) * self.kv_heads * self.head_dim * value_bytes)

    def bytes_at(self, tokens: int, value_bytes: float = 2, *, llamacpp: bool = False) -> int:
        """Bytes after `tokens` tokens of one conversation, with the constant states."""
        kept = self.full * tokens + self.sliding * min(tokens, self.window)
        grown = int(2 * kept * self.kv_heads * self.head_dim * value_bytes)
        return grown + self.constant_bytes(value_bytes, llamacpp=llamacpp)

    def constant_bytes(self, value_bytes: float = 2, *, llamacpp: bool = False) -> int:
        """Bytes of the linear layers' states. transformers keeps convolutions in the model's dtype and
        recurrent states in float32 (`cache_utils.LinearAttentionLayer`); llama.cpp both in float32, and one
        input less (src/llama-hparams.cpp, `n_embd_r` and `n_embd_s`)."""
        inputs = self.conv_channels * (self.conv_kernel - 1 if llamacpp else self.conv_kernel)
        return self.linear * int(inputs * (4 if llamacpp else value_bytes) + 4 * self.state_values)
