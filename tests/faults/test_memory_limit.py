"""The daemon under a real limit of memory: what fits only with less gets less, what fits in no way is refused before
anything is loaded, and where the kernel kills a worker all the same, the others live and a smaller way is tried once.

Limits are the kernel's; making one takes root.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edged.host.memory import kernel_kills
from tests.asking import Reply, post
from tests.attacks.enduring import asking
from tests.daemon_process import DaemonProcess, running
from tests.memory_group import MemoryGroup, memory_group

MIB = 2**20
CONTEXT_TOKENS = 131_072
# Its cells alone take 768 MiB in sixteen bits and 408 MiB in eight. The rest of it takes 100 to 260 MiB, the daemon
# less than 100 and `guide` as much; so all the limits below are far from what decides.
CONFIG = f'[models]\ndefault = "guide"\n[engine]\ncontext_tokens = {CONTEXT_TOKENS}\nsequences = 4\n'


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small file whose conversations take much: 48 layers, and it says that it was trained for long contexts."""
    from benchmarks import synthetic  # loads numpy, which the other tests can do without

    file = synthetic.build("tiny-deep", "Q8_0", tmp_path_factory.mktemp("models"))
    key, kind = b"llama.context_length", 4  # a whole number of 32 bits (gguf.md)
    content = file.read_bytes()
    said, wanted = (key + struct.pack("<II", kind, tokens) for tokens in (4096, CONTEXT_TOKENS))
    assert content.count(said) == 1
    file.write_bytes(content.replace(said, wanted))
    return file


@pytest.fixture
def group() -> Iterator[MemoryGroup]:
    with memory_group() as made:
        yield made


def asked(daemon: DaemonProcess, model: str) -> Reply:
    return post(daemon, {**asking(model), "max_tokens": 2})


def fit_of(daemon: DaemonProcess, model: str) -> dict[str, Any]:
    found = daemon.resident(model)
    assert found is not None
    fit: dict[str, Any] = found["fit"]
    return fit


def test_a_model_that_fits_only_with_less_gets_less_and_says_so(group: MemoryGroup, long: Path) -> None:
    group.limit(920 * MIB)
    with running({"long": long}, CONFIG.replace("guide", "long"), within=group.entering()) as daemon:
        answer = asked(daemon, "long")

        assert answer.status == 200, answer.body
        fit = fit_of(daemon, "long")
        assert (fit["context_tokens"], fit["kv_type"]) == (CONTEXT_TOKENS, "q8_0")
        assert "kv_type q8_0 in place of f16" in fit["lowered"]
        assert fit["needs"]["total_bytes"] < 920 * MIB
        assert "model_lowered" in daemon.events()
        assert group.processes() >= {daemon.pid, daemon.worker_pid("long")}
    assert group.kills() == 0


def test_context_that_nobody_has_set_is_lowered_as_well(group: MemoryGroup, long: Path) -> None:
    group.limit(170 * MIB)  # it takes 138 MiB with 8,192 tokens and 109 with 2,048, the daemon about 45
    with running({"long": long}, '[models]\ndefault = "long"\n', within=group.entering()) as daemon:
        assert asked(daemon, "long").status == 200
        fit = fit_of(daemon, "long")
        assert fit["context_tokens"] < 8192
        assert f"context lowered from 8192 to {fit['context_tokens']} tokens" in fit["lowered"]
    assert group.kills() == 0


def test_a_model_that_fits_in_no_way_is_refused_at_once_with_the_numbers(group: MemoryGroup, long: Path) -> None:
    group.limit(400 * MIB)
    with running({"long": long}, CONFIG, within=group.entering()) as daemon:
        assert asked(daemon, "guide").status == 200
        worker = daemon.worker_pid("guide")
        began_s = time.monotonic()
        refused = asked(daemon, "long")
        took_s = time.monotonic() - began_s

        assert (refused.status, refused.error["code"]) == (507, "model_too_large")
        assert took_s < 1
        assert refused.error["available_bytes"] < 400 * MIB < refused.error["needed_bytes"]
        assert "conversations" in refused.error["message"]
        assert "[engine] context_tokens = " in refused.error["message"]
        assert asked(daemon, "guide").status == 200
        assert daemon.worker_pid("guide") == worker, "nobody left for it"
        assert daemon.events().count("model_loading") == 1, "nothing was loaded but guide"
    assert group.kills() == 0


@pytest.mark.parametrize(
    ("limit_bytes", "kills", "status"),
    [pytest.param(900 * MIB, 1, 200, id="with less"), pytest.param(400 * MIB, 2, 507, id="in no way")],
)
def test_where_the_kernel_kills_a_load_it_is_tried_once_with_less(
    limit_bytes: int, kills: int, status: int, group: MemoryGroup, long: Path
) -> None:
    """The arithmetic is misled: it cannot see this limit."""
    group.limit(limit_bytes)
    before = kernel_kills()
    with running({"long": long}, CONFIG, within=group.entering(unseen=True)) as daemon:
        worker = daemon.worker_pid("guide")

        answer = asked(daemon, "long")

        assert answer.status == status, answer.body
        assert group.kills() == kills
        assert before is None or (kernel_kills() or 0) >= before + kills, "those of a group are counted too"
        if status == 200:
            assert fit_of(daemon, "long")["kv_type"] == "q8_0"
        else:
            assert answer.error["code"] == "model_too_large"
            assert daemon.resident("long") is None
        assert asked(daemon, "guide").status == 200
        assert daemon.worker_pid("guide") == worker
