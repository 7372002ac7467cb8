"""`qwen improve`: problems made, solved, judged and learned from, in rounds or a stage at a time.

`qwen math improve` is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qwen_cli import aliases
from qwen_cli import settings as user_settings
from qwen_cli.commands.improve.flags import (
    JUDGING,
    LEARNING,
    Choosing,
    Drawing,
    Learning,
    Making,
    Rewarding,
    Solving,
)
from qwen_cli.commands.shared import complete, options
from qwen_cli.commands.shared.engine import changing, choose_model, open_engine
from qwen_cli.commands.shared.help import App, Group
from qwen_cli.commands.shared.output import print_json, relay, say
from qwen_cli.errors import UsageError

if TYPE_CHECKING:
    from qwen_cli.tasks.improve.asking import Asking
    from qwen_cli.tasks.improve.decontaminate import Protected
    from qwen_cli.tasks.improve.problem import Problem
    from qwen_cli.tasks.improve.ranking import Scorer
    from qwen_cli.tasks.improve.stages import Wanted

STAGES = ("run", "synthesize", "solve", "reward", "judge")
Problems = Annotated[
    Path | None,
    typer.Argument(
        help='Problems with their answers (JSONL: "problem" and "answer", or the fields of GSM8K, MATH and '
        "others)."
    ),
]
Reward = Annotated[
    Path | None,
    typer.Option(
        "--reward",
        help="Folder of a reward model that `qwen improve reward` has trained on this model and mode.",
    ),
]
HeldOut = Annotated[
    Path | None,
    typer.Option(
        "--heldout",
        help="Problems with answers that are judged and never practised on (JSONL); of the families if not "
        "given.",
        rich_help_panel=JUDGING,
    ),
]


class Stages(Group):
    """The group of the stages. Without the name of one, all of them are run."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if begins_run(args):
            args = ["run", *args]
        return super().parse_args(ctx, args)


def begins_run(args: Sequence[str]) -> bool:
    """Return whether arguments are those of a run: an option or a file comes first, no stage."""
    if not args or args[0] in (*STAGES, "--help", "-h"):
        return False
    return args[0].startswith("-") or args[0].endswith(".jsonl") or Path(args[0]).is_file()


app = App(
    """Make a model better at math on this machine: problems are made, solved, judged and learned from, and
    what it learned is an adapter.

    `qwen improve PROBLEMS.jsonl …` runs all stages; each is a command of its own too. `qwen math improve` is
    the same. Whatever ends a run, the same command goes on with it.

    Examples:
      qwen improve run problems.jsonl --heldout test.jsonl --out run -m starter
      qwen improve run --families all --mode short --out run -m starter
    """
)
app.info.cls = Stages


@app.callback()
def root() -> None:
    """Make a model better at math on this machine."""


