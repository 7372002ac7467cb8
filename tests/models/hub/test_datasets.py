"""Data sets of the hub: one split, at one commit, kept where other tools look."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hub_server import COMMIT, Hub

from qwen_cli.errors import DownloadError
from qwen_cli.models.hub import datasets, store

REPO = "openai/gsm8k"


@pytest.fixture
def data(hub: Hub) -> Hub:
    for name in ("main/test-00000-of-00001.jsonl", "main/train-00000-of-00001.jsonl", "README.md"):
        path = hub.root / REPO / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"of": name}))
    return hub


def test_only_the_split_is_fetched_and_its_commit_told(data: Hub) -> None:
    split = datasets.fetch(REPO, "main/test-*.jsonl")
    assert split.commit == COMMIT
    assert [json.loads(path.read_text())["of"] for path in split.files] == ["main/test-00000-of-00001.jsonl"]
    assert len(data.downloads()) == 1
    assert store.repo_folder(REPO, "datasets").name == "datasets--openai--gsm8k"


def test_a_commit_that_is_here_is_not_asked_for_again(data: Hub) -> None:
    datasets.fetch(REPO, "main/test-*.jsonl")
    before = len(data.log)
    assert datasets.fetch(REPO, "main/test-*.jsonl", revision=COMMIT).commit == COMMIT
    assert len(data.log) == before


def test_offline_the_last_one_is_taken(data: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets.fetch(REPO, "main/test-*.jsonl")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert datasets.fetch(REPO, "main/test-*.jsonl").commit == COMMIT
    with pytest.raises(DownloadError, match="HF_HUB_OFFLINE"):
        datasets.fetch(REPO, "main/train-*.jsonl")


def test_a_split_that_is_not_there_is_named(data: Hub) -> None:
    with pytest.raises(DownloadError, match=r"has no files main/dev-\*"):
        datasets.fetch(REPO, "main/dev-*")


def test_a_model_of_the_same_name_stays_apart(data: Hub) -> None:
    datasets.fetch(REPO, "README.md")
    assert store.snapshot(REPO) is None
    assert isinstance(store.snapshot(REPO, "datasets"), Path)
