"""A thousand requests at once on a server that fails one in twenty: nothing is lost, nothing is done twice.

The server is in this process; its latencies are those of a busy one (first words after a log-normal wait,
then a piece at a time), scaled to a tenth. What a client sees of a failing server is real: requests that are
refused by status, connections closed without an answer or in the middle of one, silence.
"""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import typer

from qwen_cli.engines.core.base import Sampling
from qwen_cli.engines.remote.engine import Remote
from qwen_cli.engines.remote.retries import Retries
from qwen_cli.tasks.common.jsonl import Journal
from qwen_cli.tasks.fim import complete, evaluate
from qwen_cli.tasks.math import batch, solve

resource = pytest.importorskip("resource")

WAY = solve.SolveOptions(mode="cot")
QUICK = Retries(times=4, first=0.05, most=0.4)
FAULTS = ("503", "429", "dropped", "broken off", "silent")
TOLD = FAULTS[:-1]  # of silence a clock tells: it is a server's where there are few requests to compute


class Busy:
    """Answers "What is N?" with N, the first once `crowd` requests are there, as from a queue. `faulty` of
    them fail, each in the way of `faults` that chance has for it."""

    def __init__(self, faulty: float, crowd: int, faults: tuple[str, ...] = FAULTS) -> None:
        self.faulty, self.crowd, self.faults = faulty, crowd, faults
        self.model = "m"
        self.words: list[str] | None = None  # in place of the number
        self._crowded = asyncio.Event()
        self.seen: Counter[str] = Counter()  # requests of each question
        self.answered: Counter[str] = Counter()  # those that were answered to the end
        self.failed: Counter[str] = Counter()
        self.now = self.most = 0
        self._chance = random.Random(7)
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), daemon=True)
        self._thread.start()
        ready.wait()

    def close(self) -> None:
        def end() -> None:
            for task in asyncio.all_tasks(self._loop):
                task.cancel()
            self._loop.call_later(0.1, self._loop.stop)

        self._loop.call_soon_threadsafe(end)
        self._thread.join()

    def _run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=2048)
        )
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        ready.set()
        self._loop.run_forever()
        server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().split("\r\n")
                lengths = [
                    line.partition(":")[2] for line in lines if line.lower().startswith("content-length")
                ]
                body = await reader.readexactly(int(lengths[0])) if lengths else b""
                if lines[0].startswith("GET"):
                    card = {"id": self.model, "object": "model", "created": 1, "owned_by": "somebody"}
                    self._write(writer, "200 OK", {"object": "list", "data": [card]})
                elif not await self._answer(json.loads(body), writer):
                    break
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()

    def _write(self, writer: asyncio.StreamWriter, status: str, body: Any, more: str = "") -> None:
        data = json.dumps(body).encode()
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{more}Content-Length: {len(data)}"
        writer.write(f"{head}\r\n\r\n".encode() + data)

    async def _answer(self, body: dict[str, Any], writer: asyncio.StreamWriter) -> bool:
        """Whether the connection goes on."""
        asked = body["prompt"] if "prompt" in body else body["messages"][-1]["content"]
        question = asked.split()[-1].strip("?") if isinstance(asked, str) else str(asked)
        self.seen[question] += 1
        self.now += 1
        self.most = max(self.most, self.now)
        if self.now >= self.crowd:
            self._crowded.set()
        try:
            fault = self._chance.choice(self.faults) if self._chance.random() < self.faulty else None
            if fault == "silent" and self.seen[question] > 1:
                fault = "dropped"  # or it would take as long again
            if fault:
                self.failed[fault] += 1
            if fault in ("503", "429"):
                status = {"503": "503 Service Unavailable", "429": "429 Too Many Requests"}[fault]
                self._write(writer, status, {"error": {"message": "busy"}}, "Retry-After: 0.1\r\n")
                return True
            if fault == "dropped":
                return False
            if fault == "silent":
                await asyncio.sleep(600)
                return False
            await self._crowded.wait()
            await asyncio.sleep(min(0.5, self._chance.lognormvariate(-2.3, 0.6)))  # a tenth of a second or so
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            words = self.words or ["It ", "is ", f"\\boxed{{{question}}}", "."]
            form: Any = (lambda t: {"text": t}) if "prompt" in body else (lambda t: {"delta": {"content": t}})
            for place, word in enumerate(words):
                self._piece(writer, {"index": 0, **form(word)})
                await writer.drain()
                await asyncio.sleep(0.01)
                if fault and place == 1:
                    return False
            self._piece(writer, {"index": 0, **form(""), "finish_reason": "stop"})
            self._chunk(writer, b"data: [DONE]\n\n")
            self._chunk(writer, b"")
            await writer.drain()
            self.answered[question] += 1
            return True
        finally:
            self.now -= 1

    def _piece(self, writer: asyncio.StreamWriter, choice: dict[str, Any]) -> None:
        chunk = {
            "id": "x",
            "created": 1,
            "model": "m",
            "object": "chat.completion.chunk",
            "choices": [choice],
        }
        self._chunk(writer, f"data: {json.dumps(chunk)}\n\n".encode())

    def _chunk(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")


@pytest.fixture
def busy(request: pytest.FixtureRequest) -> Iterator[Busy]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Both ends of a thousand connections are in this process.
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    server = Busy(*request.param)
    yield server
    server.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def run(
    server: Busy,
    out: Path,
    problems: list[batch.Problem],
    at_once: int,
    said: list[str],
    patience: float = 60.0,
) -> None:
    """One run of a batch, as of `qwen math --file`: what `out` has without a fault is not asked again."""
    with (
        Journal(out, "qwen math") as book,
        Remote(server.url, notice=said.append, retries=QUICK, patience=patience) as engine,
    ):
        book.begin({"model": engine.model})
        known = {row["id"]: row for row in book.rows}
        left = [p for p in problems if "error" in known.get(p.id, {"error": ""})]
        for row in batch.solve_all(engine, left, WAY, at_once=at_once):
            book.add(row)


def read(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("busy", [(0.05, 900, TOLD)], indirect=True)
def test_a_thousand_at_once_with_one_in_twenty_failing(busy: Busy, tmp_path: Path) -> None:
    problems = [batch.Problem(str(n), f"What is {n}?", str(n)) for n in range(1000)]
    out, said = tmp_path / "out.jsonl", []
    run(busy, out, problems, 1000, said, patience=600.0)
    rows = read(out)

    assert sorted(int(row["id"]) for row in rows) == list(range(1000))  # each once, whatever became of it
    assert busy.most >= 900
    assert set(busy.failed) == set(TOLD)
    again = busy.failed["503"] + busy.failed["429"] + busy.failed["dropped"]
    assert len(said) == again  # each is told, and asked again
    # What has begun to answer may be computed: it is a failure, and is left to the next run.
    assert len([row for row in rows if "error" in row]) == busy.failed["broken off"]
    assert sum(busy.seen.values()) == 1000 + again
    all_are_answered_once(busy, out, problems, said, 600.0)


@pytest.mark.parametrize("busy", [(0.2, 16, ("silent",))], indirect=True)
def test_what_is_silent_is_left_to_the_next_run(busy: Busy, tmp_path: Path) -> None:
    problems = [batch.Problem(str(n), f"What is {n}?", str(n)) for n in range(20)]
    out, calm = tmp_path / "out.jsonl", Busy(0.0, 1)
    run(calm, tmp_path / "first.jsonl", problems[:1], 1, [])  # with the client's imports
    started = time.perf_counter()
    run(calm, tmp_path / "calm.jsonl", problems, 20, [])
    calm.close()
    patience = max(2.0, 5 * (time.perf_counter() - started))  # longer than the client takes
    run(busy, out, problems, 20, [], patience)
    broken = [row["id"] for row in read(out) if "error" in row]
    assert len(broken) == busy.failed["silent"] > 0
    assert set(busy.seen.values()) == {1}
    all_are_answered_once(busy, out, problems, [], patience)


def all_are_answered_once(
    server: Busy, out: Path, problems: list[batch.Problem], said: list[str], patience: float
) -> None:
    """Have what `out` lacks asked again until nothing is left, and see that nothing was asked beside that."""
    for _ in range(5):
        run(server, out, problems, len(problems), said, patience)
        latest = {row["id"]: row for row in read(out)}
        if not any("error" in row for row in latest.values()):
            break
    assert len(latest) == len(problems)
    assert all(row["correct"] for row in latest.values())
    assert set(server.answered.values()) == {1}  # nothing that was answered was asked again
    assert len(server.answered) == len(problems)


@pytest.mark.parametrize("busy", [(0.0, 12)], indirect=True)
def test_no_more_are_in_flight_than_was_said(busy: Busy, tmp_path: Path) -> None:
    problems = [batch.Problem(str(n), f"What is {n}?", str(n)) for n in range(60)]
    run(busy, tmp_path / "out.jsonl", problems, 12, [])
    assert busy.most == 12
    assert len(busy.answered) == 60


@pytest.mark.parametrize("busy", [(0.1, 8)], indirect=True)
def test_pictures_are_asked_about_at_once(
    busy: Busy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    from qwen_cli.commands.vision import batch as vision_batch
    from qwen_cli.commands.vision.inputs import Gathering
    from qwen_cli.tasks.vision.prepare import Detail
    from qwen_cli.tasks.vision.task import Job

    busy.model = "Qwen/Qwen2.5-VL-7B-Instruct"
    busy.words = ["A ", "square."]
    names = []
    for number in range(24):
        names.append(str(tmp_path / f"{number}.png"))
        Image.new("RGB", (56 + number, 56), (number * 10, 0, 0)).save(names[-1])
    gathering = Gathering(tmp_path, video=False, allow_local_urls=False)
    out = tmp_path / "out.jsonl"
    job = Job("ask", "What?")
    with Remote(busy.url, retries=QUICK, patience=10.0) as engine:
        for _ in range(6):  # until what broke off has been asked again
            with suppress(typer.Exit), vision_batch.opened(out) as book:
                vision_batch.run(engine, gathering, names, job, Detail(), Sampling(), book, at_once=8)
                break
    rows = read(out)
    assert [row["input"] for row in rows] == names  # in order
    assert {row["answer"] for row in rows} == {"A square."}
    assert busy.most == 8
    assert set(busy.answered.values()) == {1}


@pytest.mark.parametrize("busy", [(0.0, 6)], indirect=True)
def test_tasks_are_evaluated_at_once(busy: Busy) -> None:
    busy.model = "Qwen/Qwen2.5-Coder-7B"
    busy.words = ["    return ", "a + b"]
    test = "def check(candidate):\n    assert candidate(1, 2) == 3\n"
    tasks = [
        evaluate.Task(str(n), complete.Hole(f"# number {n}\ndef add(a, b):\n", "\n", "a.py"), test, "add")
        for n in range(12)
    ]
    with Remote(busy.url, retries=QUICK) as engine:
        results = list(evaluate.evaluate(engine, tasks, {}, "block", at_once=6))
    assert sorted(result.id for result in results) == sorted(task.id for task in tasks)
    assert all(result.passed for result in results), results[0]
    assert busy.most >= 6  # a completion that a rule has ended is counted a moment longer


@pytest.mark.parametrize("busy", [(1.0, 1)], indirect=True)
def test_a_task_without_an_answer_is_no_result(busy: Busy) -> None:
    busy.model = "Qwen/Qwen2.5-Coder-7B"
    task = evaluate.Task("1", complete.Hole("def add(a, b):\n", "\n", "a.py"), "", "add")
    with Remote(busy.url, retries=Retries(times=0), patience=1.0) as engine:
        (result,) = evaluate.evaluate(engine, [task], {}, "block", at_once=2)
    assert result.stop == evaluate.UNANSWERED
    assert result.error