@app.command("run")
@options.grouped
def run(
    problems: Problems = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for the run: new, or of the same run, which goes on."),
    ] = None,
    rounds: Annotated[
        int,
        typer.Option("--rounds", min=1, help="Number of rounds; each begins with the better model."),
    ] = 1,
    heldout: HeldOut = None,
    heldout_count: Annotated[
        int | None,
        typer.Option(
            "--heldout-count",
            min=1,
            help="Number of held-out problems that the families make.",
            show_default="200",
            rich_help_panel=JUDGING,
        ),
    ] = None,
    judge_samples: Annotated[
        int,
        typer.Option(
            "--judge-samples",
            min=0,
            max=256,
            help="Number of solutions drawn of each held-out problem, for pass@k; the likeliest is always "
            "asked for.",
            rich_help_panel=JUDGING,
        ),
    ] = 0,
    control: Annotated[
        bool,
        typer.Option(
            "--control",
            help="Train a second adapter on the problems of round 1 with each other's solutions: what it "
            "gains is no mathematics.",
            rich_help_panel=JUDGING,
        ),
    ] = False,
    reward: Annotated[
        bool,
        typer.Option(
            "--reward",
            help="Train a reward model in each round, on its right and wrong solutions: it chooses among the "
            "right ones, and weights the votes of the next round.",
            rich_help_panel=LEARNING,
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as one JSON object.")] = False,
    making: Making = Making(),
    solving: Solving = Solving(),
    learning: Learning = Learning(),
    loading: options.Loading = options.Loading(),
) -> None:
    """Run all stages, in rounds: make problems, draw solutions, train an adapter on the right ones, judge it.

    An adapter stays only if the model answers at least as many held-out problems rightly with it.

    Examples:
      qwen improve run p.jsonl --rounds 2 --heldout t.jsonl --out run -m starter
      qwen improve run --families all --mode short --out run -m starter
    """
    from qwen_cli.commands.improve import output
    from qwen_cli.tasks.improve import rounds as improving
    from qwen_cli.tasks.improve import training

    if out is None:
        raise UsageError("a run needs a folder", "add --out FOLDER")
    if heldout and heldout_count:
        raise UsageError("--heldout and --heldout-count exclude each other", "choose one")
    settings = options.merged(user_settings.load(), loading)
    choose_model(settings, "math")
    model = _trained_model(settings, loading)
    wanted, asking = _wanted(making), _asking(solving)
    asked = improving.Settings(
        model,
        {name: value for name, value in changing(settings, loading).items() if value is not None},
        wanted,
        asking,
        judge_samples,
        learning.per_problem,
        learning.most,
        heldout_count or 200,
        improving.Lessons(learning.epochs, learning.rank, learning.learning_rate),
        solving.seed,
        control,
        reward,
    )
    asked.check()
    given, held = _loaded(problems), _loaded(heldout)
    tests = _tests(making)
    with _waiting(f"looking for the weights of {model} …") as waiting:
        weights = training.trainable(model, waiting.say, waiting.progress)

    def load(adapter: Path | None) -> Any:
        return open_engine(settings, replace(loading, adapters=[adapter] if adapter else None))

    outcome = improving.improve(
        asked,
        rounds,
        given,
        held,
        tests,
        out,
        load,
        training.trainer(weights, output.training),
        improving.Hooks(relay, output.watched),
        lambda: training.check(weights, asked.lessons),
        training.rewarding(weights, model, output.rewarding) if reward else None,
    )
    if as_json:
        print_json(output.as_dict(outcome, out))
    else:
        output.show(outcome, model, solving.mode)


@app.command("synthesize")
@options.grouped
def synthesize(
    problems: Problems = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="File for the problems (JSONL): new, or made by this.")
    ] = None,
    heldout: HeldOut = None,
    reward: Reward = None,
    making: Making = Making(),
    drawing: Drawing = Drawing(),
    loading: options.Loading = options.Loading(),
) -> None:
    """Make problems: of families, and with --variants by a model after given ones. What is too near to
    held-out problems or a benchmark is dropped, and named.

    Examples:
      qwen improve synthesize --families linear,percent --out practice.jsonl
      qwen improve synthesize p.jsonl --variants numbers --out q.jsonl -m qwen3:4b
    """
    from qwen_cli.commands.improve import files, output
    from qwen_cli.tasks.common.jsonl import Journal
    from qwen_cli.tasks.improve import stages
    from qwen_cli.tasks.improve import synthesize as making_new
    from qwen_cli.tasks.improve.decontaminate import ProtectedTexts, of_problems

    wanted = _wanted(making)
    asking = _asking(drawing, samples=wanted.variants.votes)
    if out is None:
        raise UsageError("the problems need a place", "add --out problems.jsonl")
    if problems is None and not wanted.families:
        raise UsageError("there is nothing to make problems of", "name a file of problems, or --families")
    if wanted.variants.kinds and problems is None:
        raise UsageError("--variants needs problems to change", "name a file of problems")
    if reward and not wanted.variants.kinds:
        raise UsageError("--reward weights the votes on changed problems", "add --variants")
    given, held = _loaded(problems), _loaded(heldout)
    dropped = files.beside(out, "dropped")
    resumes = files.beside(out, "variants").exists() or not wanted.variants.kinds
    for path in (out, dropped):
        files.check(path, (problems, heldout), resumes=resumes)
    tests = ProtectedTexts([*of_problems(heldout.name if heldout else "", held), *_tests(making)])

    def write(clean: Sequence[Problem]) -> list[dict[str, Any]]:
        settings = options.merged(user_settings.load(), loading)
        choose_model(settings, "math")
        scorer = _scorer(reward, settings, asking.mode)
        with (
            Journal(files.beside(out, "variants"), making_new.BY) as book,
            open_engine(settings, loading) as engine,
            scorer() as score,
            output.watched("synthesize") as progress,
        ):
            from dataclasses import asdict

            how = {**asking.settings(), **asdict(wanted.variants), "reward": _mark(reward)}
            book.begin({"model": engine.model, **how, **changing(settings, loading)})
            return making_new.variants(engine, clean, wanted.variants, asking, book, progress, score)

    made = stages.synthesized(given, wanted, tests, drawing.seed, write)
    stages.write_synthesized(made, out, dropped, files.put)
    stages.tell_dropped(made, dropped, relay)
    typer.echo(f"{len(made.problems):,} problems in {out}")


