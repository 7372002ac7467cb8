"""`qwen eval mmlu`: what it saves that the shots of a subject are read once.

    python benchmarks/eval_shots.py MMLU.jsonl [--subjects N] [--each N] [--rounds N] [-m MODEL]

The first five questions of each subject are its shots, the next ones are rated by log-probability, as
lm-evaluation-harness does. The other side asks the same questions after the same shots, each in a subject of
its own, called by a number: the prompts differ in their first words, so nothing of the shots is in the cache.
Both are the same command in processes of their own, taking turns; loading is part of both. The bar is ≤ 0.35.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import processes

from qwen_cli.tasks.eval import benches

SHOTS = 5
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--each", type=int, default=12, help="questions of each subject")
    parser.add_argument("--subjects", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("-m", "--model", default="starter")
    asked = parser.parse_args()
    subjects = by_subject(asked.data)[: asked.subjects]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kept = written(
            folder, "kept", [(s, rows[:SHOTS], rows[SHOTS:][: asked.each]) for s, rows in subjects]
        )
        own = [
            (f"{n} {subject}", rows[:SHOTS], [row])
            for subject, rows in subjects
            for n, row in enumerate(rows[SHOTS:][: asked.each], 1)
        ]
        anew = written(folder, "anew", own)
        turn = iter(range(10**6))

        def command(files: tuple[Path, Path]) -> list[str]:
            data, shots = map(str, files)
            results = str(folder / f"{next(turn)}.jsonl")
            return [
                *processes.QWEN, "eval", "mmlu", data, "--shots-file", shots, "--shots", str(SHOTS),
                "--protocol", "lm-eval", "-m", asked.model, "--results", results, "--json",
            ]  # fmt: skip

        ours, peers = [], []
        for _ in range(asked.rounds):
            ours.append(processes.run(command(kept)).last)
            peers.append(processes.run(command(anew)).last)
    questions = sum(len(rows) for _, _, rows in own)
    print(f"{questions} questions, subjects: {len(subjects)}, shots: {SHOTS}, {asked.model}")
    processes.report(
        "shots kept", processes.median(ours) / questions, processes.median(peers) / questions, "s", "≤ 0.35"
    )


def by_subject(path: Path) -> list[tuple[str, list[Row]]]:
    """Return the rows of each subject, as the bench reads them."""
    items = benches.read(benches.NAMED["mmlu"], path).items
    rows = [
        {"subject": one.subject, "question": one.question, "choices": list(one.choices), "answer": one.right}
        for one in sorted(items, key=lambda one: one.subject)
    ]
    return [(subject, list(group)) for subject, group in groupby(rows, key=lambda row: str(row["subject"]))]


def written(
    folder: Path, name: str, subjects: Sequence[tuple[str, Sequence[Row], Sequence[Row]]]
) -> tuple[Path, Path]:
    """Write the questions and the shots of each subject, and return the two files."""
    files = folder / f"{name}.jsonl", folder / f"{name}-shots.jsonl"
    for path, which in zip(files, (2, 1), strict=True):
        lines = [json.dumps({**row, "subject": one[0]}) for one in subjects for row in one[which]]
        path.write_text("\n".join(lines) + "\n")
    return files


if __name__ == "__main__":
    main()
