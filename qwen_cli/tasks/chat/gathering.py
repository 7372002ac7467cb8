"""What goes with a question beside its words: files, folders and patterns of names, as text where they are
text, and by name where only a model that sees can take them.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from qwen_cli.errors import UsageError
from qwen_cli.media import file_types
from qwen_cli.media import io as media_io
from qwen_cli.sanitize import clean_name
from qwen_cli.tasks.chat import attachments

Allow = Callable[[str], bool]
"""Called with what may hold secrets, as it can be shown; whether it is sent all the same."""

PATTERN = re.compile(r"[*?]|\[[^\]]+\]")
_PAGES = re.compile(r"(.+\.pdf)#([^#]*)", re.IGNORECASE | re.DOTALL)
_ADDRESS = re.compile(r"https?://\S+", re.IGNORECASE)
_NAMED = 5  # files that one remark names


@dataclass(frozen=True)
class Gathered:
    """`texts` are (name, text), `pictures` the files that a model has to see, `labels` what became of each
    word, `left_out` what of folders and patterns is not sent. Names can be shown as they are."""

    texts: tuple[tuple[str, str], ...] = ()
    pictures: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    def __add__(self, other: Gathered) -> Gathered:
        """Return both; what is in both once."""
        return Gathered(
            tuple(dict.fromkeys(self.texts + other.texts)),
            tuple(dict.fromkeys(self.pictures + other.pictures)),
            self.labels + other.labels,
            self.left_out + other.left_out,
        )

    @property
    def characters(self) -> int:
        """Return how much text it is."""
        return sum(len(text) for _, text in self.texts)


def gather(words: Iterable[str], *, allow: Allow) -> Gathered:
    """Return what `words` name: files, folders, patterns (`src/*.py`), pages of a PDF (`a.pdf#1-3`), "-".

    A file that is named must be there and be text, a PDF or a picture; of folders and patterns what is not
    is left out, as is what git ignores. Raises `UsageError`, also above 8 MB together.
    """
    all_of_it = Gathered()
    for word in words:
        all_of_it += _one(local(word), allow)
        if all_of_it.characters > attachments.LARGEST:
            raise UsageError(
                f"the files hold {all_of_it.characters:,} characters together, more than any context",
                "name fewer",
            )
    return all_of_it


def names_something(word: str) -> bool:
    """Return whether `word` is a file or a folder, pages of a PDF, or a pattern that matches."""
    base = _divided(word)[0]
    try:
        return _path(base).exists() or bool(PATTERN.search(base) and next(_glob(base), None))
    except (OSError, ValueError):  # longer than any name; a NUL
        return False


def local(word: str) -> str:
    """Return the path in a `file:` address; other words as they are."""
    if word[:5].lower() != "file:":
        return word
    path = unquote(urlsplit(word).path)
    return path.lstrip("/") if re.match(r"/[A-Za-z]:", path) else path


def some_of(names: Sequence[str]) -> str:
    """Return the first few of `names`, and how many more there are."""
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _one(word: str, allow: Allow) -> Gathered:
    if word == "-":
        return Gathered((("stdin", attachments.read_text("-")),), labels=("standard input",))
    if _ADDRESS.fullmatch(word):
        raise UsageError(f"{clean_name(word)} is an address, not a file", "save it first")
    if not word.strip():
        raise UsageError("the name of a file is empty", "name one, or a folder")
    base, pages = _divided(word)
    path = _path(base)
    label = clean_name(base)
    if not pages and not path.exists() and PATTERN.search(base):
        return _matching(base, label)
    if path.is_dir():
        return _folder(path, label)
    from qwen_cli.tasks.repository import secret_files  # 10 ms, for questions about files

    if path.is_file() and secret_files.is_secret_file(path) and not allow(label):
        return Gathered(left_out=(f"{label} (may hold secrets)",))
    taken = _file(path, base, pages)
    if any(secret_files.holds_key(text) for _, text in taken.texts) and not allow(f"{label} (a private key)"):
        return Gathered(left_out=(f"{label} (a private key)",))
    return taken


def _file(path: Path, base: str, pages: str | None) -> Gathered:
    """Return a file that was named. Raises `UsageError` for what is neither text nor seen."""
    label = clean_name(base)
    kind = None if not path.exists() or not path.is_file() else _kind(path)
    if kind == "video":
        raise UsageError(f"{label} is a video", f"`qwen vision {label}` looks at it")
    if pages is not None and kind != "pdf":
        raise UsageError(f"{label} is not a PDF, it has no pages to choose", "leave out what follows #")
    if kind == "picture":
        return Gathered(pictures=(str(path),), labels=(label,))
    if kind == "pdf":
        return _pdf(path, label, pages)
    return Gathered(((label, attachments.read_text(path)),), labels=(label,))


def _pdf(path: Path, label: str, pages: str | None) -> Gathered:
    from qwen_cli.media import pdf

    read = pdf.texts(path, pages, label)
    whole = [(number, text) for number, text in read if text]
    word = f"{path}#{pages}" if pages else str(path)
    if not whole:
        return Gathered(pictures=(word,), labels=(label,))
    empty = [f"page {number} of {label} (no text)" for number, text in read if not text]
    text = "\n\n".join(f"[page {number}]\n{text}" for number, text in whole)
    count = f"{len(whole):,} page{'' if len(whole) == 1 else 's'}"
    return Gathered(((label, text),), labels=(f"{label} ({count})",), left_out=tuple(empty))


def _folder(path: Path, label: str) -> Gathered:
    with media_io.faults(label):
        next(path.iterdir(), None)
    from qwen_cli.tasks.repository import files

    found = files.read_folder(path, attachments.LARGEST)
    left = [
        f"{label.rstrip('/')}/{name} (may hold secrets)"
        for name in map(clean_name, found.left_out.get("secret", ()))
    ]
    others = {why: len(paths) for why, paths in found.left_out.items() if why != "secret"}
    left += [f"{count:,} {why} in {label}" for why, count in others.items()]
    if not found.texts:
        besides = f" ({some_of(left)})" if left else ""
        raise UsageError(f"the folder {label!r} holds no text to send{besides}", "name the files")
    texts = [(clean_name(f"{label.rstrip('/')}/{name}"), text) for name, text in found.texts]
    if label in (".", "./"):
        texts = [(clean_name(name), text) for name, text in found.texts]
    return Gathered(tuple(texts), labels=(_counted(label, len(texts)),), left_out=tuple(left))


def _matching(pattern: str, label: str) -> Gathered:
    """Return what a pattern matches, without what git ignores unless that is all. Raises `UsageError`."""
    found = sorted(_glob(pattern))
    matches = [name for name in found if Path(name).is_file()]
    if not matches:
        what = "only folders match" if found else "no file matches"
        raise UsageError(f"{what} {label!r}", "check the pattern")
    from qwen_cli.tasks.repository import files, secret_files

    kept = files.not_ignored(Path.cwd(), matches) or matches
    gathered, left = Gathered(), []
    for name in kept:
        path, shown = Path(name), clean_name(name)
        if secret_files.is_secret_file(path):
            left.append(f"{shown} (may hold secrets)")
            continue
        try:
            one = _file(path, name, None)
        except UsageError as fault:
            left.append(f"{shown} ({_why(fault, shown)})")
            continue
        if any(secret_files.holds_key(text) for _, text in one.texts):
            left.append(f"{shown} (a private key)")
            continue
        gathered += one
    if not gathered.texts and not gathered.pictures:
        raise UsageError(f"nothing that {label!r} matches can be sent: {some_of(left)}", "name other files")
    ignored = len(matches) - len(kept)
    left += [f"{ignored:,} that git ignores"] if ignored else []
    count = len(gathered.texts) + len(gathered.pictures)
    return Gathered(gathered.texts, gathered.pictures, (_counted(label, count),), (*gathered.left_out, *left))


def _why(fault: UsageError, label: str) -> str:
    """Return why a file was refused, without its name."""
    return str(fault).partition(". ")[0].replace(repr(label), "").replace(label, "").strip()


def _counted(label: str, count: int) -> str:
    return f"{label} ({count:,} file{'' if count == 1 else 's'})"


def _kind(path: Path) -> file_types.Kind | None:
    """Return what a file is; None for text, and for what is of no known kind. What reads as text is text,
    whatever it begins with, unless its name says otherwise: `.mts` is a module more often than a video."""
    with media_io.opened(path) as file:
        head = file.read(file_types.HEAD)
    name = path.name.lower()
    if _is_text(head) and not name.endswith(".pdf") and not file_types.PICTURE_NAME.search(name):
        return None
    return file_types.kind_of(head, path.name)


def _is_text(head: bytes) -> bool:
    try:
        head.decode()
    except UnicodeDecodeError as fault:
        return fault.start > len(head) - 4 and b"\0" not in head  # cut within a character
    return b"\0" not in head


def _divided(word: str) -> tuple[str, str | None]:
    """Return ("report.pdf", "1-3") of "report.pdf#1-3"; of other words, and of files so called, all and
    None."""
    match = _PAGES.fullmatch(word)
    return (match[1], match[2]) if match and not _path(word).exists() else (word, None)


def _path(word: str) -> Path:
    try:
        return Path(word).expanduser()
    except RuntimeError:  # nobody of that name
        return Path(word)


def _glob(pattern: str) -> Iterator[str]:
    return glob.iglob(str(_path(pattern)), recursive=True)  # noqa: PTH207  may be absolute
