"""Small models with random weights of each Qwen architecture, and the frequent words of the starter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import small_vocabulary

# After Qwen/Qwen3-8B's tokenizer_config.json: the switch, the empty block where it is off, past thinking
# stripped.
SWITCH = (
    "{%- for m in messages %}{%- set c = m.content %}"
    "{%- if m.role == 'assistant' and '</think>' in c %}{%- set c = c.split('</think>')[-1].lstrip('\\n') %}"
    "{%- endif %}{{- '<|im_start|>' + m.role + '\\n' + c + '<|im_end|>\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}"
    "{%- endif %}{%- endif %}"
)
# After Qwen/Qwen3-4B-Thinking-2507: the generation prompt opens the block.
ALWAYS = (
    "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}"
    "{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n<think>\\n' }}{%- endif %}"
)

# tokenizer_config.json of Qwen/Qwen1.5-7B-Chat.
QWEN15 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

SIZES = {
    "vocab_size": small_vocabulary.SIZE,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "eos_token_id": small_vocabulary.number(151_645),
    "pad_token_id": small_vocabulary.number(151_643),
}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "norm_topk_prob": True}
_VISION = {"depth": 1, "hidden_size": 32, "num_heads": 2, "intermediate_size": 32, "out_hidden_size": 64}
FIELDS: dict[str, dict[str, Any]] = {
    "Qwen2": SIZES,
    "Qwen2Moe": SIZES | _EXPERTS | {"shared_expert_intermediate_size": 48},
    "Qwen3": SIZES | {"head_dim": 32, "tie_word_embeddings": True},
    "Qwen3Moe": SIZES | _EXPERTS | {"head_dim": 32},
    "Qwen3Next": SIZES
    | _EXPERTS
    | {
        "head_dim": 32,
        "shared_expert_intermediate_size": 32,
        "linear_num_value_heads": 4,
        "linear_num_key_heads": 2,
        "linear_key_head_dim": 16,
        "linear_value_head_dim": 16,
        "layer_types": ["linear_attention", "linear_attention", "full_attention"],
    },
    "Qwen2VL": {
        "text_config": SIZES | {"rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3]}},
        "vision_config": {"depth": 1, "embed_dim": 32, "num_heads": 2, "hidden_size": 64, "mlp_ratio": 2},
    },
    "Qwen2_5_VL": {
        "text_config": SIZES | {"rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3]}},
        "vision_config": _VISION,
    },
    "Qwen3VL": {
        "text_config": SIZES
        | {"head_dim": 16, "rope_parameters": {"rope_type": "default", "mrope_section": [4, 2, 2]}},
        "vision_config": _VISION | {"deepstack_visual_indexes": [0]},
    },
}
FIELDS["Qwen3VLMoe"] = {
    "text_config": FIELDS["Qwen3VL"]["text_config"] | _EXPERTS,
    "vision_config": FIELDS["Qwen3VL"]["vision_config"],
}
# Its multimodal rotary embedding turns a quarter of each head (Qwen/Qwen3.5-9B's config.json).
_TURNING = {
    "rope_type": "default",
    "rope_theta": 10_000_000,
    "partial_rotary_factor": 0.25,
    "mrope_section": [2, 1, 1],
}
_THIRD_AND_A_HALF = {
    "text_config": {
        name: value
        for name, value in (FIELDS["Qwen3Next"] | {"rope_parameters": _TURNING}).items()
        if "expert" not in name and name not in _EXPERTS
    },
    "vision_config": _VISION,
    "image_token_id": 151_655,
    "video_token_id": 151_656,
    "vision_start_token_id": 151_652,
    "vision_end_token_id": 151_653,
}
FIELDS["Qwen3_5"] = _THIRD_AND_A_HALF
FIELDS["Qwen3_5Moe"] = _THIRD_AND_A_HALF | {
    "text_config": FIELDS["Qwen3Next"] | {"rope_parameters": _TURNING}
}
ARCHITECTURES = tuple(FIELDS)


def make(architecture: str, folder: Path, starter: Path, template: str | None = None, **fields: Any) -> Path:
    """Save such a model into `folder` and return it. `template` replaces the starter's chat template,
    `fields` go over those of the config."""
    import torch
    import transformers

    config = getattr(transformers, f"{architecture}Config")(**FIELDS[architecture] | fields)
    for name in ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id"):
        if hasattr(config, name):
            setattr(config, name, small_vocabulary.number(getattr(config, name)))
    auto = (
        transformers.AutoModelForImageTextToText
        if hasattr(config, "vision_config")
        else transformers.AutoModelForCausalLM
    )
    torch.manual_seed(3)
    model = auto.from_config(config, dtype=torch.bfloat16)
    for parameter in model.parameters():  # as large as trained ones, so that the text does not stand still
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, 0, 0.15)
    head = model.get_output_embeddings().weight
    if head is not model.get_input_embeddings().weight:  # of so few tokens some would be special by chance
        head.data[small_vocabulary.WORDS :] = 0
    model.generation_config.eos_token_id = SIZES["eos_token_id"]
    model.generation_config.pad_token_id = SIZES["pad_token_id"]
    model.save_pretrained(folder)
    small_vocabulary.write(starter, folder, template)
    return folder


def make_wordy(architecture: str, folder: Path, starter: Path, **fields: Any) -> Path:
    """Such a model whose answers are words and have no end: when they come back in a prompt, it is in the
    tokens that they were written in."""
    import tokenizers
    from safetensors.torch import load_file, save_file

    if architecture in VISUAL:
        make_seeing(architecture, folder, starter)
    else:
        make(architecture, folder, starter, **fields)
    file = folder / "model.safetensors"
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    words = [tokenizer.encode(f" {word}").ids[0] for word in ("the", "of", "and", "in", "to", "for")]
    tensors = load_file(file)
    head = tensors["lm_head.weight"]
    spoken = head[words].clone()
    head.zero_()
    head[words] = spoken
    save_file(tensors, file, {"format": "pt"})
    return folder


def make_endless(folder: Path, starter: Path, *, light: bool = False) -> Path:
    """A GGUF in `folder` that is quick, and never done: no mark that ends an answer is ever the likeliest.
    Long answers cost attention, of which a `light` one has a sixth."""
    from safetensors.torch import load_file, save_file

    from qwen_cli.models.formats import gguf_export

    # Weights that never make two tokens as likely as each other, so that engines agree.
    more = {"max_position_embeddings": 8_192, "intermediate_size": 108}
    if light:
        more |= {"num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1}
    file = make("Qwen2", folder / "model", starter, **more) / "model.safetensors"
    tensors = load_file(file)
    tensors["lm_head.weight"][small_vocabulary.WORDS :] = 0
    save_file(tensors, file, {"format": "pt"})
    return gguf_export.to_gguf(folder / "model", folder / "endless.gguf", quant="f32")


# After the chat_template.json of Qwen/Qwen2.5-VL-7B-Instruct, which Qwen2-VL and Qwen3-VL write alike.
SEEING = (
    "{% for m in messages %}{% if loop.first and m.role != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ m.role }}\n"
    "{% if m.content is string %}{{ m.content }}<|im_end|>\n{% else %}{% for c in m.content %}"
    "{% if c.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif c.type == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% else %}{{ c.text }}{% endif %}{% endfor %}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# preprocessor_config.json of the published models: CLIP's normalisation, patches of 14; Qwen3-VL: halves, 16.
CLIP = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
_HALVES = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
VISUAL = ("Qwen2VL", "Qwen2_5_VL", "Qwen3VL", "Qwen3VLMoe", "Qwen3_5", "Qwen3_5Moe")
# generation_config.json of the published models.
_NEARLY_GREEDY = {"temperature": 0.1, "top_p": 0.001, "top_k": 1, "repetition_penalty": 1.05}
_DRAWN = {"temperature": 0.7, "top_p": 0.8, "top_k": 20, "repetition_penalty": 1.0}


def make_seeing(architecture: str, folder: Path, starter: Path) -> Path:
    """Such a model with the processor and the recommended sampling of its generation."""
    import transformers

    make(architecture, folder, starter, SEEING)
    third = architecture.startswith("Qwen3")
    chosen = transformers.GenerationConfig.from_pretrained(folder)
    chosen.update(do_sample=True, **(_DRAWN if third else _NEARLY_GREEDY))
    chosen.save_pretrained(folder)
    kind = "Qwen3VL" if third else architecture
    own = {**(_HALVES if third else CLIP), "patch_size": 16 if third else 14}
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    edges = (
        {"shortest_edge": 65_536, "longest_edge": 16_777_216}
        if third
        else {"shortest_edge": 3136, "longest_edge": 12_845_056}
    )
    images = transformers.Qwen2VLImageProcessor(**own, size=edges)
    video = getattr(transformers, f"{'Qwen3VL' if third else 'Qwen2VL'}VideoProcessor")(**own)
    processor = getattr(transformers, f"{kind}Processor")(
        image_processor=images, tokenizer=tokenizer, video_processor=video, chat_template=SEEING
    )
    processor.save_pretrained(folder)
    return folder


def make_reward(folder: Path, starter: Path, *, process: bool = True) -> Path:
    """A small Qwen2 with the head of Qwen2.5-Math's reward models, saved as theirs are."""
    import torch
    from safetensors.torch import load_file, save_file

    make("Qwen2", folder, starter)
    for name in ("tokenizer.json", "tokenizer_config.json"):  # as Qwen2.5-Math-PRM-7B names this token
        text = (folder / name).read_text()
        (folder / name).write_text(text.replace("<|quad_end|>", "<extra_0>"))
    tensors = load_file(folder / "model.safetensors")
    width, outputs = SIZES["hidden_size"], 2 if process else 1
    torch.manual_seed(7)
    for layer, shape in ((0, (width, width)), (2, (outputs, width))):
        tensors[f"score.{layer}.weight"] = torch.randn(shape)
        tensors[f"score.{layer}.bias"] = torch.randn(shape[0])
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    named = "Qwen2ForProcessRewardModel" if process else "Qwen2ForRewardModel"
    config = json.loads((folder / "config.json").read_text()) | {"architectures": [named]}
    (folder / "config.json").write_text(json.dumps(config))
    return folder
