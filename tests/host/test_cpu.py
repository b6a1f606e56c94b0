"""The machine's cores, cut to what the cgroups allow."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edged.host.cpu import usable_cores


@pytest.fixture(autouse=True)
def _eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))


def limit(folder: Path, cpu_max: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cpu.max").write_text(f"{cpu_max}\n")


def member(tmp_path: Path, line: str = "0::/a/b\n") -> Path:
    file = tmp_path / "membership"
    file.write_text(line)
    return file


@pytest.mark.parametrize(
    ("cpu_max", "cores"),
    [
        ("max 100000", 8),
        ("200000 100000", 2),
        ("150000 100000", 1),
        ("10000 100000", 1),
        ("1600000 100000", 8),
        ("nonsense", 8),
    ],
)
def test_a_quota_leaves_whole_cores_and_at_least_one(cpu_max: str, cores: int, tmp_path: Path) -> None:
    limit(tmp_path / "root/a/b", cpu_max)

    assert usable_cores(tmp_path / "root", member(tmp_path)) == cores


def test_the_tightest_level_counts(tmp_path: Path) -> None:
    limit(tmp_path / "root/a/b", "600000 100000")
    limit(tmp_path / "root/a", "300000 100000")
    limit(tmp_path / "root/c", "100000 100000")

    assert usable_cores(tmp_path / "root", member(tmp_path)) == 3


def test_without_cgroups_the_affinity_counts(tmp_path: Path) -> None:
    assert usable_cores(tmp_path, tmp_path / "nothing") == 8
    assert usable_cores(tmp_path, member(tmp_path, "3:cpu:/old\n")) == 8
