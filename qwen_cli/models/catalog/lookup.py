"""Find a model by any of the names people give it."""

from __future__ import annotations

import re
from functools import cache

from qwen_cli.errors import ModelError
from qwen_cli.models.catalog.families import MODELS, Model
from qwen_cli.models.formats import weight_formats

__all__ = [
    "MODELS", "STARTER", "Model", "check", "file_of", "find", "known", "related", "spelled", "suggestions",
]  # fmt: skip

STARTER = "qwen2.5-coder:0.5b"
"""What `starter` carries (`models.starter`)."""


# Addresses that a name is copied from, and the schemes of other tools; what follows is "owner/name".
_HOST = re.compile(
    r"^(?:(?:https?://)?(?:www\.)?(?:hf\.co|huggingface\.co|hf-mirror\.com|modelscope\.(?:cn|ai)(?:/models)?)/"
    r"|git@(?:hf\.co|huggingface\.co):"
    r"|(?:hf|huggingface|ms|modelscope):(?://|(?=[^/]+/)))",
    re.IGNORECASE,
)
_SHELF = re.compile(
    r"^(?:ollama\s+(?:run|pull|show)\s+|ollama://)?(?:(?:(?:https?://)?(?:www\.|registry\.)?ollama\.(?:com|ai)/)?library/)?",
    re.IGNORECASE,
)
# A page of a repository: what follows its name is a revision and perhaps a file of it.
_PAGE = re.compile(r"([^/]+/[^/:]+)/(?:tree|blob|resolve|raw|commits?|file/view)/([^/]+)(?:/(.+))?")
_REPOSITORY = re.compile(r"(?!.*(?:\.\.|--))[\w.-]*\w[\w.-]*/[\w.-]*\w[\w.-]*")  # as the hub takes them
_MAIN = ("main", "master")
_ELSEWHERE = ("datasets", "spaces", "docs", "papers", "models", "collections", "blog")
_AFTER = re.compile(rf"[:@/](?=(?:{weight_formats.FILE_TYPE})$)", re.IGNORECASE)


def _bare(reference: str) -> tuple[str, bool]:
    """Return what follows the host in an address, and whether `reference` is one; else itself."""
    given = reference.strip()
    name = _SHELF.sub("", _HOST.sub("", given)) or given
    if name == given:
        return given, False
    return re.split(r"[?#]", name)[0].rstrip("/").removesuffix(".git"), True


def file_of(reference: str) -> str | None:
    """Return the .gguf file of a repository that `reference` names by its path there; None where it names
    none."""
    name, _ = _bare(reference)
    if page := _PAGE.fullmatch(name):
        path = page[3]
    elif deep := re.fullmatch(r"[^/:]+/[^/:]+/([^:]+)", name):
        path = deep[1]
    else:
        head, _, path = name.partition(":")
        path = path if "/" in head else ""
    return path if path and path.lower().endswith(".gguf") else None


def check(reference: str) -> None:
    """Raise `ModelError` for an address or a name with slashes that can be no model's, or whose model is not
    the one that would be fetched."""
    name, is_address = _bare(reference)
    if "://" in name:
        raise ModelError(
            f"{reference} is an address, and no model hub's",
            "download the file and give its path"
            if name.lower().endswith(".gguf")
            else "a server is given as `endpoint`, a model by its name",
        )
    if "/" not in name:
        return
    owner = name.partition("/")[0].lower()
    if is_address and owner in _ELSEWHERE:
        raise ModelError(f"{reference} is no model's page", "on a hub it is OWNER/NAME")
    page = _PAGE.fullmatch(name)
    revision = page[2] if page else name.partition("@")[2]
    if revision and revision.lower() not in _MAIN and not _AFTER.search(name):
        raise ModelError(
            f"{reference} names the revision {revision!r}, and only main is fetched",
            "download that one yourself and give the folder",
        )
    repo = spelled(reference)[0]
    if "/" in repo and not _REPOSITORY.fullmatch(repo):
        raise ModelError(f"{reference!r} is no model's name", "on a hub it is OWNER/NAME, a folder begins ./")


