"""Saved conversations: one JSON file each, written so that a kill or a power cut loses nothing."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from qwen_cli import paths, reading
from qwen_cli import settings as user_settings
from qwen_cli.engines.core import kv_file
from qwen_cli.engines.core.base import Engine, Sampling
from qwen_cli.errors import QwenError, SessionError, UsageError
from qwen_cli.tasks.chat import unfinished
from qwen_cli.tasks.chat.conversation import Conversation
from qwen_cli.tasks.chat.messages import Content
from qwen_cli.tasks.common import stream_journal
from qwen_cli.tasks.common.stream_journal import StreamJournal

VERSION = 1
STATE_BYTES = 10e9  # of all KV states together, where nobody says more
# What a session keeps of how its conversation is held, beside the sampling.
_KEPT = ("thinking", "effort", "preserve_thinking", "schema", "overflow", "max_tool_rounds")
_LARGEST = 2 << 30  # bytes: pictures are kept in the session
_Stamp = tuple[int, int, int]
_DEEPEST = 200  # objects and lists inside of each other; Python's writer ends at 300
_TOO_DEEP = "it is nested too deeply"


@dataclass
class Session:
    """A conversation as it is kept. `created` and `updated` are ISO 8601 in UTC.

    `settings` holds sampling, thinking, schema, overflow and max_tool_rounds; `first_sent` and `summary` are
    the conversation's. `stamp` is the file as it was last read or written here, to notice other writers.
    """

    name: str
    model: str = ""
    engine: str = ""
    system: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    messages: list[dict[str, Any]] = field(default_factory=list)
    first_sent: int = 0
    summary: str | None = None
    created: str = field(default_factory=lambda: _now())
    updated: str = field(default_factory=lambda: _now())
    version: int = VERSION
    stamp: _Stamp | None = field(default=None, repr=False, compare=False)

    def record(self, conversation: Conversation) -> None:
        """Take over what `conversation` now holds (on disk only after `save`)."""
        self.model = conversation.engine.model
        self.engine = conversation.engine.name
        self.system, self.messages = conversation.system, list(conversation.messages)
        self.first_sent, self.summary = conversation.first_sent, conversation.summary
        self.settings = settings(conversation)
        if conversation.begun:
            begun, kept = conversation.begun
            sampling = (part.get("sampling", {}) for part in (self.settings, begun, kept))
            self.settings = {**_lasting(self.settings, begun, kept), "sampling": _lasting(*sampling)}

    def resume(self, engine: Engine) -> Conversation:
        """Return the conversation again, on `engine` (which need not be the one it was held with)."""
        conversation = Conversation(
            engine,
            system=self.system,
            messages=list(self.messages),
            sampling=self.sampling(),
            first_sent=self.first_sent,
            summary=self.summary,
        )
        for key in _KEPT:
            if key in self.settings:
                setattr(conversation, key, self.settings[key])
        return conversation

    def sampling(self) -> Sampling:
        """Return the sampling that was set in this session; unknown keys are left out."""
        known = {f.name for f in fields(Sampling)}
        given = {k: v for k, v in self.settings.get("sampling", {}).items() if k in known}
        return Sampling(**{**given, "stop": tuple(given.get("stop", ()))})


def settings(conversation: Conversation) -> dict[str, Any]:
    """Return how `conversation` is held now, as JSON will have it."""
    sampling = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in asdict(conversation.sampling).items()
        if value not in (None, (), "")
    }
    return {"sampling": sampling, **{key: getattr(conversation, key) for key in _KEPT}}


def begin(conversation: Conversation, kept: dict[str, Any]) -> None:
    """Say that what `conversation` is held with beyond what its session has `kept` is for this run alone."""
    conversation.begun = settings(conversation), kept


def _lasting(now: dict[str, Any], begun: dict[str, Any], kept: dict[str, Any]) -> dict[str, Any]:
    """Return `now`, but what was `kept` for each setting that is still as the run has `begun` with."""
    chosen = {
        key: kept.get(key) if now.get(key) == begun.get(key) else now.get(key) for key in {**kept, **now}
    }
    return {key: value for key, value in chosen.items() if value is not None}


def folder() -> Path:
    """Return where sessions are kept: `sessions/` in the data directory. Not made until something is
    saved."""
    return paths.data_folder() / "sessions"


def path(name: str) -> Path:
    """Return the session's file. Raises `UsageError` for a name that cannot be one."""
    return folder() / f"{checked(name)}.json"


def kv_path(name: str) -> Path:
    """Return where the engine's KV state of this session goes (`Engine.save_state`)."""
    return folder() / f"{checked(name)}.kv"


