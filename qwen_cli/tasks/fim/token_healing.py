"""How a completion begins: at the border of a token, not inside of one.

A model has learnt text cut into tokens in one way. A prefix that ends in the white space before a word, or in
the middle of a word, ends in tokens that hardly ever stood there, and what follows is guessed badly.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from qwen_cli.engines.core.base import Engine
from qwen_cli.tasks.fim.prompt import File, FimTokens, Hole, layout
from qwen_cli.tasks.fim.span import Span

# A word with the one white space that its first token takes in (the tokenizer's own split, tokenizer.json).
_WORD = re.compile(r"[ \t]?\w+\Z")
# Longer runs are text of their own (hashes, base64, prose without spaces), and slow to write again.
_LONGEST_WORD = 32


@dataclass(frozen=True)
class Start:
    """`prefix` is what of the hole's prefix the model sees; it writes the rest again, `forced` by the
    engine or expected of it. `lead` is white space put at the start of the middle, `kept` what of it belongs
    to the completion.
    """

    prefix: str
    expected: str = ""
    forced: str = ""
    lead: str = ""
    kept: str = ""

    def prompt(self, hole: Hole, files: Sequence[File], tokens: FimTokens, repository: str) -> str:
        """Return the raw text for the model."""
        visible = replace(hole, prefix=self.prefix)
        return layout(visible, files, tokens, repository=repository) + self.lead

    def middle(self, generated: str) -> str:
        """Return the completion in what the model wrote, as far as it has got."""
        if self.expected.startswith(generated):
            return self.kept
        again = self.kept if self.kept and generated.startswith(self.kept) else self.expected
        return self.kept + generated.removeprefix(again)


def of(hole: Hole, span: Span, engine: Engine) -> Start:
    """Return the start for a hole: certain indentation, a word to be finished, or white space that was
    typed."""
    if (inner := span.indentation()) is not None:
        return indented(hole, inner)
    line = hole.prefix[hole.prefix.rfind("\n") + 1 :]
    word = _WORD.search(line[-_LONGEST_WORD - 2 :])  # all of a long line would take long
    if word and len(word[0]) <= _LONGEST_WORD and engine.capabilities.start:
        return Start(hole.prefix.removesuffix(word[0]), expected=word[0], forced=word[0])
    space = line[len(line.rstrip(" \t")) :]
    return Start(hole.prefix.removesuffix(space), expected=space[-1:], lead=space[:-1])


def indented(hole: Hole, indentation: str, *, force: bool = False) -> Start:
    """Return a start with `indentation`, which becomes part of the completion. The last of it is the model's
    to write: it belongs to the word's token. `force` sees to it, where nothing in front of it does."""
    last, lead = indentation[-1:], indentation[:-1]
    return Start(hole.prefix, last, forced=last if force and not lead else "", lead=lead, kept=indentation)
