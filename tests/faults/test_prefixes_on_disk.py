"""What was read before a restart is not read after it; however the daemon ends, nobody gets a wrong answer for it."""

from __future__ import annotations

import os
import random
import re
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
from openai.types.chat import ChatCompletionMessageParam

from tests.asking import client_of
from tests.daemon_process import PATIENCE_S, DaemonProcess, running, until

SYSTEM = "You answer those who work in the harbour, in few words and without jokes. " * 12
# Cells of 8 bits: what is read in other chunks is the same to the last bit.
TINY = '[models]\ndefault = "tiny"\n[engine]\nkv_type = "q8_0"\n'
SHARED = f'{TINY}shared_prompts = ["{SYSTEM}"]\n'
OFF = f"{TINY}prefix_disk_bytes = 0\n"
QUESTION = "Which way is it to the boats? " * 20
KILLS = 6


@pytest.fixture
def state() -> Iterator[Path]:
    """A state directory that outlives its daemons."""
    with tempfile.TemporaryDirectory(prefix="edged-test-") as folder:
        yield Path(folder) / "state"


def kept(state: Path) -> list[Path]:
    """Prefixes on disk, whole or not."""
    return sorted((state / "kv").glob("*/*"))


def asked(
    daemon: DaemonProcess, messages: list[ChatCompletionMessageParam], max_tokens: int = 24
) -> tuple[str, int, int]:
    """What is said, how long the prompt was, and how much of it was known."""
    with client_of(daemon) as client:
        answer = client.chat.completions.create(
            model="tiny", messages=messages, max_tokens=max_tokens, temperature=0, stream=False
        )
    assert answer.usage
    assert answer.usage.prompt_tokens_details
    cached = answer.usage.prompt_tokens_details.cached_tokens or 0
    return answer.choices[0].message.content or "", answer.usage.prompt_tokens, cached


def conversation(daemon: DaemonProcess, turns: int) -> list[ChatCompletionMessageParam]:
    """So many turns and the next question."""
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": QUESTION}]
    for _ in range(turns):
        text, _, _ = asked(daemon, messages)
        messages += [{"role": "assistant", "content": text}, {"role": "user", "content": "And then?"}]
    return messages


@pytest.mark.parametrize("turns", [1, 2])
def test_the_next_turn_after_a_restart_is_not_read_again(tiny: Path, state: Path, turns: int) -> None:
    with running({"tiny": tiny}, TINY, state=state) as daemon:
        messages = conversation(daemon, turns)
        expected, tokens, warm = asked(daemon, messages)
    with running({"tiny": tiny}, TINY, state=state) as daemon:
        text, _, cached = asked(daemon, messages)
        with urlopen(daemon.url + "/metrics", timeout=PATIENCE_S) as response:
            metrics = response.read().decode()

    assert text == expected
    assert cached >= warm > 0.8 * tokens
    (restored,) = re.findall(r'edged_prefix_disk_moved_bytes_total\{direction="restored"\} (\S+)', metrics)
    assert float(restored) > 0


def test_switched_off_nothing_is_kept_and_what_was_is_deleted(tiny: Path, state: Path) -> None:
    with running({"tiny": tiny}, TINY, state=state) as daemon:
        messages = conversation(daemon, 1)
    assert kept(state)

    with running({"tiny": tiny}, OFF, state=state) as daemon:
        assert asked(daemon, messages)[2] == 0
    assert not (state / "kv").exists()


def test_the_owners_prompt_is_on_disk_without_anybody_asking_and_whatever_kills_the_daemon(
    tiny: Path, state: Path
) -> None:
    """Killed at random moments around the writing: the file is there whole, or it is not there."""
    moments = random.Random(3)
    messages: list[ChatCompletionMessageParam] = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": "Where?"},
    ]
    with running({"tiny": tiny}, SHARED, {"EDGED_ENGINE__PREFIX_DISK_BYTES": "0"}) as daemon:
        expected, _, _ = asked(daemon, messages)
    for _ in range(KILLS):
        with running({"tiny": tiny}, SHARED, state=state) as daemon:
            daemon.worker_pid("tiny")
            if not kept(state):
                until(lambda: kept(state), "something is written")
                time.sleep(moments.random() * 0.01)
            os.kill(daemon.pid, signal.SIGKILL)
            daemon.process.wait()
        assert {path.suffix for path in kept(state)} <= {".kv", ".tmp"}
    with running({"tiny": tiny}, SHARED, state=state) as daemon:
        assert [path for path in kept(state) if path.suffix == ".tmp"] == []
        until(lambda: kept(state), "it is written")
        text, tokens, cached = asked(daemon, messages)

    assert text == expected
    assert cached > 0.8 * tokens


def test_a_worker_that_is_killed_is_followed_by_one_that_knows_what_is_on_disk(tiny: Path, state: Path) -> None:
    with running({"tiny": tiny}, TINY, state=state) as daemon:
        messages = conversation(daemon, 1)
        expected, tokens, _ = asked(daemon, messages)
    with running({"tiny": tiny}, TINY, state=state) as daemon:
        asked(daemon, messages)
        os.kill(pid := daemon.worker_pid("tiny"), signal.SIGKILL)
        until(lambda: daemon.resident("tiny") is None, "its death is noticed")
        text, _, cached = asked(daemon, messages)
        assert daemon.worker_pid("tiny") != pid

    assert (text, cached > 0.8 * tokens) == (expected, True)


def test_files_are_for_their_owner_alone(tiny: Path, state: Path) -> None:
    with running({"tiny": tiny}, TINY, state=state) as daemon:
        conversation(daemon, 1)

    assert [path.stat().st_mode & 0o777 for path in kept(state)] == [0o600] * len(kept(state)) != []
    assert [path.stat().st_mode & 0o777 for path in (state / "kv", kept(state)[0].parent)] == [0o700, 0o700]
