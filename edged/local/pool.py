"""Who is in memory, who waits, and who must go.

    lease(model) ─▶ waits in line ─▶ granted slots on a resident worker ─▶ given back
                        │
                        └─ plan() says whom to grant, load or evict; here it is done

A lease counts only once it is granted, and gives its slots back by leaving its context, whatever happened inside. A
load belongs to the pool and not to the request that caused it, so an impatient client cannot keep a large model from
ever loading. A worker that dies takes its running answers with it, never the line.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from time import monotonic
from types import TracebackType
from typing import TypeAlias

from edged.config import Engine, Limits
from edged.errors import EdgedError, QueueFull, RequestError, ShuttingDown, WorkerCrashed
from edged.host import gpu, memory
from edged.local.plan import Seat, SeatState, Want, plan, predicted_wait_s
from edged.local.process import Work, WorkerProcess
from edged.local.renderer import Renderer
from edged.local.tuning import Tuning, how_to_load
from edged.store import ModelFile, Store
from edged.wire import Load, Template

log = logging.getLogger(__name__)

Tell: TypeAlias = Callable[..., None]
# Before the first answer has ended, nobody knows how long one takes; a guess only for Retry-After.
_FIRST_GUESS_HOLD_S = 10.0
_NEWEST_WEIGHT = 0.2


@dataclass(slots=True, eq=False)
class Resident:
    """A worker with its template process, and how many of its sequences are free."""

    process: WorkerProcess
    slots: int
    free: int
    state: SeatState = "loading"
    renderer: Renderer | None = None
    load: asyncio.Task[None] | None = None
    used_s: float = field(default_factory=monotonic)

    @property
    def seat(self) -> Seat:
        """This resident as `plan` sees it."""
        return Seat(self.state, self.free, self.slots, self.used_s)


@dataclass(frozen=True, slots=True)
class Lease:
    """`slots` sequences of a resident worker, held until the context that gave it is left."""

    resident: Resident
    queue_s: float

    @property
    def process(self) -> WorkerProcess:
        """The worker to ask."""
        return self.resident.process

    @property
    def renderer(self) -> Renderer:
        """The worker's template process."""
        assert self.resident.renderer is not None
        return self.resident.renderer


@dataclass(slots=True, eq=False)
class _Waiter:
    want: Want
    granted: asyncio.Future[Resident]


