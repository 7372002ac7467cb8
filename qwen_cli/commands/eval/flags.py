"""The flags that benches share, and those of one kind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from qwen_cli.commands.shared import options

ASKING, RESULTS = "How it is asked", "Results"


@dataclass(frozen=True)
class Asked:
    """How a bench is asked, and where its results go."""

    protocol: Annotated[
        str,
        typer.Option(
            "--protocol",
            help="base: raw text as Qwen's scripts write it; lm-eval: as lm-evaluation-harness does; chat: "
            "in conversation; thinking: after thinking; auto: by the kind of model.",
            rich_help_panel=ASKING,
        ),
    ] = "auto"
    shots: Annotated[
        int | None,
        typer.Option(
            "--shots",
            min=0,
            max=64,
            help="Number of worked questions before each one.",
            show_default="the bench's own for raw text, 0 in chat",
            rich_help_panel=ASKING,
        ),
    ] = None
    shots_file: Annotated[
        Path | None,
        typer.Option(
            "--shots-file",
            help="File that worked questions come from; else each subject's first, which are not counted.",
            rich_help_panel=ASKING,
        ),
    ] = None
    samples: Annotated[
        int,
        typer.Option(
            "--samples",
            min=1,
            max=256,
            help="Number of answers to each question, for pass@k and for votes.",
            rich_help_panel=ASKING,
        ),
    ] = 1
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            min=1,
            help="Ask only this many questions, as many of each subject; with --seed they are drawn.",
            rich_help_panel=ASKING,
        ),
    ] = None
    subjects: Annotated[
        list[str] | None,
        typer.Option(
            "--subject", help="Ask only the questions of this subject (repeatable).", rich_help_panel=ASKING
        ),
    ] = None
    revision: Annotated[
        str,
        typer.Option(
            "--revision",
            help="Commit of the data set on the model hub; main is the newest.",
            rich_help_panel=ASKING,
        ),
    ] = "main"
    at_once: Annotated[
        int | None,
        typer.Option(
            "--parallel",
            min=1,
            max=256,
            help="Number of questions asked at the same time.",
            show_default="1, 4 on a server",
            rich_help_panel=ASKING,
        ),
    ] = None
    results: Annotated[
        Path | None,
        typer.Option(
            "--results",
            help="File for the results: append one JSONL row per answer; resumes an interrupted run.",
            rich_help_panel=RESULTS,
        ),
    ] = None
    compare: Annotated[
        str | None,
        typer.Option(
            "--compare",
            help="card: show the figure that the model's makers publish; or a file of --results of another "
            "run.",
            rich_help_panel=RESULTS,
        ),
    ] = None
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot",
            help="PNG file to draw into: shares by subject with their intervals, pass@k.",
            rich_help_panel=RESULTS,
        ),
    ] = None
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print tables in Markdown.", rich_help_panel=RESULTS)
    ] = False
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the figures as one JSON object.", rich_help_panel=RESULTS)
    ] = False


@dataclass(frozen=True)
class Nothing:
    """Of benches that have no flags of their own."""


@dataclass(frozen=True)
class Solving:
    """Of problems."""

    mode: Annotated[
        str,
        typer.Option(
            "--mode",
            help="cot: reason in words; short: in a line or two; tir: write Python, which the sandbox runs. "
            "For chat.",
            rich_help_panel=ASKING,
        ),
    ] = "cot"


@dataclass(frozen=True)
class Scoring:
    """Of questions about pictures."""

    score: Annotated[
        str,
        typer.Option(
            "--score",
            help="exact: the same words; anls: nearly the same (documents); relaxed: numbers within 5 % "
            "(charts).",
            rich_help_panel=ASKING,
        ),
    ] = "exact"


@dataclass(frozen=True)
class Hiding:
    """Of hidden numbers."""

    lengths: Annotated[
        str | None,
        typer.Option(
            "--lengths",
            help="Lengths of the texts in tokens (1024,8192); if not given, doubled from 1024 up to what "
            "the context holds.",
            rich_help_panel=ASKING,
        ),
    ] = None
    depths: Annotated[
        int,
        typer.Option(
            "--depths",
            min=1,
            max=100,
            help="Number of places in the text where a number is hidden.",
            rich_help_panel=ASKING,
        ),
    ] = 5


OWN: dict[str, Any] = {"problem": Solving, "picture": Scoring, "passkey": Hiding}


@dataclass(frozen=True)
class Drawing(options.SamplingOptions):
    """The sampling flags; how much may be written depends on the bench."""

    max_tokens: Annotated[
        int | None,
        options.max_tokens(
            "Maximum length of an answer in tokens; if not given, what the bench's own script has, 32,768 "
            "after thinking. An answer cut there is counted, and told."
        ),
    ] = None
