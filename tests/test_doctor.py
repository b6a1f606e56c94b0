"""Each check says what is wrong and what to do; a healthy device is told so."""

from __future__ import annotations

import pytest

from edged import doctor
from edged.config import Engine
from edged.wire import Loaded

pytestmark = pytest.mark.own_loop


def card(*, gpus: tuple[str, ...] = (), gpu_layers: int = 0) -> Loaded:
    return Loaded(64, "", "", "", (), "guide", 1, 1, gpus=gpus, gpu_layers=gpu_layers, layers=5)


async def test_the_built_in_model_answers_what_it_must_know() -> None:
    verdicts = await doctor.examine(Engine(gpu_layers=0), [])

    assert [(verdict.check, verdict.state) for verdict in verdicts] == [
        ("engine", "good"),
        ("gpu", "good"),
        ("self-test", "good"),
    ]
    assert doctor.is_healthy(verdicts)


async def test_without_an_engine_nothing_else_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "is_engine_installed", lambda: False)
    (verdict,) = await doctor.examine(Engine(), [])

    assert verdict.state == "error"
    assert "scripts/run --setup" in verdict.text


def test_a_gpu_that_is_not_used_is_an_error_and_never_silence() -> None:
    verdict = doctor.gpu_verdict("an NVIDIA GPU", card(), -1)

    assert verdict.state == "error"
    assert not doctor.is_healthy([verdict])


@pytest.mark.parametrize(
    ("present", "loaded", "wanted", "said"),
    [
        (None, card(), -1, "there is no GPU"),
        ("an NVIDIA GPU", card(), 0, "gpu_layers is 0"),
        ("an NVIDIA GPU", card(gpus=("NVIDIA H200",), gpu_layers=5), -1, "NVIDIA H200 is used"),
    ],
)
def test_why_the_processor_or_the_gpu_is_used_is_told(
    present: str | None, loaded: Loaded, wanted: int, said: str
) -> None:
    verdict = doctor.gpu_verdict(present, loaded, wanted)

    assert verdict.state == "good"
    assert said in verdict.text


@pytest.mark.parametrize(
    "test", [doctor.SelfTest(1.0, answer="I am a fish."), doctor.SelfTest(1.0, error="The process died.")]
)
def test_a_wrong_answer_or_none_is_an_error(test: doctor.SelfTest) -> None:
    assert doctor.guide_verdict(test).state == "error"


def test_what_the_daemon_says_of_its_models_is_passed_on() -> None:
    residents: list[dict[str, object]] = [
        {"model": "good", "problem": None},
        {"model": "bad", "problem": "Of 25 layers 12 are on the GPU."},
    ]
    (verdict,) = doctor.resident_verdicts(residents)

    assert verdict.check == "model bad"
    assert verdict.state == "error"
