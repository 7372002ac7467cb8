"""The transformers engine: safetensors weights of every Qwen architecture, on CPU, CUDA and MPS."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qwen_cli import sanitize
from qwen_cli.engines.core import guidance, kv_file, rope
from qwen_cli.engines.core.base import (
    Capabilities,
    Completion,
    Sampling,
    ServingLanes,
    Stream,
    recommended,
    seeing,
    without_thinking,
)
from qwen_cli.engines.parsing.chat_template import thinking_capabilities, thinking_of
from qwen_cli.engines.parsing.marks import Marks
from qwen_cli.engines.transformers import adapters as lora_adapters
from qwen_cli.engines.transformers import audio, decode, device_map, load, speculative, vision
from qwen_cli.engines.transformers import device as transformers_device
from qwen_cli.engines.transformers.answer import end_tokens
from qwen_cli.engines.transformers.detokenizer import TokenTable
from qwen_cli.engines.transformers.device_map import Places
from qwen_cli.engines.transformers.prefix_cache import PrefixCache
from qwen_cli.engines.transformers.prompted import Loaded, Prompted
from qwen_cli.engines.transformers.sampler import Sampler
from qwen_cli.engines.transformers.speculative import CPU_COST, GPU_COST, Drafter, Lookup, Steps
from qwen_cli.errors import EngineError, UsageError

if TYPE_CHECKING:
    from qwen_cli.engines.core.draft import Draft
    from qwen_cli.engines.transformers.prefix_cache import ShownPrompt
    from qwen_cli.engines.transformers.prompted import Shown
    from qwen_cli.models.formats.architecture import Architecture
    from qwen_cli.models.hub.resolve import Weights

# For weights that recommend nothing and are in no catalog: Qwen2.5's (the model cards' most common values).
_UNKNOWN = {"temperature": 0.7, "top_p": 0.8, "top_k": 20}
# Tokens that a sample is thought to get where nothing says how many, to count how many fit at once.
_ANSWER = 1_024


class Transformers(Prompted):
    """A model in safetensors, loaded. See `protocol.Engine` for what each method promises.

    `context` is in tokens (`None`: `transformers_load.context`); `dtype`, `quant`, `places`, `attention` and
    `allow_pickle`, `adapters` and `merge` are as in `transformers_load.model`, `rope_scaling` and
    `dca_chunk` as in `rope.extended`; `compiled` makes a graph of decoding; `chat_template`
    replaces the model's own, `draft` is what drafts tokens ahead; `notice` receives one-line remarks. Raises
    `EngineError`, `ModelError`, `UsageError`.
    """

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
        dca_chunk: int | None = None,
    ) -> None:
        shape = rope.extended(weights.architecture, rope_scaling, context, weights.label, dca_chunk)
        if shape.dual_chunk and (rope_scaling == "dca" or (context or 0) > shape.dual_chunk.size):
            _check_chunked(shape, weights.label, attention, compiled=compiled)
        catalogued = weights.model
        defaults = recommended(catalogued.sampling if catalogued else None, shape.sampling, _UNKNOWN)
        tokenizer = load.tokenizer(weights.path, trust_remote_code=trust_remote_code)
        if chat_template:
            tokenizer.chat_template = chat_template
        self._offload = device_map.offload_folder(places)
        # Looked at before they are loaded: what is put in their place meanwhile is taken for something else.
        self._files = kv_file.stamps(_files(weights.path, adapters, code=trust_remote_code))
        model = load.model(
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
        from qwen_cli.engines.transformers import dual_chunk  # torch is here with the model

        window = load.context(weights, shape, model, context)
        if shape.dual_chunk and window > shape.dual_chunk.size:
            _check_chunked(shape, weights.label, attention, compiled=compiled)
            dual_chunk.attach(model, shape.dual_chunk)
        self._key_settings = _key_settings(model, quant, adapters, merge)
        self._kv_bytes = weights.architecture.kv_bytes_per_token(model.dtype.itemsize)
        device = device_map.main_device(model)
        if compiled and device.type == "cpu":
            notice("`compiled` does not pay on a CPU: leave it out")
        vision_encoder: vision.VisionEncoder | None = None
        if shape.vision and vision.has_processor(weights.path):  # without one it is a model for text
            vision_encoder = vision.VisionEncoder(weights.path, model, trust_remote_code=trust_remote_code)
        audio_encoder = audio.AudioEncoder(weights.path, model) if shape.audio else None
        if audio_encoder and not chat_template:  # the tokenizer's own may know of text alone
            tokenizer.chat_template = audio_encoder.chat_template or tokenizer.chat_template
        template = str(tokenizer.chat_template or "")
        added = tokenizer.get_added_vocab()
        self.prefix_cache = PrefixCache(
            model,
            compiled=compiled,
            opens=added.get("<|im_start|>"),
            shown=added.get("<|vision_end|>"),
        )
        self._draft = speculative.chosen(
            draft, self.prefix_cache, model, tokenizer, label=weights.label, dtype=dtype
        )
        self._vocabulary_size = model.get_input_embeddings().weight.shape[0]
        capabilities = Capabilities(
            context=window,
            **thinking_capabilities(thinking_of(template, catalogued.thinking if catalogued else None)),
            tools="tools" in template,
            fim=catalogued.fim if catalogued else shape.fim,
            vision=vision_encoder is not None,
            video=vision_encoder is not None,
            seeing=seeing(shape.model_type),
            audio=audio_encoder is not None,
            audio_seconds=audio_encoder.most_seconds if audio_encoder else None,
            transcribes=shape.model_type == "qwen3_asr",
            render=bool(template),
            state=self.prefix_cache.saves,
            logprobs=True,
            extras=("grammar", "json_schema", "logit_bias"),
            tokens=True,
            constrained=True,
            whole_schemas=guidance.is_here(),
            weights=_numbers(model, quant),
        )
        super().__init__(
            Loaded(
                weights.label,
                model,
                tokenizer,
                Marks(tokenizer.get_added_vocab()),
                TokenTable(tokenizer),
                end_tokens(model.generation_config.eos_token_id, tokenizer),
                device,
                vision_encoder,
                audio_encoder,
                capabilities,
                defaults,
                without_thinking(catalogued, defaults),
            )
        )

    def serving_lanes(self, n: int) -> ServingLanes:
        from qwen_cli.engines.transformers import batching  # a second of imports that only a server needs

        shared = batching.batch(self._loaded, n) if n > 1 else None
        if shared is None:  # an architecture that cannot be batched: one request at a time
            return super().serving_lanes(1)

        def close() -> None:
            shared.close()
            self.close()

        lanes = shared.lanes(n + 1)
        return ServingLanes(lanes[n], lanes[:n], close, room=shared.room)

    def save_state(self, path: Path) -> bool:
        return self.prefix_cache.save(path, self._owner())

    def load_state(self, path: Path) -> bool:
        try:
            return self.prefix_cache.load(path, self._owner(), self._context)
        except EngineError:  # the weights are gone
            return False

    def close(self) -> None:
        if self.network is None:
            return
        device = self.device.type
        self._loaded = self.network = self.prefix_cache = self.vision_encoder = self.audio_encoder = None  # type: ignore[assignment]
        if device == "cuda":
            import torch

            torch.cuda.empty_cache()
        if self._offload:
            self._offload.cleanup()

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
        started = time.perf_counter()
        sampling = self._sampling(text, given)
        prompt, multimodal = self._prompt(text, visuals)
        answer = self._answer(text, prompt, sampling, thinks, budget, tools)
        grammar = self._loaded.grammar(schema, sampling)
        choice = Sampler(sampling, _ids_of(prompt, multimodal), device=self.device, grammar=grammar)
        room = min(sampling.max_tokens or self._context, self._context - len(prompt))
        self.prefix_cache.reading = self.reading
        steps = Steps(self.prefix_cache, self._drafter(multimodal), len(prompt) + room, self._vocabulary_size)
        try:
            yield from decode.one(self.prefix_cache, steps, prompt, multimodal, answer, choice, started)
        except (RuntimeError, MemoryError) as error:
            raise self._fault(error, len(prompt)) from error
        finally:
            if getattr(self.network, "quantization_method", None) and self.device.type == "cpu":
                transformers_device.give_back()

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
        prompt, multimodal = self._prompt(text, visuals)
        rows = self._rows(n, len(prompt), sampling.max_tokens)
        if rows == n:
            answers = [self._answer(text, prompt, sampling, thinks, budget) for _ in range(n)]
            choice = Sampler(sampling, _ids_of(prompt, multimodal), device=self.device, rows=n)
            try:
                return decode.together(self.prefix_cache, prompt, multimodal, answers, choice, started)
            except (RuntimeError, MemoryError) as error:
                fault = self._fault(error, len(prompt))
                if n == 1 or not load.out_of_memory(error):
                    raise fault from error
            # Out here nothing holds any more what was computed: half as many at once.
            rows = n // 2
        first = self._together(text, visuals, rows, sampling, thinks, budget)
        return [*first, *self._together(text, visuals, n - rows, sampling.nth(rows), thinks, budget)]

    def _rows(self, n: int, prompt: int, answer: int | None) -> int:
        """Return how many of `n` samples are decoded at once: each has a copy of the cache, and all may have
        half of the memory that is free."""
        from qwen_cli.engines.transformers.kv_layer import GROWTH  # torch is here with the model

        tokens = min(self._context, prompt + (answer or _ANSWER))
        free = load.free_memory(self.device) // 2
        return max(1, min(n, free // max(1, int(tokens * self._kv_bytes * GROWTH))))

    def _drafter(self, multimodal: ShownPrompt | None) -> Drafter | None:
        """Return what drafts in one answer. A smaller model is not shown pictures."""
        if self._draft == "ngram":
            return Lookup(CPU_COST if self.device.type == "cpu" else GPU_COST)
        return None if multimodal else self._draft

    def _owner(self) -> str:
        return kv_file.owner(self._files, self._key_settings)

    def _fault(self, error: RuntimeError | MemoryError, prompt: int) -> EngineError:
        if load.out_of_memory(error):
            self.prefix_cache.clear()
            for encoder in (self.vision_encoder, self.audio_encoder):
                if encoder:
                    encoder.forget()
            if self.device.type == "cuda":
                import torch

                torch.cuda.empty_cache()
            return load.no_memory(self.network, self.device, prompt)
        return EngineError(f"the model failed: {sanitize.error_line(error)}")


def _ids_of(prompt: Sequence[int], multimodal: ShownPrompt | None) -> Sequence[int]:
    """Return the tokens of a prompt as the model knows them, which penalties count."""
    return multimodal.ids if multimodal else prompt


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


def _numbers(loaded: Any, quant: str) -> str:
    """Return what the weights are held in: how they were quantized, else their type."""
    own: Any = getattr(loaded.config, "quantization_config", None)
    method = own.get("quant_method") if isinstance(own, dict) else getattr(own, "quant_method", None)
    if quant != "none" or not method:
        return quant if quant != "none" else str(loaded.dtype).removeprefix("torch.")
    return str(getattr(method, "value", method))


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
        "merged": bool(adapters) and lora_adapters.merges(loaded, merge),
        "rope": getattr(text, "rope_parameters", None),
        "window": text.max_position_embeddings if _is_scaled(text) else None,
        "dca": _chunks(text),
    }


def _check_chunked(shape: Architecture, label: str, attention: str, *, compiled: bool) -> None:
    """Raise `UsageError` where dual chunk attention does not go with a model, or with how it is loaded."""
    rope.check_chunked(shape.model_type, label)
    given = "compiled" if compiled else None
    if attention not in ("auto", "sdpa"):
        given = f"attention={attention}"
    if given:
        size = shape.dual_chunk.size if shape.dual_chunk else shape.context
        raise UsageError(
            f"`{given}` does not go with dual chunk attention",
            f"leave it out, or use `context={size}` or less",
        )


def _chunks(text: Any) -> dict[str, int] | None:
    """Return by which chunks a text configuration attends, `None` where by none."""
    from qwen_cli.engines.transformers import dual_chunk

    attends = text._attn_implementation == dual_chunk.NAME
    return dict(text.dual_chunk_attention_config) if attends else None


def _is_scaled(text: Any) -> bool:
    """Return whether the positions of a text configuration are stretched."""
    return (getattr(text, "rope_parameters", None) or {}).get("rope_type", "default") != "default"
