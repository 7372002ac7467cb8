"""A name for a document whose own tells no language."""

from __future__ import annotations

import pytest

from qwen_cli.lsp.languages import named
from qwen_cli.tasks.repository.languages import language_of


@pytest.mark.parametrize(
    ("language", "grammar"),
    [
        ("python", "python"),
        ("Python", "python"),
        ("javascriptreact", "javascript"),
        ("typescriptreact", "tsx"),
        ("go", "go"),
        ("rust", "rust"),
        ("java", "java"),
        ("cpp", "cpp"),
        ("c", "c"),
    ],
)
def test_an_unsaved_document_has_its_editors_language(language: str, grammar: str) -> None:
    assert language_of(named("", language)) == grammar
    assert language_of(named("Untitled-1", language)) == grammar


def test_a_script_without_an_ending_has_it_too() -> None:
    assert named("bin/deploy", "python") == "bin/deploy.py"
    assert named(".bashrc", "shellscript") == ".bashrc.sh"


@pytest.mark.parametrize(
    ("path", "language"), [("a.py", "c"), ("", "klingon"), ("Makefile", "makefile"), ("x", "")]
)
def test_a_name_that_tells_and_an_unknown_language_change_nothing(path: str, language: str) -> None:
    assert named(path, language) == path


def test_a_language_known_by_a_whole_name_has_it() -> None:
    assert named("", "makefile") == "Makefile"
