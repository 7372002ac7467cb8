"""The same mistake is told in the same words with the same exit code by every command, before anything is
fetched or loaded."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from qwen_cli.commands import main

LOADING = (
    ("--model", "nope", 1, "there is no model 'nope'"),
    ("--model", "./nope", 1, "there is no file or folder nope"),
    ("--model", "", 2, "model is empty"),
    ("--model", "a/b/c", 1, "'a/b/c' is no model's name"),
    ("--model", "https://huggingface.co/datasets/a/b", 1, "is no model's page"),
    ("--model", "http://localhost:8000/v1", 1, "A server is given as --endpoint"),
    ("--engine", "nope", 2, "engine must be one of auto, llamacpp"),
    ("--endpoint", "nope", 2, "no endpoint is called 'nope'"),
    ("--endpoint", "", 2, "endpoint is empty"),
    ("--quant", "q9", 2, "--quant must be none, 8bit, 4bit or a GGUF file type"),
    ("--kv", "x", 2, "--kv must be f16, bf16, q8_0 or q4_0, got 'x'"),
    ("--dtype", "x", 2, "--dtype must be auto, bf16, fp16 or fp32, got 'x'"),
    ("--attention", "x", 2, "--attention must be auto"),
    ("--rope-scaling", "x", 2, "--rope-scaling cannot be 'x'"),
    ("--dca-chunk", "4096", 2, "--dca-chunk is for dual chunk attention. Add --rope-scaling dca"),
    ("--dca-chunk", "0", 2, "--dca-chunk must be at least 1, got 0"),
    ("--context", "0", 2, "context must be at least 256, got 0"),
    ("--context", "-5", 2, "context must be at least 256, got -5"),
    ("--context", "x", 2, "'x' is not a valid int"),
    ("--n-cpu-moe", "-1", 2, "--n-cpu-moe must be 0 or more, got -1"),
    ("--adapter", "nope", 2, "there is no adapter nope"),
    ("--draft", "nope", 1, "--draft nope: there is no model 'nope'"),
    ("--device-map", "nope.json", 2, "cannot read --device-map nope.json"),
    ("--max-memory", "x", 2, "--max-memory must be like"),
)
SAMPLING = (
    ("--temperature", "9", 2, "temperature must be at least 0 and at most 5, got 9.0"),
    ("--temperature", "nan", 2, "temperature must be at least 0"),
    ("--top-p", "2", 2, "top_p must be at least 0 and at most 1"),
    ("--top-k", "-1", 2, "top_k must be at least 0"),
    ("--min-p", "-0.1", 2, "min_p must be at least 0"),
    ("--seed", "-1", 2, "seed must be at least 0"),
    ("--max-tokens", "0", 2, "max_tokens must be at least 1, got 0"),
)


@pytest.fixture
def told(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Any:
    """Return (exit code, what is told) of a command line."""

    def never(*given: object, **more: object) -> None:
        raise AssertionError("something is loaded or fetched")

    for name in ("models.hub.download.pull", "models.hub.starter.fetch", "engines.llamacpp.load.start"):
        monkeypatch.setattr(f"qwen_cli.{name}", never)
    monkeypatch.chdir(tmp_path)
    Path("a.py").write_text("def f():\n    \n")
    Image.new("RGB", (64, 64)).save("p.png")
    task = {
        "task_id": "a/0",
        "prompt": "x",
        "suffix": "",
        "canonical_solution": "y",
        "test": "",
        "entry_point": "f",
    }
    Path("t.jsonl").write_text(json.dumps(task) + "\n")

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["qwen", *arguments])
        with Path(os.devnull).open() as nothing, pytest.raises(SystemExit) as left:
            monkeypatch.setattr("sys.stdin", nothing)
            main.main()
        written = capsys.readouterr()
        assert written.out == ""
        return int(left.value.code or 0), written.err

    return run


COMMANDS = {
    "chat": ("chat", "hi"),
    "code-fim": ("code-fim", "a.py", "--at", "2"),
    "code-edit": ("code-edit", "a.py", "Return 1."),
    "math": ("math", "1+1"),
    "vision": ("vision", "p.png", "What?"),
    "eval": ("eval", "fim", "t.jsonl"),
}


@pytest.mark.parametrize(("flag", "value", "code", "says"), [*LOADING, *SAMPLING])
def test_every_command_tells_it_alike(told: Any, flag: str, value: str, code: int, says: str) -> None:
    names = [name for name in COMMANDS if name != "eval" or flag not in {row[0] for row in SAMPLING}]
    found = {name: told(*COMMANDS[name], flag, value) for name in names}
    for name, (exit_code, line) in found.items():
        assert (exit_code, line.count("\n")) == (code, 1), (name, line)
        assert says in line, (name, line)
    assert len({line.partition(". See `")[0].replace(" / '-t'", "") for _, line in found.values()}) == 1, (
        found
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("chat", "hi", "--cache-file", "t.jsonl"), "t.jsonl is there and is not a saved KV cache"),
        (("chat", "hi", "--cache-file", "no/book.kv"), "there is no folder no"),
        (("chat", "hi", "--rope-scaling", "dca", "--engine", "llamacpp"), "Use --rope-scaling yarn"),
        (
            ("chat", "hi", "--rope-scaling", "dca", "--quant", "q4_k_m"),
            "llama.cpp has no dual chunk attention",
        ),
        (("chat", "hi", "--rope-scaling", "dca", "--kv", "q8_0"), "llama.cpp has no dual chunk attention"),
        (("chat", "hi", "-m", "qwen3:8b:q4_k_m", "--rope-scaling", "dca"), "has no dual chunk attention"),
        (("chat", "hi", "-m", "x.gguf", "--rope-scaling", "dca"), "has no dual chunk attention"),
        (("chat", "hi", "--rope-scaling", "dca", "--endpoint", "http://x:1"), "needs a local engine"),
    ],
)
def test_long_texts(told: Any, arguments: tuple[str, ...], says: str) -> None:
    code, line = told(*arguments)
    assert (code, line.count("\n")) == (2, 1), line
    assert says in line
    assert Path("t.jsonl").stat().st_size > 10
