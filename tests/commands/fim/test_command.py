"""`qwen code-fim`: the bytes to insert on standard output, files changed only by --write."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

FIB = b"def fib(n):\n    if n < 2:\n        return n\n    return \n\n\nprint(fib(10))\n"
REST = "fib(n-1) + fib(n-2)"
FIM = ("code-fim", "--model", "starter", "--no-repo")


@pytest.fixture
def fib(tmp_path: Path) -> Path:
    path = tmp_path / "fib.py"
    path.write_bytes(FIB)
    return path


def test_the_middle_alone_is_on_stdout(qwen, fib: Path) -> None:
    done = qwen(*FIM, str(fib), "--at", "4")
    assert (done.returncode, done.stdout, done.stderr) == (0, REST, "")
    assert fib.read_bytes() == FIB


def test_a_marker_on_stdin(warm) -> None:
    done = warm(*FIM, "--name", "add.c", "--full", stdin="int add(int a, int b) {\n    <|fim|>\n}\n")
    assert done.stdout == "int add(int a, int b) {\n    return a + b;\n}\n"


def test_another_marker(warm) -> None:
    done = warm(
        *FIM, "--name", "a.js", "--marker", "@@", "--mode", "line", stdin="const add = (a, b) => @@;\n"
    )
    assert done.stdout == "a + b"


def test_two_files(warm, tmp_path: Path) -> None:
    (tmp_path / "before.go").write_text("func add(a int, b int) int {\n\t")
    (tmp_path / "after.go").write_text("\n}\n")
    done = warm(*FIM, "--prefix", str(tmp_path / "before.go"), "--suffix", str(tmp_path / "after.go"))
    assert done.stdout == "return a + b"


def test_a_diff_that_patch_takes(warm, fib: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(fib.parent)
    done = warm(*FIM, "fib.py", "--at", "4", "--diff")
    subprocess.run(["git", "apply"], input=done.stdout.encode(), check=True)
    assert fib.read_bytes() == FIB.replace(b"return \n", f"return {REST}\n".encode())


def test_write_keeps_newlines_and_byte_order_mark(warm, fib: Path) -> None:
    before = b"\xef\xbb\xbf" + FIB.replace(b"\n", b"\r\n")
    fib.write_bytes(before)
    done = warm(*FIM, str(fib), "--at", "4", "--write")
    assert done.stdout == ""
    assert fib.read_bytes() == before.replace(b"return \r\n", f"return {REST}\r\n".encode())


def test_json_tells_what_it_cost(warm, fib: Path) -> None:
    answer = json.loads(warm(*FIM, str(fib), "--at", "4", "--json", "--mode", "line").stdout)
    assert answer["middle"] == REST
    assert answer["stop_reason"] in ("line", "model")
    assert answer["candidates"][0]["middle"] == REST
    assert answer["usage"]["generated_tokens"] > 5
    assert answer["usage"]["prompt_tokens"] > 20
    assert answer["timings"]["decode_seconds"] > 0


def test_several_candidates_are_ranked(warm, tmp_path: Path) -> None:
    path = tmp_path / "greet.py"
    path.write_text("def greet(name):\n\n\nprint(greet('Ada'))\n")
    drawn = ("--mode", "line", "-n", "4", "--temperature", "1", "--seed", "5")
    done = warm(*FIM, str(path), "--at", "2", *drawn, "--json")
    candidates = json.loads(done.stdout)["candidates"]
    assert len(candidates) > 1
    likelihoods = [candidate["mean_logprob"] for candidate in candidates]
    assert likelihoods == sorted(likelihoods, reverse=True)


def test_show_prompt_is_what_the_model_sees_and_why(qwen, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "prices.py").write_text("def gross(net):\n    return net * 1.19\n")
    (tmp_path / ".env").write_text("KEY=hush\n")
    shop = tmp_path / "shop.py"
    shop.write_text("from prices import gross\n\nprint(gross(<|fim|>))\n")
    done = qwen("code-fim", "--model", "starter", str(shop), "--show-prompt")
    assert done.stdout == (
        f"<|repo_name|>{tmp_path.name}\n<|file_sep|>prices.py\ndef gross(net):\n    return net * 1.19\n\n"
        "<|file_sep|>shop.py\n<|fim_prefix|>from prices import gross\n\nprint(gross(<|fim_suffix|>))\n"
        "<|fim_middle|>\n"
    )
    assert "prices.py" in done.stderr
    alone = qwen(*FIM, str(shop), "--show-prompt")
    assert "<|file_sep|>" not in alone.stdout


def test_a_long_file_is_cut_and_it_says_so(qwen, tmp_path: Path) -> None:
    path = tmp_path / "long.py"
    path.write_text("x = 1\n" * 900 + FIB.decode())
    done = qwen(*FIM, str(path), "--at", "904", "--context", "512", "--mode", "line")
    assert done.stdout.replace(" ", "") == REST.replace(" ", "")
    assert "the model sees the nearest lines only" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("--at", "99"), 2, "has 7 lines, --at asks for line 99"),
        (("--at", "1:99"), 2, "line 1 of"),
        (("--at", "x"), 2, "got 'x'"),
        ((), 2, "has no <|fim|>"),
        (("--marker", "n"), 2, "times"),
        (("--at", "4", "--marker", "@"), 2, "exclude each other"),
        (("--at", "4", "--full", "--diff"), 2, "exclude each other"),
        (("--at", "4", "--mode", "all"), 2, "got 'all'"),
        (("--at", "4", "--repo", "."), 2, "--repo and --no-repo exclude each other"),
        (("--at", "4", "--max-tokens", "9000", "--context", "1024"), 1, "the context holds 1,024"),
    ],
)
def test_what_makes_no_sense_is_one_line(
    qwen, fib: Path, arguments: tuple[str, ...], code: int, says: str
) -> None:
    done = qwen(*FIM, str(fib), *arguments)
    assert done.returncode == code
    assert done.stdout == ""
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert fib.read_bytes() == FIB


def test_binary_and_missing_files_are_refused(qwen, tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\x00")
    for name, says in (("picture.png", "is not text"), ("none.py", "no file at")):
        done = qwen(*FIM, str(tmp_path / name), "--at", "1", "--write")
        assert done.returncode == 2
        assert says in done.stderr


def test_write_without_a_file_is_refused(qwen) -> None:
    done = qwen(*FIM, "--write", stdin="a = <|fim|>\n")
    assert done.returncode == 2
    assert "--write needs a file" in done.stderr


def test_on_a_terminal_one_is_picked(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "greet.py"
    path.write_text("def greet(name):\n\n\nprint(greet('Ada'))\n")
    drawn = ["--mode", "line", "-n", "3", "--temperature", "1", "--seed", "5"]
    arguments = [*FIM, str(path), "--at", "2", *drawn, "--write"]
    child = pexpect.spawn(sys.executable, ["-m", "qwen_cli", *arguments], env=dict(os.environ), timeout=60)
    child.expect(r"\[2\]")
    child.expect("Which one")
    child.sendline("9")
    child.expect("a number from 1 to")
    child.sendline("2")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert path.read_text().startswith("def greet(name):\n    ")


def test_eval_counts_what_passes_and_goes_on_where_it_was(qwen, tmp_path: Path) -> None:
    row = {
        "task_id": "Add/1",
        "entry_point": "add",
        "prompt": "def add(a, b):\n",
        "suffix": "\n\n\nprint(add(2, 3))\n",
        "test": "def check(candidate):\n    assert candidate(1, 2) == 3\n",
    }
    wrong = {**row, "task_id": "Add/2", "test": "def check(candidate):\n    assert candidate(1, 2) == 4\n"}
    tasks = tmp_path / "tasks.jsonl"
    tasks.write_text(json.dumps(row) + "\n" + json.dumps(wrong) + "\n")
    done = qwen("eval", "fim", str(tasks), "--model", "starter")
    assert done.stdout == "pass@1 50.0% (1 of 2, 95 % interval 9.5% to 90.5%)\n"
    again = qwen("eval", "fim", str(tasks), "--model", "starter", "--json")
    assert "2 results are there already" in again.stderr
    assert json.loads(again.stdout)["passed"] == 1
