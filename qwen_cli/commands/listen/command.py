"""`qwen listen`: write down what is said in a recording."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qwen_cli import settings as user_settings
from qwen_cli.commands.shared import options
from qwen_cli.commands.shared.engine import look_at, open_engine
from qwen_cli.commands.shared.output import figures, print_json, say, tell_cut
from qwen_cli.errors import UsageError
from qwen_cli.sanitize import EscapeFilter
from qwen_cli.tasks.common.drain import drain

if TYPE_CHECKING:
    from qwen_cli.engines.core.base import Engine
    from qwen_cli.media.audio import Sound
    from qwen_cli.tasks.speech.transcribe import Transcript

_MODEL = "qwen3-asr:0.6b"


@options.grouped
def listen(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="Recording or film (wav, mp3, flac, ogg, m4a, mp4, …), at most 4 hours; read from standard "
            "input if -.",
        ),
    ],
    language: Annotated[
        str | None,
        typer.Option(
            "--language",
            help="Language that is spoken, as code or English name: de, German. If not given the model "
            "finds it out.",
        ),
    ] = None,
    prompt: Annotated[
        str,
        typer.Option("--prompt", help="Names and words that may occur, so that they are spelled right."),
    ] = "",
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print one JSON object with the text, its passages, languages, usage and timings.",
        ),
    ] = False,
    loading: options.Loading = options.Loading(),
) -> None:
    """Write down what is said in a recording, with a speech recogniser (Qwen3-ASR).

    The text alone goes to standard output. A long recording is cut where nobody speaks, and nothing of it is
    left out. The model is qwen3-asr:0.6b if -m names no other.

    Examples:
      qwen listen talk.mp3 > talk.txt
      qwen listen interview.m4a --language de --prompt "Tongyi, Hangzhou"
    """
    from qwen_cli.tasks.speech import transcribe

    spoken = transcribe.spoken(language)
    loading = replace(loading, model=loading.model or _MODEL)
    if loading.endpoint or loading.engine == "remote":
        raise UsageError("qwen listen runs on this machine alone", "leave --endpoint out")
    kept = {name: value for name, value in user_settings.load().items() if name not in ("endpoint", "engine")}
    settings = options.merged(kept, loading)
    seen = look_at(settings, loading)
    transcribe.check(seen.capabilities, seen.model)
    sound = _sound(file)
    if sound.remark:
        say(sound.remark)
    with open_engine(settings, loading, hears=True) as engine:
        done = _written(engine, sound, spoken, prompt, shows=not as_json)
        if as_json:
            _print(engine, sound, done)
    tell_cut(done.usage)


def _sound(file: str) -> Sound:
    """Return the recording, decoded. Raises `UsageError`."""
    from qwen_cli.media import audio

    if file != "-":
        return audio.decode(Path(file), file)
    if sys.stdin.isatty():
        raise UsageError("- is standard input, and nothing is piped into it", "name a file")
    data = sys.stdin.buffer.read(audio.LARGEST + 1)
    if len(data) > audio.LARGEST:
        raise UsageError(f"standard input is longer than {audio.LARGEST >> 20:,} MiB", "name a file")
    return audio.decode(data, "standard input")


def _written(engine: Engine, sound: Sound, language: str | None, prompt: str, *, shows: bool) -> Transcript:
    """Return what is said, printed as it comes where it `shows`."""
    from qwen_cli.tasks.speech import transcribe

    escapes = EscapeFilter()

    def show(text: str) -> None:
        if shows:
            sys.stdout.write(escapes.feed(text))
            sys.stdout.flush()

    done = drain(transcribe.stream(engine, sound.samples, language=language, context=prompt), show)
    if shows:
        sys.stdout.write(escapes.finish() + "\n")
    return done


def _print(engine: Engine, sound: Sound, done: Transcript) -> None:
    passages = [
        {"begin": round(one.begin, 2), "end": round(one.end, 2), "language": one.language, "text": one.text}
        for one in done.passages
    ]
    print_json(
        {
            "text": done.text,
            "languages": done.languages,
            "seconds": round(sound.seconds, 2),
            "passages": passages,
            "model": engine.model,
            "engine": engine.name,
            **figures(done.usage),
        }
    )
