"""Start llama.cpp inside the process: which parameters, and why a load failed.

Numbers here are of the starter model; `benchmarks/load_settings.py` measures what each setting takes.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qwen_cli.engines.core import rope as core_rope
from qwen_cli.engines.core.draft import CONFIDENCE, MTP_TOKENS
from qwen_cli.errors import EngineError, UsageError
from qwen_cli.models.formats import kv_types
from qwen_cli.models.formats import parameters as formats_parameters
from qwen_cli.models.planning import hardware

if TYPE_CHECKING:
    from qwen_cli.engines.core.draft import Draft
    from qwen_cli.models.formats.architecture import Architecture
    from qwen_cli.models.hub.resolve import Weights

# llama.cpp allocates and clears the whole KV cache at load: 8,192 / 16,384 / 32,768 tokens of the starter
# cost 96 / 192 / 384 MB, and the last 0.2 s before the first token. 16,384 holds a long conversation.
DEFAULT_CONTEXT = 16_384
_MIN_CONTEXT = 4_096
_CONTEXT_STEP = 256  # llama.cpp rounds up to this (llama_context)
# A KV cache below this is not worth asking the system how much memory is free.
_SMALL_CACHE = 512 * 2**20

# Prompt tokens computed between two looks at the cancel flag. Prefill on a CPU is as fast in batches of 128
# as of 512 (82 against 80 tok/s) and Ctrl-C is four times as quick; a GPU needs the larger ones.
_BATCH_CPU = 128
_BATCH_GPU = 512

# Bytes of running states (hybrids) for samples decoded together. Each has a state of its own and copies of
# its prompt's checkpoints, of which llama.cpp makes three.
_SAMPLE_BYTES = 2 * 2**30
_SAMPLE_STATES = 4

_DRAFTED = 8  # tokens that a draft model guesses at a time
# Tokens in a row that must have come before for the text to guess, and as many as it guesses then.
_ALIKE, _COPIED = 12, 16


def kv_type(
    weights: Weights, shape: Architecture, wanted: int | None, kv: str | None, *, drafting: bool = False
) -> str:
    """Return what keys and values are kept as: `kv`, or f16 where that holds `wanted` tokens of context in
    memory, else the first that does.

    Raises `UsageError` for a `kv` that the model's heads are too small for.
    """
    if kv is not None:
        kv_types.check_heads(kv, shape.head_dim, weights.label)
        return kv
    if wanted and wanted * _kept(shape, kv_types.USUAL, drafting=drafting) > _SMALL_CACHE:
        free = _free_beside(shape)
        for one in (kv_types.USUAL, *kv_types.quantized(shape.head_dim)):
            if wanted * _kept(shape, one, drafting=drafting) <= free:
                return one
    return kv_types.USUAL


def _kept(shape: Architecture, kv: str, *, drafting: bool) -> int:
    """Return the bytes that a token takes in the KV cache; the layers that draft keep theirs as f16."""
    drafts = shape.kv_bytes_per_token(drafting=drafting) - shape.kv_bytes_per_token()
    return shape.kv_bytes_per_token(kv_types.BYTES[kv]) + drafts


def _free_beside(shape: Architecture) -> int:
    """Return the bytes of memory that are free when the weights are loaded."""
    return hardware.free_memory() - (shape.size or 0)


def context_size(
    weights: Weights,
    shape: Architecture,
    wanted: int | None,
    kv: str = kv_types.USUAL,
    *,
    drafting: bool = False,
) -> int:
    """Return the tokens of context to allocate: `wanted`, or the model's own window up to `DEFAULT_CONTEXT`,
    halved until the KV cache, kept as `kv`, takes at most half of the memory that the weights leave free.
    With `drafting` the layers that draft keep all tokens, too.

    Raises `UsageError` where `wanted` is more than the model or the memory holds.
    """
    trained = shape.context or DEFAULT_CONTEXT
    window = wanted or min(trained, DEFAULT_CONTEXT)
    if window > trained:
        raise UsageError(
            f"{weights.label} was trained for {trained:,} tokens of context, {window:,} were asked for",
            core_rope.hint(trained, window),
        )
    per_token = _kept(shape, kv, drafting=drafting)
    if window * per_token > _SMALL_CACHE:
        free = _free_beside(shape)
        if wanted and window * per_token > free:
            most = max(_CONTEXT_STEP, free // per_token // _CONTEXT_STEP * _CONTEXT_STEP)
            raise UsageError(
                f"a context of {window:,} tokens takes {window * per_token / 2**30:.1f} GiB, "
                f"{max(free, 0) / 2**30:.1f} GiB are free beside the weights",
                f"use `context={most}` or less",
            )
        while not wanted and window > _MIN_CONTEXT and window * per_token > free // 2:
            window //= 2
    return -(-window // _CONTEXT_STEP) * _CONTEXT_STEP


def parameters(
    weights: Weights,
    *,
    context: int,
    adapters: Sequence[Path],
    threads: int | None,
    parallel: int,
    slots: Path,
    key: str,
    chat_template: str | None = None,
    draft: Draft = "auto",
    rope: Mapping[str, Any] | None = None,
    kv: str = kv_types.USUAL,
    n_cpu_moe: int | None = None,
    gpu: bool | None = None,
) -> Any:
    """Return the `xllamacpp.CommonParams` of a server that listens on loopback, asks for `key`, and prints
    nothing. `gpu` says whether it computes on one (`None`: what the library says).

    `slots` is the folder that KV states are written to and read from, `rope` what positions are scaled by:
    nothing where it is empty, `None` what the file says. `kv` and `n_cpu_moe` are as in `LoadOptions`.
    Raises `UsageError` for adapters that are none, and where no GPU has the layers whose experts are moved.
    """
    import xllamacpp  # 50 ms: a 100 MB extension module

    params = xllamacpp.CommonParams()
    params.model.path = str(weights.path)
    params.verbosity = -1
    params.n_ctx = context
    params.ctx_shift = False
    # One slot serves the conversation; the others are there for `sample` and share one KV pool with it, so
    # they cost 5 MB and no speed.
    params.n_parallel = parallel
    params.kv_unified = True
    # Prompts that left a slot are not kept in RAM (the default may take 8 GB).
    params.cache_ram_mib = 0
    params.use_jinja = True
    params.ui = False
    params.endpoint_slots = False
    params.endpoint_metrics = True  # `handle_metrics` says nothing without
    params.api_keys = [key]
    params.n_threads_http = 2
    params.slot_save_path = f"{slots}{os.sep}"
    # The running states of hybrids as they were at the ends of turns. llama.cpp's own 32 are 5 GB of a 27B.
    if state := weights.architecture.running_state:
        params.n_ctx_checkpoints = formats_parameters.checkpoints(state)
    # A run on random tokens before the first request: it takes as long as the first real batch then gains.
    params.warmup = False

    if gpu is None:
        gpu = any(
            device["type"] != xllamacpp.ggml_backend_dev_type.GGML_BACKEND_DEVICE_TYPE_CPU
            for device in xllamacpp.get_device_info()
        )
    # Fitting reads the vocabulary and plans the graph a second time: 0.6 s. On a CPU the context is
    # already chosen to fit; with a GPU the number of layers it takes is worth that second.
    params.fit_params = gpu
    # Images are encoded in one batch; the small ones would cut them up.
    batch = _BATCH_GPU if gpu or weights.mmproj else _BATCH_CPU
    params.n_batch = params.n_ubatch = batch
    if threads is None:
        threads = _allowed_cores()
    if threads is not None:
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    if weights.mmproj:
        params.mmproj.path = str(weights.mmproj)
    if chat_template is not None:
        params.chat_template = chat_template
    if draft == "auto":
        draft = _usual_draft(weights)
    if draft is not None:
        _speculate(xllamacpp, params, draft)
    _keep_as(xllamacpp, params, kv)
    if n_cpu_moe:
        _keep_experts(params, weights, n_cpu_moe, gpu=gpu)
    if rope is not None:
        _scale(xllamacpp, params, rope)
    if adapters:
        params.lora_adapters = [_adapter(xllamacpp, path) for path in adapters]
    return params


def start(params: Any, weights: Weights) -> Any:
    """Start a `xllamacpp.Server` with `params`, those of `weights`.

    Raises `EngineError` with llama.cpp's own reason.
    """
    import xllamacpp

    with _signals_held() as noted:
        try:
            server = xllamacpp.Server(params)
        except (RuntimeError, ValueError, MemoryError) as error:
            adapters = [Path(one.path) for one in params.lora_adapters]
            reason = _reason(weights.path, params, adapters) or str(error)
            raise EngineError(f"llama.cpp cannot load {weights.label}: {reason}", _hint(reason)) from error
    try:
        for number in noted:
            if callable(handler := signal.getsignal(number)):
                handler(number, None)
    except BaseException:
        abandon(server)
        raise
    return server


def samples_together(state: int, parallel: int) -> int:
    """Return how many of `parallel` samples are decoded together where each keeps running states of so many
    bytes."""
    return max(1, min(parallel, _SAMPLE_BYTES // (_SAMPLE_STATES * state))) if state else parallel


def drafted(params: Any) -> int:
    """Return the maximum of tokens that are drafted in a step."""
    import xllamacpp

    kinds, guesses = xllamacpp.common_speculative_type, params.speculative
    most = {
        kinds.COMMON_SPECULATIVE_TYPE_NGRAM_SIMPLE: guesses.ngram_simple.size_m,
        kinds.COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE: guesses.draft.n_max,
        kinds.COMMON_SPECULATIVE_TYPE_DRAFT_MTP: guesses.draft.n_max,
    }
    return max((int(most.get(kind, 0)) for kind in guesses.types), default=0)


# Of the parameters, those that the content and the layout of a KV cache depend on.
_KEY_PARAMETERS = (
    "rope_scaling_type",
    "rope_freq_base",
    "rope_freq_scale",
    "yarn_orig_ctx",
    "yarn_ext_factor",
    "yarn_attn_factor",
    "yarn_beta_fast",
    "yarn_beta_slow",
    "cache_type_k",
    "cache_type_v",
    "flash_attn_type",
    "swa_full",
    "grp_attn_n",
    "grp_attn_w",
)


def key_settings(params: Any, engine: str | None = None) -> dict[str, Any]:
    """Return what changes the keys and values of a token beside the weights, and how they are laid out in a
    file. `engine` is the name and version of who computes (`None`: this library)."""
    import xllamacpp

    return {
        "engine": engine or f"llamacpp {xllamacpp.__version__}",
        "adapter_scales": [adapter.scale for adapter in params.lora_adapters],
        # How far positions are stretched follows from the context where that is asked for; else it is room.
        "context": params.n_ctx if params.yarn_orig_ctx else None,
        **{name: getattr(params, name) for name in _KEY_PARAMETERS},
    }


# What ends programs; Windows has no SIGHUP.
_ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def abandon(server: Any) -> None:
    """Keep the destructor of `server` from ever running: it waits for ever for a thread that has not begun
    its loop (the server has just been made), or that waits for the interpreter's lock, which the destructor
    holds."""
    import ctypes  # only here: as good as never

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(server))


@contextmanager
def _signals_held() -> Iterator[list[int]]:
    """Hold Ctrl-C and what ends a program back until the load is done: raised right after the load it would
    destroy a server that is still starting. One that only ends the program (its handler says so:
    `ends_program`) ends it at once: llama.cpp keeps the interpreter's lock, and no handler would run before
    the load is done."""
    noted: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield noted
        return
    before = {number: signal.getsignal(number) for number in _ENDING}
    handlers = {number: handler for number, handler in before.items() if callable(handler)}
    for number, handler in handlers.items():
        ends = getattr(handler, "ends_program", False)
        signal.signal(number, signal.SIG_DFL if ends else lambda number, frame: noted.append(number))
    try:
        yield noted
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _usual_draft(weights: Weights) -> Draft:
    """Return what drafts where nobody said: the model's own block, which drafts behind pictures too; else the
    text, which does not go together with pictures in llama.cpp."""
    if weights.architecture.draft_layers:
        return "mtp"
    return None if weights.mmproj else "ngram"


def _speculate(xllamacpp: Any, params: Any, draft: Draft) -> None:
    """Set up speculative decoding: drafts are checked all at once, so the greedy answer stays what it would
    have been. Checking costs a third of decoding on a CPU: only where twelve tokens in a row have come before
    it pays, and loses nothing where names differ in every line. The library's other kinds keep a memory
    beside the text; NGRAM_MAP_K4V was seen to guess nothing more once a slot has had another prompt."""
    kinds = xllamacpp.common_speculative_type
    if draft == "mtp":
        params.speculative.types = [kinds.COMMON_SPECULATIVE_TYPE_DRAFT_MTP]
        params.speculative.draft.n_max = MTP_TOKENS
        return
    if draft == "ngram":
        params.speculative.types = [kinds.COMMON_SPECULATIVE_TYPE_NGRAM_SIMPLE]
        params.speculative.ngram_simple.size_n = _ALIKE
        params.speculative.ngram_simple.size_m = _COPIED
        return
    assert draft is not None and draft != "auto"
    params.speculative.types = [kinds.COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE]
    guesser = params.speculative.draft
    guesser.mparams.path = str(draft.path)
    guesser.n_max, guesser.p_min = _DRAFTED, CONFIDENCE
    for own, common in (
        (guesser.cpuparams, params.cpuparams),
        (guesser.cpuparams_batch, params.cpuparams_batch),
    ):
        own.n_threads = common.n_threads


def _keep_as(xllamacpp: Any, params: Any, kv: str) -> None:
    """Set what keys and values are kept as. llama.cpp computes with quantized values in its flash attention
    alone, which it otherwise takes or leaves by the device."""
    if kv == kv_types.USUAL:
        return
    kind = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{kv.upper()}")
    params.cache_type_k = params.cache_type_v = kind
    if kv in kv_types.QUANTIZED:
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED


# The tensors of the experts of a layer (llama.cpp, common/common.h: `LLM_FFN_EXPS_REGEX`).
_EXPERTS = r"\.ffn_(up|down|gate|gate_up)_(ch|)exps"


def _keep_experts(params: Any, weights: Weights, layers: int, *, gpu: bool) -> None:
    """Keep the experts of the first `layers` layers in main memory, all else on the GPU. llama.cpp, when
    nothing is said, measures how many of them the GPU has no room for."""
    shape = weights.architecture
    if not shape.experts:
        raise UsageError(f"`n_cpu_moe={layers}` is for models with experts, {weights.label} has none",
                         "leave it out")  # fmt: skip
    if not gpu:
        raise UsageError(
            f"`n_cpu_moe={layers}` moves experts off a GPU, and llama.cpp sees none here",
            "leave it out: all weights are in main memory",
        )
    params.tensor_buft_overrides = ",".join(
        rf"blk\.{layer}{_EXPERTS}=CPU" for layer in range(min(layers, shape.layers + shape.draft_layers))
    )


def _scale(xllamacpp: Any, params: Any, rope: Mapping[str, Any]) -> None:
    """Set YaRN: llama.cpp takes the inverse of the factor, and stretches the trained window by it."""
    kinds = xllamacpp.llama_rope_scaling_type
    if not rope:  # else the file's own scaling would be taken
        params.rope_scaling_type = kinds.LLAMA_ROPE_SCALING_TYPE_NONE
        return
    params.rope_scaling_type = kinds.LLAMA_ROPE_SCALING_TYPE_YARN
    params.rope_freq_scale = 1 / rope["factor"]
    params.yarn_orig_ctx = rope["original_max_position_embeddings"]


def new_key() -> str:
    """Return a new key for the listener, which every user of the machine can reach; only this process knows
    it."""
    return secrets.token_urlsafe(32)


def _allowed_cores() -> int | None:
    """Return the cores this process may use, where that is fewer than there are: llama.cpp counts all of
    them."""
    allowed = hardware.usable_cores()
    return allowed if allowed < (os.cpu_count() or 1) else None


def _adapter(xllamacpp: Any, path: Path) -> Any:
    if not path.is_file():
        raise UsageError(f"no adapter at {path}", "give a GGUF LoRA file, or the folder that peft wrote")
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise UsageError(
                f"{path} is not a GGUF adapter",
                "give a GGUF LoRA file, or the folder that peft's save_pretrained wrote",
            )
    return xllamacpp.CommonAdapterLoraInfo(path=str(path), scale=1.0)


_PROBE = """
import sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.n_ctx = sys.argv[1], int(sys.argv[2])
params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type(int(sys.argv[3]))
params.flash_attn_type = xllamacpp.llama_flash_attn_type(int(sys.argv[4]))
params.fit_params = params.warmup = params.ui = False
params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(path=p, scale=1.0) for p in sys.argv[5:]]
params.verbosity = 1
xllamacpp.Server(params)
"""


def _reason(path: Path, params: Any, adapters: Sequence[Path]) -> str | None:
    """Return why the load fails, from llama.cpp's log.

    The log goes to the file descriptors of the process, which belong to the terminal; so the failed load is
    repeated in a process of its own, with the log on. Failures show before weights are read.
    """
    numbers = (params.n_ctx, int(params.cache_type_k), int(params.flash_attn_type))
    command = [sys.executable, "-c", _PROBE, str(path), *map(str, (*numbers, *adapters))]
    try:
        probe = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=60)
    except (subprocess.TimeoutExpired, OSError):
        return None
    lines = [line for line in (probe.stdout + probe.stderr).splitlines() if " E " in line]
    for mark in ("error loading model:", "failed to", "error:", ""):
        for line in lines:
            if mark in line:
                return line.split(mark if mark == "error loading model:" else " E ", 1)[1].strip()
    return None


def _hint(reason: str) -> str:
    if "unknown model architecture" in reason:
        return "update xllamacpp, or use `engine=transformers` with the safetensors weights"
    if "alloc" in reason or "memory" in reason:
        return "choose a smaller model or quantization, or a smaller `context`"
    return "fetch the file again: `qwen models pull` checks what it has"
