"""What a speech recogniser writes: `language English<asr_text>what was said`, as Qwen3-ASR does."""

from __future__ import annotations

LANGUAGES = {
    "ar": "Arabic", "yue": "Cantonese", "zh": "Chinese", "cs": "Czech", "da": "Danish", "nl": "Dutch",
    "en": "English", "fil": "Filipino", "fi": "Finnish", "fr": "French", "de": "German", "el": "Greek",
    "hi": "Hindi", "hu": "Hungarian", "id": "Indonesian", "it": "Italian", "ja": "Japanese", "ko": "Korean",
    "mk": "Macedonian", "ms": "Malay", "fa": "Persian", "pl": "Polish", "pt": "Portuguese", "ro": "Romanian",
    "ru": "Russian", "es": "Spanish", "sv": "Swedish", "th": "Thai", "tr": "Turkish", "vi": "Vietnamese",
}  # fmt: skip
"""Code and name of the languages that Qwen3-ASR writes (its card; transformers, `LANGUAGE_CODE_TO_NAME`)."""

_MARK = "<asr_text>"
_BEGINS = "language "
_HEAD = 64  # characters after which a language would have been named


def language_name(given: str) -> str | None:
    """Return the English name of a language that is called by its code or name ("de", "de-AT", "german");
    `None` where it is not known."""
    word = given.strip().lower()
    names = {name.lower(): name for name in LANGUAGES.values()}
    return LANGUAGES.get(word) or names.get(word) or LANGUAGES.get(word.replace("_", "-").partition("-")[0])


class TranscriptParser:
    """Takes the head off a transcript as it comes, in pieces of any size. `forced` is the language that was
    asked for: there is no head then. `language` is what the model found ("" until it says so, and where
    nobody speaks)."""

    def __init__(self, forced: str | None = None) -> None:
        self.language = forced or ""
        self._head: str | None = None if forced else ""
        self._begun = False
        self._spaces = ""

    def feed(self, text: str) -> str:
        """Return what of the transcript is certain after `text`: no space before it or behind it."""
        if self._head is not None:
            self._head += text
            before, mark, after = self._head.partition(_MARK)
            if mark and before.strip().lower().startswith(_BEGINS.strip()) and len(before) <= _HEAD:
                self.language = _named(before)
                text, self._head = after, None
            elif not mark and self._may_come(self._head):
                return ""
            else:  # nothing was named
                text, self._head = self._head, None
        return self._shown(text)

    def finish(self) -> str:
        """Return what was held back, at the end."""
        held = self._head or ""
        self._head = None
        return self._shown(held)

    def _may_come(self, head: str) -> bool:
        start = head.lstrip()
        if len(head) >= _HEAD + len(_MARK):
            return False
        return start.lower().startswith(_BEGINS) or _BEGINS.startswith(start.lower())

    def _shown(self, text: str) -> str:
        text = self._spaces + text
        kept = text.rstrip()
        self._spaces = text[len(kept) :]
        if not self._begun:
            kept = kept.lstrip()
        self._begun = self._begun or bool(kept)
        if not self._begun:
            self._spaces = ""
        return kept


def _named(head: str) -> str:
    """Return the language that a head names, "" where it says that nobody speaks ("language None")."""
    name = head.strip()
    if name.lower().startswith(_BEGINS):
        name = name[len(_BEGINS) :].strip()
    name = name.splitlines()[0].strip() if name else ""
    return "" if name.lower() == "none" else name
