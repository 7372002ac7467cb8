"""Small random models of every Qwen architecture in both forms, in a second or two: a folder for transformers
and the GGUF file that we write of it, with the block that drafts and with the eyes.

Their tokenizer knows the 256 bytes, a few pairs of letters and Qwen's special tokens, so that a file has a
megabyte. They say plain letters only: no mark that ends an answer is ever the likeliest, so `max_tokens`
ends it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import small_models

SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
    "<|image_pad|>", "<|video_pad|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>",
    "<|repo_name|>", "<|file_sep|>", "<tool_call>", "</tool_call>", "<think>", "</think>",
)  # fmt: skip
MERGES = ("t h", "i n", "e r", "a n", "o n", "r e", "e n", "o r", "th e", "\u0120 t", "\u0120 a", "in g")
IDS = {token: 256 + len(MERGES) + number for number, token in enumerate(SPECIAL)}
VOCABULARY = 304  # some rows more than there are tokens, as published tables have
_DRAFTING = ("Qwen3Next", "Qwen3_5", "Qwen3_5Moe")


def make(
    architecture: str,
    folder: Path,
    *,
    quant: str = "f32",
    draft: str | None = "random",
    template: str | None = None,
    **fields: Any,
) -> Path:
    """Write such a model into `folder`/model and return the GGUF file of it, `folder`/small-`quant`.gguf; the
    projector of one that sees is beside it.

    `architecture` is one of `small_models.ARCHITECTURES`. `draft` is what the drafting block guesses, where
    the architecture has one: "random" things, or what the model "agrees" with more often than not; `None`
    leaves it out. `fields` go over those of the text model's config.
    """
    from qwen_cli.models.formats import gguf_export

    make_folder(architecture, folder / "model", draft=draft, template=template, **fields)
    return gguf_export.to_gguf(folder / "model", folder / f"small-{quant}.gguf", quant=quant)


def make_folder(
    architecture: str,
    folder: Path,
    *,
    draft: str | None = "random",
    template: str | None = None,
    **fields: Any,
) -> Path:
    """Write the safetensors of such a model into `folder` and return it; see `make`."""
    import torch
    import transformers
    from safetensors.torch import load_file, save_file

    torch.manual_seed(5)
    config = getattr(transformers, f"{architecture}Config")(**_fields(architecture, fields))
    sees = hasattr(config, "vision_config")
    kind = transformers.AutoModelForImageTextToText if sees else transformers.AutoModelForCausalLM
    model = kind.from_config(config, dtype=torch.float32)
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:  # as large as trained ones, so that the text does not stand still
            torch.nn.init.normal_(parameter, 0, 0.15)
        elif "norm" in name or name.endswith(("A_log", "dt_bias", ".bias")):
            torch.nn.init.normal_(parameter, float(parameter.detach().mean()), 0.1)
    if draft == "agrees":
        _quiet(model)
    with torch.no_grad():  # the first 94 of the alphabet are the letters, digits and marks of ASCII
        model.get_output_embeddings().weight[94:256] = 0
        model.get_output_embeddings().weight[min(IDS.values()) :] = 0
    model.generation_config.eos_token_id = IDS["<|im_end|>"]
    model.generation_config.pad_token_id = IDS["<|endoftext|>"]
    model.save_pretrained(folder)
    if architecture in _DRAFTING:
        _publish(folder / "config.json", drafts=int(draft is not None))
    file = folder / "model.safetensors"
    stored = load_file(file)
    if draft and architecture in _DRAFTING:
        save_file(stored | _drafting_block(stored, config, agrees=draft == "agrees"), file, {"format": "pt"})
    if architecture == "Qwen3VLMoe":  # as published: experts × hidden × 2·width, experts × width × hidden
        turned = {n: t.transpose(1, 2).contiguous() for n, t in stored.items() if ".experts." in n}
        save_file(stored | turned, file, {"format": "pt"})
    _tokenizer(folder, template or small_models.SEEING, marked="3_5" in architecture)
    if sees:
        _processor(folder)
    return folder


def _fields(architecture: str, own: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of `small_models`, with the ids of the small tokenizer; untied, for `make_folder`
    silences some outputs."""
    fields = dict(small_models.FIELDS[architecture])
    if "Moe" in architecture:  # no square matrix: transformers tells by the shape how experts are stored
        own = {"moe_intermediate_size": 48} | own
    ids = {"vocab_size": VOCABULARY, "eos_token_id": IDS["<|im_end|>"], "pad_token_id": IDS["<|endoftext|>"]}
    untied = {"tie_word_embeddings": False}
    if "text_config" not in fields:
        return fields | ids | untied | own
    seen = {
        "image_token_id": IDS["<|image_pad|>"],
        "video_token_id": IDS["<|video_pad|>"],
        "vision_start_token_id": IDS["<|vision_start|>"],
        "vision_end_token_id": IDS["<|vision_end|>"],
    }
    return fields | seen | untied | {"text_config": fields["text_config"] | ids | untied | own}


