"""Trains the tiny Qwen2.5-VL of this folder: about an hour on one core.

    python tests/assets/train_tiny_vl.py [--steps N] [--minutes M] [--more]

It learns to name a shape with its colour and place, to box shapes, and to say from when to when a shape is
seen in a video. It stops as soon as it is right in nearly all of a held-out set, or after `--minutes`;
`--more` goes on with the weights that are there, at half the rate.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import time
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "helpers")]
import small_models  # noqa: E402
import tiny_world as world  # noqa: E402

from qwen_cli.tasks.vision import events, grounding  # noqa: E402

FOLDER = HERE / "tiny-qwen2.5-vl"
BATCH = 16
RATE = 2e-3
KINDS = ("name", "box", "time")
NOISE = 0.05  # standard deviation, where pixels have about 1
SPECIAL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>",
    "<|video_pad|>",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--minutes", type=float, default=25.0)
    parser.add_argument("--more", action="store_true")
    asked = parser.parse_args()
    torch.manual_seed(1)
    first, peak = 0, RATE
    if asked.more:
        peak /= 2
        processor = transformers.AutoProcessor.from_pretrained(FOLDER)
        model = transformers.AutoModelForImageTextToText.from_pretrained(FOLDER, dtype=torch.float32).train()
        first = asked.steps  # other examples than before
    else:
        processor = processor_of(tokenizer())
        model = model_of(processor)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(processor.tokenizer)} tokens")
    optimizer = torch.optim.AdamW(model.parameters(), RATE, betas=(0.9, 0.95), weight_decay=0.01)
    started = time.monotonic()
    chance = random.Random(1)
    right = dict.fromkeys(KINDS, 0.0)
    for step in range(asked.steps):
        done = max(step / asked.steps, (time.monotonic() - started) / 60 / asked.minutes)
        if done >= 1:
            break
        rate = peak * min(1, (step + 1) / 100) * (0.05 + 0.95 * (1 + math.cos(math.pi * done)) / 2)
        for group in optimizer.param_groups:
            group["lr"] = rate
        # What is known is practised less.
        (kind,) = chance.choices(KINDS, [1.1 - right[kind] for kind in KINDS])
        inputs, labels = batch(processor, random.Random(2 * (first + step) + 1), kind)
        loss = model(**inputs, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 400 == 399:
            right = {kind: accuracy(model, processor, kind) for kind in KINDS}
            said = ", ".join(f"{kind} {share:.2f}" for kind, share in right.items())
            print(f"{step + 1} loss {loss.item():.3f} {said} {time.monotonic() - started:.0f} s", flush=True)
            if min(right.values()) >= 0.995:
                break
    save(model, processor)


def sample(chance: random.Random, kind: str) -> tuple[list[Any], str, str]:
    """(pictures or a video's frames, question, answer)."""
    if kind == "name":
        one = world.thing(chance)
        return [world.picture(one)], world.WHAT, one.words
    if kind == "box":
        one = world.thing(chance)
        return [world.picture(one)], grounding.prompt(world.EACH, "absolute"), world.boxes(one)
    one = world.thing(chance)
    start = chance.randrange(0, 7)
    end = chance.randrange(start + 1, 9)
    return world.film(one, start, end), events.PROMPT, world.event(one, start, end)


def batch(processor: Any, chance: random.Random, kind: str, size: int = BATCH) -> tuple[dict[str, Any], Any]:
    """Inputs of the model and labels (-100 where nothing is to be learnt), padded on the right."""
    prompts, answers, seen = [], [], []
    for _ in range(size):
        pictures, question, answer = sample(chance, kind)
        prompts.append(rendered(processor, question, "video" if kind == "time" else "image"))
        answers.append(answer + "<|im_end|>")
        seen.append(pictures)
    inputs = encoded(processor, [p + a for p, a in zip(prompts, answers, strict=True)], seen, kind)
    for pixels in inputs.keys() & {"pixel_values", "pixel_values_videos"}:
        # Files are scaled and compressed before a model sees them.
        inputs[pixels] = inputs[pixels] + NOISE * torch.randn_like(inputs[pixels])
    labels = inputs["input_ids"].clone()
    for row, answer in enumerate(answers):
        length = int(inputs["attention_mask"][row].sum())
        taught = len(processor.tokenizer(answer)["input_ids"])
        labels[row, : length - taught] = -100
        labels[row, length:] = -100
    return inputs, labels


def encoded(processor: Any, texts: list[str], seen: list[list[Any]], kind: str) -> dict[str, Any]:
    if kind != "time":
        return dict(
            processor(
                text=texts, images=[[p] for (p,) in seen], padding=True, return_tensors="pt", do_resize=False
            )
        )
    told = transformers.video_utils.VideoMetadata(
        total_num_frames=world.FRAMES, fps=world.FPS, frames_indices=list(range(world.FRAMES))
    )
    return dict(
        processor(
            text=texts,
            videos=seen,
            video_metadata=[told] * len(texts),
            padding=True,
            return_tensors="pt",
            do_resize=False,
            do_sample_frames=False,
            cap_pixels_per_frame=False,
        )
    )


def rendered(processor: Any, question: str, place: str) -> str:
    turn = {"role": "user", "content": [{"type": place}, {"type": "text", "text": question}]}
    return str(processor.apply_chat_template([turn], tokenize=False, add_generation_prompt=True))


def accuracy(model: Any, processor: Any, kind: str, count: int = 48) -> float:
    """Share of answers that a held-out set gets right, word for word, without decoding: each token is the
    likeliest where those before it are right."""
    model.eval()
    with torch.no_grad():
        inputs, labels = batch(processor, random.Random(2), kind, count)
        guessed = model(**inputs).logits[:, :-1].argmax(-1)
    model.train()
    wanted = labels[:, 1:]
    return float(((guessed == wanted) | (wanted == -100)).all(-1).float().mean())


def tokenizer() -> Any:
    """Byte-level BPE as Qwen's, each digit by itself, learnt from what the model is to say and hear."""
    chance = random.Random(1)
    texts = [text for _ in range(300) for kind in KINDS for text in sample(chance, kind)[1:]]
    texts += ["You are a helpful assistant.", "system", "user", "assistant"] * 50
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\p{N}| ?\p{L}+|[^\p{L}\p{N}]"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    made.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=640, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=list(SPECIAL)
        ),
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL[1:]),
        model_max_length=2048,
        padding_side="right",
    )


