"""Which model a device is told to use."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.advice.choice import (
    COMFORTABLE_TOKENS_PER_S,
    Device,
    Found,
    Judged,
    chosen,
    guessed_bytes,
    judge,
    tokens_per_s,
)
from edged.catalogue import entries

GIB = 2**30
ALL = {entry.reference: Found(guessed_bytes(entry), "2026-11-20") for entry in entries()}
# A Raspberry Pi 5 with 8 GB, as far as appliances of its kind were measured: about 11 GB/s for a copy.
BOARD = Device(int(7.2 * GIB), 40 * GIB, 11e9)


def verdicts(device: Device, found: dict[str, Found] = ALL, installed: tuple[str, ...] = ()) -> dict[str, Judged]:
    return {one.entry.name: one for one in judge(entries(), found, device, installed)}


def best(device: Device, found: dict[str, Found] = ALL) -> str | None:
    one = chosen(judge(entries(), found, device))
    return one.entry.name if one else None


def test_the_board_gets_the_largest_that_one_can_read_along_with() -> None:
    judged = verdicts(BOARD)

    assert best(BOARD) == "granite-3.3-2b"
    assert judged["qwen3-8b"].verdict == "slow"
    assert "tokens a second" in judged["qwen3-8b"].reason
    assert judged["qwen3-14b"].verdict == "no_memory"
    assert judged["qwen3-14b"].reason == ("It needs 9.6 GB of memory; there are 7.7 GB.")
    assert judged["qwen3-1.7b"].reason == "granite-3.3-2b is larger and quick enough."


def test_more_bandwidth_makes_room_for_a_larger_one() -> None:
    assert best(replace(BOARD, copy_bytes_per_s=80e9)) == "qwen3.5-9b"
    assert best(replace(BOARD, copy_bytes_per_s=80e9, memory_bytes=32 * GIB)) == "qwen3-14b"


def test_where_all_are_slow_the_quickest_is_the_best() -> None:
    assert best(replace(BOARD, copy_bytes_per_s=1e9)) == "qwen3-0.6b"


def test_what_was_never_found_on_the_hub_is_listed_and_not_recommended() -> None:
    judged = verdicts(BOARD, {})

    assert best(BOARD, {}) is None
    assert {one.verdict for one in judged.values()} <= {"unverified", "no_memory", "no_disk"}
    assert {one.fits for one in judged.values() if one.verdict == "unverified"} == {True}


def test_without_a_measurement_nothing_is_said_of_speed_and_the_largest_that_fits_is_the_best() -> None:
    judged = verdicts(replace(BOARD, copy_bytes_per_s=None))

    assert {one.tokens_per_s for one in judged.values()} == {None}
    assert [one.entry.name for one in judged.values() if one.verdict == "best"] == [
        "qwen3.5-9b",
        "qwen3-embedding-0.6b",
    ]


def test_what_is_installed_needs_no_more_room_on_the_disk() -> None:
    full = replace(BOARD, disk_bytes=0)
    reference = next(entry.reference for entry in entries() if entry.name == "qwen3-0.6b")

    assert {one.verdict for one in verdicts(full).values()} == {"no_disk", "no_memory"}
    assert verdicts(full, installed=(reference,))["qwen3-0.6b"].verdict == "best"


def test_the_hubs_size_counts_and_not_the_guess() -> None:
    reference = next(entry.reference for entry in entries() if entry.name == "qwen3-0.6b")
    judged = verdicts(BOARD, {reference: Found(5 * GIB, "2026-11-20")})

    assert judged["qwen3-0.6b"].size_bytes == 5 * GIB


def test_a_model_of_which_only_a_part_is_active_is_as_quick_as_that_part() -> None:
    whole, part = (next(entry for entry in entries() if entry.name == name) for name in ("qwen3-8b", "gemma-4-e4b"))
    assert part.active_parameters is not None

    assert tokens_per_s(whole, GIB, BOARD) == pytest.approx(11e9 * BOARD.share / GIB)
    assert tokens_per_s(part, GIB, BOARD) == pytest.approx(11e9 * BOARD.share / GIB * 2)


def test_a_download_takes_what_the_line_needs() -> None:
    judged = verdicts(replace(BOARD, line_bytes_per_s=1e6))
    assert judged["qwen3-4b"].download_s == pytest.approx(judged["qwen3-4b"].size_bytes / 1e6)
    assert {one.download_s for one in verdicts(BOARD).values()} == {None}


devices = st.builds(
    Device,
    memory_bytes=st.integers(0, 64 * GIB),
    disk_bytes=st.integers(0, 64 * GIB),
    copy_bytes_per_s=st.one_of(st.none(), st.floats(1e8, 1e12)),
    share=st.floats(0.1, 1.0),
)


@given(devices, st.sets(st.sampled_from(sorted(ALL))))
def test_whatever_the_device_the_best_fits_and_is_verified_and_every_other_says_why_not(
    device: Device, there: set[str]
) -> None:
    judged = judge(entries(), {reference: ALL[reference] for reference in there}, device)

    assert [one.entry for one in judged] == list(entries())
    assert all(one.reason.endswith(".") for one in judged)
    for one in judged:
        if one.verdict == "best":
            assert one.checked
            assert one.size_bytes <= min(device.memory_bytes, device.disk_bytes)
    bests = [one.entry.purpose for one in judged if one.verdict == "best"]
    assert len(bests) == len(set(bests))


@given(devices)
def test_with_more_memory_the_best_is_never_smaller(device: Device) -> None:
    small = chosen(judge(entries(), ALL, device))
    large = chosen(judge(entries(), ALL, replace(device, memory_bytes=2 * device.memory_bytes)))
    if small is not None:
        assert large is not None
        is_quick = small.tokens_per_s is None or small.tokens_per_s >= COMFORTABLE_TOKENS_PER_S
        assert not is_quick or large.entry.parameters >= small.entry.parameters
