"""Whatever a command is handed as a file: it ends soon, in little memory, and says in one line what is wrong.

`QWEN_HOSTILE=all pytest tests/hostile` hands each kind of file to each command (half an hour); otherwise each
kind goes to one of them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import hostile
import pytest
from PIL import Image

ALL = os.environ.get("QWEN_HOSTILE") == "all"
MEMORY = 1.5  # of what the same command takes for an honest file
SOON = 15.0  # seconds, of which a named pipe is waited for five


@dataclass(frozen=True)
class Place:
    """A command line that takes a file at `{}`, whose name ends in `suffix`; `asks`: it asks a model."""

    words: str
    suffix: str = ".txt"
    asks: bool = True
    env: dict[str, str] = field(default_factory=dict)
    at: str = ""  # where the file must lie, below the folder of the run
    usual: int = 150 << 20  # bytes that it takes for an honest file


PLACES = {
    "chat -f": Place("chat -f {} hi"),
    "chat -f pdf": Place("chat -f {} hi", ".pdf"),
    "chat -f png": Place("chat -f {} hi", ".png"),
    "chat @": Place("chat @{}"),
    "chat --schema": Place("chat --schema {} hi", ".json"),
    "chat --tools": Place("chat --tools {} --yes hi", ".py"),
    "chat --mcp": Place("chat --mcp {} --yes hi", ".json"),
    "chat -t": Place("chat -t {} hi", ".toml"),
    "chat -m": Place("chat -m {} hi", ".gguf", asks=False),
    "chat --device-map": Place("chat --device-map {} --engine transformers hi", ".json", asks=False),
    "chat --session": Place("chat --session bad hi", ".json", at="home/sessions/bad.json"),
    "code-fim": Place("code-fim {} --at 1", ".py"),
    "code-fim --prefix": Place("code-fim --prefix {} --no-repo", ".py"),
    "code-fim --suffix": Place("code-fim --prefix good.py --suffix {} --no-repo", ".py"),
    "code-fim --repo": Place("code-fim good.py --at 1 --repo {}", ""),
    "code-edit": Place("code-edit {} x", ".py"),
    "math -f": Place("math -f {}"),
    "math -f jsonl": Place("math -f {} --out o.jsonl", ".jsonl"),
    "math --image": Place("math --image {} what?", ".png"),
    "math --out": Place("math -f good.jsonl --out {}", ".jsonl"),
    "math --export": Place("math -f good.jsonl --out o.jsonl --export {}", ".jsonl"),
    "vision png": Place("vision {} what?", ".png"),
    "vision pdf": Place("vision {} what?", ".pdf"),
    "vision mp4": Place("vision {} what?", ".mp4"),
    "vision folder": Place("vision {} what? --video", ""),
    "vision --extract": Place("vision good.png --extract {}", ".json"),
    "vision --draw": Place("vision good.png --locate x --draw {}", ".png"),
    "vision --out": Place("vision good.png what? --out {}", ".jsonl"),
    "models show": Place("models show {}", ".gguf", asks=False),
    "models show safetensors": Place("models show {}", ".safetensors", asks=False),
    "models plan": Place("models plan {}", ".gguf", asks=False, usual=400 << 20),
    "models plan --machine": Place("models plan qwen3:8b --machine {}", ".toml", asks=False),
    "models path": Place("models path {}", ".gguf", asks=False),
    "models convert": Place("models convert {}", ".gguf", asks=False),
    "serve": Place("serve {} --port 0", ".gguf", asks=False),
    "serve --machine": Place("serve qwen3:8b --engine vllm --dry-run --machine {}", ".json", asks=False),
    "eval fim": Place("eval fim {}", ".jsonl"),
    "eval --results": Place("eval fim tasks.jsonl --results {}", ".jsonl"),
    "settings": Place("config list", ".toml", asks=False, env={"QWEN_CONFIG": "{}"}),
    "settings set": Place("config set model qwen3:8b", ".toml", asks=False, env={"QWEN_CONFIG": "{}"}),
    "settings of chat": Place("chat hi", ".toml", env={"QWEN_CONFIG": "{}"}),
    "home": Place("sessions list", "", asks=False, env={"QWEN_HOME": "{}"}),
    "home of the log": Place("log", "", asks=False, env={"QWEN_HOME": "{}", "QWEN_LOG": "on"}),
    "home of models": Place("models list", "", asks=False, env={"QWEN_HOME": "{}"}),
    "sessions list": Place("sessions list", ".json", asks=False, at="home/sessions/bad.json"),
    "sessions search": Place("sessions search a", ".json", asks=False, at="home/sessions/bad.json"),
    "sessions show": Place("sessions show bad", ".json", asks=False, at="home/sessions/bad.json"),
    "the log": Place("log list", ".db", asks=False, env={"QWEN_LOG": "on"}, at="home/log.db"),
    "a project": Place("chat hi", ".toml", at="here/.qwen.toml"),
    "a project shown": Place("config project", ".toml", asks=False, at="here/.qwen.toml"),
    "a template shown": Place("templates show {}", ".toml", asks=False),
    "a folder's .gitignore": Place("chat -f . hi", "", at="here/.gitignore"),
}
HONEST = {
    ".txt": b"What is 1 + 1?\n",
    ".py": b"def f() -> int:\n    return 1\n",
    ".json": b"{}",
    ".jsonl": b'{"problem": "1+1"}\n',
    ".toml": b'prompt = "{input}"\n',
}


@dataclass(frozen=True)
class Ground:
    """Where the program is run: a folder for each run, and the address of a server that answers."""

    folder: Path
    programs: hostile.Programs
    address: str

    def run(self, name: str, place: Place, make: hostile.Maker, *, user: bool = False) -> hostile.Ended:
        """Hand the file that `make` makes to the command at `place`."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        here, home = folder / "here", folder / "home"
        for made in (folder, here, home):
            made.mkdir(exist_ok=True)
            made.chmod(0o777)
        (here / "good.py").write_bytes(HONEST[".py"])
        (here / "good.jsonl").write_bytes(HONEST[".jsonl"])
        Image.new("RGB", (64, 64)).save(here / "good.png")
        task = {"task_id": "a/0", "prompt": "x", "suffix": "", "test": "", "entry_point": "f"}
        (here / "tasks.jsonl").write_text(json.dumps(task) + "\n")
        path = folder / (place.at or f"here/bad{place.suffix}")
        path.parent.mkdir(parents=True, exist_ok=True)
        named = make(path) or path
        if place.at and not os.path.lexists(path):
            path.symlink_to(named)  # there, whatever it is
        env = {n: v for n, v in os.environ.items() if not n.startswith("QWEN_")} | {
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(home),
            "QWEN_HOME": str(home),
            "QWEN_CONFIG": str(home / "config.toml"),
            "HF_HOME": str(home / "hub"),
            "HF_ENDPOINT": "http://127.0.0.1:9",
            "MODELSCOPE_DOMAIN": "http://127.0.0.1:9",
            "QWEN_LOG": "off",
            "NO_COLOR": "1",
        }
        env |= {n: v.replace("{}", str(named)) for n, v in place.env.items()}
        words = [word.replace("{}", str(named)) for word in place.words.split()]
        words += ["--endpoint", self.address] if place.asks else []
        try:
            return self.programs.run(*words, folder=here, env=env, user=user)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    folder = Path(tempfile.mkdtemp(prefix="qwen-hostile-"))
    folder.chmod(0o777)
    programs = hostile.Programs()
    try:
        with hostile.answering() as address:
            yield Ground(folder, programs, address)
    finally:
        programs.close()
        shutil.rmtree(folder, ignore_errors=True)


