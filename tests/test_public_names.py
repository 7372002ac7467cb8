"""What a program gets from `import qwen_cli`."""

from __future__ import annotations

import subprocess
import sys

import qwen_cli

NAMES = ["Engine", "Piece", "QwenError", "Sampling", "Usage", "__version__", "load"]


def test_the_exported_names_are_these() -> None:
    assert sorted(qwen_cli.__all__) == NAMES


def test_each_of_them_is_there() -> None:
    for name in NAMES:
        assert getattr(qwen_cli, name) is not None


def test_other_names_are_refused_as_those_of_any_module() -> None:
    import pytest

    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        qwen_cli.nothing


def test_importing_the_package_imports_no_engine() -> None:
    heavy = ("qwen_cli.engines", "torch")
    script = f"import sys, qwen_cli; print(sorted(n for n in sys.modules if n.startswith({heavy})))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
