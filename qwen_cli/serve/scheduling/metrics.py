"""What the server counts, for Prometheus. Each server has a registry of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from qwen_cli.engines.core.base import Usage

if TYPE_CHECKING:
    from qwen_cli.serve.scheduling.pool import ModelPool
    from qwen_cli.serve.scheduling.resident import Resident

_AT_ONCE = 0.25  # seconds that an engine is waited for
_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)


class Metrics:
    """Counters of requests, tokens and seconds, and the state of the models."""

    def __init__(self, pool: ModelPool) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "qwen_requests", "Requests by route and status.", ["route", "status"], registry=self.registry
        )
        self._prompt = self._counter("prompt_tokens", "Tokens of prompts.")
        self._cached = self._counter("cached_tokens", "Of those, found in the KV cache.")
        self._generated = self._counter("generated_tokens", "Tokens generated.")
        self._prefill = Histogram(
            "qwen_first_token_seconds",
            "From a lane to the first token.",
            ["model"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._decode = self._counter("decode_seconds", "Spent generating after the first token.")
        self._spent = Usage()
        self._longest = 0
        self._lock = threading.Lock()
        self.registry.register(_Models(pool))
        self._llamacpp = _LlamaCppNames(pool)

    def record_usage(self, model: str, usage: Usage) -> None:
        """Count an answer of `model` that has ended."""
        self._prompt.labels(model).inc(usage.prompt_tokens)
        self._cached.labels(model).inc(usage.cached_tokens)
        self._generated.labels(model).inc(usage.generated_tokens)
        self._prefill.labels(model).observe(max(0.0, usage.prefill_seconds))
        self._decode.labels(model).inc(max(0.0, usage.decode_seconds))
        with self._lock:
            self._spent += usage
            self._longest = max(self._longest, usage.prompt_tokens + usage.generated_tokens)

    def text(self) -> bytes:
        """Return all, as Prometheus reads it. Blocks for a moment where an engine is busy."""
        return generate_latest(self.registry) + self._llamacpp.text(self._spent, self._longest).encode()

    def _counter(self, name: str, help: str) -> Counter:
        return Counter(f"qwen_{name}", help, ["model"], registry=self.registry)


class _LlamaCppNames:
    """What llama.cpp's server counts, under its names and in its order (tools/server/README.md, `/metrics`),
    of all models together. Its counters do not all end as Prometheus' own client wants."""

    def __init__(self, pool: ModelPool) -> None:
        self._pool = pool
        self._steps = _Steps()

    def text(self, spent: Usage, longest: int) -> str:
        """Return them as Prometheus reads them. `longest` is the largest sequence, in tokens."""
        loaded = self._pool.all()
        read = spent.prompt_tokens - spent.cached_tokens
        known = [self._steps.of(one) for one in loaded]
        decodes = sum(one.get("n_decode_total", 0.0) for one in known)
        drafts = sum(one.get("spec_decode_num_drafts_total", 0.0) for one in known)
        busy = sum(one.get("n_decode_total", 0.0) * one.get("n_busy_slots_per_decode", 0.0) for one in known)
        running, waiting = sum(one.lanes.running for one in loaded), sum(one.lanes.waiting for one in loaded)
        counters = (
            ("prompt_tokens_total", "Number of prompt tokens processed.", read),
            (
                "prompt_tokens_cached_total",
                "Number of prompt tokens in the cache.",
                spent.cached_tokens,
            ),
            ("prompt_seconds_total", "Prompt process time.", spent.prefill_seconds),
            ("tokens_predicted_total", "Number of generation tokens processed.", spent.generated_tokens),
            ("tokens_predicted_seconds_total", "Predict process time.", spent.decode_seconds),
            ("n_decode_total", "Number of decode steps of llama.cpp, of the models loaded now.", decodes),
            ("n_tokens_max", "Longest prompt and answer together, in tokens.", longest),
            ("spec_decode_num_draft_tokens_total", "Number of draft tokens.", spent.drafted_tokens),
            ("spec_decode_num_accepted_tokens_total", "Of those, accepted.", spent.accepted_tokens),
            ("spec_decode_num_drafts_total", "Number of drafts verified by llama.cpp.", drafts),
        )
        gauges = (
            (
                "prompt_tokens_seconds",
                "Average prompt throughput in tokens/s.",
                _rate(read, spent.prefill_seconds),
            ),
            (
                "predicted_tokens_seconds",
                "Average generation throughput in tokens/s.",
                _rate(spent.generated_tokens, spent.decode_seconds),
            ),
            ("requests_processing", "Number of requests processing.", running),
            ("requests_deferred", "Number of requests deferred.", waiting),
            ("n_busy_slots_per_decode", "Average slots busy in a step.", busy / decodes if decodes else 0.0),
        )
        return "".join(
            f"# HELP llamacpp:{name} {help}\n# TYPE llamacpp:{name} {kind}\nllamacpp:{name} {float(value)}\n"
            for kind, items in (("counter", counters), ("gauge", gauges))
            for name, help, value in items
        )


class _Steps:
    """What engines have counted themselves, as far as they tell at once: one that is busy with a long step is
    waited for in the background, and told of next time."""

    def __init__(self) -> None:
        self._known: dict[str, Mapping[str, float]] = {}
        self._asking: dict[str, threading.Thread] = {}

    def of(self, resident: Resident) -> Mapping[str, float]:
        """Return what the engine of `resident` has counted, under llama.cpp's names."""
        id = resident.wanted.id
        thread = self._asking.get(id)
        if thread is None or not thread.is_alive():
            thread = threading.Thread(target=self._ask, args=(resident,), name="counters", daemon=True)
            self._asking[id] = thread
            thread.start()
        thread.join(_AT_ONCE)
        return self._known.get(id, {})

    def _ask(self, resident: Resident) -> None:
        with suppress(Exception):  # it is being closed
            self._known[resident.wanted.id] = resident.engine.counters()


def _rate(tokens: int, seconds: float) -> float:
    return tokens / seconds if seconds else 0.0


class _Models(Collector):
    def __init__(self, pool: ModelPool) -> None:
        self._pool = pool

    def collect(self) -> Iterator[Metric]:
        running = GaugeMetricFamily("qwen_running", "Requests that are computed.", labels=["model"])
        waiting = GaugeMetricFamily("qwen_waiting", "Requests in the queue.", labels=["model"])
        weights = GaugeMetricFamily("qwen_weight_bytes", "Size of loaded weights.", labels=["model"])
        for resident in self._pool.all():
            label = [resident.wanted.label]
            running.add_metric(label, resident.lanes.running)
            waiting.add_metric(label, resident.lanes.waiting)
            weights.add_metric(label, resident.wanted.size)
        yield from (running, waiting, weights)
