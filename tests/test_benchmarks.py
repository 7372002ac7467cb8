"""The README's table of figures: where it comes from, and that each script in it is there."""

from __future__ import annotations

import datetime
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from qwen_cli.engines.core.base import Usage

ROOT = Path(__file__).parents[1]


@pytest.fixture
def run_all(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import run_all

    return run_all


def test_what_a_script_reports_is_a_row(
    run_all: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import processes

    processes.report("decode, against x", 46.7, 46.2, "tok/s", "≥ 1.0")
    print("peak memory, against x: +18 MB (bar ≤ +60 MB)")
    (figure,) = run_all.figures_of(capsys.readouterr().out, "chat.py")
    assert figure.row == ("| decode, against x | 46.700 tok/s | 46.200 tok/s | 1.01 | `benchmarks/chat.py` |")


def test_the_table_replaces_the_one_before(run_all: Any) -> None:
    figure = run_all.Figure("start", "0.05", "0.04", "s", "1.2", "startup.py")
    day = datetime.date(2026, 11, 29)
    text = run_all.made([figure], "EPYC, 2 cores", day, 0.1)
    assert "Measured on 2026-11-29: EPYC, 2 cores.\n" in text
    assert "busy" in run_all.made([figure], "EPYC", day, 3.0)
    readme = f"# qwen\n{run_all.BEGIN}\nold\n{run_all.END}\nafter\n"
    once = run_all.placed(readme, text)
    assert once == f"# qwen\n{text}\nafter\n"
    assert run_all.placed(once, text) == once
    with pytest.raises(SystemExit, match="no place"):
        run_all.placed("# qwen", text)


def test_the_readme_has_a_place_for_it(run_all: Any) -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    assert readme.count(run_all.BEGIN) == readme.count(run_all.END) == 1
    assert run_all.HEAD in readme


def test_every_script_that_a_page_names_is_there() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    named = {name for page in pages for name in re.findall(r"benchmarks/(\w+\.\w+)", page.read_text("utf-8"))}
    assert [name for name in sorted(named) if not (ROOT / "benchmarks" / name).is_file()] == []


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script")
def test_the_check_of_a_gpu_leaves_out_what_is_not_here(tmp_path: Path) -> None:
    """Without a driver each part but the first says so in a word; the first is left to `qwen doctor`'s."""
    from qwen_cli.models.planning import gpus

    if gpus.has_gpu():
        pytest.skip("there is one")
    for part in ("load-bf16", "serve"):
        done = subprocess.run(
            [sys.executable, str(ROOT / "benchmarks" / "gpu_check.py"), part], capture_output=True, text=True
        )
        assert (done.returncode, done.stdout) == (77, "there is no driver of a GPU\n")
    syntax = subprocess.run(["bash", "-n", str(ROOT / "benchmarks" / "gpu_check.sh")])
    assert syntax.returncode == 0


@pytest.fixture
def gpu_check(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script, beside a GPU whose model writes 50 tokens a second, and 100 where it is compiled."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import gpu_check

    clock = [0.0]

    @contextmanager
    def opened(**options: Any) -> Iterator[dict[str, Any]]:
        yield {**options, "asked": 0}

    def said(engine: dict[str, Any]) -> tuple[str, Any]:
        engine["asked"] += 1
        rate = 100 if engine.get("compiled") else 50
        clock[0] += gpu_check.TOKENS / rate + (20 if engine.get("compiled") and engine["asked"] == 1 else 0)
        return "A hash table keeps values under keys, and finds them at once.", Usage(
            generated_tokens=rate + 1, decode_seconds=1.0
        )

    monkeypatch.setattr(gpu_check, "gpu", lambda: None)
    monkeypatch.setattr(gpu_check, "opened", opened)
    monkeypatch.setattr(gpu_check, "said", said)
    monkeypatch.setattr(gpu_check.time, "perf_counter", lambda: clock[0])
    return gpu_check


def test_a_graph_is_told_by_when_it_has_paid(gpu_check: Any, capsys: pytest.CaptureFixture[str]) -> None:
    gpu_check.CHECKS["compiled"]()
    assert capsys.readouterr().out == "50 tok/s, 100 compiled in 20 s: pays after 2,000 tokens\n"
    assert gpu_check.paid_after(100, 100, 5) is None
    assert gpu_check.paid_after(100, 80, 5) is None
    assert gpu_check.paid_after(50, 100, -0.1) == 0


def test_a_graph_that_answers_something_else_is_a_fault(
    gpu_check: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    say = gpu_check.said

    def other(engine: dict[str, Any]) -> tuple[str, Any]:
        text, usage = say(engine)
        return (text[::-1] if engine.get("compiled") else text), usage

    monkeypatch.setattr(gpu_check, "said", other)
    with pytest.raises(SystemExit, match="begins otherwise"):
        gpu_check.CHECKS["compiled"]()


def test_every_check_is_run_by_the_script() -> None:
    script = (ROOT / "benchmarks" / "gpu_check.sh").read_text("utf-8")
    source = (ROOT / "benchmarks" / "gpu_check.py").read_text("utf-8")
    checks = re.findall(r'^    "([\w-]+)": ', source.partition("CHECKS")[2], re.MULTILINE)
    assert re.findall(r"^part ([\w-]+) ", script, re.MULTILINE) == checks
