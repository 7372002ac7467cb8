"""`qwen train`: what it prints, what it refuses, and that a killed one goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import small_models

from qwen_cli.commands import main
from qwen_cli.commands.train import output
from qwen_cli.tasks.train import Evaluated, Planned, Resumed, Stepped, run

ROWS = [{"prompt": f"What is {n} plus 1?", "completion": f"It is {n + 1}."} for n in range(12)]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


@pytest.fixture(scope="module")
def model(starter_safetensors: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    return small_models.make("Qwen3", folder, starter_safetensors, num_hidden_layers=1)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "rows.jsonl").write_text(LINES)
    return tmp_path / "rows.jsonl"


def words(file: Path, model: Path, *more: str) -> list[str]:
    small = ["--dtype", "fp32", "--tokens-per-step", "100", "--rank", "4", "--epochs", "2"]
    return ["train", str(file), "-m", str(model), "--out", str(file.parent / "out"), *small, *more]


def said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *given: str
) -> tuple[int, str, str]:
    """The exit code of `qwen GIVEN`, its answer and its remarks."""
    monkeypatch.setattr("sys.argv", ["qwen", *given])
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main.main()
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_it_prints_the_folder_and_tells_the_rest(
    capsys: Any, monkeypatch: Any, file: Path, model: Path
) -> None:
    code, out, err = said(capsys, monkeypatch, *words(file, model))
    lines = err.splitlines()

    assert (code, out) == (0, f"{file.parent / 'out'}\n")
    assert lines[0].startswith(f"{model}: 12 rows, 1 held out; 11 sequences of ")
    assert "parameters learn" in lines[1]
    assert any(line.startswith("step 1/") and "tokens/s" in line for line in lines)
    assert any("held-out loss" in line and "best after step" in line for line in lines)
    assert lines[-1] == (
        f"use it: qwen chat -m {model} --adapter {out.strip()}; "
        f"as GGUF: qwen models convert {out.strip()} --to gguf --base {model}"
    )
    assert (file.parent / "out" / "curve.png").read_bytes().startswith(b"\x89PNG")

    again = said(capsys, monkeypatch, *words(file, model))
    assert again[:2] == (0, out)
    assert again[2].startswith("this training is complete already: nothing was computed\n")


def test_as_json_and_without_matplotlib(capsys: Any, monkeypatch: Any, file: Path, model: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *given: None)
    code, out, err = said(
        capsys, monkeypatch, *words(file, model, "--steps", "2", "--json", "--heldout", "0")
    )
    result = json.loads(out)

    assert code == 0
    assert (result["steps"], result["best_step"], result["curve"], result["stopped"]) == (2, 2, None, "end")
    assert "curve.png is not drawn: matplotlib is not installed" in err
    assert "nothing was held out" in err


def test_rows_to_hold_out_come_from_a_file_too(
    capsys: Any, monkeypatch: Any, file: Path, model: Path
) -> None:
    (file.parent / "test.jsonl").write_text(json.dumps(ROWS[0]) + "\n")
    more = ("--steps", "1", "--heldout", str(file.parent / "test.jsonl"))
    code, _, err = said(capsys, monkeypatch, *words(file, model, *more))

    assert code == 0
    assert ": 13 rows, 1 held out; 11 sequences" in err
    assert "1 sequence left out: held out too" in err


@pytest.mark.parametrize(
    ("more", "line", "told"),
    [
        ((), '{"text": "hi"}', "rows.jsonl, line 13: it has text, and none of messages"),
        (("--rank", "0"), "", "--rank 0 makes no sense. It must be 1 or more"),
        (("--learning-rate", "-1"), "", "--learning-rate -1.0 makes no sense"),
        (("--turns", "first"), "", "--turns first makes no sense"),
        (("--heldout", "2"), "", "--heldout must be a share below 1 or a file, got 2"),
        (("--heldout", "nowhere.jsonl"), "", "cannot read nowhere.jsonl"),
        (("--dtype", "int4"), "", "--dtype int4 makes no sense for training"),
        (("--start-from", "/nowhere"), "", "/nowhere is not a LoRA adapter"),
    ],
)
def test_what_makes_no_sense_ends_in_one_line(
    capsys: Any, monkeypatch: Any, file: Path, model: Path, more: tuple[str, ...], line: str, told: str
) -> None:
    monkeypatch.setattr(run, "_network", lambda *given: pytest.fail("the model is loaded"))
    file.write_text(LINES + line)
    code, out, err = said(capsys, monkeypatch, *words(file, model, *more))

    assert (code, out) == (2, "")
    assert told in err
    assert err.count("\n") == 1


def test_what_other_tools_call_it_is_told(capsys: Any, monkeypatch: Any) -> None:
    assert "use `qwen train FILE.jsonl -m MODEL --out DIR`" in said(capsys, monkeypatch, "lora")[
        2
    ].lower().replace("file.jsonl -m model --out dir", "FILE.jsonl -m MODEL --out DIR")


def test_killed_it_goes_on_to_the_same_adapter(
    capsys: Any, monkeypatch: Any, file: Path, model: Path
) -> None:
    command = words(
        file, model, "--save-seconds", "0", "--epochs", "5", "--patience", "0", "--dropout", "0.2"
    )
    whole = [str(file.parent / "whole") if word == str(file.parent / "out") else word for word in command]
    log = file.parent / "out" / "log.jsonl"
    process = subprocess.Popen(
        [sys.executable, "-m", "qwen_cli", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    until = time.monotonic() + 300
    while time.monotonic() < until and (not log.is_file() or log.read_bytes().count(b"epoch") < 3):
        assert process.poll() is None, "it ended before it was killed"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    threads = torch_threads(1)
    try:
        code, _, err = said(capsys, monkeypatch, *command)
        assert said(capsys, monkeypatch, *whole)[0] == code == 0
    finally:
        torch_threads(threads)

    assert "resumed after step" in err
    adapters = [(file.parent / name / "adapter_model.safetensors").read_bytes() for name in ("out", "whole")]
    assert adapters[0] == adapters[1]


def torch_threads(count: int) -> int:
    """Let torch compute with so many threads, which decide the last bits; return how many it had."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    return before


