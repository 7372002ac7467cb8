"""What a program gets from `import qwen_cli`."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import qwen_cli
from qwen_cli import errors

NAMES = [
    "BackEnd", "Capabilities", "ContextFull", "Conversation", "DownloadError", "EndpointError", "Engine",
    "EngineBase", "EngineError", "Hooks", "Limits", "LoadOptions", "LogError", "Message", "ModelError",
    "Piece", "QwenError", "RequestRefused", "Sampling", "Sandbox", "SandboxError", "SchemaUnmet",
    "SessionError", "ToolError", "Toolbox", "Usage", "UsageError", "__version__", "load", "open_engine",
]  # fmt: skip


def test_the_exported_names_are_these() -> None:
    assert sorted(qwen_cli.__all__) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_each_of_them_is_there(name: str) -> None:
    script = f"from qwen_cli import {name} as it; assert it is not None"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_every_error_is_exported() -> None:
    raised = {
        name for name, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Exception)
    }
    assert raised <= set(qwen_cli.__all__)


def test_names_are_listed_before_they_are_imported() -> None:
    script = "import qwen_cli; print(set(qwen_cli.__all__) - set(dir(qwen_cli)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_other_names_are_refused_as_those_of_any_module() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        qwen_cli.nothing


def test_importing_the_package_imports_no_engine() -> None:
    heavy = ("qwen_cli.engines", "qwen_cli.tasks", "qwen_cli.sandbox", "torch")
    script = f"import sys, qwen_cli; print(sorted(n for n in sys.modules if n.startswith({heavy})))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_type_checkers_are_told_that_the_package_is_typed() -> None:
    assert (Path(qwen_cli.__file__).parent / "py.typed").is_file()