@app.command("solve")
@options.grouped
def solve(
    problems: Annotated[Path, typer.Argument(help="Problems with their answers (JSONL).")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="File for the samples: append one JSONL row each; resumes an interrupted run."
        ),
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option("--export", help="File for the right solutions, as chats to train on (JSONL)."),
    ] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(
            "--pairs", help="File for pairs of a right and a wrong solution, to train with DPO (JSONL)."
        ),
    ] = None,
    reward: Reward = None,
    solving: Solving = Solving(),
    choosing: Choosing = Choosing(),
    loading: options.Loading = options.Loading(),
) -> None:
    """Draw several solutions of each problem and keep the right ones, each once. Problems that are always or
    never solved are set aside: they teach nothing. With --reward the best of the right ones come first.

    Examples:
      qwen improve solve p.jsonl --out s.jsonl --export train.jsonl -m starter
    """
    from qwen_cli.commands.improve import files, output
    from qwen_cli.tasks.common import jsonl
    from qwen_cli.tasks.improve import gather, ranking, stages
    from qwen_cli.tasks.improve.manifest import digest

    asking = _asking(solving)
    if out is None:
        raise UsageError("the samples need a place", "add --out samples.jsonl")
    given = _loaded(problems)
    with jsonl.Journal(out, stages.BY_SOLVE) as book:  # before a model loads
        resumes = bool(book.rows)
    for path in (export, pairs):
        if path:
            files.check(path, (problems, out), resumes=resumes)
    settings = options.merged(user_settings.load(), loading)
    choose_model(settings, "math")
    scorer = _scorer(reward, settings, asking.mode)
    with open_engine(settings, loading) as engine, output.watched("solve") as progress:
        model = engine.model
        about = {"model": model, "sha256": digest(problems), **changing(settings, loading)}
        rows = stages.sampled(engine, given, asking, out, about, progress)
    scores = None
    if reward:
        with scorer() as score, output.watched("rank") as progress:
            assert score
            scores = ranking.of_right(given, rows, score, progress)
    gathered = gather.gather(given, rows, per_problem=choosing.per_problem, most=choosing.most, scores=scores)
    if export:
        files.put(export, gather.chats(gathered.solutions, asking.mode, model))
        say(f"{len(gathered.solutions):,} solutions in {export}")
    if pairs:
        files.put(pairs, gather.preferences(gathered.pairs, asking.mode, model))
        say(f"{len(gathered.pairs):,} pairs in {pairs}")
    typer.echo(gathered.words)


