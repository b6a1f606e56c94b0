"""The model's process dies, hangs or never comes up: the client is told in time, and the next request is served."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import psutil
import pytest

from tests.asking import chat, chunks, client_of, first_words, text_of
from tests.conftest import StartDaemon
from tests.daemon_process import DaemonProcess, until

# The promises, from the signal to the error that the client reads.
TOLD_OF_DEATH_S = 0.5
TOLD_OF_SILENCE_S = 15.0
# Longer than any of these tests lasts.
ENDLESS = {"max_tokens": 4000, "temperature": 0}
TINY = '[models]\ndefault = "tiny"\n'
ONE_AT_A_TIME = {"EDGED_ENGINE__SEQUENCES": "1"}


@pytest.fixture
def daemon(start_daemon: StartDaemon, tiny: Path) -> DaemonProcess:
    """A daemon that answers with the synthetic model."""
    return start_daemon({"tiny": tiny}, TINY)


def is_served(daemon: DaemonProcess) -> bool:
    """Ask for a short answer and read it."""
    with client_of(daemon) as client:
        return bool(text_of(chat(client, "Which way?", model="tiny", max_tokens=4)))


def gone(pid: int) -> bool:
    """Whether the process is no more; one that only waits to be reaped counts as gone."""
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_worker_killed_in_an_answer_is_told_within_half_a_second_and_replaced(daemon: DaemonProcess) -> None:
    assert is_served(daemon)
    pid = daemon.worker_pid("tiny")

    with client_of(daemon) as client, chunks(client, "Which way?", model="tiny", **ENDLESS) as stream:
        first_words(stream)
        os.kill(pid, signal.SIGKILL)
        killed_s = time.monotonic()
        with pytest.raises(openai.APIError) as told:
            text_of(stream)
        told_s = time.monotonic() - killed_s

    assert told_s < TOLD_OF_DEATH_S
    assert told.value.code == "worker_crashed"
    assert isinstance(told.value.body, dict)
    assert told.value.body["src"] == "edged"
    assert told.value.body["partial"] is True
    assert "SIGKILL" in told.value.message
    assert daemon.requests()[0]["outcome"] == "worker_crashed"
    assert is_served(daemon)
    assert daemon.worker_pid("tiny") != pid
    assert "worker_died" in daemon.events()


def test_every_stream_of_a_killed_worker_is_told(daemon: DaemonProcess) -> None:
    pid = daemon.worker_pid("tiny") if is_served(daemon) else 0

    with client_of(daemon) as client, ThreadPoolExecutor() as threads:
        streams = [chunks(client, f"Way {number}?", model="tiny", **ENDLESS) for number in range(4)]
        for stream in streams:
            first_words(stream)
        os.kill(pid, signal.SIGKILL)
        ends = [threads.submit(text_of, stream) for stream in streams]
        errors = [end.exception() for end in ends]
        for stream in streams:
            stream.close()

    assert [getattr(error, "code", error) for error in errors] == ["worker_crashed"] * 4


def test_a_worker_killed_before_the_first_word_is_a_503(daemon: DaemonProcess) -> None:
    assert is_served(daemon)
    pid = daemon.worker_pid("tiny")
    os.kill(pid, signal.SIGSTOP)

    with client_of(daemon) as client, ThreadPoolExecutor() as threads:
        asked = threads.submit(chat, client, "Which way?", model="tiny", max_tokens=4)
        until(lambda: daemon.status()["running"] == 1 and (daemon.resident("tiny") or {})["busy"] == 1, "it is asked")
        os.kill(pid, signal.SIGKILL)
        error = asked.exception()

    assert isinstance(error, openai.InternalServerError)
    assert (error.status_code, error.code) == (503, "worker_crashed")
    assert int(error.response.headers["Retry-After"]) >= 1
    assert is_served(daemon)


def test_who_waits_in_line_outlives_the_worker(start_daemon: StartDaemon, tiny: Path) -> None:
    daemon = start_daemon({"tiny": tiny}, TINY, ONE_AT_A_TIME)
    assert is_served(daemon)
    pid = daemon.worker_pid("tiny")

    with client_of(daemon) as client, ThreadPoolExecutor() as threads:
        with chunks(client, "Which way?", model="tiny", **ENDLESS) as stream:
            first_words(stream)
            os.kill(pid, signal.SIGSTOP)  # holds the one slot for as long as this test needs
            waiting = threads.submit(chat, client, "And now?", model="tiny", max_tokens=4)
            until(lambda: daemon.status()["queued"] == 1, "the second request waits")
            os.kill(pid, signal.SIGKILL)
            with pytest.raises(openai.APIError) as told:
                text_of(stream)
        answer = waiting.result()

    assert told.value.code == "worker_crashed"
    assert text_of(answer)
    assert daemon.worker_pid("tiny") != pid


def test_a_worker_killed_while_idle_is_replaced_by_the_next_request(daemon: DaemonProcess) -> None:
    assert is_served(daemon)
    pid = daemon.worker_pid("tiny")

    os.kill(pid, signal.SIGKILL)
    until(lambda: daemon.resident("tiny") is None, "the daemon noticed")

    assert is_served(daemon)


def test_a_worker_that_stops_in_an_answer_is_told_and_replaced_within_15_s(daemon: DaemonProcess) -> None:
    assert is_served(daemon)
    pid = daemon.worker_pid("tiny")

    with client_of(daemon) as client:
        with chunks(client, "Which way?", model="tiny", **ENDLESS) as stream:
            first_words(stream)
            os.kill(pid, signal.SIGSTOP)
            stopped_s = time.monotonic()
            with pytest.raises(openai.APIError) as told:
                text_of(stream)
            told_s = time.monotonic() - stopped_s
        answer = chat(client, "And now?", model="tiny", max_tokens=4)
        replaced_s = time.monotonic() - stopped_s

    assert told.value.code == "worker_stalled"
    assert text_of(answer)
    assert told_s <= replaced_s < TOLD_OF_SILENCE_S
    assert gone(pid)


def test_a_worker_that_stopped_while_idle_costs_one_request(daemon: DaemonProcess) -> None:
    assert is_served(daemon)
    pid = daemon.worker_pid("tiny")
    os.kill(pid, signal.SIGSTOP)
    asked_s = time.monotonic()

    with client_of(daemon) as client, pytest.raises(openai.InternalServerError) as told:
        chat(client, "Which way?", model="tiny", max_tokens=4)

    assert (told.value.status_code, told.value.code) == (503, "worker_stalled")
    assert time.monotonic() - asked_s < TOLD_OF_SILENCE_S
    assert is_served(daemon)
    assert gone(pid)


def test_a_killed_template_process_is_replaced(daemon: DaemonProcess) -> None:
    assert is_served(daemon)
    pid = daemon.template_pid()

    os.kill(pid, signal.SIGKILL)

    assert is_served(daemon)
    assert daemon.template_pid() != pid


def test_a_stopped_template_process_costs_one_request(daemon: DaemonProcess) -> None:
    assert is_served(daemon)
    pid, worker = daemon.template_pid(), daemon.worker_pid("tiny")
    os.kill(pid, signal.SIGSTOP)

    with client_of(daemon) as client, pytest.raises(openai.UnprocessableEntityError) as told:
        chat(client, "Which way?", model="tiny", max_tokens=4)

    assert told.value.code == "template_limit"
    assert is_served(daemon)
    assert gone(pid)
    assert daemon.worker_pid("tiny") == worker, "the worker has nothing to do with it"


def test_a_model_that_must_go_takes_its_processes_along(start_daemon: StartDaemon, tiny: Path) -> None:
    """Sent away at once after it was loaded, while its template process is still on its way up."""
    daemon = start_daemon({"tiny": tiny}, '[models]\ndefault = "guide"\n[engine]\nresident_models = 1\n')
    assert is_served(daemon)

    pids = {daemon.worker_pid("tiny"), daemon.template_pid()}
    until(lambda: len(daemon.children()) <= 2, f"of the old model nothing is left: {daemon.children()}")

    assert {child.pid for child in daemon.children()} == pids


def test_nobody_can_ask_before_the_default_model_is_on_its_way(start_daemon: StartDaemon, tiny: Path) -> None:
    """It would be loaded beside what somebody asked for, whether there is room for both or not."""
    daemon = start_daemon({"tiny": tiny}, TINY, wait=False)
    until(lambda: "listening" in daemon.events(), "it tells that it listens")

    assert set(daemon.events()[:2]) == {"listening", "model_loading"}


@pytest.mark.parametrize("content", [b"", b"GGUF", b"not a model\n" * 1000, b"GGUF\x03\0\0\0" + b"\xff" * 4096])
def test_a_file_that_is_no_model_is_a_422_and_nothing_else(
    start_daemon: StartDaemon, tiny: Path, tmp_path: Path, content: bytes
) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(content)
    daemon = start_daemon({"tiny": tiny, "broken": broken}, TINY)

    with client_of(daemon) as client, pytest.raises(openai.UnprocessableEntityError) as told:
        chat(client, "Which way?", model="broken", max_tokens=4)

    assert told.value.code == "model_invalid"
    assert "broken" in told.value.message
    assert is_served(daemon)


def test_a_model_that_is_cut_off_is_a_422(start_daemon: StartDaemon, tiny: Path, tmp_path: Path) -> None:
    """As a download leaves it that ended too early."""
    half = tmp_path / "half.gguf"
    half.write_bytes(tiny.read_bytes()[: tiny.stat().st_size // 2])
    daemon = start_daemon({"half": half}, '[models]\ndefault = "guide"\n')

    with client_of(daemon) as client:
        with pytest.raises(openai.UnprocessableEntityError) as told:
            chat(client, "Which way?", model="half", max_tokens=4)
        assert chat(client, "Hello", model="guide", max_tokens=1).model == "guide"

    assert told.value.code == "model_invalid"


def test_a_default_model_that_cannot_be_loaded_leaves_the_others(start_daemon: StartDaemon, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"not a model")
    daemon = start_daemon({"broken": broken}, '[models]\ndefault = "broken"\n', wait=False)
    until(lambda: "model_load_failed" in daemon.events(), "the default model was tried")

    with client_of(daemon) as client:
        assert chat(client, "Hello", model="guide", max_tokens=1).model == "guide"
        with pytest.raises(openai.UnprocessableEntityError):
            chat(client, "Hello", model="gpt-4o", max_tokens=1)


def test_a_worker_killed_while_loading_is_told_to_who_waits(start_daemon: StartDaemon, tiny: Path) -> None:
    daemon = start_daemon({"tiny": tiny}, TINY, {"EDGED_MODELS__PRELOAD": "false"})

    with client_of(daemon) as client, ThreadPoolExecutor() as threads:
        asked = threads.submit(chat, client, "Which way?", model="tiny", max_tokens=4)
        daemon.child("edged.worker").kill()
        error = asked.exception()

    assert isinstance(error, openai.InternalServerError)
    assert (error.status_code, error.code) == (503, "worker_crashed")
    assert is_served(daemon)
