"""What `qwen train` shows: what is about to be trained, the curve while it runs, what became of it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from qwen_cli import install_hint
from qwen_cli.commands.shared.output import relay, say
from qwen_cli.models.sizes import gb
from qwen_cli.tasks.train.folder import RunFolder
from qwen_cli.tasks.train.settings import Evaluated, Event, Planned, Resumed, Stepped, TrainResult
from qwen_cli.ui.progress import Waiting
from qwen_cli.ui.terminal import draws

if TYPE_CHECKING:
    from rich.live import Live

CURVE = "curve.png"
_LINES = 40  # of a whole training, where stderr is no terminal
_WIDTH, _HEIGHT = 60, 8  # of the curve on a terminal, in characters


class View:
    """What a person sees of a training, on stderr: a curve that grows on a terminal, elsewhere some lines."""

    def __init__(self) -> None:
        self._waiting: Waiting | None = Waiting("preparing …", relay)
        self._live: Live | None = None
        self._terminal = draws()
        self._losses: list[tuple[int, float]] = []
        self._heldout: list[tuple[int, float]] = []
        self._last: Stepped | None = None
        self._steps = 0
        self._tokens, self._seconds = 0, 0.0

    def __enter__(self) -> View:
        assert self._waiting
        self._waiting.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._wait_no_more()
        if self._live:
            self._live.stop()
        if kind is None and not self._steps:
            say("this training is complete already: nothing was computed")
        if kind is KeyboardInterrupt and self._last:
            say(f"interrupted after step {self._last.step:,}: the same command goes on from there")

    def progress(self, label: str, done: int, total: int | None) -> None:
        """Show that `done` of `total` bytes of `label` are there."""
        if self._waiting:
            self._waiting.progress(label, done, total)

    def show(self, event: Event) -> None:
        """Show the next event."""
        if isinstance(event, Planned):
            assert self._waiting
            self._steps = event.steps
            for line in plan(event):
                self._waiting.say(line)
            self._waiting.now("loading the model …")
            return
        self._wait_no_more()
        if isinstance(event, Resumed):
            say(f"resumed after step {event.step:,} of {event.steps:,}")
        elif isinstance(event, Stepped):
            self._stepped(event)
        elif not self._terminal:
            say(
                f"step {event.step:,} · held-out loss {event.loss:.4f}"
                + (" · best so far" if event.best else "")
            )
        if isinstance(event, Evaluated):
            self._heldout.append((event.step, event.loss))
        if self._terminal:
            self._draw()

    def _stepped(self, event: Stepped) -> None:
        self._last = event
        self._tokens += event.tokens
        self._seconds += event.seconds
        self._losses.append((event.step, event.loss))
        every = -(-event.steps // _LINES)
        if not self._terminal and (event.step % every == 0 or event.step == event.steps):
            say(self._line(event))

    def _line(self, event: Stepped) -> str:
        speed = self._tokens / max(self._seconds, 1e-9)
        left = self._seconds / len(self._losses) * (event.steps - event.step)
        return (
            f"step {event.step:,}/{event.steps:,} · epoch {event.epoch} · loss {event.loss:.4f} · "
            f"lr {event.learning_rate:.1e} · {speed:,.0f} tokens/s · {_time(left)} left"
        )

    def _draw(self) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        if self._live is None:
            self._live = Live(console=Console(stderr=True), auto_refresh=False)
            self._live.start()
        lines = chart(self._losses, self._heldout, self._steps)
        if self._last:
            lines.append(self._line(self._last))
        self._live.update(Text("\n".join(lines), no_wrap=True, overflow="ellipsis"), refresh=True)

    def _wait_no_more(self) -> None:
        if self._waiting:
            self._waiting.__exit__(None, None, None)
            self._waiting = None


def plan(event: Planned) -> list[str]:
    """Return what is about to be trained, and all that is not as the file has it."""
    lines = [
        f"{event.model}: {_many(event.rows, 'row')}, {event.heldout_rows:,} held out; "
        f"{_many(event.sequences, 'sequence')} of {event.tokens:,} tokens, {event.counted:,} learned; "
        f"{_many(event.steps, 'step')}",
        f"{event.parameters:,} parameters learn, {gb(event.memory)} of memory by estimate"
        + (", activations computed twice to save it" if event.checkpointing else ""),
    ]
    if event.split:
        lines.append(
            f"{_many(event.split, 'row')} became several sequences: the chat template rewrites earlier turns"
        )
    if event.cut:
        lines.append(f"{_many(event.cut, 'sequence')} longer than --max-length, cut there")
    if event.left_out:
        lines.append(f"{_many(event.left_out, 'row')} left out: no answer before --max-length")
    if event.repeated:
        lines.append(f"{_many(event.repeated, 'sequence')} left out: held out too")
    return lines


def tell(result: TrainResult, drawn: Path | None) -> None:
    """Say what became of the training."""
    done = f"{_many(result.steps, 'step')}, {result.tokens:,} tokens in {_time(result.seconds)}"
    if result.heldout_loss is None or result.heldout_before is None:
        say(f"{done}; loss {result.train_loss:.4f}, nothing was held out")
    elif result.best_step == 0:
        say(f"{done}; the held-out loss never fell below {result.heldout_before:.4f}: the adapter adds none")
    else:
        early = ", stopped early" if result.stopped == "patience" else ""
        say(
            f"{done}; held-out loss {result.heldout_before:.4f} → {result.heldout_loss:.4f} "
            f"(best after step {result.best_step:,}{early})"
        )
    if drawn:
        say(f"curve: {drawn}")


def next_steps(result: TrainResult) -> list[str]:
    """Return the commands that use the adapter."""
    folder, model = shlex.quote(str(result.out)), shlex.quote(result.model)
    return [
        f"use it: qwen chat -m {model} --adapter {folder}; "
        f"as GGUF: qwen models convert {folder} --to gguf --base {model}"
    ]


def chart(losses: Sequence[tuple[int, float]], heldout: Sequence[tuple[int, float]], steps: int) -> list[str]:
    """Return rows of text with the losses of training (·) and of the held-out rows (●) over the steps."""
    everything = [loss for _, loss in (*losses, *heldout)]
    if not everything:
        return []
    low, high = min(everything), max(everything)
    grid = [[" "] * _WIDTH for _ in range(_HEIGHT)]
    for points, mark in ((losses, "·"), (heldout, "●")):
        for step, loss in points:
            column = min(_WIDTH - 1, step * (_WIDTH - 1) // max(1, steps))
            row = round((high - loss) / ((high - low) or 1) * (_HEIGHT - 1))
            grid[row][column] = mark
    labels = {0: f"{high:8.3f}", _HEIGHT - 1: f"{low:8.3f}"}
    rows = [f"{labels.get(at, ''):8} │{''.join(cells).rstrip()}" for at, cells in enumerate(grid)]
    return [*rows, f"{'':8} └{'─' * _WIDTH}", f"{'':10}· training  ● held out"]


def draw(folder: Path) -> Path | None:
    """Draw the losses in the log of a training into a PNG file beside it, and return that; where matplotlib
    is not installed say so and return `None`."""
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        say(f"{CURVE} is not drawn: matplotlib is not installed; run `{install_hint.command('plots')}`")
        return None
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    run = RunFolder(folder)
    logged = run.logged()
    figure, axis = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    for name, style, label in (("loss", "-", "training"), ("heldout_loss", "o-", "held out")):
        points = [(row["step"], row[name]) for row in logged if name in row]
        if points:
            axis.plot(*zip(*points, strict=True), style, label=label, markersize=4)
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.set_xlabel("step")
    axis.set_ylabel("loss, nats a token")
    axis.grid(alpha=0.3)
    axis.legend()
    place = run.path / CURVE
    partial = place.with_name(f".{CURVE}.partial")
    with run.writing():
        figure.savefig(partial, format="png", dpi=120)
        partial.replace(place)
    pyplot.close(figure)
    return place


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
