"""How many of llama.cpp's own server tests `qwen serve` passes with the starter model.

    python benchmarks/peer_tests.py FOLDER --peer --results peer.json
    python benchmarks/peer_tests.py FOLDER --results ours.json --against peer.json
    python benchmarks/peer_tests.py FOLDER test_completion -k slots

FOLDER is `tools/server/tests` of llama.cpp's sources (the sdist of `xllamacpp` or `llama_cpp_python` has them
under vendor or thirdparty). Nothing of the tests is changed but how a server is started, which model is asked
for, and that the names of headers are compared in any case, as HTTP has it. The starter stands for each of
their models, so that what is said of the words or tokens of one of theirs fails with any server.

`--peer` asks llama.cpp's own server, in the wheel that is installed, for comparison, `--model` a GGUF in the
starter's place. Servers with the same settings are started once. `--results` keeps what came of each test as
it comes: those that the file has already are not played again, so that a run may be interrupted. `--against`
prints both; `--passed` plays those alone that passed there.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import types
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

# What is asked of a model's kind that the starter is not of, or of a program that is no server of one model.
_ELSEWHERE = frozenset({
    "test_router", "test_lora", "test_vision_api", "test_tools_builtin", "test_mcp_servers", "test_systemone",
    "test_speculative", "test_sleep", "test_proxy", "test_compat_gcp", "test_kv_keep_only_active",
    "test_tool_call",
})  # fmt: skip
# Where `qwen serve` is another on purpose: a part of the name of a test, and why.
_ON_PURPOSE: dict[str, str] = {
    "test_logprobs_stream": 'the first delta has `content: ""`, as OpenAI\'s, where theirs has null',
    "test_chat_completion_with_timings_per_token": 'the first delta has `content: ""`, as OpenAI\'s',
    "test_anthropic_vision_format": "a picture for a model that sees none is 400: the request is at fault",
    "test_anthropic_tool_result_with_image": "a picture for a model that sees none is 400, as above",
    "test_anthropic_empty_messages": "no message at all is 400, as at Anthropic",
    "test_completion_with_tokens_input": "answers computed together may part where tokens are nearly even",
    "test_ctx_shift_disabled_short_prompt[64": "the model's own sampling ends its answer there",
    "test_consistent_result_same_seed[2]": "so may one beside a stream that the test before has left",
    "test_responses_stream_with_llama_telemetry": "an answer that was cut ends incomplete, as at OpenAI",
    "test_access_static_assets": "the page is one file: it has no service worker and no manifest",
    "Access-Control-Allow-Headers": "the headers asked for are named: `*` is not the key's to browsers",
    "test_stream_resume": "an answer ends when its client leaves; `/v1/responses` keeps whole ones",
}
_LEAST_CONTEXT = 256  # of a model here, in tokens
_PEER = """
import json, sys, xllamacpp
params = xllamacpp.CommonParams()
asked = json.loads(sys.argv[1])
for name, value in asked.items():
    holder = params.model if name == "path" else params
    setattr(holder, name, value)
