"""`qwen models`: what is known and here, fetch, show, remove, convert."""

from __future__ import annotations

import json
import mmap
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf_files
import pexpect
import pytest
import small_gguf
import small_models
from hub_server import Hub, serving
from typer.testing import CliRunner, Result

from qwen_cli.commands.models import command
from qwen_cli.errors import ModelError, QwenError, UsageError
from qwen_cli.models.formats import gguf_export
from qwen_cli.models.hub import starter, store


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with nothing on it and no hub in reach."""
    for name in (
        "HF_HUB_CACHE",
        "HUGGINGFACE_HUB_CACHE",
        "HF_HUB_OFFLINE",
        "HTTP_PROXY",
        "http_proxy",
        "HF_TOKEN",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("QWEN_HOME", str(tmp_path / "qwen"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("MODELSCOPE_DOMAIN", "http://127.0.0.1:9")
    return tmp_path


@pytest.fixture
def with_starter(fresh: Path, starter_gguf: Path) -> Path:
    """The real starter model in a home of its own."""
    here = starter.path()
    here.parent.mkdir(parents=True)
    here.symlink_to(starter_gguf)
    return here


@pytest.fixture
def hub(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that has one small model in two file types."""
    repo = fresh / "repos" / "Qwen/Qwen3-4B-GGUF"
    repo.mkdir(parents=True)
    for quant in ("Q4_K_M", "Q8_0"):
        gguf_files.write(repo / f"Qwen3-4B-{quant}.gguf", "qwen3", vocabulary=[quant])
    with serving(fresh / "repos") as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def run(*arguments: str, given: str | None = None) -> Result:
    return CliRunner().invoke(command.app, list(arguments), input=given)


def terminal(*arguments: str) -> Any:
    """The program itself, on a terminal of 160 columns."""
    return pexpect.spawn(
        sys.executable,
        ["-m", "qwen_cli", *arguments],
        dimensions=(40, 160),
        encoding="utf-8",
        env={**os.environ, "COLUMNS": "160"},
    )


def data(*arguments: str) -> Any:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def fault(*arguments: str) -> QwenError:
    error = run(*arguments).exception
    assert isinstance(error, QwenError), error
    assert "\n" not in str(error)
    return error


def test_list_names_what_is_known(fresh: Path) -> None:
    lines = run("list").stdout.splitlines()
    row = next(line.split("\t") for line in lines if line.startswith("qwen2.5:3b\t"))
    assert row == [
        "qwen2.5:3b", "3.09B", "2.1 GB", "32K", "Qwen Research", "llamacpp transformers", "",
    ]  # fmt: skip
    moe = next(line.split("\t") for line in lines if line.startswith("qwen3:30b-a3b\t"))
    assert moe[1] == "30.5B (3.3B active)"
    assert not any("-base" in line for line in lines)


def test_list_says_what_is_here(with_starter: Path) -> None:
    (row,) = data("list", "--local")
    assert row["name"] == "qwen2.5-coder:0.5b"
    assert row["engines"] == ["llamacpp"]
    assert row["present"] == [
        {"format": "gguf", "quant": "Q4_K_M", "bytes": 491_400_064, "path": str(with_starter)}
    ]
    assert run("list", "--local").stdout.rstrip("\n").split("\t")[-1] == "Q4_K_M 491 MB"


def test_list_filters(fresh: Path) -> None:
    assert data("list", "--local") == []
    vision = data("list", "--task", "vision")
    assert {row["family"] for row in vision} == {
        "qwen2-vl", "qvq", "qwen2.5-vl", "qwen2.5-omni", "qwen3-vl", "qwen3.5", "qwen3.6", "qwen3.8",
        "qwen3.8-flash-next",
    }  # fmt: skip
    assert {(row["family"], *row["engines"]) for row in data("list", "--task", "embedding")} == {
        ("qwen3-embedding", "llamacpp", "transformers"), ("qwen3-vl-embedding",),
    }  # fmt: skip
    assert [row["engines"] for row in data("list", "--task", "transcription")] == [["transformers"]] * 2
    assert all(row["name"].endswith("-base") for row in data("list", "--task", "base"))
    assert len(data("list", "--all")) > len(data("list")) > 50
    error = fault("list", "--task", "cooking")
    assert isinstance(error, UsageError) and "chat, code" in str(error)


