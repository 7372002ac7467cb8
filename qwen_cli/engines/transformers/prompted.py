"""What a chat or a prompt becomes before anything is computed: text, tokens, what is shown, and who reads the
answer. However the tokens are computed then, alone (`engine`) or with others (`batching`)."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from qwen_cli.engines.core.base import (
    Capabilities,
    Completion,
    EngineBase,
    Message,
    Reuse,
    Sampling,
    Stream,
    Token,
    TokenLogprob,
    budget_of,
    effective,
)
from qwen_cli.engines.core.content import visual_parts
from qwen_cli.engines.core.prompt import Tokens, plain
from qwen_cli.engines.core.template import TemplateKwargs, variables
from qwen_cli.engines.parsing.think_tags import OPEN, is_left_out
from qwen_cli.engines.transformers import prompt as prompts
from qwen_cli.engines.transformers.answer import Answer
from qwen_cli.engines.transformers.grammar import Grammar, Vocabulary, vocabulary
from qwen_cli.engines.transformers.score import Scorer
from qwen_cli.errors import ContextFull, UsageError

if TYPE_CHECKING:
    import torch

    from qwen_cli.engines.parsing.marks import Marks
    from qwen_cli.engines.transformers.audio import AudioEncoder, HeardInput
    from qwen_cli.engines.transformers.detokenizer import TokenTable
    from qwen_cli.engines.transformers.prefix_cache import ShownPrompt
    from qwen_cli.engines.transformers.vision import VisionEncoder, VisualInput
    from qwen_cli.media.audio import Samples

Shown: TypeAlias = "VisualInput | HeardInput"

_TOGETHER = 16  # samples decoded at once; each needs a copy of the prompt's KV cache


@dataclass
class Loaded:
    """A model in memory with its tokenizer, which all views of it share. `vision_encoder` is how it sees,
    `audio_encoder` how it hears, `ends` the tokens that end an answer. `tokenizing` is held while the
    tokenizer works: those of the Rust library are for one thread at a time."""

    label: str
    model: Any
    tokenizer: Any
    marks: Marks
    table: TokenTable
    ends: frozenset[int]
    device: torch.device
    vision_encoder: VisionEncoder | None
    audio_encoder: AudioEncoder | None
    capabilities: Capabilities
    defaults: Sampling
    plain_defaults: Sampling
    tokenizing: threading.RLock = field(default_factory=threading.RLock)
    _vocabulary: Vocabulary | None = None  # 1 s, made for the first schema

    @cached_property
    def scorer(self) -> Scorer:
        """Return what rates prompts, for all views."""
        return Scorer(self.model, self.table)

    def grammar(self, schema: Mapping[str, Any] | None, sampling: Sampling) -> Grammar | None:
        """Return what keeps an answer to `schema`, or to the grammar of `sampling`. Raises `UsageError` for
        one that cannot be compiled."""
        extras = sampling.extras or {}
        wanted = schema if schema is not None else extras.get("json_schema", extras.get("grammar"))
        if wanted is None:
            return None
        with self.tokenizing:
            if self._vocabulary is None:
                size = self.model.get_output_embeddings().weight.shape[0]
                self._vocabulary = vocabulary(self.tokenizer, size, self.ends)
            return self._vocabulary.grammar(wanted)


class Prompted(EngineBase):
    """A view of a loaded model. Subclasses compute: `_stream` one answer, `_together` several."""

    name = "transformers"

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self.network = loaded.model
        self.tokenizer = loaded.tokenizer
        self._marks = loaded.marks
        self.vision_encoder = loaded.vision_encoder
        self.audio_encoder = loaded.audio_encoder
        self.device = loaded.device
        self._context = loaded.capabilities.context or 0
        self.model = loaded.label
        self.capabilities = loaded.capabilities
        self.defaults = loaded.defaults
        self.plain_defaults = loaded.plain_defaults
        self.chat_template = str(loaded.tokenizer.chat_template or "")

    def chat(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        schema: Mapping[str, Any] | None = None,
        sampling: Sampling = Sampling(),
        thinking: bool | int | None = None,
        template_kwargs: Mapping[str, Any] | None = None,
    ) -> Stream:
        visuals = self.visuals(messages)
        if self.capabilities.transcribes and not visuals:  # its template leaves the text of a question out
            raise UsageError(f"{self.model} writes down what it hears, and answers nothing", "send a sound")
        text = self._rendered(messages, tools, thinking, template_kwargs)
        thinks = self.capabilities.thinking is not None and not is_left_out(text)
        if schema is not None and thinks and not prompts.opened(text):
            text += f"{OPEN}\n"  # so that it is certain where thinking ends and the schema begins
        return self._stream(
            text,
            sampling,
            visuals=visuals,
            tools=tools,
            schema=schema,
            thinks=thinks,
            budget=budget_of(thinking),
        )

    def complete(self, prompt: str, *, sampling: Sampling = Sampling(), reuse: Reuse = "prefix") -> Stream:
        if not prompt:
            raise UsageError("the prompt is empty", "Give some text to continue")
        return self._stream(prompt, sampling)

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        thinking: bool | int | None = None,
        template_kwargs: Mapping[str, Any] | None = None,
    ) -> str:
        return self._rendered(messages, tools, thinking, template_kwargs)

    def prepare(self, messages: Sequence[Message]) -> None:
        if self.vision_encoder:
            self.vision_encoder.prepare(self.render(messages), visual_parts(messages))

    def transcribe(
        self,
        samples: Samples,
        *,
        language: str | None = None,
        context: str = "",
        sampling: Sampling = Sampling(),
    ) -> Stream:
        if not self.capabilities.transcribes:
            raise UsageError(f"{self.model} is no speech recogniser", "Choose qwen3-asr")
        turns: list[Message] = [{"role": "system", "content": context}] if context else []
        turns.append({"role": "user", "content": [{"type": "audio", "audio": samples}]})
        heard = self.visuals(turns)
        text = self._rendered(turns, None, None, None)
        if language:  # so that only the text is left to be written (the model's own processor)
            text += f"language {language}<asr_text>"
        return self._stream(text, sampling.over(Sampling(temperature=0.0)), visuals=heard)

    def sample(
        self,
        prompt: str | Sequence[Message],
        n: int,
        *,
        sampling: Sampling = Sampling(),
        thinking: bool | int | None = None,
        template_kwargs: Mapping[str, Any] | None = None,
    ) -> list[Completion]:
        raw = isinstance(prompt, str)
        visuals = [] if isinstance(prompt, str) else self.visuals(prompt)
        text = prompt if isinstance(prompt, str) else self._rendered(prompt, None, thinking, template_kwargs)
        thinks = not raw and self.capabilities.thinking is not None and not is_left_out(text)
        done: list[Completion] = []
        while len(done) < n:
            rows = min(n - len(done), _TOGETHER)
            seeded = self._sampling(text, sampling.nth(len(done)))
            done += self._together(text, visuals, rows, seeded, thinks, budget_of(thinking))
        return done

    def count_tokens(
        self,
        prompt: str | Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        template_kwargs: Mapping[str, Any] | None = None,
    ) -> int:
        if isinstance(prompt, str):
            return len(self._ids(prompt))
        visuals = self.visuals(prompt)
        return len(self._prompt(self._rendered(prompt, tools, None, template_kwargs), visuals)[0])

    def tokenize(self, text: str, *, special: bool = True) -> list[Token]:
        table = self._loaded.table
        ids = self._ids(text if special else plain(text))
        return [(id, table[id] or table.name(id).encode()) for id in ids]

    def detokenize(self, ids: Sequence[int]) -> str:
        table, size = self._loaded.table, self.network.get_input_embeddings().weight.shape[0]
        if wrong := next((id for id in ids if not 0 <= id < size), None):
            raise UsageError(
                f"there is no token {wrong}: the vocabulary has {size:,}", "tokenize with this model"
            )
        return b"".join(table[id] or table.name(id).encode() for id in ids).decode(errors="replace")

    def score(self, prompt: str, *, likely: int = 0, begin: int = 1) -> list[TokenLogprob]:
        ids = self._ids(prompt)
        if len(ids) > self._context:
            raise ContextFull(len(ids), self._context)
        return self._loaded.scorer.rate(ids, likely, begin)

    @abstractmethod
    def _stream(
        self,
        text: str,
        given: Sampling,
        *,
        visuals: Sequence[Shown] = (),
        tools: Sequence[Mapping[str, Any]] | None = None,
        schema: Mapping[str, Any] | None = None,
        thinks: bool = False,
        budget: int | None = None,
    ) -> Stream:
        """Yield the pieces of one answer to the rendered prompt `text`. The last carries usage."""

    @abstractmethod
    def _together(
        self,
        text: str,
        visuals: Sequence[Shown],
        n: int,
        sampling: Sampling,
        thinks: bool,
        budget: int | None,
    ) -> list[Completion]:
        """Return `n` answers to one rendered prompt, computed together."""

    def _rendered(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] | None,
        thinking: bool | int | None,
        template_kwargs: TemplateKwargs,
    ) -> str:
        """Return `messages` as the model's template writes them, up to where the answer begins."""
        given = variables(thinking, template_kwargs, self.capabilities)
        return prompts.rendered(
            self.tokenizer, messages, tools, marks=self._marks, label=self.model, variables=given
        )

    def visuals(self, messages: Sequence[Message]) -> Sequence[Shown]:
        """Return the pictures, videos and sounds of `messages`, in their order."""
        parts = visual_parts(messages)
        if self.audio_encoder:
            return list(self.audio_encoder.heard_inputs(parts))
        if any(part["type"] == "audio" for part in parts):
            raise UsageError(f"{self.model} hears no sound", "Choose a model that does (qwen2-audio:7b)")
        if parts and self.vision_encoder is None:
            raise UsageError(f"{self.model} sees no pictures", "Choose a vision model (qwen3.5:4b)")
        # As it is: the encoder knows by it what was prepared ahead.
        return self.vision_encoder.visual_inputs(parts) if self.vision_encoder else []

    def _prompt(self, text: str, shown: Sequence[Shown]) -> tuple[list[int], ShownPrompt | None]:
        """Return a rendered prompt as the KV cache knows its tokens, and what it shows."""
        if not shown:
            return self._ids(text), None
        multimodal: ShownPrompt
        if self.audio_encoder:
            with self._loaded.tokenizing:
                multimodal = self.audio_encoder.prompt(text, cast("Sequence[HeardInput]", shown))
        else:
            assert self.vision_encoder
            multimodal = self.vision_encoder.multimodal_prompt(text, cast("Sequence[VisualInput]", shown))
        return multimodal.keys, multimodal

    def _sampling(self, text: str, given: Sampling) -> Sampling:
        """Return `given`, and what the model recommends for the answer to the prompt `text`."""
        sampling = effective(given, self.plain_defaults if is_left_out(text) else self.defaults)
        biased = (sampling.extras or {}).get("logit_bias")
        if not biased:
            return sampling
        pairs = [(id, value) for token, value in biased for id in self._meant(token)]
        bias = [(id, float("-inf") if value is False else value) for id, value in pairs]
        return replace(sampling, extras={**(sampling.extras or {}), "logit_bias": bias})

    def _meant(self, token: int | str) -> list[int]:
        """Return the tokens that a `logit_bias` names by number, or by their text. Raises `UsageError`."""
        if isinstance(token, str):
            return self._ids(plain(token))
        self.detokenize([token])
        return [token]

    def _ids(self, text: str) -> list[int]:
        if isinstance(text, Tokens):
            return list(text.ids)
        with self._loaded.tokenizing:
            pieces = self.tokenizer(self._marks.pieces(text), add_special_tokens=False)["input_ids"]
        return [token for piece in pieces for token in piece]

    def _answer(
        self,
        text: str,
        prompt: Sequence[int],
        sampling: Sampling,
        thinks: bool,
        budget: int | None,
        tools: Sequence[Mapping[str, Any]] | None = None,
    ) -> Answer:
        if len(prompt) >= self._context:
            raise ContextFull(len(prompt), self._context)
        return Answer(
            self._loaded.table,
            sampling,
            ends=self._loaded.ends,
            room=self._context - len(prompt),
            thinks=thinks,
            ids=self._ids,
            opened=thinks and (prompts.opened(text) or self.capabilities.thinking == "always"),
            budget=budget if thinks else None,
            tools=tools,
        )
