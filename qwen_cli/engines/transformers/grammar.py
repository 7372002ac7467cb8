"""What a JSON schema allows next, while tokens are chosen: held by llguidance, which holds most of schemas
(docs/schemas.md), or by xgrammar where that is not installed."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from qwen_cli.engines.core import guidance
from qwen_cli.errors import UsageError

if TYPE_CHECKING:
    import torch


class Grammar(Protocol):
    """Where an answer stands in a grammar."""

    def mask(self, logits: torch.Tensor) -> None:
        """Set what is not allowed to minus infinity, in place. `logits` has one row."""

    def accept(self, token: int) -> None:
        """Accept `token`, which was chosen."""


class Vocabulary(Protocol):
    """A tokenizer as grammars see it."""

    def grammar(self, schema: Mapping[str, Any] | str) -> Grammar:
        """Return where an answer begins: to a JSON schema, or to a grammar in GBNF, a text. Raises
        `UsageError` for one that cannot be used."""


def vocabulary(tokenizer: Any, size: int, ends: Collection[int]) -> Vocabulary:
    """Return `tokenizer` as grammars see it, of `size` rows in the model, some of which are `ends`."""
    kind = _Guiding if guidance.is_here() else _XGrammar
    return kind(tokenizer, size, ends)


class _Guiding:
    def __init__(self, tokenizer: Any, size: int, ends: Collection[int]) -> None:
        from llguidance.hf import from_tokenizer

        self._tokenizer = from_tokenizer(tokenizer, n_vocab=size, eos_token=sorted(ends))

    def grammar(self, schema: Mapping[str, Any] | str) -> Grammar:
        from llguidance import LLMatcher

        written = _lark(schema) if isinstance(schema, str) else guidance.grammar(schema)
        matcher = LLMatcher(self._tokenizer, written, log_level=0)
        if matcher.is_error():
            raise _refused(schema, matcher.get_error())
        return _Guided(matcher)


class _Guided:
    """`matcher` is an `llguidance.LLMatcher`. Where it gives up, for what is too much for it, all is allowed:
    answers are checked."""

    def __init__(self, matcher: Any) -> None:
        self._matcher = matcher

    def mask(self, logits: torch.Tensor) -> None:
        import torch

        bits = bytearray(self._matcher.compute_bitmask())
        if self._matcher.is_error():
            return
        bytes_ = torch.frombuffer(bits, dtype=torch.uint8).to(logits.device)
        allowed = (bytes_[:, None] >> torch.arange(8, dtype=torch.uint8, device=logits.device)) & 1
        with torch.inference_mode():  # as they were computed
            logits.masked_fill_(allowed.flatten()[: logits.shape[-1]] == 0, float("-inf"))

    def accept(self, token: int) -> None:
        if not self._matcher.is_error():
            self._matcher.consume_token(token)


class _XGrammar:
    def __init__(self, tokenizer: Any, size: int, ends: Collection[int]) -> None:
        import xgrammar  # 0.5 s, only with a schema

        self._known = xgrammar.TokenizerInfo.from_huggingface(
            tokenizer, vocab_size=size, stop_token_ids=sorted(ends)
        )

    def grammar(self, schema: Mapping[str, Any] | str) -> Grammar:
        import xgrammar

        compiler = xgrammar.GrammarCompiler(self._known)
        try:
            if isinstance(schema, str):
                compiled = compiler.compile_grammar(schema)
            else:
                compiled = compiler.compile_json_schema(json.dumps(schema), any_whitespace=False)
        except (RuntimeError, ValueError, TypeError) as error:
            raise _refused(schema, str(error)) from error
        return _Matched(compiled, self._known.vocab_size)


class _Matched:
    def __init__(self, compiled: Any, size: int) -> None:
        import xgrammar

        self._matcher = xgrammar.GrammarMatcher(compiled)
        self._allowed = xgrammar.allocate_token_bitmask(1, size)

    def mask(self, logits: torch.Tensor) -> None:
        import xgrammar

        if self._matcher.is_terminated() or not self._matcher.fill_next_token_bitmask(self._allowed):
            return
        xgrammar.apply_token_bitmask_inplace(logits, self._allowed.to(logits.device))

    def accept(self, token: int) -> None:
        if not self._matcher.is_terminated():
            self._matcher.accept_token(token)


def _lark(grammar: str) -> str:
    """Return a grammar in GBNF in llguidance's own form. Raises `UsageError`."""
    from llguidance import LLMatcher
    from llguidance.gbnf_to_lark import any_to_lark

    try:
        return str(LLMatcher.grammar_from_lark(any_to_lark(grammar)))
    except Exception as error:  # a parser in a few hundred lines, whose faults are of many kinds
        raise _refused(grammar, str(error)) from error


def _refused(what: Mapping[str, Any] | str, why: str) -> UsageError:
    if not isinstance(what, str):
        return guidance.refused(why)
    line = (why.strip().splitlines() or ["no grammar"])[-1]
    return UsageError(
        f"the grammar cannot be used: {line}", "write it as llama.cpp's grammars/README.md says"
    )
