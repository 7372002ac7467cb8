"""What the server counts, for Prometheus. Each server has a registry of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
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
        self.registry.register(_Models(pool))

    def record_usage(self, model: str, usage: Usage) -> None:
        """Count an answer of `model` that has ended."""
        self._prompt.labels(model).inc(usage.prompt_tokens)
        self._cached.labels(model).inc(usage.cached_tokens)
        self._generated.labels(model).inc(usage.generated_tokens)
        self._prefill.labels(model).observe(max(0.0, usage.prefill_seconds))
        self._decode.labels(model).inc(max(0.0, usage.decode_seconds))

    def _counter(self, name: str, help: str) -> Counter:
        return Counter(f"qwen_{name}", help, ["model"], registry=self.registry)


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
