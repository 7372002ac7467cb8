"""What may draft tokens ahead of a model (speculative decoding), for every engine alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from qwen_cli.models.hub.resolve import Weights

Draft: TypeAlias = "Literal['auto', 'ngram', 'mtp'] | Weights | None"
"""What drafts: "mtp" the model's own block for it (multi-token prediction), "ngram" the text itself, weights
a smaller model. "auto" is the block where there is one, else "ngram", where it can be had."""

MTP_TOKENS = 3  # drafted at a time by that block: what the cards of Qwen3.5 to 3.8 serve with

# tokens after a change among which the text that is copied may go on
# The draft model stops where it is less sure than this (`assistant_confidence_threshold` of transformers).
CONFIDENCE = 0.4
