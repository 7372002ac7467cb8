"""The record of a run: of one run at a time, one set of settings, files that are as they were written."""

from __future__ import annotations

from pathlib import Path

import pytest

from qwen_cli.errors import UsageError
from qwen_cli.tasks.improve.manifest import NAME, Manifest, digest


def test_what_is_done_is_known_again(tmp_path: Path) -> None:
    with Manifest(tmp_path / "run") as manifest:
        manifest.begin({"samples": 8}, {"problems": "abc"})
        assert manifest.figures("solve") is None
        (tmp_path / "run" / "rows").write_text("1")
        manifest.record("solve", [tmp_path / "run" / "rows"], {"right": 3})
    with Manifest(tmp_path / "run") as manifest:
        manifest.begin({"samples": 8}, {"problems": "abc"})
        assert manifest.figures("solve") == {"right": 3}
        assert manifest.figures("train") is None


def test_one_run_at_a_time(tmp_path: Path) -> None:
    with Manifest(tmp_path), pytest.raises(UsageError, match="another run is working in"):
        Manifest(tmp_path)
    Manifest(tmp_path).close()


def test_a_folder_with_anything_else_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(UsageError, match=r"holds 'thesis\.tex' and no run of ours"):
        Manifest(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"by": "other"}', '{"by": "qwen improve", "settings": 3}'])
def test_another_manifest_is_refused_and_stays(tmp_path: Path, text: str) -> None:
    (tmp_path / NAME).write_text(text)
    with pytest.raises(UsageError, match="is no manifest of `qwen improve`"):
        Manifest(tmp_path)
    assert (tmp_path / NAME).read_text() == text
    with pytest.raises(UsageError, match="is no manifest"):  # and it is not held
        Manifest(tmp_path)


def test_settings_and_inputs_that_differ_are_told(tmp_path: Path) -> None:
    with Manifest(tmp_path) as manifest:
        manifest.begin({"samples": 8, "mode": "cot"}, {"heldout": "a"})
    with Manifest(tmp_path) as manifest:
        with pytest.raises(UsageError, match='other settings: mode was "cot", here it is "short"'):
            manifest.begin({"samples": 8, "mode": "short"}, {"heldout": "a"})
        with pytest.raises(UsageError, match='other inputs: heldout was "a", here it is "b"'):
            manifest.begin({"samples": 8, "mode": "cot"}, {"heldout": "b"})
        manifest.begin({"mode": "cot", "samples": 8}, {"heldout": "a"})


def test_a_folder_is_known_by_all_of_its_files(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("1")
    first = digest(tmp_path)
    (tmp_path / "two").write_text("")
    assert digest(tmp_path) != first
    (tmp_path / "two").unlink()
    assert digest(tmp_path) == first
    (tmp_path / "one").rename(tmp_path / "other")
    assert digest(tmp_path) != first
