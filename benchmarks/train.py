"""LoRA fine-tuning against a plain script of peft and transformers' Trainer: tokens a second and peak memory.

    python benchmarks/train.py [MODEL] [--steps 4] [--rounds 2] [--rows FILE.jsonl]

Both train the same adapter on the same rows (word problems from a generator, some hundred tokens each) with
the same masks and as many tokens a step, in processes of their own that take turns. The plain script is what
the libraries' documentation shows: a model in bfloat16, batches padded to their longest row, labels of -100.
The first step, in which libraries reserve memory, is not counted. Tokens are those of the rows, without
padding; seconds are also those of the processor, so that other programs on the machine weigh little. Some
eight minutes with the starter on one core.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from processes import median, report

TOKENS = 512  # a step; the plain script gets as many rows as hold about so many


def problems(count: int) -> list[dict[str, Any]]:
    """Word problems in two steps, with their solutions."""
    chance = random.Random(0)
    rows = []
    for _ in range(count):
        boxes, each, given = (chance.randint(low, high) for low, high in ((3, 20), (3, 20), (1, 9)))
        name = chance.choice(["Ann", "Li", "Omar"])
        total = boxes * each
        question = (
            f"{name} has {boxes} boxes with {each} pencils in each of them, and gives {given} to a friend. "
            f"How many pencils does {name} have then? Give the number in \\boxed{{}}."
        )
        answer = (
            f"In the boxes are {boxes} × {each} = {total} pencils. Without the {given} that {name} gives "
            f"away there are {total} − {given} = {total - given}. The answer is \\boxed{{{total - given}}}."
        )
        rows.append(
            {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}
        )
    return rows


def ours(model: str, rows: list[dict[str, Any]], steps: int) -> dict[str, float]:
    """Train with this program."""
    from qwen_cli.tasks.train import Stepped, TrainSettings, train

    marks: list[tuple[float, float, int]] = []

    def tell(event: Any) -> None:
        if isinstance(event, Stepped):
            marks.append((time.process_time(), time.monotonic(), event.tokens))

    with tempfile.TemporaryDirectory() as folder:
        settings = TrainSettings(
            model, Path(folder) / "out", epochs=9, steps=steps, tokens_per_step=TOKENS, heldout=0.0,
            dtype="bf16", save_seconds=1e9,
        )  # fmt: skip
        train(settings, rows, report=tell)
    return figures(marks)


def plain(model: str, rows: list[dict[str, Any]], steps: int) -> dict[str, float]:
    """Train with peft and Trainer."""
    import peft
    import torch
    import transformers

    from qwen_cli.tasks.train import TrainSettings, sequences
    from qwen_cli.tasks.train import rows as forms
    from qwen_cli.tasks.train.base import trainable

    folder = trainable(model).path
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    made = sequences.Template(tokenizer, "plain").prepare(forms.chats(rows), 2_048).sequences
    data = [{"input_ids": one.ids.tolist(), "attention_mask": [1] * len(one),
             "labels": [i if c else -100 for i, c in zip(one.ids.tolist(), one.counts, strict=True)]}
            for one in made]  # fmt: skip
    at_once = max(1, TOKENS * len(made) // sum(map(len, made)))
    settings = TrainSettings(model, Path())
    network = peft.get_peft_model(
        transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16),
        peft.LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,
            target_modules=list(settings.targets),
            task_type="CAUSAL_LM",
        ),
    )
    marks: list[tuple[float, float, int]] = []
    lengths: list[int] = []
    collate = transformers.DataCollatorForSeq2Seq(tokenizer, padding=True)

    def collated(batch: list[dict[str, Any]]) -> Any:
        lengths.append(sum(len(row["input_ids"]) for row in batch))
        return collate(batch)

    class Mark(transformers.TrainerCallback):
        def on_step_end(self, *given: Any, **more: Any) -> None:
            marks.append((time.process_time(), time.monotonic(), lengths[len(marks)]))

    with tempfile.TemporaryDirectory() as place:
        arguments = transformers.TrainingArguments(
            place, per_device_train_batch_size=at_once, max_steps=steps, learning_rate=settings.learning_rate,
            lr_scheduler_type="cosine", logging_strategy="no", save_strategy="no", report_to=[], use_cpu=True,
            dataloader_pin_memory=False,
        )  # fmt: skip
        transformers.Trainer(
            network, arguments, train_dataset=data, data_collator=collated, callbacks=[Mark()]
        ).train()
    return figures(marks)


def figures(marks: list[tuple[float, float, int]]) -> dict[str, float]:
    """Tokens a second after the first step, of the processor and of the clock, and the peak memory in MB."""
    tokens = sum(count for *_, count in marks[1:])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    return {
        "processor": tokens / (marks[-1][0] - marks[0][0]),
        "clock": tokens / (marks[-1][1] - marks[0][1]),
        "peak": peak,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", nargs="?", default="starter")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--rows", type=Path)
    parser.add_argument("--side", choices=("ours", "plain"))
    given = parser.parse_args()
    if given.side:
        rows = (
            [json.loads(line) for line in given.rows.read_text().splitlines()] if given.rows else problems(64)
        )
        side = ours if given.side == "ours" else plain
        print(json.dumps(side(given.model, rows, given.steps)))
        return
    runs: dict[str, list[dict[str, float]]] = {"ours": [], "plain": []}
    for _ in range(given.rounds):
        for side_name, seen in runs.items():
            more = ["--rows", str(given.rows)] if given.rows else []
            command = [
                sys.executable,
                "-W",
                "ignore",
                __file__,
                given.model,
                "--steps",
                str(given.steps),
                *more,
            ]
            done = subprocess.run([*command, "--side", side_name], capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(done.stderr)
            seen.append(json.loads(done.stdout.splitlines()[-1]))
            print(f"{side_name}: {seen[-1]}", flush=True)

    def middle(side_name: str, name: str) -> float:
        return median([run[name] for run in runs[side_name]])

    for name, text in (("processor", "of the processor"), ("clock", "of the clock")):
        what = f"training, tokens a second {text}, against peft and Trainer"
        report(what, middle("ours", name), middle("plain", name), "tok/s", "≥ 1.0")
    report("training, peak memory", middle("ours", "peak"), middle("plain", "peak"), "MB", "≤ 1.0")


if __name__ == "__main__":
    main()
