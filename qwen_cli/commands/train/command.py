"""`qwen train`: fine-tune a model on chats with LoRA."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from qwen_cli import aliases
from qwen_cli.commands.shared import complete, options
from qwen_cli.commands.shared.output import print_json, say
from qwen_cli.errors import UsageError

ADAPTER, TRAINING, MEASURING, COMPUTING = "Adapter", "Training", "Held-out rows", "Computing"


def _adapter(*names: str, **given: Any) -> Any:
    return typer.Option(*names, rich_help_panel=ADAPTER, **given)


def _training(*names: str, **given: Any) -> Any:
    return typer.Option(*names, rich_help_panel=TRAINING, **given)


def _measuring(*names: str, **given: Any) -> Any:
    return typer.Option(*names, rich_help_panel=MEASURING, **given)


def _computing(*names: str, **given: Any) -> Any:
    return typer.Option(*names, rich_help_panel=COMPUTING, **given)


def train(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Rows to train on (JSONL): chats as messages, prompt and completion, instruction and "
            "output, or conversations.",
        ),
    ],
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            help="Model to train: alias (qwen3:0.6b), hub id or folder of safetensors.",
            autocompletion=complete.models,
            callback=aliases.meant,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            help="Folder for the adapter and its log; the same command resumes a training in it.",
        ),
    ],
    rank: Annotated[int, _adapter("--rank", help="Rank of the adapter's matrices.")] = 16,
    alpha: Annotated[
        float, _adapter("--alpha", help="Scale of the adapter: alpha over rank multiplies it.")
    ] = 32.0,
    dropout: Annotated[float, _adapter("--dropout", help="Share of inputs that a step drops.")] = 0.0,
    targets: Annotated[
        str,
        _adapter("--targets", help="Layers that get an adapter: ends of their names, separated by commas."),
    ] = "q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj",
    start_from: Annotated[
        Path | None, _adapter("--start-from", help="Adapter to train further, with its rank and layers.")
    ] = None,
    epochs: Annotated[int, _training("--epochs", help="Times that all rows are gone through.")] = 2,
    steps: Annotated[
        int | None, _training("--steps", help="Maximum number of steps, whatever the epochs.")
    ] = None,
    tokens_per_step: Annotated[
        int, _training("--tokens-per-step", help="Tokens that a step learns from together.")
    ] = 2_048,
    learning_rate: Annotated[
        float, _training("--learning-rate", "--lr", help="Highest learning rate, which falls to a tenth.")
    ] = 2e-4,
    warmup: Annotated[
        float, _training("--warmup", help="Share of the steps in which the learning rate rises.")
    ] = 0.05,
    weight_decay: Annotated[float, _training("--weight-decay", help="Weight decay of AdamW.")] = 0.0,
    clip: Annotated[float, _training("--clip", help="Norm that gradients are clipped to.")] = 1.0,
    max_length: Annotated[
        int, _training("--max-length", help="Tokens at which rows are cut; how many are is told.")
    ] = 2_048,
    turns: Annotated[
        str,
        _training(
            "--turns",
            help="Turns of the assistant to learn: all, or last (of each row).",
            autocompletion=complete.among("all", "last"),
        ),
    ] = "all",
    seed: Annotated[
        int, _training("--seed", help="Seed of the randomness: the same seed gives the same adapter.")
    ] = 0,
    heldout: Annotated[
        str,
        _measuring(
            "--heldout", help="Rows to measure and not to train on: a share of FILE, or a JSONL file."
        ),
    ] = "0.1",
    evaluations: Annotated[
        int, _measuring("--evaluations", help="How often their loss is measured in an epoch.")
    ] = 4,
    patience: Annotated[
        int,
        _measuring(
            "--patience", help="Stop after so many measurements without a lower loss; 0: go on to the end."
        ),
    ] = 4,
    dtype: Annotated[
        str,
        _computing(
            "--dtype",
            help="Number format of the model: auto, bf16 or fp32; the adapter's is fp32.",
            autocompletion=complete.among("auto", "bf16", "fp32"),
        ),
    ] = "auto",
    checkpointing: Annotated[
        str,
        _computing(
            "--checkpointing",
            help="Compute activations twice to save memory: auto (where it is short), on or off.",
            autocompletion=complete.among("auto", "on", "off"),
        ),
    ] = "auto",
    save_seconds: Annotated[
        float, _computing("--save-seconds", help="Longest time between two states on the disk.", min=0)
    ] = 60.0,
    as_json: options.Json = False,
) -> None:
    """Train a model further on chats with LoRA, and print the folder of the adapter.

    The loss is that of the assistant's tokens. An interrupted training is resumed by the same command.

    Examples:
      qwen train chats.jsonl -m starter --out my-adapter
      qwen train chats.jsonl -m qwen3:0.6b --heldout test.jsonl --out my-adapter
    """
    from qwen_cli.commands.train import output
    from qwen_cli.tasks.train import TrainSettings, rows
    from qwen_cli.tasks.train import train as run

    share, measured = _heldout(heldout)
    settings = TrainSettings(
        model=model,
        out=out,
        rank=rank,
        alpha=alpha,
        dropout=dropout,
        targets=tuple(name.strip() for name in targets.split(",")),
        start_from=start_from,
        epochs=epochs,
        steps=steps,
        tokens_per_step=tokens_per_step,
        learning_rate=learning_rate,
        warmup=warmup,
        weight_decay=weight_decay,
        clip=clip,
        max_length=max_length,
        turns=cast(Any, turns),
        heldout=share,
        evaluations=evaluations,
        patience=patience,
        seed=seed,
        dtype=dtype,
        checkpointing=cast(Any, checkpointing),
        save_seconds=save_seconds,
    )
    settings.check()
    chats = rows.read(file.expanduser())
    held = rows.read(measured) if measured else None
    with output.View() as view:
        result = run(settings, chats, heldout=held, report=view.show, progress=view.progress)
    drawn = output.draw(result.out)
    output.tell(result, drawn)
    if as_json:
        print_json(result.to_json() | {"curve": str(drawn) if drawn else None})
    else:
        typer.echo(str(result.out))
    for line in output.next_steps(result):
        say(line)


def _heldout(text: str) -> tuple[float, Path | None]:
    """Return the share of rows to hold out, or the file that has them. Raises `UsageError`."""
    try:
        share = float(text)
    except ValueError:
        return 0.0, Path(text).expanduser()
    if not 0 <= share < 1:
        raise UsageError(
            f"--heldout must be a share below 1 or a file, got {text}", "such as 0.1, or rows.jsonl"
        )
    return share, None
