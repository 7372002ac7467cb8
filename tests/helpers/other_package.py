"""A package of somebody else, installed in a folder, that offers engines of its own."""

from __future__ import annotations

from pathlib import Path

MODULE = "fake_qwen_engine"

# Of this program it imports what the API page names.
_SOURCE = '''
from qwen_cli import Capabilities, EngineBase, Piece, Sampling, Usage

seen = []


class FakeEngine(EngineBase):
    """Says what it was loaded with."""

    def __init__(self, name, options):
        self.name, self.model, self.options = name, options.model or "fake", options
        self.capabilities = Capabilities(context=options.context)

    def chat(self, messages, *, tools=None, schema=None, sampling=Sampling(), thinking=None):
        yield Piece(f"I am {self.model}, context {self.options.context}.")
        yield Piece(usage=Usage(prompt_tokens=3, generated_tokens=5))

    def complete(self, prompt, *, sampling=Sampling(), reuse="prefix"):
        yield Piece(f"{prompt}, {reuse}")
        yield Piece(usage=Usage(prompt_tokens=3, generated_tokens=5))

    def sample(self, prompt, n, *, sampling=Sampling(), thinking=None):
        raise NotImplementedError

    def count_tokens(self, prompt, *, tools=None):
        return 3


class Fake:
    """A back end that finds its models itself."""

    name = "fake"
    format = None

    def accepts(self, options):
        return (options.model or "").startswith("fake:")

    def load(self, weights, options, hooks):
        seen.append((weights, options))
        hooks.notice(f"loading {options.model}")
        return FakeEngine(self.name, options)


class OnFiles(Fake):
    """One that takes files."""

    name, format = "files", "gguf"

    def accepts(self, options):
        return options.engine == self.name


made = Fake()
'''


def install(folder: Path) -> None:
    """Put the package into `folder`, with an engine called "fake" and one called "files"."""
    (folder / f"{MODULE}.py").write_text(_SOURCE)
    info = folder / f"{MODULE}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-qwen-engine\nVersion: 1.0\n")
    offers(folder, f"fake = {MODULE}:Fake", f"files = {MODULE}:OnFiles")


def offers(folder: Path, *lines: str) -> None:
    """Write what the package offers: lines such as "fake = fake_qwen_engine:Fake"."""
    text = "\n".join(("[qwen.engines]", *lines, ""))
    (folder / f"{MODULE}-1.0.dist-info" / "entry_points.txt").write_text(text)
