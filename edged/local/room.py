"""What this machine has for models, as the arithmetic asks: its processor, its GPU, its free memory."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from edged.config import Engine
from edged.host import gpu, hardware, memory
from edged.local.calibration import Calibration
from edged.local.fit import Ease, Machine, ease
from edged.local.layers import Device
from edged.local.needs import UNLEARNED
from edged.store import ModelFile


@cache
def this_machine() -> Machine:
    """What does not change while the daemon runs. Reads files the first time."""
    return Machine(hardware.features(), gpu.present() is not None)


def device_now() -> Device | None:
    """What is free now of memory of a GPU's own; None where there is none. May take seconds."""
    if not this_machine().has_gpu:
        return None
    free = gpu.free_bytes()
    return Device(sum(free), len(free)) if free else None


def judge(engine: Engine, calibration: Calibration | None = None, taken_bytes: int = 0) -> Callable[[ModelFile], Ease]:
    """How well a model would fit if those that take `taken_bytes` now left. Reads files."""
    machine, room_bytes = this_machine(), memory.available_bytes() + taken_bytes
    return lambda file: ease(file, engine, room_bytes, machine, calibration.known(file) if calibration else UNLEARNED)
