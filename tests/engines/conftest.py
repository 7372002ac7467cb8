"""The engines on the starter's weights, loaded once per test run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from qwen_cli.engines.core.base import Engine
from qwen_cli.engines.core.options import LoadOptions
from qwen_cli.engines.llamacpp.engine import LlamaCpp
from qwen_cli.engines.remote.engine import Remote
from qwen_cli.models.catalog import lookup
from qwen_cli.models.hub.resolve import Weights

CONTEXT = 512

# llama.cpp's own server as anybody would run it, but for the context and the key. With its one slot a request
# finds the KV cache of the one before it, and `n` samples are more than it takes at once.
_SERVER = """
import json, sys, time, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.n_ctx, params.api_keys = sys.argv[1], int(sys.argv[2]), [sys.argv[3]]
params.model_alias = {sys.argv[4]}
params.verbosity = -1
server = xllamacpp.Server(params)
print(json.dumps(server.listening_address), flush=True)
sys.stdin.read()
"""


@dataclass(frozen=True)
class Served:
    """A llama.cpp server in a process of its own: its address, key, and the model's name there."""

    url: str
    key: str
    model: str


def weights(path: Path) -> Weights:
    return Weights(
        label="starter",
        path=path,
        format="gguf" if path.suffix == ".gguf" else "safetensors",
        model=lookup.find("qwen2.5-coder:0.5b"),
    )


@contextmanager
def serving_gguf(file: Path, context: int, model: str) -> Iterator[Served]:
    """llama.cpp's server of `file`, which it names `model`."""
    key = "test-key"
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVER, str(file), str(context), key, model],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin and process.stdout
    address = process.stdout.readline()
    assert address, "the server did not start"
    yield Served(json.loads(address), key, model)
    process.stdin.close()
    process.wait(timeout=30)


@pytest.fixture(scope="session")
def served(starter_gguf: Path) -> Iterator[Served]:
    with serving_gguf(starter_gguf, CONTEXT, "starter-on-a-server") as server:
        yield server


@pytest.fixture(scope="session")
def llamacpp(starter_gguf: Path) -> Iterator[LlamaCpp]:
    with LlamaCpp(weights(starter_gguf), context=CONTEXT) as engine:
        yield engine


@contextmanager
def from_outside(model: Weights, context: int) -> Iterator[LlamaCpp]:
    """The person's own llama-server, where `QWEN_LLAMA_SERVER` named one when the tests were started."""
    from qwen_cli.engines.llamacpp.outside import OutsideLlamaCpp
    from qwen_cli.models.planning import llama_server

    named = os.environ["LLAMA_SERVER_OF_TESTS"]
    if not Path(named).is_file():
        pytest.skip("QWEN_LLAMA_SERVER names no llama-server")
    program = llama_server.probe(Path(named))
    with OutsideLlamaCpp(model, program=program, context=context) as engine:
        yield engine


@pytest.fixture(scope="session")
def outside(starter_gguf: Path) -> Iterator[LlamaCpp]:
    with from_outside(weights(starter_gguf), CONTEXT) as engine:
        yield engine


@pytest.fixture(scope="session")
def remote(served: Served) -> Iterator[Remote]:
    with Remote(served.url, api_key=served.key) as engine:
        yield engine


@pytest.fixture(
    params=[
        pytest.param(name, marks=pytest.mark.model)
        for name in ("llamacpp", "outside", "remote", "transformers", "warm")
    ]
)
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each engine in turn."""
    if request.param == "transformers":
        return request.getfixturevalue("transformers_engine")
    return request.getfixturevalue(request.param)


@contextmanager
def serving_warm(model: str, context: int) -> Iterator[Engine]:
    """`model` of a running `qwen serve`, as commands of the same user have it."""
    from served import serving

    from qwen_cli.engines.daemon.client import connect

    with serving("--context", str(context), model=model) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(server.runtime))
        engine = connect(LoadOptions(model))
        assert engine
        yield engine


@pytest.fixture(scope="session")
def warm(starter_gguf: Path) -> Iterator[Engine]:
    with serving_warm("starter", CONTEXT) as engine:
        yield engine


@pytest.fixture(scope="session")
def transformers_engine(starter_safetensors: Path) -> Iterator[Engine]:
    from qwen_cli.engines.transformers.engine import Transformers  # torch: only for the tests that need it

    with Transformers(weights(starter_safetensors), context=CONTEXT) as engine:
        yield engine


# The same engines on a small model of random weights, for what depends on no words.


@pytest.fixture(scope="session")
def quick(starter_safetensors: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the model, `model/` and `model.gguf`, and the starter's template."""
    import small_models

    from qwen_cli.models.formats import gguf_export

    folder = tmp_path_factory.mktemp("quick")
    small_models.make("Qwen2", folder / "model", starter_safetensors)
    gguf_export.to_gguf(folder / "model", folder / "model.gguf", quant="f32")
    return folder


@pytest.fixture(scope="session")
def quick_llamacpp(quick: Path) -> Iterator[LlamaCpp]:
    with LlamaCpp(Weights("quick", quick / "model.gguf", "gguf", None), context=1024) as engine:
        yield engine


@pytest.fixture(scope="session")
def quick_transformers(quick: Path) -> Iterator[Engine]:
    from qwen_cli.engines.transformers.engine import Transformers

    with Transformers(Weights("quick", quick / "model", "safetensors", None), context=1024) as engine:
        yield engine


@pytest.fixture(scope="session")
def quick_warm(quick: Path) -> Iterator[Engine]:
    with serving_warm(str(quick / "model.gguf"), 1024) as engine:
        yield engine


@pytest.fixture(scope="session")
def quick_outside(quick: Path) -> Iterator[LlamaCpp]:
    with from_outside(Weights("quick", quick / "model.gguf", "gguf", None), 1024) as engine:
        yield engine


@pytest.fixture(scope="session")
def quick_remote(quick: Path) -> Iterator[Remote]:
    with (
        serving_gguf(quick / "model.gguf", 1024, "quick-on-a-server") as server,
        Remote(server.url, api_key=server.key) as engine,
    ):
        yield engine


@pytest.fixture(
    params=[
        pytest.param(name, marks=pytest.mark.model)
        for name in ("quick_llamacpp", "quick_outside", "quick_remote", "quick_transformers", "quick_warm")
    ]
)
def quick_engine(request: pytest.FixtureRequest) -> Engine:
    """Each engine in turn, on the small model."""
    return request.getfixturevalue(request.param)
