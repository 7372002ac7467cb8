"""The log of questions that were asked once: one SQLite database, in which words are found again.

It is a convenience beside the answer: whoever writes to it tells a `LogError` in a line, and goes on.
"""

# ruff: noqa: S608  only names and numbers of this file are put into statements; values are bound

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import uuid4

from qwen_cli import paths
from qwen_cli.errors import LogError
from qwen_cli.tasks.common import stream_journal

VERSION = 1
KIND = "log"  # of the journals that hold what was about to be logged
MOST_BYTES = 1e9  # of the database, where nobody says more

_WAIT_SECONDS = 5.0  # for other processes that write
_LONGEST = 5_000_000  # characters of a text that are kept
_INDEXED = 100_000  # characters of a text whose index is made, in 0.06 s
_TRIGRAM = 3  # characters: what is shorter is not in the index
_LONGER = f"SELECT id FROM entries WHERE max(length(question), length(answer)) > {_INDEXED}"

_TABLE = """
CREATE TABLE entries (
    id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT UNIQUE NOT NULL, asked TEXT NOT NULL,
    command TEXT NOT NULL, model TEXT NOT NULL, engine TEXT NOT NULL, system TEXT, session TEXT,
    parent INTEGER, question TEXT NOT NULL, answer TEXT NOT NULL, thinking TEXT NOT NULL,
    stop_reason TEXT NOT NULL, prompt_tokens INTEGER, cached_tokens INTEGER, generated_tokens INTEGER,
    seconds REAL, messages TEXT
)
"""
# Trigrams find words of any language in any place; words of one or two characters are looked for without.
_INDEX = f"""
CREATE VIRTUAL TABLE words USING fts5(question, answer, content='', tokenize='trigram');
CREATE TRIGGER entry_added AFTER INSERT ON entries BEGIN
    INSERT INTO words (rowid, question, answer)
    VALUES (new.id, substr(new.question, 1, {_INDEXED}), substr(new.answer, 1, {_INDEXED}));
END;
CREATE TRIGGER entry_removed AFTER DELETE ON entries BEGIN
    INSERT INTO words (words, rowid, question, answer)
    VALUES ('delete', old.id, substr(old.question, 1, {_INDEXED}), substr(old.answer, 1, {_INDEXED}));
END;
"""


@dataclass(frozen=True)
class Entry:
    """A question and its answer. `asked` is ISO 8601 in UTC, `seconds` how long it took, all in all.

    `stop_reason` is the engine's, "cancelled" where the answer was cut by hand or a kill. `messages` are the
    turns that a conversation goes on with, after those of the entry `parent`; an entry of a `session` has
    none: the session has them. `key` is its name before it has an `id`.
    """

    command: str
    question: str
    model: str = ""
    engine: str = ""
    system: str | None = None
    session: str | None = None
    parent: int | None = None
    answer: str = ""
    thinking: str = ""
    stop_reason: str = "cancelled"
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    generated_tokens: int | None = None
    seconds: float | None = None
    messages: list[dict[str, Any]] | None = None
    asked: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))
    key: str = field(default_factory=lambda: uuid4().hex)
    id: int = 0

    @property
    def cut(self) -> bool:
        """Return whether the answer is not whole."""
        return self.stop_reason != "stop"

    @property
    def ended(self) -> datetime:
        """Return when the answer had come."""
        try:
            asked = datetime.fromisoformat(self.asked)
        except ValueError:
            return datetime.fromtimestamp(0, timezone.utc)
        return asked + timedelta(seconds=self.seconds or 0)


_COLUMNS = tuple(f.name for f in fields(Entry) if f.name != "id")


def file() -> Path:
    """Return the database's file. Not made until something is logged."""
    return paths.data_folder() / "log.db"


def size() -> int:
    """Return the bytes on disk."""
    total = 0
    for name in (file(), *_beside()):
        with suppress(OSError):
            total += name.stat().st_size
    return total


def count() -> int:
    """Return how many entries there are. Raises `LogError`."""
    with _there() as database:
        return int(database.execute("SELECT count(*) FROM entries").fetchone()[0]) if database else 0


def add(entry: Entry, most: float = MOST_BYTES) -> int:
    """Log `entry`, and return its number. Where the log takes more than `most` bytes, the oldest entries go.
    Raises `LogError`."""
    with _opened() as database:
        _insert(database, entry)
        found = database.execute("SELECT id FROM entries WHERE key = ?", (entry.key,)).fetchone()
        _trim(database, most)
        return int(found[0]) if found else 0


def latest(most: int | None = None) -> list[Entry]:
    """Return the last `most` entries, the last one first. Raises `LogError`."""
    with _there() as database:
        return _select(database, "ORDER BY id DESC LIMIT ?", _limit(most))


def last_talk() -> Entry | None:
    """Return the last question to `qwen chat` that a conversation can go on from, outside of sessions. Raises
    `LogError`."""
    chosen = "WHERE command = 'chat' AND session IS NULL AND messages IS NOT NULL ORDER BY id DESC LIMIT 1"
    with _there() as database:
        return next(iter(_select(database, chosen)), None)


