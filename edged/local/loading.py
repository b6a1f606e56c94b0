"""How a model comes into memory: how it is to run, which files the worker gets, and what happens where that fails.

A smaller model that was to guess ahead is never a reason for a model not to load: whatever is wrong with its file, the
larger one is loaded without it, and `Resident.draft_problem` says why.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial

from edged.config import Engine
from edged.errors import EdgedError, LoadTimeout, WorkerCrashed
from edged.host import cpu, memory
from edged.local.keeping import Keeping
from edged.local.process import WorkerProcess
from edged.local.resident import Resident
from edged.local.tuning import Tuning, choose_drafter, how_to_load, snapshot_bytes
from edged.store import ModelFile, Store
from edged.wire import Load, Loaded, Tuned

# What a model takes beside its file: cells, compute buffers, the interpreter.
_BESIDE_BYTES = 512 * 2**20


class Loader:
    """Loads models into the workers of residents."""

    def __init__(self, store: Store, engine: Engine, tuning: Tuning | None, keeping: Keeping) -> None:
        self._store = store
        self._engine = engine
        self._tuning = tuning
        self._keeping = keeping

    def find(self, model: str) -> ModelFile:
        """The file of `model`. Raises `ModelNotFound`; reads the disk."""
        return self._store.find(model)

    def needed_bytes(self, file: ModelFile) -> int:
        """How much memory the model takes once it is loaded."""
        return file.size_bytes + _BESIDE_BYTES

    async def load(self, model: str, resident: Resident, spawn: Callable[[], WorkerProcess]) -> Loaded:
        """Load `model`; `spawn` makes another process where the first one dies of the smaller model.

        Raises `ModelNotFound`, `OSError`, and what `WorkerProcess.load` raises; `ModelInvalid`, before a process is
        started, for a file that llama.cpp must not see.
        """
        file = await asyncio.to_thread(self._store.find, model)
        installed = await asyncio.to_thread(self._store.models) if self._engine.draft_model else ()
        wanted = self._frame(file, installed, resident)
        if wanted.drafter:
            try:
                return await self._load(wanted, resident)
            except (WorkerCrashed, LoadTimeout, _Unopened) as error:
                resident.draft_problem = f"{wanted.drafter} cannot be loaded: {error}"
                process = spawn()
                process.on_tuned, resident.process = resident.process.on_tuned, process
        return await self._load(replace(wanted, drafter=""), resident)

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

    def _frame(self, file: ModelFile, installed: Iterable[ModelFile], resident: Resident) -> Load:
        engine, tuning, available_bytes = self._engine, self._tuning, memory.available_bytes()
        threads = engine.threads or cpu.usable_cores()
        chosen = choose_drafter(file, engine.draft_model, installed, available_bytes)
        resident.draft_problem = chosen.problem
        how = how_to_load(file.size_bytes, available_bytes)
        tuned = Tuned(engine.threads)
        if engine.threads is None and tuning is not None:  # a number that was set is not to be taken for a measured one
            tuned = tuning.known(file, how, threads)
            resident.process.on_tuned = partial(tuning.remember, file, how, threads)
        return Load(
            name=file.name,
            context_tokens=engine.context_tokens,
            sequences=engine.sequences,
            threads=threads,
            gpu_layers=engine.gpu_layers,
            longest_gap_steps=engine.longest_gap_steps,
            tuned=tuned,
            follow_neighbours=engine.follow_neighbours,
            maps_file=how.maps_file,
            repacks=how.repacks,
            lookup=engine.lookup,
            drafter=chosen.drafter.name if chosen.drafter else "",
            kv_type=engine.kv_type,
            snapshot_bytes=snapshot_bytes(engine, resident.among),
        )


class _Unopened(Exception):
    """The smaller model's file cannot be opened, or not be loaded."""
