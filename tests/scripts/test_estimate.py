"""The estimate of a compilation and the progress through it."""

from pathlib import Path

import pytest

from install.estimate import Progress, duration_probes, measured_costs, read_steps, spoken, with_cuda

STEPS = {"configure": 1.0, "a.o": 4.0, "b.o": 2.0, "c.o": 2.0, "pack": 0.5}


@pytest.mark.parametrize(("jobs", "probes"), [(1, 9.5), (2, 5.5), (8, 5.5)])
def test_steps_share_the_jobs_and_the_ends_run_alone(jobs: int, probes: float) -> None:
    assert duration_probes(STEPS, jobs) == pytest.approx(probes)


@pytest.mark.parametrize(("machine", "own", "foreign"), [("x86_64", "x86", "arm"), ("aarch64", "arm", "x86")])
def test_the_table_covers_a_build_on_every_kind_of_machine(root: Path, machine: str, own: str, foreign: str) -> None:
    steps = with_cuda(read_steps(root / "scripts/install/engine_steps.tsv", machine), cuda_sources=0)
    assert any(f"/arch/{own}/" in step for step in steps)
    assert not any(f"/arch/{foreign}/" in step for step in steps)
    assert 20 < duration_probes(steps, jobs=2) < 40  # 2 min on a 2-core x86-64, at 4 s per probe
    assert "cuda" not in steps


def test_cuda_files_are_counted(root: Path) -> None:
    steps = read_steps(root / "scripts/install/engine_steps.tsv", "aarch64")
    assert duration_probes(with_cuda(steps, 100), 2) > 2 * duration_probes(with_cuda(steps, 0), 2)


def test_progress_follows_the_estimate_first_and_the_pace_later() -> None:
    progress = Progress(STEPS, estimated_s=100.0)
    assert progress.left_s(elapsed_s=30.0) == 70.0
    for step in ("configure", "a.o"):
        progress.finish(step)
    assert progress.fraction() == pytest.approx(5.0 / 9.5)
    assert progress.left_s(elapsed_s=50.0) == pytest.approx(45.0)


def test_progress_survives_steps_that_it_did_not_expect() -> None:
    progress = Progress(STEPS, estimated_s=100.0)
    for number in range(20):
        progress.finish(f"surprise{number}.o")
    assert progress.fraction() == 0.99


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "1 s"), (59.4, "59 s"), (130.0, "2 min 10 s"), (3900.0, "1 h 05 min")]
)
def test_durations_are_spoken_as_exactly_as_they_are_known(seconds: float, text: str) -> None:
    assert spoken(seconds) == text


def test_a_finished_build_tells_what_its_steps_cost() -> None:
    costs = measured_costs([("configure", 2.0), ("dir/gguf.cpp.o", 4.0), ("a.o", 6.0)])
    assert costs == "0.500\tconfigure\n1.000\tdir/gguf.cpp.o\n1.500\ta.o\n"
