"""Who is in memory, who waits, and who must go.

    lease(model) ─▶ waits in line ─▶ granted slots on a resident worker ─▶ given back
                        │
                        ├─ admit() says who may stand in it, forecast() for how long
                        └─ plan() says whom to grant, load or evict; here it is done

A lease counts only once it is granted, and gives its slots back by leaving its context, whatever happened inside. A
load belongs to the pool and not to the request that caused it, so an impatient client cannot keep a large model from
ever loading. A worker that dies takes its running answers with it, never the line.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from time import monotonic
from types import TracebackType
from typing import TypeAlias

from edged.chat import Lane
from edged.config import Engine, Limits
from edged.errors import EdgedError, RequestError, ShuttingDown, WorkerCrashed
from edged.host import gpu
from edged.local.keeping import Keeping
from edged.local.line import Line, Waiter, find_place, gave_way, too_late, waited_in_vain
from edged.local.loading import Loader
from edged.local.outlook import Outlook
from edged.local.plan import Want, plan
from edged.local.predict import Effort, Forecast
from edged.local.process import WorkerProcess
from edged.local.renderer import Renderer
from edged.local.resident import Lease, Resident, share_prompts
from edged.local.tuning import Tuning
from edged.local.work import Work
from edged.store import Store
from edged.template_wire import Template

log = logging.getLogger(__name__)

Tell: TypeAlias = Callable[..., None]
_SOME_EFFORT = Effort(prompt_tokens=1, answer_tokens=1)


class Pool:
    """Workers for models. An async context: leaving it stops every worker.

    `tell(event, **facts)` hears what an owner may want to know tomorrow. `warming` is the load that the daemon began
    with, while it lasts; `failure` what that one died of, until another succeeds.
    """

    def __init__(
        self,
        store: Store,
        engine: Engine,
        limits: Limits,
        tell: Tell,
        tuning: Tuning | None = None,
        keeping: Keeping | None = None,
    ) -> None:
        self._loader = Loader(store, engine, tuning, keeping or Keeping())
        self._engine = engine
        self._limits = limits
        self._tell = tell
        self._residents: dict[str, Resident] = {}
        self._line = Line[Resident]()
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
        return self._line.queued()

    def queued_in(self, lane: Lane) -> int:
        """How many of them in `lane`."""
        return self._line.queued(lane)

    def problem(self, resident: Resident) -> str | None:
        """What is wrong with how a model runs although it answers: a GPU that was expected and is not used."""
        card = resident.process.card
        if card is None:
            return None
        return gpu.unused(gpu.present(), card.gpus, card.gpu_layers, card.layers, self._engine.gpu_layers)

    @asynccontextmanager
    async def lease(
        self,
        model: str,
        slots: int = 1,
        *,
        lane: Lane = "interactive",
        caller: tuple[str, ...] = (),
        effort: Effort = _SOME_EFFORT,
        deadline_s: float | None = None,
    ) -> AsyncIterator[Lease]:
        """Wait for `slots` free sequences of `model`, loading it if need be; they are given back on leaving.

        Without slots only the model is needed, which then stays in memory.
        Raises `QueueFull`, `RateLimited`, `PredictedTimeout` where the first word is not to be expected within
        `deadline_s`, whatever the load raised, or the error of `close`.
        """
        began, want = monotonic(), Want(model, slots, lane, caller)
        expected = self.forecast(want, effort)
        if refusal := too_late(expected, deadline_s):
            raise refusal
        resident = await self._stand_in_line(want, effort, expected, deadline_s)
        granted = monotonic()
        run = None if want.is_guest else resident.process.outlook.add(effort, expected, granted - began)
        try:
            yield Lease(resident, granted - began, expected, run)
        finally:
            if run is not None:
                resident.process.outlook.remove(run)
            resident.give_back(slots)
            resident.used_s = monotonic()
            self._line.give_back(want, resident.used_s - granted)
            self._dispatch()
            resident.expect_leave(partial(self._expire, resident))

    def wait_s(self, model: str) -> float:
        """When somebody who comes now would get a turn with `model`, in seconds."""
        return self.forecast(Want(model), _SOME_EFFORT).wait_s

    def keep(self, model: str, keep_s: float | None) -> None:
        """Let `model` leave memory once nobody has used it for `keep_s` seconds; None leaves it as it is.

        Infinity keeps it for good, 0 lets it go at once, or as soon as whoever uses it now is done.
        """
        resident = self._residents.get(model)
        if resident is None or keep_s is None:
            return
        resident.keep_s = keep_s
        resident.expect_leave(partial(self._expire, resident))

    def leaves_s(self, model: str) -> float | None:
        """The Unix time at which `model` leaves memory if nobody uses it; None: not by itself."""
        resident = self._residents.get(model)
        return time.time() + resident.leaves_in_s if resident and resident.leaves_in_s is not None else None

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

    def forecast(self, want: Want, effort: Effort) -> Forecast:
        """When somebody who comes now would get a turn and a first word."""
        resident = self._residents.get(want.model)
        line = [*self._line.ahead_of(want), effort]
        if resident is None or resident.state != "ready":
            return Outlook().forecast(line, self._engine.sequences)
        return resident.process.outlook.forecast(line, resident.free)

    async def _stand_in_line(
        self, want: Want, effort: Effort, expected: Forecast, deadline_s: float | None
    ) -> Resident:
        if self._closed is not None:
            raise self._closed
        waiter = Waiter[Resident](want, effort, asyncio.get_running_loop().create_future())
        self._line.join(waiter)
        self._dispatch()
        try:
            if not waiter.granted.done():
                self._find_place(waiter, expected)
            async with asyncio.timeout(deadline_s):
                return await waiter.granted
        except BaseException as error:
            self._give_up(waiter)
            if isinstance(error, TimeoutError):
                raise waited_in_vain(self.forecast(want, effort), deadline_s) from None
            raise

    def _find_place(self, waiter: Waiter[Resident], expected: Forecast) -> None:
        """It has to wait; where the line is full or too long, it or somebody else is refused."""
        others, limits = [other for other in self._line.waiters if other is not waiter], self._limits
        wants = [other.want for other in others]
        gives_way = find_place(wants, waiter.want, limits.queue_requests, limits.queue_s, expected)
        if gives_way is not None:
            self._send_away(others[gives_way], waiter.want)

    def _send_away(self, waiter: Waiter[Resident], newcomer: Want) -> None:
        self._line.waiters.remove(waiter)
        expected = self.forecast(waiter.want, waiter.effort)
        waiter.granted.set_exception(gave_way(waiter.want.lane, newcomer.lane, expected))

    def _give_up(self, waiter: Waiter[Resident]) -> None:
        if waiter in self._line.waiters:
            self._line.waiters.remove(waiter)
        elif waiter.granted.done() and not waiter.granted.cancelled() and not waiter.granted.exception():
            # Cancelled in the moment between the grant and waking up: the slots go back.
            resident = waiter.granted.result()
            resident.give_back(waiter.want.slots)
            self._line.give_back(waiter.want, 0.0)
            self._dispatch()
            resident.expect_leave(partial(self._expire, resident))
            return
        self._line.ledger.leave(waiter.want.path)
        self._dispatch()

    def _dispatch(self) -> None:
        """Carry out `plan` until it has nothing more to say."""
        if self._closed is not None:
            return
        # A request that was cancelled leaves the line only when its task wakes up; until then it must not be granted.
        line = self._line
        line.waiters = [waiter for waiter in line.waiters if not waiter.granted.done()]
        seats = {model: resident.seat for model, resident in self._residents.items()}
        now = plan(line.wants, seats, self._engine.resident_models, line.ledger.standings, line.passed)
        line.passed = now.passed
        for waiter in [line.waiters[index] for index in now.grants]:
            line.waiters.remove(waiter)
            line.ledger.grant(waiter.want.path, waiter.want.slots)
            resident = self._residents[waiter.want.model]
            resident.take(waiter.want.slots)
            waiter.granted.set_result(resident)
        for model in now.evictions:
            self._tell("model_evicted", model=model)
            self._leave(self._residents[model])
        for model in now.loads:
            self._begin_load(model)

    def _begin_load(self, model: str) -> Resident:
        resident = self._residents[model] = Resident(self._spawn(model), self._engine.sequences, self._engine.sequences)
        resident.load = self._tasks.create_task(self._load(model, resident), name=f"load {model}")
        return resident

    async def _load(self, model: str, resident: Resident) -> None:
        began = monotonic()
        self._tell("model_loading", model=model)
        try:
            card = await self._loader.load(model, resident, partial(self._spawn, model))
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
        resident.expect_leave(partial(self._expire, resident))  # it may have been told to, meanwhile
        load_s = round(monotonic() - began, 3)
        self._tell("model_loaded", model=model, seconds=load_s, description=card.description)
        if resident.draft_problem:
            self._tell_undrafted(model, resident.draft_problem)
        if problem := self.problem(resident):
            log.error("%s: %s", model, problem)
            self._tell("gpu_unused", model=model, reason=problem)
        self._dispatch()
        if card.template:
            # Ahead of the first chat, which would otherwise wait for it; a template that is broken is the business of
            # whoever asks for a chat, and is told then.
            with contextlib.suppress(RequestError, OSError):
                await resident.renderer.start()
                await share_prompts(self._engine.shared_prompts, resident.renderer, resident.process)

    def _spawn(self, model: str) -> WorkerProcess:
        process = WorkerProcess(model, partial(self._bury, model))
        process.on_drafter_lost = partial(self._lose_drafter, model)
        return process

    def _lose_drafter(self, model: str, reason: str) -> None:
        if resident := self._residents.get(model):
            resident.draft_problem = reason
            self._tell_undrafted(model, reason)

    def _tell_undrafted(self, model: str, reason: str) -> None:
        log.warning("%s: no smaller model guesses ahead: %s", model, reason)
        self._tell("draft_unused", model=model, reason=reason)

    def _leave(self, resident: Resident) -> None:
        if resident.load is not None:
            resident.load.cancel()  # without effect once it is loaded
        if resident.expiry is not None:
            resident.expiry.cancel()
        if resident.state != "leaving":
            resident.state = "leaving"
            self._tasks.create_task(self._stop(resident), name=f"stop {resident.process.name}")

    def _expire(self, resident: Resident) -> None:
        if resident.seat.is_idle:  # who came meanwhile looks again when it is done
            self._tell("model_unloaded", model=resident.process.name, unused_s=round(monotonic() - resident.used_s, 1))
            self._leave(resident)

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
        for waiter in [waiter for waiter in self._line.waiters if model in (None, waiter.want.model)]:
            self._line.waiters.remove(waiter)
            if not waiter.granted.done():
                waiter.granted.set_exception(error)
