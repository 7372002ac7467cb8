"""From the words of a command line to what is to be looked at: pictures and films, in the order given.

A word is a picture, a PDF (`report.pdf#1-3`), a video, a folder of frames, an address, a pattern of names or
"-" for what is piped in. What a file holds is told from its bytes first, from its name second.
"""

from __future__ import annotations

import glob
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from qwen_cli.errors import UsageError
from qwen_cli.media import fetch, file_types, io, limits, pdf
from qwen_cli.media import images as media_images
from qwen_cli.sanitize import clean_name

if TYPE_CHECKING:
    from PIL.Image import Image

LARGEST_DOWNLOAD = 256 << 20
"""Bytes of what an address gives: it is held in memory."""

PATIENCE = 120.0
"""Seconds for an address altogether."""

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://\S+|data:[^,\s]*,.*", re.IGNORECASE | re.DOTALL)
_CHOSEN = re.compile(r"(.+\.pdf)#([^#]*)", re.IGNORECASE | re.DOTALL)
_FRAGMENT = re.compile(r"(?:page=)?([0-9][0-9,-]*)")  # RFC 8118 has `#page=3`
_DETAIL = re.compile(r"(.+)#(low|high)", re.IGNORECASE | re.DOTALL)
_PATTERN = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Picture:
    """A picture, or a page of a document. `name` can be shown as it is. `max_pixels` are those that it is to
    be shown in, whatever holds for others. The rest is as in `images.Still`."""

    name: str
    image: Image
    remark: str | None = None
    whole: bool = True
    encoded: media_images.Encoded | None = None
    lossy: bool = False
    max_pixels: int | None = None


@dataclass(frozen=True)
class Film:
    """A video file (`path`), or its frames and when each begins (`times`, in seconds; () where unknown).
    `address` is where on the web the file is from, `max_pixels` as of a picture, of each frame."""

    name: str
    path: Path | None
    frames: tuple[Image, ...] = ()
    times: tuple[float, ...] = ()
    address: str | None = None
    max_pixels: int | None = None


Item: TypeAlias = Picture | Film


@dataclass(frozen=True)
class _Input:
    """The bytes of an input, and what is known of them: `pages` of a PDF, a server's `content_type`, the
    web's `address`."""

    data: bytes
    name: str
    pages: str | None = None
    content_type: str = ""
    address: str | None = None


_NOTHING = _Input(b"", "")


def is_input(word: str) -> bool:
    """Return whether a word is something to look at rather than a part of the question.

    That is what exists, matches or is an address; and a single word that ends as pictures and videos do, so
    that a mistyped name is told instead of asked about.
    """
    if word == "-" or _ADDRESS.fullmatch(word):
        return True
    base, _ = _divided(_detailed(word)[0])
    named = (
        file_types.PICTURE_NAME.search(base)
        or file_types.VIDEO_NAME.search(base)
        or base.lower().endswith(".pdf")
    )
    if named and not re.search(r"\s", word):
        return True
    return _exists(word) or _exists(base) or bool(_matches(base))


def expand(words: Sequence[str]) -> list[str]:
    """Return `words` with the patterns replaced by what they match, in natural order, and `~` by the home
    folder.

    For shells that do not do it (Windows, quotes). Raises `UsageError` for a pattern that nothing matches.
    """
    expanded: list[str] = []
    for word in words:
        base, pages = _divided(word)
        if not pages and (detail := _detailed(word)[1]):
            base, pages = word[: -len(detail)], detail
        if word == "-" or _ADDRESS.fullmatch(word) or _exists(word, at_home=False):
            expanded.append(word)
        elif _exists(base) or not _PATTERN.search(base):
            expanded.append(f"{_at_home(base)}{pages}")
        elif matches := _matches(base):
            expanded += [f"{match}{pages}" for match in matches]
        else:
            raise UsageError(f"no file matches {clean_name(word)!r}", "check the pattern")
    return expanded


def gather(
    words: Sequence[str],
    *,
    video: bool = False,
    allow_local_urls: bool = False,
    scratch: Path,
    low: bool = False,
) -> list[Picture | Film]:
    """Return what the words name, in their order; a PDF or a scan becomes a picture for each page. Those that
    end in "#low" are shown in few pixels, as are all with `low` but for those that end in "#high".

    `video`: a file that is of no known kind is a video all the same. Videos that are not files are put into
    the folder `scratch`. Raises `UsageError` for the first that cannot be had.
    """
    names = expand(words)
    if names.count("-") > 1:
        raise UsageError(f"{io.STDIN} is named {names.count('-')} times", "name it once")
    items: list[Item] = []
    for word in names:
        name, detail = _detailed(word)
        source = _read_input(name, video, allow_local_urls)
        read = _items(source, video, scratch) if isinstance(source, _Input) else source
        if (detail or ("#low" if low else "")).lower() == "#low":
            read = [replace(item, max_pixels=limits.LOW_DETAIL) for item in read]
        items += read
    return items


