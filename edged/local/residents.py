"""The models in memory: how they come, what they may use, how they go, and what they died of.

    begin ─▶ loading ─▶ ready ─▶ leaving ─▶ gone
                └──────────┴── died, told why ──┘

Nothing is decided here about whose turn it is; `pool.py` does that, and is called when something has changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from time import monotonic
from typing import TypeAlias

from edged.config import Engine
from edged.errors import EdgedError, ModelNotFound, RequestError, WorkerCrashed
from edged.host import cpu, gpu, memory
from edged.local.cores import Cores
from edged.local.fit import Fit
from edged.local.loading import Known, Loader
from edged.local.loads import LoadTimes, left_s, loading
from edged.local.plan import Want
from edged.local.process import WorkerProcess
from edged.local.quarantine import Quarantine, identity_of
from edged.local.renderer import Renderer
from edged.local.resident import Resident, share_prompts, taken_bytes, too_many
from edged.local.work import Work
from edged.store import ModelFile
from edged.template_wire import Template

log = logging.getLogger(__name__)

Tell: TypeAlias = Callable[..., None]


class Residents:
    """Workers for models. `on_change` is called when a place or memory became free or a model ready, `on_failure` when
    a load failed or a model is given no more. `warming` is the load that the daemon began with; `failure` what that
    one died of, until another succeeds. Unless told otherwise a model leaves that nobody has used for `keep_s`.
    """

    def __init__(
        self,
        loader: Loader,
        engine: Engine,
        tell: Tell,
        tasks: asyncio.TaskGroup,
        on_change: Callable[[], None],
        on_failure: Callable[[EdgedError, str], None],
        times: LoadTimes,
        keep_s: float = math.inf,
    ) -> None:
        self.all: dict[str, Resident] = {}
        self.kept: set[str] = set()
        self.displaced: set[str] = set()
        self.quarantine = Quarantine()
        self.warming: Resident | None = None
        self.failure: EdgedError | None = None
        self._loader = loader
        self._engine = engine
        self._tell = tell
        self._tasks = tasks
        self._on_change = on_change
        self._on_failure = on_failure
        self._times = times
        self._keep_s = keep_s
        self._known: dict[str, Known] = {}
        self._retired = Work()
        self._cores = Cores(cpu.usable_cores(), engine.threads)

    @property
    def work(self) -> Work:
        """What all workers have done since the daemon started, those that are gone included."""
        total = replace(self._retired)
        for resident in self.all.values():
            total.absorb(resident.process.work)
        return total

    @property
    def needs(self) -> dict[str, int]:
        """Bytes that each model takes that is in memory, and those that others would like that were ever asked for."""
        taken = {model: resident.needs_bytes for model, resident in self.all.items() if resident.needs_bytes}
        return {model: known.needs_bytes for model, known in self._known.items()} | taken

    def needs_at_least(self, model: str) -> dict[str, int]:
        """The same, but for `model` in the way that takes the least."""
        return self.needs | ({model: self._known[model].least_bytes} if model in self._known else {})

    @property
    def room_bytes(self) -> int:
        """What is free for further models, beside what those that are there or on their way will take yet."""
        if any(resident.state == "loading" and not resident.needs_bytes for resident in self.all.values()):
            return 0  # how much that is, is known in a moment
        return memory.available_bytes() - sum(resident.outstanding_bytes for resident in self.all.values())

    def _room_for(self, resident: Resident) -> int:
        """What `resident` may take, beside what others will take yet."""
        others = [other for other in self.all.values() if other is not resident]
        return memory.available_bytes() - sum(other.outstanding_bytes for other in others)

    @property
    def is_settled(self) -> bool:
        """Nobody comes and nobody goes."""
        return all(resident.state == "ready" for resident in self.all.values())

    async def learn(self, model: str) -> None:
        """Find out what must be known of `model`, if it is not in memory.

        Raises `ModelNotFound`, `ModelQuarantined` for one that is given no more, and `ModelTooLarge` for one that had
        no room if all others left, before any of them does.
        """
        if model in self.all:
            return
        known = self._known[model] = await asyncio.to_thread(self._loader.know, model)
        self.quarantine.note_file(model, known.identity)
        if case := self.quarantine.case_of(model):
            raise case.error
        if self.all:  # an empty house is the loader's business
            room_bytes = memory.available_bytes() + taken_bytes(self.all.values())
            await asyncio.to_thread(self._loader.check_fits, model, room_bytes)

    def ways(self) -> Callable[[ModelFile], Fit]:
        """In which way a model runs, or would run now if all others left; it raises `ModelTooLarge` where in none.

        What is free is asked once, of the kernel; of the models' files nothing is read.
        """
        residents = dict(self.all)
        room_bytes = memory.available_bytes() + taken_bytes(residents.values())

        def way_of(file: ModelFile) -> Fit:
            resident, known = residents.get(file.name), self._known.get(file.name)
            if resident and resident.fit and known and known.identity == identity_of(file):
                return resident.fit
            return self._loader.way_in(file, room_bytes)

        return way_of

    def loading_s(self, model: str) -> float | None:
        """How much longer a load will take, or one that began now; None for a model that is ready, or not known of."""
        resident = self.all.get(model)
        if resident is None:
            known = self._known.get(model)
            return self._times.expected_s(known.size_bytes) if known else None
        if resident.state != "loading":
            return None
        return self._left_s(resident)

    def _left_s(self, resident: Resident) -> float:
        elapsed_s = monotonic() - resident.began_s
        return left_s(elapsed_s, resident.process.progress, self._times.expected_s(resident.size_bytes))

    def leaves_s(self, model: str) -> float | None:
        """The Unix time at which `model` leaves memory if nobody uses it; None: not by itself."""
        resident = self.all.get(model)
        return time.time() + resident.leaves_in_s if resident and resident.leaves_in_s is not None else None

    def unready(self, model: str) -> EdgedError | None:
        """How far the load of `model` is; None where none is under way."""
        resident = self.all.get(model)
        if resident is None or resident.state != "loading":
            return None
        expected_s = self._times.expected_s(resident.size_bytes)
        return loading(monotonic() - resident.began_s, resident.process.progress, expected_s)

    def crowded(self, want: Want) -> EdgedError | None:
        """Whoever wants more sequences than his model got would wait for ever: what to tell him."""
        resident = self.all.get(want.model)
        if resident is None or resident.state != "ready" or want.slots <= resident.slots:
            return None
        return too_many(want.model, want.slots, resident.slots)

    def begin(self, model: str) -> Resident:
        """Load `model`."""
        resident = Resident(self._spawn(model), self._engine.sequences, self._engine.sequences, keep_s=self._keep_s)
        resident.among, resident.is_kept = len(self.all) + 1, model in self.kept
        if resident.is_kept:
            resident.keep_s = math.inf
        if known := self._known.get(model):
            resident.size_bytes, resident.needs_bytes = known.size_bytes, known.needs_bytes
        self.all[model] = resident
        self.displaced.discard(model)
        resident.load = self._tasks.create_task(self._load(model, resident), name=f"load {model}")
        return resident

    async def _load(self, model: str, resident: Resident) -> None:
        self._tell("model_loading", model=model)
        try:
            if model not in self._known:
                known = self._known[model] = await asyncio.to_thread(self._loader.know, model)
                resident.size_bytes, resident.needs_bytes = known.size_bytes, known.needs_bytes
                self._on_change()
            card = await self._loader.load(
                model, resident, partial(self._spawn, model), partial(self._room_for, resident)
            )
        except (EdgedError, OSError) as error:
            failure = error if isinstance(error, EdgedError) else WorkerCrashed(f"No process for {model}: {error}")
            self._fail(model, resident, failure)
            return
        if resident.process.error is not None:  # it died since it said so, while `_bury` left it to this
            self._fail(model, resident, resident.process.error)
            return
        resident.renderer = Renderer(model, Template(card.template, card.bos, card.eos, card.controls))
        resident.become_ready()
        self._times.note(resident.size_bytes, resident.load_s)
        self.warming = self.failure = None
        self.lend_cores()
        self.expect_leave(resident)  # it may have been told to, meanwhile
        self._tell("model_loaded", model=model, seconds=round(resident.load_s, 3), description=card.description)
        if resident.draft_problem:
            self._tell_undrafted(model, resident.draft_problem)
        if resident.fit and resident.fit.lowered:
            log.warning("%s: %s", model, resident.fit.lowered)
            self._tell("model_lowered", model=model, what=resident.fit.lowered)
        if problem := self.problem(resident):
            log.error("%s: %s", model, problem)
            self._tell("gpu_unused", model=model, reason=problem)
        self._on_change()
        if card.template:
            # Ahead of the first chat, which would otherwise wait for it; a template that is broken is the business of
            # whoever asks for a chat, and is told then.
            with contextlib.suppress(RequestError, OSError):
                await resident.renderer.start()
                await share_prompts(self._engine.shared_prompts, resident.renderer, resident.process)
        await asyncio.to_thread(self._times.keep)

    def _fail(self, model: str, resident: Resident, failure: EdgedError) -> None:
        self._retire(model)
        failure = self._judge(model, failure) or failure
        if resident is self.warming:
            self.warming, self.failure = None, failure
        self._tell("model_load_failed", model=model, reason=str(failure))
        self._on_failure(failure, model)
        self._on_change()

    def problem(self, resident: Resident) -> str | None:
        """What is wrong with how a model runs although it answers: a GPU that was expected and is not used."""
        card = resident.process.card
        if card is None:
            return None
        return gpu.unused(gpu.present(), card.gpus, card.gpu_layers, card.layers, self._engine.gpu_layers)

    def lend_cores(self) -> None:
        """Divide the cores among those that answer now."""
        self._cores.lend({name: found.process for name, found in self.all.items() if found.state == "ready"})

    def _spawn(self, model: str) -> WorkerProcess:
        process = WorkerProcess(model, partial(self._bury, model))
        process.on_drafter_lost = partial(self._lose_drafter, model)
        process.on_lane = self.lend_cores
        return process

    def _lose_drafter(self, model: str, reason: str) -> None:
        if resident := self.all.get(model):
            resident.draft_problem = reason
            self._tell_undrafted(model, reason)

    def _tell_undrafted(self, model: str, reason: str) -> None:
        log.warning("%s: no smaller model guesses ahead: %s", model, reason)
        self._tell("draft_unused", model=model, reason=reason)

    def evict(self, model: str) -> None:
        """Have it make room for another; one that is kept shall come back."""
        self._tell("model_evicted", model=model)
        if model in self.kept:
            self.displaced.add(model)
        self.leave(self.all[model])

    def leave(self, resident: Resident) -> None:
        """Have it go, whatever it does."""
        if resident.load is not None:
            resident.load.cancel()  # without effect once it is loaded
        if resident.expiry is not None:
            resident.expiry.cancel()
        if resident.state != "leaving":
            resident.state = "leaving"
            self._tasks.create_task(self._stop(resident), name=f"stop {resident.process.name}")

    def forget(self, model: str) -> None:
        """Its file was deleted: it goes as soon as nobody uses it, and nothing is held against another of its name."""
        self.quarantine.release(model)
        self.displaced.discard(model)
        if resident := self.all.get(model):
            resident.keep_s = 0.0
            self.expect_leave(resident)

    def expect_leave(self, resident: Resident) -> None:
        """Somebody is done with it, or it was told how long to stay: it goes when nobody has used it for that long."""
        resident.expect_leave(partial(self._expire, resident))

    def _expire(self, resident: Resident) -> None:
        if resident.seat.is_idle:  # who came meanwhile looks again when it is done
            self._tell("model_unloaded", model=resident.process.name, unused_s=round(monotonic() - resident.used_s, 1))
            self.leave(resident)

    async def _stop(self, resident: Resident) -> None:
        if resident.renderer is not None:
            await resident.renderer.stop()
        await resident.process.stop()

    def _bury(self, model: str, error: EdgedError) -> None:
        """A worker is gone: its seat is free, and whoever waits for it causes a new one."""
        resident = self.all.get(model)
        if resident is None or resident.state == "loading":
            return  # `_load` hears of it and tells
        case = None
        if resident.state == "ready":
            self._tell("worker_died", model=model, cause=error.code, reason=str(error))
            self.leave(resident)
            case = self._judge(model, error)
            if resident.process.was_killed and resident.process.was_answering:
                self._tasks.create_task(self._learn_kill(model, resident), name=f"learn {model}")
                return  # nobody loads it anew before
        self._retire(model)
        if case is not None:
            self._on_failure(case, model)
        self._on_change()

    async def _learn_kill(self, model: str, resident: Resident) -> None:
        with contextlib.suppress(ModelNotFound):  # deleted: nobody will load it
            await asyncio.to_thread(self._loader.note_kill, resident, self._room_for(resident))
        self._retire(model)
        self._on_change()

    def _judge(self, model: str, error: EdgedError) -> EdgedError | None:
        """Whether the worker of `model` has died of it once too often; what to tell whoever wants it, if so."""
        known = self._known.get(model)
        if known is None or not (isinstance(error, WorkerCrashed) and error.by_itself):
            return None
        reason = str(error).partition(";")[0] + "."
        case = self.quarantine.note_death(model, known.identity, reason)
        if case is None:
            return None
        self.displaced.discard(model)
        log.error("%s", case.error)
        self._tell("model_quarantined", model=model, reason=reason)
        return case.error

    def _retire(self, model: str) -> None:
        self._retired.absorb(self.all.pop(model).process.work)
        self.lend_cores()
