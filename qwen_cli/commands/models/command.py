"""`qwen models`: what is known and what is here, fetch, show, remove, convert."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from qwen_cli import aliases
from qwen_cli.commands.models import output, plan
from qwen_cli.commands.shared import complete, options
from qwen_cli.commands.shared.help import App
from qwen_cli.errors import ModelError, UsageError

if TYPE_CHECKING:
    from qwen_cli.models.catalog.lookup import Model
    from qwen_cli.models.hub.resolve import Weights

app = App(
    """List, plan, download, show, remove and convert models.

    Examples:
      qwen models plan
      qwen models pull qwen3:8b
    """
)
app.command("plan")(plan.plan)

TASKS = (
    "chat", "code", "math", "vision", "thinking", "long", "base", "embedding", "reranking", "reward", "guard",
    "audio", "transcription",
)  # fmt: skip


def _reference(offered: Callable[[str], list[str]]) -> Any:
    """Declare the name of a model, for which the shell offers what `offered` returns."""
    return typer.Argument(
        metavar="MODEL",
        help="Model alias (qwen3:8b), hub id, folder or .gguf file.",
        autocompletion=offered,
        callback=aliases.meant,
    )


Reference = Annotated[str, _reference(complete.models)]
Here = Annotated[str, _reference(complete.local_models)]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="Format of the weights: gguf or safetensors.",
        autocompletion=complete.among("gguf", "safetensors"),
    ),
]
Quant = Annotated[
    str | None,
    typer.Option(
        "--quant",
        help="GGUF file type to download, such as q8_0.",
        autocompletion=complete.among(*complete.FILE_TYPES),
    ),
]


@app.command("list")
def list_models(
    local: Annotated[
        bool, typer.Option("--local", help="List only models that are on this machine.")
    ] = False,
    task: Annotated[
        str | None,
        typer.Option(
            "--task",
            help=f"List only models for this task: {', '.join(TASKS)}.",
            autocompletion=complete.among(*TASKS),
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="List base models too, which are not trained to answer.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """List the Qwen models that are known, and those on this machine.

    Examples:
      qwen models list --task code
    """
    if task and task not in TASKS:
        raise UsageError(f"unknown task {task!r}", f"choose one of {', '.join(TASKS)}")
    rows = [row for row in _rows() if _wanted(row, local, task, everything)]
    if as_json:
        output.write_json(rows)
        return
    table = [
        (
            row["name"], output.count(row["parameters"], row["active"]), output.size(row["download_bytes"]),
            output.tokens(row["context"]), row["licence"] or "?", " ".join(row["engines"]),
            output.here(row["present"]),
        )
        for row in rows
    ]  # fmt: skip
    output.write_table(
        ("model", "size", "download", "context", "licence", "engines", "here"),
        table,
        least=("licence", "engines", "context", "download", "size"),
        marked=lambda row: bool(row[-1]),
    )


def _rows() -> list[dict[str, Any]]:
    """Return one row a known model, with what of it is here, then what is here and not known."""
    from qwen_cli.models.catalog import lookup
    from qwen_cli.models.hub import resolve

    present: dict[str, list[Weights]] = {}
    strangers: dict[str, list[Weights]] = {}
    for weights in resolve.local():
        known = lookup.find(weights.label.partition(":")[0] if "/" in weights.label else weights.label)
        (present if known else strangers).setdefault(known.name if known else weights.label, []).append(
            weights
        )
    rows = []
    for model in lookup.MODELS:
        rows.append(_row(model.name, model, present.get(model.name, [])))
    for label, described in strangers.items():
        rows.append(_row(label, described[0].model, described))
    return rows


def _row(name: str, model: Model | None, present: list[Weights]) -> dict[str, Any]:
    from qwen_cli.models.catalog import published

    forms: set[str] = {weights.format for weights in present}
    if model and not forms:
        forms = ({"gguf"} if model.gguf_repo else set()) | (set() if model.only_gguf else {"safetensors"})
    gguf = "gguf" in forms
    return {
        "name": name,
        "family": model.family if model else None,
        "tasks": list(model.tasks) if model else [],
        "parameters": model.parameters if model else None,
        "active": model.active if model else None,
        "download_bytes": published.download_bytes(model, "gguf" if gguf else "safetensors")
        if model
        else None,
        "context": model.context if model else None,
        "licence": model.licence if model else None,
        "engines": _engines(model, forms),
        "repo": model.repo if model else None,
        "gguf_repo": model.gguf_repo if model else None,
        "gguf_by": model.community if model else None,
        "present": [
            {"format": w.format, "quant": w.quant, "bytes": w.size, "path": str(w.path)} for w in present
        ],
    }


def _engines(model: Model | None, forms: set[str]) -> list[str]:
    """Return the engines here that run `forms`: none for what speaks, and for vectors and scores of pictures;
    who listens and who rewards is no GGUF."""
    from qwen_cli.models.catalog import answers

    task = answers.silent_task(model) if model else None
    if model and model.vision and task in ("embedding", "reranking"):
        return []
    llamacpp = "gguf" in forms and task in (None, "embedding", "reranking")
    transformers = "safetensors" in forms and task != "audio"
    return (["llamacpp"] if llamacpp else []) + (["transformers"] if transformers else [])


def _wanted(row: dict[str, Any], local: bool, task: str | None, everything: bool) -> bool:
    if local and not row["present"]:
        return False
    if task:
        return task in row["tasks"]
    return everything or "base" not in row["tasks"] or bool(row["present"])


@app.command()
def pull(
    model: Reference,
    quant: Quant = None,
    form: Format = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--source",
            help="Where to download from: hub or modelscope; the one that answers if not given.",
            autocompletion=complete.among("hub", "modelscope"),
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Download a model and print its path; an interrupted download is resumed.

    Examples:
      qwen models pull qwen3:8b --quant q4_k_m
    """
    if source not in (None, "hub", "modelscope"):
        raise UsageError(f"unknown source {source!r}", "choose hub or modelscope")
    from qwen_cli.commands.shared.output import relay
    from qwen_cli.models.hub import resolve
    from qwen_cli.models.planning import default_model
    from qwen_cli.ui.progress import Waiting

    wanted = _format(form)
    if remark := resolve.means_a_folder(model):
        relay(remark)
    with Waiting(f"asking for {model} …", relay) as waiting:
        weights = resolve.resolve(
            model,
            prefer=wanted or default_model.preferred_format(model),
            strict=wanted is not None,
            quant=quant,
            source=cast(Any, source),
            progress=waiting.progress,
        )
    if as_json:
        output.write_json(output.describe(weights))
    else:
        output.write(str(weights.path))