def spelled(reference: str) -> tuple[str, str | None]:
    """Return the name that a reference gives, and the GGUF file type with it, None where it gives none.

    "hf.co/unsloth/Qwen3.5-9B-GGUF:UD-Q4_K_XL" → ("unsloth/Qwen3.5-9B-GGUF", "UD-Q4_K_XL"); the address of a
    repository or of a file in it; "qwen3.5:9b-q8_0" → ("qwen3.5:9b", "Q8_0"). A tag `latest` says nothing.
    """
    name, is_address = _bare(reference)
    if _plain(name) not in _names() and _plain(name).removeprefix("qwen/") in _names():  # "qwen/qwen3:8b"
        name = re.sub("^qwen/", "", name, flags=re.IGNORECASE)
    file = file_of(reference)
    if page := _PAGE.fullmatch(name):
        name = page[1]
    elif parts := re.fullmatch(r"([^/:]+/[^/:]+)/.+", name):
        name = parts[1] if is_address or file else name
    if file:
        return name.partition(":")[0], _file_type(file) or file
    if "/" in name:
        name = re.sub(f"@({'|'.join(_MAIN)})$", "", name)
    head, _, tag = (_AFTER.sub(":", name) if name.count("/") == 1 else name).partition(":")
    if tag.lower() == "latest":
        return head, None
    if "/" in head and tag:  # the hub's own way to name a quantisation, or a file of it
        return head, tag.upper() if weight_formats.is_file_type(tag) else tag
    if _plain(name) not in _names():
        bare, quant = weight_formats.without_file_type(_AFTER.sub("-", name))
        if quant and _plain(bare) in _names() and "/" not in bare:
            return bare, quant
    return name, None


def _file_type(tag: str) -> str | None:
    return weight_formats.without_file_type(tag.rpartition("/")[2])[1]


def find(name: str) -> Model | None:
    """Return the model of an alias (`qwen3:8b`), hub id or hub name in any letter case, as people write it
    (`spelled`). None if unknown."""
    return _names().get(_plain(name)) or _names().get(_plain(spelled(name)[0]))


def related(repo: str) -> Model | None:
    """Return the model that `repo` holds in another form: a quantisation, a community's GGUF, a fine-tune's
    folder.

    `unsloth/Qwen3-8B-GGUF`, `Qwen/Qwen2.5-7B-Instruct-AWQ` → the model they were made from.
    """
    name = _plain(weight_formats.without_file_type(spelled(repo)[0])[0]).rpartition("/")[2]
    name = re.sub(r"^qwen[-_](?=qwen|qwq|codeqwen)", "", name)
    form = r"gguf|mtp|awq|gptq|int[48]|fp8|nvfp4|mxfp4|bf16|bnb|4bit|8bit|mlx|exl2|autoround|w\da\d+|unsloth"
    name = re.sub(rf"(-({form}))+$", "", name)
    return _names().get(name)


def known(reference: str) -> Model | None:
    """Return the model that `reference` names (`find`) or that it was made from (`related`)."""
    return find(reference) or related(reference)


def suggestions(name: str) -> list[str]:
    """Return up to five names close to `name`, best first; those of its family where it names one."""
    import difflib  # only a wrong name needs it

    wanted = _plain(spelled(name)[0]).rpartition("/")[2]
    family = [m.name for m in MODELS if m.family == wanted.rstrip(":") and not m.base]
    if family:
        return family[:5]
    wanted = re.sub(r"(-(gguf|awq|fp8|instruct|chat|it|latest)|:latest)+$", "", wanted.replace(" ", "-"))
    close_names: dict[str, None] = {}
    for close in difflib.get_close_matches(wanted, list(_names()), n=12, cutoff=0.6):
        close_names[_names()[close].name] = None
    return list(close_names)[:5]


def _plain(name: str) -> str:
    return name.strip().lower().replace("_", "-").rstrip("/")


@cache
def _names() -> dict[str, Model]:
    """Return every accepted spelling, in lower case. Built on first use; a name given twice keeps the
    first."""
    names: dict[str, Model] = {"starter": next(m for m in MODELS if m.name == STARTER)}
    for model in MODELS:
        repo = model.repo.lower()
        gguf = (model.gguf_repo or model.repo).lower()
        for spelling in (model.name, repo, gguf, repo.rpartition("/")[2], gguf.rpartition("/")[2]):
            names.setdefault(spelling, model)
    for model in MODELS:
        for spelling in _spellings(model):
            names.setdefault(spelling, model)
    return names


def _spellings(model: Model) -> list[str]:
    """Return shorter and longer ways to write a name, which must not hide another model's own name."""
    family, _, tag = model.name.partition(":")
    tags = [tag]
    if not model.base:
        if tag.endswith("-2507"):
            tags += [tag.removesuffix("-2507"), tag.replace("-instruct", "")]
        elif tag.endswith("-instruct"):
            tags.append(tag.removesuffix("-instruct"))
        elif not model.thinking:
            tags += [f"{tag}-instruct", f"{tag}-chat"]
    # Mixture-of-experts models are often called by their whole size alone.
    tags += [re.sub(r"^([\d.]+[bt])-a[\d.]+b", r"\1", tag) for tag in tags]
    families = [family]
    if "-vl" in family:
        families.append(family.replace("-vl", "vl"))
    if family in ("qwen3-coder-next", "qwen3.8-flash-next"):  # one size, which nobody names
        tags.append("")
        families.append(family.replace("-coder-", "-coder:").replace("-flash-", ":flash-"))
    spelled = [f"{f}{separator}{t}" for f in families for t in tags if t for separator in ":-"]
    return spelled + [f for f in families if "" in tags]