def test_list_shows_what_is_here_but_not_known(fresh: Path) -> None:
    kept = store.cache_folder() / "models--someone--Qwen3-8B-GGUF" / "snapshots" / "abc"
    kept.mkdir(parents=True)
    gguf_files.write(kept / "Qwen3-8B-Q4_K_M.gguf", "qwen3")
    (row,) = data("list", "--local")
    assert (row["name"], row["licence"]) == ("someone/Qwen3-8B-GGUF", "Apache-2.0")


def test_pull_writes_the_path_alone_to_stdout(hub: Hub) -> None:
    result = run("pull", "qwen3:4b")
    assert result.exit_code == 0
    assert Path(result.stdout.strip()).name == "Qwen3-4B-Q4_K_M.gguf"
    assert Path(result.stdout.strip()).is_file()
    found = data("pull", "qwen3:4b", "--quant", "Q8_0")
    assert (found["quant"], found["format"], found["label"]) == ("Q8_0", "gguf", "Qwen/Qwen3-4B-GGUF:Q8_0")
    assert data("list", "--local")[0]["name"] == "qwen3:4b"


def test_pull_of_nonsense(hub: Hub) -> None:
    assert (fault("pull", "qwen3:4bb").hint or "").startswith("did you mean qwen3:4b")
    assert isinstance(fault("pull", "qwen3:4b", "--source", "nowhere"), UsageError)
    assert isinstance(fault("pull", "qwen3:4b", "--format", "zip"), UsageError)
    assert "has no Q2_K" in str(fault("pull", "qwen3:4b", "--quant", "Q2_K"))


def test_show_reads_the_weights(with_starter: Path) -> None:
    facts = data("show", "starter")
    assert (facts["layers"], facts["query_heads"], facts["kv_heads"]) == (24, 14, 2)
    assert (facts["experts"], facts["context"], facts["licence"]) == (0, 32768, "Apache-2.0")
    assert (facts["kv_bytes_per_token"], facts["kv_saving"]) == (12_288, 7)
    assert facts["sampling"]["repetition_penalty"] == 1.1
    text = run("show", "starter").stdout
    assert "kv saving             7× smaller than one KV head per query head" in text
    assert "kv bytes per token    12,288 bytes" in text
    assert "fill in the middle    yes" in text


def test_show_of_a_model_that_is_not_here_says_what_is_known(fresh: Path) -> None:
    result = run("show", "qwen2.5:72b")
    assert result.exit_code == 0
    assert "licence               Qwen\n" in result.stdout
    assert "layers" not in result.stdout
    assert "qwen models pull qwen2.5:72b" in result.stderr


def test_show_of_a_file(tmp_path: Path) -> None:
    file = gguf_files.write(tmp_path / "mine.gguf", "qwen3")
    assert data("show", str(file))["layers"] == 4
    file.write_bytes(file.read_bytes()[:-50])
    assert "mine.gguf is truncated" in str(fault("show", str(file)))
    assert "there is no model" in str(fault("show", "gpt-4"))


def test_path(with_starter: Path) -> None:
    assert run("path", "starter").stdout == f"{with_starter}\n"
    assert data("path", "starter")["bytes"] == 491_400_064
    error = fault("path", "qwen3:8b")
    assert isinstance(error, ModelError) and error.exit_code == 1


def test_rm_wants_a_yes(hub: Hub) -> None:
    run("pull", "qwen3:4b")
    assert fault("rm", "qwen3:4b").hint == "add --yes"
    assert data("list", "--local")
    result = run("rm", "qwen3:4b", "--yes")
    assert result.exit_code == 0 and result.stdout == "" and "removed qwen3:4b" in result.stderr
    assert data("list", "--local") == []
    assert "not on this machine" in str(fault("rm", "qwen3:4b", "--yes"))


@pytest.mark.parametrize(("answer", "kept"), [("n", True), ("y", False)])
def test_rm_asks(hub: Hub, answer: str, kept: bool) -> None:
    run("pull", "qwen3:4b")
    child = terminal("models", "rm", "qwen3:4b")
    child.expect(r"Remove qwen3:4b \(.*models--Qwen--Qwen3-4B-GGUF\)\?", timeout=30)
    child.sendline(answer)
    child.expect(pexpect.EOF, timeout=30)
    child.close()
    assert child.exitstatus == (130 if kept else 0)
    assert store.repo_folder("Qwen/Qwen3-4B-GGUF").exists() == kept


def test_rm_of_the_starter_takes_its_conversion_too(with_starter: Path) -> None:
    converted = starter.safetensors_path()
    converted.mkdir()
    (converted / "config.json").write_text("{}")
    (converted / "model.safetensors").write_text("")
    assert len(data("rm", "starter", "--yes")["removed"]) == 2
    assert not with_starter.exists() and not converted.exists()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux says who has a file mapped")