params.verbosity, params.fit_params, params.warmup = -1, False, False
params.cpuparams.n_threads = int(sys.argv[2])
server = xllamacpp.Server(params)
print(json.dumps(server.listening_address), flush=True)
sys.stdin.read()
"""


class Servers:
    """The servers that tests ask for, by their settings."""

    def __init__(self, *, peer: bool, model: Path | None = None) -> None:
        self._peer = peer
        self._model = model
        self._running: dict[tuple[Any, ...], tuple[subprocess.Popen[str], str]] = {}

    def address(self, wanted: Any) -> str:
        """Return where a server like `wanted` (their `ServerProcess`) listens, started if it is not."""
        settings = (wanted.n_ctx, wanted.n_slots, wanted.api_key, wanted.server_embeddings)
        if settings not in self._running:
            self._running[settings] = self._started(wanted)
        return self._running[settings][1]

    def close(self) -> None:
        for process, _ in self._running.values():
            process.kill()
            process.wait()

    def _started(self, wanted: Any) -> tuple[subprocess.Popen[str], str]:
        slots = wanted.n_slots or 4
        # Their slots divide the context, ours share it.
        context = max(_LEAST_CONTEXT, (wanted.n_ctx or 4096) // (1 if wanted.kv_unified else slots))
        if self._peer:
            return self._started_peer(wanted, slots)
        keyed = ["--api-key", wanted.api_key] if wanted.api_key else ["--no-key"]
        flags = [
            "--port",
            "0",
            "--context",
            str(context),
            "--parallel",
            str(slots),
            *keyed,
        ]
        flags += ["--cors", "*"]  # what theirs does unasked
        runtime = tempfile.mkdtemp(prefix="peer-")
        process = subprocess.Popen(
            [sys.executable, "-m", "qwen_cli", "serve", str(self._model or "starter"), *flags],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "XDG_RUNTIME_DIR": runtime},
        )
        assert process.stderr
        line = ""
        for line in process.stderr:
            if line.startswith("serving at "):
                threading.Thread(target=process.stderr.read, daemon=True).start()  # a full pipe would stop it
                return process, line.split()[2].removesuffix("/v1").rstrip(",")
        raise RuntimeError(f"the server did not start: {line.strip()}")

    def _started_peer(self, wanted: Any, slots: int) -> tuple[subprocess.Popen[str], str]:
        from qwen_cli.models.hub import starter

        asked = {
            "path": str(self._model or starter.fetch()),
            "n_ctx": wanted.n_ctx or 4096,
            "n_parallel": slots,
            "kv_unified": bool(wanted.kv_unified),
            "api_keys": [wanted.api_key] if wanted.api_key else [],
            "n_predict": wanted.n_predict or -1,
            "endpoint_slots": True,
            "endpoint_metrics": True,
        }
        process = subprocess.Popen(
            [sys.executable, "-c", _PEER, json.dumps(asked), os.environ.get("OMP_NUM_THREADS", "2")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout
        return process, json.loads(process.stdout.readline())


def _name(test: str) -> str:
    """Return what a test is called in tables."""
    return test.removeprefix("unit/")


class Mapped:
    """A plug-in of pytest: start-up and model are ours, and what came of each test is counted."""

    def __init__(
        self, servers: Servers, results: Path | None = None, only: frozenset[str] | None = None
    ) -> None:
        self._servers = servers
        self._results = results
        self._only = only
        self.known: dict[str, str] = {}  # "" is a test that passed, else why it did not
        if results and results.exists():
            self.known = json.loads(results.read_text())
        self.wanted: Any = None  # the server that was started last, theirs

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        there = [item for item in items if _name(item.nodeid) not in self.known]
        items[:] = [item for item in there if self._only is None or _name(item.nodeid) in self._only]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = _name(report.nodeid)
        if report.failed:
            lines = report.longreprtext.strip().splitlines() or ["?"]
            faults = [line[1:].strip() for line in lines if line.startswith("E ")]
            self.known[name] = (faults or lines[-1:])[0]
            print(f"\nFAILED {name}: {self.known[name][:160]}", flush=True)
        elif report.passed and report.when == "call":
            self.known[name] = ""
        if self._results:
            self._results.write_text(json.dumps(self.known, indent=1))

    def pytest_sessionstart(self) -> None:
        import utils  # theirs
        from requests.structures import CaseInsensitiveDict

        servers = self._servers

        def start(process: Any, timeout_seconds: int = 60) -> None:
            address = servers.address(process)
            process.server_host, _, port = address.removeprefix("http://").partition(":")
            process.server_port = int(port)
            process.ready = True
            self.wanted = process

        ask = utils.ServerProcess.make_request

        def asked(process: Any, *what: Any, **more: Any) -> Any:
            answer = ask(process, *what, **more)
            answer.headers = CaseInsensitiveDict(answer.headers)
            return answer

        utils.ServerProcess.make_request = asked
        utils.ServerProcess.start = start
        utils.ServerProcess.stop = lambda process: None
        utils.ServerPreset.load_all = staticmethod(lambda: None)


@contextmanager
def as_started(mapped: Mapped) -> Iterator[None]:
    """Ask for the model there is, whatever a test calls it, and with the temperature, the seed and the limit
    that its server was to be started with, where it says nothing of them."""
    import requests
    from openai._base_client import BaseClient

    post, build = requests.post, BaseClient._build_request

    def named(body: dict[str, Any], url: str) -> dict[str, Any]:
        if body.get("model"):
            body = {**body, "model": "default"}
        wanted = mapped.wanted
        if wanted is not None and url.rstrip("/").endswith(("completion", "completions", "infill")):
            body = {"seed": wanted.seed, "temperature": wanted.temperature, **body}
            limits = {"n_predict", "max_tokens", "max_completion_tokens"} & set(body)
            if (wanted.n_predict or 0) > 0 and not limits:
                body["n_predict"] = wanted.n_predict
        return body

    def posted(url: str, **more: Any) -> Any:
        if isinstance(more.get("json"), dict):
            more["json"] = named(more["json"], url)
        return post(url, **more)

    def built(client: Any, options: Any, **more: Any) -> Any:
        if isinstance(options.json_data, dict):
            options.json_data = named(options.json_data, options.url)
        return build(client, options, **more)

    requests.post, BaseClient._build_request = posted, built  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        requests.post, BaseClient._build_request = post, build  # type: ignore[method-assign]


def compare(ours: dict[str, str], theirs: dict[str, str]) -> None:
    """Print what came of each test with both servers: "" is a test that passed, else why it did not."""
    ran = sorted(set(ours) & set(theirs))
    both = [name for name in ran if not ours[name] and not theirs[name]]
    only = [name for name in ran if ours[name] and not theirs[name]]
    more = [name for name in ran if not ours[name] and theirs[name]]
    passed = len(both) + len(only)
    print(f"llama.cpp's server passes {passed} of {len(ran)}; of those `qwen serve` passes {len(both)}")
    print(f"passed by `qwen serve` alone: {len(more)}", *more, sep="\n  ")
    print(f"passed by llama.cpp's server alone: {len(only)}")
    for name in only:
        print(f"  {name}\n    {explained(name) or 'not explained: ' + ours[name][:200]}")


def explained(test: str) -> str:
    """Return why `qwen serve` differs from llama.cpp's server on purpose where `test` asks it, or ""."""
    return next((why for part, why in _ON_PURPOSE.items() if part in test), "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("files", nargs="*", help="without the others (test_basic …); all where none is named")
    parser.add_argument("--peer", action="store_true")
    parser.add_argument("--model", type=lambda name: Path(name).resolve(), help="weights to serve")
    parser.add_argument("-k", default="", help="as pytest's")
    parser.add_argument(
        "--results", type=lambda name: Path(name).resolve(), help="a file that gets what came of each test"
    )
    parser.add_argument("--against", type=lambda name: Path(name).resolve(), help="such a file of the peer")
    parser.add_argument("--passed", action="store_true", help="of those that passed in --against")
    asked = parser.parse_intermixed_args()
    theirs: dict[str, str] = json.loads(asked.against.read_text()) if asked.against else {}
    sys.path[:0] = [str(asked.folder), str(asked.folder / "unit")]
    sys.modules.setdefault("wget", types.ModuleType("wget"))  # it would fetch models
    files = asked.files or sorted(
        file.stem for file in (asked.folder / "unit").glob("test_*.py") if file.stem not in _ELSEWHERE
    )
    servers = Servers(peer=asked.peer, model=asked.model)

    def end(*_: object) -> None:
        """End with the servers, at once: the test that runs has not failed."""
        servers.close()
        os._exit(1)

    signal.signal(signal.SIGTERM, end)
    only = frozenset(name for name, fault in theirs.items() if not fault) if asked.passed else None
    mapped = Mapped(servers, asked.results, only)
    began = time.monotonic()
    with ExitStack() as closing:
        closing.callback(servers.close)
        closing.enter_context(as_started(mapped))
        os.chdir(asked.folder)
        words = [
            "-q",
            "-p",
            "no:cacheprovider",
            "--no-header",
            "--tb=short",
            "-c",
            os.devnull,
            "--rootdir",
            ".",
        ]
        pytest.main([*words, "-k", asked.k, *(f"unit/{file}.py" for file in files)], plugins=[mapped])
    passed = sum(not fault for fault in mapped.known.values())
    print(f"{passed} of {len(mapped.known)} pass, in {time.monotonic() - began:.0f} s")
    if asked.against:
        compare(mapped.known, theirs)


if __name__ == "__main__":
    main()