def get(number: int) -> Entry:
    """Return an entry. Raises `LogError` where there is none."""
    with _there() as database:
        found = _numbered(database, number)
    if found is None:
        raise _none(number)
    return found


def search(words: Sequence[str], most: int | None = None) -> list[Entry]:
    """Return the entries that have all `words` in question or answer, in any case of letters, the last one
    first. Raises `LogError`."""
    words = [_storable(word) for word in words if word.strip()]
    where = " AND ".join(["holds(question, answer, ?)"] * len(words) or ["1"])
    values: list[Any] = list(words)
    with _there() as database:
        long = [word for word in words if len(word) >= _TRIGRAM]
        if long and database and _has(database, "words"):
            where = f"id IN (SELECT rowid FROM words WHERE words MATCH ? UNION {_LONGER}) AND {where}"
            values.insert(0, " AND ".join('"' + word.replace('"', '""') + '"' for word in long))
        return _select(database, f"WHERE {where} ORDER BY id DESC LIMIT ?", *values, _limit(most))


def conversation(entry: Entry) -> list[dict[str, Any]] | None:
    """Return the messages of the conversation that `entry` ends, from the first that is still there; `None`
    where its own are not kept. Raises `LogError`."""
    if entry.messages is None:
        return None
    said, seen = list(entry.messages), {entry.id}
    with _there() as database:
        while entry.parent and entry.parent not in seen:
            seen.add(entry.parent)
            before = _numbered(database, entry.parent)
            if before is None or before.messages is None:
                break
            entry, said = before, [*before.messages, *said]
    return said


def remove(numbers: Sequence[int]) -> None:
    """Remove entries for good. Raises `LogError` where one is not there; then all stay."""
    with _there() as database:
        for number in numbers:
            if _numbered(database, number) is None:
                raise _none(number)
        if database:
            _delete(database, "SELECT value FROM json_each(?)", json.dumps(list(numbers)))


def prunable(*, older_than: int | None = None, keep: int | None = None) -> list[int]:
    """Return the numbers of the entries that are older than so many days and not among the last `keep`.
    Raises `LogError`."""
    before = "9999"
    if older_than is not None:
        before = (datetime.now(timezone.utc) - timedelta(days=older_than)).isoformat(timespec="seconds")
    chosen = "SELECT id, asked FROM entries ORDER BY id DESC LIMIT -1 OFFSET ?"
    with _there() as database:
        rows = database.execute(chosen, (keep or 0,)).fetchall() if database else []
    return [number for number, asked in rows if asked < before]


def _select(database: sqlite3.Connection | None, rest: str, *values: Any) -> list[Entry]:
    """Return the entries that a statement's `rest` chooses."""
    if database is None:
        return []
    rows = database.execute(f"SELECT {', '.join(_COLUMNS)}, id FROM entries {rest}", values).fetchall()
    return [_entry(dict(zip((*_COLUMNS, "id"), row, strict=True))) for row in rows]


def _numbered(database: sqlite3.Connection | None, number: int) -> Entry | None:
    known = -(2**63) <= number < 2**63  # SQLite's integers
    return next(iter(_select(database, "WHERE id = ?", number)), None) if known else None


def _none(number: int) -> LogError:
    return LogError(f"the log has no entry {number}", "list them with `qwen log`")


def _limit(most: int | None) -> int:
    return -1 if most is None else most


def _entry(row: dict[str, Any]) -> Entry:
    try:
        messages = json.loads(row["messages"]) if row["messages"] else None
    except (ValueError, RecursionError):
        messages = None
    return Entry(**{**row, "messages": messages if isinstance(messages, list) else None})


@contextmanager
def _there() -> Iterator[sqlite3.Connection | None]:
    """Open the database to read it; `None` where nothing was ever logged."""
    if not file().exists() and not _left():
        yield None
        return
    with _opened() as database:
        yield database


@contextmanager
def _opened() -> Iterator[sqlite3.Connection]:
    """Open the database for one transaction, with what killed processes were about to log. Raises `LogError`
    for whatever is wrong with it."""
    where = file()
    try:
        where.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # 0600: a question is nobody else's business. SQLite gives its other files the same rights.
        os.close(os.open(where, os.O_RDWR | os.O_CREAT, 0o600))
        with closing(sqlite3.connect(where, timeout=_WAIT_SECONDS, isolation_level=None)) as database:
            _prepare(database)
            _recover(database)
            database.execute("BEGIN IMMEDIATE")
            yield database
            database.execute("COMMIT")
    except sqlite3.Error as fault:
        raise _fault(str(fault)) from fault
    except OSError as fault:
        raise _fault(fault.strerror or str(fault)) from fault


def _fault(why: str) -> LogError:
    low = why.lower()
    if "not a database" in low or "malformed" in low:
        return LogError(f"the log {file()} is damaged: {why}", "move it away, and a new one begins")
    if "full" in low or "space" in low:
        return LogError(f"the log {file()} cannot be written: {why}", "free some space")
    return LogError(f"the log {file()} cannot be used: {why}", "QWEN_LOG=off does without")


