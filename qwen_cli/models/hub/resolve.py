"""From the name of a model to weights on this machine."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from qwen_cli import aliases, paths
from qwen_cli.errors import ModelError, UsageError
from qwen_cli.models import progress
from qwen_cli.models.catalog import lookup
from qwen_cli.models.formats import weight_formats
from qwen_cli.models.hub import starter, store

if TYPE_CHECKING:
    from qwen_cli.models.formats.architecture import Architecture
    from qwen_cli.models.hub.sources import Listing, RemoteFile, Source

Format: TypeAlias = Literal["gguf", "safetensors"]
FORMATS: tuple[Format, ...] = ("gguf", "safetensors")


@dataclass(frozen=True)
class Weights:
    """Weights that are here. `path` is the .gguf file (the first of a split model) or the model's folder.

    `label` is what to call them and resolves to them again; `model` is None where the catalog has no such
    model; `mmproj` is the vision projector that goes with a GGUF file.
    """

    label: str
    path: Path
    format: Format
    model: lookup.Model | None
    mmproj: Path | None = None
    shape: Architecture | None = field(default=None, repr=False, compare=False)  # read of `path` already

    @property
    def files(self) -> tuple[Path, ...]:
        """Return the files of the weights and the projector."""
        if self.format == "safetensors":
            return tuple(sorted(self.path.glob("*.safetensors")))
        from qwen_cli.models.formats import gguf_header

        return (*gguf_header.shards(self.path), *((self.mmproj,) if self.mmproj else ()))

    @property
    def size(self) -> int:
        """Return the bytes of `files`."""
        return sum(file.stat().st_size for file in self.files)

    @cached_property
    def architecture(self) -> Architecture:
        """Return what the files say of the model, read once. Raises `ModelError`."""
        from qwen_cli.models.formats import architecture

        return self.shape or architecture.read(self.path)

    @property
    def quant(self) -> str | None:
        """Return the file type that a GGUF file's name gives; None for safetensors."""
        return store.quant_of(self.path.name) if self.format == "gguf" else None


def resolve(
    reference: str,
    *,
    prefer: Format = "gguf",
    strict: bool = False,
    quant: str | None = None,
    pickle: bool = False,
    download: bool = True,
    source: Source | None = None,
    progress: progress.Progress | None = None,
) -> Weights:
    """Return the weights that `reference` (alias, hub id, folder, .gguf file) names, fetched if they are not
    here.

    What is here already is taken before anything is fetched, in the form `prefer` if there is a choice; with
    `strict` only that form will do. `quant` is a GGUF file type ("Q8_0"). Nothing asks the network when the
    weights are here. A folder with pickles instead of safetensors will do with `pickle` alone. Raises
    `ModelError`, `DownloadError`.
    """
    reference = aliases.meant(reference.strip())
    if not reference:
        raise UsageError("the model's name is empty", "give one, or leave `model` out")
    if path := as_path(reference):
        return _from_path(path, prefer, strict, quant, pickle)
    lookup.check(reference)
    file = lookup.file_of(reference)
    reference, own = lookup.spelled(reference)
    if own and quant and own.upper() != quant.upper():
        raise UsageError(f"{reference}:{own} and `quant={quant}` name two file types", "give one of them")
    quant = own or quant
    if own and strict and prefer == "safetensors":
        raise ModelError(f"{own} is a file type of GGUF, this engine needs safetensors", "leave it out")
    prefer = "gguf" if own else prefer
    model = lookup.find(reference)
    repo = reference if "/" in reference else None
    if not model and not repo:
        raise _unknown(reference)
    whole = f"{reference}{':' if repo else '-'}{own}" if own else reference
    forms = _forms(model, repo, prefer, strict, file_type=own)
    if not forms:
        raise _no_such_form(reference, model, prefer)
    for form, name in forms:
        if here := find_local(model or lookup.related(name), form, name, quant, file):
            return here
    if reference.lower() == "starter":
        _refuse_other_forms(prefer if strict else "gguf", quant)
    if not download:
        raise ModelError(f"{whole} is not on this machine", f"run `qwen models pull {whole}`")
    if reference.lower() == "starter":
        return _starter(starter.fetch(progress))
    form, name = forms[0]
    return _fetch(model or lookup.related(name), name, form, quant, file, source, progress)


