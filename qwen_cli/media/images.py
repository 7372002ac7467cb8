"""Picture files as models want them: upright, RGB, whole. Anything less is refused rather than guessed at;
of a JPEG that is cut off, the part that is whole is read, and that is told."""

from __future__ import annotations

import base64
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from qwen_cli.errors import UsageError
from qwen_cli.media import file_types, io, limits, metadata
from qwen_cli.media.smart_resize import MAX_RATIO
from qwen_cli.sanitize import clean_name

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

LARGEST = 178_956_970
"""Pixels of one picture: where Pillow itself refuses (twice its `MAX_IMAGE_PIXELS`). 537 MB as RGB."""

# Those that a signature tells apart. Not EPS: Pillow gives that to Ghostscript, which runs what is in it.
_FORMATS = tuple("PNG JPEG GIF WEBP AVIF BMP TIFF PPM ICO ICNS JPEG2000 QOI PSD".split())  # noqa: SIM905
_ANIMATED = frozenset({"GIF", "WEBP", "PNG", "AVIF"})

# Frames that claim 10 ms or less are shown for 100 ms by browsers (Chromium's and WebKit's image decoders):
# what wrote them meant "as fast as usual".
_HASTY, _USUAL = 0.010, 0.100  # seconds

logging.getLogger("PIL").addHandler(logging.NullHandler())  # it logs to the terminal what it then raises

_BITS, _SUBFILE, _ORIENTATION = 258, 254, 274  # TIFF 6.0: BitsPerSample, NewSubfileType, Orientation


# What a server may be sent as it is: one picture, whose pixels are those that `_plain` makes of it.
# MPO is a JPEG with more pictures after it (depth maps, bursts), which go with the metadata.
_SENT: dict[str, metadata.Form] = {"JPEG": "jpeg", "MPO": "jpeg", "PNG": "png", "WEBP": "webp"}
_SENT_MODES = frozenset({"RGB", "L", "P", "1"})

_JPEG = b"\xff\xd8\xff"
# Of a JPEG's rows: where less is whole, it is refused.
_FEWEST_ROWS = 0.25
# What a cut JPEG is gone on with, so that the rows which depend on what is missing differ.
_ENDINGS = (b"\xff\xd9", b"\x55\xaa" * 64 + b"\xff\xd9")


@dataclass(frozen=True)
class Encoded:
    """A picture file without its metadata, as a server may be sent it."""

    form: metadata.Form
    data: bytes

    def url(self) -> str:
        """Return it as a `data:` address."""
        return f"data:image/{self.form};base64,{base64.b64encode(self.data).decode()}"


@dataclass(frozen=True)
class Still:
    """A picture as it was read. `remark` is what there is to say about it, `whole` is False where a part of
    it is missing. `encoded` is its file where that shows the very same; `lossy` says that it was compressed
    with a loss (JPEG)."""

    image: Image
    remark: str | None = None
    whole: bool = True
    encoded: Encoded | None = None
    lossy: bool = False


def load(path: Path) -> Image:
    """Return the picture in a file, as `decode` gives it. Raises `UsageError`, also for a file that is not
    there."""
    return decode(io.read(path), str(path))


def decode(data: bytes, name: str) -> Image:
    """Return the picture in `data`, upright and RGB, transparency over white; of an animation the first
    frame.

    Raises `UsageError` with `name` for what is empty, not a picture, cut off, above 179 million pixels or
    more than 200 times as long as wide. A JPEG that lacks its last bytes, but nothing of the picture, is
    read.
    """
    try:
        with _opened(BytesIO(_unfilled(data)), name) as image:
            return _plain(image, _white(image))
    except UsageError:
        cut = _cut_jpeg(data, name)
        if cut is None or not cut.whole:
            raise
        return cut.image


def stills(data: bytes, name: str) -> list[Still]:
    """Return the picture in `data` as `decode` does, of a TIFF every page, with what else is known of it. Of
    a JPEG that is cut off the upper part. Raises `UsageError`."""
    try:
        seen = pages(_unfilled(data), name)
    except UsageError:
        if (cut := _cut_jpeg(data, name)) is None:
            raise
        return [cut]
    if len(seen) > 1:
        return [Still(page) for page in seen]
    remark = _endless(name) if _lacks_end(data) else None  # of some the decoder takes no notice
    with _opened(BytesIO(data), name) as image:
        lossy = _SENT.get(image.format or "") == "jpeg"
        return [Still(seen[0], remark, encoded=_encoded(image, data), lossy=lossy)]


def pages(data: bytes, name: str) -> list[Image]:
    """Decode as `decode` does, but of a TIFF every page, as scanners and fax machines write them. Raises
    `UsageError`."""
    with _opened(BytesIO(data), name) as image:
        if image.format != "TIFF":
            return [_plain(image, _white(image))]
        decoded: list[Image] = []
        sizes: list[tuple[int, int]] = []
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            if number and int(_tag(image, _SUBFILE)) & 1:
                continue  # a smaller copy of the page before
            _judge(image.size, clean_name(name))
            sizes.append(image.size)
            limits.for_pages(sizes, clean_name(name), "split it into smaller files")
            image.load()
            decoded.append(_plain(image.copy(), _white(image)))
        return decoded


