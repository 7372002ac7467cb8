"""A text that a person changes in an editor of their own."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from pathlib import Path

from qwen_cli.errors import QwenError


def chosen() -> str | None:
    """Return the editor that the person has set ($VISUAL, $EDITOR), with its options."""
    return os.environ.get("VISUAL") or os.environ.get("EDITOR")


def changed(editor: str, text: str, name: str) -> str:
    """Return `text` after the person has changed it in their editor, where it is a file called `name`. Raises
    `QwenError` if that does not run."""
    with tempfile.TemporaryDirectory(prefix="qwen-edit-") as folder:
        draft = Path(folder) / name
        draft.write_text(text, encoding="utf-8")
        try:
            done = subprocess.run([*shlex.split(editor), str(draft)], check=False)
        except (OSError, ValueError) as fault:
            raise QwenError(f"the editor {editor!r} does not run: {fault}", "set EDITOR to another") from None
        if done.returncode:
            raise QwenError(
                f"the editor {editor!r} ended with status {done.returncode}", "nothing was changed"
            )
        # editors end a file with a newline
        return draft.read_text(encoding="utf-8", errors="replace").removesuffix("\n")
