"""What the daemon says of itself."""

from __future__ import annotations

import json
from pathlib import Path
from time import monotonic

import pytest

import edged
from edged.api import ops
from edged.chat import About, ModelCard
from edged.completion import Admission
from edged.config import Engine, Limits
from edged.errors import LoadTimeout, ModelInvalid, ModelLoading, ShuttingDown
from edged.host import gpu
from edged.local.fit import Fit
from edged.local.loads import loading
from edged.local.making_room import SeatState
from edged.local.needs import Needs, Way
from edged.local.pool import Pool
from edged.local.process import WorkerProcess
from edged.local.resident import Resident
from edged.observe import Exchange, Happening, Journal
from edged.store import Store
from edged.wire import Loaded, Output, Step


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    return Pool(Store(tmp_path), Engine(gpu_layers=0), Limits(), Journal().tell)


def seat(pool: Pool, state: SeatState = "ready", progress: float = 1.0) -> Resident:
    process = WorkerProcess("m", lambda error: None)
    process.progress = progress
    if state == "ready":
        process.card = Loaded(64, "", "", "", (), "llama 1B Q4_0", 1234, 99)
    pool.memory.all["m"] = resident = Resident(
        process, slots=8, free=6, state=state, used_s=100.0, began_s=monotonic() - 10
    )
    return resident


def test_with_nothing_in_memory_a_chat_would_be_admitted(pool: Pool) -> None:
    assert ops.unready(pool) is None


def test_a_model_in_memory_is_ready_whatever_else_failed(pool: Pool) -> None:
    seat(pool)
    pool.memory.failure = ModelInvalid("another one")

    assert ops.unready(pool) is None


def test_while_the_first_model_loads_it_says_how_far_and_how_long(pool: Pool) -> None:
    pool.memory.warming = seat(pool, "loading", progress=0.25)

    error = ops.unready(pool)

    assert isinstance(error, ModelLoading)
    assert (error.progress, round(error.retry_after_s)) == (0.25, 30)
    assert ops.readiness_body(error) | {"message": ""} == {
        "status": "unready", "code": "model_loading", "message": "", "progress": 0.25, "eta_s": 30.0,
    }  # fmt: skip


def test_a_failed_load_is_told_until_one_succeeds(pool: Pool) -> None:
    pool.memory.failure = ModelInvalid("broken file")

    assert ops.unready(pool) is pool.memory.failure
    assert ops.readiness_body(pool.memory.failure) == {
        "status": "unready",
        "code": "model_invalid",
        "message": "broken file",
    }


def test_who_is_on_the_way_out_is_not_ready(pool: Pool) -> None:
    seat(pool)
    pool.close(ShuttingDown("bye", retry_after_s=30))

    assert ops.unready(pool) is pool.closed


@pytest.mark.parametrize("progress", [0.0, 1e-300, 0.001, 1.0])
@pytest.mark.parametrize("elapsed_s", [0.0, 1e-9, 3600.0])
def test_an_estimate_is_always_a_number_that_can_be_sent(progress: float, elapsed_s: float) -> None:
    error = loading(elapsed_s, progress)

    assert 1 <= error.retry_after_s < float("inf")
    json.dumps(ops.readiness_body(error), allow_nan=False)


def test_health_is_llama_servers() -> None:
    assert ops.health_body(None) == {"status": "ok"}
    assert ops.health_body(LoadTimeout("x")) == {
        "error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}
    }


def test_ready_is_short() -> None:
    assert ops.readiness_body(None) == {"status": "ready"}


