"""The transformers engine: safetensors weights of every Qwen architecture, on CPU, CUDA and MPS."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qwen_cli import sanitize
from qwen_cli.engines.core import kv_file, rope
from qwen_cli.engines.core.base import (
    Capabilities,
    Completion,
    Engine,
    Message,
    Sampling,
    Stream,
    effective,
    recommended,
    seeing,
    without_thinking,
)
from qwen_cli.engines.core.content import visual_parts
from qwen_cli.engines.parsing import bare_tool_calls
from qwen_cli.engines.parsing.marks import Marks
from qwen_cli.engines.parsing.openai import BUDGET_MESSAGE
from qwen_cli.engines.parsing.think_tags import CLOSE, OPEN, is_left_out, thinking_mode
from qwen_cli.engines.transformers import adapters as lora
from qwen_cli.engines.transformers import decode, device_map, load, speculative, vision
from qwen_cli.engines.transformers import device as transformers_device
from qwen_cli.engines.transformers import prompt as prompts
from qwen_cli.engines.transformers.answer import Answer, end_tokens
from qwen_cli.engines.transformers.detokenizer import TokenTable
from qwen_cli.engines.transformers.device_map import Places
from qwen_cli.engines.transformers.prefix_cache import PrefixCache
from qwen_cli.engines.transformers.sampler import Grammar, TokenChoice, grammar_vocabulary
from qwen_cli.engines.transformers.speculative import CPU_COST, GPU_COST, Drafter, Lookup, Steps
from qwen_cli.errors import ContextFull, EngineError, UsageError
from qwen_cli.models.formats import architecture

if TYPE_CHECKING:
    from qwen_cli.engines.core.draft import Draft
    from qwen_cli.engines.transformers.vision import Scene, View
    from qwen_cli.models.hub.resolve import Weights

# For weights that recommend nothing and are in no catalog: Qwen2.5's (the model cards' most common values).
_UNKNOWN = {"temperature": 0.7, "top_p": 0.8, "top_k": 20}
_TOGETHER = 16  # samples decoded at once; each needs a copy of the prompt's KV cache


class Transformers:
    """A model in safetensors, loaded. See `protocol.Engine` for what each method promises.

    `context` is in tokens (`None`: `transformers_load.context`); `dtype`, `quant`, `places`, `attention` and
    `allow_pickle`, `adapters` and `merge` are as in `transformers_load.model`, `rope_scaling` as in
    `rope.extended`; `compiled` makes a graph of decoding; `chat_template`
    replaces the model's own, `draft` is what guesses tokens ahead; `notice` receives one-line remarks. Raises
    `EngineError`, `ModelError`, `UsageError`.
    """

    name = "transformers"

    def __init__(
        self,
        weights: Weights,
        *,
        context: int | None = None,
        adapters: Sequence[Path] = (),
        merge: bool | None = None,
        dtype: str = "auto",
        quant: str = "none",
        places: Places = Places(),
        attention: str = "auto",
        compiled: bool = False,
        trust_remote_code: bool = False,
        allow_pickle: bool = False,
        notice: Callable[[str], None] = lambda text: None,
        chat_template: str | None = None,
        draft: Draft = "auto",
        rope_scaling: rope.Scaling | None = None,
    ) -> None:
        shape = rope.extended(architecture.read(weights.path), rope_scaling, context, weights.label)
        catalogued = weights.model
        self.model = weights.label
        self.defaults = recommended(catalogued.sampling if catalogued else None, shape.sampling, _UNKNOWN)
        self.plain_defaults = without_thinking(catalogued, self.defaults)
        self._tokenizer = load.tokenizer(weights.path, trust_remote_code=trust_remote_code)
        self._marks = Marks(self._tokenizer.get_added_vocab())
        if chat_template:
            self._tokenizer.chat_template = chat_template
        template = str(self._tokenizer.chat_template or "")
        self._offload = device_map.offload_folder(places)
        # Looked at before they are loaded: what is put in their place meanwhile is taken for something else.
        self._files = kv_file.stamps(_files(weights.path, adapters, code=trust_remote_code))
        self._model: Any = load.model(
            weights,
            dtype=dtype,
            quant=quant,
            places=replace(places, offload=Path(self._offload.name) if self._offload else None),
            attention="sdpa" if compiled and attention == "auto" else attention,
            adapters=adapters,
            merge=merge,
            rope=shape if rope_scaling else None,
            trust_remote_code=trust_remote_code,
            allow_pickle=allow_pickle,
            notice=notice,
        )
        self._key_settings = _key_settings(self._model, quant, adapters, merge)
        self._device = device_map.main_device(self._model)
        if compiled and self._device.type == "cpu":
            notice("--compile does not pay on a CPU: leave it out")
        self._sight: vision.Sight | None = None
        if shape.vision and vision.has_processor(weights.path):  # without one it is a model for text
            self._sight = vision.Sight(weights.path, self._model, trust_remote_code=trust_remote_code)
        self._context = load.context(weights, shape, self._model, context)
        self._cache = PrefixCache(self._model, compiled=compiled)
        self._draft = speculative.chosen(
            draft, self._cache, self._model, self._tokenizer, label=self.model, dtype=dtype
        )
        self.capabilities = Capabilities(
            context=self._context,
            thinking=thinking_mode(template) or (catalogued.thinking if catalogued else None),
            tools="tools" in template,
            fim=catalogued.fim if catalogued else shape.fim,
            vision=self._sight is not None,
            video=self._sight is not None,
            seeing=seeing(shape.model_type),
            render=bool(template),
            state=self._cache.croppable,
            logprobs=True,
            constrained=True,
        )
        self._vocabulary_size = self._model.get_input_embeddings().weight.shape[0]
        self._table = TokenTable(self._tokenizer)
        self._ends = end_tokens(self._model.generation_config.eos_token_id, self._tokenizer)
        self._vocabulary: Any = None  # xgrammar's view of the tokenizer: 1 s, made for the first schema

    def chat(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        schema: Mapping[str, Any] | None = None,
        sampling: Sampling = Sampling(),
        thinking: bool | int | None = None,
    ) -> Stream:
        views = self._views(messages)
        text = self._rendered(messages, tools, thinking)
        thinks = self.capabilities.thinking is not None and not is_left_out(text)
        if schema is not None and thinks and not prompts.opened(text):
            text += f"{OPEN}\n"  # so that it is certain where thinking ends and the schema begins
        pieces = self._stream(
            text, sampling, views=views, tools=tools, schema=schema, thinks=thinks, budget=_budget(thinking)
        )
        if not tools:
            return pieces
        return bare_tool_calls.recognise(pieces, tools, lambda: self.count_tokens(messages, tools=tools))

    def complete(self, prompt: str, *, sampling: Sampling = Sampling()) -> Stream:
        if not prompt:
            raise UsageError("the prompt is empty", "Give some text to continue")
        return self._stream(prompt, sampling)

    def render(self, messages: Sequence[Message], *, thinking: bool | int | None = None) -> str:
        return self._rendered(messages, None, thinking)

    def sample(
        self,
        prompt: str | Sequence[Message],
        n: int,
        *,
        sampling: Sampling = Sampling(),
        thinking: bool | int | None = None,
    ) -> list[Completion]:
        raw = isinstance(prompt, str)
        views = [] if isinstance(prompt, str) else self._views(prompt)
        text = prompt if isinstance(prompt, str) else self._rendered(prompt, None, thinking)
        thinks = not raw and self.capabilities.thinking is not None and not is_left_out(text)
        done: list[Completion] = []
        while len(done) < n:
            rows = min(n - len(done), _TOGETHER)
            seeded = sampling.nth(len(done))
            done += self._together(text, views, rows, seeded, thinks, _budget(thinking))
        return done

    def count_tokens(
        self, prompt: str | Sequence[Message], *, tools: Sequence[Mapping[str, Any]] | None = None
    ) -> int:
        if isinstance(prompt, str):
            return len(self._ids(prompt))
        views = self._views(prompt)
        return len(self._prompt(self._rendered(prompt, tools, None), views)[0])

    def lanes(self, n: int, *, warm: bool = False) -> list[Engine]:
        return [self]

    def save_state(self, path: Path) -> bool:
        return self._cache.save(path, self._owner())

    def load_state(self, path: Path) -> bool:
        try:
            return self._cache.load(path, self._owner(), self._context)
        except EngineError:  # the weights are gone
            return False

    def close(self) -> None:
        if self._model is None:
            return
        device = self._device.type
        self._model = self._cache = self._sight = None  # type: ignore[assignment]
        if device == "cuda":
            import torch

            torch.cuda.empty_cache()
        if self._offload:
            self._offload.cleanup()

    def __enter__(self) -> Transformers:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _rendered(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] | None,
        thinking: bool | int | None,
    ) -> str:
        """Return `messages` as the model's template writes them, up to where the answer begins."""
        switches = thinking is not None and self.capabilities.thinking == "switch"
        switch = {"enable_thinking": bool(thinking)} if switches else {}
        return prompts.rendered(
            self._tokenizer, messages, tools, marks=self._marks, label=self.model, **switch
        )

    def _views(self, messages: Sequence[Message]) -> list[View]:
        """Return the pictures and videos of `messages`, in their order."""
        parts = visual_parts(messages)
        if parts and self._sight is None:
            raise UsageError(f"{self.model} sees no pictures", "Choose a vision model (qwen2.5-vl:3b)")
        return self._sight.views(parts) if self._sight else []

    def _prompt(self, text: str, views: Sequence[View]) -> tuple[list[int], Scene | None]:
        """Return a rendered prompt as the KV cache knows its tokens, and what it shows."""
        if not views or not self._sight:
            return self._ids(text), None
        scene = self._sight.scene(text, views)
        return scene.keys, scene

    def _sampling(self, text: str, given: Sampling) -> Sampling:
        """Return `given`, and what the model recommends for the answer to the prompt `text`."""
        return effective(given, self.plain_defaults if is_left_out(text) else self.defaults)

    def _ids(self, text: str) -> list[int]:
        pieces = self._tokenizer(self._marks.pieces(text), add_special_tokens=False)["input_ids"]
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
            self._table,
            sampling,
            ends=self._ends,
            room=self._context - len(prompt),
            thinks=thinks,
            opened=thinks and prompts.opened(text),
            budget=budget if thinks else None,
            closing=self._ids(f"{BUDGET_MESSAGE}{CLOSE}\n\n") if budget is not None else (),
            tools=tools,
        )

    def _stream(
        self,
        text: str,
        given: Sampling,
        *,
        views: Sequence[View] = (),
        tools: Sequence[Mapping[str, Any]] | None = None,
        schema: Mapping[str, Any] | None = None,
        thinks: bool = False,
        budget: int | None = None,
    ) -> Stream:
        """Yield the pieces of one answer. The last carries usage."""
        started = time.perf_counter()
        sampling = self._sampling(text, given)
        prompt, scene = self._prompt(text, views)
        answer = self._answer(text, prompt, sampling, thinks, budget, tools)
        grammar = Grammar(schema, self._xgrammar()) if schema is not None else None
        choice = TokenChoice(sampling, _ids_of(prompt, scene), device=self._device, grammar=grammar)
        room = min(sampling.max_tokens or self._context, self._context - len(prompt))
        steps = Steps(self._cache, self._drafter(scene), len(prompt) + room, self._vocabulary_size)
        try:
            yield from decode.one(self._cache, steps, prompt, scene, answer, choice, started)
        except (RuntimeError, MemoryError) as error:
            raise self._fault(error, len(prompt)) from error
        finally:
            if getattr(self._model, "quantization_method", None) and self._device.type == "cpu":
                transformers_device.give_back()

    def _together(
        self,
        text: str,
        views: Sequence[View],
        n: int,
        given: Sampling,
        thinks: bool,
        budget: int | None,
    ) -> list[Completion]:
        started = time.perf_counter()
        sampling = self._sampling(text, given)
        prompt, scene = self._prompt(text, views)
        answers = [self._answer(text, prompt, sampling, thinks, budget) for _ in range(n)]
        choice = TokenChoice(sampling, _ids_of(prompt, scene), device=self._device, rows=n)
        try:
            return decode.together(self._cache, prompt, scene, answers, choice, started)
        except (RuntimeError, MemoryError) as error:
            raise self._fault(error, len(prompt)) from error

    def _drafter(self, scene: Scene | None) -> Drafter | None:
        """Return what drafts in one answer. A smaller model is not shown pictures."""
        if self._draft == "ngram":
            return Lookup(CPU_COST if self._device.type == "cpu" else GPU_COST)
        return None if scene else self._draft

    def _xgrammar(self) -> Any:
        if self._vocabulary is None:
            size = self._model.get_output_embeddings().weight.shape[0]
            self._vocabulary = grammar_vocabulary(self._tokenizer, size, self._ends)
        return self._vocabulary

    def _owner(self) -> str:
        return kv_file.owner(self._files, self._key_settings)

    def _fault(self, error: RuntimeError | MemoryError, prompt: int) -> EngineError:
        if load.out_of_memory(error):
            self._cache.clear()
            if self._sight:
                self._sight.forget()
            if self._device.type == "cuda":
                import torch

                torch.cuda.empty_cache()
            return load.no_memory(self._model, self._device, prompt)
        return EngineError(f"the model failed: {sanitize.error_line(error)}")


