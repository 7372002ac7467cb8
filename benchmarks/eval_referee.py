"""`qwen eval mmlu` on both local engines, with lm-evaluation-harness as the referee.

    python benchmarks/eval_referee.py MMLU.jsonl FOLDER --lm-eval PATH [-m MODEL] [--shots 5]

PATH is the program `lm_eval` (`pip install 'lm-eval[api]'`, with transformers beside it). The first questions
of each subject are the shots, all others are asked: by the harness with the template of its own `mmlu` tasks
through `/v1/completions` of `qwen serve` on transformers (llama.cpp rates a prompt token by token, half a
minute a question), by `qwen eval --protocol lm-eval` on llama.cpp and on transformers. Results are kept in
FOLDER, and a run that was interrupted goes on. Bar: the shares within one point of each other.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import processes
import serving

from qwen_cli.models.hub import starter
from qwen_cli.tasks.eval import benches, summary

ENGINES = ("llamacpp", "transformers")
# lm_eval/tasks/mmlu/default/_default_template_yaml and _generate_configs.py of lm-evaluation-harness 0.4.
TASK = """
task: {task}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {test}, dev: {dev}}}}}
test_split: test
fewshot_split: dev
fewshot_config: {{sampler: first_n}}
num_fewshot: {shots}
output_type: multiple_choice
description: "The following are multiple choice questions (with answers) about {subject}.\\n\\n"
doc_to_text: "{{{{question.strip()}}}}\\nA. {{{{choices[0]}}}}\\nB. {{{{choices[1]}}}}\\nC. {{{{choices[2]}}}}\\nD. {{{{choices[3]}}}}\\nAnswer:"
doc_to_choice: ["A", "B", "C", "D"]
doc_to_target: answer
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
"""  # noqa: E501
Row = dict[str, Any]


@dataclass(frozen=True)
class Subject:
    """The questions of one subject: those that are shown, those that are asked."""

    name: str
    shown: Sequence[Row]
    asked: Sequence[Row]

    @property
    def task(self) -> str:
        """Return what the harness calls it."""
        return "referee_" + self.name.replace(" ", "_")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--lm-eval", required=True, type=Path)
    parser.add_argument("-m", "--model", default="starter")
    parser.add_argument("--shots", type=int, default=5)
    asked = parser.parse_args()
    subjects = by_subject(asked.data, asked.shots)
    folder = asked.folder.resolve()
    sides = {"lm-eval, qwen serve": referee(asked.lm_eval.absolute(), subjects, asked, folder / "lm-eval")}
    for engine in ENGINES:
        sides[f"qwen eval, {engine}"] = ours(engine, asked, folder / f"{engine}.jsonl")
    table(sides)


def by_subject(path: Path, shots: int) -> list[Subject]:
    """Return the questions of each subject; the first ones are shown."""
    items = sorted(benches.read(benches.NAMED["mmlu"], path).items, key=lambda one: one.subject)
    made = []
    for name, group in groupby(items, key=lambda one: one.subject):
        rows = [
            {"id": one.id, "question": one.question, "choices": list(one.choices), "answer": one.right}
            for one in group
        ]
        made.append(Subject(name, rows[:shots], rows[shots:]))
    return made


def ours(engine: str, asked: argparse.Namespace, results: Path) -> list[Row]:
    """Return the rows of `qwen eval`."""
    words = [
        "eval",
        "mmlu",
        str(asked.data),
        "-m",
        asked.model,
        "--engine",
        engine,
        "--shots",
        str(asked.shots),
    ]
    processes.run([*processes.QWEN, *words, "--protocol", "lm-eval", "--results", str(results), "--json"])
    return [json.loads(line) for line in results.read_text().splitlines()]


def referee(program: Path, subjects: Sequence[Subject], asked: argparse.Namespace, folder: Path) -> list[Row]:
    """Return rows like ours of what lm-evaluation-harness finds through `qwen serve`."""
    if not list(folder.glob("out/**/samples_*.jsonl")):
        folder.mkdir(parents=True, exist_ok=True)
        for one in subjects:
            describe(one, folder, asked.shots)
        with serving.ours("--engine", "transformers", model=asked.model) as server:
            words = [
                str(program), "--model", "local-completions", "--model_args",
                f"model={asked.model},base_url={server.url}/v1/completions,tokenizer={starter.safetensors_path()}",
                "--include_path", str(folder), "--tasks", ",".join(one.task for one in subjects),
                "--output_path", str(folder / "out"), "--log_samples",
            ]  # fmt: skip
            offline = {"OPENAI_API_KEY": server.key, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
            subprocess.run(words, check=True, env={**os.environ, **offline}, cwd=folder)
    samples = [
        json.loads(line)
        for file in folder.glob("out/**/samples_*.jsonl")
        for line in file.read_text().splitlines()
    ]
    return [{"id": one["doc"]["id"], "subject": "", "sample": 0, "correct": one["acc"]} for one in samples]


def describe(subject: Subject, folder: Path, shots: int) -> None:
    """Write the harness's description of a subject's task, and its questions."""
    files = {}
    for split, rows in (("dev", subject.shown), ("test", subject.asked)):
        files[split] = folder / f"{subject.task}-{split}.jsonl"
        files[split].write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = TASK.format(task=subject.task, subject=subject.name, shots=shots, **files)
    (folder / f"{subject.task}.yaml").write_text(text)


def table(sides: dict[str, list[Row]]) -> None:
    """Print each side beside the referee, over what all have answered."""
    common = set.intersection(*({row["id"] for row in rows} for rows in sides.values()))
    (_, first), *_ = sides.items()
    print("| who asks | right | share | 95 % interval | against the referee, other answers |")
    print("|---|---|---|---|---|")
    for name, all_rows in sides.items():
        rows = [row for row in all_rows if row["id"] in common]
        whole = summary.summarise(rows).whole
        expected = {row["id"]: bool(row["correct"]) for row in first}
        other = sum(expected[row["id"]] != bool(row["correct"]) for row in rows)
        points = 100 * (whole.share - sum(expected[key] for key in common) / len(common))
        print(
            f"| {name} | {round(whole.share * whole.items)} of {whole.items} | {whole.share:.1%} "
            f"| {whole.low:.1%} to {whole.high:.1%} | {points:+.1f} points, {other} |"
        )


if __name__ == "__main__":
    main()
