"""A model in memory, the places on it that are lent out, and the owner's system prompts that are kept ready in it.

What a system prompt becomes depends on the model's template, and where it ends on the tokenizer. So nobody guesses:
each is laid out in two conversations that differ from the person's first letter on; what both begin with is shared.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from time import monotonic

from edged.chat import TextPart
from edged.errors import InvalidRequest, RequestError
from edged.framing import WireError
from edged.host import memory
from edged.local.fit import Fit
from edged.local.making_room import Seat, SeatState
from edged.local.outlook import Run
from edged.local.predict import Forecast
from edged.local.process import WorkerProcess
from edged.local.renderer import Renderer
from edged.template_wire import Turn
from edged.wire import Loaded

log = logging.getLogger(__name__)

# Two first words that no vocabulary begins with the same token.
_ONE, _OTHER = "a", "1"
# By then a use counts half of a new one: what was asked an hour ago says little of what will be asked next.
_HALF_LIFE_S = 600.0
# A program that asks again does so within this of the last word; people think for longer.
_ASKS_AGAIN_S = 1.0


@dataclass(slots=True, eq=False)
class Resident:
    """A worker with its template process, and how many of its sequences are free.

    `draft_problem` says why the smaller model that was set does not guess ahead for it. It leaves when nobody has used
    it for `keep_s`, which `expiry` waits for. Its file has `size_bytes`, and in memory it takes `needs_bytes` at most;
    it was the `among`-th to come. Loading took `load_s`, until `ready_s`. `fit` is the way in which it runs. Before it
    came the kernel had killed `kernel_kills` processes for want of memory.
    """

    process: WorkerProcess
    slots: int
    free: int
    guests: int = 0
    state: SeatState = "loading"
    renderer: Renderer | None = None
    load: asyncio.Task[None] | None = None
    draft_problem: str = ""
    keep_s: float = math.inf
    expiry: asyncio.TimerHandle | None = None
    used_s: float = field(default_factory=monotonic)
    began_s: float = field(default_factory=monotonic)
    size_bytes: int = 0
    needs_bytes: int = 0
    among: int = 1
    is_kept: bool = False
    load_s: float = 0.0
    ready_s: float = 0.0
    uses: float = 0.0
    counted_s: float = 0.0
    fit: Fit | None = None
    kernel_kills: int | None = None

    @property
    def seat(self) -> Seat:
        """This resident as `plan` sees it."""
        worth_s = self.load_s * self._uses(monotonic())
        return Seat(self.state, self.free, self.slots, self.used_s, self.guests, worth_s, self.is_kept, self.turn_s > 0)

    @property
    def turn_s(self) -> float:
        """Seconds for which it stays although somebody waits for its place: it may serve for as long as loading took.

        That is over as soon as nobody has used it for a moment.
        """
        if self.state != "ready":
            return 0.0
        now_s = monotonic()
        is_busy = self.free < self.slots or self.guests > 0
        left_s = self.ready_s + self.load_s - now_s
        return left_s if is_busy else min(left_s, max(self.used_s, self.ready_s) + _ASKS_AGAIN_S - now_s)

    @property
    def outstanding_bytes(self) -> int:
        """What it has yet to take: a load all but what is read of the file, one that is ready what it never touched.

        That is much while nobody has asked for anything long: its buffers, tables for formats, conversations outside of
        the context. Lent to others it would be missing in the middle of an answer.
        """
        if self.state == "loading":
            return self.needs_bytes - int(self.size_bytes * self.process.progress)
        return max(0, self.needs_bytes - self._touched_bytes) if self.state == "ready" else 0

    @property
    def _touched_bytes(self) -> int:
        """What its processes hold; what a load put on a GPU is no memory of theirs, but taken as well."""
        pids = (self.process.pid, self.renderer.pid if self.renderer else None)
        held_bytes = sum(memory.own_bytes(pid) for pid in pids if pid is not None)
        card = self.process.card
        if card is not None and card.gpu_layers and card.taken is not None:
            held_bytes += card.taken.weights_bytes + card.taken.cells_bytes + card.taken.compute_bytes
        return held_bytes

    def become_ready(self) -> None:
        """It was loaded."""
        self.state, self.ready_s = "ready", monotonic()
        self.load_s = self.ready_s - self.began_s

    def _uses(self, now_s: float) -> float:
        """How often it was used, of late above all."""
        return self.uses * 2 ** ((self.counted_s - now_s) / _HALF_LIFE_S)

    @property
    def leaves_in_s(self) -> float | None:
        """Seconds until it leaves if nobody uses it; None: it does not leave by itself."""
        return None if self.keep_s == math.inf else max(0.0, self.used_s + self.keep_s - monotonic())

    def expect_leave(self, leave: Callable[[], None]) -> None:
        """Have `leave` called when nobody has used it for long enough."""
        if self.expiry is not None:
            self.expiry.cancel()
            self.expiry = None
        if self.leaves_in_s is not None and self.seat.is_idle:
            self.expiry = asyncio.get_running_loop().call_later(self.leaves_in_s, leave)

    def settle(self, fit: Fit) -> None:
        """It is to run in this way; nobody holds a place yet."""
        self.fit, self.needs_bytes = fit, fit.needs.total_bytes + fit.snapshot_bytes
        self.slots = self.free = fit.way.sequences

    def take(self, slots: int) -> None:
        """Give so many sequences to somebody; to none at all, as to a guest."""
        now_s = monotonic()
        self.uses, self.counted_s = self._uses(now_s) + 1, now_s
        self.free -= slots
        self.guests += slots == 0

    def give_back(self, slots: int) -> None:
        """The reverse of `take`."""
        self.free += slots
        self.guests -= slots == 0


@dataclass(frozen=True, slots=True)
class Lease:
    """`slots` sequences of a resident worker, held until the context that gave it is left.

    `forecast` is what was expected on arrival; `run` is the entry in the worker's outlook that follows the answer;
    a guest has none.
    """

    resident: Resident
    queue_s: float
    forecast: Forecast
    run: Run | None

    @property
    def drawn(self) -> float:
        """Tokens of the answer so far."""
        return self.run.drawn if self.run else 0.0

    @property
    def process(self) -> WorkerProcess:
        """The worker to ask."""
        return self.resident.process

    @property
    def card(self) -> Loaded:
        """What the worker says of its model."""
        card = self.process.card
        assert card is not None, "a lease is granted on a ready worker"
        return card

    @property
    def renderer(self) -> Renderer:
        """The worker's template process."""
        assert self.resident.renderer is not None
        return self.resident.renderer


def too_many(model: str, wanted: int, slots: int) -> InvalidRequest:
    """What to tell whoever wants more answers at once than the model has places in the memory that there is."""
    return InvalidRequest(
        f"{wanted} answers at once were asked for, and the memory of this device has room for {slots} with the model "
        f"{model}.",
        param="n",
    )


def taken_bytes(residents: Iterable[Resident]) -> int:
    """What would be free again if all of them left."""
    return sum(resident.needs_bytes - resident.outstanding_bytes for resident in residents)


async def share_prompts(system_prompts: Iterable[str], renderer: Renderer, process: WorkerProcess) -> None:
    """Have `process` read each of `system_prompts`, as far as the model's template takes them."""
    for text in system_prompts:
        try:
            one, other = [await renderer.render(_conversation(text, word)) for word in (_ONE, _OTHER)]
            process.share(one, other)
        except (RequestError, WireError) as error:
            log.warning("the shared prompt %.40r is not kept ready for %s: %s", text, process.name, error)


def _conversation(system_prompt: str, word: str) -> tuple[Turn, ...]:
    return (Turn("system", (TextPart(system_prompt),)), Turn("user", (TextPart(word),)))
