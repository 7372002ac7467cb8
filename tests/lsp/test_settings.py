"""initializationOptions: taken, or named as wrong with what to give instead."""

from __future__ import annotations

import pytest

from qwen_cli.lsp.settings import Settings, read


def test_nothing_given_is_the_defaults() -> None:
    assert read(None) == (Settings(), [])


def test_given_ones_win_over_those_of_the_command() -> None:
    settings, faults = read({"timeLimitMs": 300, "repository": False}, Settings(mode="line"))
    assert settings == Settings(mode="line", time_limit_ms=300, repository=False)
    assert faults == []


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"timeLimit": 3}, "timeLimit is no setting. There are mode, debounceMs"),
        ({"timeLimitMs": "1s"}, "timeLimitMs is '1s'. Give a number from 50 to 60,000"),
        ({"debounceMs": -1}, "debounceMs is -1. Give a number from 0 to 5,000"),
        ({"maxTokens": True}, "maxTokens is True. Give a number from 1 to 4,096"),
        ({"repository": 1}, "repository is 1. Give true or false"),
        ({"mode": "all"}, "mode is 'all'. Choose line, block, auto"),
        ([1], "initializationOptions is not an object"),
    ],
)
def test_a_wrong_one_is_named_and_changes_nothing(options: object, line: str) -> None:
    settings, [fault] = read(options)
    assert fault.startswith(line)
    assert settings == Settings()