@dataclass(frozen=True)
class Address:
    """What is to be looked at, by its http(s) or data: address; a `video`, or a picture."""

    url: str
    video: bool = False


def gather_addresses(
    addresses: Sequence[Address],
    *,
    most_pixels: int,
    allow_local_urls: bool,
    scratch: Path,
    stopped: Callable[[], bool] = lambda: False,
) -> Iterator[list[Picture | Film]]:
    """Fetch all of `addresses` from untrusted users within one budget, then decode them one after the other.

    All share the bytes and seconds that a single address may take, and all are measured before the first is
    decoded. Pictures and pages may have `most_pixels` together. Raises `UsageError`; also where `stopped`
    returns True because nobody waits any more.
    """
    until, left, sources = time.monotonic() + PATIENCE, LARGEST_DOWNLOAD, []
    for address in addresses:
        one = _fetched(
            address.url,
            allow_local_urls,
            most_bytes=left,
            seconds=max(0.0, until - time.monotonic()),
            stopped=stopped,
        )
        left -= len(one.data)
        sources.append(one)
    total = sum(_pixels(one, address.video) for one, address in zip(sources, addresses, strict=True))
    if total > most_pixels:
        raise UsageError(
            f"the pictures have {total:,} pixels together, more than {most_pixels:,}",
            "send fewer or smaller ones",
        )
    videos = [address.video for address in addresses]

    def decoded() -> Iterator[list[Picture | Film]]:
        for number, video in enumerate(videos):
            if stopped():
                raise UsageError("the request for the pictures was cancelled", "ask again")
            one, sources[number] = sources[number], _NOTHING  # its bytes go as its pixels come
            yield _items(one, video, scratch)

    return decoded()


def _pixels(source: _Input, video: bool) -> int:
    """Return the pixels that an input will be decoded to, 0 for a video: its frames are chosen and counted
    later."""
    kind = _kind(source.data[: file_types.HEAD], source.name, video, source.content_type)
    if kind == "pdf":
        return pdf.pixels(source.data, source.pages, source.name)
    return 0 if kind == "video" else media_images.pixels(source.data, source.name)


def gather_pictures(words: Sequence[str], *, allow_local_urls: bool = False) -> list[Picture]:
    """Gather as `gather` does, where only pictures will do. Raises `UsageError` also for a video or an
    animation."""
    with tempfile.TemporaryDirectory(prefix="qwen-pictures-") as scratch:
        items = gather(words, allow_local_urls=allow_local_urls, scratch=Path(scratch))
    for item in items:
        if isinstance(item, Film):
            raise UsageError(f"{item.name!r} is a video, not a picture", "`qwen vision` looks at videos")
    return [item for item in items if isinstance(item, Picture)]


def _read_input(word: str, video: bool, allow_local_urls: bool) -> _Input | list[Item]:
    """Return the bytes that a word stands for; or, where they are not to be read as a whole, what they
    are."""
    if word == "-":
        with io.standard_input() as source:
            return _Input(io.rest(source, io.STDIN), io.STDIN)
    if _ADDRESS.fullmatch(word):
        return _fetched(word, allow_local_urls)
    base, pages = _divided(word)
    if pages and _exists(word):
        base, pages = word, ""  # a file that is called so
    path, name = Path(base), clean_name(base)
    if path.is_dir():
        return [_folder(path, name)]
    with io.opened(path) as source:
        head = source.read(file_types.HEAD)
        kind = _kind(head, name, video)
        if kind == "video" and path.is_file():
            return [Film(name, path)]
        if kind == "pdf" and path.is_file():
            return _pages(path, pages[1:] if pages else None, name)
        return _Input(io.rest(source, name, head), name, pages[1:] if pages else None)


def _items(source: _Input, video: bool, scratch: Path) -> list[Item]:
    kind = _kind(source.data[: file_types.HEAD], source.name, video, source.content_type)
    if kind == "pdf":
        return _pages(source.data, source.pages, source.name)
    if source.pages is not None:
        raise UsageError(f"{source.name} is not a PDF, it has no pages to choose", "leave out what follows #")
    if kind == "video":
        return [Film(source.name, _kept(source, scratch), address=source.address)]
    if moving := media_images.frames(source.data, source.name):
        return [Film(source.name, None, tuple(moving[0]), tuple(moving[1]))]
    seen = media_images.stills(source.data, source.name)
    if len(seen) == 1:
        one = seen[0]
        return [Picture(source.name, one.image, one.remark, one.whole, one.encoded, one.lossy)]
    return [Picture(f"{source.name}#{number}", page.image) for number, page in enumerate(seen, 1)]


