"""Who goes for a model that lacks room, and that everybody is served in the end: as a table, and played through."""

from __future__ import annotations

import math
import random
from collections import deque
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.local.making_room import Lack, Seat, SeatState, who_goes
from edged.local.plan import Plan, Want, plan

A, B, C = (Want(name, 1) for name in "abc")
GIB = 2**30


def ready(free: int = 4, *, used_s: float = 0.0, worth_s: float = 0.0, kept: bool = False, turn: bool = False) -> Seat:
    return Seat("ready", free, 4, used_s, worth_s=worth_s, is_kept=kept, has_turn=turn)


LOADING, LEAVING = Seat("loading", 4, 4, 0.0), Seat("leaving", 4, 4, 0.0)
NEEDS = {"a": 2, "b": 3, "c": 4}


@pytest.mark.parametrize(
    ("line", "seats", "room_bytes", "expected"),
    [
        # As many as there is room for, and no more.
        ([A, B], {}, 5, Plan(loads=("a", "b"))),
        ([A, B], {}, 4, Plan(loads=("a",))),
        ([B], {"a": ready()}, 3, Plan(loads=("b",))),
        # One that is alone is loaded whatever it is said to need.
        ([C], {}, 0, Plan(loads=("c",))),
        ([C], {"a": LEAVING}, 0, Plan()),
        # An idle one makes room; a busy one is waited for, and nobody else is let in there meanwhile.
        ([B], {"a": ready()}, 1, Plan(evictions=("a",))),
        ([B, A], {"a": ready(3)}, 1, Plan()),
        # Others go on.
        ([C, A, B], {"a": ready(3), "b": ready(3, worth_s=1)}, 2, Plan(grants=(2,))),
        # Nobody goes in vain: all that must go together go together.
        ([C], {"a": ready(), "b": ready(3)}, 1, Plan()),
        ([C], {"a": ready(), "b": ready()}, 0, Plan(evictions=("a", "b"))),
        ([C], {"a": ready(), "b": ready()}, 1, Plan(evictions=("b",))),
        # Who is leaving makes room already.
        ([C], {"a": LEAVING, "b": ready()}, 2, Plan()),
        ([C], {"a": LEAVING, "b": ready()}, 1, Plan(evictions=("b",))),
        # The one that is worth least, for its size; who is kept goes last, but goes.
        ([A], {"b": ready(worth_s=3), "c": ready(worth_s=2)}, 0, Plan(evictions=("c",))),
        ([A], {"b": ready(worth_s=3), "c": ready(worth_s=2, kept=True)}, 0, Plan(evictions=("b",))),
        ([B], {"a": ready(worth_s=9), "c": ready(kept=True)}, 0, Plan(evictions=("c",))),
        # Whose turn it is stays, and is granted to.
        ([B, A], {"a": ready(turn=True)}, 1, Plan(grants=(1,))),
        # Behind a model that waits for room no other is loaded.
        ([C, A], {"b": ready(3)}, 2, Plan()),
        # A load may be all that is in the way.
        ([B, A], {"a": LOADING}, 0, Plan()),
    ],
)
def test_room_in_memory(line: list[Want], seats: dict[str, Seat], room_bytes: int, expected: Plan) -> None:
    assert plan(line, seats, 16, needs=NEEDS, room_bytes=room_bytes) == expected


seat = st.builds(
    lambda state, free, used_s, worth_s, kept, turn: Seat(
        state, free if state == "ready" else 4, 4, used_s, worth_s=worth_s, is_kept=kept, has_turn=turn
    ),
    st.sampled_from(["ready", "ready", "ready", "loading", "leaving"]),
    st.integers(0, 4),
    st.floats(0, 100),
    st.floats(0, 100),
    st.booleans(),
    st.booleans(),
)
seat_maps = st.dictionaries(st.sampled_from("abcdef"), seat, max_size=5)
sizes = st.fixed_dictionaries({name: st.integers(0, 20) for name in "abcdef"})


@given(st.integers(-3, 5), st.integers(-10, 60), seat_maps, sizes)
def test_who_goes_is_needed_and_enough(
    models: int, size_bytes: int, seats: dict[str, Seat], needs: dict[str, int]
) -> None:
    lack = Lack(models, size_bytes)
    going = who_goes(lack, seats, needs)

    assert len(set(going)) == len(going)
    assert all(seats[model].state == "ready" and not seats[model].has_turn for model in going)
    leaving = [model for model, found in seats.items() if found.state == "leaving"]
    if not going:
        return
    assert not lack.without(leaving, needs).is_met, "somebody goes although those on their way out suffice"
    if lack.without([*leaving, *going], needs).is_met:
        for model in going:
            others = [other for other in going if other != model]
            assert not lack.without([*leaving, *others], needs).is_met, f"{model} goes for nothing"
        if any(seats[model].is_kept for model in going):
            free = [
                model for model, found in seats.items() if found.is_idle and not found.is_kept and not found.has_turn
            ]
            assert not lack.without([*leaving, *free], needs).is_met, "a kept model goes before others"


@given(
    st.lists(st.builds(Want, st.sampled_from("abcdef"), st.integers(1, 4)), max_size=8),
    seat_maps,
    st.integers(1, 6),
    sizes,
    st.integers(-10, 60),
)
def test_a_plan_never_overfills_memory_and_never_evicts_the_busy(
    line: list[Want], seats: dict[str, Seat], capacity: int, needs: dict[str, int], room_bytes: int
) -> None:
    now = plan(line, seats, capacity, needs=needs, room_bytes=room_bytes)

    is_alone = not seats and len(now.loads) == 1
    assert is_alone or not now.loads or sum(needs[model] for model in now.loads) <= room_bytes
    assert all(seats[model].is_idle and not seats[model].has_turn for model in now.evictions)
    assert not set(now.evictions) & {line[index].model for index in now.grants}


