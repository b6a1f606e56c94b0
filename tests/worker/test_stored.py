"""What lies in files is offered to those whom it is for, and is gone the moment it is found to be wrong."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from edged.prefix_wire import Discard, PrefixNews, Restoring, Used
from edged.worker.batcher import Batcher
from edged.worker.prefixes import Snapshot, longest
from edged.worker.stored import WORTH_STORING_TOKENS, StoredPrefixes
from tests.fakes import FakeLlama, job
from tests.worker.files import a_file, a_file_of
from tests.worker.test_batcher import alone, run, told

IDENTITY = b"i" * 32
LONG = [1 + n % 8 for n in range(WORTH_STORING_TOKENS + 20)]


@pytest.fixture
def news() -> list[PrefixNews]:
    return []


@pytest.fixture
def stored(news: list[PrefixNews]) -> Iterator[StoredPrefixes]:
    """No files; those that a test adds are closed."""
    found = StoredPrefixes(IDENTITY, 1024, news.append)
    yield found
    for one in list(found):
        found.forget(one.id)


def of(tokens: list[int], partition: str | None = "ann", *, is_pinned: bool = False) -> int:
    """A file as `FakeLlama` would have it."""
    snapshot = Snapshot(tokens, partition, len(tokens), is_pinned=is_pinned, state=repr(tokens).encode())
    return a_file_of(snapshot, IDENTITY)


def asked(stored: StoredPrefixes, prompt: list[int], partition: str = "ann") -> tuple[tuple[str, str | None, int], int]:
    """What a new worker says to a prompt, and how much of that it had not to read."""
    llama, cached = FakeLlama(), list[int]()
    batcher = Batcher(llama, llama, lambda sequence, tokens: cached.append(tokens), stored=stored)
    batcher.submit(job(llama, 1, prompt, max_tokens=6, end_in=1000, partition=partition))
    return told(run(batcher)[1]), cached[0]


def test_a_conversation_goes_on_from_its_file(stored: StoredPrefixes, news: list[PrefixNews]) -> None:
    stored.add(7, of(LONG))
    prompt = [*LONG, 9, 9]

    assert asked(stored, prompt) == (alone(prompt, context_tokens=1024, max_tokens=6, end_in=1000), len(LONG))
    assert news == [Restoring(7), Used(7)]


def test_another_account_is_not_told_by_a_quick_answer(stored: StoredPrefixes) -> None:
    stored.add(1, of(LONG, "ann"))
    assert asked(stored, LONG, "ben")[1] == 0

    stored.add(2, of(LONG, None, is_pinned=True))
    assert asked(stored, LONG, "ben")[1] == len(LONG) - 1, "the owner's are for everybody"


def test_a_damaged_file_is_discarded_and_the_next_best_is_taken(stored: StoredPrefixes, news: list[PrefixNews]) -> None:
    shorter = LONG[: WORTH_STORING_TOKENS + 5]
    stored.add(1, of([*shorter, 9]))
    stored.add(2, damaged := of(LONG))
    os.pwrite(damaged, b"\xff", os.fstat(damaged).st_size - 40)
    prompt = [*LONG, 5]

    assert asked(stored, prompt) == (alone(prompt, context_tokens=1024, max_tokens=6, end_in=1000), len(shorter))
    assert news == [Discard(2, "damaged", "its checksum does not fit"), Restoring(1), Used(1)]
    assert [one.id for one in stored] == [1]


def test_two_files_that_changed_places_are_as_good_as_before(stored: StoredPrefixes) -> None:
    one, other = [1] * 70, [2] * 70
    stored.add(1, of(other))
    stored.add(2, of(one))

    for tokens in (one, other):
        assert asked(stored, [*tokens, 3])[1] == 70


def test_what_cannot_be_read_at_all_is_discarded_when_it_is_offered(
    stored: StoredPrefixes, news: list[PrefixNews]
) -> None:
    stored.add(1, a_file(b"noise"))
    stored.add(2, a_file_of(Snapshot([1], "ann", 1, state=b"s"), b"o" * 32))

    assert [(type(one), one.id, one.reason) for one in news if isinstance(one, Discard)] == [
        (Discard, 1, "damaged"),
        (Discard, 2, "foreign"),
    ]
    assert not list(stored)


def test_a_longer_file_of_the_same_conversation_replaces_the_shorter(
    stored: StoredPrefixes, news: list[PrefixNews]
) -> None:
    stored.add(1, of(LONG))
    stored.add(2, of(LONG, "ben"))
    stored.add(3, of(LONG[:-1], None, is_pinned=True))
    stored.add(4, of([*LONG, 7]))

    assert news == [Discard(1, "replaced")]
    assert [one.id for one in stored] == [2, 3, 4]


def test_a_file_in_use_is_told_of_even_where_its_tokens_are_in_memory(
    stored: StoredPrefixes, news: list[PrefixNews]
) -> None:
    llama = FakeLlama()
    batcher = Batcher(llama, llama, stored=stored)
    stored.add(1, of(LONG))
    for id in (1, 2):
        batcher.submit(job(llama, id, [*LONG, id], max_tokens=2, end_in=1000, partition="ann"))
        run(batcher)

    assert news == [Restoring(1), Used(1), Used(1)]


def test_what_the_engine_refuses_although_there_is_room_is_discarded(
    stored: StoredPrefixes, news: list[PrefixNews], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeLlama, "load", lambda *_: False)
    stored.add(1, of(LONG))
    prompt = [*LONG, 4]

    assert asked(stored, prompt) == (alone(prompt, context_tokens=1024, max_tokens=6, end_in=1000), 0)
    assert news[-1] == Discard(1, "damaged", "llama.cpp did not take it")


def test_forgetting_closes_the_file_and_the_unknown_is_nothing(stored: StoredPrefixes) -> None:
    descriptor = of(LONG)
    stored.add(1, descriptor)

    stored.forget(1)
    stored.forget(1)

    assert longest(LONG, "ann", stored).count == 0
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
