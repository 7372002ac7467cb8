"""Names that come from outside, as they can be shown."""

from __future__ import annotations

import re

# Controls (escape sequences begin with one) and characters that reverse or hide text.
_UNSHOWABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")


def clean_name(name: str) -> str:
    """A file name as it can be shown: control and invisible characters are replaced by "?"."""
    return _UNSHOWABLE.sub("?", name)
