"""A command for each bench."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from qwen_cli.commands.eval.flags import OWN, Asked, Drawing, Nothing
from qwen_cli.commands.shared import options

# By name, not from `tasks.eval`: `qwen --help` lists commands without importing what they do.
KINDS = {
    "mmlu": "choice",
    "mmlu-pro": "choice",
    "ceval": "choice",
    "humaneval": "program",
    "mbpp": "program",
    "gsm8k": "problem",
    "math": "problem",
    "aime": "problem",
    "cmath": "problem",
    "passkey": "passkey",
    "vision": "picture",
}
_HELP = {
    "mmlu": "Measure knowledge of 57 subjects with the questions of MMLU, four choices each.",
    "mmlu-pro": "Measure knowledge and reasoning with the questions of MMLU-Pro, ten choices each.",
    "ceval": "Measure knowledge in Chinese with the questions of C-Eval, four choices each.",
    "humaneval": "Measure Python programming with HumanEval or HumanEval+: tests in the sandbox decide.",
    "mbpp": "Measure Python programming with MBPP or MBPP+: tests in the sandbox decide.",
    "gsm8k": "Measure arithmetic in words with the problems of GSM8K.",
    "math": "Measure mathematics with the problems of MATH; from the hub the 500 of MATH-500.",
    "aime": "Measure mathematics with problems of the AIME, or any file of problems and answers.",
    "cmath": "Measure arithmetic in Chinese words with the problems of CMATH.",
    "passkey": "Measure how far back a model finds a number that is hidden in a long text.",
    "vision": "Measure how a model answers questions about your pictures.",
}
_EXAMPLE = {
    "mmlu": "qwen eval mmlu -m qwen3:8b --limit 300",
    "mmlu-pro": "qwen eval mmlu-pro -m qwen3:8b --limit 140 --compare card",
    "ceval": "qwen eval ceval ceval-val.jsonl -m qwen3:8b",
    "humaneval": "qwen eval humaneval -m qwen2.5-coder:7b --compare card",
    "mbpp": "qwen eval mbpp sanitized-mbpp.json -m qwen2.5-coder:7b",
    "gsm8k": "qwen eval gsm8k -m qwen3:4b --limit 200 --mode tir",
    "math": "qwen eval math -m qwen2.5-math:7b --samples 8",
    "aime": "qwen eval aime aime25.jsonl -m qwen3:8b --samples 8",
    "cmath": "qwen eval cmath cmath.jsonl -m qwen3:4b",
    "passkey": "qwen eval passkey -m qwen3:8b --context 32768 --plot passkey.png",
    "vision": "qwen eval vision receipts.jsonl -m qwen3-vl:8b --score anls",
}


def add(app: typer.Typer) -> None:
    """Add a command for each bench to `app`."""
    for name, kind in KINDS.items():
        command = _without_file(name) if kind == "passkey" else _with_file(name)
        own = OWN.get(kind, Nothing)
        command.__annotations__ = {**command.__annotations__, "own": own}
        command.__doc__ = f"{_HELP[name]}\n\n    Examples:\n      {_EXAMPLE[name]}\n    "
        command.__name__ = name.replace("-", "_")
        app.command(name)(options.grouped(command))


def _with_file(name: str) -> Callable[..., None]:
    def command(
        file: Annotated[
            Path | None,
            typer.Argument(
                help="File in the bench's own format (.jsonl, .json, .csv, .parquet); without one it is "
                "fetched from the model hub, where the bench has a place there."
            ),
        ] = None,
        own: Any = None,
        asked: Asked = Asked(),
        drawing: Drawing = Drawing(),
        loading: options.Loading = options.Loading(),
    ) -> None:
        _measure(name, file, own, asked, drawing, loading)

    return command


def _without_file(name: str) -> Callable[..., None]:
    def command(
        own: Any = None,
        asked: Asked = Asked(),
        drawing: Drawing = Drawing(),
        loading: options.Loading = options.Loading(),
    ) -> None:
        _measure(name, None, own, asked, drawing, loading)

    return command


def _measure(
    name: str, file: Path | None, own: Any, asked: Asked, drawing: Drawing, loading: options.Loading
) -> None:
    from qwen_cli.commands.eval import measure, output
    from qwen_cli.tasks.eval.benches import NAMED

    report = measure.measure(NAMED[name], file, asked, measure.own_of(own), drawing, loading)
    output.show(
        report, as_json=asked.as_json, markdown=asked.markdown, compare=asked.compare, plot=asked.plot
    )
