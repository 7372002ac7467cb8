"""The models people mean by "Qwen" today, by their names: fetched from a hub and started, on both engines.

The hub stands in for the real one; the weights are real and small, of each model's own architecture.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import small_gguf
from hub_server import Hub, serving

from qwen_cli.engines import load
from qwen_cli.engines.core.base import Sampling
from qwen_cli.models.hub import resolve
from qwen_cli.models.planning import hardware
from qwen_cli.models.planning.hardware import Machine

NAMED = {
    "qwen3.8:27b": ("Qwen3.8-27B", "Qwen3_5"),
    "qwen3.5:9b": ("Qwen3.5-9B", "Qwen3_5"),
    "qwen3.6:35b-a3b": ("Qwen3.6-35B-A3B", "Qwen3_5Moe"),
}


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Qwen's safetensors and unsloth's GGUF, under the names that they have."""
    made = {kind: tmp_path_factory.mktemp(kind) for kind in ("Qwen3_5", "Qwen3_5Moe")}
    files = {kind: small_gguf.make(kind, folder) for kind, folder in made.items()}
    root = tmp_path_factory.mktemp("hub")
    for name, kind in NAMED.values():
        shutil.copytree(made[kind] / "model", root / "Qwen" / name)
        theirs = root / "unsloth" / f"{name}-GGUF"
        theirs.mkdir(parents=True)
        shutil.copy(files[kind], theirs / f"{name}-UD-Q4_K_XL.gguf")
        (projector,) = made[kind].glob("mmproj*.gguf")
        shutil.copy(projector, theirs / "mmproj-F16.gguf")
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
@pytest.mark.parametrize(
    ("engine", "repo", "files"),
    [
        ("llamacpp", "unsloth/{}-GGUF", {"{}-UD-Q4_K_XL.gguf", "mmproj-F16.gguf"}),
        ("transformers", "Qwen/{}", {"config.json", "tokenizer.json", "model.safetensors"}),
    ],
    ids=["llamacpp", "transformers"],
)
def test_a_name_is_fetched_and_started(hub: Hub, name: str, engine: str, repo: str, files: set[str]) -> None:
    official, _ = NAMED[name]
    with load.load(name, engine=engine, context=256) as loaded:
        assert loaded.model == name
        assert loaded.capabilities.vision
        pieces = list(loaded.chat([{"role": "user", "content": "Hello"}], sampling=Sampling(max_tokens=3)))
        usage = pieces[-1].usage
        assert usage and usage.generated_tokens == 3
    fetched = hub.downloads()
    assert all(f"/{repo.format(official)}/resolve/" in line for line in fetched)
    assert {file.format(official) for file in files} <= {
        line.split()[1].rpartition("/")[2] for line in fetched
    }
    hub.log.clear()
    resolve.resolve(name, prefer="gguf" if engine == "llamacpp" else "safetensors", strict=True)
    assert hub.log == []
