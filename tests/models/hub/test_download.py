"""Fetching from a hub: resumed after a kill, never half-placed, never corrupted, never twice."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hub_server import COMMIT, Hub

from qwen_cli.errors import DownloadError
from qwen_cli.models.hub import resolve, sources, store

SMALL = "Qwen/Qwen3-0.6B-GGUF"
FILE = "Qwen3-0.6B-Q8_0.gguf"


def test_what_arrives_is_what_the_hub_has(hub: Hub) -> None:
    seen: list[tuple[str, int, int | None]] = []
    weights = resolve.resolve("qwen3:0.6b", progress=lambda *step: seen.append(step))
    source = hub.root / SMALL / FILE
    assert weights.path.read_bytes() == source.read_bytes()
    assert (weights.label, weights.format, weights.quant) == ("qwen3:0.6b", "gguf", "Q8_0")
    assert weights.model and weights.model.repo == "Qwen/Qwen3-0.6B"
    size = source.stat().st_size
    assert seen[-1] == ("qwen3:0.6b", size, size)
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)


def test_the_cache_is_huggingface_hubs_own(hub: Hub) -> None:
    weights = resolve.resolve("qwen3:0.6b")
    # Asked in another process: huggingface_hub reads where its cache is when it is imported.
    probe = (
        "from huggingface_hub import hf_hub_download, scan_cache_dir;"
        f"print(hf_hub_download({SMALL!r}, {FILE!r}, local_files_only=True));"
        "info = scan_cache_dir(); print([r.repo_id for r in info.repos], len(info.warnings))"
    )
    out = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout
    first, second = out.splitlines()
    assert Path(first) == weights.path
    assert second == f"[{SMALL!r}] 0"


def test_what_another_tool_fetched_is_used(hub: Hub) -> None:
    fetched = store.repo_folder(SMALL) / "snapshots" / COMMIT
    fetched.mkdir(parents=True)
    shutil.copy(hub.root / SMALL / FILE, fetched)
    assert resolve.resolve("qwen3:0.6b").path == fetched / FILE
    assert hub.log == []


def test_once_here_nothing_asks_the_network(hub: Hub) -> None:
    first = resolve.resolve("qwen3:0.6b")
    hub.log.clear()
    assert resolve.resolve("qwen3:0.6b") == first
    assert resolve.resolve("Qwen/Qwen3-0.6B-GGUF") == first
    assert hub.log == []


def test_a_broken_connection_is_resumed(hub: Hub) -> None:
    hub.cut_after = 50_000
    weights = resolve.resolve("qwen3:0.6b")
    assert weights.path.read_bytes() == (hub.root / SMALL / FILE).read_bytes()
    assert [line.split()[2:] for line in hub.downloads()] == [[], ["bytes=50000-"]]


def test_a_server_that_ignores_ranges_is_started_afresh(hub: Hub) -> None:
    hub.cut_after, hub.ignore_range = 50_000, True
    weights = resolve.resolve("qwen3:0.6b")
    assert weights.path.read_bytes() == (hub.root / SMALL / FILE).read_bytes()


def test_a_server_that_keeps_breaking_off_is_given_up_and_the_rest_kept(hub: Hub) -> None:
    hub.cut_after, hub.cut_always = 0, True
    with pytest.raises(DownloadError, match="cannot be reached") as caught:
        resolve.resolve("qwen3:0.6b")
    assert "starter" in str(caught.value)
    assert resolve.local() == []
    hub.cut_after = None
    assert resolve.resolve("qwen3:0.6b").path.is_file()


def test_a_kill_is_resumed(hub: Hub) -> None:
    hub.chunk_pause = 0.05
    child = subprocess.Popen(
        [
            sys.executable, "-c",
            "from qwen_cli.models.hub import resolve as reference;"
            "reference.resolve('qwen3:0.6b', progress=lambda *s: print(s[1], flush=True))",
        ],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert child.stdout
    for line in child.stdout:
        if int(line) > 40_000:
            child.send_signal(signal.SIGKILL)
            break
    child.wait()
    assert resolve.local() == []
    hub.chunk_pause = 0.0
    hub.log.clear()
    weights = resolve.resolve("qwen3:0.6b")
    assert weights.path.read_bytes() == (hub.root / SMALL / FILE).read_bytes()
    (line,) = hub.downloads()
    assert int(line.rpartition("bytes=")[2].rstrip("-")) > 0, line


def test_corrupted_content_is_refused_and_the_next_try_starts_clean(hub: Hub) -> None:
    hub.flip = True
    with pytest.raises(DownloadError, match=r"Qwen3-0\.6B-Q8_0\.gguf of .* arrived corrupted"):
        resolve.resolve("qwen3:0.6b")
    assert resolve.local() == []
    hub.flip = False
    hub.log.clear()
    assert resolve.resolve("qwen3:0.6b").path.is_file()
    assert "bytes=" not in hub.downloads()[0]


def test_small_files_are_checked_too(hub: Hub) -> None:
    hub.flip = True
    with pytest.raises(DownloadError, match=r"tokenizer\.json of Qwen/Qwen3-0\.6B arrived corrupted"):
        resolve.resolve("qwen3:0.6b", prefer="safetensors")


def test_a_partial_file_longer_than_the_whole_is_thrown_away(hub: Hub) -> None:
    first = resolve.resolve("qwen3:0.6b").path
    blob = first.resolve()
    store.delete(SMALL)
    blob.parent.mkdir(parents=True)
    blob.with_name(f"{blob.name}.qwen.incomplete").write_bytes(b"x" * 1_000_000)
    assert resolve.resolve("qwen3:0.6b").path.read_bytes() == (hub.root / SMALL / FILE).read_bytes()


def test_a_full_disk_is_told_before_anything_is_fetched(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1_000_000))
    with pytest.raises(DownloadError, match=r"GB are to come and 0\.00 GB are free") as caught:
        resolve.resolve("qwen3:0.6b")
    assert "HF_HOME" in str(caught.value)
    assert hub.downloads() == []


def test_a_disk_that_fills_up_meanwhile_is_named_and_resumed(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(DownloadError, match="No space left on device"):
            resolve.resolve("qwen3:0.6b")
    assert resolve.local() == []
    assert resolve.resolve("qwen3:0.6b").path.is_file()


def test_no_permission_is_named(hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "file"))
    with pytest.raises(DownloadError, match="cannot write"):
        resolve.resolve("qwen3:0.6b")


def test_an_unknown_repository(hub: Hub) -> None:
    with pytest.raises(DownloadError, match="the model hub has no model Someone/Nothing, or it is private"):
        resolve.resolve("Someone/Nothing")


def test_a_gated_repository(hub: Hub) -> None:
    hub.gated.add(SMALL)
    with pytest.raises(DownloadError, match="is gated") as caught:
        resolve.resolve("qwen3:0.6b")
    assert "hf auth login" in str(caught.value)


@pytest.mark.parametrize(("status", "words"), [(429, "limits the rate"), (503, "answered 503")])
def test_a_hub_in_trouble(hub: Hub, status: int, words: str) -> None:
    hub.status = status
    with pytest.raises(DownloadError, match=words):
        resolve.resolve("qwen3:0.6b")


def test_a_hub_that_cannot_be_reached(fresh: Path) -> None:
    with pytest.raises(DownloadError, match=r"the model hub at http://127\.0\.0\.1:9 cannot be reached"):
        resolve.resolve("qwen3:0.6b")


def test_offline_is_respected(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DownloadError, match="HF_HUB_OFFLINE is set"):
        resolve.resolve("qwen3:0.6b")
    assert not sources.hub_reachable()
    assert hub.log == []


def test_something_else_than_a_hub_answers(hub: Hub, repos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "hub_server._Handler._hub_listing", lambda self, repo: self._json(200, ["login page"])
    )
    with pytest.raises(DownloadError, match="something else than a file list"):
        resolve.resolve("qwen3:0.6b")


def test_a_path_that_would_leave_the_cache_is_refused(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    listing = {
        "sha": COMMIT,
        "siblings": [{"rfilename": "../../../evil-Q8_0.gguf", "size": 4, "blobId": "0" * 40}],
    }
    monkeypatch.setattr("hub_server._Handler._hub_listing", lambda self, repo: self._json(200, listing))
    with pytest.raises(DownloadError, match="unsafe path"):
        resolve.resolve("qwen3:0.6b")


def test_two_processes_fetch_once(hub: Hub) -> None:
    hub.chunk_pause = 0.02
    command = [
        sys.executable,
        "-c",
        "from qwen_cli.models.hub import resolve as reference; reference.resolve('qwen3:0.6b')",
    ]
    both = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert len(hub.downloads()) == 1


def test_modelscope_serves_when_the_hub_cannot_be_reached(modelscope: Hub) -> None:
    weights = resolve.resolve("qwen3:0.6b")
    assert weights.path.read_bytes() == (modelscope.root / SMALL / FILE).read_bytes()
    modelscope.log.clear()
    assert resolve.resolve("qwen3:0.6b") == weights
    assert modelscope.log == []


def test_a_hub_that_hangs_is_not_waited_for(modelscope: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert resolve.resolve("qwen3:0.6b").path.is_file()


def test_modelscope_can_be_asked_for(modelscope: Hub) -> None:
    modelscope.cut_after, modelscope.range_as_200 = 50_000, True
    weights = resolve.resolve("qwen3:0.6b", source="modelscope")
    assert weights.path.read_bytes() == (modelscope.root / SMALL / FILE).read_bytes()
    assert modelscope.downloads()[1].endswith("bytes=50000-")


def test_modelscope_shares_content_with_the_hub(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELSCOPE_DOMAIN", hub.url)
    resolve.resolve("qwen3:0.6b", source="modelscope")
    shutil.rmtree(store.repo_folder(SMALL) / "snapshots")
    hub.log.clear()
    assert resolve.resolve("qwen3:0.6b", source="hub").path.is_file()
    assert hub.downloads() == []


def test_modelscope_knows_no_such_model(modelscope: Hub) -> None:
    with pytest.raises(DownloadError, match="ModelScope has no model Someone/Nothing"):
        resolve.resolve("Someone/Nothing", source="modelscope")


def test_the_hubs_are_asked_whether_they_answer(hub: Hub) -> None:
    assert sources.hub_reachable()
    hub.status = 502
    assert not sources.hub_reachable()
