"""What the server counts, for Prometheus. Each server has a registry of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from qwen_cli.engines.core.base import Usage

if TYPE_CHECKING:
    from qwen_cli.serve.scheduling.pool import ModelPool

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
        self._lock = threading.Lock()
        self.registry.register(_Models(pool))
        self.registry.register(_LlamaCppNames(pool, lambda: self._spent))

    def record_usage(self, model: str, usage: Usage) -> None:
        """Count an answer of `model` that has ended."""
        self._prompt.labels(model).inc(usage.prompt_tokens)
        self._cached.labels(model).inc(usage.cached_tokens)
        self._generated.labels(model).inc(usage.generated_tokens)
        self._prefill.labels(model).observe(max(0.0, usage.prefill_seconds))
        self._decode.labels(model).inc(max(0.0, usage.decode_seconds))
        with self._lock:
            self._spent += usage

    def _counter(self, name: str, help: str) -> Counter:
        return Counter(f"qwen_{name}", help, ["model"], registry=self.registry)


class _LlamaCppNames(Collector):
    """What llama.cpp's server counts, under its names (tools/server/README.md, `/metrics`), of all models
    together."""

    def __init__(self, pool: ModelPool, spent: Callable[[], Usage]) -> None:
        self._pool = pool
        self._spent = spent

    def collect(self) -> Iterator[Metric]:
        spent, loaded = self._spent(), self._pool.all()
        read = spent.prompt_tokens - spent.cached_tokens
        for name, help, total in (
            ("prompt_tokens", "Number of prompt tokens processed.", read),
            ("prompt_tokens_cached", "Number of prompt tokens found in the cache.", spent.cached_tokens),
            ("prompt_seconds", "Prompt process time.", spent.prefill_seconds),
            ("tokens_predicted", "Number of generation tokens processed.", spent.generated_tokens),
            ("tokens_predicted_seconds", "Predict process time.", spent.decode_seconds),
            ("spec_decode_num_draft_tokens", "Number of draft tokens.", spent.drafted_tokens),
            ("spec_decode_num_accepted_tokens", "Of those, accepted.", spent.accepted_tokens),
        ):
            yield CounterMetricFamily(f"llamacpp:{name}", help, total)
        for name, help, now in (
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
            (
                "requests_processing",
                "Number of requests processing.",
                sum(one.lanes.running for one in loaded),
            ),
            ("requests_deferred", "Number of requests deferred.", sum(one.lanes.waiting for one in loaded)),
        ):
            yield GaugeMetricFamily(f"llamacpp:{name}", help, now)


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