def honest(path: Path) -> None:
    if not path.suffix and not path.name.startswith("."):
        path.mkdir()
    elif path.suffix == ".png":
        Image.new("RGB", (64, 64)).save(path)
    else:
        path.write_bytes(HONEST.get(path.suffix, b""))


def faults(ended: hostile.Ended, most: float) -> list[str]:
    """What is wrong with how a run ended, whose memory may be `most` bytes."""
    found = []
    if ended.code not in (0, 1, 2):
        found.append(f"ended with {ended.code}")
    if "unexpected " in ended.err or "Traceback" in ended.err:
        found.append("an unforeseen fault")
    if re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202e\U000e0041]", ended.err):
        found.append("a character that steers the terminal, or is not seen")
    told = [line for line in ended.err.splitlines() if line.startswith("qwen: ")]
    refused = ended.code in (1, 2) and not ended.out  # else it answered, and the answer is none
    if refused and not (len(told) == 1 and ended.err.endswith(f"{told[0]}\n")):
        found.append(f"{len(told)} lines that say what is wrong")
    if ended.seconds > SOON:
        found.append(f"{ended.seconds:.0f} s")
    if ended.memory > most:
        found.append(f"{ended.memory >> 20} MB where {int(most) >> 20} are enough")
    return found


# What once hung, grew, ended in an unforeseen fault or wrote another line.
FOUND = (
    ("code-fim --suffix", "nested lists"),
    ("vision --draw", "fifo"),
    ("chat --schema", "lone surrogate"),
    ("chat --mcp", "nested lists"),
    ("chat -f png", "sparse terabyte"),
    ("code-edit", "name that is no utf-8"),
    ("math -f jsonl", "name with a newline"),
    ("eval fim", "/dev/zero"),
)


def cases() -> Iterator[tuple[str, str]]:
    kinds = list(hostile.KINDS)
    if ALL:
        yield from ((name, kind) for name in PLACES for kind in kinds)
        return
    yield from FOUND
    names = list(PLACES)
    for number, kind in enumerate(kinds):
        yield names[number * 11 % len(names)], kind  # each kind once, at places far apart


@pytest.mark.parametrize(("name", "kind"), list(cases()))
def test_a_hostile_file_is_refused_in_one_line_or_taken(name: str, kind: str, ground: Ground) -> None:
    place = PLACES[name]
    usual = ground.run(name, place, honest).memory if ALL else place.usual
    ended = ground.run(name, place, hostile.KINDS[kind], user=kind == "no permission")
    assert faults(ended, MEMORY * usual) == [], ended


def test_what_is_wrong_is_noticed(ground: Ground) -> None:
    good = hostile.Ended(1, "", "qwen: no\n", 1.0, 100)
    assert faults(good, 100) == []
    for bad in (
        hostile.Ended(None, "", "", 1.0, 1),
        hostile.Ended(-11, "", "", 1.0, 1),
        hostile.Ended(1, "", "qwen: unexpected KeyError: 1\n", 1.0, 1),
        hostile.Ended(1, "", "qwen: \x1b[2J\n", 1.0, 1),
        hostile.Ended(2, "", "", 1.0, 1),
        hostile.Ended(0, "", "", 20.0, 1),
        hostile.Ended(0, "", "", 1.0, 101),
    ):
        assert len(faults(bad, 100)) == 1, bad