@app.command()
def show(model: Reference, form: Format = None, as_json: options.Json = False) -> None:
    """Show what a model is: layers, heads, experts, context, KV cache, licence.

    Examples:
      qwen models show qwen3:30b-a3b
    """
    from qwen_cli.models.catalog import lookup

    weights = _local(model, form)
    known = weights.model if weights else lookup.find(model)
    if known is None and weights is None:
        weights = _local_or_fault(model, form)  # says why it is not known
    shape = weights.architecture if weights else None
    facts = output.facts(known, weights, shape)
    if as_json:
        output.write_json(facts)
        return
    texts = {name: text for name, value in facts.items() if (text := output.fact(name, value)) is not None}
    width = max(22, *(len(name) + 2 for name in texts))
    for name, text in texts.items():
        output.write(f"{name.replace('_', ' '):<{width}}{text}")
    if shape is None:
        typer.echo(f"layers and heads are read from the weights: run `qwen models pull {model}`", err=True)


@app.command()
def path(model: Here, form: Format = None, as_json: options.Json = False) -> None:
    """Print where a model is on this machine. Downloads nothing.

    Examples:
      qwen models path starter
    """
    weights = _local_or_fault(model, form)
    if as_json:
        output.write_json(output.describe(weights))
    else:
        output.write(str(weights.path))


@app.command("rm")
def remove(
    model: Here,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove without asking first.")] = False,
    as_json: options.Json = False,
) -> None:
    """Remove a model from this machine, after asking.

    Examples:
      qwen models rm qwen3:8b
    """
    import sys

    doomed = _doomed(model)
    _refuse_if_used(model, doomed)
    size = sum(_folder_bytes(target) for target in doomed)
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError(f"removing {model} needs a yes", "add --yes")
        places = ", ".join(str(target) for target in doomed)
        typer.confirm(output.clean(f"Remove {model} ({output.size(size)}: {places})?"), abort=True, err=True)
    for target in doomed:
        _delete(target)
    if as_json:
        output.write_json({"removed": [str(target) for target in doomed], "bytes": size})
    else:
        typer.echo(output.clean(f"removed {model}, {output.size(size)} freed"), err=True)


