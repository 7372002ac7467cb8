"""How a solution is shown: Markdown as it comes, programs with their output, the answer in a box."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from qwen_cli.commands.shared import plots
from qwen_cli.commands.shared.output import figures, print_json, say
from qwen_cli.sanitize import strip_escapes
from qwen_cli.tasks.common.drain import drain
from qwen_cli.tasks.math import tir, transcript
from qwen_cli.tasks.math.vote import Vote

if TYPE_CHECKING:
    from rich.console import Console

    from qwen_cli.engines.core.base import Engine
    from qwen_cli.tasks.math.solve import Checked, Solving

_LINES = 20  # of a program's output that are shown


def watched(solving: Solving) -> Checked:
    """Run it without showing anything but a remark."""

    def remark(event: tir.Event | Vote) -> None:
        if isinstance(event, tir.Restart):
            say(f"{event.why}: reasoning in words alone")

    return drain(solving, remark)


def render(solving: Solving) -> Checked:
    """Render the solution as it comes. Into a pipe: its text as the model wrote it, then the answer's
    line."""
    view = solution_view()
    try:
        checked = drain(solving, view.show)
    finally:
        view.end()
    view.conclude(checked)
    return checked


def solution_view(*, fold: bool = True) -> SolutionView:
    """Return the view of a solution on stdout. `fold`: thoughts become one line once the solution begins."""
    from qwen_cli.ui.terminal import stdout_console

    return SolutionView(stdout_console(), fold=fold)


class SolutionView:
    """Puts the events of a solution on a console."""

    def __init__(self, console: Console, *, fold: bool = True) -> None:
        from qwen_cli.ui.markdown import MarkdownStream

        self._console = console
        self._markdown = MarkdownStream(console, formulas=True, fold=fold)
        self._terminal = console.is_terminal and not console.is_dumb_terminal

    def show(self, event: tir.Event | Vote) -> None:
        if isinstance(event, Vote):
            progress = f"{len(event.solutions)} of {event.wanted} solutions"
            say(f"{progress}, {event.votes} agree on {event.solution.answer}" if event.votes else progress)
        elif isinstance(event, transcript.Run):
            self._run(event)
        elif isinstance(event, tir.Restart):
            self.end()
            say(f"{event.why}: reasoning in words alone")
        elif event.kind == "thinking":
            self._markdown.thinking(event.text)
        else:
            self._markdown.feed(event.text)

    def conclude(self, checked: Checked) -> None:
        """Write what comes when it is whole: a solution that was not shown while it came, then the answer."""
        if checked.samples > 1:
            self._markdown.feed(checked.solution.text)
            self.end()
        self.answer(checked)

    def end(self) -> None:
        """Write what is held back; the cursor is on a fresh line then."""
        self._markdown.finish()

    def answer(self, checked: Checked) -> None:
        from qwen_cli.ui.latex import unicode

        if checked.answer is None:
            return
        text = strip_escapes(unicode(checked.answer) if self._terminal else checked.answer)
        if not self._terminal:
            self._console.file.write(f"answer: {text} ({checked.words})\n")
            return
        from rich.panel import Panel
        from rich.text import Text

        style = {"unverified": "yellow"}.get(checked.how, "green")
        if checked.verification:
            style = {"holds": "green", "fails": "red", "open": style}[checked.verification.verdict]
        line = Text.assemble((text, "bold"), ("   " + checked.words, "dim"))
        self._console.print(Panel.fit(line, border_style=style, padding=(0, 2)))

    def _run(self, run: transcript.Run) -> None:
        """Write what the program printed, under it."""
        lines = run.readable_output.splitlines()
        if len(lines) > _LINES:
            lines[_LINES // 2 : -_LINES // 2] = [f"… {len(lines) - _LINES:,} lines left out …"]
        text = "\n".join(lines)
        self._markdown.feed(f"\n```output\n{text}\n```\n")


def answer(checked: Checked) -> None:
    """Write the answer alone."""
    if checked.answer is not None:
        sys.stdout.write(strip_escapes(checked.answer) + "\n")


def why_none(checked: Checked, most: int | None, named: str) -> str:
    """Return one line about a solution that has no answer. `most` tokens were asked for with what is `named`,
    if any were."""
    solution = checked.solution
    if solution.stop == "length" and most:
        return f"no answer: it was cut at {named} {most:,}"
    limit = f" after {solution.limit:,} tokens, the most that this model is given" if solution.limit else ""
    reasons = {
        "length": f"it was cut{limit}; --max-tokens gives another limit",
        "context": "the context is full; raise --context",
        "rounds": f"its {len(solution.runs):,} programs led to none; --max-rounds allows more",
        "failing": "its programs kept failing",
    }
    return "no answer: " + reasons.get(solution.stop, "the model put none in \\boxed{}")


def as_json(checked: Checked, engine: Engine) -> None:
    """Write the whole trace as one object."""
    solution = checked.solution
    trace = {
        "answer": checked.answer,
        "check": checked.how,
        "votes": checked.votes,
        "samples": checked.samples,
        **({} if checked.score is None else {"score": checked.score}),
        **({"verification": asdict(checked.verification)} if checked.verification else {}),
        "mode": solution.mode,
        "solution": solution.text,
        "runs": [
            {
                "code": run.code,
                "status": run.outcome.status,
                "output": run.outcome.output,
                "value": run.outcome.value,
                "error": run.outcome.error,
                "seconds": round(run.outcome.seconds, 4),
            }
            for run in solution.runs
        ],
        "model": engine.model,
        "engine": engine.name,
        **figures(solution.usage),
        "stop_reason": solution.stop,
    }
    print_json(trace)


def save_plots(checked: Checked, folder: Path) -> None:
    """Write the figures that its programs drew as PNG files, and name them."""
    for target in plots.save([plot for run in checked.solution.runs for plot in run.outcome.plots], folder):
        say(f"saved {target}")