def checked(reference: str) -> str:
    """Return what `reference` (alias of the catalog, hub id, folder, file) will name from any folder: paths
    are made whole. Asks no network. Raises `ModelError` where it can name nothing."""
    reference = reference.strip()
    if path := as_path(reference) if reference else None:
        if not path.exists():
            raise ModelError(f"there is no file or folder {path}", "check the path")
        return str(path.absolute())
    lookup.check(reference)
    if "/" not in reference and not lookup.find(reference):
        raise _unknown(reference)
    return reference


def local() -> list[Weights]:
    """Return all weights on this machine: the starter, this program's own folder, and the hub cache."""
    here: list[Weights] = []
    if file := starter.is_present():
        here.append(_starter(file))
    own = paths.data_folder() / "models"
    for folder in sorted(own.iterdir()) if own.is_dir() else ():
        if folder == starter.safetensors_path() and store.has_safetensors(folder):
            here.append(Weights("starter", folder, "safetensors", lookup.find("starter")))
        elif folder.name != "starter" and store.has_safetensors(folder):
            here.append(Weights(str(folder), folder, "safetensors", lookup.related(folder.name)))
    for repo in store.repositories():
        here += _in_cache(repo)
    return here


def _in_cache(repo: str) -> list[Weights]:
    folder = store.snapshot(repo)
    if folder is None:
        return []
    model = lookup.known(repo)
    if store.has_safetensors(folder):
        return (
            [Weights(_label(model, repo), folder, "safetensors", model)] if model or _is_qwen(folder) else []
        )
    cached = []
    for quant, path in store.local_ggufs(folder).items():
        if model or _is_qwen(path):
            with suppress(ModelError):  # whose projector it is matters where it is loaded
                cached.append(
                    Weights(_label(model, repo, quant), path, "gguf", model, store.local_mmproj(path))
                )
    return cached


def _is_qwen(path: Path) -> bool:
    """Return whether weights whose name says nothing are a Qwen model: a fine-tune, and not another tool's
    Llama."""
    from qwen_cli.models.formats import architecture

    try:
        architecture.read(path)
    except ModelError:
        return False
    return True


def _label(model: lookup.Model | None, repo: str, quant: str | None = None) -> str:
    """Return what resolves to these weights again: the alias for Qwen's own of the usual file type, else the
    hub id.

    Another's weights of the same model are not the same, so they keep their name.
    """
    name = model.name if model and repo.lower() in _own_repos(model) else repo
    return f"{repo}:{quant}" if quant and quant != (model.quant if model else "Q4_K_M") else name


def _own_repos(model: lookup.Model) -> set[str]:
    return {model.repo.lower(), (model.gguf_repo or model.repo).lower()}


def as_path(reference: str) -> Path | None:
    """Return `reference` as a path, where it is meant as one; a hub id is not, unless such a folder
    exists."""
    path = Path(reference).expanduser()
    explicit = reference.startswith((".", "/", "~")) or "\\" in reference or path.is_absolute()
    name = lookup.spelled(reference)[0]
    if not explicit and ("://" in reference or ("/" in name and name != reference)) and not path.exists():
        return None  # an address, or a file of a repository
    if explicit or reference.lower().endswith(".gguf") or ("/" in reference and path.exists()):
        return path
    return path if holds_model(path) else None


def means_a_folder(reference: str) -> str | None:
    """Return that a bare name means a folder here though the catalog has a model of that name; None where
    there is only one thing that it can mean."""
    if "/" in reference or "\\" in reference or not holds_model(Path(reference)):
        return None
    known = lookup.find(reference)
    if known is None:
        return None
    return f"{reference} is the folder of that name here; the model of the catalog is {known.repo}"


def holds_model(path: Path) -> bool:
    """Return whether `path` is a folder in which a model lies: its bare name means it."""
    return path.is_dir() and ((path / "config.json").is_file() or bool(store.ggufs(path)))


