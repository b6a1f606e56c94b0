"""How a model comes into memory: how it is to run, which files the worker gets, and what happens where that fails.

A smaller model that was to guess ahead is never a reason for a model not to load: whatever is wrong with its file, the
larger one is loaded without it, and `Resident.draft_problem` says why.

What does not fit by arithmetic is refused before a process is started. Where a process finds no memory although it
should have, the arithmetic was wrong or somebody was quicker: it is tried once more in a way that takes less, and then
refused.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial

from edged.config import Engine
from edged.errors import EdgedError, LoadTimeout, ModelTooLarge, WorkerCrashed, WorkerStarved
from edged.host import cpu, memory
from edged.local.calibration import Calibration
from edged.local.fit import Fit, fit, least, too_large, wished
from edged.local.keeping import Keeping
from edged.local.layers import ALL_LAYERS, Device
from edged.local.needs import UNLEARNED, Learned, Needs, learn
from edged.local.process import WorkerProcess
from edged.local.quarantine import identity_of
from edged.local.resident import Resident
from edged.local.room import device_now, this_machine
from edged.local.tuning import Loading, Tuning, choose_drafter, snapshot_bytes
from edged.store import ModelFile, Store, unusable
from edged.wire import Load, Loaded, Tuned

# A way that takes less than one that failed: the arithmetic is right within a tenth.
_LESS = 0.9
# A forecast is never off by so much (`calibration.py` believes no more of the cells that it does not know).
_FAR_ABOVE = 4.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Known:
    """What must be known of a model before it is loaded: its file's size, what it needs as wished and at least, and
    which file it is.
    """

    size_bytes: int
    needs_bytes: int
    least_bytes: int
    identity: str


class Loader:
    """Loads models into the workers of residents."""

    def __init__(
        self,
        store: Store,
        engine: Engine,
        tuning: Tuning | None,
        keeping: Keeping,
        calibration: Calibration | None = None,
    ) -> None:
        self._store = store
        self._engine = engine
        self._tuning = tuning
        self._keeping = keeping
        self._calibration = calibration

    def know(self, model: str) -> Known:
        """What must be known of one that is asked for. Reads files.

        Raises `ModelNotFound`, and `ModelInvalid` or `ModelUnsupported` for what cannot be loaded.
        """
        file = self._store.find(model)
        if file.problem:
            raise unusable(model, file.problem, is_unsupported=file.is_unsupported)
        wish, smallest = (
            needs(file, self._engine, this_machine(), self._learned(file)).total_bytes for needs in (wished, least)
        )
        return Known(file.size_bytes, wish, smallest, identity_of(file))

    def check_fits(self, model: str, room_bytes: int) -> None:
        """Raises `ModelTooLarge` where no way of running it brings `model` into `room_bytes`. Reads files."""
        self.way_in(self._store.find(model), room_bytes, self._store.models())

    def way_in(self, file: ModelFile, room_bytes: int, installed: Iterable[ModelFile] = ()) -> Fit:
        """In which way `file` would run in `room_bytes`, without a smaller model: arithmetic over what is known.

        Raises `ModelTooLarge`, which names the largest of those `installed` that would fit.
        """
        return fit(file, self._engine, room_bytes, this_machine(), learned=self._learned(file), installed=installed)

    async def load(
        self,
        model: str,
        resident: Resident,
        spawn: Callable[[], WorkerProcess],
        room_bytes: Callable[[], int] = memory.available_bytes,
    ) -> Loaded:
        """Load `model` in a way that fits `room_bytes`; `spawn` makes another process where the first one died of it,
        or of the smaller model.

        Raises `ModelNotFound`, `OSError`, and what `WorkerProcess.load` raises; before a process is started,
        `ModelInvalid` for a file that llama.cpp must not see, and `ModelTooLarge`.
        """
        file = await asyncio.to_thread(self._store.find, model)
        installed = await asyncio.to_thread(self._store.models)
        device = await asyncio.to_thread(self._device)
        found = self._fit(file, installed, resident, room_bytes(), device)
        try:
            return await self._attempt(file, found, installed, resident, spawn)
        except WorkerStarved as error:
            device = await asyncio.to_thread(self._device)
            if device is not None and not resident.process.was_killed:  # the kernel kills for the machine's memory only
                device = replace(device, free_bytes=int(device.free_bytes * _LESS))
            failed, available_bytes = found, room_bytes()
            log.warning("%s: %s", model, error)
            try:
                most_bytes = min(available_bytes, int(failed.needs.total_bytes * _LESS))
                found = self._fit(file, installed, resident, most_bytes, device)
            except ModelTooLarge:
                if resident.process.was_killed and failed.needs.total_bytes <= available_bytes:
                    # It was not memory, as far as can be seen from here: anybody can kill.
                    raise WorkerCrashed(f"{error} The next request starts a new one.") from error
                raise too_large(model, failed.way, failed.needs, available_bytes) from error
            finally:
                await asyncio.to_thread(self._note_failure, file, failed.needs, available_bytes)
            renew(resident, spawn)
        try:
            return await self._attempt(file, found, installed, resident, spawn)
        except WorkerStarved as error:
            available_bytes = room_bytes()
            await asyncio.to_thread(self._note_failure, file, found.needs, available_bytes)
            raise too_large(model, found.way, found.needs, available_bytes) from error

    async def _attempt(
        self,
        file: ModelFile,
        found: Fit,
        installed: Iterable[ModelFile],
        resident: Resident,
        spawn: Callable[[], WorkerProcess],
    ) -> Loaded:
        resident.settle(found)
        resident.kernel_kills = await asyncio.to_thread(memory.kernel_kills)
        wanted = self._frame(file, found, resident)
        if found.way.drafts:
            assert self._engine.draft_model is not None
            try:
                card = await self._load(replace(wanted, drafter=self._engine.draft_model), resident)
                return await self._learn(file, found, card)
            except (WorkerCrashed, LoadTimeout, _Unopened) as error:
                resident.draft_problem = f"{self._engine.draft_model} cannot be loaded: {error}"
                renew(resident, spawn)
        return await self._learn(file, found, await self._load(wanted, resident))

    def _device(self) -> Device | None:
        """What layers may be put on, where how many is left open. May take seconds."""
        machine = this_machine()
        return device_now() if machine.has_gpu and self._engine.gpu_layers == ALL_LAYERS else None

    def _fit(
        self,
        file: ModelFile,
        installed: Iterable[ModelFile],
        resident: Resident,
        room_bytes: int,
        device: Device | None,
    ) -> Fit:
        chosen = choose_drafter(file, self._engine.draft_model, installed)
        found = fit(
            file,
            self._engine,
            room_bytes,
            replace(this_machine(), device=device),
            learned=self._learned(file),
            drafter=chosen.drafter,
            snapshot_bytes=snapshot_bytes(self._engine, resident.among),
            installed=installed,
        )
        resident.draft_problem = chosen.problem or found.draft_problem
        return found

    def _learned(self, file: ModelFile) -> Learned:
        return self._calibration.known(file) if self._calibration else UNLEARNED

    async def _learn(self, file: ModelFile, found: Fit, card: Loaded) -> Loaded:
        """The next forecast of this file begins with what this load took."""
        if self._calibration is not None and card.taken is not None and file.header is not None:
            learned = learn(file.header, file.size_bytes, found.way, this_machine().features, card.taken)
            await asyncio.to_thread(self._calibration.note_success, file, learned)
        return card

    def _note_failure(self, file: ModelFile, needs: Needs, available_bytes: int) -> None:
        """The same way shall not seem to fit into the same room again.

        In a room that was far larger it was not the room: somebody killed it, or took the memory and gave it back.
        """
        failed_bytes = needs.total_bytes
        if self._calibration is not None and available_bytes < failed_bytes * _FAR_ABOVE:
            missing_bytes = needs.missing_bytes + available_bytes - failed_bytes + 1
            self._calibration.note_failure(file, missing_bytes)

    def note_kill(self, resident: Resident, available_bytes: int) -> None:
        """It was killed while it answered: where the kernel was short of memory it took more than was forecast.

        The next one of the same file takes less; if this one did so already, none is loaded into so much room. Reads
        and writes files; raises `ModelNotFound`.
        """
        if resident.fit is None or memory.kernel_kills() == resident.kernel_kills is not None:
            return
        file, needs = self._store.find(resident.process.name), resident.fit.needs
        if needs.missing_bytes:
            known = replace(self._learned(file), missing_bytes=0)
            needs = least(file, self._engine, this_machine(), known)
        # Room differs by a little from look to look, so the same way shall not fit into a little more either.
        self._note_failure(file, needs, int(available_bytes / _LESS))

    async def _load(self, wanted: Load, resident: Resident) -> Loaded:
        with ExitStack() as opened:
            descriptors = await self._sound(wanted.name, opened)
            wanted = replace(wanted, pieces=len(descriptors))
            if wanted.drafter:
                try:
                    descriptors += await self._sound(wanted.drafter, opened)
                except EdgedError as error:
                    raise _Unopened(str(error)) from error
            card = await self._keeping.load(resident.process, wanted, descriptors)
        resident.draft_problem = resident.draft_problem or card.draft_problem
        return card

    async def _sound(self, model: str, opened: ExitStack) -> tuple[int, ...]:
        """Descriptors of the model's files, which were examined behind these very ones: no other comes between."""
        descriptors = opened.enter_context(self._store.open(model))
        examined = asyncio.ensure_future(asyncio.to_thread(self._store.examine, model, descriptors))
        try:
            await asyncio.shield(examined)
        finally:
            # A thread cannot be stopped: until it ends, nobody may close what it reads, even if the load is called off.
            await asyncio.wait([examined])
            examined.exception()
        return descriptors

    def _frame(self, file: ModelFile, found: Fit, resident: Resident) -> Load:
        engine, tuning, way = self._engine, self._tuning, found.way
        threads = engine.threads or cpu.usable_cores()
        how = Loading(way.maps_file, way.repacks)
        tuned = Tuned(engine.threads)
        if engine.threads is None and tuning is not None:  # a number that was set is not to be taken for a measured one
            tuned = tuning.known(file, how, threads)
            resident.process.on_tuned = partial(_remember, tuning, file, how, threads)
        return Load(
            name=file.name,
            context_tokens=way.context_tokens,
            sequences=way.sequences,
            threads=threads,
            gpu_layers=way.gpu_layers,
            longest_gap_steps=engine.longest_gap_steps,
            tuned=tuned,
            follow_neighbours=engine.follow_neighbours,
            maps_file=way.maps_file,
            repacks=way.repacks,
            lookup=engine.lookup,
            kv_type=way.kv_type,
            snapshot_bytes=found.snapshot_bytes,
        )


def _remember(tuning: Tuning, file: ModelFile, how: Loading, threads: int, tuned: Tuned) -> None:
    """Nobody is kept waiting by the card that it is written to."""
    if tuning.note(file, how, threads, tuned):
        asyncio.get_running_loop().run_in_executor(None, tuning.write)


def renew(resident: Resident, spawn: Callable[[], WorkerProcess]) -> None:
    """Another process in place of the one that died."""
    process = spawn()
    process.on_tuned, resident.process = resident.process.on_tuned, process


class _Unopened(Exception):
    """The smaller model's file cannot be opened, or not be loaded."""
