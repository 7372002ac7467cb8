"""`qwen listen` uses the model of a running server: the same samples reach it, and nothing is loaded."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import heard
import numpy as np
import pytest
import sounds
import uvicorn
from typer.testing import CliRunner

from qwen_cli.commands.listen import command
from qwen_cli.commands.main import app
from qwen_cli.engines import load
from qwen_cli.engines.core.options import LoadOptions
from qwen_cli.engines.daemon import paths
from qwen_cli.serve import app as server_app
from qwen_cli.serve.scheduling.lanes import Lanes
from qwen_cli.serve.scheduling.metrics import Metrics
from qwen_cli.serve.scheduling.resident import Resident, Wanted
from qwen_cli.serve.scheduling.service import Service

pytestmark = pytest.mark.skipif(not paths.HAS_SOCKETS, reason="commands find a server by a Unix socket")


@contextmanager
def running(engine: heard.Recogniser) -> Iterator[list[LoadOptions]]:
    """A server of this user with that one model; what it is asked for."""
    wanted = Wanted("1", "asr", LoadOptions())
    resident = Resident(wanted, cast("Any", engine), Lanes([cast("Any", engine)], max_queue=1), engine.close)
    asked: list[LoadOptions] = []

    class Only:
        first = wanted

        def resolve(self, options: LoadOptions, *rest: Any) -> Wanted:
            asked.append(options)
            return wanted

        def like(self, wanted: Wanted) -> Wanted:
            return wanted

        def opened(self, id: str) -> Wanted:
            return wanted

        def get(self, *given: Any) -> Resident:
            return resident

        def all(self) -> list[Resident]:
            return [resident]

    pool = cast("Any", Only())
    paths.private_folder()
    config = uvicorn.Config(
        server_app.private(Service(pool, Metrics(pool))), uds=str(paths.socket_path()), log_config=None
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.005)
    try:
        yield asked
    finally:
        server.should_exit = True
        thread.join(10)


def test_it_is_written_down_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    engine = heard.Recogniser(texts=["Grüße", "zwei"])
    loaded: list[Any] = []
    monkeypatch.setattr(command, "look_at", lambda *_: engine)
    monkeypatch.setattr(
        load, "open_engine", lambda *given: loaded.append(given) or heard.Recogniser(texts=["hello there"])
    )
    said = np.concatenate([sounds.tones(1.0), sounds.noise(1.0)])
    file = str(sounds.written(tmp_path / "said.flac", said))
    words = ["listen", file, "--language", "de", "--prompt", "Tongyi"]

    with running(engine) as asked:
        warm = CliRunner().invoke(app, words)
        assert (warm.stdout, warm.exit_code, loaded) == ("Grüße\n", 0, [])
        assert asked[0].model == "qwen3-asr:0.6b"

        cold = CliRunner().invoke(app, [*words, "--no-server"])
        assert (cold.stdout, len(loaded)) == ("hello there\n", 1)

    without = CliRunner().invoke(app, words)
    assert (without.stdout, len(loaded)) == ("hello there\n", 2)
    (one,) = engine.heard
    assert (one["language"], one["context"]) == ("German", "Tongyi")
    assert one["samples"].dtype == np.float32
    np.testing.assert_array_equal(one["samples"], command._sound(file).samples)