def test_the_status_shows_who_is_in_memory_and_what_it_did(pool: Pool) -> None:
    seat(pool).process.work.add(Step((Output(1, "a", 3),), 20, 0.1234567, 0.1, 0.01))

    status = ops.status_body(pool, Journal(), 0.0, "m", ("http://127.0.0.1:8080",))

    assert (status["version"], status["default_model"], status["addresses"]) == (
        edged.__version__, "m", ["http://127.0.0.1:8080"],
    )  # fmt: skip
    assert (status["queued"], status["queued_background"], status["queue_wait_s"]) == (0, 0, 0.0)
    (resident,) = status["residents"]
    assert resident == {
        "model": "m", "state": "ready", "progress": 1.0, "pid": None, "slots": 8, "busy": 2, "context_tokens": 64,
        "description": "llama 1B Q4_0", "model_bytes": 1234, "gpus": [], "gpu_layers": 0, "steps": 1,
        "prompt_tokens": 20, "completion_tokens": 3, "step_s": 0.123457, "decode_s": 0.1, "sample_s": 0.01,
        "drafted_tokens": 0, "accepted_tokens": 0, "draft_model": None, "draft_problem": None,
        "problem": None, "threads": 0, "eta_s": None, "fit": None,
        "capabilities": None, "languages": None, "longest_context_tokens": None,
    }  # fmt: skip


def test_the_status_shows_how_a_model_fits(pool: Pool) -> None:
    needs = Needs(4, 3, 2, 1, 5)
    seat(pool).fit = Fit(Way(4096, 2, "q8_0"), needs, 7, "context lowered from 8192 to 4096 tokens: why")

    (resident,) = ops.status_body(pool, Journal(), 0.0, "m", ())["residents"]

    told = resident["fit"]
    assert (told["context_tokens"], told["sequences"], told["kv_type"]) == (4096, 2, "q8_0")
    assert told["lowered"] == "context lowered from 8192 to 4096 tokens: why"
    assert (told["needs"]["cells_bytes"], told["needs"]["total_bytes"]) == (2, 15)


def test_the_status_says_what_those_in_memory_can_do(pool: Pool) -> None:
    seat(pool)
    card = ModelCard("m", "local", 5, 6, abilities=("completion", "chat"), about=About(languages=("de", "en")))

    (resident,) = ops.status_body(pool, Journal(), 0.0, "m", (), {"m": card})["residents"]

    assert (resident["capabilities"], resident["languages"]) == (["completion", "chat"], ["de", "en"])


def test_a_gpu_that_is_there_and_not_used_is_told_of_every_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "present", lambda: "an NVIDIA GPU")
    pool = Pool(Store(tmp_path), Engine(), Limits(), Journal().tell)
    seat(pool)

    (resident,) = ops.status_body(pool, Journal(), 0.0, "m", ())["residents"]

    assert resident["problem"].startswith("This machine has an NVIDIA GPU, but the engine does not use it")


def test_a_model_on_its_way_in_has_no_facts_yet(pool: Pool) -> None:
    seat(pool, "loading", 0.5)

    (resident,) = ops.status_body(pool, Journal(), 0.0, "m", ())["residents"]

    assert (resident["state"], resident["progress"], resident["context_tokens"]) == ("loading", 0.5, None)


def test_a_record_of_a_request() -> None:
    exchange = Exchange("id", "openai", "open", "gpt-4o", began_s=5.0)
    assert ops.exchange_body(exchange)["model"] is None

    exchange.admission = Admission("guide", "local", 9, route="alias", queue_s=0.5)
    exchange.completion_tokens, exchange.outcome, exchange.duration_s = 4, "stop", 2.0

    assert ops.exchange_body(exchange) == {
        "id": "id", "time": 5.0, "dialect": "openai", "account": "open", "lane": "interactive",
        "requested_model": "gpt-4o", "model": "guide",
        "served_by": "local", "route": "alias", "outcome": "stop", "prompt_tokens": 9, "completion_tokens": 4,
        "queue_s": 0.5, "dropped_messages": 0, "first_token_s": None, "first_token_predicted_s": None,
        "duration_s": 2.0,
    }  # fmt: skip


def test_an_event() -> None:
    assert ops.happening_body(Happening(3, 5.0, "model_loaded", {"model": "m"})) == {
        "number": 3, "time": 5.0, "event": "model_loaded", "model": "m",
    }  # fmt: skip
