"""Files that somebody damaged on purpose: read, or refused in one line, soon and in little memory.

`QWEN_FUZZ=20000 pytest tests/fuzz` tries so many new ones of each kind; otherwise the same few are tried.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import struct
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import films
import gguf_files
import hypothesis
import pytest
from hypothesis import given
from mutated import mutated
from PIL import Image

from qwen_cli.errors import QwenError
from qwen_cli.media import images, metadata, pdf, video_probe
from qwen_cli.models.formats import architecture, gguf_header, safetensors_reader
from qwen_cli.tasks.chat import sessions
from qwen_cli.tasks.common import jsonl, stream_journal

ASKED = int(os.environ.get("QWEN_FUZZ", "0"))
trying = hypothesis.settings(max_examples=ASKED or 40, derandomize=not ASKED, database=None)

SECONDS, BYTES = 5.0, 1 << 29  # of the processor for one file, of memory that any may take


CONFIG = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 9,
}


def seeds(tmp: Path) -> dict[str, list[bytes]]:
    """Whole files of each kind."""
    picture = Image.effect_noise((40, 30), 60)
    stills = []
    for form in ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"):
        exif = Image.Exif()
        exif[0x0112], exif[0x010E] = 6, "a description"
        written = BytesIO()
        with_exif = {"exif": exif} if form in ("PNG", "JPEG", "WEBP") else {}
        picture.convert("RGB").save(written, form, **with_exif)
        stills.append(written.getvalue())
    document = BytesIO()
    picture.convert("RGB").save(document, "PDF")
    tensors = {"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, "__metadata__": {"x": "y"}}
    header = json.dumps(tensors).encode()
    reels = [films.make(tmp / f"film.{kind}", 6, size=(64, 48)) for kind in ("mp4", "mkv")]
    plain = {"messages": [{"role": "user", "content": "hi"}], "name": "a", "model": "m", "version": 1}
    return {
        "gguf": [gguf_files.write(tmp / "a.gguf", vocabulary=["a", "b", "<|im_end|>"]).read_bytes()],
        "safetensors": [struct.pack("<Q", len(header)) + header + bytes(24)],
        "picture": stills,
        "pdf": [document.getvalue()],
        "video": [reel.read_bytes() for reel in reels],
        "config": [json.dumps(CONFIG).encode()],
        "session": [json.dumps(plain).encode()],
        "rows": [b'{"run": {"by": "qwen math", "model": "m"}, "id": "1"}\n' * 3],
        "journal": [b'{"kind": "log"}\n{"answer": "a"}\n{"message": {"role": "tool"}}\n'],
    }


def _gguf(path: Path) -> None:
    gguf_header.read(path)
    gguf_header.special_tokens(path)


def _safetensors(path: Path) -> None:
    folder = path.with_suffix("")
    folder.mkdir(exist_ok=True)
    path.replace(folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    for stored in safetensors_reader.tensors(folder).values():
        for _ in stored.rows(1):
            break


def _config(path: Path) -> None:
    folder = path.with_suffix("")
    folder.mkdir(exist_ok=True)
    path.replace(folder / "config.json")
    architecture.read(folder)


def _picture(path: Path) -> None:
    data = path.read_bytes()
    for form in ("jpeg", "png", "webp"):
        metadata.stripped(data, form)  # type: ignore[arg-type]
    images.stills(data, "picture")


def _session(path: Path) -> None:
    os.environ["QWEN_HOME"] = str(path.parent)
    folder = sessions.path("fuzzed").parent
    folder.mkdir(parents=True, exist_ok=True)
    path.replace(sessions.path("fuzzed"))
    sessions.load("fuzzed")


def _rows(path: Path) -> None:
    with jsonl.Journal(path, "qwen math") as book:
        book.begin({"model": "m"})


def _journal(path: Path) -> None:
    stream_journal.found(path.parent)
    with stream_journal.take(path):
        pass


READ: dict[str, Callable[[Path], Any]] = {
    "gguf": _gguf,
    "safetensors": _safetensors,
    "config": _config,
    "picture": _picture,
    "pdf": lambda path: pdf.pages(path, None, "document"),
    "video": video_probe.probe,
    "session": _session,
    "rows": _rows,
    "journal": _journal,
}


def _verdict(kind: str, path: Path) -> str:
    """Return what is wrong with how a file was taken, "" for nothing."""
    begun = time.process_time()
    try:
        READ[kind](path)
    except QwenError as fault:
        if "\n" in str(fault):
            return f"more than one line: {fault!r}"
    except Exception as fault:  # what a person would see as a traceback
        return f"{type(fault).__name__}: {fault}"
    spent = time.process_time() - begun
    return f"took {spent:.1f} s" if spent > SECONDS else ""


def _serve(pipe: Any) -> None:
    """Judge files in a process of its own: libraries in C may end it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    while True:
        kind, path = pipe.recv()
        pipe.send((_verdict(kind, path), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))


class Judge:
    """A process that reads files; begun anew where one has ended it."""

    def __init__(self) -> None:
        self._process: Any = None
        self.least: int | None = None

    def __call__(self, kind: str, path: Path) -> str:
        if self._process is None or not self._process.is_alive():
            context = multiprocessing.get_context("forkserver")
            self._pipe, theirs = context.Pipe()
            self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
            self._process.start()
            theirs.close()
            self.least = None
        self._pipe.send((kind, path))
        if not self._pipe.poll(60):
            self.close()
            return "no end after 60 s"
        try:
            verdict, memory = self._pipe.recv()
        except EOFError:
            self._process.join()
            return f"ended the process ({self._process.exitcode})"
        self.least = memory if self.least is None else self.least
        return str(verdict) or ("" if memory - self.least < BYTES else f"took {memory - self.least:,} bytes")

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[bytes]]:
    return seeds(tmp_path_factory.mktemp("seeds"))


@pytest.fixture(scope="module")
def judge() -> Any:
    judging = Judge()
    yield judging
    judging.close()


@pytest.mark.parametrize("kind", READ)
def test_a_damaged_file_is_read_or_refused(
    kind: str, whole: dict[str, list[bytes]], judge: Judge, tmp_path: Path
) -> None:
    for number, seed in enumerate(whole[kind]):
        path = tmp_path / f"whole{number}.{kind}"
        path.write_bytes(seed)
        assert judge(kind, path) == ""

    @trying
    @given(data=mutated(whole[kind]))
    def holds(data: bytes) -> None:
        path = tmp_path / f"damaged.{kind}"
        path.write_bytes(data)
        assert judge(kind, path) == ""

    holds()


def test_the_judge_finds_what_is_wrong(judge: Judge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "any"
    path.write_bytes(b"")
    monkeypatch.setitem(READ, "broken", lambda path: {}["nothing"])
    assert _verdict("broken", path) == "KeyError: 'nothing'"
    assert judge("no such kind", path).startswith("KeyError")
