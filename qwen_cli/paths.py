"""Where things are kept: data, cache and settings, each in the platform's own folder."""

from __future__ import annotations

import os
from pathlib import Path


def data_folder() -> Path:
    """Return where this program keeps its data: `$QWEN_HOME`, else the platform's data folder."""
    if home := os.environ.get("QWEN_HOME"):
        return Path(home).expanduser()
    import platformdirs  # only where it is asked: not needed for `qwen --help`

    return platformdirs.user_data_path("qwen", appauthor=False)


def cache_folder() -> Path:
    """Return the platform's folder for what can be made again."""
    import platformdirs

    return platformdirs.user_cache_path("qwen", appauthor=False)


def config_file() -> Path:
    """Return the settings file: `$QWEN_CONFIG`, else `config.toml` in the platform's configuration folder."""
    if given := os.environ.get("QWEN_CONFIG"):
        return Path(given).expanduser()
    import platformdirs

    return platformdirs.user_config_path("qwen") / "config.toml"


def replace(file: Path, text: str, *, mode: int = 0o666) -> None:
    """Make `text` all of `file`, whose folder is there: at once, or not at all. `mode` are the rights of one
    that is new, less the umask. Raises `OSError`."""
    draft = file.with_name(f"{file.name}.{os.getpid()}.new")
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(text)
        draft.replace(file)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def history_file(command: str) -> Path:
    """Return the file that keeps what was typed at the prompt of `command`."""
    return data_folder() / ("history" if command == "chat" else f"{command}_history")
