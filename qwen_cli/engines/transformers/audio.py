"""What a model hears (Qwen3-ASR, Qwen2-Audio, Qwen-Omni): sounds become features and tokens of a prompt.

The library's own processor says how many tokens a sound is, and its own model encodes it. Ours is when: only
what the KV cache does not hold is encoded.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qwen_cli.engines.core.content import Part
from qwen_cli.engines.parsing.marks import Marks
from qwen_cli.engines.transformers import load
from qwen_cli.engines.transformers.device_map import main_device
from qwen_cli.errors import UsageError
from qwen_cli.media.audio import RATE, Samples

if TYPE_CHECKING:
    import torch

_KEPT = 8  # encoded sounds that are kept for prompts which come back to them
_AT_LEAST = RATE // 10  # samples: shorter ones have no tokens. Silence is put behind them


@dataclass(frozen=True)
class HeardInput:
    """One sound of a prompt. `text` stands for it in the prompt, `key` tells it from any other; `features`
    and `mask` are what the encoder takes (1 × bins × frames, 1 × frames), `tokens` what it makes of them."""

    text: str
    key: int
    tokens: int
    features: torch.Tensor = field(repr=False)
    mask: torch.Tensor = field(repr=False)


class AudioEncoder:
    """The ears of a loaded model. Raises `EngineError` where the folder has no processor."""

    def __init__(self, folder: Path, model: Any) -> None:
        self._processor: Any = load.processor(folder, "audio")
        extractor = self._processor.feature_extractor
        self._model = model
        self._marks = Marks(self._processor.tokenizer.get_added_vocab())
        self._kept: OrderedDict[int, torch.Tensor] = OrderedDict()
        self.chat_template: str | None = self._processor.chat_template
        # Of Qwen2-Audio and Qwen2.5-Omni the extractor reads so much and no more.
        reads_all = type(self._processor).audio_kwargs.get("truncation") is False
        self.most_seconds: float | None = None if reads_all else float(extractor.chunk_length)

    def heard_inputs(self, parts: Sequence[Part]) -> list[HeardInput]:
        """Return the sounds among content parts. Nothing is encoded yet. Raises `UsageError` for one that is
        longer than the model hears, and for pictures."""
        heard = []
        for part in parts:
            if part["type"] == "audio":
                heard.append(self._heard(part["audio"]))
            elif part["type"] != "text":
                raise UsageError("this model hears, and is shown nothing here", "give sounds and text")
        return heard

    def prompt(self, text: str, heard: Sequence[HeardInput]) -> AudioPrompt:
        """Tokenize a rendered prompt with a placeholder for each of `heard`."""
        pieces = self._marks.pieces(text)  # places that are cut are somebody's words
        whole, _ = self._processor.get_text_with_replacements(
            pieces, audio_replacements=[one.text for one in heard]
        )
        ids = self._processor.tokenizer(whole, add_special_tokens=False)["input_ids"]
        flat = [token for piece in ids for token in piece]
        return AudioPrompt(self, self._model, flat, self._processor.audio_token_id, heard)

    def features(self, heard: HeardInput) -> torch.Tensor:
        """Return `heard` encoded (tokens × width), now or before."""
        if heard.key in self._kept:
            self._kept.move_to_end(heard.key)
            return self._kept[heard.key]
        import torch

        device, number = main_device(self._model), self._model.dtype
        with torch.inference_mode():
            encoded = _encoded(self._model, heard.features.to(device, number), heard.mask.to(device))
        self._kept[heard.key] = encoded[: heard.tokens]
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return self._kept[heard.key]

    def forget(self) -> None:
        """Drop what was encoded."""
        self._kept.clear()

    def _heard(self, samples: Samples) -> HeardInput:
        import numpy as np

        if self.most_seconds and len(samples) > self.most_seconds * RATE:
            raise UsageError(
                f"this model hears {self.most_seconds:g} seconds at once, "
                f"the sound has {len(samples) / RATE:.1f}",
                "send it in parts",
            )
        if len(samples) < _AT_LEAST:
            samples = np.pad(samples, (0, _AT_LEAST - len(samples)))
        ways = {"sampling_rate": RATE, **type(self._processor).audio_kwargs, "return_tensors": "pt"}
        made, (text,) = self._processor._process_audio([samples], **ways)
        mask = made["input_features_mask" if "input_features_mask" in made else "feature_attention_mask"]
        digest = hashlib.sha1(samples.tobytes(), usedforsecurity=False).digest()
        # 42 bits, and room below each for as many tokens as a sound can have.
        key = (int.from_bytes(digest[:7], "big") >> 14 << 20) + 1
        return HeardInput(text, key, int(made["num_audio_tokens"][0]), made["input_features"], mask)


class AudioPrompt:
    """A prompt with tokens of sounds. `keys` are its tokens as the KV cache knows them: two sounds never have
    one in common. `delta` is 0: a sound's tokens are counted like those of text."""

    delta = 0

    def __init__(
        self, encoder: AudioEncoder, model: Any, ids: list[int], token: int, heard: Sequence[HeardInput]
    ) -> None:
        self._encoder, self._model, self.ids = encoder, model, ids
        self.keys = list(ids)
        self._runs: list[tuple[int, HeardInput]] = []
        at = 0
        for one in heard:
            at = ids.index(token, at)
            self._runs.append((at, one))
            self.keys[at : at + one.tokens] = range(-one.key, -one.key - one.tokens, -1)
            at += one.tokens

    def inputs(self, start: int, stop: int) -> dict[str, Any]:
        """Return what the language model is given for tokens `start` to `stop`."""
        import torch

        device = main_device(self._model)
        embeds = self._model.get_input_embeddings()(torch.tensor([self.ids[start:stop]]).to(device))
        for begin, one in self._runs:
            first, last = max(begin, start), min(begin + one.tokens, stop)
            if first < last:
                rows = self._encoder.features(one)[first - begin : last - begin]
                embeds[0, first - start : last - start] = rows.to(embeds.device, embeds.dtype)
        return {"inputs_embeds": embeds}


def _encoded(model: Any, features: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return what the encoder and its projector make of a sound (tokens × width, the last may be padding)."""
    inner = model.model
    if hasattr(inner, "get_audio_features"):
        made = inner.get_audio_features(features, mask, return_dict=True)
        projected: torch.Tensor | None = getattr(
            made, "pooler_output", None
        )  # Omni's encoder projects itself
        return made.last_hidden_state if projected is None else projected
    return _encoded_by_whisper(inner, features, mask)


def _encoded_by_whisper(inner: Any, features: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Do what Qwen2-Audio's `forward` does before its language model (transformers, `Qwen2AudioModel`): it
    has no method for it. Frames behind the end of the sound are seen by none."""
    import torch
    from transformers.masking_utils import create_bidirectional_mask

    tower = inner.audio_tower
    frames, _ = tower._get_feat_extract_output_lengths(mask.sum(-1))
    most = (features.shape[-1] - 2) // 2 + 1
    inside = (torch.arange(most, device=features.device)[None] < frames[:, None]).long()
    hidden = create_bidirectional_mask(
        config=tower.config, inputs_embeds=features.new_zeros(1, most, 1), attention_mask=inside
    )
    states: torch.Tensor = inner.multi_modal_projector(
        tower(features, attention_mask=hidden).last_hidden_state
    )
    return states[0]
