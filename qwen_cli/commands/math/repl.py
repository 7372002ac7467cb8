"""`qwen math` without a problem: each line is one, solved by itself, and what was solved can be looked at."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from qwen_cli.commands.chat.slash_table import COMMANDS as CHAT
from qwen_cli.commands.chat.state import ReplState
from qwen_cli.commands.math import output
from qwen_cli.commands.shared import loop, slash
from qwen_cli.commands.shared.loop import Interrupts, run_turn
from qwen_cli.commands.shared.output import say
from qwen_cli.commands.shared.slash import Command, Events
from qwen_cli.engines.core.base import Sampling
from qwen_cli.errors import UsageError
from qwen_cli.tasks.chat.conversation import Conversation
from qwen_cli.tasks.chat.messages import Content, text_of
from qwen_cli.tasks.math import solve
from qwen_cli.tasks.math.answer import Judge
from qwen_cli.tasks.math.solve import Checked, SolveOptions
from qwen_cli.ui.line_editor import LineEditor

if TYPE_CHECKING:
    from qwen_cli.engines.core.base import Engine


def trace(state: MathState, argument: str) -> None:
    """Print all of the last solution as one JSON object: text, programs, outputs, check."""
    if state.checked is None:
        raise UsageError("nothing has been solved yet", "write a problem first")
    output.as_json(state.checked, state.conversation.engine)


# A problem is solved by itself: there is no context to fill, no turn to take back and no session.
_TAKEN = ("help", "retry", "edit", "image", "copy", "model", "set", "think", "stats", "export", "quit")
COMMANDS = slash.only(CHAT, _TAKEN) | {
    "retry": replace(CHAT["retry"], about="Solve the last problem again"),
    "edit": replace(CHAT["edit"], about="Change the last problem, in $EDITOR or here, and have it solved"),
    "image": replace(CHAT["image"], about="Attach pictures to the next problem: files, pages, addresses"),
    "copy": replace(CHAT["copy"], about="Copy the last answer, or its last program, to the clipboard"),
    "trace": Command(trace),
    "export": replace(CHAT["export"], about="Write problems and solutions to a file, as Markdown or JSON"),
    "quit": replace(CHAT["quit"], about="Leave"),
}


@dataclass
class MathState(ReplState):
    """Problems and their solutions, as the turns of a conversation of which the model is shown one at a time.

    `checked` is the last solution that came to its end.
    """

    name: ClassVar[str] = "math"

    options: SolveOptions = field(default_factory=SolveOptions)
    checked: Checked | None = None

    @property
    def defaults(self) -> Sampling:
        engine = self.conversation.engine
        return solve.usual(engine, self._solve_options()).over(engine.defaults)

    def send(self, text: str) -> Events:
        if not text.strip() and not self.images:
            raise UsageError("the problem is empty", "write one")
        problem = self.compose(text.strip())
        self.conversation.messages.append({"role": "user", "content": problem})
        return self._solved(problem)

    def again(self) -> Events:
        questions = [m["content"] for m in self.conversation.messages if m["role"] == "user"]
        if not questions:
            raise UsageError("nothing to retry", "write a problem first")
        self.conversation.replace_last_user(questions[-1])  # its solution goes
        return self._solved(questions[-1])

    def answer(self, events: Events) -> None:
        """Show the solution as it comes, then its answer and what speaks for it."""
        view = output.solution_view(fold=self.fold)
        if not run_turn(events, view, self.interrupts) or self.checked is None:
            return
        view.conclude(self.checked)
        if self.save_plots:
            output.save_plots(self.checked, self.save_plots)
        if self.checked.answer is None:
            say(output.why_none(self.checked, self._solve_options().sampling.max_tokens, "max_tokens"))

    def last_answer(self) -> str | None:
        if self.checked is None:
            return None
        return self.checked.answer or self.checked.solution.text

    def last_code(self) -> str | None:
        runs = self.checked.solution.runs if self.checked else ()
        return runs[-1].code if runs else None

    def save(self) -> None:
        """Save nothing: no session holds problems."""

    def leave(self) -> None:
        """Leave without saving: no session holds problems."""

    def _filled(self) -> list[str]:
        return []

    def _solve_options(self) -> SolveOptions:
        return replace(self.options, sampling=self.conversation.sampling, thinking=self.conversation.thinking)

    def _solved(self, problem: Content) -> Events:
        """Solve it; what came of it is kept if it comes to its end."""
        conversation, options = self.conversation, self._solve_options()
        pictures = [part for part in problem if isinstance(part, dict) and part.get("type") != "text"]
        with Judge(contained=options.contained) as judge:
            self.checked = yield from solve.solve(
                conversation.engine, text_of(problem), judge, options, pictures=pictures
            )
        conversation.usage = self.checked.solution.usage
        conversation.messages.append({"role": "assistant", "content": self.checked.solution.text})


def run(
    engine: Engine, options: SolveOptions, load_engine: Callable[[str], Engine], save_plots: Path | None
) -> None:
    """Solve problems from the terminal, one after another, until the person leaves. `load_engine` is for
    /model."""
    conversation = Conversation(engine, sampling=options.sampling, thinking=options.thinking)

    def begin(editor: LineEditor, interrupts: Interrupts) -> MathState:
        return MathState(
            conversation,
            None,
            load_engine,
            not sys.stdout.isatty(),
            editor,
            interrupts,
            COMMANDS,
            options=options,
            save_plots=save_plots,
        )

    loop.run(begin, history="math")
