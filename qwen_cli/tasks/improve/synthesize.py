"""New problems: made by families, and written by a model after given ones, with the answer that its solutions
agree on (MuggleMath, Li et al. 2023, arXiv:2310.05506; Qwen2.5-Math, arXiv:2409.12122, section 3)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from qwen_cli.engines.core.base import Engine, Sampling
from qwen_cli.errors import ContextFull, EngineError, UsageError
from qwen_cli.tasks.common import parallel
from qwen_cli.tasks.common.drain import drain_until
from qwen_cli.tasks.common.jsonl import Journal
from qwen_cli.tasks.improve import asking
from qwen_cli.tasks.improve.asking import Asking, Progress, seed_of, thinking_of
from qwen_cli.tasks.improve.problem import Problem, normalised
from qwen_cli.tasks.improve.ranking import Scorer, weight
from qwen_cli.tasks.math import solve, tir
from qwen_cli.tasks.math.answer import Judge

Row = dict[str, Any]
BY = "qwen improve synthesize"
# Our own words for MuggleMath's ways to change a problem.
KINDS: dict[str, str] = {
    "numbers": "Write the problem below again with other numbers, so that it can still be solved.",
    "rephrase": "Write the problem below again in other words. Its numbers and its answer stay the same.",
    "condition": "Write a new problem: the one below with one more condition, which changes its answer.",
    "reverse": "Write a new problem: tell the answer of the one below, and ask for one of its numbers.",
}
_ALONE = " Write the new problem alone, without a solution and without any other words."
_LONGEST = 2_000  # characters of a problem
_TOKENS = 400
_TITLE = re.compile(r"^\W*(?:new |rewritten |revised )?(?:problem|question)\W*:\W*", re.IGNORECASE)


@dataclass(frozen=True)
class Variants:
    """How a model changes problems: the `kinds`, and how many of `votes` solutions have to agree on the
    answer, as a share. The asking's `samples` are not used."""

    kinds: tuple[str, ...] = ()
    votes: int = 8
    agreement: float = 0.75

    def check(self) -> None:
        """Raise `UsageError` for a value that makes no sense."""
        if unknown := [kind for kind in self.kinds if kind not in KINDS]:
            raise UsageError(
                f"there is no way {unknown[0]!r} to change problems", f"there are: {', '.join(KINDS)}"
            )
        if self.votes < 2:
            raise UsageError(f"`votes` must be 2 or more to agree, got {self.votes}")
        if not 0.5 < self.agreement <= 1:
            raise UsageError(f"`agreement` must be above 0.5 and at most 1, got {self.agreement}")


def variants(
    engine: Engine,
    problems: Sequence[Problem],
    how: Variants,
    solving: Asking,
    book: Journal,
    progress: Progress = asking._silent,
    score: Scorer | None = None,
) -> list[Row]:
    """Return a row for each problem and kind, those that `book` has not made now: the problem that the model
    wrote and the answer its solutions agree on, or why it was dropped. With a `score` each solution has as
    much to say as a reward model thinks of it. Raises `EngineError` where any got no
    answer: the others are kept."""
    wanted = [(problem, kind) for problem in problems for kind in how.kinds]
    ids = {_id(problem, kind) for problem, kind in wanted}
    done = {row["id"]: row for row in book.rows if row.get("id") in ids}
    left = [(problem, kind) for problem, kind in wanted if _id(problem, kind) not in done]

    def one(lane: Engine, item: tuple[Problem, str], stopped: parallel.Stopped) -> Row:
        try:
            return _variant(lane, *item, how, solving, stopped, score)
        except (ContextFull, EngineError) as fault:
            return {"id": _id(*item), "error": str(fault)}

    failed: list[Row] = []
    progress(len(done), len(wanted), "")
    lanes = engine.lanes(solving.at_once) if solving.at_once > 1 else [engine]
    for row in parallel.map_unordered(lanes, left, one):
        if "error" in row:
            failed.append(row)
            continue
        done[row["id"]] = book.add(row)
        good = sum("answer" in row for row in done.values())
        progress(len(done), len(wanted), f"{good:,} with an answer")
    if failed:
        raise EngineError(
            f"{len(failed):,} of {len(wanted):,} new problems did not come, {failed[0]['id']} first: "
            f"{failed[0]['error']}",
            f"run it again, the others are kept in {book.path}",
        )
    return [done[_id(problem, kind)] for problem, kind in wanted]


def settled(rows: Sequence[Mapping[str, Any]], known: Sequence[Problem]) -> Iterator[Problem]:
    """Yield the problems of rows that have an answer, each once and none that is `known`."""
    seen = {normalised(problem.problem) for problem in known}
    families = {problem.id: problem.family for problem in known}
    for row in rows:
        text = row.get("problem")
        if "answer" in row and text and normalised(text) not in seen:
            seen.add(normalised(text))
            source = str(row["source"])
            yield Problem(str(row["id"]), text, str(row["answer"]), families.get(source, ""), source)