def _publish(path: Path, *, drafts: int) -> None:
    """Add what published config.json files say of hybrids, and transformers leaves out."""
    config = json.loads(path.read_text("utf-8"))
    text = config.get("text_config", config)
    text["full_attention_interval"] = text["layer_types"].index("full_attention") + 1
    text["mtp_num_hidden_layers"] = drafts
    path.write_text(json.dumps(config, indent=2), "utf-8")


def _quiet(model: Any) -> None:
    """Make the layers add little to what a token is: the next token then follows from the last one, most of
    the time."""
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("o_proj.weight", "out_proj.weight", "down_proj.weight", "experts.down_proj")):
                parameter.mul_(0.02)


def _drafting_block(stored: dict[str, Any], config: Any, *, agrees: bool) -> dict[str, Any]:
    """Return the tensors `mtp.*` as Qwen's checkpoints have them: a layer of full attention after `fc`, which
    joins the embedding of the last token and what the model had computed before it."""
    import torch

    text = config.get_text_config()
    hidden = text.hidden_size
    last = max(i for i, kind in enumerate(text.layer_types) if kind == "full_attention")
    mark = f"layers.{last}."
    block = {
        f"mtp.layers.0.{name.partition(mark)[2]}": tensor.clone()
        for name, tensor in stored.items()
        if mark in name and "visual" not in name
    }
    joint = torch.randn(hidden, 2 * hidden) * 0.15
    if agrees:  # the embedding alone decides
        joint = torch.cat([torch.eye(hidden), torch.zeros(hidden, hidden)], dim=1)
    else:
        block = {
            name: torch.randn_like(tensor) * 0.15 if tensor.dim() > 1 else tensor
            for name, tensor in block.items()
        }
    norms = ("pre_fc_norm_embedding", "pre_fc_norm_hidden", "norm")
    final = next(t for n, t in stored.items() if n.endswith("model.norm.weight") or n == "norm.weight")
    return block | {
        "mtp.fc.weight": joint,
        **{f"mtp.{name}.weight": torch.zeros(hidden) for name in norms},
        "mtp.norm.weight": final.clone(),
    }


def _tokenizer(folder: Path, template: str, *, marked: bool) -> None:
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    from qwen_cli.models.formats import gguf_tokenizer

    words = gguf_tokenizer.MARKED_WORDS if marked else gguf_tokenizer.WORDS
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*alphabet, *(merge.replace(" ", "") for merge in MERGES)]
    pairs = [(left, right) for left, right in (merge.split() for merge in MERGES)]
    tokenizer = Tokenizer(models.BPE(vocab={piece: i for i, piece in enumerate(pieces)}, merges=pairs))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(words), behavior="isolated", invert=False),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([AddedToken(token, special="<|" in token, normalized=False) for token in SPECIAL])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "add_bos_token": False,
        "model_max_length": 2048,
        "clean_up_tokenization_spaces": False,
        "chat_template": template,
        "image_token": "<|image_pad|>",
        "video_token": "<|video_pad|>",
        "vision_start_token": "<|vision_start|>",
        "vision_end_token": "<|vision_end|>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), "utf-8")


def _processor(folder: Path) -> None:
    """Write the processor of Qwen3-VL and 3.5: patches of 16, values from -1 to 1."""
    import transformers

    own = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "patch_size": 16}
    edges = {"shortest_edge": 4096, "longest_edge": 65_536}
    processor = transformers.Qwen3VLProcessor(
        image_processor=transformers.Qwen2VLImageProcessor(**own, size=edges),
        tokenizer=transformers.AutoTokenizer.from_pretrained(folder),
        video_processor=transformers.Qwen3VLVideoProcessor(**own),
        chat_template=small_models.SEEING,
    )
    processor.save_pretrained(folder)
