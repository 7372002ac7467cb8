"""Write down the flags that releases of vLLM, SGLang and Ray take, from the source in their wheels.

    pip download --no-deps --only-binary=:all: vllm sglang ray
    python tests/engines/recorded/record.py *.whl

One line a flag, with its choices where it has any. Their own `--help` needs CUDA and torch; what it prints is
made of these same declarations: `add_argument` calls, and dataclass fields whose names become flags.
"""

from __future__ import annotations

import ast
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
FILES = {
    "vllm": ("vllm/engine/arg_utils.py", "vllm/entrypoints/common/cli_args.py",
             "vllm/entrypoints/openai/cli_args.py"),
    "sglang": ("sglang/srt/server_args.py", "sglang/srt/arg_groups/fields/"),
    "ray": ("ray/scripts/scripts.py",),
}  # fmt: skip
CHOICES = {
    "vllm": {"--quantization": ("vllm/model_executor/layers/quantization/__init__.py", "QuantizationMethods"),
             "--reasoning-parser": ("vllm/reasoning/__init__.py", "_REASONING_PARSERS_TO_REGISTER"),
             "--tool-call-parser": ("vllm/tool_parsers/__init__.py", "_TOOL_PARSERS_TO_REGISTER")},
    "sglang": {"--quantization": ("sglang/srt/arg_groups/choices.py", "QUANTIZATION_CHOICES"),
               "--attention-backend": ("sglang/srt/arg_groups/choices.py", "ATTENTION_BACKEND_CHOICES"),
               "--reasoning-parser": ("sglang/srt/parser/reasoning_parser_names.py",
                                      "REASONING_PARSER_NAMES"),
               "--tool-call-parser": ("sglang/srt/function_call/parser_names.py", "TOOL_CALL_PARSER_NAMES")},
    "ray": {},
}  # fmt: skip


def words(node: ast.AST | None) -> list[str]:
    """Strings of a list, tuple, `Literal[…]`, or the keys of a dictionary."""
    if isinstance(node, ast.Subscript):
        node = node.slice
    if isinstance(node, ast.Dict):
        return [key.value for key in node.keys if isinstance(key, ast.Constant)]
    elements = getattr(node, "elts", [])
    return [e.value for e in elements if isinstance(e, ast.Constant) and isinstance(e.value, str)]


def named(tree: ast.AST, name: str) -> list[str]:
    for node in ast.walk(tree):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(t, ast.Name) and t.id == name for t in targets if t):
            return words(getattr(node, "value", None))
    return []


def called(tree: ast.AST, name: str) -> Iterator[list[str]]:
    """The flags of every call of `….add_argument(…)` or `@click.option(…)`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == name:
            flags = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            yield [flag for flag in flags if flag.startswith("--")]


def fields(tree: ast.AST, engine: str) -> Iterator[str]:
    """Flags that are made of the names of a dataclass's fields."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.ClassDef):
            continue
        for field in node.body:
            if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
                continue
            flag = "--" + field.target.id.replace("_", "-")
            if engine == "vllm" and node.name.endswith("FrontendArgs"):
                yield flag
            annotation = field.annotation
            if not (isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value) == "A"):
                continue
            told = [
                c for c in ast.walk(annotation) if isinstance(c, ast.Call) and ast.unparse(c.func) == "Arg"
            ]
            named = {k.arg: k.value for call in told for k in call.keywords}
            if "no_cli" not in named:
                yield ast.literal_eval(named["cli_name"]) if "cli_name" in named else flag
                yield from words(named.get("aliases"))


def record(wheel: Path) -> None:
    engine, version = wheel.name.split("-")[:2]
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        flags: set[str] = set()
        for place in FILES[engine]:
            for name in names:
                if name.endswith(".py") and (
                    name == place or (place.endswith("/") and name.startswith(place))
                ):
                    tree = ast.parse(archive.read(name))
                    for found in called(tree, "option" if engine == "ray" else "add_argument"):
                        flags.update(found)
                    flags.update(fields(tree, engine))
        choices = {}
        for flag, (place, variable) in CHOICES[engine].items():
            # Where a release has the list elsewhere, it is in the file with the flags.
            for file in (place, *FILES[engine]):
                if file in names and (found := named(ast.parse(archive.read(file)), variable)):
                    choices[flag] = found
                    break
    lines = [" ".join([flag, *sorted(choices.get(flag, []))]) for flag in sorted(flags)]
    (HERE / f"{engine}-{version}.txt").write_text("\n".join(lines) + "\n")
    print(f"{engine} {version}: {len(lines)} flags, choices of {', '.join(choices) or 'none'}")


if __name__ == "__main__":
    for given in sys.argv[1:]:
        record(Path(given))
