"""What this device can, as far as it was measured: remembered, because measuring takes cores from whoever is served.

It stands in `cache/bandwidth.json`, and is a cache: without it there is another measurement, and no share but an
assumed one until the next bench.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edged import remembered
from edged.advice.choice import Device
from edged.checked import reader
from edged.host import bandwidth, hardware, memory
from edged.store.room import room_bytes

_FILE = "bandwidth.json"

# A model that fits into caches, or whose time goes elsewhere, says nothing of memory.
_TELLING_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Measured:
    """A machine's memory: what a copy gets, and which share of that decoding got with `model`; None: never measured."""

    machine: str
    copy_bytes_per_s: float
    share: float | None = None
    model: str = ""


def known(cache: Path) -> Measured | None:
    """What was measured on this machine; None where nothing was, or it was another machine."""
    found: Measured | None = remembered.read(cache / _FILE, reader(Measured), None)
    if found is None:
        return None
    is_possible = found.copy_bytes_per_s > 0 and (found.share is None or found.share > 0)
    return found if is_possible and found.machine == hardware.identity() else None


def measured(cache: Path) -> Measured:
    """The same, measured now where it is not known. Takes half a second of every core then."""
    if (found := known(cache)) is not None:
        return found
    found = Measured(hardware.identity(), bandwidth.copy_bytes_per_s())
    _keep(cache, found)
    return found


def remember(cache: Path, copy_bytes_per_s: float, share: float, model: str, size_bytes: int) -> None:
    """Keep what a bench found out, if the model was large enough to tell."""
    if size_bytes >= _TELLING_BYTES and share > 0:
        _keep(cache, Measured(hardware.identity(), copy_bytes_per_s, min(share, 1.0), model))


def device(
    folder: Path, found: Measured | None, resident_bytes: int, reserve_bytes: int | None, line_bytes_per_s: float | None
) -> Device:
    """This device now. `resident_bytes` of memory would be free if no model was loaded; `folder` is where models go.

    `reserve_bytes` of its disk stay free; None is the usual share of it.
    """
    memory_bytes = memory.available_bytes() + resident_bytes
    disk_bytes = max(0, room_bytes(folder, reserve_bytes))
    if found is None or found.share is None:
        copy = found.copy_bytes_per_s if found else None
        return Device(memory_bytes, disk_bytes, copy, line_bytes_per_s=line_bytes_per_s)
    source = f"measured with {found.model}"
    return Device(memory_bytes, disk_bytes, found.copy_bytes_per_s, found.share, source, line_bytes_per_s)


def _keep(cache: Path, found: Measured) -> None:
    remembered.write(cache / _FILE, found, "it will be measured again")