def test_rm_of_a_model_in_use_is_refused(hub: Hub) -> None:
    path = Path(run("pull", "qwen3:4b").stdout.strip())
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ):
        told = str(fault("rm", "qwen3:4b", "--yes"))
        assert f"qwen3:4b is in use by process {os.getpid()} " in told
        assert "qwen stop" in told
    assert path.exists()
    assert run("rm", "qwen3:4b", "--yes").exit_code == 0


def test_rm_leaves_peoples_own_files_alone(fresh: Path) -> None:
    file = gguf_files.write(fresh / "mine.gguf")
    assert "your own file" in str(fault("rm", str(file), "--yes"))
    assert file.is_file()


def test_convert_knows_one_form(fresh: Path) -> None:
    assert isinstance(fault("convert", "starter", "--to", "onnx"), UsageError)
    assert "is not published as GGUF" in str(fault("convert", "qwen3:8b-base"))


class TestConvertAnAdapter:
    """`test_lora.py` has what is written."""

    @pytest.fixture
    def adapter(self, fresh: Path, starter_safetensors: Path) -> Path:
        import torch
        from safetensors.torch import save_file

        small_models.make("Qwen2", fresh / "base", starter_safetensors)
        folder = fresh / "adapter"
        folder.mkdir()
        about = {"peft_type": "LORA", "lora_alpha": 8, "r": 4, "base_model_name_or_path": str(fresh / "base")}
        (folder / "adapter_config.json").write_text(json.dumps(about))
        place = "base_model.model.model.layers.0.self_attn.q_proj"
        pair = {f"{place}.lora_A.weight": torch.ones(4, 64), f"{place}.lora_B.weight": torch.ones(64, 4)}
        save_file(pair, folder / "adapter_model.safetensors")
        return folder

    def test_its_base_is_the_one_that_it_names(self, adapter: Path, fresh: Path) -> None:
        result = run("convert", str(adapter), "--to", "gguf", "--out", str(fresh / "a.gguf"))
        assert result.stdout == f"{fresh / 'a.gguf'}\n"
        found = data("convert", str(adapter), "--to", "gguf", "--out", str(fresh / "b.gguf"))
        assert found == {"path": str(fresh / "b.gguf"), "mmproj": None, "from": str(adapter)}
        assert (fresh / "a.gguf").read_bytes() == (fresh / "b.gguf").read_bytes()

    def test_what_would_do_nothing_is_refused(self, adapter: Path, fresh: Path) -> None:
        assert "in safetensors already" in str(fault("convert", str(adapter)))
        assert "adapters stay in 32 bits" in str(
            fault("convert", str(adapter), "--to", "gguf", "--quant", "q8_0")
        )
        assert "--base is for LoRA adapters" in str(fault("convert", "starter", "--base", "starter"))

    def test_it_is_added_to_its_base(self, adapter: Path, fresh: Path) -> None:
        out = fresh / "merged"
        assert run("merge", str(fresh / "base"), str(adapter), "--out", str(out)).stdout == f"{out}\n"
        assert (out / "model.safetensors").read_bytes() != (fresh / "base" / "model.safetensors").read_bytes()
        assert "exists already" in str(fault("merge", str(fresh / "base"), str(adapter), "--out", str(out)))
        assert "not a LoRA adapter" in str(fault("merge", "starter", str(fresh), "--out", str(fresh / "x")))
        more = data("merge", str(fresh / "base"), str(adapter), str(adapter), "--out", str(fresh / "twice"))
        assert more["adapters"] == [str(adapter)] * 2

    def test_a_base_that_is_not_here_is_asked_for(self, adapter: Path) -> None:
        file = adapter / "adapter_config.json"
        about = json.loads(file.read_text())
        file.write_text(json.dumps(about | {"base_model_name_or_path": "Qwen/Qwen3-8B"}))
        told = fault("convert", str(adapter), "--to", "gguf")
        assert "Qwen/Qwen3-8B" in str(told)
        assert "--base" in str(told)
        file.write_text(json.dumps(about | {"base_model_name_or_path": None}))
        assert "does not say what model it is for" in str(fault("convert", str(adapter), "--to", "gguf"))


