"""`qwen bench`: how fast models are on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qwen_cli.commands.shared import complete, options
from qwen_cli.commands.shared.output import print_json, relay, say
from qwen_cli.errors import UsageError

if TYPE_CHECKING:
    from qwen_cli.engines.core.options import LoadOptions
    from qwen_cli.tasks.bench.measure import Result

_LEAST, _MOST = 16, 1_000_000  # tokens of a prompt


def bench(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL…",
            help="Models that are on this machine: aliases, folders or .gguf files; the one that `qwen chat` "
            "takes if none is given.",
            autocompletion=complete.models,
        ),
    ] = None,
    engine: Annotated[
        list[str] | None,
        typer.Option(
            "--engine",
            help="Engine that runs them: auto, llamacpp, llama-server or transformers. Repeat it to compare.",
            autocompletion=complete.engines,
        ),
    ] = None,
    lengths: Annotated[
        str, typer.Option("--lengths", help="Tokens of the prompts, separated by commas.")
    ] = "128,512,2048,8192,16384",
    seconds: Annotated[
        float,
        typer.Option(
            "--seconds",
            help="Most seconds for one model; longer prompts that do not fit are left out.",
            min=1,
        ),
    ] = 120.0,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", help="Draw the speeds into this PNG file (needs the extra `plots`)."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Measure how fast models are here: load, first token, reading and writing at growing lengths, memory.

    Nothing is fetched. `qwen models plan` uses the figures from then on.

    Examples:
      qwen bench qwen3:4b --engine llamacpp --engine llama-server
      qwen bench qwen3:4b qwen3:1.7b --lengths 512,4096 --plot speed.png
    """
    from qwen_cli.commands.bench import output

    wanted = _lengths(lengths)
    if plot is not None:
        output.check_plot(plot)
    results = measure_all(models or [], engine or ["auto"], wanted, seconds=seconds)
    if plot is not None:
        output.draw(results, plot)
        say(f"drawn: {plot}")
    if as_json:
        print_json([result.to_json() for result in results])
    else:
        output.show(results)
    if all(result.load is None for result in results):
        raise typer.Exit(1)


def measure_all(models: list[str], engines: list[str], lengths: list[int], *, seconds: float) -> list[Result]:
    """Measure each of `models` on each of `engines`, one after the other, and keep the figures. Ctrl-C ends
    it with what there is. Raises as a load does before anything is measured."""
    from qwen_cli.engines.core.options import LoadOptions
    from qwen_cli.tasks.bench import measure
    from qwen_cli.ui.progress import Waiting

    chosen = [LoadOptions(model, engine=engine) for model in models or [_usual()] for engine in engines]
    for one in chosen:
        _check_here(one)
    results: list[Result] = []
    with Waiting("measuring …", relay) as waiting:
        for one in chosen:
            results.append(measure.Result(one.model or "", one.engine))

            def tell(result: Result) -> None:
                results[-1] = result
                waiting.now(_doing(result))

            waiting.now(f"loading {one.model} …")
            try:
                results[-1] = measure.run(one, lengths, seconds=seconds, tell=tell)
            except KeyboardInterrupt:
                waiting.say("interrupted: what follows was measured before")
                break
            finally:
                _keep(results[-1])
    return results


def _keep(result: Result) -> None:
    from qwen_cli.models.planning import benched

    rates = [
        benched.Rates(row.tokens, row.prefill, row.decode)
        for row in result.rows
        if row.prefill and row.decode
    ]
    benched.remember(result.model, result.form, result.engine, rates)


def _doing(result: Result) -> str:
    if not result.rows:
        return f"{result.model}: reading the first prompt …"
    return f"{result.model} on {result.engine}: {result.rows[-1].tokens:,} tokens are done …"


def _lengths(text: str) -> list[int]:
    """Return the lengths in `text`, shortest first. Raises `UsageError`."""
    try:
        found = sorted({int(word.strip().replace("k", "000")) for word in text.split(",")})
    except ValueError:
        found = []
    if not found or not all(_LEAST <= one <= _MOST for one in found):
        raise UsageError(
            f"--lengths must be whole numbers from {_LEAST} to {_MOST:,} with commas between, got {text!r}",
            "such as 128,2048",
        )
    return found


def _usual() -> str:
    """Return the model that is taken where none is named, of those that are here."""
    from qwen_cli.models.hub import resolve

    here = resolve.local()
    if not here:
        raise UsageError("there is no model on this machine", "fetch one: `qwen models pull starter`")
    from qwen_cli.models.planning import default_model

    best = default_model.best_local(tuple({weights.format for weights in here}))
    return (best or here[0]).label


def _check_here(one: LoadOptions) -> None:
    """Raise for a model that is not here, or an engine that is elsewhere."""
    from qwen_cli.engines import load
    from qwen_cli.models.hub import resolve

    if one.engine == "remote":
        raise UsageError("--engine remote is elsewhere: this measures this machine", "choose another engine")
    load.look(one)
    if one.model:
        resolve.resolve(one.model, download=False)
