"""The daemon is told to stop, or dies: answers end in words, newcomers are sent away, and no process stays behind."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import openai
import pytest

from benchmarks import synthetic
from edged.control import Refused
from tests.asking import chat, chunks, client_of, first_words, text_of
from tests.conftest import StartDaemon
from tests.daemon_process import STOP_S, DaemonProcess, until

ENDLESS = {"max_tokens": 4000, "temperature": 0}
TINY = '[models]\ndefault = "tiny"\n'
SHORT_DRAIN = {"EDGED_LIMITS__DRAIN_S": "1"}


@contextmanager
def held(pid: int) -> Iterator[None]:
    """A worker that stands still, so that what it does lasts as long as a test needs it to."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def ended(daemon: DaemonProcess) -> int:
    """The exit code, once it has gone in the time that it promises and has left nobody behind."""
    code = daemon.process.wait(STOP_S)
    assert daemon.children() == []
    assert "Traceback" not in daemon.log()
    return code


def is_draining(daemon: DaemonProcess) -> bool:
    """Whether it has begun to stop."""
    return "stopping" in daemon.log()


def test_a_running_stream_goes_on_and_a_new_request_is_sent_away(start_daemon: StartDaemon, tiny: Path) -> None:
    daemon = start_daemon({"tiny": tiny}, TINY)
    with client_of(daemon) as client:
        chat(client, "Which way?", model="tiny", max_tokens=1)
        pid = daemon.worker_pid("tiny")
        with chunks(client, "Which way?", model="tiny", max_tokens=600, temperature=0) as stream:
            first_words(stream)
            with held(pid):
                daemon.terminate()
                until(lambda: is_draining(daemon), "it stops")
                with pytest.raises(openai.InternalServerError) as refused:
                    chat(client, "And now?", model="tiny", max_tokens=1)
            received = list(stream)

    assert (refused.value.status_code, refused.value.code) == (503, "shutting_down")
    assert int(refused.value.response.headers["Retry-After"]) >= 1
    assert received[-1].choices[0].finish_reason == "length", "the answer came to its own end"
    assert ended(daemon) == 0


def test_while_it_drains_it_is_alive_and_not_ready(start_daemon: StartDaemon, tiny: Path) -> None:
    daemon = start_daemon({"tiny": tiny}, TINY)
    with client_of(daemon) as client:
        chat(client, "Which way?", model="tiny", max_tokens=1)
        pid = daemon.worker_pid("tiny")
        with chunks(client, "Which way?", model="tiny", max_tokens=600) as stream:
            first_words(stream)
            with held(pid):
                daemon.terminate()
                until(lambda: is_draining(daemon), "it stops")
                assert daemon.get("/healthz") == {"status": "alive"}
                with pytest.raises(Refused, match="503"):
                    daemon.get("/readyz")
            text_of(stream)

    assert ended(daemon) == 0


def test_a_model_that_would_be_measured_now_puts_its_conversation_away_first(
    start_daemon: StartDaemon, tmp_path: Path
) -> None:
    """Measuring the steps of so deep a model takes longer than the daemon waits for what is to be kept."""
    deep = synthetic.build("tiny-deep", "Q8_0", tmp_path)
    daemon = start_daemon({"deep": deep}, '[models]\ndefault = "deep"\n')
    with client_of(daemon) as client:
        chat(client, "Which way? " * 100, model="deep", max_tokens=40)

    daemon.terminate()

    assert ended(daemon) == 0
    assert list((daemon.state_dir / "kv").rglob("*.kv"))


def test_who_waits_in_line_is_sent_away(start_daemon: StartDaemon, tiny: Path) -> None:
    daemon = start_daemon({"tiny": tiny}, TINY, {"EDGED_ENGINE__SEQUENCES": "1"})
    with client_of(daemon) as client, ThreadPoolExecutor() as threads:
        chat(client, "Which way?", model="tiny", max_tokens=1)
        pid = daemon.worker_pid("tiny")
        with chunks(client, "Which way?", model="tiny", max_tokens=600) as stream:
            first_words(stream)
            with held(pid):
                waiting = threads.submit(chat, client, "And now?", model="tiny", max_tokens=1)
                until(lambda: daemon.status()["queued"] == 1, "the second request waits")
                daemon.terminate()
                error = waiting.exception()
            text_of(stream)

    assert isinstance(error, openai.InternalServerError)
    assert error.code == "shutting_down"
    assert ended(daemon) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stream_longer_than_the_drain_is_ended_in_words(
    start_daemon: StartDaemon, tiny: Path, number: signal.Signals
) -> None:
    daemon = start_daemon({"tiny": tiny}, TINY, SHORT_DRAIN)
    # Four answers share the context, so together they take far longer than the drain on any machine.
    with client_of(daemon) as client, chunks(client, "Which way?", model="tiny", n=4, **ENDLESS) as stream:
        first_words(stream)
        daemon.process.send_signal(number)
        with pytest.raises(openai.APIError) as told:
            text_of(stream)

    assert told.value.code == "shutting_down"
    assert ended(daemon) == 0


