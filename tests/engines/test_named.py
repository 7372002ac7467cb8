"""The models people mean by "Qwen" today, by their names: fetched from a hub and started.

The hub stands in for the real one; the weights are real and small, of each model's own architecture.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import small_models
from hub_server import Hub, serving

from qwen_cli.engines import load
from qwen_cli.engines.core.base import Sampling
from qwen_cli.models.planning import hardware
from qwen_cli.models.planning.hardware import Machine

NAMED = {
    "qwen3.8:27b": ("Qwen/Qwen3.8-27B", "Qwen3_5"),
    "qwen3.5:9b": ("Qwen/Qwen3.5-9B", "Qwen3_5"),
    "qwen3.6:35b-a3b": ("Qwen/Qwen3.6-35B-A3B", "Qwen3_5Moe"),
}


@pytest.fixture(scope="module")
def repositories(starter_safetensors: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hub")
    made: dict[str, Path] = {}
    for repo, architecture in NAMED.values():
        folder = root / repo
        if first := made.get(architecture):
            shutil.copytree(first, folder)
        else:
            folder.parent.mkdir(parents=True, exist_ok=True)
            made[architecture] = small_models.make_seeing(architecture, folder, starter_safetensors)
    return root


@pytest.fixture
def hub(repositories: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that has them, and a machine that has room for the real ones."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("QWEN_HOME", str(tmp_path / "qwen"))
    monkeypatch.setenv("MODELSCOPE_DOMAIN", "http://127.0.0.1:9")
    roomy = Machine("roomy", 512 * 10**9, 480 * 10**9, 2, hardware.assumed_bandwidth(2))
    monkeypatch.setattr(hardware, "this_machine", lambda **_: roomy)
    with serving(repositories) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.mark.parametrize("name", NAMED)
def test_a_name_is_fetched_and_started(hub: Hub, name: str) -> None:
    repo, _ = NAMED[name]
    with load.load(name, engine="transformers", dtype="fp32", context=256, device_map="cpu") as engine:
        assert engine.model == name
        assert engine.capabilities.vision
        pieces = list(engine.chat([{"role": "user", "content": "Hello"}], sampling=Sampling(max_tokens=3)))
        usage = pieces[-1].usage
        assert usage and usage.generated_tokens > 0
    fetched = {line.split()[1].rpartition("/")[2] for line in hub.downloads()}
    assert {"config.json", "tokenizer.json", "model.safetensors"} <= fetched
    assert all(f"/{repo}/resolve/" in line for line in hub.downloads())
    hub.log.clear()
    with load.load(name, engine="transformers", dtype="fp32", context=256, device_map="cpu"):
        assert hub.log == []