def frames(data: bytes, name: str) -> tuple[list[Image], list[float]] | None:
    """Return the frames of an animated GIF, WebP, PNG or AVIF and when each begins, in seconds; None for a
    still.

    Frames are made smaller where they would not all fit (`room.for_frames`). Raises `UsageError` as `decode`
    does, and for more frames than fit.
    """
    with _opened(BytesIO(data), name) as image:
        # A PNG may begin with a picture for programs that do not animate: it is not part of the film.
        first = 1 if getattr(image, "default_image", False) else 0
        count = getattr(image, "n_frames", 1)
        if image.format not in _ANIMATED or count - first < 2:
            return None
        most = limits.for_frames(count - first, repeat(image.size, count - first), clean_name(name))
        decoded: list[Image] = []
        times: list[float] = []
        now = 0.0
        for number in range(first, count):
            image.seek(number)
            image.load()
            decoded.append(limits.shrunk(_plain(image.copy()), most))
            times.append(now)
            seconds = float(image.info.get("duration") or 0) / 1000
            now += seconds if seconds > _HASTY else _USUAL
        return decoded, times


def pixels(data: bytes, name: str) -> int:
    """Return the pixels of all frames or pages in `data`, from their headers: nothing is decoded. Raises
    `UsageError` as `decode` does."""
    with _opened(BytesIO(data), name) as image:
        count = getattr(image, "n_frames", 1)
        if image.format in _ANIMATED:
            return count * image.width * image.height
        total = 0
        for number in range(count if image.format == "TIFF" else 1):
            image.seek(number)
            total += image.width * image.height
        return total


def size(path: Path) -> tuple[int, int]:
    """Return (width, height) of a picture file as stored, from its header alone. Raises `UsageError`."""
    with io.opened(path) as source, _opened(source, str(path)) as image:
        return image.size


@contextmanager
def _opened(source: BinaryIO, name: str) -> Iterator[ImageFile]:
    """Yield a picture whose header has been judged; what fails while its pixels are read becomes
    `UsageError`."""
    from PIL import Image, UnidentifiedImageError

    label = clean_name(name)
    head = source.read(file_types.HEAD)
    source.seek(0)
    if not head:
        raise UsageError(f"{label} is empty (0 bytes)", "give another file")
    formats = (*_FORMATS, _heif(label)) if file_types.is_heif(head) else _FORMATS
    # Odd metadata, and from half of `LARGEST` on that it is large. Not `catch_warnings`: threads share that.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        with Image.open(source, formats=formats) as image:
            _judge(image.size, label)
            yield image
    except UsageError:
        raise
    except Image.DecompressionBombError as error:
        pixels = re.search(r"\d+", str(error))  # Pillow says nothing else of it
        raise _too_large(int(pixels[0]) if pixels else LARGEST + 1, label) from None
    except UnidentifiedImageError:
        raise UsageError(
            f"{label} is not a whole picture of a known format (it begins with {head[:8]!r})",
            "give a PNG, JPEG, WebP, GIF, TIFF or AVIF",
        ) from None
    except MemoryError:
        raise UsageError(f"{label} does not fit in memory", "make the picture smaller") from None
    except Exception as error:  # decoders raise all kinds: struct.error, SyntaxError, IndexError, …
        raise UsageError(
            f"{label} is damaged or cut off ({' '.join(str(error).split()) or type(error).__name__})",
            "get a whole copy of it",
        ) from error


def _judge(size: tuple[int, int], label: str) -> None:
    """Raise `UsageError` for a size that is not to be decoded."""
    wide, high = size
    if wide < 1 or high < 1:
        raise UsageError(f"{label} is damaged: it says that it is {wide} × {high}", "get a whole copy of it")
    if wide * high > LARGEST:
        raise _too_large(wide * high, label)
    if max(size) > MAX_RATIO * min(size):
        raise UsageError(
            f"{label} is {wide:,} × {high:,}, more than {MAX_RATIO} times as long as wide", "cut it in parts"
        )


def _too_large(pixels: int, label: str) -> UsageError:
    return UsageError(f"{label} has {pixels:,} pixels, more than {LARGEST:,}", "make the picture smaller")


def _heif(label: str) -> str:
    """Register the HEIC reader with Pillow and return the format's name. Raises `UsageError` where that
    package is not installed."""
    try:
        import pillow_heif  # an extra: its wheels hold an H.265 decoder, which has a licence of its own
    except ImportError:
        from qwen_cli import install_hint

        raise UsageError(
            f"{label} is a HEIC picture, which needs another package",
            f"run `{install_hint.command('heif')}`",
        ) from None
    pillow_heif.register_heif_opener()
    return "HEIF"


def _plain(image: Image, white: int | None = None) -> Image:
    """Return `image` upright and RGB over white, without metadata; `white` is the value of white in deep
    greys."""
    from PIL import Image as images

    image.load()
    image = _upright(image)
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        image = _eight_bits(image, white)
    if image.has_transparency_data:
        seen = images.new("RGB", image.size, "white")
        layer = image.convert("RGBA")
        seen.paste(layer, mask=layer)
    else:
        seen = image.convert("RGB")
    seen.info = {}  # where it was taken is nobody's business, and a server may be asked about it
    return seen


