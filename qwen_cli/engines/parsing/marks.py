"""Special tokens as they are spelt, and how text that spells one stays text.

Tokenizers look for the spellings of their special tokens before anything else, and take `<|im_end|>` in a
web page for the end of a turn. So text that somebody wrote is cut inside each of them before it is tokenized:
behind the last letter, where Qwen's own rules end a word anyway (`gguf_tokenizer.WORDS`), so that the tokens
are exactly those which the text has in a tokenizer without special tokens.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias

from qwen_cli.engines.core.base import Message
from qwen_cli.engines.core.prompt import Prompt, Span, plain, spans
from qwen_cli.engines.parsing.think_tags import CLOSE, OPEN

# tokenizer_config.json of CodeQwen1.5, Qwen2.5-Coder, Qwen2.5-VL, Qwen3 and Qwen3.5: for tokenizers that
# cannot be asked, those of servers.
FAMILY = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>"),
    *("<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>"),
    *(
        "<|vision_pad|>",
        "<|image_pad|>",
        "<|video_pad|>",
        "<|audio_start|>",
        "<|audio_end|>",
        "<|audio_pad|>",
    ),
    *("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", OPEN, CLOSE),
    *("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>"),
    *("<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<fim_pad>", "<reponame>", "<file_sep>"),
)
JOINER = "\u2060"
"""Word joiner, which nobody sees: what breaks a mark for a tokenizer that takes nothing but one text."""

# What vision models write into their answers themselves, which may come back to them as it was.
_ANSWERS = re.compile(r"<\|(?:object_ref|box|quad)_(?:start|end)\|>")
_THINKING = re.compile(f"{OPEN}|{CLOSE}")
_SHOWN = ("image", "video", "image_url", "video_url")  # parts that are no text
# Characters that no standard gives a meaning (Unicode 16, private use planes).
_PRIVATE = (range(0xF0000, 0xFFFFE), range(0x100000, 0x10FFFE))

Write: TypeAlias = Callable[[str], str]
"""What stands for one character of a mark."""


@dataclass(frozen=True)
class Guarded:
    """Messages and tools for a template, in which one character of each mark that somebody wrote has a
    stand-in (`real` says for what): the template writes them as it writes any text, and what it has written
    still tells which marks are its own."""

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None
    real: Mapping[str, str]

    def prompt(self, rendered: str) -> Prompt:
        """Return what the template made of them, with the characters that they stand for."""
        pattern = re.compile("|".join(map(re.escape, self.real)))
        plain_spans = [match.span() for match in pattern.finditer(rendered)]
        return Prompt(pattern.sub(lambda match: self.real[match[0]], rendered), plain_spans)


def own_words(text: str, *, thinks: bool) -> Prompt:
    """Return what a model has written, for it to go on with: plain but for the marks that it writes itself,
    those round its thinking among them where it `thinks`, up to where it stopped."""
    thought, close, answer = text.partition(CLOSE) if thinks else ("", "", text)
    return _apart(thought + close, [_ANSWERS, _THINKING]) + _apart(answer, [_ANSWERS])


class Marks:
    """The spellings of a tokenizer's special tokens."""

    def __init__(self, names: Iterable[str]) -> None:
        known = sorted({name for name in names if _cut(name)}, key=lambda name: (-len(name), name))
        self._any = _one_of(known)
        # A template may put the brackets round what somebody wrote.
        heads, tails, inner = set(), set(), set()
        for name in known:
            first = next((i for i, c in enumerate(name) if c.isalnum()), 0)
            last = _cut(name)
            heads |= {name[k:] for k in range(1, first + 1)}
            tails |= {name[:k] for k in range(last, len(name))}
            inner |= {name[k:-j] for k in range(1, first + 1) for j in range(1, len(name) - last + 1)}
        self._head, self._tail, self._inner = _one_of(heads), _one_of(tails, r"\Z"), inner
        self._longest = max(map(len, known), default=0)

    def pieces(self, prompt: str) -> list[str]:
        """Split `prompt` into pieces that are tokenized one by one, with special tokens: none in its plain
        spans."""
        text, plain_spans = str(prompt), spans(prompt)
        if not plain_spans:
            return [text]
        cuts, at = [0], 0
        while match := self._any.search(text, at):
            mine = _touches(plain_spans, match.span())
            if mine:
                cuts.append(match.start() + _cut(match[0]))
            at = match.start() + 1 if mine else match.end()
        return [text[a:b] for a, b in zip(cuts, [*cuts[1:], len(text)], strict=True) if a < b]

    def broken(self, prompt: str) -> str:
        """Return `prompt` with a joiner in each mark of its plain spans, for who takes nothing but text."""
        return JOINER.join(self.pieces(prompt))

    def guard(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] | None = None,
        *,
        template: str = "",
    ) -> Guarded | None:
        """Return `messages` and `tools` for a chat template; `None` where nobody wrote a mark.

        A `template` that looks for the end of thinking in past answers is left what it looks for.
        """
        whole = (messages, tools)
        present: set[str] = set()
        marked: set[str] = set()

        def note(character: str) -> str:
            marked.add(character)
            return character

        self._both(whole, note, template, present)
        if not marked:
            return None
        free = (chr(code) for code in chain(*_PRIVATE) if chr(code) not in present)
        stand_ins = dict(zip(sorted(marked), free, strict=False))
        messages, tools = self._both(whole, stand_ins.__getitem__, template)
        return Guarded(messages, tools, {stand_in: real for real, stand_in in stand_ins.items()})

    def guard_broken(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] | None, *, template: str = ""
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]] | None]:
        """Return `messages` and `tools` as `broken` makes a prompt."""
        return self._both((messages, tools), JOINER.__add__, template)

    def _both(
        self,
        whole: tuple[Sequence[Message], Sequence[Mapping[str, Any]] | None],
        write: Write,
        template: str,
        present: set[str] | None = None,
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]] | None]:
        thinking = CLOSE in template
        messages, tools = whole
        return (
            [self._message(message, write, thinking, present) for message in messages],
            self._value(tools, write, present) if tools else None,
        )

    def _message(self, message: Message, write: Write, thinking: bool, present: set[str] | None) -> Any:
        content = message.get("content")
        changed = self._value({k: v for k, v in message.items() if k != "content"}, write, present)
        if isinstance(content, list):
            changed["content"] = [
                part if part.get("type") in _SHOWN else self._value(part, write, present) for part in content
            ]
        elif type(content) is str and message.get("role") == "assistant":
            changed["content"] = self._answer(content, write, thinking, present)
        elif "content" in message:
            changed["content"] = self._value(content, write, present)
        return changed

    def _answer(self, content: str, write: Write, thinking: bool, present: set[str] | None) -> str:
        """Change a past answer, in which the model's own marks stay what they were."""
        thought, close, answer = content.rpartition(CLOSE) if thinking else ("", "", content)
        whole = _apart(thought + close, [_ANSWERS, _THINKING]) + _apart(answer, [_ANSWERS])
        return self._text(whole, write, present)

    def _value(self, value: Any, write: Write, present: set[str] | None) -> Any:
        if isinstance(value, str):
            return self._text(value, write, present)
        if isinstance(value, Mapping):
            return {
                self._key(name, write, present): self._value(_decoded(name, one), write, present)
                for name, one in value.items()
            }
        if isinstance(value, (list, tuple)):
            return [self._value(one, write, present) for one in value]
        return value

    def _key(self, name: Any, write: Write, present: set[str] | None) -> Any:
        """Change the name of an argument: Qwen3-Coder's template puts some into brackets."""
        if name in self._inner:
            return write(name[0]) + name[1:]
        return self._value(name, write, present)

    def _text(self, text: str, write: Write, present: set[str] | None) -> str:
        """Return `text` with each mark in it changed by `write`, but for those that its writer meant."""
        if present is not None and not text.isascii():
            present.update(text)
        plain_spans = spans(text) if isinstance(text, Prompt) else ((0, len(text)),)
        bare = str(text)
        out, at = "", 0
        for index in sorted(set(self._changes(bare, plain_spans))):
            out += bare[at:index] + write(bare[index])
            at = index + 1
        return out + bare[at:] if at else bare

    def _changes(self, text: str, plain_spans: Sequence[Span]) -> Iterator[int]:
        """Yield which characters of `text` have to change for no mark to be left in the spans
        `plain_spans`."""
        for mark in self._any.finditer(text):
            if _touches(plain_spans, mark.span()):
                yield mark.start() + _cut(mark[0])
        if plain_spans and plain_spans[0][0] == 0 and (head := self._head.match(text)):
            yield head.end() - 1
        tail = self._tail.search(text, max(0, len(text) - self._longest))
        if tail and plain_spans and plain_spans[-1][1] == len(text):
            yield tail.start()