def planned(**given: Any) -> Planned:
    usual: dict[str, Any] = {
        "model": "starter",
        "rows": 10,
        "heldout_rows": 1,
        "sequences": 9,
        "tokens": 900,
        "counted": 90,
    }
    usual |= {"longest": 100, "steps": 4, "at_once": 100, "memory": 3 * 10**9, "parameters": 1_000}
    none = dict.fromkeys(("split", "cut", "left_out", "repeated"), 0)
    usual |= {**none, "checkpointing": False}
    return Planned(**usual | given)


def test_what_is_cut_left_out_or_split_is_told() -> None:
    assert len(output.plan(planned())) == 2
    lines = output.plan(planned(split=1, cut=2, left_out=1, repeated=3, checkpointing=True))

    assert lines[1].endswith("activations computed twice to save it")
    assert lines[2:] == [
        "1 row became several sequences: the chat template rewrites earlier turns",
        "2 sequences longer than --max-length, cut there",
        "1 row left out: no answer before --max-length",
        "3 sequences left out: held out too",
    ]


def test_a_terminal_shows_a_curve(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "draws", lambda: True)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with output.View() as view:
        view.show(planned())
        view.show(Resumed(1, 4))
        view.show(Evaluated(1, 2.0, True, 0.1))
        for step, loss in ((2, 1.5), (3, 1.0), (4, 0.5)):
            view.show(Stepped(step, 4, 1, loss, 1e-4, 1.0, 300, 90, 2.0))
    shown = capsys.readouterr().err

    assert "resumed after step 1 of 4" in shown
    assert "step 4/4 · epoch 1 · loss 0.5000 · lr 1.0e-04 · 150 tokens/s" in shown
    assert "· training  ● held out" in shown


def test_the_curve_has_the_highest_loss_above_and_the_lowest_below() -> None:
    rows = output.chart([(1, 3.0), (2, 1.0)], [(0, 4.0)], 2)

    assert rows[0].startswith("   4.000 │●")
    assert rows[-3].startswith("   1.000 │") and rows[-3].endswith("·")
    assert output.chart([], [], 5) == []