def _kind(head: bytes, name: str, video: bool, content_type: str = "") -> file_types.Kind | None:
    if not head:
        raise UsageError(f"{name} is empty (0 bytes)", "give another file")
    return file_types.kind_of(head, name, content_type) or ("video" if video else None)


def _pages(source: bytes | Path, chosen: str | None, name: str) -> list[Item]:
    return [Picture(f"{name}#{number}", image) for number, image in pdf.pages(source, chosen, name)]


def _fetched(
    url: str,
    allow_local_urls: bool,
    *,
    most_bytes: int | None = None,
    seconds: float | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> _Input:
    if url[:5].lower() == "data:":
        inline = fetch.from_data_url(url)
        return _Input(inline.data, inline.name, None, inline.content_type)
    if url[:5].lower() == "file:":
        raise UsageError(f"{fetch.display_url(url)!r} is the address of a file", "give its path")
    answer = fetch.fetch(
        url,
        allow_local=allow_local_urls,
        most_bytes=LARGEST_DOWNLOAD if most_bytes is None else most_bytes,
        seconds=PATIENCE if seconds is None else seconds,
        stopped=stopped,
    )
    kind = file_types.kind_of(answer.data[: file_types.HEAD])
    if kind is None and "html" in answer.content_type:
        raise UsageError(
            f"{fetch.display_url(url)} is a web page, not a picture", "give the address of the picture itself"
        )
    chosen = _FRAGMENT.fullmatch(url.partition("#")[2]) if kind == "pdf" else None
    return _Input(answer.data, clean_name(answer.name), chosen and chosen[1], answer.content_type, url)


def _folder(path: Path, name: str) -> Film:
    """Return the pictures of a folder as the frames of one film. Raises `UsageError` where they cannot be
    that."""
    try:
        frames = [file for file in path.iterdir() if file_types.PICTURE_NAME.search(file.name)]
    except OSError as error:
        raise UsageError(f"{name!r} cannot be read: {error.strerror}", "check its permissions") from error
    frames = sorted(
        (file for file in frames if not file.name.startswith(".")), key=lambda f: _natural(f.name)
    )
    if len(frames) < 2:
        held = "1 picture" if frames else "no pictures"
        raise UsageError(f"the folder {name!r} holds {held}, a film needs 2", "name a picture or a video")
    most = limits.for_frames(len(frames), map(media_images.size, frames), name)
    images: list[Image] = []
    for file in frames:
        image = limits.shrunk(media_images.load(file), most)
        if images and image.size != images[0].size:
            raise UsageError(
                f"{clean_name(str(file))} is {image.width} × {image.height}, the frames before it are"
                f" {images[0].width} × {images[0].height}",
                "make them alike, or name the pictures instead of the folder",
            )
        images.append(image)
    return Film(name, None, tuple(images))


def _kept(source: _Input, scratch: Path) -> Path:
    """Return a file of the bytes of a video: what reads videos seeks in them."""
    suffix = file_types.VIDEO_NAME.search(source.name)
    try:
        scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            dir=scratch, suffix=suffix[0].lower() if suffix else ".mp4", delete=False
        ) as file:
            file.write(source.data)
    except OSError as error:
        raise UsageError(
            f"{source.name} does not go into {scratch}: {error.strerror}", "make room"
        ) from error
    return Path(file.name)


def _divided(word: str) -> tuple[str, str]:
    """Return ("report.pdf", "#1-3") of "report.pdf#1-3"; of other words all and ""."""
    match = _CHOSEN.fullmatch(word)
    return (match[1], f"#{match[2]}") if match else (word, "")


def _detailed(word: str) -> tuple[str, str]:
    """Return ("photo.jpg", "#low") of "photo.jpg#low"; of other words, and of files that are called so, all
    and ""."""
    match = _DETAIL.fullmatch(word)
    return (match[1], f"#{match[2]}") if match and not _exists(word) else (word, "")


def _at_home(word: str) -> str:
    try:
        return str(Path(word).expanduser()) if word.startswith("~") else word
    except RuntimeError:  # nobody of that name
        return word


def _exists(word: str, *, at_home: bool = True) -> bool:
    try:
        return bool(word) and Path(_at_home(word) if at_home else word).exists()
    except (OSError, ValueError):  # longer than any name, as questions are; or not a name at all
        return False


def _matches(pattern: str) -> list[str]:
    """Return the files that a pattern matches, in natural order."""
    if not _PATTERN.search(pattern) or "\0" in pattern:
        return []
    return sorted(glob.glob(_at_home(pattern), recursive=True), key=_natural)  # noqa: PTH207  may be absolute


def _natural(name: str) -> list[str | int]:
    """Return a sort key by which "frame 9" comes before "frame 10"."""
    return [int(part) if part.isdecimal() else part.casefold() for part in re.split(r"(\d+)", name)]
