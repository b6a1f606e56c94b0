"""Every scenario is played once, small, with the real daemon; its report has the shape that was promised.

llama-server takes part where it was compiled before, llama_cpp.server where it was installed before. Nothing here
looks at how fast anybody is.
"""

import pytest

from benchmarks import rival
from benchmarks.peers import race
from benchmarks.peers.__main__ import SCENARIOS
from benchmarks.peers.contenders import Kind, are_programs_built, model
from benchmarks.report import Figure


def played(name: str, *kinds: Kind) -> Figure:
    scenario = SCENARIOS[name]
    plan = race.Plan(scenario, model(scenario.nano_shape, "Q8_0"), "nano", 1, kinds, is_tuned=False)
    return race.run(plan)


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


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_scenario_is_played_by_the_daemon(name: str) -> None:
    check(played(name, "edged"), name, "edged")


@pytest.mark.parametrize("name", [name for name, scenario in SCENARIOS.items() if "tuned" in scenario.peers])
def test_every_scenario_with_llama_server_is_played_by_both(name: str) -> None:
    if not are_programs_built():
        pytest.skip("llama-server is not compiled; scripts/engine-peers does it")
    figure = played(name, "edged", "llama-server", "tuned")

    for who in ("edged", "llama-server", "tuned"):
        check(figure, name, who)
    assert "-np " in str(figure.conditions["tuned_llama-server"])


def test_the_office_is_played_by_the_server_that_answers_one_after_another() -> None:
    if not rival.is_installed():
        pytest.skip("llama_cpp.server is not installed; benchmarks.chat batching does it")
    check(played("office", "edged", "llama_cpp.server"), "office", "llama_cpp.server")