def _from_path(path: Path, prefer: Format, strict: bool, quant: str | None, pickle: bool) -> Weights:
    from qwen_cli.models.formats import architecture

    if not path.exists():
        raise ModelError(f"there is no file or folder {path}", "check the path")
    only = prefer if strict else None
    if path.is_dir() and _is_of_gguf(path, prefer, strict):
        path = _gguf_in(path, quant)
    form: Format = "safetensors" if path.is_dir() else "gguf"
    if only and form != only:
        wanted = "a .gguf file" if only == "gguf" else "a folder with config.json"
        raise ModelError(f"{path} is {form}, this engine needs {only}", f"give {wanted}, or another `engine`")
    shape = architecture.read(path)  # refuses what is no model, truncated, or of another kind
    if form == "safetensors":
        if shape.size is None and not any(path.glob("*.bin")):
            raise ModelError(f"{path} has a config.json but no *.safetensors", "fetch the weights too")
        if shape.size is None and not pickle:
            raise ModelError(
                f"{path} holds its weights as pickles, a format that can run code when it is read",
                "give safetensors, or trust them with `allow_pickle`",
            )
        return Weights(str(path), path, form, lookup.related(path.resolve().name), shape=shape)
    from qwen_cli.models.formats import gguf_header

    first = gguf_header.shards(path)[0]
    if quant and (own := store.quant_of(first.name)) and not store.pick_quant({own}, quant):
        raise ModelError(f"{first.name} is {own}, not {quant}", "leave `quant` out, or name another file")
    known = shape if first == path else None  # else of another part
    if first.resolve() == starter.path().resolve():
        return replace(_starter(first), shape=known)
    stem = weight_formats.without_file_type(first.name)[0]
    model = lookup.related(stem) or lookup.related(str(shape.name or "").replace(" ", "-"))
    projector = store.local_mmproj(first) if shape.vision else None
    return Weights(str(first), first, form, model, projector, known)


def _is_of_gguf(folder: Path, prefer: Format, strict: bool) -> bool:
    """Return whether a folder is taken for its GGUF file. A config.json may lie beside one, as repositories
    have it; where the safetensors do too, there is a choice."""
    if not (folder / "config.json").is_file():
        return True
    if not store.local_ggufs(folder):
        return False
    if store.has_safetensors(folder):
        return prefer == "gguf"
    return not strict or prefer == "gguf"


def _gguf_in(folder: Path, quant: str | None) -> Path:
    """Return the one model of a folder, or that of file type `quant`. Raises `ModelError`."""
    models = store.whole_models(folder)
    if not models:
        raise ModelError(f"{folder} {_why_no_gguf(folder)}", "give a model folder or a .gguf file")
    if quant:
        kinds = {store.quant_of(path.name) or "" for path in models}
        chosen = store.pick_quant(kinds, quant)
        if chosen is None and kinds != {""}:
            raise ModelError(f"{folder} has no {quant}", f"it has {', '.join(sorted(filter(None, kinds)))}")
        models = [path for path in models if (store.quant_of(path.name) or "") == (chosen or "")]
    if len(models) > 1:
        names = ", ".join(sorted(found.name for found in models))
        raise ModelError(f"{folder} holds several models: {names}", "name one of the files")
    return models[0]


def _why_no_gguf(folder: Path) -> str:
    """Return what a folder without a whole model has instead."""
    from qwen_cli.models.formats import gguf_header

    found = store.ggufs(folder, deep=True)
    for path in found:
        if not store.is_companion(path.name):
            try:
                gguf_header.shards(path)
            except ModelError as fault:
                return f"has no whole model: {fault.message}"
    if found:
        return f"holds {found[0].name} alone, which goes with a model and is none"
    return "has no config.json and no whole .gguf file"


def _refuse_other_forms(form: Format, quant: str | None) -> None:
    """Refuse any form of the starter but the one that the package index carries. Raises `ModelError` for
    another."""
    if form == "safetensors":
        raise ModelError(
            "starter comes as GGUF, safetensors are wanted",
            "run `qwen models convert starter` once",
        )
    if quant and quant.upper() != "Q4_K_M":
        raise ModelError(f"starter comes as Q4_K_M, not {quant!r}", "name qwen2.5-coder:0.5b for others")


def _starter(file: Path) -> Weights:
    return Weights("starter", file, "gguf", lookup.find("starter"))


def _forms(
    model: lookup.Model | None, repo: str | None, prefer: Format, strict: bool, file_type: str | None = None
) -> list[tuple[Format, str]]:
    """Return the forms that will do, best first, each with the repository that has it. Other people's have
    GGUF where their name or a `file_type` with it says so."""
    if model and (repo is None or repo.lower() in _own_repos(model)):
        plain = None if model.only_gguf else model.repo
        known: dict[Format, str | None] = {"gguf": model.gguf_repo, "safetensors": plain}
    else:
        assert repo
        form: Format = "gguf" if file_type or "gguf" in repo.lower() else "safetensors"
        known = {form: repo}
    order: tuple[Format, ...] = ("gguf", "safetensors") if prefer == "gguf" else ("safetensors", "gguf")
    return [(form, name) for form in order if (name := known.get(form)) and (form == prefer or not strict)]


