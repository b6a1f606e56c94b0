"""Several models in one daemon: loaded at the start, kept, given up on, and waited for, as clients see it."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.asking import post
from tests.conftest import StartDaemon
from tests.daemon_process import DaemonProcess, until

HI = [{"role": "user", "content": "Which way?"}]
# Every dialect's smallest request.
DIALECTS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": HI, "max_tokens": 2},
    "/v1/completions": {"prompt": "Once", "max_tokens": 2},
    "/v1/responses": {"input": "Which way?", "max_output_tokens": 2},
    "/v1/messages": {"messages": HI, "max_tokens": 2},
    "/api/chat": {"messages": HI, "stream": False, "options": {"num_predict": 2}},
}


def body_of(answer: bytes) -> dict[str, Any]:
    """The part that says what is wrong."""
    body: dict[str, Any] = json.loads(answer)
    return body["error"] if isinstance(body["error"], dict) else body


@pytest.fixture
def pair(start_daemon: StartDaemon, tiny: Path) -> DaemonProcess:
    """Two names for the synthetic model; one is the default, the other to be there from the start, beside a third."""
    config = '[models]\ndefault = "tiny"\nensure = ["other", "http://127.0.0.1/forbidden.gguf"]\n'
    return start_daemon({"tiny": tiny, "other": tiny}, config)


def test_the_models_that_the_owner_wants_are_there_and_a_missing_one_is_told(pair: DaemonProcess) -> None:
    assert pair.worker_pid("tiny") != pair.worker_pid("other")
    until(lambda: "model_not_ensured" in pair.events(), "the missing model is told")

    assert {found["model"] for found in pair.status()["residents"]} == {"tiny", "other"}
    assert pair.get("/readyz") == {"status": "ready"}


def test_a_model_that_kills_its_worker_is_told_of_in_every_dialect_and_others_answer(pair: DaemonProcess) -> None:
    for _ in range(2):
        assert post(pair, {"model": "other", "messages": HI, "max_tokens": 1}).status == 200
        pid = pair.worker_pid("other")
        os.kill(pid, signal.SIGABRT)
        until(lambda: (pair.resident("other") or {}).get("pid") is None, "it is gone")

    for path, body in DIALECTS.items():
        refused = post(pair, {"model": "other", **body}, path)
        assert (refused.status, body_of(refused.body)["code"]) == (422, "model_quarantined"), path
        assert post(pair, {"model": "tiny", **body}, path).status == 200, path
    shown = {model["id"]: model["edged"]["quarantine"] for model in pair.get("/v1/models")["data"]}
    assert "SIGABRT" in shown["other"]
    assert shown["tiny"] is shown["guide"] is None
    assert [case["model"] for case in pair.status()["quarantined"]] == ["other"]
    assert pair.events().count("model_quarantined") == 1


def test_who_would_not_wait_for_a_load_is_told_how_far_it_is_in_every_dialect(
    start_daemon: StartDaemon, tiny: Path
) -> None:
    daemon = start_daemon({"tiny": tiny}, '[models]\ndefault = "tiny"\n', wait=False)
    pid = until(lambda: (daemon.resident("tiny") or {}).get("pid"), "it is being loaded")
    os.kill(pid, signal.SIGSTOP)

    for path, body in DIALECTS.items():
        refused = post(daemon, {"model": "tiny", **body}, path, {"X-Edged-Deadline-Ms": "50"})
        error = body_of(refused.body)
        assert (refused.status, error["code"]) == (503, "model_loading"), path
        assert int(refused.headers["Retry-After"]) == error["retry_after_s"] >= 1
        assert 0 <= error["progress"] <= 1
    found = daemon.resident("tiny")
    assert found is not None
    assert (found["state"], found["eta_s"] >= 0) == ("loading", True)
    os.kill(pid, signal.SIGCONT)
    daemon.wait_ready()
    assert post(daemon, {"model": "tiny", "messages": HI, "max_tokens": 1}).status == 200


def test_an_unused_model_leaves_as_soon_as_any_dialect_says_so(start_daemon: StartDaemon, tiny: Path) -> None:
    pair = start_daemon({"tiny": tiny, "other": tiny}, '[models]\ndefault = "tiny"\n')
    for path, body in DIALECTS.items():
        assert post(pair, {"model": "other", **body, "keep_alive": 0}, path).status == 200, path
        until(lambda: pair.resident("other") is None, f"it has left after {path}")
    assert pair.resident("tiny") is not None


def test_what_is_in_memory_can_be_let_go_whatever_became_of_its_file(start_daemon: StartDaemon, tiny: Path) -> None:
    pair = start_daemon({"tiny": tiny, "other": tiny}, '[models]\ndefault = "tiny"\n')
    file, kept = pair.state_dir / "models" / "other.gguf", pair.state_dir / "models" / "kept"
    file.rename(kept)
    nothing: dict[str, Any] = {"model": "other", "keep_alive": 0}
    for path, body, ruined in (
        ("/api/generate", nothing, b"no model"),
        ("/api/chat", {**nothing, "messages": []}, None),
        ("/api/embed", {**nothing, "input": []}, b"no model"),
    ):
        file.hardlink_to(kept)
        assert post(pair, {"model": "other", "messages": HI, "max_tokens": 1}).status == 200
        file.unlink()
        if ruined:
            file.write_bytes(ruined)

        assert post(pair, body, path).status == 200, path
        until(lambda: pair.resident("other") is None, f"it has left after {path}")
        file.unlink(missing_ok=True)