@app.command("reward")
@options.grouped
def reward(
    problems: Annotated[
        Path, typer.Argument(help="Problems with their answers (JSONL), as `solve` had them.")
    ],
    samples: Annotated[
        Path,
        typer.Argument(help="Samples of these problems (JSONL), which `qwen improve solve` has written."),
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for the reward model; the same command resumes a training in it."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="Model to train it on: alias (qwen3:0.6b), hub id or folder; without, that of the samples.",
            autocompletion=complete.models,
            callback=aliases.meant_if_given,
            show_default=False,
        ),
    ] = None,
    rewarding: Rewarding = Rewarding(),
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as one JSON object.")] = False,
) -> None:
    """Train a reward model on right and wrong solutions of the same problems: an adapter of the model with a
    small head, which says of two solutions which one is more likely right.

    Held-out problems tell how many pairs it orders rightly, and when to stop.

    Examples:
      qwen improve reward p.jsonl s.jsonl --out my-reward -m starter
    """
    from qwen_cli.commands.improve import output
    from qwen_cli.tasks.improve import reward as rewards
    from qwen_cli.tasks.improve import stages, training
    from qwen_cli.tasks.improve.comparisons import comparisons
    from qwen_cli.tasks.improve.manifest import digest

    if out is None:
        raise UsageError("a reward model needs a place", "add --out FOLDER")
    given = _loaded(problems)
    about, rows = stages.samples(samples)
    if about.get("sha256", digest(problems)) != digest(problems):
        raise UsageError(
            f"{samples} has solutions of other problems than {problems}", "name the file that was solved"
        )
    name = model or str(about["model"])
    settings = rewards.RewardSettings(name, out, name, about["mode"], **vars(rewarding))
    settings.training()
    compared = comparisons(given, rows)
    say(compared.words)
    with _waiting(f"looking for the weights of {name} …") as waiting:
        weights = training.trainable(name, waiting.say, waiting.progress)
    with output.rewarding(out) as report:
        result = rewards.train(replace(settings, model=weights), compared.problems, report)
    if as_json:
        print_json(result.to_json())
    else:
        typer.echo(result.words)


@app.command("judge")
@options.grouped
def judge(
    heldout: Annotated[
        Path, typer.Argument(help="Problems with answers that were never practised on (JSONL).")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for the answers; resumes an interrupted run."),
    ] = None,
    samples: Annotated[
        int,
        typer.Option(
            "--samples",
            min=0,
            max=256,
            help="Number of solutions drawn of each problem, for pass@k; the likeliest is always asked for.",
            rich_help_panel=JUDGING,
        ),
    ] = 0,
    reward: Reward = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as one JSON object.")] = False,
    drawing: Drawing = Drawing(),
    loading: options.Loading = options.Loading(),
) -> None:
    """Judge an adapter: the same problems without it and with it, the likeliest answer and samples.

    Exit code 1 where the model is worse with it.

    Examples:
      qwen improve judge t.jsonl --adapter my-adapter --out verdict -m starter
    """
    from qwen_cli.commands.improve import output
    from qwen_cli.tasks.improve import judge as judging
    from qwen_cli.tasks.improve.manifest import digest

    if out is None:
        raise UsageError("the answers need a place", "add --out FOLDER")
    how = _asking(drawing, samples=samples)
    if not loading.adapters:
        raise UsageError("there is no adapter to judge", "name it with --adapter FOLDER")
    if reward and samples < 2:
        raise UsageError(f"--reward chooses among samples, {samples} are drawn", "add --samples 8")
    given = _loaded(heldout)
    settings = options.merged(user_settings.load(), loading)
    choose_model(settings, "math")
    scorer = _scorer(reward, settings, how.mode)
    judged = []
    for name, adapters in (("before", None), ("after", loading.adapters)):
        own = replace(loading, adapters=adapters)
        with open_engine(settings, own) as engine, output.watched(name) as progress:
            about = {
                "model": engine.model,
                "sha256": digest(heldout),
                **changing(settings, own),
                "adapters": [digest(path) for path in adapters or ()] or None,
            }
            judged.append(judging.judge(engine, given, how, out / name, about, progress))
    if reward:
        with scorer() as score:
            assert score
            for at, name in enumerate(("before", "after")):
                with output.watched(f"score {name}") as progress:
                    about = {"reward": _mark(reward), "sha256": digest(out / name / judging.SAMPLED)}
                    judged[at] = judging.scored(judged[at], given, score, out / name, about, progress)
    before, after = judged
    kept = judging.is_kept(before, after)
    if as_json:
        print_json(output.verdict(before, after))
    else:
        output.show_verdict(before, after)
    if not kept:
        say(f"with the adapter {after.right} of {len(after.rows)} are right, {before.right} without it")
        raise typer.Exit(1)