def _cut(name: str) -> int:
    """Return where a mark is cut: behind its last letter or digit, where a word ends; 0 where it cannot
    be."""
    last = next(
        (i for i in range(len(name) - 1, 0, -1) if name[i - 1].isalnum() and not name[i].isalnum()), 0
    )
    return last or (len(name) - 1)


def _one_of(names: Iterable[str], end: str = "") -> re.Pattern[str]:
    """Compile a pattern of any of `names`, the longest first; of none, what is never found."""
    longest_first = sorted(names, key=lambda name: (-len(name), name))
    return re.compile(f"(?:{'|'.join(map(re.escape, longest_first))}){end}" if longest_first else r"(?!)")


def _touches(ordered: Sequence[Span], span: Span) -> bool:
    """Return whether `span` has a character in one of the spans `ordered`, which are in order."""
    index = bisect_right(ordered, span[0], key=lambda one: one[1])
    return index < len(ordered) and ordered[index][0] < span[1]


def _apart(text: str, own: Sequence[re.Pattern[str]]) -> Prompt:
    """Return `text`, plain but for what `own` finds."""
    whole, at = Prompt(), 0
    for match in re.finditer("|".join(pattern.pattern for pattern in own), text):
        whole += plain(text[at : match.start()])
        whole += match[0]
        at = match.end()
    return whole + plain(text[at:])


def _decoded(name: Any, value: Any) -> Any:
    """Write arguments of a call that hide characters in escapes with the characters: templates decode
    them."""
    if name != "arguments" or not isinstance(value, str) or "\\u" not in value:
        return value
    try:
        return json.dumps(json.loads(value), ensure_ascii=False)
    except ValueError:
        return value
