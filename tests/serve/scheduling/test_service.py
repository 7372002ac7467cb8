"""Which models a server loads for whom: those that only score are for ranking."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qwen_cli.engines import load
from qwen_cli.engines.core.options import LoadOptions
from qwen_cli.errors import UsageError
from qwen_cli.models.catalog import lookup
from qwen_cli.models.hub.resolve import Weights
from qwen_cli.serve.scheduling.metrics import Metrics
from qwen_cli.serve.scheduling.pool import ModelPool
from qwen_cli.serve.scheduling.service import Service
from tests.serve.played import Played


class BackEnd:
    """Loads what plays."""

    name, format = "played", "safetensors"

    def load(self, *_: Any) -> Played:
        return Played()


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    name = "qwen3-reranker:0.6b"
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"x")
    weights = Weights(name, folder, "safetensors", lookup.find(name))
    monkeypatch.setattr(load, "find", lambda *_: (BackEnd(), weights))
    pool = ModelPool(LoadOptions(model=name), parallel=1, max_queue=1, keep=0, notice=lambda text: None)
    return Service(pool, Metrics(pool))


class Request:
    """As much of one as tells who asks."""

    client, headers = None, {"user-agent": "x"}


def test_a_reranker_of_the_catalog_is_loaded_to_rank(service: Service) -> None:
    request: Any = Request()

    assert service.load(request, {}, scores=True).model == "played"
    assert service.pool.all()[0].wanted.label == "qwen3-reranker:0.6b"


def test_and_writes_nothing(service: Service) -> None:
    request: Any = Request()

    service.pool.begin()
    with pytest.raises(UsageError, match="/v1/rerank"):
        service.load(request, {})