def test_convert_tells_where_the_eyes_are(fresh: Path) -> None:
    folder = small_gguf.make_folder("Qwen3VL", fresh / "own")
    out = fresh / "out" / "own-q8_0.gguf"
    result = run("convert", str(folder), "--to", "gguf", "--quant", "q8_0", "--out", str(out))
    assert result.stdout == f"{out}\n"
    eyes = out.with_name("mmproj-own-F16.gguf")
    assert str(eyes) in result.stderr.replace("\n", "")
    assert data("show", str(out))["mmproj"] == str(eyes)
    again = data("convert", str(folder), "--to", "gguf", "--quant", "f16", "--out", str(fresh / "b.gguf"))
    assert again["mmproj"] == str(fresh / "mmproj-b-F16.gguf")


def test_convert(fresh: Path, starter_safetensors: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The starter's place holds a small model: test_gguf_import.py converts the real one."""
    folder = small_models.make("Qwen3", fresh / "model", starter_safetensors)
    file = gguf_export.to_gguf(folder, starter.path(), quant="f16")
    monkeypatch.setattr(starter, "SIZE", file.stat().st_size)
    out = fresh / "converted"
    result = run("convert", "starter", "--to", "safetensors", "--out", str(out))
    assert result.exit_code == 0, result.exception
    assert result.stdout == f"{out}\n"
    assert data("show", str(out))["layers"] == 3


def test_escape_sequences_in_names_never_reach_the_terminal(fresh: Path) -> None:
    name = "models--someone--Qwen3-8B-\x1b[31mred-GGUF"
    kept = store.cache_folder() / name / "snapshots" / "abc"
    kept.mkdir(parents=True)
    gguf_files.write(kept / "Qwen3-8B-Q4_K_M.gguf", "qwen3")
    file = gguf_files.write(fresh / "\x1b]0;title\x07.gguf")
    for arguments in (["list", "--local"], ["path", str(file)], ["show", str(file)], ["list", "--json"]):
        assert "\x1b" not in run(*arguments).stdout


def test_a_table_is_drawn_on_a_terminal(with_starter: Path) -> None:
    child = terminal("models", "list", "--local")
    child.expect(pexpect.EOF, timeout=30)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", child.before)
    head, row = (line.split() for line in plain.splitlines()[:2])
    assert head == ["model", "size", "download", "context", "licence", "engines", "here"]
    assert row[0] == "qwen2.5-coder:0.5b" and row[-3:] == ["Q4_K_M", "491", "MB"]


@pytest.mark.parametrize("columns", [60, 80, 100, 160])
def test_the_list_cuts_nothing_in_a_narrow_terminal(with_starter: Path, columns: int) -> None:
    child = pexpect.spawn(
        sys.executable, ["-m", "qwen_cli", "models", "list"],
        dimensions=(40, columns), encoding="utf-8", env={**os.environ, "COLUMNS": str(columns)}, timeout=60,
    )  # fmt: skip
    rows = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", child.read()).splitlines()
    child.close()
    assert child.exitstatus == 0
    assert all(len(row) <= columns and "…" not in row for row in rows), rows
    words = {row.split()[0] for row in rows if row.strip()}
    assert {"qwen3:235b-a22b-instruct-2507", "qwen3-coder-next:80b-a3b", "qwen3.8:27b"} <= words
    starter = next(row for row in rows if row.startswith("qwen2.5-coder:0.5b "))
    assert starter.rstrip().endswith("Q4_K_M 491 MB")
    assert ("Apache-2.0" in starter) == (columns == 160)


def test_what_is_here_stands_below_itself_before_a_column_makes_way() -> None:
    program = (
        "from qwen_cli.commands.models.output import write_table as w;"
        "w(('model','licence','here'), [('m' * 30, 'Apache-2.0', 'Q4_K_M 491 MB, safetensors 988 MB')],"
        " least=('licence',))"
    )

    def rows(columns: int) -> list[str]:
        child = pexpect.spawn(
            sys.executable, ["-c", program], dimensions=(40, columns), encoding="utf-8",
            env={**os.environ, "COLUMNS": str(columns)}, timeout=60,
        )  # fmt: skip
        text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", child.read())
        child.close()
        return [line.rstrip() for line in text.splitlines()]

    name, licence, first, second = "m" * 30, "Apache-2.0", "Q4_K_M 491 MB", "safetensors 988 MB"
    assert rows(100)[1:] == [f"{name}  {licence}  {first}, {second}"]
    assert rows(62)[1:] == [f"{name}  {licence}  {first}", " " * 44 + second]
    assert rows(50)[1:] == [f"{name}  {first}", " " * 32 + second]
