"""What the command plans to measure."""

import argparse
from pathlib import Path

import pytest

from benchmarks.peers import __main__ as command
from benchmarks.peers import tuning
from benchmarks.peers.contenders import Model
from benchmarks.peers.race import Plan
from benchmarks.peers.scenario import Scenario
from benchmarks.peers.tuning import Options


@pytest.fixture(autouse=True)
def _models_need_not_be_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "model", lambda shape, quant: Model(shape, quant, Path("model.gguf")))


def plans(*arguments: str) -> list[Plan]:
    return list(command._plans(command._parser().parse_args(arguments)))


def test_what_is_bound_by_the_kernels_is_measured_with_four_models() -> None:
    for name in ("decode", "prefill"):
        models = {str(plan.model) for plan in plans() if plan.scenario.name == name and plan.rounds == 5}
        assert models == {f"qwen2.5-{size} {quant}" for size in ("0.5b", "1.5b") for quant in ("Q4_0", "Q4_K_M")}


def test_the_others_are_measured_five_times_small_and_once_larger() -> None:
    offices = [(str(plan.model), plan.rounds) for plan in plans() if plan.scenario.name == "office"]

    assert offices == [("qwen2.5-0.5b Q4_0", 5), ("qwen2.5-1.5b Q4_0", 1)]


def test_quick_is_one_small_round_of_everything() -> None:
    quick = plans("--quick")

    assert [plan.scenario.name for plan in quick] == list(command.SCENARIOS)
    assert {(plan.size, plan.rounds, plan.is_tuned) for plan in quick} == {("quick", 1, False)}


def test_options_are_searched_once_per_scenario(monkeypatch: pytest.MonkeyPatch) -> None:
    searched = []

    def best(scenario: Scenario, _model: Model) -> Options:
        searched.append(scenario.name)
        return Options(3)

    monkeypatch.setattr(tuning, "best", best)
    found: dict[str, Options] = {}

    used = {str(command._options(plan, found)) for plan in plans("decode")}

    assert used == {str(Options(3))}
    assert searched == ["decode"], "four models, one search"


def test_a_peer_can_be_left_out() -> None:
    (plan,) = plans("office", "--quick", "--without", "tuned")

    assert plan.kinds == ("edged", "llama-server", "llama_cpp.server")


def test_an_unknown_scenario_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SystemExit, match="unknown: ofice; known are decode"):
        plans("ofice")


def test_a_model_that_cannot_be_made_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        plans("--model", "qwen9:Q4_0")
    assert "shapes are" in capsys.readouterr().err
    with pytest.raises(argparse.ArgumentTypeError):
        command._named_model("nano")
