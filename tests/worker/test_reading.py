"""A long prompt is read beside the decoding, in its turn, and a short one at once."""

from __future__ import annotations

from threading import Event

import pytest

from edged.sampling import Sampling
from edged.template_wire import Span
from edged.token_wire import Count
from edged.wire import Embed, Generate, Rank
from edged.worker.reading import LONGEST_AT_ONCE_BYTES, Read, Readable, Reading, Tokens, size_bytes

LONG = "x" * (LONGEST_AT_ONCE_BYTES + 1)
PATIENCE_S = 20.0


def generate(id: int, text: str) -> Generate:
    return Generate(id, (Span(text),), 1, Sampling(), ())


class Slow:
    """A tokenizer that waits until it is let go."""

    def __init__(self) -> None:
        self.may, self.told, self.seen = Event(), Event(), list[int]()

    def __call__(self, frame: Readable) -> Tokens:
        self.may.wait(PATIENCE_S)
        self.seen.append(frame.id)
        return [[frame.id]]


@pytest.fixture
def slow() -> Slow:
    return Slow()


@pytest.fixture
def reading(slow: Slow) -> Reading:
    return Reading(slow, slow.told.set)


def until_read(reading: Reading, slow: Slow) -> list[Read]:
    found: list[Read] = []
    while not reading.is_idle:
        assert slow.told.wait(PATIENCE_S)
        slow.told.clear()
        found += reading.finished()
    return found


def test_a_short_prompt_is_read_at_once(reading: Reading, slow: Slow) -> None:
    slow.may.set()
    frame = generate(1, "Hello")

    assert reading.read(frame) == Read(frame, [[1]])
    assert reading.is_idle


def test_long_prompts_are_read_beside_and_come_in_their_order(reading: Reading, slow: Slow) -> None:
    assert [reading.read(generate(id, LONG)) for id in (1, 2, 3)] == [None] * 3
    assert reading.finished() == []
    assert not reading.is_idle

    slow.may.set()

    assert [read.frame.id for read in until_read(reading, slow)] == [1, 2, 3]
    assert reading.is_idle


def test_who_is_cancelled_does_not_come_any_more(reading: Reading, slow: Slow) -> None:
    for id in (1, 2, 3):
        reading.read(generate(id, LONG))
    reading.cancel(1)  # is being read
    reading.cancel(3)  # waits
    reading.cancel(4)  # was never here

    slow.may.set()

    assert [read.frame.id for read in until_read(reading, slow)] == [2]
    assert 3 not in slow.seen


def test_what_goes_wrong_there_is_not_kept_there() -> None:
    told = Event()

    def broken(frame: Readable) -> Tokens:
        raise RuntimeError("the tokenizer failed")

    reading = Reading(broken, told.set)
    reading.read(generate(1, LONG))
    assert told.wait(PATIENCE_S)

    with pytest.raises(RuntimeError, match="the tokenizer failed"):
        reading.finished()


def test_the_size_of_everything_that_holds_text() -> None:
    assert size_bytes(generate(1, "12345")) == 5
    assert size_bytes(Count(1, ((Span("12"), Span("3")), (Span("4"),)))) == 4
    assert size_bytes(Embed(1, "123")) == 3
    assert size_bytes(Rank(1, "12", "345")) == 5
