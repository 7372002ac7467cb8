"""The KV cache of the last request: what the next one has in common with it is not computed again."""

from __future__ import annotations

import copy
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from qwen_cli.engines.core import kv_file
from qwen_cli.engines.core.prompt import common_length
from qwen_cli.engines.transformers.device_map import main_device

if TYPE_CHECKING:
    import torch

    from qwen_cli.engines.transformers.audio import AudioPrompt
    from qwen_cli.engines.transformers.vision import MultimodalPrompt

ShownPrompt: TypeAlias = "MultimodalPrompt | AudioPrompt"

# Prompt tokens computed at once. Ctrl-C waits for one of these; larger ones are no quicker on a CPU.
CHUNK_CPU, CHUNK_GPU = 512, 2048

# Checkpoints of hybrids that a file takes along: the last turn can be asked again or edited, and goes on from
# there where its answer comes back changed.
_SAVED = 2

_CACHE_NAMES: dict[type, str] = {}


class PrefixCache:
    """Token ids and the keys and values computed for them. `ids` always says what the cache holds.

    `opens` and `shown` are the tokens that begin a message and end a picture (`None`: there is no such
    token): where layers cannot go back, their states are kept at such places.
    """

    def __init__(
        self, model: Any, *, compiled: bool = False, opens: int | None = None, shown: int | None = None
    ) -> None:
        from qwen_cli.engines.transformers import static_cache  # torch is here with the model
        from qwen_cli.engines.transformers.checkpoints import Checkpoints, is_linear

        if compiled:
            static_cache.check(model)
        self.model = model
        self._one: Callable[..., Any] | None = static_cache.call(model) if compiled else None
        self._decoding = False
        self._device = main_device(model)
        self._chunk = CHUNK_CPU if self._device.type == "cpu" else CHUNK_GPU
        self.ids: list[int] = []
        self._cache: Any = None
        self._cache = self._empty()
        # Models that see give every token three positions, and text after a picture goes on elsewhere than
        # at its number in the prompt.
        self._sees = hasattr(model.config, "vision_config")
        self._delta = 0
        self._opens, self._shown = opens, shown
        # Layers that keep a running state (linear attention, sliding windows) cannot go back but to a
        # checkpoint.
        self.croppable = all(self._goes_back(layer) for layer in self._cache.layers)
        self._checkpoints = None if self.croppable else Checkpoints()
        # Whether the cache can be written to a file: sliding windows cannot.
        self.reading: Callable[[int, int, int], None] | None = None  # as `EngineBase.reading`
        self.saves = all(self._goes_back(layer) or is_linear(layer) for layer in self._cache.layers)

    def prefill(
        self, prompt: Sequence[int], multimodal: ShownPrompt | None = None
    ) -> tuple[torch.Tensor, int]:
        """Compute `prompt`: its last logits (1 × vocabulary), and how many tokens were there already.

        `multimodal` is what the prompt shows; `prompt` are its `keys` then.
        """
        common = common_length(self.ids, prompt[:-1])  # the last token is computed for its logits
        if common < len(self.ids):
            self.crop(common)
        cached = len(self.ids)
        self._delta = multimodal.delta if multimodal else 0
        self._experts(decoding=False)
        if self.reading:
            self.reading(cached, cached, len(prompt))
        points = [*self._parting_points(prompt, cached, common), len(prompt)]
        for start, stop in pairwise([cached, *points]):
            self._checkpoint()
            for at in range(start, stop, self._chunk):
                logits = self.step(prompt[at : min(at + self._chunk, stop)], multimodal)
                if self.reading:
                    self.reading(cached, len(self.ids), len(prompt))
        self._experts(decoding=True)
        return logits, cached

    def _parting_points(self, prompt: Sequence[int], start: int, common: int) -> list[int]:
        """Return where checkpoints are made while `prompt` is computed from `start` on; it parted after
        `common` tokens from the one before."""
        if not self._checkpoints:
            return []
        from qwen_cli.engines.transformers.checkpoints import parting_points

        return parting_points(prompt, start, self._opens, self._shown, common)

    def _checkpoint(self) -> None:
        """Keep the states of layers that cannot go back as they are now."""
        if self._checkpoints:
            self._checkpoints.take(len(self.ids), self._cache.layers)

    def step(
        self, tokens: Sequence[int], multimodal: ShownPrompt | None = None, *, rows: int = 1
    ) -> torch.Tensor:
        """Compute `tokens`, which follow what is cached: the logits of the last `rows` of them
        (rows × vocabulary, float32)."""
        import torch

        start = len(self.ids)
        if self._one:
            from qwen_cli.engines.transformers.static_cache import widen

            widen(self._cache, start + len(tokens))
        try:
            if multimodal:
                logits = _see(self.model, multimodal.inputs(start, start + len(tokens)), self._cache)
            else:
                at = start + self._delta if self._sees else None
                one = self._one if len(tokens) == 1 else None
                logits = _forward(self.model, torch.tensor([tokens]), self._cache, at, rows, one)[0]
            self.ids += tokens
        except BaseException:  # Ctrl-C may come between two layers
            self.crop(start)
            raise
        if self._checkpoints and self._checkpoints.is_due(len(self.ids)):
            self._checkpoint()
        return logits

    def branch(self, rows: int) -> Branch:
        """Copy the cache for `rows` samples that go on from here together."""
        import torch

        with torch.inference_mode():
            if self._one:
                from qwen_cli.engines.transformers.static_cache import growing

                cache = growing(self._cache, self.model.config, len(self.ids))
            else:
                cache = copy.deepcopy(self._cache)
            _take_rows(cache, [0] * rows)
        return Branch(self.model, cache, len(self.ids) + self._delta if self._sees else None)

    def save(self, path: Path, owner: str) -> bool:
        """Write ids, keys and values to a safetensors file that belongs to `owner`. False if it cannot.

        Raises `EngineError` where there is no room for it.
        """
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        if not self.ids or not self.saves:
            return False
        import torch

        from qwen_cli.engines.transformers import checkpoints

        tensors = {"ids": torch.tensor(self.ids)}
        for i, layer in enumerate(self._cache.layers):
            if not self._goes_back(layer):
                tensors |= {
                    f"{i}.{name}": state.to("cpu") for name, state in checkpoints.tensors(layer).items()
                }
                continue
            # Cloned: the tensors are windows into larger buffers, which safetensors refuses.
            for name, whole in (("keys", layer.keys), ("values", layer.values)):
                window = whole[..., : len(self.ids), :].to("cpu")
                tensors[f"{i}.{name}"] = window.clone(memory_format=torch.contiguous_format)
        kept = self._checkpoints.kept[-_SAVED:] if self._checkpoints else []
        for one in kept:
            for i, layer in one.layers.items():
                found = checkpoints.tensors(layer).items()
                tensors |= {f"{one.length}/{i}.{name}": state for name, state in found}
        sums = {name: _checksum(tensor) for name, tensor in tensors.items()}
        with kv_file.written(path) as half:
            try:
                lengths = json.dumps([one.length for one in kept])
                metadata = {"owner": owner, "crc32": json.dumps(sums), "checkpoints": lengths}
                save_file(tensors, half, metadata | {"sealed": _seal(metadata)})
            except SafetensorError as error:
                raise kv_file.no_room(path, str(error)) from error
        return True

    def load(self, path: Path, owner: str, limit: int) -> bool:
        """Take the cache from `path` if it is whole, of `owner` and shorter than `limit` tokens."""
        import torch
        from safetensors import SafetensorError, safe_open

        if not self.saves or not path.is_file():
            return False
        from qwen_cli.engines.transformers.checkpoints import Checkpoint, rebuilt

        try:
            with safe_open(path, "pt") as file, torch.inference_mode():
                metadata = file.metadata() or {}
                if metadata.pop("sealed", None) != _seal(metadata) or metadata["owner"] != owner:
                    return False
                sums = json.loads(metadata["crc32"])

                def checked(name: str) -> torch.Tensor:
                    tensor = file.get_tensor(name)
                    if _checksum(tensor) != sums[name]:
                        raise ValueError(f"{name} is damaged")
                    return tensor

                ids = checked("ids").tolist()
                if not 0 < len(ids) < limit:
                    return False
                cache = self._empty(len(ids))

                def state(prefix: str, like: Any, device: Any) -> Any:
                    names = (name for name in sums if name.startswith(prefix))
                    return rebuilt(like, {n.removeprefix(prefix): checked(n).to(device) for n in names})

                running = [i for i, layer in enumerate(cache.layers) if not self._goes_back(layer)]
                kept = [
                    Checkpoint(length, {i: state(f"{length}/{i}.", cache.layers[i], "cpu") for i in running})
                    for length in _lengths(metadata["checkpoints"], len(ids))
                ]
                for i, device in enumerate(_layer_devices(self.model, len(cache.layers))):
                    if i in running:
                        cache.layers[i] = state(f"{i}.", cache.layers[i], device)
                        continue
                    keys, values = checked(f"{i}.keys"), checked(f"{i}.values")
                    cache.update(keys.to(device), values.to(device), i)
        except (OSError, SafetensorError, RuntimeError, ValueError, KeyError, TypeError):
            if self._one:  # the cache that was begun on is the one there is
                self.clear()
            return False
        self.ids, self._cache = ids, cache
        if self._checkpoints:
            self._checkpoints.kept = kept
        return True

    @property
    def layers(self) -> Sequence[Any]:
        """Return transformers' own record of each layer, with its `keys` and `values`."""
        return list(self._cache.layers)

    def clear(self) -> None:
        """Forget everything."""
        self.ids = []
        self._cache = self._empty()
        if self._checkpoints:
            self._checkpoints.clear()

    def _empty(self, tokens: int = 0) -> Any:
        from qwen_cli.engines.transformers import kv_layer, static_cache

        if not self._one:
            return kv_layer.new_cache(self.model.config)
        if self._cache is None:
            return static_cache.static_cache(self.model.config, tokens)
        self.ids = []
        return static_cache.emptied(self._cache, tokens)

    def crop(self, length: int) -> None:
        """Keep the first `length` tokens, in every layer, or those up to the last checkpoint where layers
        cannot go back."""
        try:
            self._crop(length)
        except BaseException:  # Ctrl-C may come when some layers are cut
            self.clear()
            raise

    def _crop(self, length: int) -> None:
        if self._checkpoints:
            devices = _layer_devices(self.model, len(self._cache.layers))
            length = self._checkpoints.restore(length, self._cache.layers, devices)
        if length == 0:
            self.clear()
            return
        import torch

        with torch.inference_mode():  # where the layers were made
            for layer in self._cache.layers:
                if not self._goes_back(layer):
                    continue  # restored
                if (excess := int(layer.get_seq_length()) - length) > 0:
                    layer.crop(-excess)
        del self.ids[length:]

    def _goes_back(self, layer: Any) -> bool:
        """Return whether a layer can forget its last tokens."""
        from qwen_cli.engines.transformers.checkpoints import goes_back

        return self._one is not None or goes_back(layer)

    def _experts(self, *, decoding: bool) -> None:
        """Choose how mixtures of experts are computed on accelerators: `generate` computes them another way
        for one token than for many, as this does. CPUs have one best way."""
        if self._device.type == "cpu" or decoding == self._decoding:
            return
        with suppress(AttributeError, ValueError):  # releases and models without the choice
            old, new = ("grouped_mm", "batched_mm") if decoding else ("batched_mm", "grouped_mm")
            chosen = self.model.get_experts_implementation()
            if old in chosen.values():
                self.model.set_experts_implementation({k: new if v == old else v for k, v in chosen.items()})
        self._decoding = decoding