def processor_of(words: Any) -> Any:
    own = {**small_models.CLIP, "patch_size": 14}
    images = transformers.Qwen2VLImageProcessor(
        **own, size={"shortest_edge": 3136, "longest_edge": 12_845_056}
    )
    return transformers.Qwen2_5_VLProcessor(
        image_processor=images,
        tokenizer=words,
        video_processor=transformers.Qwen2VLVideoProcessor(**own),
        chat_template=small_models.SEEING,
    )


def model_of(processor: Any) -> Any:
    ids = processor.tokenizer.convert_tokens_to_ids
    config = transformers.Qwen2_5_VLConfig(
        text_config={
            "vocab_size": -(-len(processor.tokenizer) // 64) * 64,
            "hidden_size": 128,
            "intermediate_size": 320,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 2048,
            "tie_word_embeddings": True,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [6, 5, 5]},
            "bos_token_id": ids("<|endoftext|>"),
            "eos_token_id": ids("<|im_end|>"),
            "pad_token_id": ids("<|endoftext|>"),
        },
        vision_config={
            "depth": 2,
            "hidden_size": 96,
            "num_heads": 3,
            "intermediate_size": 192,
            "out_hidden_size": 128,
            "fullatt_block_indexes": [1],
            "window_size": 112,
            "tokens_per_second": 2,
        },
        tie_word_embeddings=True,
        image_token_id=ids("<|image_pad|>"),
        video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"),
        vision_end_token_id=ids("<|vision_end|>"),
    )
    model = transformers.AutoModelForImageTextToText.from_config(config, dtype=torch.float32)
    model.generation_config.eos_token_id = ids("<|im_end|>")
    model.generation_config.pad_token_id = ids("<|endoftext|>")
    return model.train()


def save(model: Any, processor: Any) -> None:
    model.to(torch.bfloat16).save_pretrained(FOLDER)
    processor.save_pretrained(FOLDER)
    size = sum(file.stat().st_size for file in FOLDER.iterdir())
    print(json.dumps({"folder": str(FOLDER), "bytes": size}))


if __name__ == "__main__":
    main()
