"""A copy is as fast as memory, and not as fast as an idea."""

from __future__ import annotations

import pytest

from edged.host import bandwidth


def test_copying_gives_a_plausible_number_of_bytes_per_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bandwidth, "_SECONDS", 0.02)

    # From a crowded single-board computer to the fastest server memory there is.
    assert 1e7 < bandwidth.copy_bytes_per_s() < 1e13
