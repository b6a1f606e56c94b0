"""What this device can, and that it is measured once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edged.advice.choice import ASSUMED_SHARE
from edged.advice.device import Measured, device, known, measured, remember
from edged.host import bandwidth


def test_memory_is_measured_once_per_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bandwidth, "copy_bytes_per_s", lambda: 5e9)
    cache = tmp_path / "cache"
    first = measured(cache)
    monkeypatch.setattr(bandwidth, "copy_bytes_per_s", lambda: 1.0)

    assert measured(cache) == known(cache) == first
    monkeypatch.setattr("edged.host.hardware.identity", lambda: "another board")
    assert known(cache) is None
    assert measured(cache).copy_bytes_per_s == 1.0


def test_a_bench_of_a_model_that_fills_no_cache_is_no_measure(tmp_path: Path) -> None:
    remember(tmp_path, 5e9, 0.8, "tiny", 2**20)
    assert known(tmp_path) is None
    remember(tmp_path, 5e9, 0.8, "large", 2**30)

    found = known(tmp_path)
    assert found is not None
    assert (found.share, found.model) == (0.8, "large")
    assert device(tmp_path, found, 0, 0, None).share_source == "measured with large"


def test_a_file_that_is_none_is_as_good_as_nothing(tmp_path: Path) -> None:
    for text in ("", "[]", '{"machine": "x", "copy_bytes_per_s": "much", "share": null, "model": ""}'):
        (tmp_path / "bandwidth.json").write_text(text)
        assert known(tmp_path) is None


def test_what_residents_take_and_what_must_stay_free_is_counted(tmp_path: Path) -> None:
    alone = device(tmp_path, None, 0, 0, None)
    beside = device(tmp_path, Measured("m", 5e9), 10 * 2**30, 2**60, 1e6)

    assert beside.memory_bytes > alone.memory_bytes + 9 * 2**30
    assert beside.disk_bytes == 0
    assert replace(beside, memory_bytes=0, disk_bytes=0, copy_bytes_per_s=None, line_bytes_per_s=None) == replace(
        alone, memory_bytes=0, disk_bytes=0
    )
    assert alone.share == ASSUMED_SHARE


def test_a_device_is_known_before_anything_was_started_on_it(tmp_path: Path) -> None:
    assert device(tmp_path / "state" / "models", None, 0, 0, None).disk_bytes > 0
