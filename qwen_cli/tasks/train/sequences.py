"""Chats as token sequences, and which of their tokens count.

The chat template decides what the assistant's turns are: a turn is what stands between the prompt that asks
for it, rendered up to where the answer begins, and the end of the same chat rendered with it. Past turns that
a later rendering repeats letter by letter are learned in the same sequence; a template that rewrites them
(Qwen3 drops past thinking) makes each its own sequence, with the prompt that it will have.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from qwen_cli.engines.core.base import Message
from qwen_cli.engines.core.prompt import Prompt, Span
from qwen_cli.engines.parsing.marks import Marks
from qwen_cli.engines.parsing.think_tags import CLOSE, OPEN
from qwen_cli.engines.transformers import prompt as prompts
from qwen_cli.errors import EngineError, RequestRefused, UsageError
from qwen_cli.tasks.train.rows import Chat, taught

if TYPE_CHECKING:
    import numpy as np

Row = TypeVar("Row")
# In reasoning with programs the model asks for a run with the opening fence, and what follows is printed
# (https://github.com/QwenLM/Qwen2.5-Math, evaluation/math_eval.py: "```output" stops it).
_OUTPUT = re.compile(r"(?<=```output)\n.*?(?:\n```(?!\w)\n?|\Z)", re.DOTALL)


@dataclass(frozen=True)
class Tokens:
    """One sequence: token `ids` (int32) and which of them `counts` (bool), of the row `number`. The first
    never counts: nothing predicts it."""

    ids: np.ndarray
    counts: np.ndarray
    number: int

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def key(self) -> bytes:
        """Return what is equal for equal sequences alone."""
        return self.ids.tobytes() + self.counts.tobytes()


@dataclass(frozen=True)
class Prepared:
    """The sequences of some rows. `split` rows became several, `cut` sequences were longer than the maximum,
    `left_out` rows had nothing that counts before it."""

    sequences: tuple[Tokens, ...]
    split: int = 0
    cut: int = 0
    left_out: int = 0

    @property
    def tokens(self) -> int:
        """Return the tokens of all of them."""
        return sum(map(len, self.sequences))

    @property
    def counted(self) -> int:
        """Return those of their tokens that count."""
        return sum(int(one.counts.sum()) for one in self.sequences)

    @property
    def longest(self) -> int:
        """Return the tokens of the longest."""
        return max(map(len, self.sequences), default=0)


class Template:
    """The chat template and the tokenizer of the model that is called `label`; `turns` as in
    `TrainSettings`."""

    def __init__(self, tokenizer: Any, label: str, turns: str = "all") -> None:
        self._tokenizer, self._label, self._turns = tokenizer, label, turns
        self._marks = Marks(tokenizer.get_added_vocab())
        switch = "enable_thinking" in str(tokenizer.chat_template or "")
        ways: tuple[dict[str, bool], ...] = ({}, {"enable_thinking": False}, {"enable_thinking": True})
        self._ways = ways if switch else ways[:1]

    def prepare(self, chats: Iterable[Chat], longest: int) -> Prepared:
        """Return the sequences of `chats`, cut at `longest` tokens. Raises `UsageError` naming a row that the
        template refuses, `EngineError` where there is no template."""
        import numpy as np

        made: list[Tokens] = []
        split = cut = left_out = 0
        for chat in chats:
            sequences = [self._tokens(text, spans) for text, spans in self.texts(chat)]
            split += len(sequences) > 1
            cut += sum(len(ids) > longest for ids, _ in sequences)
            kept = [(ids[:longest], counts[:longest]) for ids, counts in sequences]
            kept = [(ids, counts) for ids, counts in kept if any(counts)]
            left_out += not kept
            made += [Tokens(np.array(i, np.int32), np.array(c, bool), chat.number) for i, c in kept]
        return Prepared(tuple(made), split, cut, left_out)

    def texts(self, chat: Chat) -> list[tuple[str, list[Span]]]:
        """Return the texts that are learned of `chat`, each with where in it the assistant writes, its end
        mark included."""
        try:
            return list(self._texts(chat))
        except (RequestRefused, UsageError) as fault:
            raise UsageError(f"row {chat.number:,}: {fault.message}", fault.hint) from None

    def _texts(self, chat: Chat) -> Iterable[tuple[str, list[Span]]]:
        left = {at: self._turn(chat, at) for at in taught(chat.messages, self._turns)}
        while left:  # the last turn that no sequence has yet, with all that lead to it
            text, end = left[max(left)][0], left[max(left)][1][1]
            inside = [at for at, (other, span) in left.items() if text.startswith(str(other)[: span[1]])]
            yield text[:end], [left.pop(at)[1] for at in inside]

    def _turn(self, chat: Chat, at: int) -> tuple[str, Span]:
        """Return the text of `chat` up to the end of message `at`, and where in it that turn is.

        Of the ways to ask for it (thinking or not) it is the one that leaves the model the least to write:
        an empty block of thinking is not learned where the prompt can have it."""
        turns: list[tuple[str, int]] = []
        for way in self._ways:
            try:
                whole = self._rendered(chat, chat.messages[: at + 1], answer=False, **way)
                asked = self._rendered(chat, chat.messages[:at], answer=True, **way)
            except RequestRefused:
                if not way:
                    raise
                continue  # some cannot be told to think, or not to
            if whole.startswith(asked):
                turns.append((whole, len(asked)))
        if not turns:
            whole = self._rendered(chat, chat.messages[: at + 1], answer=False)
            asked = self._rendered(chat, chat.messages[:at], answer=True)
            turns.append(self._thought_before(whole, asked, chat.messages[at]))
        whole, begins = min(turns, key=lambda turn: len(turn[0]) - turn[1])
        return whole, (begins, len(whole.rstrip()))

    def _thought_before(self, whole: str, asked: str, message: Message) -> tuple[str, int]:
        """Return a turn of a model that is always asked to think, where its template leaves past thinking
        out (QwQ), as the model writes it: its thinking, then what the template says."""
        base = asked[: asked.rindex(OPEN)] if prompts.opened(asked) else ""
        if not base or not whole.startswith(base):
            raise EngineError(
                f"the chat template of {self._label} writes an answer otherwise than it asks for it",
                "train a model whose template keeps them alike",
            )
        thought = str(message.get("reasoning_content") or "").strip("\n")
        text = Prompt(asked) + Prompt(thought, [(0, len(thought))] if thought else [])
        return text + f"\n{CLOSE}\n\n" + whole[len(base) :], len(asked)

    def _rendered(self, chat: Chat, messages: Sequence[Message], *, answer: bool, **way: Any) -> str:
        return prompts.rendered(
            self._tokenizer,
            messages,
            chat.tools,
            marks=self._marks,
            label=self._label,
            variables=way,
            answer=answer,
        )

    def _tokens(self, text: str, spans: Sequence[Span]) -> tuple[list[int], list[bool]]:
        """Return the tokens of `text`, and which of them lie in `spans` and are no output of a program.

        The text is cut where a turn begins, as the prompt that asks for it ends there."""
        cuts = [0, *(begin for begin, _ in spans), len(text)]
        pieces = [
            piece for begin, end in itertools.pairwise(cuts) for piece in self._marks.pieces(text[begin:end])
        ]
        read = self._tokenizer(pieces, add_special_tokens=False, return_offsets_mapping=True)
        counted = _learned(str(text), spans)
        ids: list[int] = []
        counts: list[bool] = []
        at = 0
        for piece, tokens, offsets in zip(pieces, read["input_ids"], read["offset_mapping"], strict=True):
            ids += tokens
            counts += [all(counted[at + begin : at + max(end, begin + 1)]) for begin, end in offsets]
            at += len(piece)
        if counts:
            counts[0] = False
        return ids, counts


def _learned(text: str, spans: Sequence[Span]) -> bytearray:
    """Return for each character of `text` whether it is to be learned: it lies in `spans`, and no program
    printed it."""
    learned = bytearray(len(text))
    for begin, end in spans:
        learned[begin:end] = b"\1" * (end - begin)
        for printed in _OUTPUT.finditer(text, begin, end):
            learned[printed.start() : printed.end()] = bytes(printed.end() - printed.start())
    return learned


def parted(rows: Sequence[Row], share: float, seed: int) -> tuple[list[Row], list[Row]]:
    """Return what is trained on and what is held out: a `share` of the rows, at least one of ten or more,
    chosen by `seed`."""
    count = round(share * len(rows)) or (1 if share and len(rows) >= 10 else 0)
    chosen = set(random.Random(f"held out {seed}").sample(range(len(rows)), count))  # noqa: S311
    kept = [row for at, row in enumerate(rows) if at not in chosen]
    return kept, [rows[at] for at in sorted(chosen)]


def without(prepared: Prepared, others: Prepared) -> tuple[Prepared, int]:
    """Return `prepared` without the sequences that `others` have too, and how many those were."""
    known = {one.key for one in others.sequences}
    kept = tuple(one for one in prepared.sequences if one.key not in known)
    dropped = len(prepared.sequences) - len(kept)
    return Prepared(kept, prepared.split, prepared.cut, prepared.left_out), dropped
