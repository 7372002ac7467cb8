"""The flags that the stages of `qwen improve` share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from qwen_cli.commands.shared import complete

PROBLEMS, SOLVING, LEARNING, JUDGING, COMPUTING = (
    "Problems",
    "How they are solved",
    "What is learned",
    "How it is judged",
    "Computing",
)

_Rank = Annotated[
    int,
    typer.Option("--rank", min=1, help="Rank of the LoRA adapter.", rich_help_panel=LEARNING),
]
_LearningRate = Annotated[
    float,
    typer.Option("--learning-rate", help="Highest learning rate.", rich_help_panel=LEARNING),
]


@dataclass(frozen=True)
class Making:
    """Which problems are made."""

    families: Annotated[
        str | None,
        typer.Option(
            "--families",
            help="Kinds of problems to make, with exact answers: linear, units, dates, percent, steps (with "
            "commas between them), or all.",
            rich_help_panel=PROBLEMS,
        ),
    ] = None
    count: Annotated[
        int | None,
        typer.Option(
            "--count",
            min=1,
            help="Number of problems that the families make.",
            show_default="120",
            rich_help_panel=PROBLEMS,
        ),
    ] = None
    variants: Annotated[
        str | None,
        typer.Option(
            "--variants",
            help="Ways in which the model changes the given problems: numbers, rephrase, condition, reverse "
            "(with commas between them), or all.",
            rich_help_panel=PROBLEMS,
        ),
    ] = None
    votes: Annotated[
        int | None,
        typer.Option(
            "--votes",
            min=2,
            max=64,
            help="Number of solutions that are asked for the answer of a changed problem.",
            show_default="8",
            rich_help_panel=PROBLEMS,
        ),
    ] = None
    agreement: Annotated[
        float | None,
        typer.Option(
            "--agreement",
            help="Share of the votes that must agree (above 0.5); others are dropped.",
            show_default="0.75",
            rich_help_panel=PROBLEMS,
        ),
    ] = None
    against: Annotated[
        list[Path] | None,
        typer.Option(
            "--against",
            help="File of a benchmark that no problem may be like (repeatable); those that `qwen eval` has "
            "fetched are always compared.",
            rich_help_panel=PROBLEMS,
        ),
    ] = None


@dataclass(frozen=True)
class Drawing:
    """How solutions are asked for."""

    mode: Annotated[
        str,
        typer.Option(
            "--mode",
            help="cot: reason in words; short: in a line or two; tir: write Python, which the sandbox runs.",
            rich_help_panel=SOLVING,
        ),
    ] = "cot"
    temperature: Annotated[
        float,
        typer.Option(
            "--temperature", min=0.0, help="Randomness of these solutions.", rich_help_panel=SOLVING
        ),
    ] = 0.8
    top_p: Annotated[
        float,
        typer.Option(
            "--top-p",
            help="Sample among the likeliest tokens that together have this probability (0 to 1).",
            rich_help_panel=SOLVING,
        ),
    ] = 0.95
    max_tokens: Annotated[
        int,
        typer.Option(
            "--max-tokens",
            min=1,
            help="Maximum length of a solution in tokens; one that is cut is not learned from.",
            rich_help_panel=SOLVING,
        ),
    ] = 1024
    seed: Annotated[
        int,
        typer.Option("--seed", help="Seed of the problems, samples and training.", rich_help_panel=SOLVING),
    ] = 0
    at_once: Annotated[
        int,
        typer.Option(
            "--parallel",
            min=1,
            max=256,
            help="Number of solutions computed at the same time.",
            rich_help_panel=SOLVING,
        ),
    ] = 8


@dataclass(frozen=True)
class Solving(Drawing):
    """How many are drawn, too."""

    samples: Annotated[
        int,
        typer.Option(
            "--samples",
            min=1,
            max=256,
            help="Number of solutions drawn of each problem.",
            rich_help_panel=SOLVING,
        ),
    ] = 8


@dataclass(frozen=True)
class Choosing:
    """Which solutions are learned from."""

    per_problem: Annotated[
        int,
        typer.Option(
            "--per-problem",
            min=1,
            help="Maximum number of solutions of one problem to learn from.",
            rich_help_panel=LEARNING,
        ),
    ] = 4
    most: Annotated[
        int | None,
        typer.Option(
            "--max-rows",
            min=1,
            help="Maximum number of solutions to learn from in all.",
            rich_help_panel=LEARNING,
        ),
    ] = None


@dataclass(frozen=True)
class Learning(Choosing):
    """How it is learned."""

    epochs: Annotated[
        int,
        typer.Option("--epochs", min=1, help="How often each solution is read.", rich_help_panel=LEARNING),
    ] = 2
    rank: _Rank = 16
    learning_rate: _LearningRate = 2e-4


@dataclass(frozen=True)
class Rewarding:
    """How a reward model is trained."""

    epochs: Annotated[
        int,
        typer.Option("--epochs", min=1, help="How often each problem is read.", rich_help_panel=LEARNING),
    ] = 3
    rank: _Rank = 16
    learning_rate: _LearningRate = 2e-4
    problems_per_step: Annotated[
        int,
        typer.Option(
            "--problems-per-step",
            min=1,
            help="Number of problems that a step learns from together.",
            rich_help_panel=LEARNING,
        ),
    ] = 2
    max_length: Annotated[
        int,
        typer.Option(
            "--max-length",
            help="Maximum length of a problem with its solution in tokens; longer ones are left out.",
            rich_help_panel=LEARNING,
        ),
    ] = 2_048
    seed: Annotated[
        int,
        typer.Option(
            "--seed",
            help="Seed of the randomness: the same seed gives the same model.",
            rich_help_panel=LEARNING,
        ),
    ] = 0
    heldout: Annotated[
        float,
        typer.Option(
            "--heldout",
            help="Share of the problems to measure and not to train on; one at least.",
            rich_help_panel=JUDGING,
        ),
    ] = 0.2
    evaluations: Annotated[
        int,
        typer.Option(
            "--evaluations", min=1, help="How often they are measured in an epoch.", rich_help_panel=JUDGING
        ),
    ] = 2
    patience: Annotated[
        int,
        typer.Option(
            "--patience",
            min=0,
            help="Stop after so many measurements without a lower loss; 0: go on to the end.",
            rich_help_panel=JUDGING,
        ),
    ] = 4
    dtype: Annotated[
        str,
        typer.Option(
            "--dtype",
            help="Number format of the model: auto, bf16 or fp32; adapter and head are fp32.",
            autocompletion=complete.among("auto", "bf16", "fp32"),
            rich_help_panel=COMPUTING,
        ),
    ] = "auto"
    checkpointing: Annotated[
        str,
        typer.Option(
            "--checkpointing",
            help="Compute activations twice to save memory: auto (where it is short), on or off.",
            autocompletion=complete.among("auto", "on", "off"),
            rich_help_panel=COMPUTING,
        ),
    ] = "auto"
    save_seconds: Annotated[
        float,
        typer.Option(
            "--save-seconds",
            min=0,
            help="Longest time between two states on the disk.",
            rich_help_panel=COMPUTING,
        ),
    ] = 60.0
