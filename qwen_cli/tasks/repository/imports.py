"""What a source text imports, and which files of the repository that means."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from posixpath import normpath

from qwen_cli.tasks.repository import languages


@dataclass(frozen=True)
class Paths:
    """The repository's files, arranged for look-up: all of them, by name without suffix, by folder."""

    all: Collection[str]
    by_stem: Mapping[str, tuple[str, ...]]
    by_folder: Mapping[str, tuple[str, ...]]


def arrange(paths: Iterable[str]) -> Paths:
    by_stem: dict[str, list[str]] = {}
    by_folder: dict[str, list[str]] = {}
    every = []
    for path in paths:
        every.append(path)
        folder, _, name = path.rpartition("/")
        by_stem.setdefault(name.split(".")[0], []).append(path)
        by_folder.setdefault(folder, []).append(path)
    return Paths(
        frozenset(every),
        {stem: tuple(places) for stem, places in by_stem.items()},
        {folder: tuple(places) for folder, places in by_folder.items()},
    )


_PYTHON = re.compile(
    r"^[ \t]*(?:from[ \t]+(?P<module>\.*[\w.]*)[ \t]+import[ \t]+(?:\((?P<many>[^)]*)\)|(?P<one>[^\n(#;]*))"
    r"|import[ \t]+(?P<plain>[\w., \t]+))",
    re.MULTILINE,
)
_INCLUDE = re.compile(r'^[ \t]*#[ \t]*(?:include|import)[ \t]*[<"]([^>"\n]+)[>"]', re.MULTILINE)
_ECMA = re.compile(r"""(?:\bfrom|\brequire\s*\(|\bimport\s*\(?)\s*["']([^"'\n]+)["']""")
_GO = re.compile(r'^[ \t]*(?:import[ \t]+)?(?:[\w.]+[ \t]+)?"([^"\n]+)"[ \t]*$', re.MULTILINE)
_RUST = re.compile(
    r"^[ \t]*(?:pub(?:\([^)]*\))?[ \t]+)?(?:mod[ \t]+(?P<mod>\w+)[ \t]*;|use[ \t]+(?P<use>[^;]+);)",
    re.MULTILINE,
)
_JAVA = re.compile(r"^[ \t]*import[ \t]+(?:static[ \t]+)?([\w.]+)(?:\.\*)?[ \t]*;", re.MULTILINE)


def imports(text: str, path: str) -> tuple[str, ...]:
    """Return the imports of a text as its language writes them, in order, none twice. Sorted out by
    `resolve`.

    Python: "package.module" or ".module", one for each imported name; C: the include's path; JavaScript:
    the specifier; Go: the package's path; Rust: "mod name" or "use a::b"; Java: "package.Class".
    """
    language = languages.language_of(path)
    if language == "python":
        modules = _python(text)
    elif language in ("c", "cpp"):
        modules = _INCLUDE.findall(text)
    elif language in ("javascript", "typescript", "tsx"):
        modules = _ECMA.findall(text)
    elif language == "go":
        modules = _GO.findall(text)
    elif language == "rust":
        modules = _rust(text)
    elif language == "java":
        modules = _JAVA.findall(text)
    else:
        modules = []
    return tuple(dict.fromkeys(modules))


def _python(text: str) -> list[str]:
    modules: list[str] = []
    for match in _PYTHON.finditer(text):
        if match["plain"] is not None:
            modules += [part.split()[0] for part in match["plain"].split(",") if part.strip()]
            continue
        module = match["module"]
        modules.append(module)
        names = re.sub(r"#[^\n]*", "", match["many"] or match["one"] or "")
        dot = "" if module.endswith(".") else "."
        modules += [f"{module}{dot}{part.split()[0]}" for part in names.split(",") if part.strip(" \t\n\\")]
    return modules


def _rust(text: str) -> list[str]:
    modules: list[str] = []
    for match in _RUST.finditer(text):
        if match["mod"]:
            modules.append(f"mod {match['mod']}")
        else:  # the common start of `a::b::{c, d}`; what the braces hold are items or modules of it
            start, brace, inner = re.sub(r"\s+", "", match["use"]).partition("{")
            modules.append("use " + start.rstrip(":"))
            if brace:
                modules += [f"use {start}{name}" for name in re.findall(r"\w+", inner)]
    return modules


def resolve(specs: Iterable[str], path: str, paths: Paths) -> list[str]:
    """Return the files of the repository that the imports `specs` of the file `path` mean, in their order."""
    language = languages.language_of(path)
    folder = path.rpartition("/")[0]
    resolved: dict[str, None] = {}
    for spec in specs:
        if language == "python":
            hits = _find_python(spec, folder, paths)
        elif language in ("c", "cpp"):
            hits = _near(spec, folder, paths, ("",))
        elif language in ("javascript", "typescript", "tsx"):
            hits = _find_ecma(spec, folder, paths)
        elif language == "go":
            hits = _find_go(spec, paths)
        elif language == "rust":
            hits = _find_rust(spec, path, paths)
        elif language == "java":
            hits = _near(spec.replace(".", "/"), folder, paths, (".java",))
        else:
            hits = []
        resolved.update(dict.fromkeys(hits))
    resolved.pop(path, None)
    return list(resolved)


