"""Small random models that hear, from the library's config classes: Qwen3-ASR, Qwen2-Audio, Qwen-Omni's
thinkers."""

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


# After the chat template of Qwen/Qwen2.5-Omni-7B, which Qwen3-Omni's writes with other marks.
_OMNI = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.content is string %}{{ m.content }}"
    "{% else %}{% for c in m.content %}{% if c.type == 'audio' or 'audio' in c %}BEGINPADEND"
    "{% elif 'text' in c %}{{ c.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def omni(folder: Path, generation: str, *, published: bool = False) -> Path:
    """Write the small thinker of a Qwen-Omni of `generation` ("2_5", "3") into `folder` and return it. As
    `published` its tensors and its config have the names that they have in a whole Omni."""
    import transformers

    third = generation == "3"
    marks = ("<|audio_pad|>", "<|audio_start|>", "<|audio_end|>") if third else (
        "<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>"
    )  # fmt: skip
    ears = {
        "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 48, "d_model": 32,
        "output_dim": 64, "num_mel_bins": 128,
    }  # fmt: skip
    eyes = {"depth": 1, "hidden_size": 32, "num_heads": 2, "intermediate_size": 32, "out_hidden_size": 64}
    rope = {"rope_type": "default", "rope_theta": 1_000_000, "mrope_section": [4, 2, 2]}
    text = {**_TEXT, **_ENDS, "rope_parameters": rope}
    if third:
        ears |= {"downsample_hidden_size": 8}
        eyes |= {"deepstack_visual_indexes": [0]}
        text |= {"head_dim": 16, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 48}
    kind = "Qwen3OmniMoeThinker" if third else "Qwen2_5OmniThinker"
    config = getattr(transformers.models, "qwen3_omni_moe" if third else "qwen2_5_omni")
    config = getattr(config, f"{kind}Config")(
        audio_config=ears, vision_config=eyes, text_config=text, tie_word_embeddings=False,
        audio_token_id=IDS[marks[0]], image_token_id=IDS["<|image_pad|>"],
        video_token_id=IDS["<|video_pad|>"], vision_start_token_id=IDS["<|vision_start|>"],
        audio_start_token_id=IDS[marks[1]],
        audio_end_token_id=IDS[marks[2]],
    )  # fmt: skip
    template = _OMNI.replace("BEGIN", marks[1]).replace("PAD", marks[0]).replace("END", marks[2])
    model = getattr(transformers, f"{kind}ForConditionalGeneration")(config)
    _write(model, folder, marks, template, sees=True)
    own = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "patch_size": 16 if third else 14}
    processor = getattr(transformers, "Qwen3OmniMoeProcessor" if third else "Qwen2_5OmniProcessor")(
        image_processor=transformers.Qwen2VLImageProcessor(**own),
        video_processor=transformers.Qwen2VLVideoProcessor(**own),
        feature_extractor=transformers.WhisperFeatureExtractor(feature_size=128, chunk_length=300),
        tokenizer=transformers.AutoTokenizer.from_pretrained(folder),
        chat_template=template,
    )
    processor.save_pretrained(folder)
    if published:
        _as_published(folder, "qwen3_omni_moe" if third else "qwen2_5_omni")
    return folder


def _as_published(folder: Path, model_type: str) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    save_file({f"thinker.{n}": t for n, t in tensors.items()}, folder / "model.safetensors", {"format": "pt"})
    thinker = json.loads((folder / "config.json").read_text())
    whole = {"model_type": model_type, "architectures": ["X"], "thinker_config": thinker}
    (folder / "config.json").write_text(json.dumps(whole))


def _write(
    model: Any, folder: Path, marks: tuple[str, str, str], template: str, *, sees: bool = False
) -> None:
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
    if sees:
        settings |= {"vision_bos_token": "<|vision_start|>", "vision_eos_token": "<|vision_end|>"}
    else:
        for name in ("image_token", "video_token", "vision_start_token", "vision_end_token"):
            del settings[name]
    settings |= dict(zip(("audio_token", "audio_bos_token", "audio_eos_token"), marks, strict=True))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
