"""A smaller model that guesses ahead: the same words, and a clear word where it cannot help."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from openai import OpenAI

from benchmarks import synthetic
from tests.asking import chat, client_of, text_of
from tests.conftest import StartDaemon
from tests.daemon_process import DaemonProcess, running, until

ENGINE = '[models]\ndefault = "deep"\n[engine]\nkv_type = "q8_0"\nresident_models = 3\nlookup = false\n'


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model, the part of it that guesses for it, and one that nobody can guess for."""
    folder = tmp_path_factory.mktemp("models")
    shapes = {"deep": "tiny-deep", "small": "tiny-deep-draft", "window": "tiny-window"}
    return {name: synthetic.build(shape, "Q8_0", folder) for name, shape in shapes.items()}


@pytest.fixture(scope="module")
def daemon(files: dict[str, Path]) -> Iterator[DaemonProcess]:
    with running(files, ENGINE + 'draft_model = "small"\n') as found:
        yield found


@pytest.fixture(scope="module")
def plain(files: dict[str, Path]) -> Iterator[DaemonProcess]:
    with running({"deep": files["deep"]}, ENGINE) as found:
        yield found


def said(client: OpenAI, temperature: float, words: str = "Which way to the harbour?") -> str:
    return text_of(chat(client, words, model="deep", max_tokens=120, temperature=temperature, seed=5))


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_the_words_are_the_same_and_some_of_them_were_guessed(
    daemon: DaemonProcess, plain: DaemonProcess, temperature: float
) -> None:
    def guessed() -> bool:
        assert said(helped, temperature) == expected
        found = daemon.resident("deep")
        assert found is not None
        return bool(found["accepted_tokens"])

    with client_of(daemon) as helped, client_of(plain) as alone:
        expected = said(alone, temperature)
        until(guessed, "a guess that was right")


def test_status_names_the_smaller_model_and_it_guesses_for_nobody_who_asks_it(daemon: DaemonProcess) -> None:
    with client_of(daemon) as client:
        for model in ("deep", "small"):
            chat(client, "Hi", model=model, max_tokens=2)
    deep, small = daemon.resident("deep"), daemon.resident("small")
    assert deep is not None
    assert small is not None

    assert (deep["draft_model"], deep["draft_problem"]) == ("small", None)
    assert (small["draft_model"], small["draft_problem"]) == (None, None)


def test_a_model_that_cannot_be_guessed_for_answers_and_says_so(daemon: DaemonProcess) -> None:
    with client_of(daemon) as client:
        assert text_of(chat(client, "Hi", model="window", max_tokens=5))
    found = daemon.resident("window")
    assert found is not None

    assert found["draft_model"] is None
    assert "cannot be cut back" in found["draft_problem"]
    assert "draft_unused" in daemon.events()


@pytest.mark.parametrize(
    ("drafter", "problem"), [("nobody", "no such model is installed"), ("broken", "broken cannot be loaded: ")]
)
def test_a_smaller_model_that_is_none_costs_nothing_but_its_guesses(
    start_daemon: StartDaemon, files: dict[str, Path], tmp_path: Path, drafter: str, problem: str
) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(files["small"].read_bytes()[:100_000])
    daemon = start_daemon({"deep": files["deep"], "broken": broken}, ENGINE + f'draft_model = "{drafter}"\n')
    with client_of(daemon) as client:
        assert said(client, 0.0)
    found = daemon.resident("deep")
    assert found is not None

    assert found["draft_model"] is None
    assert problem in found["draft_problem"]