def _doomed(model: str) -> list[Path]:
    """Return the files and folders of this program and of the hub cache that hold `model`."""
    from qwen_cli import paths
    from qwen_cli.models.hub import store

    targets = []
    for form in ("gguf", "safetensors"):
        weights = _local(model, form)
        if weights is None or weights.format != form:
            continue
        if weights.label == "starter":
            targets.append(weights.path)
            continue
        inside = [store.repo_folder(repo) for repo in store.repositories()]
        holder = next((folder for folder in inside if folder in weights.path.parents), None)
        if holder is None and paths.data_folder() / "models" in weights.path.parents:
            holder = weights.path
        if holder is None:
            raise UsageError(f"{weights.path} is your own file", "remove it yourself")
        targets.append(holder)
    if not targets:
        raise ModelError(f"{model} is not on this machine", "run `qwen models list --local` for what is")
    return list(dict.fromkeys(targets))


def _refuse_if_used(model: str, doomed: list[Path]) -> None:
    """Raise `ModelError` where a program of this user has one of the files mapped: it would go on with it,
    and the room would stay taken. Seen on Linux alone; Windows refuses by itself."""
    files = {
        os.fsencode(file.resolve())
        for target in doomed
        for file in (target.rglob("*") if target.is_dir() else (target,))
        if file.suffix.lower() in (".gguf", ".safetensors") and file.resolve().is_relative_to(target)
    }  # not what a link of ours leads to: that stays
    for maps in Path("/proc").glob("[0-9]*/maps"):
        try:
            lines = maps.read_bytes().splitlines()
            program = (maps.parent / "comm").read_text("utf-8", errors="replace").strip()
        except OSError:  # another user's, or over
            continue
        if any(line.split(maxsplit=5)[5:] and line.split(maxsplit=5)[5] in files for line in lines):
            raise ModelError(
                f"{model} is in use by process {maps.parent.name} ({program})",
                "end it first; a running server ends with `qwen stop`",
            )


def _delete(target: Path) -> None:
    import shutil

    from qwen_cli.models.hub import store

    try:
        if target.parent == store.cache_folder():
            store.delete(target.name.removeprefix("models--").replace("--", "/", 1))
        elif target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink()
    except OSError as error:
        raise ModelError(f"cannot remove {target}: {error.strerror}", "check its permissions") from None


def _folder_bytes(target: Path) -> int:
    if target.is_file():
        return target.stat().st_size
    return sum(f.lstat().st_size for f in target.rglob("*") if f.is_file() and not f.is_symlink())


