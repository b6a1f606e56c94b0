"""A prefix as a file: whose it is, its tokens, the engine's state behind them, and a checksum over all of it.

    fixed   magic, identity, flags, how long each of the following is
    whose   the partition, in UTF-8
    tokens  32 bits each
    cuts    of each checkpoint its number of tokens and its number of bytes
    state   as llama.cpp gives it
    parts   the checkpoints, in the order of `cuts`
    digest  BLAKE2b of everything before it

`identity` stands for the model, the engine's build and its settings: a state means nothing to any other, and llama.cpp
cannot tell. The digest is there because llama.cpp believes every number in a state; nothing of a file reaches it before
all of the file was found to be as it was written. It protects from failing storage, a torn write and a mix-up. It does
not protect from somebody who writes such files on purpose: whoever may write here may replace the model as well.
"""

from __future__ import annotations

import os
import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b

from edged.prefix_wire import DiscardReason
from edged.worker.prefixes import Known, Snapshot

_MAGIC = b"edged kv 1\n\0"  # the number is the format's: another one is not read
DIGEST_BYTES = 32
_FIXED = struct.Struct("<12s32sBHIHQ")  # magic, identity, flags, and lengths: partition, tokens, cuts, state
_CUT = struct.Struct("<IQ")
_PINNED, _PARTITIONED, _CUTTABLE = 1, 2, 4
_SLICE_BYTES = 2**20


class Unusable(Exception):
    """The file is not what it should be; `reason` says whether it is damaged or only of another engine."""

    def __init__(self, reason: DiscardReason, detail: str) -> None:
        super().__init__(detail)
        self.reason: DiscardReason = reason


@dataclass(frozen=True, slots=True)
class Head:
    """Everything of a file but the state: what it offers, and where its bytes are."""

    tokens: list[int]
    partition: str | None
    is_pinned: bool
    cuts: tuple[tuple[int, int], ...] | None  # tokens and bytes of each; None where the memory can be cut anywhere
    state_bytes: int
    head_bytes: int

    @property
    def parts_bytes(self) -> int:
        """All checkpoints."""
        return sum(size for _, size in self.cuts or ())

    @property
    def file_bytes(self) -> int:
        """The whole file."""
        return self.head_bytes + self.state_bytes + self.parts_bytes + DIGEST_BYTES


def identity_of(model_key: str, build: str) -> bytes:
    """What a state depends on, as files name it."""
    return blake2b(f"{model_key}\n{build}".encode(), digest_size=DIGEST_BYTES).digest()


def size_bytes(known: Known, state_bytes: int) -> int:
    """How long the file of `known` would be with a state of so many bytes."""
    whose = len((known.partition or "").encode())
    cuts = known.cuts or {}
    head = _FIXED.size + whose + 4 * known.length + _CUT.size * len(cuts)
    return head + state_bytes + sum(map(len, cuts.values())) + DIGEST_BYTES


def pieces(snapshot: Snapshot, identity: bytes) -> Iterator[bytes]:
    """The file's bytes in slices that take a moment each; the last one is the checksum."""
    digest = blake2b(digest_size=DIGEST_BYTES)
    cuts = snapshot.cuts or {}
    for part in (_head(snapshot, identity), snapshot.state, *cuts.values()):
        for start in range(0, len(part), _SLICE_BYTES):
            piece = part[start : start + _SLICE_BYTES]
            digest.update(piece)
            yield piece
    yield digest.digest()


def read_head(descriptor: int, identity: bytes, most_tokens: int) -> Head:
    """What the file offers, not yet known to be undamaged. Raises `Unusable`, `OSError`."""
    fixed = os.pread(descriptor, _FIXED.size, 0)
    if len(fixed) < _FIXED.size:
        raise Unusable("damaged", f"only {len(fixed)} bytes long")
    magic, whose, flags, partition_bytes, count, cut_count, state_bytes = _FIXED.unpack(fixed)
    if magic != _MAGIC:
        raise Unusable("foreign", "of another format")
    if whose != identity:
        raise Unusable("foreign", "of another model, engine or setting")
    if count > most_tokens:
        raise Unusable("damaged", f"{count} tokens in a context of {most_tokens}")
    rest_bytes = partition_bytes + 4 * count + _CUT.size * cut_count
    rest = os.pread(descriptor, rest_bytes, _FIXED.size)
    if len(rest) < rest_bytes:
        raise Unusable("damaged", "its head is cut off")
    tokens = array("i", rest[partition_bytes : partition_bytes + 4 * count])
    cuts = tuple(_CUT.iter_unpack(rest[partition_bytes + 4 * count :]))
    head = Head(
        tokens=tokens.tolist(),
        partition=rest[:partition_bytes].decode(errors="replace") if flags & _PARTITIONED else None,
        is_pinned=bool(flags & _PINNED),
        cuts=None if flags & _CUTTABLE else cuts,
        state_bytes=state_bytes,
        head_bytes=_FIXED.size + rest_bytes,
    )
    if (found := os.fstat(descriptor).st_size) != head.file_bytes:
        raise Unusable("damaged", f"{found} bytes long in place of {head.file_bytes}")
    return head


def read_whole(descriptor: int, head: Head, identity: bytes) -> Snapshot:
    """The state with its checkpoints, as they were written. Raises `Unusable`, `OSError`."""
    digest, at = blake2b(digest_size=DIGEST_BYTES), 0

    def take(count: int) -> bytes:
        nonlocal at
        part = _read(descriptor, count, at)
        digest.update(part)
        at += count
        return part

    begin, state = take(head.head_bytes), take(head.state_bytes)
    cuts = None if head.cuts is None else {length: take(part_bytes) for length, part_bytes in head.cuts}
    if _read(descriptor, DIGEST_BYTES, at) != digest.digest():
        raise Unusable("damaged", "its checksum does not fit")
    snapshot = Snapshot(head.tokens, head.partition, len(head.tokens), cuts, head.is_pinned, state=state)
    if begin != _head(snapshot, identity):
        raise Unusable("damaged", "its head has changed since it was read")
    return snapshot


def _read(descriptor: int, count: int, at: int) -> bytes:
    """In one piece where the kernel gives it so: a state is large, and there should not be two of it."""
    data = os.pread(descriptor, count, at)
    while len(data) < count:
        if not (more := os.pread(descriptor, count - len(data), at + len(data))):
            raise Unusable("damaged", f"it ends after {at + len(data)} bytes")
        data += more
    return data


def _head(snapshot: Snapshot, identity: bytes) -> bytes:
    whose = (snapshot.partition or "").encode()
    cuts = snapshot.cuts or {}
    flags = _PINNED * snapshot.is_pinned | _PARTITIONED * (snapshot.partition is not None)
    flags |= _CUTTABLE * (snapshot.cuts is None)
    lengths = (len(whose), snapshot.length, len(cuts), len(snapshot.state))
    fixed = _FIXED.pack(_MAGIC, identity, flags, *lengths)
    tokens = array("i", snapshot.tokens[: snapshot.length]).tobytes()
    return fixed + whose + tokens + b"".join(_CUT.pack(length, len(part)) for length, part in cuts.items())
