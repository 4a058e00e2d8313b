"""/metrics for Prometheus: vLLM's names with the prefix `lmworks:`, so that its dashboards need one word changed."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from lmworks.generation.engine import RequestHandle
from lmworks.serving.api.work import REASONS, Work
from lmworks.serving.models import ServedModels
from lmworks.serving.service import Service

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
TOKENS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 50_000)
LABEL = ("model_name",)


class Metrics:
    """The counts of a server's requests; those of the engines that run are read when /metrics is asked for."""

    def __init__(self, models: ServedModels) -> None:
        self.registry = CollectorRegistry()
        self._only = models.all[0].name if len(models.all) == 1 else ""
        """What requests count for that name no model."""
        self.registry.register(_OfEngines(models))
        self._first = self._histogram(
            "time_to_first_token_seconds", "From a request's arrival to its first token", SECONDS
        )
        self._between = self._histogram(
            "inter_token_latency_seconds", "Mean time between two tokens of an answer", SECONDS
        )
        self._whole = self._histogram("e2e_request_latency_seconds", "From a request's arrival to its end", SECONDS)
        self._read = self._histogram("request_prompt_tokens", "Tokens of a prompt", TOKENS)
        self._written = self._histogram("request_generation_tokens", "Tokens of an answer", TOKENS)
        self._ended = Counter(
            "lmworks:request_success",
            "Answers that came to their end",
            (*LABEL, "finished_reason"),
            registry=self.registry,
        )
        self._responses = Counter(
            "lmworks:http_requests", "Responses", (*LABEL, "path", "status"), registry=self.registry
        )

        self._cited = Counter(
            "lmworks:grounded_answers",
            "Answers from documents, and refusals",
            (*LABEL, "way", "outcome"),
            registry=self.registry,
        )

    def cited(self, model: str | None, way: str, refused: bool) -> None:
        """A question to the documents was answered or refused."""
        self._cited.labels(model or self._only, way, "refused" if refused else "answered").inc()

    def responded(self, model: str | None, path: str, status: int) -> None:
        """A response was sent; `path` is one of the server's own."""
        self._responses.labels(model or self._only, path, str(status)).inc()

    def worked(self, work: Work) -> None:
        """The work of a request is over."""
        for handle in work.handles:
            self._count(work.service.name, handle)

    def text(self) -> bytes:
        """In Prometheus' form."""
        return generate_latest(self.registry)

    def _count(self, model: str, handle: RequestHandle) -> None:
        sequence = handle.sequence
        if handle.ended is None or sequence.finish not in REASONS:
            return
        self._ended.labels(model, REASONS[sequence.finish]).inc()
        self._whole.labels(model).observe(handle.ended - handle.created)
        self._read.labels(model).observe(sequence.request.counted)
        self._written.labels(model).observe(len(sequence.tokens))
        if handle.first is not None:
            self._first.labels(model).observe(handle.first - handle.created)
            if len(sequence.tokens) > 1:
                mean = (handle.ended - handle.first) / (len(sequence.tokens) - 1)
                self._between.labels(model).observe(mean)

    def _histogram(self, name: str, help_: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"lmworks:{name}", help_, LABEL, buckets=buckets, registry=self.registry)


class _OfEngines(Collector):
    """The engines' own counts."""

    def __init__(self, models: ServedModels) -> None:
        self._models = models

    def collect(self) -> Iterator[Metric]:
        """As they are now; those of a model that was put away begin anew when it is loaded again."""
        families: dict[str, Metric] = {}
        for service in self._models.loaded:
            if service.writes:
                _add(families, service)
        yield from families.values()


def _add(families: dict[str, Metric], service: Service) -> None:
    engine = service.engine
    now = engine.state
    gauges = {
        "num_requests_running": ("Requests that have a seat", now.running),
        "num_requests_waiting": ("Requests in the queue", now.waiting),
        "kv_cache_usage_perc": (
            "Part of the keys and values that all seats could hold, 1 for all",
            now.cache_bytes / max(engine.most_cache_bytes, 1),
        ),
        "kv_cache_bytes": ("Keys and values of what runs and of beginnings that are kept", now.cache_bytes),
    }
    counters = {
        "prompt_tokens": ("Prompt tokens read, those from the cache included", now.prompt_tokens),
        "generation_tokens": ("Tokens written", now.written_tokens),
        "prefix_cache_queries": ("Prompt tokens looked for in the cache", now.prompt_tokens),
        "prefix_cache_hits": ("Prompt tokens found in the cache", now.reused_tokens),
        "requests_refused": ("Requests that the queue had no place for", now.refused),
        "requests_cancelled": ("Requests whose client left or ran out of time", now.cancelled),
        "requests_failed": ("Requests that failed", now.failed),
        "engine_steps": ("Steps of the engine", now.steps),
    }
    for kind, facts in ((GaugeMetricFamily, gauges), (CounterMetricFamily, counters)):
        for name, (help_, value) in facts.items():
            family = families.setdefault(name, kind(f"lmworks:{name}", help_, labels=LABEL))
            family.add_metric([service.name], value)  # type: ignore[attr-defined]
