"""`qwen models plan`, as a person and as a program use it."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pexpect
import pytest
from typer.testing import CliRunner, Result

from qwen_cli.commands.models import command
from qwen_cli.commands.shared.flags import spelled
from qwen_cli.errors import UsageError
from qwen_cli.models.hub import starter

DESKTOP = 'memory = "64GB"\ncores = 8\nbandwidth = "80GB/s"\n'
GPU = '[[gpus]]\nname = "RTX 4090"\nmemory = "24GB"\nbandwidth = "1008GB/s"\n'


@pytest.fixture
def fresh(tmp_path: Path, starter_gguf: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The starter model, an empty cache, and no hub in reach."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("QWEN_HOME", str(tmp_path / "qwen"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    here = starter.path()
    here.parent.mkdir(parents=True)
    here.symlink_to(starter_gguf)
    (tmp_path / "desktop.toml").write_text(DESKTOP)
    (tmp_path / "gaming.toml").write_text(DESKTOP + GPU)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command.app, ["plan", *arguments])


def facts(*arguments: str) -> dict[str, object]:
    done = run(*arguments, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def test_one_model(fresh: Path) -> None:
    done = run("starter")
    assert done.exit_code == 0
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if line[:1].isalpha())
    assert lines["weights"] == "491 MB as Q4_K_M, for llamacpp"
    assert lines["KV"] == "cache     201 MB at 16,384 tokens of context, 12,288 bytes a token"
    assert lines["speed"].startswith("about ")
    assert lines["licence"] == "Apache-2.0"
    assert lines["why"] == "its files are in this form"


def test_as_json(fresh: Path) -> None:
    found = facts(
        "qwen3-next:80b-a3b-instruct", "--machine", str(fresh / "desktop.toml"), "--context", "65536"
    )
    assert found["parameters"] == 79_674_391_296 and found["active_parameters"] == 3_874_929_408
    assert found["attention_layers"] == {"full": 12, "sliding": 0, "linear": 36}
    assert found["kv_bytes_per_token"] == 24_576
    assert found["fit"] == "tight" and found["form"] == "Q4_K_M"
    assert found["note"] == (
        "no model hub can be reached: qwen3-next:80b-a3b-instruct is planned as it was published"
    )
    assert {form["form"] for form in found["forms"]} >= {"bf16", "8bit", "4bit", "Q4_K_M", "Q8_0"}  # type: ignore[attr-defined]


def test_what_does_not_fit_names_what_does(fresh: Path) -> None:
    done = run("qwen3:235b-a22b", "--machine", str(fresh / "desktop.toml"))
    assert "does not fit" in done.stdout
    assert "instead      use qwen3:32b, which needs " in done.stdout
    found = facts("qwen3:235b-a22b", "--machine", str(fresh / "desktop.toml"))
    assert found["tokens_per_second"] is None and "qwen3:32b" in str(found["instead"])


def test_speed_falls_with_the_context(fresh: Path) -> None:
    """What is told of a short conversation is not what a full one gets."""
    short = facts("qwen3:8b", "--context", "1024")
    long = facts("qwen3:8b", "--context", "32768")
    assert short["tokens_per_second_full_context"] == short["tokens_per_second"]
    assert long["tokens_per_second_full_context"] < 0.6 * long["tokens_per_second"]  # type: ignore[operator]
    assert "when the context is full" in run("qwen3:8b", "--context", "32768").stdout
    assert "when the context is full" not in run("qwen3:8b", "--context", "1024").stdout


def test_how_fast_a_prompt_is_read(fresh: Path) -> None:
    small, large = facts("qwen3:0.6b"), facts("qwen3:8b")
    assert small["prompt_tokens_per_second"] > 5 * large["prompt_tokens_per_second"]  # type: ignore[operator]
    assert large["prompt_tokens_per_second"] > large["tokens_per_second"]  # type: ignore[operator]
    assert "tokens/s are read" in run("qwen3:8b").stdout


def test_a_context_beyond_what_was_trained(fresh: Path) -> None:
    stretched = facts("qwen3:8b", "--context", "131072", "--rope-scaling", "yarn")
    assert stretched["context"] == 131_072
    assert facts("qwen3:8b", "--context", "8192", "--rope-scaling", "yarn")["context"] == 8192


def test_a_million_tokens_by_dual_chunk_attention(fresh: Path) -> None:
    """By itself where the model's files ask for it, else as it is asked for."""
    million = facts("qwen2.5-1m:7b", "--context", "1000000")
    assert million["context"] == 1_000_000
    assert million["kv_bytes"] >= 1_000_000 * million["kv_bytes_per_token"]  # type: ignore[operator]
    sizes = {"chunk_size": 262_144, "local_size": 8_192, "original_max_position_embeddings": 262_144}
    assert million["dual_chunk_attention"] == sizes
    assert "beyond 262,144 tokens, 8,192 of them shared" in run("qwen2.5-1m:7b", "--dtype", "bf16").stdout
    assert "no dual chunk attention in llama.cpp" in run("qwen2.5-1m:7b", "--quant", "q4_k_m").stdout
    asked = facts("qwen3:4b-instruct-2507", "--context", "1000000", "--rope-scaling", "dca")
    assert (asked["context"], asked["engine"]) == (1_000_000, "transformers")
    assert asked["dual_chunk_attention"] == sizes
    cut = facts("qwen3:8b", "--context", "100000", "--rope-scaling", "dca", "--dca-chunk", "8192")
    assert cut["dual_chunk_attention"] == {
        "chunk_size": 8_192,
        "local_size": 256,
        "original_max_position_embeddings": 32_768,
    }