def _prepare(database: sqlite3.Connection) -> None:
    """Make the tables where there are none. Raises `LogError` for those of a newer version."""
    database.create_function("holds", 3, _holds, deterministic=True)
    database.execute("PRAGMA secure_delete = ON")
    (version,) = database.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        from qwen_cli import install_hint

        raise LogError(
            f"the log {file()} is of format {version}, this qwen reads up to {VERSION}",
            install_hint.upgrade(),
        )
    if version:
        return
    database.execute("PRAGMA auto_vacuum = FULL")  # what is removed makes room on the disk
    with suppress(sqlite3.OperationalError):  # file systems without shared memory have no such journal
        database.execute("PRAGMA journal_mode = WAL")
    database.execute("BEGIN IMMEDIATE")
    if not _has(database, "entries"):  # another process has made them meanwhile
        database.execute(_TABLE)
        with suppress(sqlite3.OperationalError):  # SQLite before 3.34, or one without FTS5
            _run(database, _INDEX)
        database.execute(f"PRAGMA user_version = {VERSION}")
    database.execute("COMMIT")


def _run(database: sqlite3.Connection, script: str) -> None:
    """Execute statements within the transaction that is open: `executescript` would end it."""
    statement = ""
    for line in script.splitlines():
        statement += f"{line}\n"
        if sqlite3.complete_statement(statement):
            database.execute(statement)
            statement = ""


def _has(database: sqlite3.Connection, table: str) -> bool:
    row = database.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    return row is not None


def _holds(question: str, answer: str, word: str) -> bool:
    return word.casefold() in question.casefold() or word.casefold() in answer.casefold()


def _insert(database: sqlite3.Connection, entry: Entry) -> None:
    """Write `entry`, unless it was written before."""
    row = asdict(entry)
    messages = None if entry.messages is None else json.dumps(entry.messages, default=str)
    row["messages"] = None if messages and len(messages) > _LONGEST else messages
    values = [_storable(row[name]) for name in _COLUMNS]
    places = ", ".join("?" * len(_COLUMNS))
    database.execute(f"INSERT OR IGNORE INTO entries ({', '.join(_COLUMNS)}) VALUES ({places})", values)


def _storable(value: Any) -> Any:
    """Return `value` as SQLite takes it: whole characters, and not too many of them."""
    if not isinstance(value, str):
        return value
    text = value.encode("utf-8", "replace").decode().replace("\0", "\ufffd")  # its functions end there
    return text[:_LONGEST]


def _left() -> list[Path]:
    return stream_journal.found(paths.data_folder(), kind=KIND)


def _recover(database: sqlite3.Connection) -> None:
    """Log what processes that were killed have left."""
    for journal in _left():
        with stream_journal.take(journal) as left:
            if left is not None and (entry := _killed(left)) is not None:
                _insert(database, entry)


def _killed(left: stream_journal.Left) -> Entry | None:
    """Return the entry of a killed process; `None` for a head that is none."""
    known = {name: value for name, value in left.head.items() if name in _COLUMNS}
    texts = ("command", "question", "key", "asked", "model", "engine")
    if not all(isinstance(known.get(name), str) for name in texts):
        return None
    messages = known.get("messages")
    entry = Entry(**{**known, "messages": messages if isinstance(messages, list) else None})
    turn = {"role": "assistant", "content": left.answer, "cut": True}
    if left.thinking:
        turn["thinking"] = left.thinking
    kept = entry.messages
    if kept is not None:
        kept = [*kept, *left.messages, *([turn] if left.answer or left.thinking else [])]
    return replace(entry, answer=left.answer, thinking=left.thinking, messages=kept)


def _trim(database: sqlite3.Connection, most: float) -> None:
    """Remove the oldest entries, a tenth of them at a time, until the database takes at most `most` bytes."""
    (page,) = database.execute("PRAGMA page_size").fetchone()
    while True:
        (pages,) = database.execute("PRAGMA page_count").fetchone()
        (unused,) = database.execute("PRAGMA freelist_count").fetchone()
        (entries,) = database.execute("SELECT count(*) FROM entries").fetchone()
        if (pages - unused) * page <= most or entries <= 1:
            return
        _delete(database, "SELECT id FROM entries ORDER BY id LIMIT ?", max(1, entries // 10))


def _delete(database: sqlite3.Connection, chosen: str, value: Any) -> None:
    """Delete the entries whose numbers the statement `chosen` gives. The index forgets what is deleted once
    its parts are put together."""
    database.execute(f"DELETE FROM entries WHERE id IN ({chosen})", (value,))
    if _has(database, "words"):
        database.execute("INSERT INTO words (words) VALUES ('optimize')")


def _beside() -> list[Path]:
    return [file().with_name(f"{file().name}{ending}") for ending in ("-wal", "-shm")]