def kept_bytes() -> float:
    """Return how many bytes of models' states may be kept with sessions."""
    most = user_settings.load().get("kv_cache_max")
    return STATE_BYTES if most is None else most * 1e9


def keep_state(engine: Engine, name: str, most: float = STATE_BYTES) -> str | None:
    """Save the engine's KV state of the session `name`, so that going on costs nothing. Where all states take
    more than `most` bytes, those of the sessions that were left longest ago go.

    What was said is whole without it: where it cannot be written the remark to show is returned.
    """
    if not engine.capabilities.state:
        return None
    try:
        engine.save_state(kv_path(name))
    except (QwenError, OSError) as fault:
        return f"the model's state was not kept: {fault}"
    trim_states(most)
    return None


def _words(content: Any) -> str:
    parts = content if isinstance(content, list) else [{"text": content or ""}]
    return " ".join(str(part.get("text") or "") for part in parts if isinstance(part, dict))


def files_folder() -> Path:
    """Return where the KV states of long files are kept, by what they say (`file_states`)."""
    return folder() / "files"


def file_states(before: float | None = None) -> list[Path]:
    """Return the KV states of long files, with `before` those not used since then (seconds since 1970)."""
    states = sorted(files_folder().glob("*.kv"))
    return [state for state in states if before is None or _state_used(state) < before * 1e9]


def trim_states(most: float) -> None:
    """Remove the KV states of sessions and files that were used longest ago, where all take more than `most`
    bytes."""
    total = 0
    states = [*(kv_path(name) for name in names()), *file_states()]
    for state in sorted(states, key=_state_used, reverse=True):
        with suppress(OSError):
            total += state.stat().st_size
            if total > most:
                forget(state)


def _state_used(state: Path) -> int:
    try:
        return state.stat().st_mtime_ns
    except OSError:
        return 0


def forget(state: Path) -> None:
    """Remove a KV state; it is computed again when it is needed."""
    for file in (state, *kv_file.leftovers(state)):
        file.unlink(missing_ok=True)


def forget_state(name: str) -> None:
    """Remove the KV state of a session; it is computed again when it is gone on with."""
    forget(kv_path(name))


def is_answering(name: str) -> bool:
    """Return whether another process is answering in the session `name`, which was just read."""
    return bool(stream_journal.found(folder(), session=name))


def changed(name: str) -> datetime:
    """Return when the session was saved last, in local time."""
    return datetime.fromtimestamp(path(name).stat().st_mtime)


def size(name: str) -> int:
    """Return the bytes on disk of a session and of its KV state."""
    total = 0
    for file in (path(name), kv_path(name)):
        with suppress(OSError):
            total += file.stat().st_size
    return total


def rename(name: str, to: str) -> None:
    """Give a session another name. Raises `SessionError` where there is none, or one of that name."""
    renamed = replace(load(name), name=to)
    if path(to).exists():
        raise SessionError(f"session {to!r} exists", "choose another name")
    state = kv_path(name)
    save(renamed)
    with suppress(OSError):
        state.replace(kv_path(to))
    delete(name)


def said(name: str, words: Sequence[str], *, around: int) -> str | None:
    """Return the place where the first of `words` was said, with so many characters around it; `None` where
    not all of them were, in any case of letters, or the session cannot be read."""
    try:
        messages = load(name).messages
    except SessionError:
        return None
    text = " ".join(" ".join(_words(message.get("content")).split()) for message in messages)
    folded = text.casefold()
    if len(folded) != len(text):
        folded = text.lower() if len(text.lower()) == len(text) else text
    if not all(word.casefold() in folded for word in words):
        return None
    at = folded.find(words[0].casefold())
    start, end = max(at - around, 0), at + len(words[0]) + around
    return f"{'…' if start else ''}{text[start:end]}{'…' if end < len(text) else ''}"


def new(question: Content = "", name: str | None = None) -> Session:
    """Return a session under `name`, or one named by date, time and the first question. Not yet on disk.

    Raises `SessionError` if `name` is taken, `UsageError` if it cannot be a name.
    """
    if name is None:
        return Session(_free(f"{datetime.now():%Y-%m-%d-%H%M}{slug(question)}"))
    if path(name).exists():
        raise SessionError(f"session {name!r} exists", "choose another name, or resume that one")
    return Session(name)


