"""One bench on one model: from the file or the hub, through a journal, to figures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qwen_cli import paths
from qwen_cli import settings as user_settings
from qwen_cli.commands.eval import output
from qwen_cli.commands.eval.flags import Asked, Drawing
from qwen_cli.commands.shared import options
from qwen_cli.commands.shared.engine import changing, choose_model, open_engine
from qwen_cli.commands.shared.output import relay, say
from qwen_cli.engines.core.base import Engine, Sampling
from qwen_cli.errors import EngineError, UsageError
from qwen_cli.models.planning.default_model import Task
from qwen_cli.tasks.common import jsonl
from qwen_cli.tasks.eval import benches, passkey, pictures, protocol, run, summary
from qwen_cli.tasks.eval.benches import Bench
from qwen_cli.tasks.eval.item import Item
from qwen_cli.tasks.eval.protocol import Protocol

_OPTION = "--results"
_TASKS: dict[str, Task] = {"program": "code", "problem": "math", "picture": "vision"}


@dataclass(frozen=True)
class Own:
    """What only some benches are asked with."""

    mode: str = "cot"
    score: str = "exact"
    lengths: str | None = None
    depths: int = 5


@dataclass(frozen=True)
class Source:
    """Where items come from. `commit` is that of the hub's data set."""

    file: Path | None
    shots: Path | None = None
    commit: str | None = None


def by(bench: Bench) -> str:
    """Return what a journal of this bench is headed with."""
    return f"qwen eval {bench.name}"


def measure(
    bench: Bench, file: Path | None, asked: Asked, own: Own, drawing: Drawing, loading: options.Loading
) -> output.Report:
    """Ask every question that the journal has not, and return the figures. Raises `EngineError` where any
    got no answer: the others are kept."""
    _check(bench, asked, own)
    source = _source(bench, file, asked)
    if asked.results:
        jsonl.Journal(asked.results, by(bench), option=_OPTION).close()  # before a model loads
    # What is wrong with the file is known before, too.
    ways: dict[str, Any] = {"mode": own.mode, "score": own.score}
    read = benches.read(bench, source.file, **ways) if source.file else None
    settings = options.merged(user_settings.load(), drawing, loading)
    if task := _TASKS.get(bench.kind):
        choose_model(settings, task)
    with open_engine(settings, loading) as engine:
        how = protocol.choose(
            engine,
            wanted=asked.protocol,
            shots=asked.shots,
            usual_shots=bench.usual_shots,
            samples=asked.samples,
            sampling=_sampling(drawing),
        )
        _check_protocol(bench, how)
        items, remark = _items(read, source, asked, own, how, engine)
        place = asked.results or _place(bench, source, engine.model, how)
        with jsonl.Journal(place, by(bench), option=_OPTION) as book:
            book.begin(_settings(bench, source, own, how, engine, changing(settings, loading)))
            rows = _asked(engine, items, how, book, asked)
    if remark:
        relay(remark)
    return output.Report(
        bench=bench.name,
        model=engine.model,
        engine=engine.name,
        protocol=how.words(_is_rated(bench, how)),
        figures=summary.summarise(rows),
        rows=rows,
        results=str(place),
        weights=engine.capabilities.weights,
        commit=source.commit,
    )


def _asked(
    engine: Engine, items: Sequence[Item], how: Protocol, book: jsonl.Journal, asked: Asked
) -> list[dict[str, Any]]:
    from qwen_cli.ui.progress import Bar

    wanted = {(item.id, number) for item in items for number in range(how.samples)}
    rows = {key: row for key, row in run.known(book.rows).items() if key in wanted}
    done = {key: row for key, row in rows.items() if "error" not in row}
    if done:
        say(f"{len(done):,} of {len(wanted):,} answers are there already: {book.path}")
    lanes = asked.at_once or engine.capabilities.concurrent_requests
    failed: dict[tuple[str, int], str] = {}
    with Bar(len(wanted)) as bar:
        bar.show(len(done), _share(list(done.values())))
        for row in run.run(engine, items, how, done, at_once=lanes):
            key = (row["id"], row["sample"])
            if "error" in row:
                failed[key] = row["error"]
                continue
            done[key] = book.add(row)
            bar.show(len(done), _share(list(done.values())))
    if failed:
        first = next(iter(failed))
        raise EngineError(
            f"{len(failed):,} of {len(wanted):,} questions got no answer, {first[0]} first: {failed[first]}",
            f"run it again, the others are kept in {book.path}",
        )
    order = {item.id: place for place, item in enumerate(items)}
    return sorted(done.values(), key=lambda row: (order[row["id"]], row["sample"]))


def _share(rows: Sequence[dict[str, Any]]) -> str:
    return f"{sum(float(row['correct']) for row in rows) / len(rows):.1%}" if rows else ""


def _items(
    read: benches.File | None, source: Source, asked: Asked, own: Own, how: Protocol, engine: Engine
) -> tuple[list[Item], str | None]:
    if read is None:
        drawn = passkey.hidden(
            engine.capabilities.context, _lengths(own.lengths), own.depths, how.sampling.seed or 0
        )
        if not drawn:
            raise UsageError(
                f"no text of {own.lengths or 'these lengths'} fits a context of "
                f"{engine.capabilities.context:,} tokens",
                "give a larger `context`, or other --lengths",
            )
        return list(drawn), None
    loaded = read.after(how.shots, source.shots)
    items = list(loaded.items)
    if asked.subjects:
        items = _of_subjects(items, asked.subjects)
    return benches.stratified(items, asked.limit, how.sampling.seed), loaded.remark