def _id(problem: Problem, kind: str) -> str:
    return f"{problem.id}~{kind}"


def _variant(
    engine: Engine,
    problem: Problem,
    kind: str,
    how: Variants,
    solving: Asking,
    stopped: parallel.Stopped,
    score: Scorer | None,
) -> Row:
    row: Row = {"id": _id(problem, kind), "source": problem.id, "kind": kind}
    text = _written(engine, problem, kind, solving, stopped)
    if stopped():
        return {**row, "error": "stopped"}
    if why := _unfit(text, problem):
        return {**row, "problem": text[:_LONGEST], "dropped": why}
    solutions = _solutions(engine, row["id"], text, how, solving, stopped, early=score is None)
    if stopped():
        return {**row, "error": "stopped"}
    weights = [1.0] * len(solutions)
    if score:
        weights = [weight(value) for value in score(text, [one.text for one in solutions])]
    with Judge() as judge:
        said = [number for number, one in enumerate(solutions) if one.answer is not None]
        groups = [[said[at] for at in group] for group in judge.groups(_known(solutions))]
        best = max(groups, key=lambda group: sum(weights[at] for at in group), default=[])
        share = sum(weights[at] for at in best) / (sum(weights) + how.votes - len(solutions))
        row = {**row, "problem": text, "votes": len(best), "of": len(solutions)}
        row |= {"share": round(share, 4)} if score else {}
        if share < how.agreement:
            by_reward = f", which have {share:.0%} of the reward" if score else ""
            return {**row, "dropped": f"only {len(best)} of {len(solutions)} solutions agree{by_reward}"}
        answer = str(solutions[best[0]].answer)
        if kind == "rephrase" and not judge.same(problem.answer, answer):
            return {**row, "dropped": f"its answer became {answer}, not {problem.answer}"}
    return {**row, "answer": answer}


def _written(engine: Engine, problem: Problem, kind: str, solving: Asking, stopped: parallel.Stopped) -> str:
    """Return the problem that the model writes after `problem`."""
    sampling = Sampling(
        temperature=solving.temperature or None,
        top_p=solving.top_p,
        max_tokens=_TOKENS,
        seed=seed_of(solving.seed, _id(problem, kind), -1),
    )
    asked = problem.problem
    if kind == "reverse":
        asked += f"\n\nIts answer: {problem.answer}"
    turns = [
        {"role": "system", "content": KINDS[kind] + _ALONE},
        {"role": "user", "content": asked},
    ]
    parts: list[str] = []
    pieces = engine.chat(turns, sampling=sampling, thinking=thinking_of(engine))
    try:
        for piece in pieces:
            if stopped():
                break
            parts += [piece.text] if piece.kind == "answer" else []
    finally:
        pieces.close()
    return _TITLE.sub("", "".join(parts).strip()).strip()


def _unfit(text: str, problem: Problem) -> str | None:
    """Return why a text is no new problem; `None` where it may be one."""
    if len(text) < 10:
        return "there is hardly a word of it"
    if len(text) > _LONGEST:
        return f"it is longer than {_LONGEST:,} characters"
    if normalised(text) == normalised(problem.problem):
        return "nothing was changed"
    if "\\boxed" in text or re.search(r"\b(?:solution|answer)\s*:", text, re.IGNORECASE):
        return "it tells its solution"
    return None


def _solutions(
    engine: Engine,
    id: str,
    text: str,
    how: Variants,
    solving: Asking,
    stopped: parallel.Stopped,
    *,
    early: bool,
) -> list[tir.Solution]:
    """Return several solutions; fewer, where it may end `early`, once too few of them can agree."""
    solutions: list[tir.Solution] = []
    options = solve.SolveOptions(mode=solving.mode, thinking=thinking_of(engine))
    with Judge() as judge:
        for number in range(how.votes):
            sampling = Sampling(
                temperature=solving.temperature,
                top_p=solving.top_p,
                max_tokens=solving.max_tokens,
                seed=seed_of(solving.seed, id, number),
            )
            solution = solve.solve(engine, text, judge, replace(options, sampling=sampling))
            checked = drain_until(solution, stopped)
            if checked is None:
                break
            solutions.append(checked.solution)
            groups = judge.groups(_known(solutions))
            most = len(groups[0]) if groups else 0
            if early and most + how.votes - len(solutions) < how.agreement * how.votes:
                break
    return solutions


def _known(solutions: Sequence[tir.Solution]) -> list[str]:
    """Return the answers of those that have one."""
    return [str(one.answer) for one in solutions if one.answer is not None]
