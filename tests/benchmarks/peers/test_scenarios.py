"""Every scenario is played once, small, with the real daemon; its report has the shape that was promised.

llama-server takes part where it was compiled before, llama_cpp.server where it was installed before. Nothing here
looks at how fast anybody is.
"""

import pytest

from benchmarks import rival
from benchmarks.peers import race, tuning
from benchmarks.peers.__main__ import SCENARIOS
from benchmarks.peers.contenders import Kind, are_programs_built, model
from benchmarks.report import Figure


def played(name: str, *kinds: Kind) -> Figure:
    scenario = SCENARIOS[name]
    plan = race.Plan(scenario, model(scenario.nano_shape, "Q8_0"), "nano", 1, kinds, is_tuned=False)
    return race.run(plan, tuning.first(scenario.needs))


def check(figure: Figure, name: str, who: str) -> None:
    """`who` gave every value that the scenario names for everybody, or said why it cannot."""
    notes = {line.what: line.note for line in figure.lines if line.value is None}
    assert not [note for note in notes.values() if note.startswith("failed")]
    if notes.get(who, "").startswith("skipped: "):
        return
    first = next(iter(SCENARIOS[name].values))
    given = {line.what: line.value for line in figure.lines}
    assert given[f"{first}, {who}"] is not None
    promised = figure.lines[: len(SCENARIOS[name].promises)]
    assert all(line.value is None for line in promised), "one round is not published"
    assert all(line.limit is not None or line.least is not None for line in promised)


def available(name: str) -> tuple[Kind, ...]:
    """Whoever can take part without something being compiled or installed first."""
    absent: set[Kind] = set()
    if not are_programs_built():
        absent |= {"llama-server", "tuned"}
    if not rival.is_installed():
        absent |= {"llama_cpp.server"}
    return tuple(kind for kind in SCENARIOS[name].kinds if kind not in absent)


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_scenario_is_played_by_everybody_who_is_here(name: str) -> None:
    kinds = available(name)
    figure = played(name, *kinds)

    for kind in kinds:
        check(figure, name, kind)


def test_the_options_that_were_found_are_used_and_shown() -> None:
    if not are_programs_built():
        pytest.skip("llama-server is not compiled; scripts/engine-peers does it")
    eight = SCENARIOS["eight"]
    plan = race.Plan(eight, model(eight.nano_shape, "Q8_0"), "nano", 1, ("edged", "tuned"))

    figure = race.run(plan, tuning.Options(4, is_shared=False, batch=64, micro_batch=64, threads=1))

    assert figure.conditions["tuned_llama-server"] == "-np 4 -no-kvu -b 64 -ub 64 -t 1"
    check(figure, "eight", "tuned")