class Branch:
    """The cache of several samples of one prompt. `at` is the position of the next token, where the model
    does not know by itself."""

    def __init__(self, model: Any, cache: Any, at: int | None) -> None:
        self.model, self._cache, self._at = model, cache, at

    def step(self, tokens: Sequence[int]) -> torch.Tensor:
        """Compute one token for each row; the logits after them (rows × vocabulary, float32)."""
        import torch

        logits = _forward(self.model, torch.tensor(tokens)[:, None], self._cache, self._at)[:, -1]
        self._at = None if self._at is None else self._at + 1
        return logits

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows alone."""
        import torch

        with torch.inference_mode():
            _take_rows(self._cache, rows)


def _take_rows(cache: Any, rows: Sequence[int]) -> None:
    """Make the batch of `cache` its present `rows`, in this order; a row may come several times."""
    import torch

    index = torch.tensor(rows)
    for layer in cache.layers:
        if hasattr(layer, "batch_select_indices"):
            layer.batch_select_indices(index)
        else:  # the states of linear attention
            layer.reorder_cache(index)


def _forward(
    model: Any,
    tokens: torch.Tensor,
    cache: Any,
    at: int | None = None,
    keep: int = 1,
    call: Callable[..., Any] | None = None,
) -> torch.Tensor:
    """Compute `tokens` (rows × tokens): the logits of the last `keep` of each row (rows × keep × vocabulary).
    `at` is the position of the first, where the model must be told; `call` computes in the model's place."""
    import torch

    from qwen_cli.engines.transformers import cpu_decode

    given: dict[str, Any] = {}
    if at is not None:
        positions = torch.arange(at, at + tokens.shape[1], device=main_device(model))
        given["position_ids"] = positions.expand(3, *tokens.shape)
    with torch.inference_mode():
        given |= {_cache_name(model): cache, "use_cache": True, "logits_to_keep": keep}
        tokens = tokens.to(main_device(model))
        with cpu_decode.products(model, tokens):
            output = (call or model)(input_ids=tokens, **given)
        return _scores(model, output.logits[:, -keep:])