@app.command()
def convert(
    model: Reference,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            help="Format to convert to: safetensors or gguf.",
            autocompletion=complete.among("safetensors", "gguf"),
        ),
    ] = "safetensors",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Folder (safetensors) or file (gguf) to write; one in the data folder if not given."
        ),
    ] = None,
    quant: Annotated[
        str | None,
        typer.Option(
            "--quant",
            help="GGUF file type to read, or to write, such as q8_0.",
            autocompletion=complete.among(*complete.FILE_TYPES),
        ),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            "--base",
            help="Model that a LoRA adapter is for; the one that it names if not given.",
            autocompletion=complete.local_models,
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Convert a model between GGUF (llama.cpp) and safetensors (transformers), or a LoRA adapter to GGUF, and
    print the new path.

    Examples:
      qwen models convert qwen3:8b --to gguf --quant q4_k_m
      qwen models convert my-adapter --to gguf --base starter
    """
    if to not in ("safetensors", "gguf"):
        raise UsageError(f"cannot convert to {to!r}", "use --to safetensors or --to gguf")
    if (Path(model).expanduser() / "adapter_config.json").is_file():
        _convert_adapter(Path(model).expanduser(), to, base, out, quant, as_json)
        return
    if base is not None:
        raise UsageError(f"--base is for LoRA adapters, and {model} is none", "leave it out")
    from qwen_cli import paths
    from qwen_cli.commands.shared.output import relay, say
    from qwen_cli.models.formats import gguf_export, gguf_import
    from qwen_cli.models.hub import resolve, starter
    from qwen_cli.ui.progress import Waiting

    source: Literal["gguf", "safetensors"] = "gguf" if to == "safetensors" else "safetensors"
    folder = paths.data_folder() / "models"
    with Waiting(f"converting {model} …", relay) as waiting:
        weights = resolve.resolve(
            model,
            prefer=source,
            strict=True,
            quant=quant if source == "gguf" else None,
            progress=waiting.progress,
        )
        if to == "gguf":
            kind = (quant or "bf16").lower()
            place = out or folder / f"{_base(weights)}-{kind}.gguf"
            written = gguf_export.to_gguf(weights.path, place, quant=kind, progress=waiting.progress)
            eyes = gguf_export.projector_path(written, kind)
        else:
            own = weights.label == "starter"
            place = out or (
                starter.safetensors_path() if own else folder / f"{weights.path.stem}-safetensors"
            )
            written = gguf_import.to_safetensors(weights.path, place, progress=waiting.progress)
    seeing = to == "gguf" and eyes.is_file()
    if as_json:
        found = {"path": str(written), "mmproj": str(eyes) if seeing else None, "from": str(weights.path)}
        output.write_json(found)
    else:
        output.write(str(written))
        if seeing:
            say(f"its vision projector is {eyes}, which goes where the model goes")


@app.command()
def merge(
    model: Reference,
    adapters: Annotated[list[Path], typer.Argument(help="LoRA adapters: folders that peft wrote.")],
    out: Annotated[Path, typer.Option("--out", help="Folder to write the model to.")],
    as_json: options.Json = False,
) -> None:
    """Add LoRA adapters to the weights of their model (safetensors), and print the new folder.

    Examples:
      qwen models merge starter my-adapter --out my-model
    """
    from qwen_cli.commands.shared.output import relay
    from qwen_cli.models.formats import lora, lora_merge
    from qwen_cli.models.hub import resolve
    from qwen_cli.ui.progress import Waiting

    folders = [folder.expanduser() for folder in adapters]
    for folder in folders:
        lora.check(folder)
    with Waiting(f"merging into {model} …", relay) as waiting:
        weights = resolve.resolve(model, prefer="safetensors", strict=True, progress=waiting.progress)
        written = lora_merge.merged(weights.path, folders, out.expanduser(), waiting.progress)
    if as_json:
        output.write_json(
            {"path": str(written), "from": str(weights.path), "adapters": list(map(str, folders))}
        )
    else:
        output.write(str(written))


def _convert_adapter(
    folder: Path, to: str, base: str | None, out: Path | None, quant: str | None, as_json: bool
) -> None:
    """Write the GGUF file of the adapter that peft saved in `folder`, and print its path."""
    from qwen_cli import paths
    from qwen_cli.models.formats import gguf_vocabulary, lora
    from qwen_cli.models.hub import resolve

    if to != "gguf":
        raise UsageError(f"{folder} is a LoRA adapter in safetensors already", "use --to gguf")
    if quant is not None:
        raise UsageError(f"--quant {quant} is for models: adapters stay in 32 bits", "leave it out")
    named = base or str(gguf_vocabulary.json_of(folder / lora.CONFIG).get("base_model_name_or_path") or "")
    if not named:
        raise UsageError(f"{folder} does not say what model it is for", "add --base MODEL")
    try:
        model = resolve.resolve(named, download=False)
    except ModelError as fault:
        raise ModelError(
            f"the adapter's base: {fault.message}", "add --base with a model that is here"
        ) from None
    place = out or paths.data_folder() / "adapters" / f"{folder.resolve().name}.gguf"
    written = lora.to_gguf(folder, lora.base_of(model.path), place)
    if as_json:
        output.write_json({"path": str(written), "mmproj": None, "from": str(folder)})
    else:
        output.write(str(written))


def _base(weights: Weights) -> str:
    """Return what a file made of `weights` is called, as the official ones are: by the repository's name."""
    known = weights.model.repo.rpartition("/")[2] if weights.model else weights.path.name
    return known.lower()


def _format(form: str | None) -> Literal["gguf", "safetensors"] | None:
    if form not in (None, "gguf", "safetensors"):
        raise UsageError(f"unknown format {form!r}", "choose gguf or safetensors")
    return cast(Any, form)


def _local(model: str, form: str | None) -> Weights | None:
    """Return `model` if it is here (in `form`), None if it is not or is not known."""
    from qwen_cli.models.catalog import lookup

    try:
        return _local_or_fault(model, form)
    except ModelError:
        # A broken file or folder is a fault to be told; a name that is merely absent is not.
        if lookup.known(model):
            return None
        raise


def _local_or_fault(model: str, form: str | None) -> Weights:
    from qwen_cli.models.hub import resolve

    wanted = _format(form)
    return resolve.resolve(model, prefer=wanted or "gguf", strict=wanted is not None, download=False)
