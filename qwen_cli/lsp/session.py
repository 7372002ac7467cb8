"""One editor's connection: its documents, what was completed for it, what is prepared for it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qwen_cli.engines.core.base import Engine
from qwen_cli.errors import QwenError
from qwen_cli.lsp.cache import Suggestions
from qwen_cli.lsp.completer import Completing, Place, place
from qwen_cli.lsp.document import Document, offset, units
from qwen_cli.lsp.settings import DEFAULTS, Settings, read
from qwen_cli.lsp.worker import Work, Worker

if TYPE_CHECKING:
    from lsprotocol import types as lsp


_LABEL = 60  # characters of a suggestion that a menu shows


@dataclass(frozen=True)
class _Ahead:
    """A completion being prepared for after the suggestion `text` between `prefix` and `suffix` is taken."""

    uri: str
    prefix: str
    suffix: str
    text: str

    def agrees(self, uri: str, text: str) -> bool:
        """Return whether a document still leads there: as before, or with the start of the suggestion
        typed."""
        room = len(text) - len(self.prefix) - len(self.suffix)
        return (
            uri == self.uri
            and room >= 0
            and text.startswith(self.prefix)
            and text.endswith(self.suffix)
            and self.text.startswith(text[len(self.prefix) : len(self.prefix) + room])
        )


class Session:
    """`tell` shows the person a line; `interrupt` is the worker's; `encoding` is what positions count.

    All methods belong to the event loop's thread; the engine belongs to the worker's.
    """

    def __init__(
        self,
        engine: Engine,
        tell: Callable[[str], None],
        settings: Settings = DEFAULTS,
        interrupt: Callable[[], None] | None = None,
    ) -> None:
        self.encoding = "utf-16"
        self.engine = engine
        self.settings = settings
        self.completing = Completing(engine, settings, self._tell_later)
        self.documents: dict[str, Document] = {}
        self.suggestions = Suggestions()
        self.worker = Worker(interrupt)
        self._show = tell
        self._ahead: _Ahead | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._notified: set[str] = set()

    def close(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self.worker.close()

    def initialize(self, options: object) -> None:
        self.settings, faults = read(options, self.settings)
        self.completing = Completing(self.engine, self.settings, self._tell_later)
        for fault in faults:
            self.tell(fault)

    def opened(self, uri: str, text: str, version: int, language: str = "") -> None:
        self.documents[uri] = Document(uri, text, version, language)
        self._rest(uri)

    def changed(self, params: lsp.DidChangeTextDocumentParams) -> None:
        document = self.documents.get(params.text_document.uri)
        if document is None:
            return
        for change in params.content_changes:
            span = getattr(change, "range", None)
            if span is None:
                document.text, document.cursor = change.text, 0
                continue
            start, end = self._index(document, span.start), self._index(document, span.end)
            document.text = document.text[:start] + change.text + document.text[end:]
            document.cursor = start + len(change.text)
        document.version = params.text_document.version
        text = document.text.replace("\r\n", "\n")
        if self._ahead is None or not self._ahead.agrees(document.uri, text):
            self._ahead = None
            self.worker.stop()
        self._rest(document.uri)

    def closed(self, uri: str) -> None:
        self.documents.pop(uri, None)

    def saved(self, uri: str) -> None:
        self.completing.forget()
        self._rest(uri)

    async def complete(self, params: lsp.InlineCompletionParams) -> lsp.InlineCompletionList | None:
        """Return the answer to one request. None where the text changed before there was one."""
        from lsprotocol import types as lsp

        document = self.documents.get(params.text_document.uri)
        if document is None:
            return None
        index = self._index(document, params.position)
        prefix, suffix = document.text[:index], document.text[index:]
        selected = params.context.selected_completion_info
        if selected is not None:  # the editor's own menu is open: go on from what it would insert
            prefix = document.text[: self._index(document, selected.range.start)] + selected.text
            suffix = document.text[self._index(document, selected.range.end) :]
        by_itself = params.context.trigger_kind == lsp.InlineCompletionTriggerKind.Automatic
        text = await self._suggest(document, index, prefix, suffix, by_itself)
        if text is None:
            return None
        if not text:
            return lsp.InlineCompletionList(items=[])
        if selected is not None:
            item = lsp.InlineCompletionItem(insert_text=selected.text + text, range=selected.range)
        else:
            span = lsp.Range(start=params.position, end=params.position)
            item = lsp.InlineCompletionItem(insert_text=text, range=span)
        return lsp.InlineCompletionList(items=[item])

    async def menu(self, params: lsp.CompletionParams) -> lsp.CompletionList | None:
        """Return the same suggestion as an entry of the editor's completion menu, for editors that show no
        other."""
        from lsprotocol import types as lsp

        document = self.documents.get(params.text_document.uri)
        if document is None:
            return None
        index = self._index(document, params.position)
        prefix, suffix = document.text[:index], document.text[index:]
        # Editors that tell nothing ask with each key.
        kind = params.context.trigger_kind if params.context is not None else None
        by_itself = kind != lsp.CompletionTriggerKind.Invoked
        text = await self._suggest(document, index, prefix, suffix, by_itself)
        if not text:
            return lsp.CompletionList(is_incomplete=True, items=[])
        # Editors filter by the word before the cursor and replace it, so it is part of the entry.
        word = re.split(r"\W", prefix[prefix.rfind("\n") + 1 :])[-1]
        start = lsp.Position(params.position.line, params.position.character - units(word, self.encoding))
        whole = word + text
        label = whole.strip().partition("\n")[0]
        item = lsp.CompletionItem(
            label=label if len(label) <= _LABEL else f"{label[: _LABEL - 1]}…",
            kind=lsp.CompletionItemKind.Text,
            detail="qwen",
            documentation=whole,
            filter_text=whole,
            insert_text_mode=lsp.InsertTextMode.AsIs,
            text_edit=lsp.TextEdit(lsp.Range(start, params.position), whole),
        )
        return lsp.CompletionList(is_incomplete=True, items=[item])

    async def _suggest(
        self, document: Document, index: int, prefix: str, suffix: str, by_itself: bool
    ) -> str | None:
        """Return what to insert between two texts, and all that is done beside: what comes after it is
        prepared. Empty in a document of secrets."""
        if document.secret:
            name = document.uri.rpartition("/")[2]
            self.tell(f"{name} seems to hold secrets: nothing of it is sent to the model")
            return ""
        here = self._place(document, prefix, suffix)
        text = await self._text(document, here, by_itself)
        document.cursor = index
        self._rest(document.uri)
        if text:
            self._look_ahead(document.uri, here, text)
        return text

    async def _text(self, document: Document, here: Place, by_itself: bool) -> str | None:
        """Return the completion, from memory or made. None where the text changed meanwhile."""
        known = self.suggestions.find(document.uri, here.prefix, here.suffix)
        if known is not None:
            return known
        version = document.version
        if by_itself:
            if len(here.suffix.partition("\n")[0].rstrip()) > self.settings.max_line_suffix:
                return ""
            await asyncio.sleep(self.settings.debounce_ms / 1_000)
            if document.version != version:
                return None
        if self._ahead is not None and (here.prefix, here.suffix) == self._target(self._ahead):
            # What was being prepared is what is asked for now.
            done = self._ahead_done
            await asyncio.wait([asyncio.wrap_future(done)])
            known = self.suggestions.find(document.uri, here.prefix, here.suffix)
            if known is not None or document.version != version:
                return known
            if not done.cancelled() and done.exception() is None and done.result() == "":
                self._ahead = None  # that nothing follows counts once
                return ""
        self._ahead = None
        future = self.worker.ask(lambda cancelled: self.completing.complete(here, cancelled))
        text = await self._result(future)
        if text is not None:
            self.suggestions.keep(document.uri, here.prefix, here.suffix, text)
        return text

    async def run(self, work: Work) -> Any:
        """Return what `work` makes of the engine: what else it does is given up for it, and it for what is
        asked next, when it returns None."""
        self._ahead = None
        future = self.worker.ask(work)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if future.cancelled():
                return None
            self.worker.stop()
            raise

    async def _result(self, future: Future[Any]) -> str | None:
        """Return what the worker makes. Given up by the editor, the computation is stopped."""
        try:
            text: str | None = await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if future.cancelled():  # a newer question took its place
                return None
            self.worker.stop()
            raise
        except QwenError as error:
            self.tell(str(error))
            return ""
        return text

    def _look_ahead(self, uri: str, here: Place, text: str) -> None:
        """Prepare what follows once `text` is taken."""
        if not self.settings.speculate:
            return
        ahead = _Ahead(uri, here.prefix, here.suffix, text)
        if self._ahead is not None and self._target(self._ahead) == self._target(ahead):
            return
        prefix, suffix = self._target(ahead)
        if self.suggestions.find(uri, prefix, suffix) is not None:
            return
        then = Place(here.root, here.path, prefix, suffix, here.unsaved)

        def work(cancelled: Callable[[], bool]) -> str | None:
            completion = self.completing.complete(then, cancelled)
            if completion is not None:
                self.suggestions.keep(uri, prefix, suffix, completion)
            return completion

        self._ahead = ahead
        self._ahead_done = self.worker.prepare(work)

    @staticmethod
    def _target(ahead: _Ahead) -> tuple[str, str]:
        return ahead.prefix + ahead.text, ahead.suffix

    def _rest(self, uri: str) -> None:
        """Read the files around the cursor into the engine's cache once nothing happens for a while."""
        if self._idle is not None:
            self._idle.cancel()
        self._loop = asyncio.get_running_loop()
        self._idle = self._loop.call_later(self.settings.idle_ms / 1_000, self._warm, uri)

    def _warm(self, uri: str) -> None:
        document = self.documents.get(uri)
        if document is None or document.secret or not self.worker.idle:
            return
        at = min(document.cursor, len(document.text))
        here = self._place(document, document.text[:at], document.text[at:])
        if self.completing.stale(here):
            self.worker.prepare(lambda cancelled: self.completing.warm(here, cancelled))

    def _place(self, document: Document, prefix: str, suffix: str) -> Place:
        others = {d.file: d.text for d in self.documents.values() if d.file is not None and not d.secret}
        return place(document.file, prefix, suffix, others, language=document.language)

    def _index(self, document: Document, position: lsp.Position) -> int:
        return offset(document.text, position.line, position.character, self.encoding)

    def units(self, text: str) -> int:
        """Return the length of a text as positions count it."""
        return units(text, self.encoding)

    def _tell_later(self, message: str) -> None:
        """Let the event loop's thread `tell` something the worker's has come upon."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.tell, message)

    def tell(self, message: str) -> None:
        """Show the person a line, once."""
        if message not in self._notified:
            self._notified.add(message)
            self._show(message)
