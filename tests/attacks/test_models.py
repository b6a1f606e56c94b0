"""Model files that are damaged, or made to end the engine (G1 to G12, G15, G16): a sentence each, and no process.

A daemon has all of them installed beside a sound model, and somebody listens to that one all the while.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edged.worker.model import Model
from tests.asking import post
from tests.attacks.enduring import PROMPTLY_S, asking, nobody_waits, nothing_stays, refused, somebody_listening
from tests.daemon_process import DaemonProcess, running
from tests.gguf_draft import STRING, Draft, one, straight
from tests.malformed import BENT, HARMLESS

# Of others' words, while all of these are asked for: what is read of a file takes the interpreter from nobody for long.
LONGEST_PAUSE_S = 2.0


def slug(name: str) -> str:
    return "bent-" + "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in name)


@pytest.fixture(scope="module")
def daemon(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """A daemon that has room for one model, which stays, and every bent one beside it."""
    folder, models = tmp_path_factory.mktemp("models"), {"tiny": tiny}
    for name, case in BENT.items():
        models[slug(name)] = folder / slug(name)
        models[slug(name)].write_bytes(case.written())
    with running(models, '[models]\ndefault = "tiny"\n') as daemon:
        daemon.worker_pid("tiny")
        post(daemon, asking())
        yield daemon


@pytest.mark.parametrize("name", BENT)
def test_a_bent_file_costs_its_own_request_a_sentence(daemon: DaemonProcess, name: str) -> None:
    before, children, began_s = daemon.worker_pid("tiny"), daemon.children(), time.monotonic()

    reply = refused(daemon, asking(slug(name)))

    assert time.monotonic() - began_s < PROMPTLY_S
    assert (reply.status, reply.error["code"], reply.error["param"]) == (422, "model_invalid", "model")
    assert reply.error["message"].startswith(f"The file of model {slug(name)} cannot be loaded: ")
    assert re.search(BENT[name].mentions, reply.error["message"])
    assert daemon.worker_pid("tiny") == before
    assert daemon.children() == children


# One of each group; a file that is new to the daemon, so that it is really read.
SAMPLE = (
    "another magic", "-1 tensors", "cut off in the middle of the data", "a text of 2^64-1 bytes", "a tensor twice",
    "alignment 3", "dimensions whose product wraps", "an offset of 2^64-32", "513 layers", "a token of 8 MB",
    "an end beyond the tokens", "epsilon NaN", "a byte without a token",
)  # fmt: skip
AT_ONCE_S = 1.0
# The machine may have other things to do in one of them.
TRIES = 3


@pytest.mark.parametrize("name", SAMPLE)
def test_a_refusal_takes_less_than_a_second_from_the_request_to_the_answer(daemon: DaemonProcess, name: str) -> None:
    took_s = []
    for number in range(TRIES):
        file = daemon.state_dir / f"models/new-{number}-{slug(name)}.gguf"
        file.write_bytes(BENT[name].written())
        began_s = time.monotonic()
        reply = post(daemon, asking(file.stem))
        took_s.append(time.monotonic() - began_s)
        file.unlink()
        assert reply.error["code"] == "model_invalid"

    assert min(took_s) < AT_ONCE_S


def test_what_a_later_edged_will_know_is_refused_as_that(daemon: DaemonProcess) -> None:
    draft = Draft()
    draft.entries["general.architecture"] = one(STRING, "qwen99")
    (daemon.state_dir / "models/later.gguf").write_bytes(draft.written())
    children = daemon.children()

    reply = refused(daemon, asking("later"))

    assert (reply.status, reply.error["code"]) == (422, "model_unsupported")
    assert "of the architecture 'qwen99'" in reply.error["message"]
    assert "Update edged, or use a model that it knows." in reply.error["message"]
    assert daemon.children() == children


def test_g15_more_than_the_memory_is_refused_before_a_load_with_the_numbers(daemon: DaemonProcess, tiny: Path) -> None:
    file = daemon.state_dir / "models/huge.gguf"
    shutil.copyfile(tiny, file)
    os.truncate(file, 2**40)  # a hole
    began_s = time.monotonic()

    reply = post(daemon, asking("huge"))

    assert time.monotonic() - began_s < PROMPTLY_S
    assert (reply.status, reply.error["code"]) == (507, "model_too_large")
    assert len(re.findall(r"[0-9.,]+ [GT]i?B", reply.error["message"])) >= 2, reply.error["message"]
    assert daemon.resident("huge") is None
    assert post(daemon, asking()).status == 200
    file.unlink()


def test_all_of_them_together_pass_by_whoever_is_listening(daemon: DaemonProcess) -> None:
    def ask_for_all() -> None:
        for name in BENT:
            refused(daemon, asking(slug(name)))

    with nothing_stays(daemon), somebody_listening(daemon) as listener:
        nobody_waits(listener, ask_for_all, LONGEST_PAUSE_S)

    assert daemon.events().count("model_loading") == 1, "no other model was ever begun with"


def test_the_straight_file_is_one_that_llama_cpp_loads(tmp_path: Path) -> None:
    """So that what is refused is refused for its bend."""
    (tmp_path / "straight.gguf").write_bytes(straight())

    model = Model(str(tmp_path / "straight.gguf"))

    assert model.vocabulary_tokens == 267


@pytest.mark.parametrize("name", HARMLESS)
def test_llama_cpp_loads_what_is_not_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "m.gguf").write_bytes(HARMLESS[name].written())

    Model(str(tmp_path / "m.gguf"))