class Pool:
    """Workers for models. An async context: leaving it stops every worker.

    `tell(event, **facts)` hears what an owner may want to know tomorrow. `warming` is the load that the daemon began
    with, while it lasts; `failure` what that one died of, until another succeeds.
    """

    def __init__(self, store: Store, engine: Engine, limits: Limits, tell: Tell, tuning: Tuning | None = None) -> None:
        self._store = store
        self._tuning = tuning
        self._engine = engine
        self._limits = limits
        self._tell = tell
        self._residents: dict[str, Resident] = {}
        self._line: list[_Waiter] = []
        self._hold_s = _FIRST_GUESS_HOLD_S
        self._retired = Work()
        self._closed: EdgedError | None = None
        self.warming: Resident | None = None
        self.failure: EdgedError | None = None
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Pool:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(self._closed or ShuttingDown("The daemon is stopping."))
        for resident in list(self._residents.values()):
            self._leave(resident)
        # Without the error: a task group would wrap it, and a `ConfigError` would no longer be one.
        await self._tasks.__aexit__(None, None, None)

    @property
    def residents(self) -> Mapping[str, Resident]:
        """Who is in memory now, by model."""
        return self._residents

    @property
    def work(self) -> Work:
        """What all workers have done since the daemon started, those that are gone included."""
        total = replace(self._retired)
        for resident in self._residents.values():
            total.absorb(resident.process.work)
        return total

    @property
    def closed(self) -> EdgedError | None:
        """What newcomers are refused with; None while they are welcome."""
        return self._closed

    @property
    def queued(self) -> int:
        """How many requests stand in line."""
        return len(self._line)

    def problem(self, resident: Resident) -> str | None:
        """What is wrong with how a model runs although it answers: a GPU that was expected and is not used."""
        card = resident.process.card
        if card is None:
            return None
        return gpu.unused(gpu.present(), card.gpus, card.gpu_layers, card.layers, self._engine.gpu_layers)

    @asynccontextmanager
    async def lease(self, model: str, slots: int = 1) -> AsyncIterator[Lease]:
        """Wait for `slots` free sequences of `model`, loading it if need be; they are given back on leaving.

        Raises `QueueFull`, whatever the load raised, or the error of `close`.
        """
        began = monotonic()
        resident = await self._stand_in_line(Want(model, slots))
        granted = monotonic()
        try:
            yield Lease(resident, granted - began)
        finally:
            resident.free += slots
            resident.used_s = monotonic()
            self._hold_s += _NEWEST_WEIGHT * (resident.used_s - granted - self._hold_s)
            self._dispatch()

    def warm(self, model: str) -> None:
        """Load `model` before anybody asks for it."""
        self.warming = self._begin_load(model)

    def close(self, error: EdgedError) -> None:
        """Refuse everybody with `error` from now on, those in line included; running answers go on."""
        self._closed = error
        self._fail_line(error)

    def interrupt(self, error: EdgedError) -> None:
        """End every running answer with `error`."""
        for resident in self._residents.values():
            resident.process.interrupt(error)

    def retry_after_s(self) -> float:
        """When somebody who comes now and is refused could get a turn, from how long answers have been taking."""
        queued = sum(waiter.want.slots for waiter in self._line)
        total = sum(resident.slots for resident in self._residents.values()) or self._engine.sequences
        return predicted_wait_s(queued, total, self._hold_s)

    async def _stand_in_line(self, want: Want) -> Resident:
        if self._closed is not None:
            raise self._closed
        waiter = _Waiter(want, asyncio.get_running_loop().create_future())
        self._line.append(waiter)
        self._dispatch()
        try:
            if not waiter.granted.done():
                self._refuse_if_full()
            return await waiter.granted
        except BaseException:
            self._give_up(waiter)
            raise

    def _refuse_if_full(self) -> None:
        wait_s = self.retry_after_s()
        if len(self._line) > self._limits.queue_requests:
            raise QueueFull(
                f"{self._limits.queue_requests} requests wait already, as many as may ([limits] queue_requests).",
                retry_after_s=wait_s,
            )
        if wait_s > self._limits.queue_s and len(self._line) > 1:
            raise QueueFull(
                f"The line is about {wait_s:.0f} s long; more than {self._limits.queue_s:.0f} s is refused "
                "([limits] queue_s).",
                retry_after_s=wait_s,
            )

    def _give_up(self, waiter: _Waiter) -> None:
        if waiter in self._line:
            self._line.remove(waiter)
        elif waiter.granted.done() and not waiter.granted.cancelled() and not waiter.granted.exception():
            # Cancelled in the moment between the grant and waking up: the slots go back.
            waiter.granted.result().free += waiter.want.slots
        self._dispatch()

    def _dispatch(self) -> None:
        """Carry out `plan` until it has nothing more to say."""
        if self._closed is not None:
            return
        # A request that was cancelled leaves the line only when its task wakes up; until then it must not be granted.
        self._line = [waiter for waiter in self._line if not waiter.granted.done()]
        seats = {model: resident.seat for model, resident in self._residents.items()}
        now = plan([waiter.want for waiter in self._line], seats, self._engine.resident_models)
        for waiter in [self._line[index] for index in now.grants]:
            self._line.remove(waiter)
            resident = self._residents[waiter.want.model]
            resident.free -= waiter.want.slots
            waiter.granted.set_result(resident)
        for model in now.evictions:
            self._tell("model_evicted", model=model)
            self._leave(self._residents[model])
        for model in now.loads:
            self._begin_load(model)

    def _begin_load(self, model: str) -> Resident:
        process = WorkerProcess(model, partial(self._bury, model))
        resident = self._residents[model] = Resident(process, self._engine.sequences, self._engine.sequences)
        resident.load = self._tasks.create_task(self._load(model, resident), name=f"load {model}")
        return resident

    async def _load(self, model: str, resident: Resident) -> None:
        began = monotonic()
        self._tell("model_loading", model=model)
        try:
            with self._store.open(model) as descriptor:
                card = await resident.process.load(self._load_frame(self._store.find(model), resident), descriptor)
        except (EdgedError, OSError) as error:
            failure = error if isinstance(error, EdgedError) else WorkerCrashed(f"No process for {model}: {error}")
            self._retire(model)
            if resident is self.warming:
                self.warming, self.failure = None, failure
            self._tell("model_load_failed", model=model, reason=str(failure))
            self._fail_line(failure, model)
            self._dispatch()
            return
        resident.renderer = Renderer(model, Template(card.template, card.bos, card.eos, card.controls))
        resident.state = "ready"
        self.warming = self.failure = None
        load_s = round(monotonic() - began, 3)
        self._tell("model_loaded", model=model, seconds=load_s, description=card.description)
        if problem := self.problem(resident):
            log.error("%s: %s", model, problem)
            self._tell("gpu_unused", model=model, reason=problem)
        self._dispatch()
        if card.template:
            # Ahead of the first chat, which would otherwise wait for it; a template that is broken is the business of
            # whoever asks for a chat, and is told then.
            with contextlib.suppress(RequestError, OSError):
                await resident.renderer.start()

    def _load_frame(self, file: ModelFile, resident: Resident) -> Load:
        engine, tuning = self._engine, self._tuning
        how = how_to_load(file.size_bytes, memory.available_bytes())
        decode_threads = engine.threads
        if decode_threads is None and tuning is not None:
            decode_threads = tuning.decode_threads(file, engine.thread_count)
            resident.process.on_tuned = partial(tuning.remember, file, engine.thread_count)
        return Load(
            name=file.name,
            context_tokens=engine.context_tokens,
            sequences=engine.sequences,
            threads=engine.thread_count,
            gpu_layers=engine.gpu_layers,
            longest_gap_steps=engine.longest_gap_steps,
            decode_threads=decode_threads,
            follow_neighbours=engine.follow_neighbours,
            maps_file=how.maps_file,
            repacks=how.repacks,
        )

    def _leave(self, resident: Resident) -> None:
        if resident.load is not None:
            resident.load.cancel()  # without effect once it is loaded
        if resident.state != "leaving":
            resident.state = "leaving"
            self._tasks.create_task(self._stop(resident), name=f"stop {resident.process.name}")

    async def _stop(self, resident: Resident) -> None:
        if resident.renderer is not None:
            await resident.renderer.stop()
        await resident.process.stop()

    def _bury(self, model: str, error: EdgedError) -> None:
        """A worker is gone: its seat is free, and whoever waits for it causes a new one."""
        resident = self._residents.get(model)
        if resident is None or resident.state == "loading":
            return  # `_load` hears of it and tells
        if resident.state == "ready":
            self._tell("worker_died", model=model, cause=error.code, reason=str(error))
            self._leave(resident)
        self._retire(model)
        self._dispatch()

    def _retire(self, model: str) -> None:
        self._retired.absorb(self._residents.pop(model).process.work)

    def _fail_line(self, error: EdgedError, model: str | None = None) -> None:
        for waiter in [waiter for waiter in self._line if model in (None, waiter.want.model)]:
            self._line.remove(waiter)
            if not waiter.granted.done():
                waiter.granted.set_exception(error)
