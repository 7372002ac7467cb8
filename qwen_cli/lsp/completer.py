"""What stands between the editor and the model: the files it sees, the cache it is kept warm with."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from qwen_cli.engines.core.base import Engine, Sampling
from qwen_cli.lsp.languages import named
from qwen_cli.lsp.settings import Settings
from qwen_cli.lsp.worker import Cancelled
from qwen_cli.tasks.fim import complete as fim_complete
from qwen_cli.tasks.fim.span import Span
from qwen_cli.tasks.repository.context import Repository, Taken, root_of

# The files shown with a document are chosen anew once the cursor is this many lines away from where they
# were chosen for: about a screen, the distance at which other names are in view.
_SCREEN = 48
# Characters of a prompt that are read into the cache at once while nothing else is to be done. About 100
# tokens: one batch of the CPU engine, so a key press waits for no more than that.
_STEP = 400
_READING = Sampling(temperature=0.0, max_tokens=1)


@dataclass(frozen=True)
class Place:
    """Where a completion is wanted. `path` is from `root`; `unsaved` holds other open texts by such paths."""

    root: Path | None
    path: str
    prefix: str
    suffix: str
    unsaved: Mapping[str, str]


def place(
    file: Path | None, prefix: str, suffix: str, open_texts: Mapping[Path, str], *, language: str = ""
) -> Place:
    """Return the place between two texts of `file`, with newlines as the models know them.

    `language` is the editor's word for it, and counts where no file name tells.
    """
    before, after = prefix.replace("\r\n", "\n"), suffix.replace("\r\n", "\n")
    root = root_of(file) if file is not None else None
    if file is None or root is None:
        return Place(None, named(file.name if file is not None else "", language), before, after, {})
    unsaved = {
        path.resolve().relative_to(root).as_posix(): text
        for path, text in open_texts.items()
        if path.resolve().is_relative_to(root)
    }
    path = file.resolve().relative_to(root).as_posix()
    others = {p: t for p, t in unsaved.items() if p != path}
    return Place(root, named(path, language), before, after, others)


@dataclass
class _VisibleFiles:
    """The files that the model sees with one document, and the line that they were chosen for."""

    files: Sequence[Taken]
    line: int


class Completing:
    """Makes completions with one engine. Used by one thread at a time, the one that owns the engine.

    The files around a document stay the same while one types: they stand in front of everything else in the
    prompt, and changing one means to compute all that follows again. They are chosen, and read into the
    engine's cache, by `warm`, when nothing else is to be done.
    """

    def __init__(self, engine: Engine, settings: Settings, tell: Callable[[str], None]) -> None:
        self._engine = engine
        self._settings = settings
        self._tell = tell  # shows the person a line, from this thread
        self._noticed: set[Path] = set()
        self._repositories: dict[Path, Repository] = {}
        self._visible_files: dict[tuple[Path | None, str], _VisibleFiles] = {}

    def complete(self, place: Place, cancelled: Cancelled) -> str | None:
        """Return what to insert, empty where nothing belongs there. None if it was cancelled.

        Raises `QwenError` as `fim.stream` does.
        """
        settings = self._settings
        hole = self._hole(place)
        running = fim_complete.stream(
            self._engine,
            hole,
            self._files(place),
            repository=place.root.name if place.root else "",
            mode=self._mode(),
            sampling=Sampling(max_tokens=settings.max_tokens),
            reuse="shift",
        )
        first: float | None = None
        try:
            while not cancelled():
                text = next(running)
                first = first or time.perf_counter()
                late = time.perf_counter() - first > settings.time_limit_ms / 1_000
                # As llama.cpp has it (`t_max_predict_ms`): the first line is always written to its end.
                if late and (whole := _whole_lines(text)):
                    return Span(hole, self._mode()).settled(whole, "time")[0]
        except StopIteration as done:
            # A cancelled engine ends its stream as if the model had: that is no completion.
            return None if cancelled() else str(done.value.text)
        finally:
            running.close()
        return None

    def warm(self, place: Place, cancelled: Cancelled) -> None:
        """Choose the files for `place` and read them, and the document, into the engine's cache.

        Step by step, so that a key press need not wait; a new choice counts once all of it has been read.
        """
        files = self._choose(place)
        hole = self._hole(place)
        tokens = fim_complete.tokens_of(self._engine)
        repository = place.root.name if place.root else ""
        whole: str = fim_complete.prompt(replace(hole, suffix=""), files, tokens, repository=repository)
        whole = whole[: whole.rindex(tokens.suffix)]
        # A server elsewhere has time for other things: it is asked once.
        step = len(whole) if self._engine.capabilities.concurrent_requests > 1 else _STEP
        for end in (*range(step, len(whole), step), len(whole)):
            if cancelled():
                return
            # Cut at line ends: a token does not reach over them, so the cache fits the longer prompt.
            part = whole if end == len(whole) else whole[: whole.rfind("\n", 0, end) + 1]
            if part:
                self._read(part)
        self._visible_files[place.root, place.path] = _VisibleFiles(files, place.prefix.count("\n"))

    def stale(self, place: Place) -> bool:
        """Return whether files should be chosen for this place: none are yet, or the cursor has moved far."""
        visible = self._visible_files.get((place.root, place.path))
        return visible is None or abs(visible.line - place.prefix.count("\n")) > _SCREEN

    def forget(self) -> None:
        """Choose files anew at the next opportunity: one was saved."""
        for visible in self._visible_files.values():
            visible.line = -2 * _SCREEN

    def _read(self, prompt: str) -> None:
        stream = self._engine.complete(prompt, sampling=_READING, reuse="shift")
        for _ in stream:
            pass

    def _files(self, place: Place) -> Sequence[Taken]:
        visible = self._visible_files.get((place.root, place.path))
        return visible.files if visible is not None and self._settings.repository else ()

    def _choose(self, place: Place) -> list[Taken]:
        budget = self._settings.context_tokens
        window = self._engine.capabilities.context
        if window is not None:  # the file itself and the completion come first
            budget = min(budget, window - self._settings.hole_tokens - self._settings.max_tokens - 64)
        if place.root is None or not self._settings.repository or budget <= 0:
            return []
        repository = self._repositories.setdefault(place.root, Repository(place.root))
        files = repository.context(
            place.path,
            place.prefix,
            place.suffix,
            budget,
            fim_complete.counter(self._engine),
            unsaved=place.unsaved,
        )
        if repository.notice and place.root not in self._noticed:
            self._noticed.add(place.root)
            self._tell(repository.notice)
        return files

    def _hole(self, place: Place) -> fim_complete.Hole:
        hole = fim_complete.Hole(place.prefix, place.suffix, place.path)
        return fim_complete.fit(hole, self._settings.hole_tokens, fim_complete.counter(self._engine)).hole

    def _mode(self) -> fim_complete.Mode:
        mode = self._settings.mode
        return "line" if mode == "line" else "block" if mode == "block" else "auto"


def _whole_lines(text: str) -> str:
    """Return the whole lines of a completion that is still being written."""
    whole = text[: text.rfind("\n") + 1]
    return whole if whole.strip() else ""
