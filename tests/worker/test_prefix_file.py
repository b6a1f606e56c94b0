"""A file comes back as it was written, or not at all."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.worker.prefix_file import Unusable, pieces, read_head, read_whole, size_bytes
from edged.worker.prefixes import Snapshot
from tests.worker.files import a_file, a_file_of

IDENTITY, OTHER = b"i" * 32, b"o" * 32
MOST_TOKENS = 64

states = st.binary(max_size=200)
lengths = st.integers(0, MOST_TOKENS)
snapshots = st.builds(
    lambda tokens, partition, is_pinned, cuts, state: Snapshot(
        tokens, partition, len(tokens), cuts, is_pinned, state=state
    ),
    st.lists(st.integers(0, 2**31 - 1), max_size=MOST_TOKENS),
    st.none() | st.text(max_size=20),
    st.booleans(),
    st.none() | st.dictionaries(lengths, states, max_size=4),
    states,
)


def read(descriptor: int, identity: bytes = IDENTITY) -> Snapshot:
    """What a worker would hand to its engine; the descriptor is closed."""
    try:
        return read_whole(descriptor, read_head(descriptor, identity, MOST_TOKENS), identity)
    finally:
        os.close(descriptor)


@given(snapshots)
def test_what_was_written_is_read(snapshot: Snapshot) -> None:
    content = b"".join(pieces(snapshot, IDENTITY))
    found = read(a_file(content))

    assert len(content) == size_bytes(snapshot, len(snapshot.state))
    for name in ("tokens", "partition", "length", "cuts", "is_pinned", "state"):
        assert getattr(found, name) == getattr(snapshot, name)


def test_only_what_is_in_memory_is_written() -> None:
    found = read(a_file_of(Snapshot([1, 2, 3, 4], "ann", 2, state=b"s"), IDENTITY))

    assert (found.tokens, found.length) == ([1, 2], 2)


@given(snapshots, st.data())
def test_a_file_with_any_byte_changed_is_not_read(snapshot: Snapshot, data: st.DataObject) -> None:
    content = bytearray(b"".join(pieces(snapshot, IDENTITY)))
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))

    with pytest.raises(Unusable):
        read(a_file(bytes(content)))


@given(snapshots, st.data())
def test_a_file_that_is_too_short_or_too_long_is_not_read(snapshot: Snapshot, data: st.DataObject) -> None:
    content = b"".join(pieces(snapshot, IDENTITY))
    wrong = content[: data.draw(st.integers(0, len(content) - 1))] or content + b"more"

    with pytest.raises(Unusable) as raised:
        read(a_file(wrong))
    assert raised.value.reason == "damaged"


@given(snapshots)
def test_a_file_of_another_model_or_engine_is_not_read(snapshot: Snapshot) -> None:
    with pytest.raises(Unusable) as raised:
        read(a_file_of(snapshot, OTHER))
    assert raised.value.reason == "foreign"


@given(snapshots, snapshots)
def test_a_file_that_changed_after_its_head_was_read_is_not_read(one: Snapshot, other: Snapshot) -> None:
    first, second = (b"".join(pieces(snapshot, IDENTITY)) for snapshot in (one, other))
    descriptor = a_file(first)
    head = read_head(descriptor, IDENTITY, MOST_TOKENS)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, second, 0)

    try:
        if head == read_head(descriptor, IDENTITY, MOST_TOKENS):  # a whole file, and what its head says is true of it
            assert read_whole(descriptor, head, IDENTITY).state == other.state
        else:
            with pytest.raises(Unusable):
                read_whole(descriptor, head, IDENTITY)
    finally:
        os.close(descriptor)


@given(st.binary(max_size=500))
def test_noise_is_not_read(noise: bytes) -> None:
    with pytest.raises(Unusable):
        read(a_file(noise))


def test_an_older_format_and_a_longer_context_are_not_read() -> None:
    content = b"".join(pieces(Snapshot([1] * 65, "ann", 65, state=b"s"), IDENTITY))

    with pytest.raises(Unusable, match="65 tokens in a context of 64"):
        read(a_file(content))
    with pytest.raises(Unusable, match="another format"):
        read(a_file(content.replace(b"edged kv 1", b"edged kv 0")))


def test_it_is_written_in_slices_that_take_a_moment_each() -> None:
    assert max(map(len, pieces(Snapshot([1], "ann", 1, state=bytes(5 * 2**20)), IDENTITY))) <= 2**20