def _scorer(
    folder: Path | None, settings: dict[str, Any], mode: str
) -> Callable[[], AbstractContextManager[Scorer | None]]:
    """Return what loads the reward model in `folder` on the weights of the model that is asked, and nothing
    where there is none. Raises `UsageError` where it is for another model or mode: nothing is loaded yet."""
    if folder is None:
        return nullcontext
    from qwen_cli.tasks.improve import reward, training

    if settings.get("endpoint") or settings.get("engine") == "remote":
        raise UsageError(
            "a reward model computes with the weights of the model, and those of a server are not here",
            "name a model of this machine with -m, or leave --reward out",
        )
    reward.about(folder)
    model = str(settings["model"])
    with _waiting(f"looking for the weights of {model} …") as waiting:
        weights = training.trainable(model, waiting.say, waiting.progress)
    reward.check(folder, weights, mode)

    return lambda: training.scorer(folder, weights)


def _mark(reward: Path | None) -> str | None:
    """Return by what a reward model is known again, as a journal tells it."""
    from qwen_cli.tasks.improve import rounds

    return rounds.mark(reward.expanduser()) if reward else None


def _loaded(path: Path | None) -> list[Problem]:
    from qwen_cli.tasks.improve import problem

    return problem.load(path, relay) if path else []


def _wanted(making: Making) -> Wanted:
    from qwen_cli.tasks.improve.stages import Wanted
    from qwen_cli.tasks.improve.synthesize import KINDS, Variants

    kinds, families = _names(making.variants), _names(making.families)
    if making.count and not families:
        raise UsageError("--count is for problems that families make", "add --families")
    if (making.votes or making.agreement is not None) and not kinds:
        raise UsageError("--votes and --agreement are for changed problems", "add --variants")
    variants = Variants(
        tuple(KINDS) if "all" in kinds else kinds, making.votes or 8, making.agreement or 0.75
    )
    wanted = Wanted(families, making.count or 120, variants)
    wanted.check()
    return wanted


def _names(given: str | None) -> tuple[str, ...]:
    return tuple(name.strip().lower() for name in (given or "").split(",") if name.strip())


def _asking(drawing: Drawing, **more: Any) -> Asking:
    """Return how solutions are asked for; `more` are fields that `drawing` has not. Raises `UsageError`."""
    from qwen_cli.tasks.improve.asking import Asking

    asking = Asking(**vars(drawing), **more)
    (asking if asking.samples else asking.greedy).check()
    return asking


def _tests(making: Making) -> list[Protected]:
    """Return the texts of the benchmarks that are compared, and say which."""
    from qwen_cli.tasks.improve import decontaminate

    tests = decontaminate.of_this_machine(relay)
    for path in making.against or ():
        tests += decontaminate.of_file(path)
    if tests:
        names = ", ".join(sorted({test.source for test in tests}))
        say(f"problems are compared with {len(tests):,} of {names}")
    return tests


def _trained_model(settings: dict[str, Any], loading: options.Loading) -> str:
    """Return the model of a run. Raises `UsageError` for one that cannot be trained here."""
    if settings.get("endpoint") or settings.get("engine") == "remote":
        raise UsageError("a model on a server is not trained here", "name one of this machine with -m")
    if loading.adapters:
        raise UsageError(
            "a run makes its own adapter", "put this one into the weights first: `qwen models merge`"
        )
    if not settings.get("model"):
        raise UsageError("there is no model to improve", "name one with -m")
    return str(settings["model"])


def _waiting(text: str) -> Any:
    from qwen_cli.ui.progress import Waiting

    return Waiting(text, relay)