def _see(model: Any, inputs: Mapping[str, Any], cache: Any) -> torch.Tensor:
    """Compute a part of a prompt whose pictures are embedded already."""
    import torch

    with torch.inference_mode():
        language = model.model.language_model
        states = language(**inputs, **{_cache_name(language): cache}, use_cache=True)[0]
        return _scores(model, model.lm_head(states[:, -1]))


def _scores(model: Any, logits: torch.Tensor) -> torch.Tensor:
    """Return a copy in float32, as `generate` makes one: the choice of the token may write into it. It is
    where tokens are chosen: of a model on two GPUs the output layer may be on the other."""
    import torch

    return logits.to(device=main_device(model), dtype=torch.float32, copy=True)


def _cache_name(model: Any) -> str:
    """Return what this release of the library calls the cache: from 5.24 on `cache`, with a warning for the
    old."""
    import inspect

    kind = type(model)
    if kind not in _CACHE_NAMES:
        names = inspect.signature(kind.forward).parameters
        _CACHE_NAMES[kind] = "cache" if "cache" in names else "past_key_values"
    return _CACHE_NAMES[kind]


def _lengths(text: str, longest: int) -> list[int]:
    """Return the lengths of saved checkpoints, which grow to `longest` at most. Raises `ValueError`,
    `TypeError`."""
    lengths = [int(length) for length in json.loads(text)]
    if lengths != sorted(set(lengths)) or not all(0 < length <= longest for length in lengths):
        raise ValueError(f"checkpoints at {lengths}")
    return lengths


def _seal(metadata: Mapping[str, str]) -> str:
    """Return the CRC-32 of what is written beside the tensors."""
    return f"{zlib.crc32(json.dumps(metadata, sort_keys=True).encode()):08x}"


def _checksum(tensor: torch.Tensor) -> int:
    """Return the CRC-32 of what a tensor (contiguous, in memory) is and holds."""
    import torch

    kind = zlib.crc32(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
    return zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy(), kind)


def _layer_devices(model: Any, layers: int) -> list[Any]:
    """Return where each layer computes, with the model on one device or spread over several: what is kept in
    memory or on the disk is moved to the main one."""
    places = getattr(model, "hf_device_map", None) or {}
    layer_devices: list[Any] = [main_device(model)] * layers
    for name, device in places.items():
        number = name.rpartition("layers.")[2]
        if device not in ("cpu", "disk") and number.isdigit() and int(number) < layers:
            layer_devices[int(number)] = device
    return layer_devices
