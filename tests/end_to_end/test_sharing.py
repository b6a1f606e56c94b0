"""Several callers on one device: who goes first, who waits, and what each is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.asking import Reply, client_of, post, sending
from tests.daemon_process import DaemonProcess, running, until

SLOTS = 2
FLOOD = 20


@pytest.fixture(scope="module")
def daemon(tiny: Path) -> Iterator[DaemonProcess]:
    """A daemon on which two answers advance at once."""
    environment = {"EDGED_ENGINE__SEQUENCES": str(SLOTS)}
    with running({"tiny": tiny}, '[models]\ndefault = "tiny"\n', environment) as found:
        yield found


def body(user: str, max_tokens: int = 30, **fields: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "Which way?"}]
    return {"messages": messages, "max_tokens": max_tokens, "temperature": 0, "user": user, **fields}


def facts(reply: Reply) -> dict[str, Any]:
    assert reply.status == 200, reply.body
    found: dict[str, Any] = json.loads(reply.body)["edged"]
    return found


def test_one_request_is_answered_before_the_twenty_of_somebody_else(daemon: DaemonProcess) -> None:
    with client_of(daemon) as client:
        client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "Hi"}], max_tokens=2)
    with ThreadPoolExecutor(FLOOD + 1) as threads:
        flood = [threads.submit(post, daemon, body("flood", 150)) for _ in range(FLOOD)]
        until(lambda: daemon.status()["queued"] >= FLOOD - SLOTS - 2, "the flood waits")
        one = threads.submit(post, daemon, body("one"))
        assert facts(one.result())["lane"] == "interactive"
        waiting = [reply for reply in flood if not reply.done()]
        assert len(waiting) >= FLOOD - 3 * SLOTS - 2
        for reply in flood:
            assert facts(reply.result())["served_by"] == "local"


def test_the_lane_is_told(daemon: DaemonProcess) -> None:
    assert facts(post(daemon, body("x")))["lane"] == "interactive"
    assert facts(post(daemon, body("x"), headers={"X-Edged-Lane": "background"}))["lane"] == "background"
    assert facts(post(daemon, body("x", service_tier="flex")))["lane"] == "background"
    assert daemon.requests()[0]["lane"] == "background"


@pytest.mark.parametrize(
    "header", [{"X-Edged-Lane": "fast"}, {"X-Edged-Overflow": "cut"}, {"X-Edged-Deadline-Ms": "x"}]
)
def test_a_wish_that_nobody_knows_is_refused_with_its_name(daemon: DaemonProcess, header: dict[str, str]) -> None:
    reply = post(daemon, body("x"), headers=header)

    assert (reply.status, reply.error["code"], reply.error["param"]) == (400, "invalid_request", *header)


def test_background_work_leaves_a_place_for_a_person(daemon: DaemonProcess) -> None:
    """Two errands, two places: the second errand waits, and the person does not."""
    errand = body("errands", 4000, stream=True)
    background = {"X-Edged-Lane": "background"}
    with sending(daemon, errand, headers=background), sending(daemon, errand, headers=background):
        until(lambda: daemon.status()["queued_background"] == 1, "the second errand waits")
        assert facts(post(daemon, body("person")))["queue_ms"] < 1000 * 25
        assert daemon.status()["queued_background"] == 1
    until(lambda: daemon.status()["running"] == 0, "everything has ended")


def test_a_deadline_that_cannot_be_met_is_refused_at_once_and_says_when_to_come_back(daemon: DaemonProcess) -> None:
    facts(post(daemon, body("x")))
    long = body("busy", 4000, stream=True)
    with sending(daemon, long), sending(daemon, long):
        until(lambda: daemon.resident("tiny")["busy"] == SLOTS, "both places are taken")  # type: ignore[index]
        reply = post(daemon, body("hurried"), headers={"X-Edged-Deadline-Ms": "1"})

        assert (reply.status, reply.error["code"]) == (503, "predicted_timeout")
        assert int(reply.headers["Retry-After"]) >= 1
    until(lambda: daemon.status()["running"] == 0, "everything has ended")


def test_an_answer_says_when_its_first_word_was_expected(daemon: DaemonProcess) -> None:
    for _ in range(2):
        told = facts(post(daemon, body("x")))

    assert told["ttft_predicted_ms"] > 0
    assert told["ttft_ms"] > 0
    assert daemon.requests()[0]["first_token_predicted_s"] > 0
