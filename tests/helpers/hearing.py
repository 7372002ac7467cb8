"""Small random models that hear, from the library's config classes: Qwen3-ASR and Qwen2-Audio."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import small_gguf

_MORE = (
    "<|audio_start|>", "<|audio_end|>", "<|audio_pad|>", "<asr_text>", "<|AUDIO|>",
    "<|audio_bos|>", "<|audio_eos|>",
)  # fmt: skip
IDS = small_gguf.IDS | {token: 1 + max(small_gguf.IDS.values()) + at for at, token in enumerate(_MORE)}
VOCABULARY = 320

# After chat_template.json of Qwen/Qwen3-ASR-1.7B: what the system says, then all sounds; the assistant's
# turn is for a language that is asked for.
RECOGNISES = (
    "{%- set ns = namespace(system='', audio='', said=none) -%}{%- for m in messages -%}"
    "{%- if m.role == 'system' -%}{%- if m.content is string -%}{%- set ns.system = ns.system + m.content -%}"
    "{%- else -%}{%- for c in m.content -%}{%- set ns.system = ns.system + c.text -%}{%- endfor -%}"
    "{%- endif -%}"
    "{%- elif m.role == 'assistant' -%}"
    "{%- set ns.said = m.content if m.content is string else m.content[0].text -%}"
    "{%- elif m.content is not string -%}{%- for c in m.content -%}{%- if c.type == 'audio' -%}"
    "{%- set ns.audio = ns.audio + '<|audio_start|><|audio_pad|><|audio_end|>' -%}{%- endif -%}{%- endfor -%}"
    "{%- endif -%}{%- endfor -%}{{- '<|im_start|>system\\n' + ns.system + '<|im_end|>\\n' -}}"
    "{{- '<|im_start|>user\\n' + ns.audio + '<|im_end|>\\n' -}}"
    "{%- if ns.said is not none -%}{{- '<|im_start|>assistant\\n' + ns.said + '<|im_end|>\\n' -}}"
    "{%- elif add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)
_TEXT = {
    "vocab_size": VOCABULARY, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
}  # fmt: skip
_ENDS = {"eos_token_id": IDS["<|im_end|>"], "pad_token_id": IDS["<|endoftext|>"]}


def recogniser(folder: Path) -> Path:
    """Write a small Qwen3-ASR into `folder` and return it."""
    import transformers

    ears = {
        "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 48, "d_model": 32,
        "output_dim": 64, "downsample_hidden_size": 8,
    }  # fmt: skip
    text = {"model_type": "qwen3", "head_dim": 16, **_TEXT, **_ENDS}
    config = transformers.Qwen3ASRConfig(
        audio_config={"model_type": "qwen3_asr_encoder", **ears}, text_config=text,
        audio_token_id=IDS["<|audio_pad|>"], tie_word_embeddings=False, **_ENDS,
    )  # fmt: skip
    marks = ("<|audio_pad|>", "<|audio_start|>", "<|audio_end|>")
    _write(transformers.Qwen3ASRForConditionalGeneration(config), folder, marks, RECOGNISES)
    processor = transformers.Qwen3ASRProcessor(
        transformers.Qwen3ASRFeatureExtractor(),
        transformers.AutoTokenizer.from_pretrained(folder),
        chat_template=RECOGNISES,
    )
    processor.save_pretrained(folder)
    return folder


def listener(folder: Path) -> Path:
    """Write a small Qwen2-Audio into `folder` and return it."""
    import transformers

    ears = {"encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 48, "d_model": 32}
    config = transformers.Qwen2AudioConfig(
        audio_config={"model_type": "qwen2_audio_encoder", **ears},
        text_config={"model_type": "qwen2", **_TEXT, **_ENDS},
        audio_token_index=IDS["<|AUDIO|>"],
    )
    plain = (
        "{% for m in messages %}{{ m.content }}{% endfor %}"  # the tokenizer's own, which knows of text alone
    )
    marks = ("<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>")
    _write(transformers.Qwen2AudioForConditionalGeneration(config), folder, marks, plain)
    processor = transformers.Qwen2AudioProcessor(
        transformers.WhisperFeatureExtractor(feature_size=128),
        transformers.AutoTokenizer.from_pretrained(folder),
    )
    processor.save_pretrained(folder)
    return folder


def _write(model: Any, folder: Path, marks: tuple[str, str, str], template: str) -> None:
    import torch
    from tokenizers import AddedToken, Tokenizer

    torch.manual_seed(7)
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:  # as large as trained ones, so that the text does not stand still
            torch.nn.init.normal_(parameter, 0, 0.2 if "audio" in name else 0.15)
    with torch.no_grad():  # plain letters alone, as of `small_gguf`
        head = model.get_output_embeddings().weight
        head[94:256] = 0
        head[min(IDS.values()) :] = 0
    for name, value in _ENDS.items():
        setattr(model.generation_config, name, value)
    model.save_pretrained(folder)
    small_gguf._tokenizer(folder, template, marked=False)
    file = folder / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.add_tokens([AddedToken(token, special="<|" in token, normalized=False) for token in _MORE])
    tokenizer.save(str(file))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    for name in ("image_token", "video_token", "vision_start_token", "vision_end_token"):
        del settings[name]
    settings |= dict(zip(("audio_token", "audio_bos_token", "audio_eos_token"), marks, strict=True))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
