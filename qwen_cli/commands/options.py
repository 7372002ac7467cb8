"""Flags that several verbs share, and what becomes of them: flag, else environment, else settings file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from qwen_cli import config
from qwen_cli.engines.protocol import Sampling
from qwen_cli.errors import UsageError


def _models(incomplete: str) -> list[str]:
    from qwen_cli.models import catalog

    return [m.name for m in catalog.MODELS if m.name.startswith(incomplete.lower())]


Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        help="Alias (qwen3:8b), hub id, folder or .gguf file; picked for this machine if not given.",
        autocompletion=_models,
    ),
]
Engine = Annotated[
    str | None,
    typer.Option("--engine", help="auto, llamacpp, transformers or remote."),
]
Endpoint = Annotated[
    str | None,
    typer.Option(
        "--endpoint",
        help="An OpenAI-compatible server; its key comes from QWEN_API_KEY.",
    ),
]
Context = Annotated[
    int | None,
    typer.Option("--context", help="Context window in tokens."),
]
Adapter = Annotated[
    list[Path] | None,
    typer.Option("--adapter", help="LoRA adapter (repeatable)."),
]
TrustRemoteCode = Annotated[
    bool,
    typer.Option("--trust-remote-code", help="Run Python code that comes with the weights."),
]
Temperature = Annotated[float | None, typer.Option("--temperature", "-t", help="0 is greedy.")]
TopP = Annotated[float | None, typer.Option("--top-p")]
TopK = Annotated[int | None, typer.Option("--top-k", help="0 is all.")]
MinP = Annotated[float | None, typer.Option("--min-p")]
RepetitionPenalty = Annotated[float | None, typer.Option("--repetition-penalty")]
PresencePenalty = Annotated[float | None, typer.Option("--presence-penalty")]
FrequencyPenalty = Annotated[float | None, typer.Option("--frequency-penalty")]
Seed = Annotated[int | None, typer.Option("--seed", help="Same seed, same answer.")]
MaxTokens = Annotated[
    int | None,
    typer.Option("--max-tokens", help="Longest answer; no limit by default."),
]
Stop = Annotated[
    list[str] | None,
    typer.Option("--stop", help="End the answer before this text (repeatable)."),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.", hidden=True)]


def merged(settings: dict[str, Any], **flags: Any) -> dict[str, Any]:
    """`settings` with every flag that was given over them, each checked. Raises `UsageError`."""
    given = {name: config.check(name, value) for name, value in flags.items() if value is not None}
    return {**settings, **given}


def sampling(settings: dict[str, Any], *, seed: int | None, stop: list[str] | None) -> Sampling:
    """The sampling that `settings` (flags already merged in) ask for. Raises `UsageError`."""
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
        "max_tokens",
    )
    given: dict[str, Any] = {name: settings.get(name) for name in names}
    seed = settings.get("seed") if seed is None else config.check("seed", seed)
    return Sampling(**given, seed=seed, stop=tuple(stop or ()))


def schema(given: str, flag: str) -> dict[str, Any]:
    """A JSON schema from a file or from the text itself, as `flag` was given it. Raises `UsageError`."""
    import jsonschema

    from qwen_cli.tasks import attachments

    text = given if given.lstrip().startswith("{") else attachments.read_text(Path(given))
    where = flag if text is given else given
    try:
        found = json.loads(text)
        jsonschema.validators.validator_for(found).check_schema(found)
    except json.JSONDecodeError as fault:
        raise UsageError(f"{where} is not JSON: {fault}", "give a JSON schema") from None
    except jsonschema.SchemaError as fault:
        raise UsageError(f"{where} is not a JSON schema: {fault.message}", "mend it") from None
    if not isinstance(found, dict):
        raise UsageError(f"{where} is not a JSON schema object, got {text.strip()[:40]!r}")
    return found
