"""Several requests at once on the transformers engine: transformers' own continuous batching.

Its loop joins whatever is to be computed next of all requests into one forward pass over a paged KV cache,
in which equal beginnings are shared. It draws tokens with one set of rules for all; here each request draws
with its own (`Sampler`: penalties, seed, schema), so that an answer is what the engine gives alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from transformers.generation.configuration_utils import ContinuousBatchingConfig, GenerationConfig
from transformers.generation.continuous_batching.cb_logits_processors import (
    ContinuousBatchingLogitsProcessorList,
)
from transformers.generation.continuous_batching.continuous_api import ContinuousBatchingManager, OutputRouter
from transformers.generation.logits_process import LogitsProcessorList

from qwen_cli.engines.core import base
from qwen_cli.engines.core.base import Completion, Engine, Piece, Sampling, Stream, TokenLogprob, Usage
from qwen_cli.engines.parsing.answer import parts
from qwen_cli.engines.transformers import sampler
from qwen_cli.engines.transformers.decode import without_ends
from qwen_cli.engines.transformers.prompted import Loaded, Prompted
from qwen_cli.engines.transformers.sampler import Sampler
from qwen_cli.errors import EngineError

if TYPE_CHECKING:
    import torch

    from qwen_cli.engines.transformers.answer import Answer
    from qwen_cli.engines.transformers.prompted import Shown

# Tokens of one page of the KV cache. Equal beginnings are shared by whole pages; the library's 256 would
# share no system prompt.
_PAGE = 32
_BATCH = (
    512  # tokens computed in one pass: a long prompt comes in parts, between which others get their token
)
# Of free memory, what the pages may take; each request may fill the context, but not all at once.
_SHARE = 0.25
_ATTENTION = ("sdpa", "flash_attention_2", "flash_attention_3")  # what can compute pages without a switch
_LAYERS = {"full_attention", "sliding_attention"}  # what has pages


def batch(loaded: Loaded, parallel: int) -> Batch | None:
    """Return `engine`, for up to `parallel` requests at once; `None` where its architecture can be computed
    for one at a time only (pictures with positions of their own, sounds, states that are no pages, weights
    spread out)."""
    model = loaded.model
    kinds = set(getattr(model.config.get_text_config(), "layer_types", None) or ("full_attention",))
    spread = len({parameter.device for parameter in model.parameters()}) > 1
    if loaded.capabilities.vision or loaded.capabilities.audio or spread or not kinds <= _LAYERS:
        return None
    if model.config._attn_implementation not in _ATTENTION:
        return None
    return Batch(loaded, parallel)


class Batch:
    """The loop that computes for all, and its paged KV cache of `room` tokens."""

    def __init__(self, loaded: Loaded, parallel: int) -> None:
        self._loaded = loaded
        self._parallel = parallel
        self.room = _room(loaded, parallel)
        self._rows: dict[str, _Row] = {}
        self._manager: ContinuousBatchingManager | None = None
        self._starting = threading.Lock()

    def lanes(self, n: int) -> list[Engine]:
        """Return views that different threads may use at once."""
        return [_Lane(self._loaded, self) for _ in range(n)]

    def add(self, prompt: Sequence[int], row: _Row) -> str:
        """Add `row` to what is computed; return its name here. Raises `EngineError`."""
        name = uuid4().hex
        self._rows[name] = row
        if (
            self._started().add_request(list(prompt), request_id=name, max_new_tokens=None, eos_token_id=-1)
            is None
        ):
            self._rows.pop(name, None)
            raise EngineError("the model has stopped", "start the server again")
        return name

    def drop(self, name: str) -> None:
        """Compute no more of it."""
        if self._rows.pop(name, None) and self._manager:
            self._manager.cancel_request(name)

    def row(self, name: str) -> _Row | None:
        return self._rows.get(name)

    def close(self) -> None:
        for name in list(self._rows):
            self.drop(name)
        if self._manager and self._manager.is_running():
            self._manager.stop(block=True, timeout=10, hard_stop=True)
        self._manager = None

    def _started(self) -> ContinuousBatchingManager:
        """Return the loop; a new one where there is none, or it has died of an error."""
        with self._starting:
            if self._manager is None or not self._manager.is_running():
                self._manager = self._new()
            return self._manager

    def _new(self) -> ContinuousBatchingManager:
        import torch

        config = ContinuousBatchingConfig(
            page_size=_PAGE,
            num_blocks=-(-self.room // _PAGE),
            max_batch_tokens=_BATCH,
            max_requests_per_batch=self._parallel,
            # Each token is chosen here before the next pass: nothing runs ahead, no graph replays.
            use_async_batching=False,
            use_cuda_graph=False,
            auto_switch_to_flash=False,
        )
        greedy = GenerationConfig(do_sample=False, eos_token_id=-1)
        with torch.inference_mode():
            manager = self._loaded.model.init_continuous_batching(greedy, config)
            manager.logit_processor = _Choosing(self)
            manager.output_router = _Failures(self)
            manager.start()
        return manager


class _Row:
    """One request in the loop: what chooses its tokens, and where its pieces go."""

    def __init__(self, answer: Answer, choice: Sampler) -> None:
        self.answer = answer
        self.pieces: SimpleQueue[Piece | Exception | None] = SimpleQueue()
        self.computed = 0  # tokens of the prompt; the others were in the cache
        self.first = self.last = 0.0
        self.sum = 0.0  # of the log probabilities, where they are added up
        self.adds_up = False
        self._choice = choice
        self._known: list[TokenLogprob] = []

    def next(self, scores: torch.Tensor) -> int:
        """Choose the token that comes next, of `scores` (1 × vocabulary, float32). Runs in the loop's
        thread."""
        answer, choice = self.answer, self._choice
        free = not answer.thinking
        keeps = choice.logprobs is not None or self.adds_up
        before = scores[0].clone() if keeps else None
        if answer.forced:
            token = answer.forced.popleft()
        else:
            drawn = choice.sample(without_ends(scores, [answer]), constrained=free)
            token = answer.stands(int(drawn))
            if choice.grammar and free:
                choice.grammar.accept(token)
        choice.remember([token])
        self.last = time.perf_counter()
        self.first = self.first or self.last
        if before is not None and self.adds_up:
            self.sum += float(before.log_softmax(-1)[token])
        if before is not None and choice.logprobs is not None:
            self._known.append(sampler.likely(before, token, choice.logprobs, answer.table))
        for piece in base.with_logprobs(answer.accept(token), self._known):
            self.pieces.put(piece)
        if answer.reason:
            self.pieces.put(None)
        return token


class _Choosing(ContinuousBatchingLogitsProcessorList):
    """Leaves of the scores of each request the one token that the request itself has chosen."""

    def __init__(self, batch: Batch) -> None:
        super().__init__(LogitsProcessorList())
        self.do_processing = True
        self._batch = batch
        self._names: list[str] = []

    def prepare_tensor_args(self, requests_in_batch: list[Any], arg_storage: torch.Tensor) -> torch.Tensor:
        for request in requests_in_batch:
            row = self._batch.row(request.state.request_id)
            if row and not row.first:
                row.computed += request.query_length
        self._names = [request.state.request_id for request in requests_in_batch if request.has_new_token]
        return arg_storage

    def __call__(
        self, input_ids: torch.Tensor, scores: torch.Tensor, arguments: torch.Tensor
    ) -> torch.Tensor:
        import torch

        chosen = torch.zeros(scores.shape[0], 1, dtype=torch.long, device=scores.device)
        for index, name in enumerate(self._names):
            if (row := self._batch.row(name)) is None:
                continue  # dropped: whatever comes is not asked for again
            try:
                chosen[index] = row.next(scores[index : index + 1])
            except Exception as fault:  # of one request; the others go on
                row.pieces.put(fault)
            if row.answer.reason:
                self._batch.drop(name)
        return torch.full_like(scores, -torch.inf).scatter_(1, chosen, 0.0)


class _Failures(OutputRouter):
    """Tells requests that the loop has failed; their pieces have come another way."""

    def __init__(self, batch: Batch) -> None:
        super().__init__()
        self._batch = batch

    def deliver(self, output: Any) -> None:
        row = self._batch.row(output.request_id)
        if row and output.error:
            row.pieces.put(EngineError(f"the model failed: {' '.join(str(output.error).split())}"))

    def deliver_batch(self, outputs: list[Any]) -> None:
        for output in outputs:
            self.deliver(output)


class _Lane(Prompted):
    """A view of the model that is computed with others."""

    def __init__(self, loaded: Loaded, batch: Batch) -> None:
        super().__init__(loaded)
        self.capabilities = replace(loaded.capabilities, state=False, interrupt=True)
        self._batch = batch
        self._current: tuple[str, _Row] | None = None

    def interrupt(self) -> None:
        if current := self._current:
            self._batch.drop(current[0])
            current[1].pieces.put(None)

    def _stream(
        self,
        text: str,
        given: Sampling,
        *,
        visuals: Sequence[Shown] = (),
        tools: Any = None,
        schema: Any = None,
        thinks: bool = False,
        budget: int | None = None,
    ) -> Stream:
        started = time.perf_counter()
        sampling = self._sampling(text, given)
        prompt = self._ids(text)
        answer = self._answer(text, prompt, sampling, thinks, budget, tools)
        grammar = self._loaded.grammar(schema, sampling)
        row = _Row(answer, Sampler(sampling, prompt, device=self.device, grammar=grammar))
        name = self._batch.add(prompt, row)
        self._current = name, row
        try:
            while (piece := row.pieces.get()) is not None:
                if isinstance(piece, Exception):
                    raise (
                        piece if isinstance(piece, EngineError) else EngineError(f"the model failed: {piece}")
                    )
                yield piece
            if answer.reason:
                yield Piece(usage=_usage(row, len(prompt), started))
        finally:
            self._current = None
            self._batch.drop(name)

    def _together(
        self,
        text: str,
        visuals: Sequence[Shown],
        n: int,
        sampling: Sampling,
        thinks: bool,
        budget: int | None,
    ) -> list[Completion]:
        started = time.perf_counter()
        prompt = self._ids(text)
        rows: dict[str, _Row] = {}
        done: list[Completion] = []
        try:
            for index in range(n):
                seeded = sampling.nth(index)
                answer = self._answer(text, prompt, sampling, thinks, budget)
                row = _Row(answer, Sampler(seeded, prompt, device=self.device))
                row.adds_up = True
                rows[self._batch.add(prompt, row)] = row
            for row in rows.values():
                said: list[Piece] = []
                while (piece := row.pieces.get()) is not None:
                    if isinstance(piece, Exception):
                        raise EngineError(f"the model failed: {piece}") from piece
                    said.append(piece)
                usage = _usage(row, len(prompt), started)
                done.append(Completion(*parts(said), usage, row.sum / max(1, row.answer.tokens)))
        finally:
            for name in rows:
                self._batch.drop(name)
        return done


def _usage(row: _Row, prompt: int, started: float) -> Usage:
    return Usage(
        prompt,
        max(0, prompt - row.computed),
        row.answer.tokens,
        row.first - started,
        row.last - row.first,
        row.answer.reason or "cancelled",
        stop_string=row.answer.stop_string,
    )


def _room(loaded: Loaded, parallel: int) -> int:
    """Return the tokens for all requests together: what each may fill, within memory; at least one
    context."""
    from qwen_cli.engines.transformers import load

    context = loaded.capabilities.context or 0
    text = loaded.model.config.get_text_config()
    heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    per_token = 2 * text.num_hidden_layers * heads * size * loaded.model.dtype.itemsize
    free = load.free_memory(loaded.device)
    return max(context, min(context * parallel, int(free * _SHARE) // per_token)) + _PAGE * parallel