def find_local(
    model: lookup.Model | None,
    form: Format,
    repo: str | None = None,
    quant: str | None = None,
    file: str | None = None,
) -> Weights | None:
    """Return `model` (or what `repo` holds) in one form if it is here whole; of GGUF the `file` of that path
    in the repository where one is given. Asks no network."""
    if repo is None:
        repo = (model.gguf_repo if form == "gguf" else model.repo) if model else None
    if repo is None:
        return None
    is_starter = _label(model, repo) == lookup.STARTER
    if form == "safetensors":
        if is_starter and store.has_safetensors(folder := starter.safetensors_path()):
            return Weights("starter", folder, form, model)
        if (there := store.snapshot(repo)) and store.has_safetensors(there):
            return Weights(_label(model, repo), there, form, model)
        return None
    if is_starter and quant in (None, "Q4_K_M") and (placed := starter.is_present()):
        return _starter(placed)  # the same file as the one in the official repository
    if there := store.snapshot(repo):
        if file and (found := _named(there, file)):
            kind = store.quant_of(found.name) or ""
            usual = store.local_ggufs(there).get(kind) == found
            label = _label(model, repo, kind) if usual else f"{repo}:{found.relative_to(there).as_posix()}"
            return Weights(label, found, form, model, store.local_mmproj(found))
        if file:
            return None
        models = store.local_ggufs(there)
        chosen = store.pick_quant(set(models), quant, model.quant if model else "Q4_K_M")
        if chosen is not None:
            mmproj = store.local_mmproj(models[chosen])
            # Other people's repositories of a model that sees may have no eyes for it.
            if mmproj or not (model and model.mmproj and repo.lower() in _own_repos(model)):
                return Weights(_label(model, repo, chosen), models[chosen], form, model, mmproj)
    return None


def _named(snapshot: Path, file: str) -> Path | None:
    """Return the first part of the model of which `file` is a part, if all of it is here."""
    from qwen_cli.models.formats import gguf_header

    path = snapshot / file
    if ".." in Path(file).parts or not path.is_file():
        return None
    try:
        return gguf_header.shards(path)[0]
    except ModelError:
        return None


def _fetch(
    model: lookup.Model | None,
    repo: str,
    form: Format,
    quant: str | None,
    file: str | None,
    source: Source | None,
    progress: progress.Progress | None,
) -> Weights:
    from qwen_cli.models.hub import download

    usual = model.quant if model else "Q4_K_M"

    def choose(listing: Listing) -> list[RemoteFile]:
        if form == "safetensors":
            return download.safetensors(listing)
        return download.gguf(listing, quant, usual, vision=bool(model and model.vision), file=file)

    by = model.community if model and form == "gguf" and repo.lower() in _own_repos(model) else None
    label = f"{_label(model, repo)} (GGUF by {by}, not by Qwen)" if by else _label(model, repo)
    download.pull(repo, choose, source=source, label=label, progress=progress)
    here = find_local(model, form, repo, quant, file)
    if here is None:
        raise ModelError(f"{repo} was fetched but holds no whole {form} model", "give another repository")
    shape = here.architecture
    if model:
        return here
    return replace(here, model=lookup.related(str(shape.name or "").replace(" ", "-")), shape=shape)


def _unknown(reference: str) -> ModelError:
    close = lookup.suggestions(reference)
    if Path(reference).is_dir():
        why = _why_no_gguf(Path(reference))
        return ModelError(f"there is no model {reference!r}, and the folder of that name {why}", "name one")
    if close:
        return ModelError(f"there is no model {reference!r}", f"did you mean {', '.join(close)}?")
    return ModelError(
        f"there is no model {reference!r}", "run `qwen models list`, or give a hub id, folder or .gguf file"
    )


def _no_such_form(reference: str, model: lookup.Model | None, form: Format) -> ModelError:
    if form == "gguf":
        return ModelError(
            f"{model.name if model else reference} is not published as GGUF, which llama.cpp needs",
            "use `engine=transformers`, or give a GGUF repository or a .gguf file",
        )
    if model and model.only_gguf:
        return ModelError(
            f"{model.name} runs here as GGUF alone, this engine needs safetensors", "use `engine=llamacpp`"
        )
    return ModelError(f"{reference} is GGUF, this engine needs safetensors", "use `engine=llamacpp`")