def _of_subjects(items: Sequence[Item], wanted: Sequence[str]) -> list[Item]:
    names = {name.replace("_", " ").casefold() for name in wanted}
    there = {item.subject.casefold() for item in items}
    if missing := sorted(names - there):
        known = ", ".join(sorted({item.subject for item in items if item.subject})) or "none"
        raise UsageError(f"there is no subject {missing[0]!r}", f"there are: {known}")
    return [item for item in items if item.subject.casefold() in names]


def _source(bench: Bench, file: Path | None, asked: Asked) -> Source:
    """Return the file that was given, else that of the hub's data set, fetched if it is not here."""
    if bench.kind == "passkey":
        return Source(None)
    if file:
        if not file.is_file():
            raise UsageError(f"there is no file {file}")
        return Source(file, asked.shots_file)
    if bench.data is None:
        raise UsageError(
            f"{bench.name} has no data set that is fetched by itself",
            f"give its file: `qwen eval {bench.name} FILE`; each row has {bench.fields}",
        )
    from qwen_cli.models.hub import datasets
    from qwen_cli.ui.progress import Waiting

    with Waiting(f"fetching {bench.data.repo} …", relay) as waiting:
        told = {"revision": asked.revision, "progress": waiting.progress}
        test = datasets.fetch(bench.data.repo, bench.data.pattern, **told)  # type: ignore[arg-type]
        shots = asked.shots_file
        if bench.data.shots and not shots:
            split = datasets.fetch(bench.data.repo, bench.data.shots, **told)  # type: ignore[arg-type]
            shots = split.files[0]
    return Source(test.files[0], shots, test.commit)


def _check(bench: Bench, asked: Asked, own: Own) -> None:
    if own.mode not in ("cot", "short", "tir"):
        raise UsageError(f"--mode must be cot, short or tir, got {own.mode!r}")
    if own.score not in pictures.SCORES:
        raise UsageError(f"--score must be {', '.join(pictures.SCORES)}, got {own.score!r}")
    if asked.protocol not in ("auto", *protocol.FORMS):
        raise UsageError(f"--protocol must be auto, {', '.join(protocol.FORMS)}, got {asked.protocol!r}")
    if asked.as_json and asked.markdown:
        raise UsageError("--json and --markdown are two forms of one output", "give one of them")
    if asked.plot and asked.plot.suffix.lower() != ".png":
        raise UsageError(f"--plot draws a .png file, got {asked.plot}")
    if asked.compare and asked.compare != "card":
        output.other_rows(Path(asked.compare))
    _lengths(own.lengths)


def _check_protocol(bench: Bench, how: Protocol) -> None:
    if how.raw and bench.kind == "picture":
        raise UsageError("questions about pictures are asked in chat", "give --protocol chat")
    if how.raw and bench.kind == "choice" and how.samples > 1:
        raise UsageError("rated letters have no samples: each time they are the same", "leave --samples out")


def _is_rated(bench: Bench, how: Protocol) -> bool:
    return how.raw and bench.kind == "choice"


def _lengths(given: str | None) -> Sequence[int]:
    if given is None:
        return passkey.LENGTHS
    try:
        lengths = [int(word.strip().replace("_", "")) for word in given.split(",")]
    except ValueError:
        raise UsageError(f"--lengths are numbers with commas between them, got {given!r}") from None
    if min(lengths) < passkey.LEAST:
        raise UsageError(f"a text has {passkey.LEAST} tokens or more, got {min(lengths)}")
    return lengths


def _sampling(drawing: Drawing) -> Sampling:
    """Return the flags' sampling. What is kept for talking is no part of a measurement."""
    return Sampling(
        temperature=drawing.temperature,
        top_p=drawing.top_p,
        top_k=drawing.top_k,
        min_p=drawing.min_p,
        seed=drawing.seed,
        max_tokens=drawing.max_tokens,
    )


def _settings(
    bench: Bench, source: Source, own: Own, how: Protocol, engine: Engine, changes: dict[str, Any]
) -> dict[str, Any]:
    """Return what results depend on: another of these needs another journal."""
    own_settings: dict[str, dict[str, Any]] = {
        "problem": {"mode": own.mode if not how.raw else None},
        "picture": {"score": own.score},
        "passkey": {"depths": own.depths},
    }
    return {
        "model": engine.model,
        "engine": engine.name,
        **how.settings(),
        **own_settings.get(bench.kind, {}),
        "sha256": run.digest(source.file) if source.file else None,
        "shots_sha256": run.digest(source.shots) if source.shots and how.shots else None,
        "data": source.commit,
        **changes,
    }


def _place(bench: Bench, source: Source, model: str, how: Protocol) -> Path:
    stem = source.file.stem if source.file else bench.name
    many = f"-{how.samples}" if how.samples > 1 else ""
    name = re.sub(r"[^\w.-]+", "_", f"{bench.name}-{stem}-{model}-{how.form}-{how.shots}{many}")
    return paths.data_folder() / "evaluations" / f"{name}.jsonl"


def own_of(given: Any) -> Own:
    """Return the flags of one kind of bench as `Own`."""
    return replace(Own(), **vars(given))