def _encoded(image: ImageFile, data: bytes) -> Encoded | None:
    """Return the file of an opened picture for a server; None where it would show something else there."""
    form = _SENT.get(image.format or "")
    moving = image.format != "MPO" and getattr(image, "n_frames", 1) > 1
    if form is None or moving or image.mode not in _SENT_MODES or image.has_transparency_data:
        return None
    if _orientation(image) not in (None, 1):  # not every server turns it, and who does is not known
        return None
    kept = metadata.stripped(data, form)
    return Encoded(form, kept) if kept is not None else None


def _unfilled(data: bytes) -> bytes:
    """Return `data`, a JPEG without the zeros in which it ends before its end: a download that had its room
    before it had its data. They would pass for a picture. A zero behind 0xff is data (T.81, B.1.1.5)."""
    if not data.startswith(_JPEG) or not data.endswith(b"\0\0") or metadata.stripped(data, "jpeg"):
        return data
    rest = data.rstrip(b"\0")
    return rest + b"\0" if rest.endswith(b"\xff") else rest


def _lacks_end(data: bytes) -> bool:
    """Return whether `data` is a JPEG without the mark of its end after what is drawn last."""
    return data.startswith(_JPEG) and data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")


def _endless(name: str) -> str:
    return f"{clean_name(name)} lacks its last bytes, the picture is whole"


def _cut_jpeg(data: bytes, name: str) -> Still | None:
    """Return what is whole of a JPEG whose end is missing; None where that is not so, or too little.

    The decoder does not say where it ran out of data. It is given two endings instead: the rows on which both
    agree depend on what is there alone. Of zeros at the end the first may be data: a grey picture ends so.
    """
    from PIL import ImageChops

    if not data.startswith(_JPEG) or metadata.stripped(data, "jpeg") is not None:
        return None
    filled = _unfilled(data)
    scans = data.count(b"\xff\xda")
    try:
        for rest in dict.fromkeys((data[: len(filled) + 1], filled)):
            one, other = (_ended(rest.rstrip(b"\xff") + ending, name) for ending in _ENDINGS)
            changed = ImageChops.difference(one.convert("RGB"), other.convert("RGB")).getbbox()
            if changed is None:
                break
    except UsageError:
        return None
    progressive = bool(one.info.get("progressive"))
    label, height = clean_name(name), one.height
    if changed is None:
        return Still(_plain(one), _endless(name), lossy=True)
    if progressive and scans > 1:
        remark = f"{label} is cut off: it is read less sharp than it was"
        return Still(_plain(one), remark, whole=False, lossy=True)
    rows = changed[1]
    if rows < height * _FEWEST_ROWS:
        return None
    remark = f"{label} is cut off: {rows:,} of its {height:,} rows are read"
    return Still(_plain(one.crop((0, 0, one.width, rows))), remark, whole=False, lossy=True)


def _ended(data: bytes, name: str) -> Image:
    """Return the picture of a file that was given an end. Raises `UsageError`."""
    with _opened(BytesIO(data), name) as image:
        image.load()
        return image.copy()


def _upright(image: Image) -> Image:
    """Return `image` turned as the camera was held.

    `ImageOps.exif_transpose` also writes the metadata anew, and fails where a camera or an editor has put
    nonsense there; the picture is well all the same.
    """
    from PIL.Image import Transpose

    orientation = _orientation(image)
    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return image.transpose(turns[orientation]) if orientation in turns else image


def _orientation(image: Image) -> int | None:
    """Return how the camera was held, as EXIF has it; None where nothing, or nonsense, is said."""
    try:
        return image.getexif().get(_ORIENTATION)
    except Exception:  # struct.error, SyntaxError, …
        return None


def _white(image: Image) -> int | None:
    """Return what white is in a TIFF of deep greys: some hold 12 bits in 16."""
    bits = int(_tag(image, _BITS))
    return (1 << bits) - 1 if image.mode.startswith("I;") and bits else None


def _tag(image: Image, number: int) -> int:
    """Return the (first) value of a TIFF's tag, 0 where there is none."""
    value = getattr(image, "tag_v2", {}).get(number, 0)
    return value[0] if isinstance(value, tuple) else value


def _eight_bits(image: Image, white: int | None) -> Image:
    """Scale greys of 16 or 32 bits and of floats to 8. Pillow's own conversion cuts them off at 255."""
    low, high = 0.0, float(white or 65535)
    if image.mode in ("I", "F"):
        darkest, lightest = cast("tuple[float, float]", image.getextrema())
        usual = (1.0, 255.0) if image.mode == "F" else (65535.0,)
        fitting = (top for top in usual if darkest >= 0 and lightest <= top)
        low, high = next(((0.0, top) for top in fitting), (darkest, lightest))
    else:
        image = image.convert("I")  # the operation below knows no other
    scale = 255 / ((high - low) or 1)
    return image.point(lambda value: value * scale + (0.5 - low * scale)).convert("L")