def _find_python(spec: str, folder: str, paths: Paths) -> list[str]:
    dots = len(spec) - len(spec.lstrip("."))
    module = spec[dots:].replace(".", "/")
    if dots:
        base = folder.split("/") if folder else []
        base = base[: len(base) - (dots - 1)]
        target = "/".join([*base, *([module] if module else [])])
        return _first(paths, (f"{target}.py", f"{target}/__init__.py", f"{target}.pyi"))
    hits = _near(module, folder, paths, (".py", "/__init__.py", ".pyi")) if module else []
    # What stands above the first package of the path must be a folder that imports start from, not itself
    # a package: `import json` is not the project's own tools/json.py.
    return [hit for hit in hits if f"{_above(hit, module)}__init__.py" not in paths.all]


def _above(path: str, module: str) -> str:
    return path[: path.rindex(module)]


_ECMA_ENDINGS = (
    "", ".ts", ".tsx", ".js", ".jsx", ".mjs", ".cjs", ".mts", ".cts", ".d.ts", ".vue", ".svelte",
    "/index.ts", "/index.tsx", "/index.js", "/index.jsx", "/index.mjs",
)  # fmt: skip


def _find_ecma(spec: str, folder: str, paths: Paths) -> list[str]:
    if spec.startswith("."):
        target = normpath(f"{folder}/{spec}" if folder else spec)
        # TypeScript names the file that will be compiled: "./a.js" for a.ts.
        compiled = re.sub(r"\.([mc]?)js(x?)$", r".\1ts\2", target)
        return _first(paths, [target + ending for ending in _ECMA_ENDINGS] + [compiled])
    alias = re.match(r"[@~#]?/(.+)", spec)  # the usual path aliases of bundlers: "@/components/x"
    return _near(alias[1], folder, paths, _ECMA_ENDINGS) if alias else []


def _find_go(spec: str, paths: Paths) -> list[str]:
    """Return the files of the package: the folder that has the longest end in common with the import's
    path."""
    parts = spec.split("/")
    for start in range(1 if len(parts) > 1 else 0, len(parts)):
        inside = [p for p in paths.by_folder.get("/".join(parts[start:]), ()) if p.endswith(".go")]
        if inside:
            return [p for p in inside if not p.endswith("_test.go")]
    return []


def _find_rust(spec: str, path: str, paths: Paths) -> list[str]:
    folder, _, name = path.rpartition("/")
    stem = name.removesuffix(".rs")
    # Sub-modules of a.rs live in a/; those of mod.rs, lib.rs and main.rs beside them.
    inside = folder if stem in ("mod", "lib", "main") else f"{folder}/{stem}".lstrip("/")
    kind, _, rest = spec.partition(" ")
    if kind == "mod":
        return _first(paths, _rust_files(f"{inside}/{rest}".lstrip("/")))
    parts = rest.split("::")
    if parts[0] == "crate":
        above = folder.split("/")
        base = "/".join(above[: above.index("src") + 1]) if "src" in above else folder
    elif parts[0] == "self":
        base = inside
    elif parts[0] == "super":
        base = inside.rpartition("/")[0]
        while len(parts) > 1 and parts[1] == "super":
            base, parts = base.rpartition("/")[0], parts[1:]
    else:  # another crate of the workspace has its own src/
        crate = parts[0].replace("_", "-")
        base = next((f for f in (f"{crate}/src", f"crates/{crate}/src") if f in paths.by_folder), "")
        if not base:
            return []
    for length in range(len(parts), 1, -1):
        if hit := _first(paths, _rust_files("/".join([*([base] if base else []), *parts[1:length]]))):
            return hit
    return _first(paths, (f"{base}/lib.rs",)) if parts[0] not in ("crate", "self", "super") else []


def _rust_files(module: str) -> tuple[str, str]:
    return (f"{module}.rs", f"{module}/mod.rs")


def _first(paths: Paths, candidates: Iterable[str]) -> list[str]:
    return next(([path] for path in candidates if path in paths.all), [])


def _near(tail: str, folder: str, paths: Paths, endings: Iterable[str]) -> list[str]:
    """Return the file whose path ends with `tail` and one of `endings`: beside the importing file if it is
    there, else the one that shares most of the way with it."""
    tail = tail.removeprefix("./")
    beside = normpath(f"{folder}/{tail}" if folder else tail)
    for ending in endings:
        if beside + ending in paths.all:
            return [beside + ending]
        wanted = tail.removeprefix("../") + ending
        stem = PurePosixPath(wanted).name.split(".")[0]
        hits = [p for p in paths.by_stem.get(stem, ()) if p == wanted or p.endswith("/" + wanted)]
        if hits:
            return [min(hits, key=lambda p: (-_shared(p, folder), len(p), p))]
    return []


def _shared(path: str, folder: str) -> int:
    """Return the folders that a path has in common with `folder`, from the root on."""
    count = 0
    for one, other in zip(path.split("/")[:-1], folder.split("/"), strict=False):
        if one != other:
            break
        count += 1
    return count