def save(session: Session) -> str | None:
    """Write the session; the old file stays whole until the new one is on the disk.

    If the file has changed since it was read here (the same session open twice), nothing is overwritten:
    the session gets a new name and the remark to show is returned. Raises `SessionError`.
    """
    session.updated = _now()
    content = {f.name: getattr(session, f.name) for f in fields(session) if f.name != "stamp"}
    try:
        data = json.dumps(content, ensure_ascii=False, indent=1).encode()
    except UnicodeEncodeError:  # half a surrogate pair, from undecodable input: only escapes can hold it
        data = json.dumps(content, indent=1).encode()
    path(session.name)
    try:
        folder().mkdir(parents=True, exist_ok=True, mode=0o700)
        with _locked():
            return _write(session, data)
    except OSError as error:
        raise SessionError(
            f"session {session.name!r} could not be saved: {error.strerror or error}",
            f"check space and permissions of {folder()}",
        ) from error


def journal(session: Session, conversation: Conversation) -> StreamJournal:
    """Return what keeps the answer that is about to come, beside `session`, which was just saved. It is
    closed once the session is saved with the answer."""
    return unfinished.begin(folder(), session.name, conversation)


def load(name: str) -> Session:
    """Read a session, with what a killed process has left of its last answer. Raises `SessionError` if it is
    missing, damaged, or of a newer version."""
    session = _read(name)
    for file in stream_journal.found(folder(), session=name):
        with suppress(SessionError), stream_journal.take(file) as left:
            if left is not None:
                _recover(session, left, file.stat().st_mtime_ns)
    return session


def _recover(session: Session, left: stream_journal.Left, when: int) -> None:
    """Put what was `left` into `session`, on disk too; into another one where it has gone on without it. Its
    file is then as old as the journal: which one is the latest does not depend on who was read."""
    base = left.head.get("base")
    if not isinstance(base, int) or base < 1:
        return
    cut = unfinished.joined(session.messages[:base], left)
    if unfinished.holds(session.messages, cut):
        return
    into = session
    if len(session.messages) == base:
        session.messages = cut
    else:
        into = replace(session, name=_free(session.name), messages=cut, stamp=None)
    save(into)
    with suppress(OSError):
        os.utime(path(into.name), ns=(when, when))
        into.stamp = _stamp(path(into.name))


def _read(name: str) -> Session:
    file = path(name)
    try:
        stamp = _stamp(file)
        content = json.loads(reading.read(file, _LARGEST))
    except FileNotFoundError:
        raise SessionError(
            f"no session {name!r}", "list them with /sessions or `qwen sessions list`"
        ) from None
    except OSError as error:
        raise SessionError(f"session {name!r} cannot be read: {error.strerror}", f"check {file}") from error
    except ValueError as error:
        raise SessionError(f"session {name!r} is damaged: {_first_line(error)}", f"look at {file}") from error
    except RecursionError as error:
        raise SessionError(f"session {name!r} is damaged: {_TOO_DEEP}", f"look at {file}") from error
    fault = _fault(content)
    if fault:
        raise SessionError(f"session {name!r} is damaged: {fault}", f"look at {file}")
    if content["version"] > VERSION:
        from qwen_cli import install_hint

        raise SessionError(
            f"session {name!r} is of format {content['version']}, this qwen reads up to {VERSION}",
            install_hint.upgrade(),
        )
    known = {f.name for f in fields(Session)} - {"name", "stamp"}
    return Session(name=name, stamp=stamp, **{k: v for k, v in content.items() if k in known})


def names() -> list[str]:
    """Return the names of the saved sessions, the one saved last first."""
    stamped: list[tuple[int, str]] = []
    with suppress(OSError):
        for file in folder().glob("*.json"):
            with suppress(OSError, UsageError):
                if file.is_file():
                    stamped.append((file.stat().st_mtime_ns, checked(file.stem)))
    return [name for _, name in sorted(stamped, reverse=True)]


def latest(on_damaged: Callable[[SessionError], None] = lambda fault: None) -> Session | None:
    """Return the session saved last that can be read, or `None`; `on_damaged` hears of those that cannot."""
    for name in names():
        try:
            return load(name)
        except SessionError as fault:
            on_damaged(fault)
    return None


def delete(name: str) -> None:
    """Remove a session and its KV state. Raises `SessionError` if it is not there."""
    try:
        path(name).unlink()
        forget_state(name)
        for file in stream_journal.found(folder(), session=name):
            with stream_journal.take(file):
                pass  # it goes with the session
    except FileNotFoundError:
        raise SessionError(
            f"no session {name!r}", "list them with /sessions or `qwen sessions list`"
        ) from None
    except OSError as error:
        raise SessionError(
            f"session {name!r} cannot be removed: {error.strerror}", f"check {folder()}"
        ) from error


