"""One record per request, whatever becomes of it; one line per event."""

from __future__ import annotations

import asyncio

import pytest

from edged.chat import Caller, ChatRequest
from edged.completion import Delta, Finish, Usage
from edged.errors import QueueFull, WorkerCrashed
from edged.observe import Exchange, Happening, Journal, Observed, Observer
from tests.fakes import Script, ScriptedBackend

ASKED = ChatRequest("id", model="m", caller=Caller(account="ada"))


class Ear(Observer):
    """Writes down what it hears."""

    def __init__(self) -> None:
        self.gaps: list[float | None] = []
        self.ends: list[str] = []
        self.events: list[Happening] = []

    def on_delta(self, exchange: Exchange, gap_s: float | None, tokens: int = 1) -> None:
        self.gaps.append(gap_s)

    def on_end(self, exchange: Exchange) -> None:
        self.ends.append(exchange.outcome)

    def on_event(self, happening: Happening) -> None:
        self.events.append(happening)


@pytest.fixture
def ear() -> Ear:
    return Ear()


@pytest.fixture
def journal(ear: Ear) -> Journal:
    journal = Journal()
    journal.observers.append(ear)
    return journal


def observed(journal: Journal, script: Script) -> tuple[Observed, ScriptedBackend]:
    backend = ScriptedBackend(script)
    return Observed(backend, journal), backend


async def test_an_answer_is_recorded_from_admission_to_its_end(journal: Journal, ear: Ear) -> None:
    backend, inner = observed(journal, Script((Delta(0, "a", 2), Delta(0, "b"), Finish(0, "stop", 4))))

    async with await backend.complete(ASKED) as completion:
        assert (journal.running, completion.exchange.outcome) == (1, "running")
        events = [event async for event in completion]

    (record,) = journal.exchanges
    assert len(events) == 3
    assert (record.id, record.account, record.requested_model, record.outcome) == ("id", "ada", "m", "stop")
    # The end token was drawn too, although nothing was shown for it.
    assert record.usage == Usage(prompt_tokens=5, completion_tokens=4)
    assert record.first_token_s is not None
    assert record.last_token_s is not None
    assert record.duration_s is not None
    assert 0 <= record.first_token_s <= record.last_token_s <= record.duration_s
    assert (ear.ends, journal.running) == (["stop"], 0)
    assert ear.gaps[0] is None
    assert isinstance(ear.gaps[1], float)
    assert inner.closed.is_set()


async def test_tokens_of_several_choices_are_counted_once_each(journal: Journal) -> None:
    script = Script((Delta(0, "a", 3), Delta(1, "b", 1), Finish(1, "length", 2), Finish(0, "stop", 3)))
    backend, _ = observed(journal, script)

    async with await backend.complete(ASKED) as completion:
        async for _ in completion:
            pass

    assert journal.exchanges[0].completion_tokens == 5


async def test_a_refusal_is_recorded_with_its_code(journal: Journal, ear: Ear) -> None:
    backend, _ = observed(journal, Script(admission=QueueFull("full")))

    with pytest.raises(QueueFull):
        await backend.complete(ASKED)

    assert (ear.ends, journal.running) == (["queue_full"], 0)
    assert journal.exchanges[0].usage == Usage(0)


async def test_a_failure_among_words_is_recorded_with_its_code(journal: Journal, ear: Ear) -> None:
    backend, inner = observed(journal, Script((Delta(0, "a"), WorkerCrashed("died"))))

    async with await backend.complete(ASKED) as completion:
        with pytest.raises(WorkerCrashed):
            [event async for event in completion]

    assert ear.ends == ["worker_crashed"]
    assert journal.exchanges[0].completion_tokens == 1
    assert inner.closed.is_set()


@pytest.mark.parametrize("words", [0, 1])
async def test_closing_early_is_a_cancellation(words: int, journal: Journal, ear: Ear) -> None:
    backend, inner = observed(journal, Script((Delta(0, "a"), Finish(0, "stop", 2))))

    completion = await backend.complete(ASKED)
    events = aiter(completion)
    for _ in range(words):
        await anext(events)
    await completion.aclose()
    await completion.aclose()

    assert ear.ends == ["cancelled"]
    assert inner.closed.is_set()


async def test_being_cancelled_in_the_queue_is_a_cancellation(journal: Journal, ear: Ear) -> None:
    backend, inner = observed(journal, Script(admission=asyncio.Event()))
    asking = asyncio.create_task(backend.complete(ASKED))
    await inner.asked.wait()

    asking.cancel()
    await asyncio.wait([asking])

    assert (ear.ends, journal.running) == (["cancelled"], 0)


async def test_quiet_is_when_nobody_is_answered(journal: Journal) -> None:
    await journal.quiet()
    first, second = (Exchange(id, "openai", "open", None) for id in "ab")
    journal.begin(first)
    journal.begin(second)
    waiting = asyncio.create_task(journal.quiet())

    journal.end(first, "stop")
    await asyncio.sleep(0)
    assert not waiting.done()

    journal.end(second, "stop")
    await waiting


async def test_only_the_first_end_counts(journal: Journal, ear: Ear) -> None:
    exchange = Exchange("a", "openai", "open", None)
    journal.begin(exchange)

    journal.end(exchange, "stop")
    journal.end(exchange, "cancelled")

    assert (ear.ends, exchange.outcome) == (["stop"], "stop")


async def test_events_are_numbered_told_and_logged(
    journal: Journal, ear: Ear, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "edged.observe"):
        journal.tell("model_loaded", model="m", seconds=1.5)
        journal.tell("stopping")

    assert [(event.number, event.event) for event in ear.events] == [(1, "model_loaded"), (2, "stopping")]
    assert ear.events[0].facts == {"model": "m", "seconds": 1.5}
    assert "model_loaded model=m seconds=1.5" in caplog.text


async def test_the_journal_is_bounded(journal: Journal) -> None:
    for number in range(1000):
        exchange = Exchange(str(number), "openai", "open", None)
        journal.begin(exchange)
        journal.end(exchange, "stop")
        journal.tell("event", number=number)

    assert (len(journal.exchanges), len(journal.happenings)) == (256, 256)
    assert journal.exchanges[-1].id == "999"
