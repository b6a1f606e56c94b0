"""Prometheus metrics: counted where things end, read from their owners when somebody scrapes.

Names are a contract (design: they appear in dashboards); `llamacpp:*` repeats what llama-server calls the same things,
so that existing dashboards work. No label carries anything that a client may choose freely.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol, get_args

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from edged.chat import Lane
from edged.local.resident import Resident
from edged.local.work import Work
from edged.observe import Exchange, Happening, Observer

# First words are felt from a tenth of a second; on a Pi with a long prompt they take a minute.
_TTFT_BUCKETS_S = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60)
# From a fast GPU (5 ms) to a large model on a Pi (2 s).
_GAP_BUCKETS_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2)


class PoolState(Protocol):
    """What is read from the pool at scrape time."""

    @property
    def residents(self) -> Mapping[str, Resident]:
        """Who is in memory."""
        ...

    @property
    def queued(self) -> int:
        """Requests in line."""
        ...

    def queued_in(self, lane: Lane) -> int:
        """Those of one lane."""
        ...

    @property
    def work(self) -> Work:
        """What all workers have done."""
        ...


class DiskState(Protocol):
    """What is read from the prefixes on disk."""

    @property
    def held_bytes(self) -> int:
        """All files together."""
        ...

    written_bytes: int
    restored_bytes: int


class DoorState(Protocol):
    """What is read from the sockets."""

    @property
    def open(self) -> int:
        """Connections."""
        ...

    @property
    def refused(self) -> Mapping[str, int]:
        """How many found no place, by what was lacking."""
        ...

    @property
    def ended(self) -> Mapping[str, int]:
        """How many had to go, by why."""
        ...


class Metrics(Observer):
    """Everything that `/metrics` shows; of the sockets, once there is a `door`."""

    def __init__(self, pool: PoolState, disk: DiskState | None = None) -> None:
        self.door: DoorState | None = None
        self._pool = pool
        self._disk = disk
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "edged_requests", "Finished requests.", ("dialect", "model", "served_by", "outcome"), registry=registry
        )
        self._prompt_tokens = Counter("edged_prompt_tokens", "Prompt tokens.", ("cached",), registry=registry)
        self._completion_tokens = Counter("edged_completion_tokens", "Tokens drawn.", registry=registry)
        self._ttft = Histogram(
            "edged_ttft_seconds", "Request to first word.", buckets=_TTFT_BUCKETS_S, registry=registry
        )
        self._gap = Histogram("edged_inter_token_seconds", "Word to word.", buckets=_GAP_BUCKETS_S, registry=registry)
        self._queue = Histogram("edged_queue_seconds", "Wait in line.", buckets=_TTFT_BUCKETS_S, registry=registry)
        self._restarts = Counter(
            "edged_worker_restarts", "Workers that died and are replaced on demand.", ("cause",), registry=registry
        )
        registry.register(self)

    def render(self) -> bytes:
        """The exposition text."""
        return generate_latest(self._registry)

    def on_delta(self, exchange: Exchange, gap_s: float | None, tokens: int = 1) -> None:
        """Time the first word, or the gap before this one; tokens that came together share it."""
        if gap_s is not None:
            for _ in range(tokens):
                self._gap.observe(gap_s / tokens)
        elif exchange.first_token_s is not None:
            self._ttft.observe(exchange.first_token_s)

    def on_end(self, exchange: Exchange) -> None:
        """Count the outcome and what it cost."""
        admission, usage = exchange.admission, exchange.usage
        model, served_by = (admission.model, admission.served_by) if admission else ("unknown", "none")
        self._requests.labels(exchange.dialect, model, served_by, exchange.outcome).inc()
        self._prompt_tokens.labels("false").inc(usage.prompt_tokens - usage.cached_tokens)
        self._prompt_tokens.labels("true").inc(usage.cached_tokens)
        self._completion_tokens.inc(usage.completion_tokens)
        if admission:
            self._queue.observe(admission.queue_s)

    def on_event(self, happening: Happening) -> None:
        """Count workers that died."""
        if happening.event == "worker_died":
            self._restarts.labels(happening.facts["cause"]).inc()

    def collect(self) -> Iterator[Metric]:
        """Gauges, read now (prometheus_client's custom collector)."""
        residents = self._pool.residents
        free = sum(resident.free for resident in residents.values())
        total = sum(resident.slots for resident in residents.values())
        depth = GaugeMetricFamily("edged_queue_depth", "Requests in line.", labels=["lane"])
        for lane in get_args(Lane):
            depth.add_metric([lane], self._pool.queued_in(lane))
        yield depth
        slots = GaugeMetricFamily("edged_slots", "Sequences of resident models.", labels=["state"])
        slots.add_metric(["busy"], total - free)
        slots.add_metric(["free"], free)
        yield slots
        memory = GaugeMetricFamily("edged_model_resident_bytes", "Weights in memory.", labels=["model"])
        for name, resident in residents.items():
            memory.add_metric([name], resident.process.card.model_bytes if resident.process.card else 0)
        yield memory
        if self._disk is not None:
            yield _gauge("edged_prefix_disk_bytes", "Prefixes on disk.", self._disk.held_bytes)
            moved = CounterMetricFamily("edged_prefix_disk_moved_bytes", "To and from disk.", labels=["direction"])
            moved.add_metric(["written"], self._disk.written_bytes)
            moved.add_metric(["restored"], self._disk.restored_bytes)
            yield moved
        if self.door is not None:
            yield _gauge("edged_connections", "Open connections.", self.door.open)
            refused = CounterMetricFamily("edged_connections_refused", "Found no place.", labels=["reason"])
            for lack, number in self.door.refused.items():
                refused.add_metric([lack], number)
            yield refused
            ended = CounterMetricFamily("edged_connections_cut", "Took too long, or gave way.", labels=["reason"])
            for reason, number in self.door.ended.items():
                ended.add_metric([reason], number)
            yield ended
        yield from self._as_llama_server(total - free)

    def _as_llama_server(self, busy: int) -> Iterator[Metric]:
        work = self._pool.work
        yield _gauge("llamacpp:requests_processing", "Requests being answered.", busy)
        yield _gauge("llamacpp:requests_deferred", "Requests in line.", self._pool.queued)
        yield _counter("llamacpp:prompt_tokens", "Prompt tokens read.", work.prompt_tokens)
        yield _counter("llamacpp:tokens_predicted", "Tokens drawn.", work.completion_tokens)


def _gauge(name: str, help_text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, help_text, value=value)


def _counter(name: str, help_text: str, value: float) -> Metric:
    return CounterMetricFamily(name, help_text, value=value)
