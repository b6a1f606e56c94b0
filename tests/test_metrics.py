"""What a dashboard reads: names that are a contract, numbers that add up, labels that nobody can choose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from prometheus_client.parser import text_string_to_metric_families

from edged.completion import Admission
from edged.local.process import WorkerProcess
from edged.local.resident import Resident
from edged.local.work import Work
from edged.metrics import Metrics
from edged.observe import Exchange, Happening
from edged.wire import Loaded, Output, Step


@dataclass
class Seats:
    """A pool's state without a pool."""

    residents: Mapping[str, Resident] = field(default_factory=dict)
    queued: int = 0

    def queued_in(self, lane: str) -> int:
        return self.queued if lane == "interactive" else 0

    @property
    def work(self) -> Work:
        total = Work()
        for one in self.residents.values():
            total.absorb(one.process.work)
        return total


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(metrics.render().decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def ended(outcome: str = "stop", *, admitted: bool = True) -> Exchange:
    exchange = Exchange("id", "openai", "open", requested_model="whatever the client\nwrote")
    if admitted:
        exchange.admission = Admission("guide", "local", 10, queue_s=0.3, cached_tokens=4)
        exchange.completion_tokens = 7
    exchange.outcome = outcome
    return exchange


def resident(free: int) -> Resident:
    process = WorkerProcess("m", lambda error: None)
    process.card = Loaded(64, "", "", "", (), "m", 1234, 99)
    process.work.add(Step((Output(1, "a", 3),), 20, 0.1, 0.05, 0.01))
    return Resident(process, slots=8, free=free, state="ready")


def test_a_finished_request_is_counted_by_what_became_of_it() -> None:
    metrics = Metrics(Seats())
    for outcome in ("stop", "stop", "length", "cancelled"):
        metrics.on_end(ended(outcome))
    metrics.on_end(ended("queue_full", admitted=False))

    seen = samples(metrics)

    def count(outcome: str, model: str = "guide", served_by: str = "local") -> float:
        labels = {"dialect": "openai", "model": model, "served_by": served_by, "outcome": outcome}
        return seen["edged_requests_total", tuple(sorted(labels.items()))]

    assert (count("stop"), count("length"), count("cancelled")) == (2, 1, 1)
    assert count("queue_full", "unknown", "none") == 1
    assert seen["edged_prompt_tokens_total", (("cached", "false"),)] == 24
    assert seen["edged_prompt_tokens_total", (("cached", "true"),)] == 16
    assert seen["edged_completion_tokens_total", ()] == 28
    assert seen["edged_queue_seconds_count", ()] == 4


def test_no_label_carries_what_a_client_wrote() -> None:
    metrics = Metrics(Seats())
    metrics.on_end(ended(admitted=False))

    assert b"whatever" not in metrics.render()


def test_the_first_word_and_the_gaps_are_timed_apart() -> None:
    metrics = Metrics(Seats())
    exchange = ended()
    exchange.first_token_s = 0.4
    metrics.on_delta(exchange, None)
    metrics.on_delta(exchange, 0.03)
    metrics.on_delta(exchange, 0.04)

    seen = samples(metrics)

    assert (seen["edged_ttft_seconds_count", ()], seen["edged_ttft_seconds_sum", ()]) == (1, 0.4)
    assert seen["edged_inter_token_seconds_count", ()] == 2
    assert seen["edged_inter_token_seconds_bucket", (("le", "0.02"),)] == 0
    assert seen["edged_inter_token_seconds_bucket", (("le", "0.05"),)] == 2


def test_tokens_that_come_together_share_their_gap() -> None:
    metrics = Metrics(Seats())
    metrics.on_delta(ended(), 0.12, 4)

    seen = samples(metrics)

    assert seen["edged_inter_token_seconds_count", ()] == 4
    assert seen["edged_inter_token_seconds_sum", ()] == pytest.approx(0.12)
    assert seen["edged_inter_token_seconds_bucket", (("le", "0.05"),)] == 4


def test_a_worker_that_died_is_counted_by_cause_and_nothing_else_is() -> None:
    metrics = Metrics(Seats())
    metrics.on_event(Happening(1, 0.0, "worker_died", {"model": "m", "cause": "worker_crashed"}))
    metrics.on_event(Happening(2, 0.0, "model_loaded", {"model": "m"}))

    assert samples(metrics)["edged_worker_restarts_total", (("cause", "worker_crashed"),)] == 1


def test_gauges_are_read_when_somebody_looks() -> None:
    seats = Seats()
    metrics = Metrics(seats)
    assert samples(metrics)["edged_slots", (("state", "busy"),)] == 0

    seats.residents, seats.queued = {"m": resident(free=5)}, 2
    seen = samples(metrics)

    assert seen["edged_queue_depth", (("lane", "interactive"),)] == seen["llamacpp:requests_deferred", ()] == 2
    assert seen["edged_queue_depth", (("lane", "background"),)] == 0
    assert seen["edged_slots", (("state", "busy"),)] == seen["llamacpp:requests_processing", ()] == 3
    assert seen["edged_slots", (("state", "free"),)] == 5
    assert seen["edged_model_resident_bytes", (("model", "m"),)] == 1234
    assert seen["llamacpp:prompt_tokens_total", ()] == 20
    assert seen["llamacpp:tokens_predicted_total", ()] == 3


def test_prefixes_on_disk_are_counted() -> None:
    @dataclass
    class Disk:
        held_bytes: int = 300
        written_bytes: int = 500
        restored_bytes: int = 200

    found = samples(Metrics(Seats(), Disk()))

    assert found["edged_prefix_disk_bytes", ()] == 300
    assert found["edged_prefix_disk_moved_bytes_total", (("direction", "written"),)] == 500
    assert found["edged_prefix_disk_moved_bytes_total", (("direction", "restored"),)] == 200