def _write(session: Session, data: bytes) -> str | None:
    remark = None
    there = _stamp(path(session.name))
    if there is not None and there != session.stamp:
        taken, session.name = session.name, _free(session.name)
        remark = f"session {taken!r} was changed elsewhere: this one is saved as {session.name!r}"
        data = json.dumps({**json.loads(data), "name": session.name}, indent=1).encode()
    target = path(session.name)
    temporary = target.with_name(f".{session.name}.saving")  # what a kill leaves is overwritten the next time
    try:
        # 0600: a conversation is nobody else's business.
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)
    session.stamp = _stamp(target)
    return remark


@contextmanager
def _locked() -> Iterator[None]:
    """Allow one writer at a time, so that nobody saves between another's look and its rename.

    The lock dies with its process. Where there is no flock (Windows) the look alone must do.
    """
    try:
        import fcntl  # POSIX only
    except ImportError:
        yield
        return
    with (folder() / ".lock").open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _sync_folder(directory: Path) -> None:
    """Write the folder itself to disk: the rename must survive a power cut. Windows cannot open folders, and
    needs no such thing."""
    if os.name != "nt":
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _stamp(file: Path) -> _Stamp | None:
    """Return what changes with every save (the inode is a new one each time), or `None` without a file."""
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _fault(content: Any) -> str | None:
    """Return what is wrong with a session file's content, or `None`."""
    if not isinstance(content, dict):
        return "it holds no object"
    if _is_deep(content):
        return _TOO_DEEP
    if not isinstance(content.get("version"), int):
        return "it has no version"
    if content["version"] > VERSION:
        return None  # its own rules
    messages = content.get("messages")
    if not isinstance(messages, list) or not all(map(_is_turn, messages)):
        return "its messages are not a list of turns"
    for key, kinds in _KINDS.items():
        if key in content and not isinstance(content[key], kinds):
            return f"{key!r} is {type(content[key]).__name__}, not {kinds[0].__name__}"
    if not isinstance(content.get("settings", {}).get("sampling", {}), dict):
        return "its sampling is no object"
    return None


# What the values of a session file are.
_KINDS: dict[str, tuple[type, ...]] = {
    "settings": (dict,),
    "model": (str,),
    "engine": (str,),
    "system": (str, type(None)),
    "summary": (str, type(None)),
    "first_sent": (int,),
    "created": (str,),
    "updated": (str,),
}


def _is_deep(content: Any) -> bool:
    """Return whether `content` is nested deeper than any session: it could be read and not be written."""
    level = [content]
    for _ in range(_DEEPEST):
        level = [
            inner
            for one in level
            if isinstance(one, dict | list)
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return False
    return True


def _is_turn(message: Any) -> bool:
    """Return whether `message` can be one of a conversation: who said it, and text or parts of it."""
    if not isinstance(message, dict) or message.get("role") not in ("user", "assistant", "tool", "system"):
        return False
    content = message.get("content", "")
    if isinstance(content, list):
        return all(isinstance(part, dict) for part in content)
    return content is None or isinstance(content, str)


def _free(name: str) -> str:
    """Return `name`, or it with the first number behind that is not taken."""
    candidate, number = name, 2
    while path(candidate).exists():
        candidate, number = f"{name}-{number}", number + 1
    return candidate


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


LONGEST_NAME = 200  # UTF-8 bytes: file systems allow 255, and ".json", ".kv" and "-2" come behind

# Not allowed in a file name on Windows, plus controls, line separators and invisible formatting characters.
_FORBIDDEN = re.compile(
    r'[<>:"/\\|?*\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]'
)
_WINDOWS_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def checked(name: str) -> str:
    """Return `name`, if every platform takes it as a file name. Raises `UsageError`."""
    why = None
    if not name.strip():
        why = "it is empty"
    elif _FORBIDDEN.search(name):
        why = "it has characters that a file name cannot have"
    elif name.startswith(".") or name != name.strip() or name.endswith("."):
        why = "it starts or ends with a dot or space"
    elif _WINDOWS_DEVICES.fullmatch(name):
        why = "it names a device on Windows"
    elif len(name.encode()) > LONGEST_NAME:
        why = f"it is longer than {LONGEST_NAME} bytes"
    if why:
        raise UsageError(f"{name!r} cannot name a session: {why}", "use letters, digits, dashes")
    return name


def slug(question: Content) -> str:
    """Return the question's first words, as a part of a name: "-how-do-i-sort-a-list"."""
    words = ""
    for word in re.findall(r"\w+", _words(question)[:400].lower()):
        if len(words) + len(word) > 40:
            break
        words += f"-{word}"
    return words
