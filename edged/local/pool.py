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
import math
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from time import monotonic
from types import TracebackType

from edged.chat import Lane
from edged.config import Engine, Limits
from edged.errors import EdgedError, ShuttingDown
from edged.local.calibration import Calibration
from edged.local.ensuring import Fetch, ensure
from edged.local.keeping import Keeping
from edged.local.line import Line, Waiter, find_place, gave_way, too_late, waited_in_vain
from edged.local.loading import Loader
from edged.local.loads import LoadTimes, must_load
from edged.local.outlook import Outlook
from edged.local.plan import Plan, Want, plan
from edged.local.predict import Effort, Forecast
from edged.local.resident import Lease, Resident
from edged.local.residents import Residents, Tell
from edged.local.tuning import Tuning
from edged.local.work import Work
from edged.store import Store

_SOME_EFFORT = Effort(prompt_tokens=1, answer_tokens=1)


class Pool:
    """Workers for models. An async context: leaving it stops every worker.

    `tell(event, **facts)` hears what an owner may want to know tomorrow. The models in `kept` are those that the owner
    wants in memory; others leave when nobody has used them for `keep_s`.
    """

    def __init__(
        self,
        store: Store,
        engine: Engine,
        limits: Limits,
        tell: Tell,
        tuning: Tuning | None = None,
        keeping: Keeping | None = None,
        *,
        times: LoadTimes | None = None,
        calibration: Calibration | None = None,
        keep_s: float = math.inf,
        kept: Collection[str] = (),
    ) -> None:
        self._engine = engine
        self._limits = limits
        self._tell = tell
        self._line = Line[Resident]()
        self._closed: EdgedError | None = None
        self._tasks = asyncio.TaskGroup()
        self._memory = Residents(
            Loader(store, engine, tuning, keeping or Keeping(), calibration),
            engine,
            tell,
            self._tasks,
            self._dispatch,
            self._fail_line,
            times or LoadTimes(),
            keep_s,
        )
        self._memory.kept.update(kept)
        self._called: set[str] = set()  # models that somebody wanted who would not wait for them
        self._again: asyncio.TimerHandle | None = None
        self._ensuring: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Pool:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(self._closed or ShuttingDown("The daemon is stopping."))
        for waiting in (self._ensuring, self._again):
            if waiting is not None:
                waiting.cancel()
        for resident in list(self.residents.values()):
            self._memory.leave(resident)
        # Without the error: a task group would wrap it, and a `ConfigError` would no longer be one.
        await self._tasks.__aexit__(None, None, None)

    @property
    def residents(self) -> Mapping[str, Resident]:
        """Who is in memory now, by model."""
        return self._memory.all

    @property
    def work(self) -> Work:
        """What all workers have done since the daemon started, those that are gone included."""
        return self._memory.work

    @property
    def memory(self) -> Residents:
        """The models in memory, and what became of those that are not."""
        return self._memory

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
        `deadline_s`, `ModelLoading` where not even the load is (which goes on, or begins if nobody who is busy has to
        go), `ModelNotFound`, `ModelQuarantined`, whatever the load raised, or the error of `close`.
        """
        if self._closed is not None:
            raise self._closed
        began, want = monotonic(), Want(model, slots, lane, caller)
        await self._memory.learn(model)
        if self._closed is not None:  # meanwhile
            raise self._closed
        self._refuse_to_load(model, deadline_s)
        expected = self.forecast(want, effort)
        if refusal := self._memory.crowded(want) or too_late(expected, deadline_s):
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
            self._memory.expect_leave(resident)

    def wait_s(self, model: str) -> float:
        """When somebody who comes now would get a turn with `model`, in seconds."""
        return self.forecast(Want(model), _SOME_EFFORT).wait_s

    def keep(self, model: str, keep_s: float | None) -> None:
        """Let `model` leave memory once nobody has used it for `keep_s` seconds; None leaves it as it is.

        Infinity keeps it for good, 0 lets it go as soon as nobody uses it. What the owner wants in memory stays.
        """
        resident = self.residents.get(model)
        if resident is None or keep_s is None or (model in self._memory.kept and keep_s < math.inf):
            return
        resident.keep_s = keep_s
        self._memory.expect_leave(resident)

    def warm(self, model: str) -> None:
        """Load `model` before anybody asks for it, and keep it."""
        self._memory.kept.add(model)
        self._memory.warming = self.residents.get(model) or self._memory.begin(model)

    def ensure(self, models: Sequence[str], fetch: Fetch | None = None) -> None:
        """Have `models` in memory as far as they fit beside what is there, one after another; `fetch` gets the missing.

        Nobody waits for it; what cannot be had is told.
        """
        self._memory.kept.update(models)
        self._ensuring = self._tasks.create_task(ensure(self, models, fetch, self._tell), name="ensure")

    async def bring(self, model: str) -> bool:
        """Load `model` if it fits without anybody having to go, and wait for it; whether it is in memory then.

        Loads that are under way come first: what room there is beside them is known when they are through. Raises
        `ModelNotFound`, `ModelQuarantined`.
        """
        await self._memory.learn(model)
        while under_way := [found.load for found in self.residents.values() if found.state == "loading" and found.load]:
            await asyncio.wait(under_way)
        if self._closed is None and model not in self.residents and self._fits(model):
            self._memory.begin(model)
        if (resident := self.residents.get(model)) and resident.load is not None:
            await asyncio.wait([resident.load])
        return model in self.residents

    def close(self, error: EdgedError) -> None:
        """Refuse everybody with `error` from now on, those in line included; running answers go on."""
        self._closed = error
        self._fail_line(error)

    def interrupt(self, error: EdgedError) -> None:
        """End every running answer with `error`."""
        for resident in self.residents.values():
            resident.process.interrupt(error)

    def forecast(self, want: Want, effort: Effort) -> Forecast:
        """When somebody who comes now would get a turn and a first word."""
        resident = self.residents.get(want.model)
        line = [*self._line.ahead_of(want), effort]
        if resident is None or resident.state != "ready":
            expected = Outlook().forecast(line, self._engine.sequences)
            return replace(expected, wait_s=expected.wait_s + (self._memory.loading_s(want.model) or 0.0))
        return resident.process.outlook.forecast(line, resident.free)

    async def _stand_in_line(
        self, want: Want, effort: Effort, expected: Forecast, deadline_s: float | None
    ) -> Resident:
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
                waited = waited_in_vain(self.forecast(want, effort), deadline_s)
                raise self._memory.unready(want.model) or waited from None
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
            self._memory.expect_leave(resident)
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
        for waiter in list(line.waiters):
            if refusal := self._memory.crowded(waiter.want):
                self._fail(waiter, refusal)
        self._called -= self.residents.keys()
        called = [Want(model, 0, "background") for model in sorted(self._called)]
        # Asked before the plan: a turn that ends while it is made would have nobody look again.
        turns_s = [resident.turn_s for resident in self.residents.values()]
        now = self._plan([*line.wants, *called], line.passed)
        line.passed = now.passed
        for waiter in [line.waiters[index] for index in now.grants]:
            line.waiters.remove(waiter)
            line.ledger.grant(waiter.want.path, waiter.want.slots)
            resident = self.residents[waiter.want.model]
            resident.take(waiter.want.slots)
            waiter.granted.set_result(resident)
        for model in now.evictions:
            self._memory.evict(model)
        for model in now.loads:
            self._memory.begin(model)
        self._called.difference_update(now.loads)  # one that fails is not tried again for those who went away
        if self._memory.is_settled:
            self._called.clear()  # there is no room for them, and nobody waits
            self._restore()
        self._look_again([turn_s for turn_s in turns_s if turn_s > 0])

    def _plan(self, wants: Sequence[Want], passed: int = 0, needs: Mapping[str, int] | None = None) -> Plan:
        is_room_asked = any(want.model not in self.residents for want in wants)
        return plan(
            wants,
            {model: resident.seat for model, resident in self.residents.items()},
            self._engine.resident_models,
            self._line.ledger.standings,
            passed,
            needs=needs or self._memory.needs,
            room_bytes=self._memory.room_bytes if is_room_asked else math.inf,
        )

    def _fits(self, model: str) -> bool:
        """Whether there is room for it beside the others in any way, for nobody waits who could want it as wished."""
        return self._plan([Want(model, 0)], needs=self._memory.needs_at_least(model)).loads == (model,)

    def _restore(self) -> None:
        """Who is kept and had to make room comes back when there is room again and nobody waits."""
        fitting = (model for model in sorted(self._memory.displaced) if self._fits(model))
        if not self._line.waiters and (model := next(fitting, None)):
            self._memory.begin(model)

    def _look_again(self, turns_s: Sequence[float]) -> None:
        """Somebody waits for the place of a model whose turn it still is: look when that may be over."""
        if self._again is not None:
            self._again.cancel()
            self._again = None
        if turns_s and any(want.model not in self.residents for want in self._line.wants):
            self._again = asyncio.get_running_loop().call_later(min(turns_s), self._dispatch)

    def _refuse_to_load(self, model: str, deadline_s: float | None) -> None:
        """Whoever would not wait for the load is told how long it takes; the load is not his alone, and goes on."""
        load_s = self._memory.loading_s(model)
        if deadline_s is None or load_s is None or load_s <= deadline_s:
            return
        if model not in self.residents:
            self._called.add(model)
            self._dispatch()
        raise self._memory.unready(model) or must_load(model, load_s, deadline_s)

    def _fail_line(self, error: EdgedError, model: str | None = None) -> None:
        for waiter in [waiter for waiter in self._line.waiters if model in (None, waiter.want.model)]:
            self._fail(waiter, error)

    def _fail(self, waiter: Waiter[Resident], error: EdgedError) -> None:
        self._line.waiters.remove(waiter)
        if not waiter.granted.done():
            waiter.granted.set_exception(error)
