"""How this very program is installed again, with an extra or newer: read from its own metadata, never a name
that somebody else may have on the package index."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

if TYPE_CHECKING:
    from importlib.metadata import Distribution

NAME = "qwen-local"
"""The distribution's name in pyproject.toml, and the command that is this program's alone."""


@dataclass(frozen=True)
class Source:
    """What pip installs this program from. `name` is a folder or the distribution's name, `address` what else
    pip needs where that is not on the package index (" @ git+https://…")."""

    name: str
    address: str = ""
    folder: bool = False
    editable: bool = False


def command(extra: str = "") -> str:
    """Return the `pip install` that installs this program as it was installed, with `extra` ("heif"): from
    its folder, its address, or the package index."""
    return _pip(source(), extra)


def upgrade() -> str:
    """Return what to do for a newer version, as a hint goes on."""
    installed = source()
    if installed.folder:
        return f"update {installed.name}, then run `{_pip(installed)}`"
    return f"run `{_pip(installed, options=('-U',))}`"


def _pip(installed: Source, extra: str = "", options: tuple[str, ...] = ()) -> str:
    requirement = _quoted(f"{installed.name}{f'[{extra}]' if extra else ''}{installed.address}")
    return " ".join(["pip install", *options, *(["-e"] if installed.editable else []), requirement])


def distribution() -> Distribution | None:
    """Return the installed distribution that the running package belongs to; `None` where it runs from a
    folder that was not installed."""
    from importlib import metadata

    try:
        installed = metadata.distribution(NAME)
    except metadata.PackageNotFoundError:
        return None
    folder = _folder(_origin(installed))
    here = _package()
    holds = folder is not None and here.is_relative_to(folder)
    return installed if holds or Path(str(installed.locate_file(here.name))).resolve() == here else None


def source() -> Source:
    """Return where the running package came from."""
    installed = distribution()
    if installed is None:
        root = _package().parent
        here = (root / "pyproject.toml").is_file()
        return Source(str(root), folder=True, editable=True) if here else Source(NAME)
    name, origin = str(installed.metadata["Name"]), _origin(installed)
    if folder := _folder(origin):
        return Source(str(folder), folder=True, editable=bool(origin["dir_info"].get("editable")))
    if "url" not in origin:
        return Source(name)
    version = origin.get("vcs_info", {})
    tool = f"{version['vcs']}+" if "vcs" in version else ""
    revision = f"@{version['requested_revision']}" if version.get("requested_revision") else ""
    part = f"#subdirectory={origin['subdirectory']}" if origin.get("subdirectory") else ""
    return Source(name, f" @ {tool}{origin['url']}{revision}{part}")


def _origin(installed: Distribution) -> dict[str, Any]:
    """Return where it came from (direct_url.json of the packaging specifications); empty for the
    package index."""
    try:
        origin = json.loads(installed.read_text("direct_url.json") or "{}")
    except (OSError, ValueError):
        return {}
    return origin if isinstance(origin, dict) else {}


def _folder(origin: dict[str, Any]) -> Path | None:
    """Return the folder on this machine that it was installed from."""
    address = urlsplit(str(origin.get("url", "")))
    if "dir_info" not in origin or address.scheme != "file":
        return None
    return Path(url2pathname(address.path)).resolve()


def _package() -> Path:
    return Path(__file__).resolve().parent


def _quoted(text: str) -> str:
    return subprocess.list2cmdline([text]) if os.name == "nt" else shlex.quote(text)
