"""Which models of the catalogue this device can run, how fast, and which one is the best: pure.

Quality rises with size, so the largest model is the best that is still quick enough to read along; where none is, the
quickest. Only models that were found on the hub are recommended: an entry is a hope until then.

    tokens per second  =  bytes per second that decoding gets out of this memory  /  bytes that a token reads

A token reads every weight once, except in models where only some are active. How much of a plain copy's speed decoding
gets is measured by `edged bench`; until then it is `ASSUMED_SHARE`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, get_args

from edged.catalogue import Entry, Purpose

# The lowest of our own measurements of a 0.5B and a 1.5B shape against a copy on the same machine: 65 to 97 %
# (benchmarks/LOG.md, "share of bandwidth, edged").
ASSUMED_SHARE = 0.65
# Adults read 238 words of English non-fiction a minute (Brysbaert 2019, doi.org/10.1016/j.jml.2019.104047), and a word
# is about one and a third tokens.
COMFORTABLE_TOKENS_PER_S = 238 / 60 * 4 / 3
# What a model needs beside its weights before its file is there to be read: cells, buffers, the process itself.
_BESIDE_BYTES = 512 * 2**20
# Bits per weight of a whole file, until the hub says its size: tools/quantize/README.md of ggml-org/llama.cpp, the
# table of Llama-3.1-8B; Q4_0 is `block_q4_0` in ggml/src/ggml-common.h, 18 bytes for 32 weights.
_BITS = {"Q4_0": 4.5, "Q4_K_M": 4.8944, "Q5_K_M": 5.7036, "Q6_K": 6.5633, "Q8_0": 8.5008, "F16": 16.0005}
_MOST_BITS = 16.0005

Verdict: TypeAlias = Literal["best", "smaller", "slow", "no_memory", "no_disk", "unverified"]


@dataclass(frozen=True, slots=True)
class Found:
    """What the hub said of an entry on a day (`YYYY-MM-DD`)."""

    size_bytes: int
    day: str


@dataclass(frozen=True, slots=True)
class Device:
    """What matters of this device. None: not known (yet).

    `memory_bytes` is what a model may take when no other is loaded, `disk_bytes` what may be filled. `share` is how
    much of a plain copy's `copy_bytes_per_s` decoding gets, and `share_source` says who found that out.
    """

    memory_bytes: int
    disk_bytes: int
    copy_bytes_per_s: float | None = None
    share: float = ASSUMED_SHARE
    share_source: str = "assumed; edged bench measures it"
    line_bytes_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """An entry on this device. The size is the hub's where `checked` has the day, else a guess from the parameters."""

    entry: Entry
    size_bytes: int
    checked: str
    tokens_per_s: float | None
    download_s: float | None
    is_installed: bool
    verdict: Verdict
    reason: str

    @property
    def fits(self) -> bool:
        """Whether there is room for it, in memory and on the disk."""
        return self.verdict not in ("no_memory", "no_disk")


def judge(
    entries: Sequence[Entry], found: Mapping[str, Found], device: Device, installed: Collection[str] = ()
) -> list[Judged]:
    """Every entry with its verdict and a sentence why, in the catalogue's order.

    `found` is by reference; `installed` are the references that are on the disk: those need no more room on it.
    """
    measured = [_measured(entry, found.get(entry.reference), device, entry.reference in installed) for entry in entries]
    best = {purpose: _best(measured, purpose) for purpose in get_args(Purpose)}
    return [_compared(one, best[one.entry.purpose]) for one in measured]


def chosen(judged: Iterable[Judged], purpose: Purpose = "chat") -> Judged | None:
    """The best for a purpose; None where nothing can be recommended."""
    return next((one for one in judged if one.verdict == "best" and one.entry.purpose == purpose), None)


def guessed_bytes(entry: Entry) -> int:
    """About how large the entry's file is, before the hub was asked."""
    return int(entry.parameters * _BITS.get(entry.quantisation, _MOST_BITS) / 8)


def tokens_per_s(entry: Entry, size_bytes: int, device: Device) -> float | None:
    """How fast one answer comes, as far as memory is what bounds it."""
    if device.copy_bytes_per_s is None:
        return None
    read_bytes = size_bytes * entry.read_parameters / entry.parameters
    return device.copy_bytes_per_s * device.share / read_bytes


def _measured(entry: Entry, found: Found | None, device: Device, is_installed: bool) -> Judged:
    """The entry on its own. What is still "smaller" here has no room to wish for, and is compared later."""
    size_bytes = found.size_bytes if found else guessed_bytes(entry)
    checked = found.day if found else entry.checked
    speed = tokens_per_s(entry, size_bytes, device)
    download_s = size_bytes / device.line_bytes_per_s if device.line_bytes_per_s else None
    verdict, reason = _verdict(entry, size_bytes, checked, speed, device, is_installed)
    return Judged(entry, size_bytes, checked, speed, download_s, is_installed, verdict, reason)


def _verdict(
    entry: Entry, size_bytes: int, checked: str, speed: float | None, device: Device, is_installed: bool
) -> tuple[Verdict, str]:
    needed_bytes = size_bytes + _BESIDE_BYTES
    if needed_bytes > device.memory_bytes:
        return "no_memory", f"It needs {_gb(needed_bytes)} of memory; there are {_gb(device.memory_bytes)}."
    if not is_installed and size_bytes > device.disk_bytes:
        return "no_disk", f"It takes {_gb(size_bytes)} of disk; there are {_gb(device.disk_bytes)}."
    if not checked:
        return "unverified", "It was not found on the hub yet, so it is not recommended."
    if entry.purpose == "chat" and speed is not None and speed < COMFORTABLE_TOKENS_PER_S:
        return "slow", f"It fits, but {speed:.1f} tokens a second are slower than one reads."
    return "smaller", ""


def _best(measured: Iterable[Judged], purpose: Purpose) -> Judged | None:
    """The largest that is quick enough, else the quickest that fits; of equals the first."""
    mine = [one for one in measured if one.entry.purpose == purpose]
    quick = [one for one in mine if one.verdict == "smaller"]
    if quick:
        return max(quick, key=lambda one: one.entry.parameters)
    slow = [one for one in mine if one.verdict == "slow"]
    return max(slow, key=lambda one: one.tokens_per_s or 0.0) if slow else None


def _compared(one: Judged, best: Judged | None) -> Judged:
    if best is None or one.verdict not in ("smaller", "slow"):
        return one
    if one is best:
        why = "The largest that is quick enough here." if one.verdict == "smaller" else "The quickest that fits here."
        return replace(one, verdict="best", reason=why)
    if one.verdict == "slow":
        return one
    if one.entry.parameters == best.entry.parameters:
        return replace(one, verdict="smaller", reason=f"As large as {best.entry.name}, which is preferred.")
    return replace(one, verdict="smaller", reason=f"{best.entry.name} is larger and quick enough.")


def _gb(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB"
