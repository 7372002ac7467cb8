"""What may draft tokens ahead of a model (speculative decoding), for every engine alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from qwen_cli.models.hub.resolve import Weights

Draft: TypeAlias = "Literal['auto', 'ngram'] | Weights | None"
"""What drafts: "ngram" the text itself, weights a smaller model. "auto" is "ngram" where it can be had."""

# tokens after a change among which the text that is copied may go on
# The draft model stops where it is less sure than this (`assistant_confidence_threshold` of transformers).
CONFIDENCE = 0.4