def _ids_of(prompt: Sequence[int], scene: Scene | None) -> Sequence[int]:
    """Return the tokens of a prompt as the model knows them, which penalties count."""
    return scene.ids if scene else prompt


def _budget(thinking: bool | int | None) -> int | None:
    return None if thinking is None or isinstance(thinking, bool) else thinking


def _files(folder: Path, adapters: Sequence[Path], *, code: bool) -> tuple[Path, ...]:
    """Return all files that the keys and values of a token come from: `code` is that which the model
    brings."""
    parts = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))
    own = sorted(folder.glob("*.py")) if code else []
    # An adapter's configuration says how strongly it is added.
    added = (
        path / name for path in adapters for name in ("adapter_config.json", "adapter_model.safetensors")
    )
    return folder / "config.json", *parts, *own, *added


def _key_settings(loaded: Any, quant: str, adapters: Sequence[Path], merge: bool | None) -> dict[str, Any]:
    """Return what changes the keys and values of a token beside the weights, and how they are laid out in a
    file."""
    import transformers

    text = loaded.config.get_text_config()
    quantized: Any = getattr(loaded.config, "quantization_config", None)
    return {
        "engine": f"transformers {transformers.__version__}",
        "dtype": str(loaded.dtype),
        "quant": quant,
        "quantization": quantized.to_dict() if hasattr(quantized, "to_dict") else quantized,
        "merged": bool(adapters) and lora.merges(loaded, merge),
        "rope": getattr(text, "rope_parameters", None),
        "window": text.max_position_embeddings if _is_scaled(text) else None,
    }


def _is_scaled(text: Any) -> bool:
    """Return whether the positions of a text configuration are stretched."""
    return (getattr(text, "rope_parameters", None) or {}).get("rope_type", "default") != "default"