def test_a_worker_that_stands_still_does_not_hold_up_the_stop(start_daemon: StartDaemon, tiny: Path) -> None:
    daemon = start_daemon({"tiny": tiny}, TINY, SHORT_DRAIN)
    with client_of(daemon) as client:
        chat(client, "Which way?", model="tiny", max_tokens=1)
        with chunks(client, "Which way?", model="tiny", **ENDLESS) as stream:
            first_words(stream)
            os.kill(daemon.worker_pid("tiny"), signal.SIGSTOP)
            daemon.terminate()
            with pytest.raises(openai.APIError) as told:
                text_of(stream)

    assert told.value.code == "shutting_down"
    assert ended(daemon) == 0


def test_a_client_that_reads_nothing_does_not_hold_up_the_stop(start_daemon: StartDaemon, tiny: Path) -> None:
    daemon = start_daemon({"tiny": tiny}, TINY, SHORT_DRAIN)
    with client_of(daemon) as client, chunks(client, "Which way?", model="tiny", n=8, **ENDLESS) as stream:
        first_words(stream)
        daemon.terminate()
        assert ended(daemon) == 0


def test_an_idle_daemon_stops_at_once(start_daemon: StartDaemon, tiny: Path) -> None:
    daemon = start_daemon({"tiny": tiny}, TINY)
    began_s = time.monotonic()

    daemon.terminate()

    assert ended(daemon) == 0
    assert time.monotonic() - began_s < 10, "nobody had to be waited for"
    assert not (daemon.state_dir / "edged.sock").exists(), "it takes its socket along"


def test_an_impatient_owner_may_signal_twice(start_daemon: StartDaemon, tiny: Path) -> None:
    daemon = start_daemon({"tiny": tiny}, TINY, SHORT_DRAIN)

    daemon.terminate()
    daemon.terminate()

    assert ended(daemon) == 0


def test_a_load_under_way_is_given_up(start_daemon: StartDaemon, tiny: Path) -> None:
    daemon = start_daemon({"tiny": tiny}, TINY, wait=False)

    daemon.terminate()

    assert ended(daemon) == 0


def test_a_load_that_hangs_is_given_up_and_told_to_who_waits(start_daemon: StartDaemon, tiny: Path) -> None:
    daemon = start_daemon({"tiny": tiny}, TINY, {**SHORT_DRAIN, "EDGED_MODELS__PRELOAD": "false"})
    with client_of(daemon) as client, ThreadPoolExecutor() as threads:
        asked = threads.submit(chat, client, "Which way?", model="tiny", max_tokens=1)
        daemon.child("edged.worker").suspend()
        daemon.terminate()
        error = asked.exception()

    assert isinstance(error, openai.InternalServerError)
    assert error.code == "shutting_down"
    assert ended(daemon) == 0


@pytest.mark.parametrize("stopped", [False, True])
def test_a_killed_daemon_leaves_nobody_behind(start_daemon: StartDaemon, tiny: Path, stopped: bool) -> None:
    daemon = start_daemon({"tiny": tiny}, TINY)
    with client_of(daemon) as client, chunks(client, "Which way?", model="tiny", **ENDLESS) as stream:
        first_words(stream)
        assert {daemon.worker_pid("tiny"), daemon.template_pid()} == {child.pid for child in daemon.children()}
        if stopped:
            for child in daemon.children():
                child.suspend()
        daemon.process.kill()
        daemon.process.wait()

        until(lambda: not daemon.children(), "its children are gone")
        with pytest.raises(openai.APIConnectionError):
            chat(client, "And now?", model="tiny")


def test_a_daemon_starts_where_a_killed_one_left_off(start_daemon: StartDaemon, tiny: Path) -> None:
    """A lock and a socket that nobody holds any more are in nobody's way."""
    killed = start_daemon({"tiny": tiny}, TINY)
    killed.process.kill()
    killed.process.wait()

    successor = start_daemon(state=killed.state_dir)

    assert (killed.state_dir / "edged.sock").exists()
    with client_of(successor) as client:
        assert text_of(chat(client, "Which way?", model="tiny", max_tokens=4))