@pytest.mark.parametrize(
    ("context", "works"),
    [("131072", ("--context", "131072", "--rope-scaling", "yarn")), ("99999999", ("--context", "40960"))],
)
def test_advice_about_the_context_works(fresh: Path, context: str, works: tuple[str, ...]) -> None:
    refused = run("qwen3:8b", "--context", context)
    fault = str(refused.exception)
    assert "trained for 40,960 tokens" in fault
    assert ("rope_scaling=yarn" in fault) == ("yarn" in works)
    assert run("qwen3:8b", *works).exit_code == 0


def test_a_path_that_is_not_there_is_asked_of_no_hub(fresh: Path) -> None:
    assert str(run("./nowhere").exception) == "there is no file or folder nowhere. Check the path"


def test_the_note_is_no_part_of_the_answer(fresh: Path) -> None:
    done = run("qwen3:8b", "--machine", str(fresh / "desktop.toml"))
    assert "no model hub" in done.stderr and "no model hub" not in done.stdout


def test_a_picture_costs_tokens(fresh: Path) -> None:
    # 1280 × 960 in pieces of 32 × 32 pixels, and in pieces of 28 × 28 after rounding to 1288 × 952.
    assert facts("qwen3-vl:4b-instruct", "--quant", "Q8_0")["visual_tokens"] == 40 * 30
    assert facts("qwen2.5-vl:3b", "--quant", "none")["visual_tokens"] == 46 * 34


def test_accelerates_map_for_a_machine_with_a_gpu(fresh: Path) -> None:
    found = facts("qwen3:14b", "--machine", str(fresh / "gaming.toml"), "--quant", "none")
    assert found["fit"] == "spills" and set(found["on"]) == {"cuda:0", "cpu"}  # type: ignore[call-overload]
    devices = found["device_map"]
    assert isinstance(devices, dict)
    assert devices["model.layers.0"] == "cuda:0" and devices["model.layers.39"] == "cpu"


def test_what_goes_to_the_disk(fresh: Path) -> None:
    done = run("qwen2.5:0.5b", "--dtype", "fp32", "--max-memory", "cpu=1GiB")
    assert done.exit_code == 0
    assert "in parts" in done.stdout and "not told: the disk limits it" in done.stdout
    assert "on disk" in done.stdout and "layers" in done.stdout


