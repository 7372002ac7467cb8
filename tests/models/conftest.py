"""A machine of its own for each test: empty cache, empty home, and hubs on loopback."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import gguf_files
import numpy as np
import pytest
from hub_server import Hub, serving
from safetensors.numpy import save_file


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing is on this machine and no hub can be reached: port 9 of loopback refuses at once."""
    for name in (
        "HF_HUB_CACHE",
        "HUGGINGFACE_HUB_CACHE",
        "HF_HUB_OFFLINE",
        "TRANSFORMERS_OFFLINE",
        "HF_TOKEN",
    ):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("QWEN_HOME", str(tmp_path / "qwen"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("MODELSCOPE_DOMAIN", "http://127.0.0.1:9")
    monkeypatch.setattr("qwen_cli.models.hub.download._PAUSE", 0.01)
    return tmp_path


@pytest.fixture
def repos(published: Path, tmp_path: Path) -> Path:
    """The files that the hubs have, to be changed at will."""
    return Path(shutil.copytree(published, tmp_path / "repos"))


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few small but real models under the names of Qwen's repositories."""
    root = tmp_path_factory.mktemp("published")
    for repo, names in {
        "Qwen/Qwen3-0.6B-GGUF": ["Qwen3-0.6B-Q8_0.gguf"],
        "Qwen/Qwen2-1.5B-Instruct-GGUF": ["qwen2-1_5b-instruct-q4_k_m.gguf"],
        "Qwen/Qwen3-4B-GGUF": ["Qwen3-4B-Q4_K_M.gguf", "Qwen3-4B-Q8_0.gguf"],
        "Qwen/Qwen2.5-7B-Instruct-GGUF": [
            "qwen2.5-7b-instruct-q4_k_m-00001-of-00002.gguf",
            "qwen2.5-7b-instruct-q4_k_m-00002-of-00002.gguf",
            "qwen2.5-7b-instruct-q8_0-00001-of-00001.gguf",
        ],
    }.items():
        (root / repo).mkdir(parents=True)
        for name in names:
            gguf_files.write(root / repo / name, "qwen3", vocabulary=[f"{name} {i}" for i in range(9000)])
        (root / repo / "README.md").write_text("# read me\n")
    vision = root / "Qwen/Qwen3-VL-2B-Instruct-GGUF"
    vision.mkdir()
    gguf_files.write(vision / "Qwen3VL-2B-Instruct-Q4_K_M.gguf", "qwen3vl")
    gguf_files.write(vision / "mmproj-Qwen3VL-2B-Instruct-F16.gguf", "clip")
    gguf_files.write(vision / "mmproj-Qwen3VL-2B-Instruct-Q8_0.gguf", "clip")
    _community(root / "unsloth")
    folder = root / "Qwen/Qwen3-0.6B"
    folder.mkdir()
    config = {
        "model_type": "qwen3", "num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4,
        "num_key_value_heads": 2, "vocab_size": 100, "max_position_embeddings": 40960,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "pytorch_model.bin").write_text("never fetched")
    save_file({"a": np.zeros((300, 300), dtype=np.float32)}, folder / "model.safetensors")
    return root


def _community(owner: Path) -> None:
    """Files of models that Qwen publishes no GGUF of, laid out as unsloth lays them out."""
    for repo, arch, names in (
        ("Qwen3-4B-Instruct-2507-GGUF", "qwen3", ["Qwen3-4B-Instruct-2507-Q4_K_M.gguf"]),
        (
            "Qwen3.8-27B-GGUF",
            "qwen35",
            ["Qwen3.8-27B-Q4_K_M.gguf", "Qwen3.8-27B-UD-Q4_K_XL.gguf", "mtp-Qwen3.8-27B-UD-Q4_K_XL.gguf"],
        ),
        ("Qwen3.5-4B-GGUF", "qwen35", ["Qwen3.5-4B-UD-Q4_K_XL.gguf"]),
        (
            "Qwen3.5-122B-A10B-GGUF",
            "qwen35moe",
            [f"UD-Q4_K_XL/Qwen3.5-122B-A10B-UD-Q4_K_XL-0000{part}-of-00002.gguf" for part in (1, 2)],
        ),
    ):
        for name in names:
            (owner / repo / name).parent.mkdir(parents=True, exist_ok=True)
            gguf_files.write(owner / repo / name, arch, vocabulary=[f"{name} {i}" for i in range(9000)])
        if arch != "qwen3":
            gguf_files.write(owner / repo / "mmproj-BF16.gguf", "clip")
            gguf_files.write(owner / repo / "mmproj-F16.gguf", "clip")


@pytest.fixture
def hub(fresh: Path, repos: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The hub can be reached, ModelScope cannot."""
    with serving(repos) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.fixture
def modelscope(fresh: Path, repos: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """ModelScope can be reached, the hub cannot."""
    with serving(repos) as server:
        monkeypatch.setenv("MODELSCOPE_DOMAIN", server.url)
        yield server