# ---- played through: loads take time, answers take time, memory is exact


@dataclass
class Asked:
    """A request for one sequence of a model, for so many ticks."""

    want: Want
    ticks: int
    came: int
    granted: int | None = None


@dataclass
class Model:
    """One in memory."""

    ready_at: int
    load_ticks: int
    free: int = 2
    used: int = 0
    uses: float = 0.0
    leaves_at: int | None = None

    def seat(self, now: int, *, is_kept: bool) -> Seat:
        state: SeatState = "leaving" if self.leaves_at is not None else "ready" if now >= self.ready_at else "loading"
        has_turn = state == "ready" and now < self.ready_at + self.load_ticks and (self.free < 2 or now - self.used < 2)
        return Seat(state, self.free, 2, self.used, 0, self.load_ticks * self.uses, is_kept, has_turn)


@dataclass
class Device:
    """Memory, models of sizes, and everybody who asks."""

    memory: int
    sizes: dict[str, int]
    kept: frozenset[str] = frozenset()
    load_ticks: int = 5
    line: list[Asked] = field(default_factory=list)
    running: list[Asked] = field(default_factory=list)
    done: list[Asked] = field(default_factory=list)
    models: dict[str, Model] = field(default_factory=dict)
    loads: int = 0
    now: int = 0

    def ask(self, model: str, ticks: int) -> Asked:
        asked = Asked(Want(model, 1, "interactive", (model,)), ticks, self.now)
        self.line.append(asked)
        return asked

    def tick(self) -> None:
        for asked in [asked for asked in self.running if self.now - (asked.granted or 0) >= asked.ticks]:
            self.running.remove(asked)
            self.done.append(asked)
            model = self.models[asked.want.model]
            model.free, model.used = model.free + 1, self.now
        for name in [name for name, model in self.models.items() if model.leaves_at is not None]:
            if self.now >= (self.models[name].leaves_at or 0):
                del self.models[name]
        seats = {name: model.seat(self.now, is_kept=name in self.kept) for name, model in self.models.items()}
        used = sum(self.sizes[name] for name in self.models)
        assert used <= self.memory or len(self.models) == 1
        now = plan([asked.want for asked in self.line], seats, 16, needs=self.sizes, room_bytes=self.memory - used)
        for asked in [self.line[index] for index in now.grants]:
            self.line.remove(asked)
            self.running.append(asked)
            asked.granted = self.now
            model = self.models[asked.want.model]
            model.free, model.used, model.uses = model.free - 1, self.now, model.uses * 0.9 + 1
        for name in now.evictions:
            self.models[name].leaves_at = self.now + 1
        for name in now.loads:
            self.loads += 1
            self.models[name] = Model(self.now + self.load_ticks, self.load_ticks, used=self.now)
        self.now += 1


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(4, 20), st.booleans())
def test_everybody_is_served_in_the_end(seed: int, memory: int, has_kept: bool) -> None:
    """Requests for models of all sizes, some larger than the machine, keep coming; nobody waits for ever."""
    chance = random.Random(seed)
    device = Device(memory, {name: chance.randint(1, 10) for name in "abcdef"}, frozenset("ab" if has_kept else ""))
    for _ in range(400):
        if len(device.line) < 8:
            device.ask(chance.choice("abcdef"), chance.randint(1, 12))
        device.tick()
    longest = max(
        [asked.granted - asked.came for asked in [*device.done, *device.running] if asked.granted is not None]
    )
    waiting = max([device.now - asked.came for asked in device.line], default=0)
    assert max(longest, waiting) < 300
    for _ in range(600):
        device.tick()
    assert device.line == []


@pytest.mark.parametrize("load_ticks", [5, 20])
@pytest.mark.parametrize("ticks", [1, 3])
def test_two_who_ask_in_turn_do_not_spend_their_time_on_loads(load_ticks: int, ticks: int) -> None:
    """Memory holds one of two models; each caller asks again as soon as it was answered."""
    device = Device(3, {"a": 2, "b": 2}, load_ticks=load_ticks)
    asked = {name: device.ask(name, ticks) for name in "ab"}
    for _ in range(1000):
        device.tick()
        for name, one in asked.items():
            if one in device.done:
                asked[name] = device.ask(name, ticks)
    assert device.loads <= 1000 / (2 * load_ticks) + 2, "less than half of the time goes into loads"
    answers = [sum(one.want.model == name for one in device.done) for name in "ab"]
    assert min(answers) > 0.7 * max(answers)


def test_a_model_that_is_used_all_the_time_outlives_many_that_are_asked_for_once() -> None:
    device = Device(4, {"a": 2} | {f"m{number}": 2 for number in range(20)})
    device.ask("a", 1)
    coming = deque(f"m{number}" for number in range(20))
    while coming or device.line or device.running:
        if not device.line and not device.running:
            device.ask(coming.popleft(), 1)
            device.ask("a", 1)
        device.tick()
    assert device.loads == 21, "the one that everybody uses was loaded once"


def test_without_needs_only_the_count_matters() -> None:
    assert plan([A, B], {}, 1, room_bytes=math.inf) == Plan(loads=("a",))