def test_the_catalog(fresh: Path) -> None:
    done = run("--machine", str(fresh / "desktop.toml"))
    first = done.stdout.splitlines()[0].split("\t")
    assert first[6] == "well" and first[7]
    assert "for code" in done.stdout and "for vision" in done.stdout
    found = facts("--machine", str(fresh / "desktop.toml"))
    assert set(found["best"]) == {"chat", "code", "math", "vision"}  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("qwen3:8b", "--context", "40961"), "trained for 40,960 tokens"),
        (("qwen3:8b", "--context", "0"), "context must be at least 256, got 0"),
        (("qwen3:8b", "--context", "-5"), "context must be at least 256, got -5"),
        (("qwen3:8b", "--rope-scaling", "yarn"), "needs the length that it is for"),
        (("qwen3:8b", "--rope-scaling", "x"), "cannot be 'x'"),
        (("qwen3:8b", "--context", "131073", "--rope-scaling", "yarn"), "from 32,768 tokens to 131,072"),
        (("--rope-scaling", "yarn"), "--rope-scaling needs a model"),
        (("qwen3:8b", "--dca-chunk", "4096"), "Add --rope-scaling dca"),
        (("qwen3-vl:4b", "--rope-scaling", "dca"), "is qwen3_vl. Use --rope-scaling yarn"),
        (("qwen3.5:9b", "--rope-scaling", "dca"), "is qwen3_5. Use --rope-scaling yarn"),
        (("qwen3:8b", "--rope-scaling", "dca", "--quant", "q4_k_m"), "llama.cpp has no dual chunk attention"),
        (("qwen3:8b", "--quant", "3bit"), "unknown quantization '3bit'"),
        (("qwen3:8b", "--dtype", "4bit"), "--dtype must be auto, bf16, fp16 or fp32"),
        (("qwen3:8b", "--quant", "Q4_K_M", "--dtype", "fp32"), "--dtype is for safetensors"),
        (("qwen3:8b", "--max-memory", "lots"), "--max-memory must be like"),
        (("qwen3:8b", "--max-memory", "0=4GiB"), "names GPU 0, this machine has no GPU"),
        (("--quant", "8bit"), "--quant needs a model"),
        (("starter", "--machine", "nowhere.toml"), "cannot read the machine file"),
    ],
)
def test_bad_input_is_one_line(fresh: Path, arguments: tuple[str, ...], says: str) -> None:
    done = run(*arguments)
    assert isinstance(done.exception, UsageError) and says in spelled(str(done.exception))
    assert "\n" not in str(done.exception) and not done.stdout


def test_in_a_narrow_terminal_the_licence_makes_way(fresh: Path) -> None:
    child = pexpect.spawn(
        sys.executable, ["-m", "qwen_cli", "models", "plan", "--machine", str(fresh / "desktop.toml")],
        dimensions=(40, 80), encoding="utf-8", env={**os.environ, "COLUMNS": "80"}, timeout=60,
    )  # fmt: skip
    rows = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", child.read()).split("\r\n\r\n")[0].splitlines()
    child.close()
    assert child.exitstatus == 0 and len(rows) > 50
    assert all(len(row) <= 80 for row in rows)
    assert not any("…" in row or "Apache" in row for row in rows), rows


def test_in_a_terminal_it_is_a_table(fresh: Path) -> None:
    child = pexpect.spawn(
        sys.executable,
        ["-m", "qwen_cli", "models", "plan", "qwen3:8b", "--machine", str(fresh / "gaming.toml"),
         "--quant", "Q4_K_M"],
        dimensions=(40, 160), encoding="utf-8", env={**os.environ, "COLUMNS": "160"}, timeout=60,
    )  # fmt: skip
    shown = child.read()
    child.close()
    assert child.exitstatus == 0
    assert "at most" in shown and "RTX 4090 with 24.0 GB, 1008 GB/s" in shown
