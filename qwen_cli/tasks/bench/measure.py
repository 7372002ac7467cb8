"""Measure one model on one engine: load, first token, and prompts of growing length.

Each model is measured in a process of its own (`run`), so that neither its memory nor a crash is another's.
What it finds it tells as it goes, a line of JSON each: what was measured stays when it is interrupted.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from qwen_cli.engines.core.base import Sampling
from qwen_cli.engines.core.options import LoadOptions
from qwen_cli.errors import EngineError, QwenError

if TYPE_CHECKING:
    from qwen_cli.engines.core.base import Engine

LENGTHS = (128, 512, 2_048, 8_192, 16_384)
"""Tokens of the prompts."""

_WRITTEN = 32  # tokens behind each prompt
_SPARE = 64  # tokens of context beside both: marks that a tokenizer adds
_FIRST = "Say hello."
# What a prompt is made of: plain words, one token each or nearly so, which no draft can copy on from.
_WORDS = ("river", "green", "seven", "under", "stone", "paper", "light", "house", "after", "music")


@dataclass(frozen=True)
class Row:
    """A prompt of `tokens`: tokens a second that were read (`prefill`) and written behind it (`decode`), and
    the most memory so far in bytes. `skipped` says why it was not measured."""

    tokens: int
    prefill: float = 0.0
    decode: float = 0.0
    memory: int = 0
    skipped: str = ""


@dataclass
class Result:
    """What was measured of `model` in the form `form` on `engine`, in seconds. `fault` ended it early."""

    model: str
    engine: str
    form: str = ""
    load: float | None = None
    first_token: float | None = None
    memory: int = 0
    rows: list[Row] = field(default_factory=list)
    fault: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)


def run(
    options: LoadOptions,
    lengths: Sequence[int],
    *,
    seconds: float,
    tell: Callable[[Result], None] = lambda result: None,
) -> Result:
    """Measure in a process of its own; `tell` gets the result as it grows, also before an interrupt. A model
    that cannot be loaded has its reason in `fault`."""
    result = Result(options.model or "", options.engine)
    asked = {"options": options.to_wire(), "lengths": list(lengths), "seconds": seconds}
    child = subprocess.Popen(
        [sys.executable, "-c", "from qwen_cli.tasks.bench import measure; measure.main()", json.dumps(asked)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
        start_new_session=True,  # Ctrl-C is ours: what was measured is shown
    )
    assert child.stdout is not None
    assert child.stderr is not None
    try:
        for line in child.stdout:
            take(result, json.loads(line))
            tell(result)
        errors = child.stderr.read().strip().splitlines()
        if child.wait() and not result.fault:
            result.fault = errors[-1] if errors else f"it ended with exit code {child.returncode}"
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
        child.stdout.close()
        child.stderr.close()
    return result


def take(result: Result, told: dict[str, Any]) -> None:
    """Add what one line tells to `result`."""
    if "row" in told:
        row = Row(**told["row"])
        result.rows.append(row)
        result.memory = max(result.memory, row.memory)
    else:
        for name, value in told.items():
            setattr(result, name, value)


def main() -> None:
    """Measure what the first argument asks for, in this process, and tell it on standard output."""
    asked = json.loads(sys.argv[1])
    out = sys.stdout
    sys.stdout = sys.stderr  # libraries write there
    try:
        for told in measured(
            LoadOptions.from_wire(asked["options"]), asked["lengths"], seconds=asked["seconds"]
        ):
            print(json.dumps(told), file=out, flush=True)
    except QwenError as fault:
        print(json.dumps({"fault": str(fault)}), file=out, flush=True)


def measured(options: LoadOptions, lengths: Sequence[int], *, seconds: float) -> Iterator[dict[str, Any]]:
    """Yield what is measured, as the fields of `Result` and its rows. Nothing drafts: how much that brings is
    up to the text. Raises as `engines.load` does."""
    from qwen_cli.engines import load

    end = time.monotonic() + seconds
    back_end, weights = load.find(options)
    longest = max(lengths)
    if weights is not None:
        trained = weights.architecture.context or longest + _WRITTEN + _SPARE
        longest = min(longest, trained - _WRITTEN - _SPARE)
    wanted = replace(options, draft="off", context=longest + _WRITTEN + _SPARE, parallel=1)
    began = time.perf_counter()
    engine = load.open_engine(wanted)
    try:
        yield {
            "load": time.perf_counter() - began,
            "model": engine.model,
            "engine": back_end.name,
            "form": _form(weights, options),
        }
        began = time.perf_counter()
        for _ in engine.chat([{"role": "user", "content": _FIRST}], sampling=_sampling(engine, 1)):
            break
        yield {"first_token": time.perf_counter() - began, "memory": memory()}
        yield from _rows(engine, lengths, longest, end)
    finally:
        engine.close()


def _rows(engine: Engine, lengths: Sequence[int], longest: int, end: float) -> Iterator[dict[str, Any]]:
    spent = 0.0  # seconds a token of the prompt, of the last
    for length in sorted(lengths):
        if length > longest:
            row = Row(length, skipped=f"the model reads {longest:,} tokens beside what it writes")
        elif (left := end - time.monotonic()) <= 0 or spent * length > left:
            row = Row(length, skipped="it would take longer than the time that was given")
        else:
            row = _row(engine, length)
            spent = 1 / row.prefill if row.prefill else spent
        yield {"row": asdict(row)}


def _row(engine: Engine, length: int) -> Row:
    usage = None
    for piece in engine.complete(prompt_of(length), sampling=_sampling(engine, _WRITTEN)):
        usage = piece.usage or usage
    if usage is None:
        raise EngineError("the engine did not say how long an answer took")
    read = usage.prompt_tokens - usage.cached_tokens
    # The first token of an answer comes out of reading the prompt.
    written = max(0, usage.generated_tokens - 1)
    return Row(
        length,
        prefill=read / usage.prefill_seconds if usage.prefill_seconds else 0.0,
        decode=written / usage.decode_seconds if usage.decode_seconds else 0.0,
        memory=memory(),
    )


def prompt_of(length: int) -> str:
    """Return a text of about `length` tokens that begins as no other length's does: nothing of it is in a
    cache."""
    words, state = [f"{length}"], length
    while len(words) < length:
        state = (state * 1_103_515_245 + 12_345) % 2**31  # C's `rand`, the same everywhere
        words.append(_WORDS[(state >> 16) % len(_WORDS)])
    return " ".join(words[: max(1, length - 1)])


def _sampling(engine: Engine, tokens: int) -> Sampling:
    extras = {"ignore_eos": True} if "ignore_eos" in engine.capabilities.extras else None
    return Sampling(temperature=0, max_tokens=tokens, extras=extras)


def _form(weights: Any, options: LoadOptions) -> str:
    if weights is None:
        return ""
    from qwen_cli.models.planning import describe

    return options.bits or str(describe.of_weights(weights).stored)


def memory() -> int:
    """Return the bytes that this process and those it has started hold in memory."""
    import psutil

    own = psutil.Process()
    total = 0
    for one in (own, *own.children(recursive=True)):
        try:
            total += int(one.memory_info().rss)
        except psutil.Error:  # it has ended
            continue
    return total
