"""Plays the terminal cases on a pseudo-terminal."""

from __future__ import annotations

from pathlib import Path

import pytest
import terminal_play
from terminal_play import Case

from tests.ui.terminal_cases import CASES


@pytest.fixture(scope="module", autouse=True)
def imported() -> None:
    terminal_play.import_all()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_terminal_shows(case: Case, tmp_path: Path) -> None:
    terminal_play.play(case, tmp_path)


def test_there_are_enough_of_them_and_each_has_a_name() -> None:
    assert len(CASES) >= 150
    assert len({case.name for case in CASES}) == len(CASES)
