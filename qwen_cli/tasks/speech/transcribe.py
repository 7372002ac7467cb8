"""A recording of any length, written down: cut where nobody speaks, piece by piece, nothing left out."""

from __future__ import annotations

import itertools
import re
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass, replace

from qwen_cli.engines.core.base import CUT, Capabilities, Engine, Sampling, Usage
from qwen_cli.engines.parsing.transcript import LANGUAGES, TranscriptParser, language_name
from qwen_cli.errors import UsageError
from qwen_cli.media.audio import RATE, Samples, pieces

# Qwen3-ASR's own package takes 180 seconds at once where it has to be exact (QwenLM/Qwen3-ASR, qwen_asr,
# MAX_FORCE_ALIGN_INPUT_SECONDS), 1,200 at most: what is computed of a piece grows with the square of it.
_SECONDS = 180.0
_TOKENS = 13  # of a second of sound: Qwen3-ASR's encoder makes 13 of 100 frames (transformers, its processor)
_SHARE = 0.6  # of the context, for the sound; the rest is for what is said in it

# Between these no space is written: Chinese, Japanese.
_DENSE = re.compile("[\u3000-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef]")


@dataclass(frozen=True)
class Passage:
    """What is said in one piece, from second `begin` to `end` of the recording. `language` is "" where nobody
    speaks, or the model did not say."""

    text: str
    language: str
    begin: float
    end: float
    usage: Usage


@dataclass(frozen=True)
class Transcript:
    """All that is said. `usage` is that of all passages, its `stop_reason` that of the first that was cut."""

    passages: tuple[Passage, ...]
    usage: Usage

    @property
    def text(self) -> str:
        """Return the passages as one text."""
        text = ""
        for passage in self.passages:
            text += between(text, passage.text) + passage.text
        return text

    @property
    def languages(self) -> list[str]:
        """Return the languages that were found, in the order in which they are spoken."""
        return list(dict.fromkeys(passage.language for passage in self.passages if passage.language))


def check(can: Capabilities, model: str) -> None:
    """Raise `UsageError` unless the model writes down what it hears."""
    if not can.transcribes:
        what = "answers questions about sounds" if can.audio else "hears nothing"
        raise UsageError(f"{model} is no speech recogniser: it {what}", "name one: qwen3-asr:0.6b")


def spoken(given: str | None) -> str | None:
    """Return the name of the language `given` as code or name. Raises `UsageError` for one that Qwen3-ASR
    does not write."""
    if given is None:
        return None
    name = language_name(given)
    if name is None:
        known = ", ".join(f"{code} ({name})" for code, name in LANGUAGES.items())
        raise UsageError(f"Qwen3-ASR knows no language {given!r}", f"choose one of {known}, or leave it out")
    return name


def piece_seconds(can: Capabilities) -> float:
    """Return how many seconds are written down at once."""
    room = (can.context or 32_768) * _SHARE / _TOKENS
    return max(1.0, min(_SECONDS, room, can.audio_seconds or _SECONDS))


def stream(
    engine: Engine,
    samples: Samples,
    *,
    language: str | None = None,
    context: str = "",
    sampling: Sampling = Sampling(),
) -> Generator[str, None, Transcript]:
    """Yield what is said in `samples`, text as it comes, and return all of it. `language` is a name of
    `LANGUAGES`, `None` has the model find it out in each piece. Closing it stops the computation. Raises
    `UsageError`, `ContextFull`, `EngineError`."""
    check(engine.capabilities, engine.model)
    cut = pieces(samples, piece_seconds(engine.capabilities))
    ends = list(itertools.accumulate(map(len, cut), initial=0))
    passages: list[Passage] = []
    text = ""
    for piece, (begin, end) in zip(cut, itertools.pairwise(ends), strict=True):
        parser = TranscriptParser(language)
        told, usage = "", Usage()
        ways = {"language": language, "context": context, "sampling": sampling}
        with closing(engine.transcribe(piece, **ways)) as written:  # type: ignore[arg-type]  # of three types
            for one in written:
                usage = one.usage or usage
                shown = parser.feed(one.text) + (parser.finish() if one.usage else "")
                if shown:
                    gap = "" if told else between(text, shown)
                    told += shown
                    yield gap + shown
        text += between(text, told) + told
        passages.append(Passage(told, parser.language, begin / RATE, end / RATE, usage))
    return Transcript(tuple(passages), _sum(passages))


def between(before: str, after: str) -> str:
    """Return what stands between two passages: a space where the language writes one."""
    if not before or not after or _DENSE.match(before[-1]) or _DENSE.match(after[0]):
        return ""
    return " "


def _sum(passages: list[Passage]) -> Usage:
    whole = Usage()
    for passage in passages:
        whole += passage.usage
    cut = next((one.usage.stop_reason for one in passages if one.usage.stop_reason in CUT), None)
    return replace(whole, stop_reason=cut) if cut else whole
