"""The machine's memory, cut to what the cgroups leave."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from edged.host.memory import available_bytes, kernel_kills, own_bytes, total_bytes

MACHINE = 1000


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=MACHINE, total=2 * MACHINE))


def cgroup(folder: Path, limit: str, used: int = 0, inactive_file: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {inactive_file}\nslab 1\n")


def member(tmp_path: Path, line: str) -> Path:
    file = tmp_path / "membership"
    file.write_text(line)
    return file


@pytest.mark.parametrize(
    ("limit", "used", "inactive_file", "expected"),
    [("max", 0, 0, MACHINE), ("5000", 0, 0, MACHINE), ("700", 200, 0, 500), ("700", 600, 150, 250), ("700", 900, 0, 0)],
)
def test_a_limit_leaves_what_is_not_used(
    limit: str, used: int, inactive_file: int, expected: int, tmp_path: Path
) -> None:
    cgroup(tmp_path / "root/system.slice/edged.service", limit, used, inactive_file)

    assert available_bytes(tmp_path / "root", member(tmp_path, "0::/system.slice/edged.service\n")) == expected


def test_whatever_can_be_given_back_is_room(tmp_path: Path) -> None:
    cgroup(tmp_path / "root/a", "700", 650, inactive_file=100)
    with (tmp_path / "root/a/memory.stat").open("a") as statistics:
        statistics.write("active_file 30\nslab_reclaimable 7\n")

    assert available_bytes(tmp_path / "root", member(tmp_path, "0::/a\n")) == 700 - 650 + 100 + 30 + 7


@pytest.mark.parametrize(("high", "limit_bytes"), [("max", 700), ("300", 300), ("900", 700)])
def test_where_a_process_is_slowed_down_it_has_no_room_either(high: str, limit_bytes: int, tmp_path: Path) -> None:
    cgroup(tmp_path / "root/a", "700", 200)
    (tmp_path / "root/a/memory.high").write_text(f"{high}\n")
    membership = member(tmp_path, "0::/a\n")

    assert available_bytes(tmp_path / "root", membership) == limit_bytes - 200
    assert total_bytes(tmp_path / "root", membership) == limit_bytes


def test_the_tightest_level_counts(tmp_path: Path) -> None:
    root = tmp_path / "root"
    cgroup(root, "300", 100)
    cgroup(root / "a", "900", 100)
    cgroup(root / "a/b", "800", 100)

    assert available_bytes(root, member(tmp_path, "1:name=systemd:/x\n0::/a/b\n")) == 200


@pytest.mark.parametrize("line", ["", "1:memory:/old\n", "0::/a/b\n", "0::/\n"])
def test_without_cgroups_the_machine_counts(line: str, tmp_path: Path) -> None:
    assert available_bytes(tmp_path / "root", member(tmp_path, line)) == MACHINE


@pytest.mark.parametrize(("limit", "expected"), [("max", 2 * MACHINE), ("5000", 2 * MACHINE), ("700", 700)])
def test_all_memory_is_what_the_machine_has_within_its_limits(limit: str, expected: int, tmp_path: Path) -> None:
    cgroup(tmp_path / "sys" / "a", limit, used=600)

    assert total_bytes(tmp_path / "sys", member(tmp_path, "0::/a\n")) == expected


@pytest.mark.parametrize("line", ["4:memory:/a/b\n0::/\n", "4:cpu,memory:/a/b\n", "0::/\n4:memory:/a/b\n1:cpu:/x\n"])
def test_a_limit_of_version_1_counts_as_well(line: str, tmp_path: Path) -> None:
    """As where systemd mounts both, with memory in the older tree."""
    own = tmp_path / "root/memory/a/b"
    own.mkdir(parents=True)
    for level, limit in ((own, 2**63 - 4096), (own.parent, 700)):
        (level / "memory.limit_in_bytes").write_text(f"{limit}\n")
        (level / "memory.usage_in_bytes").write_text("600\n")
        (level / "memory.stat").write_text("inactive_file 1\ntotal_inactive_file 150\n")

    assert available_bytes(tmp_path / "root", member(tmp_path, line)) == 250
    assert total_bytes(tmp_path / "root", member(tmp_path, line)) == 700


def test_without_proc_the_machine_counts(tmp_path: Path) -> None:
    assert available_bytes(tmp_path, tmp_path / "nowhere") == MACHINE


def test_a_membership_outside_our_view_is_not_followed(tmp_path: Path) -> None:
    """In a container /proc/self/cgroup may say `0::/../..`; what lies there is not ours."""
    cgroup(tmp_path, "1", 1)

    assert available_bytes(tmp_path / "root", member(tmp_path, "0::/../\n")) in (MACHINE, 0)


def test_this_machine_has_some() -> None:
    assert available_bytes() > 0


@pytest.mark.parametrize(
    ("text", "expected"), [("pgfault 5\noom_kill 3\noom_kill_other 9\n", 3), ("pgfault 5\n", None)]
)
def test_how_many_the_kernel_has_killed_for_memory(text: str, expected: int | None, tmp_path: Path) -> None:
    (tmp_path / "vmstat").write_text(text)

    assert kernel_kills(tmp_path / "vmstat") == expected
    assert kernel_kills(tmp_path / "nowhere") is None


def test_pages_of_files_are_not_a_process_s_own(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7/statm").write_text("900 120 20 1 0 99 0\n")

    assert own_bytes(7, tmp_path) == 100 * os.sysconf("SC_PAGE_SIZE")
    assert own_bytes(8, tmp_path) == 0, "it is gone"
    own, more = own_bytes(os.getpid()), bytes(b"x" * 2**24)
    assert own_bytes(os.getpid()) - own > len(more) / 2
