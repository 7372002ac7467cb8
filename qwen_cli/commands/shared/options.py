"""Flags that several verbs share, and what becomes of them: flag, else environment, else settings file."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from qwen_cli import reading
from qwen_cli import settings as user_settings
from qwen_cli.commands.shared import complete
from qwen_cli.engines.core.base import Sampling
from qwen_cli.errors import UsageError

LOADING = "Model and loading"
SAMPLING = "Sampling"


def _loading(*names: str, **given: Any) -> Any:
    """Declare an option that says which model is loaded and how."""
    return typer.Option(*names, rich_help_panel=LOADING, **given)


def _sampling(*names: str, **given: Any) -> Any:
    """Declare an option that says how tokens are sampled."""
    return typer.Option(*names, rich_help_panel=SAMPLING, **given)


Model = Annotated[
    str | None,
    _loading(
        "--model",
        "-m",
        help="Model alias (qwen3:8b), hub id, folder or .gguf file; one that fits this machine if not given.",
        autocompletion=complete.models,
    ),
]
Engine = Annotated[
    str | None,
    _loading(
        "--engine",
        help="Engine that runs the model: auto, llamacpp, llama-server (your own build of llama.cpp, from "
        "PATH or QWEN_LLAMA_SERVER), transformers or remote.",
        autocompletion=complete.engines,
    ),
]
Endpoint = Annotated[
    str | None,
    _loading(
        "--endpoint",
        help="OpenAI-compatible server that runs the model: its address (key from QWEN_API_KEY), or a name "
        "from `qwen config endpoint`.",
        autocompletion=complete.endpoints,
    ),
]
Context = Annotated[int | None, _loading("--context", help="Size of the context window in tokens.")]
Adapters = Annotated[list[Path] | None, _loading("--adapter", help="LoRA adapter to apply (repeatable).")]
Merge = Annotated[
    bool | None,
    _loading(
        "--merge/--no-merge", help="Add the adapters into the model's weights, or compute them separately."
    ),
]
Draft = Annotated[
    str,
    _loading(
        "--draft",
        help="Speculative decoding: auto, off, mtp (the model's own draft layer), ngram (repetitions of the "
        "text), or a draft model (alias, hub id, folder or file).",
        autocompletion=complete.drafts,
    ),
]
RopeScaling = Annotated[
    str | None,
    _loading(
        "--rope-scaling",
        help="Allow a --context beyond the length the model was trained on. yarn: stretch positions, on any "
        "local engine; dca: dual chunk attention (transformers); none: do not.",
        autocompletion=complete.among("yarn", "dca", "none"),
    ),
]
DcaChunk = Annotated[
    int | None,
    _loading(
        "--dca-chunk",
        help="Chunk size of dual chunk attention in tokens; that of the model's files, or the length the "
        "model was trained on, if not given.",
    ),
]
KvType = Annotated[
    str | None,
    _loading(
        "--kv",
        help="Number format of the KV cache: f16, bf16, q8_0 (half of f16's memory) or q4_0 (a quarter, less "
        "exact); f16 if not given, or what makes the context fit (llamacpp).",
        autocompletion=complete.among("f16", "bf16", "q8_0", "q4_0"),
    ),
]
NCpuMoe = Annotated[
    int | None,
    _loading(
        "--n-cpu-moe",
        help="Keep the experts of the first N layers in main memory and all else on the GPU; as many as "
        "necessary if not given (llamacpp).",
    ),
]
Quant = Annotated[
    str | None,
    _loading(
        "--quant",
        help="Quantization of the weights: none, 8bit or 4bit (transformers), or a GGUF file type (q4_k_m, "
        "q8_0).",
        autocompletion=complete.among("none", "8bit", "4bit", *complete.FILE_TYPES),
    ),
]
Dtype = Annotated[
    str,
    _loading(
        "--dtype",
        help="Number format to compute in: auto, bf16, fp16 or fp32 (transformers).",
        autocompletion=complete.among("auto", "bf16", "fp16", "fp32"),
    ),
]
DeviceMap = Annotated[
    str | None,
    _loading(
        "--device-map",
        help="Which device holds which layers: auto, balanced, balanced_low_0, sequential, cpu, cuda:N, mps "
        "or a .json file (transformers).",
        autocompletion=complete.among(
            "auto", "balanced", "balanced_low_0", "sequential", "cpu", "cuda:0", "mps"
        ),
    ),
]
MaxMemory = Annotated[
    str | None,
    _loading(
        "--max-memory",
        help="Maximum memory for weights on each device, such as 0=10GiB,cpu=20GiB; the rest stays on disk "
        "(transformers).",
    ),
]
OffloadDir = Annotated[
    Path | None,
    _loading(
        "--offload-dir", help="Folder for weights that stay on disk; one in the cache folder if not given."
    ),
]
Attention = Annotated[
    str,
    _loading(
        "--attention",
        help="Attention kernel: auto, eager, sdpa, flash_attention_2 or flash_attention_3 (transformers).",
        autocompletion=complete.among("auto", "eager", "sdpa", "flash_attention_2", "flash_attention_3"),
    ),
]
Compiled = Annotated[
    bool,
    _loading(
        "--compile", help="Compile decoding (transformers): takes minutes at first, then is faster on a GPU."
    ),
]
TrustRemoteCode = Annotated[
    bool, _loading("--trust-remote-code", help="Allow Python code that comes with the weights to run.")
]
AllowPickle = Annotated[
    bool, _loading("--allow-pickle", help="Allow weights in pickle files, which can run code when loaded.")
]
Temperature = Annotated[
    float | None,
    _sampling("--temperature", "-t", help="Randomness of the answer; 0 always takes the likeliest token."),
]
TopP = Annotated[
    float | None,
    _sampling(
        "--top-p", help="Sample among the likeliest tokens that together have this probability (0 to 1)."
    ),
]
TopK = Annotated[int | None, _sampling("--top-k", help="Sample among this many likeliest tokens; 0 is all.")]
MinP = Annotated[
    float | None,
    _sampling("--min-p", help="Drop tokens less likely than this share of the likeliest one (0 to 1)."),
]
RepetitionPenalty = Annotated[
    float | None,
    _sampling("--repetition-penalty", help="Above 1: make tokens that occurred before less likely."),
]
PresencePenalty = Annotated[
    float | None,
    _sampling("--presence-penalty", help="Lower the score of each token that occurred before by this."),
]
FrequencyPenalty = Annotated[
    float | None,
    _sampling("--frequency-penalty", help="Lower a token's score by this for each time it occurred."),
]
Seed = Annotated[
    int | None, _sampling("--seed", help="Seed of the randomness: the same seed gives the same answer.")
]


def max_tokens(help_text: str) -> Any:
    """Declare --max-tokens, for a command that has another limit than none where it is not given."""
    return _sampling("--max-tokens", help=help_text)


MaxTokens = Annotated[
    int | None, max_tokens("Maximum length of the answer in tokens; no limit if not given.")
]
Stop = Annotated[
    list[str] | None,
    _sampling("--stop", help="End the answer before this text (repeatable)."),
]
AllowLocalUrls = Annotated[
    bool,
    typer.Option(
        "--allow-local-urls", help="Allow images and videos to be fetched from private network addresses."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the same as JSON.")]
NoLog = Annotated[
    bool, typer.Option("--no-log", help="Keep this question out of `qwen log`.", rich_help_panel="Output")
]
Think = Annotated[
    bool | None, typer.Option("--think/--no-think", help="Let the model think before it answers, or not.")
]
ThinkingBudget = Annotated[
    int | None, typer.Option("--thinking-budget", help="Maximum thinking tokens before the answer.")
]
Effort = Annotated[
    str | None,
    typer.Option(
        "--effort",
        metavar="WORD",
        help="How long to think: low, medium or xhigh for Qwen3.8; for other models that think low (at most "
        "1,638 tokens), medium (4,096) or high (no limit).",
        autocompletion=complete.among("low", "medium", "high", "xhigh"),
    ),
]
PreserveThinking = Annotated[
    bool | None,
    typer.Option(
        "--preserve-thinking/--no-preserve-thinking",
        help="Keep the thinking of past turns in the context, so that a follow-up reads nothing twice. On by "
        "default where the model's template can keep it (Qwen3.6, Qwen3.8).",
    ),
]
NoServer = Annotated[
    bool,
    _loading("--no-server", help="Load the model in this process even if a running `qwen serve` has it."),
]


Vision = Annotated[
    bool | None,
    _loading(
        "--vision/--no-vision",
        help="Whether the model of --endpoint takes images; the server is asked if not given.",
    ),
]


@dataclass(frozen=True)
class Loading:
    """Which model, and how it is loaded. Fields are called as the parameters of `engines.load`, but for
    `no_server`."""

    model: Model = None
    engine: Engine = None
    endpoint: Endpoint = None
    context: Context = None
    quant: Quant = None
    dtype: Dtype = "auto"
    device_map: DeviceMap = None
    max_memory: MaxMemory = None
    offload_dir: OffloadDir = None
    attention: Attention = "auto"
    compiled: Compiled = False
    adapters: Adapters = None
    merge: Merge = None
    draft: Draft = "auto"
    rope_scaling: RopeScaling = None
    dca_chunk: DcaChunk = None
    kv: KvType = None
    n_cpu_moe: NCpuMoe = None
    trust_remote_code: TrustRemoteCode = False
    allow_pickle: AllowPickle = False
    vision: Vision = None
    no_server: NoServer = False

    def for_another(self) -> Loading:
        """Return the same for another model: what was trusted or trained for this one is left out."""
        return replace(
            self,
            adapters=None,
            merge=None,
            draft="auto",
            vision=None,
            rope_scaling=None,
            dca_chunk=None,
            kv=None,
            n_cpu_moe=None,
            trust_remote_code=False,
            allow_pickle=False,
        )


@dataclass(frozen=True)
class SamplingOptions:
    """How tokens are drawn, and how many."""

    temperature: Temperature = None
    top_p: TopP = None
    top_k: TopK = None
    min_p: MinP = None
    seed: Seed = None
    max_tokens: MaxTokens = None


@dataclass(frozen=True)
class Penalties:
    """Against repetition; no use where the text has to repeat itself, as code and proofs do."""

    repetition_penalty: RepetitionPenalty = None
    presence_penalty: PresencePenalty = None
    frequency_penalty: FrequencyPenalty = None


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Return `command` as Typer wants it: each parameter that is a dataclass of flags spread into single
    options."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: kind for name, kind in hints.items() if is_dataclass(kind)}
    spread: list[tuple[str, Any, Any]] = []
    for name, parameter in inspect.signature(command).parameters.items():
        if kind := groups.get(name):
            flags = get_type_hints(kind, include_extras=True)
            spread += [(field.name, flags[field.name], field.default) for field in fields(kind)]
        else:
            spread.append((name, hints[name], parameter.default))

    @functools.wraps(command)
    def single(**given: Any) -> None:
        for name, kind in groups.items():
            own = [field.name for field in fields(kind) if field.name in given]
            given[name] = kind(**{flag: given.pop(flag) for flag in own})
        command(**given)

    single.__annotations__ = {name: annotation for name, annotation, _ in spread}
    single.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # what Typer looks at
        [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for name, annotation, default in spread
        ]
    )
    return single


def merged(settings: dict[str, Any], *groups: Any, **flags: Any) -> dict[str, Any]:
    """Return `settings` with every flag over them that was given and is a setting, each checked.

    `groups` are dataclasses of flags; their fields that are no settings are left alone. Raises `UsageError`.
    """
    for group in groups:
        flags |= {f.name: getattr(group, f.name) for f in fields(group) if f.name in user_settings.SETTINGS}
    given = {name: user_settings.check(name, value) for name, value in flags.items() if value is not None}
    return {**settings, **given}


def sampling(settings: dict[str, Any], *, stop: list[str] | None = None) -> Sampling:
    """Return the sampling that `settings` (flags already merged in) ask for. Raises `UsageError`."""
    if "" in (stop or ()):
        raise UsageError("--stop is empty", "give the text that ends the answer")
    names = (
        "temperature",
        "top_p",
        "top_k",
        "min_p",
        "repetition_penalty",
        "presence_penalty",
        "frequency_penalty",
        "seed",
        "max_tokens",
    )
    given: dict[str, Any] = {name: settings.get(name) for name in names}
    return Sampling(**given, stop=tuple(stop or ()))


def exact_sampling(
    settings: dict[str, Any], sampling_options: SamplingOptions, *, stop: list[str] | None = None
) -> Sampling:
    """Return the sampling of a task that is greedy unless a flag says otherwise: a temperature or penalties
    kept for talking are no reason to guess at code and numbers, which repeat themselves."""
    return replace(
        sampling(settings, stop=stop),
        temperature=sampling_options.temperature,
        repetition_penalty=None,
        presence_penalty=None,
        frequency_penalty=None,
    )


def schema(given: str, flag: str) -> dict[str, Any]:
    """Return a JSON schema from a file or from the text itself, as `flag` was given it. Raises
    `UsageError`."""
    from qwen_cli.tasks.chat import attachments
    from qwen_cli.tasks.common import json_schema

    if not given.strip():
        raise UsageError(f"{flag} is empty", "give a JSON schema, or the name of a file that holds one")
    inline = given.lstrip().startswith(("{", "[", '"')) or given.strip() in ("true", "false", "null")
    text = given if inline and not Path(given).is_file() else attachments.read_text(Path(given))
    where = flag if text is given else given
    try:
        parsed = reading.parsed_json(text)
    except ValueError as fault:
        raise UsageError(f"{where} is not JSON: {fault}", "give a JSON schema") from None
    return json_schema.checked(parsed, where)
