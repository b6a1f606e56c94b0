"""Who is granted, loaded and evicted: the decision as a table, as properties, and played through for hours."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.chat import Lane
from edged.local.line import Line, Waiter, admit, before, is_over_share
from edged.local.making_room import Seat
from edged.local.plan import BACKGROUND_SWAP_TURN, BACKGROUND_TURN, Plan, Want, plan
from edged.local.predict import Effort
from edged.local.share import Ledger, Path, Standing, branches

A, B, C = (Want(name, 1) for name in "abc")


def ready(free: int = 4, *, total: int = 4, used_s: float = 0.0) -> Seat:
    return Seat("ready", free, total, used_s)


LOADING, LEAVING = Seat("loading", 4, 4, 0.0), Seat("leaving", 4, 4, 0.0)


@pytest.mark.parametrize(
    ("line", "seats", "capacity", "expected"),
    [
        # Nobody wants anything.
        ([], {}, 1, Plan()),
        ([], {"a": ready()}, 1, Plan()),
        # Grants, as far as slots go, first come first served.
        ([A, A], {"a": ready()}, 1, Plan(grants=(0, 1))),
        ([A, A, A], {"a": ready(2)}, 1, Plan(grants=(0, 1))),
        ([A], {"a": ready(0)}, 1, Plan()),
        # Nobody overtakes somebody who waits for the same model, however little he needs.
        ([Want("a", 4), A], {"a": ready(3)}, 1, Plan()),
        ([A, Want("a", 4), A], {"a": ready(3)}, 1, Plan(grants=(0,))),
        # One model's line does not hold up another's.
        ([A, B], {"a": ready(0), "b": ready()}, 2, Plan(grants=(1,))),
        # Loading: once per model, within the capacity.
        ([A], {}, 1, Plan(loads=("a",))),
        ([A, A], {}, 1, Plan(loads=("a",))),
        ([A, B], {}, 2, Plan(loads=("a", "b"))),
        ([A], {"a": LOADING}, 1, Plan()),
        ([A, B], {}, 1, Plan(loads=("a",))),
        # A seat that is loading is not free, and not to be evicted.
        ([B], {"a": LOADING}, 1, Plan()),
        # Eviction: the least recently used idle one, never a busy one.
        ([B], {"a": ready()}, 1, Plan(evictions=("a",))),
        ([B], {"a": ready(3)}, 1, Plan()),
        ([C], {"a": ready(used_s=2), "b": ready(used_s=1)}, 2, Plan(evictions=("b",))),
        ([C], {"a": ready(used_s=2), "b": ready(3, used_s=1)}, 2, Plan(evictions=("a",))),
        # Who was granted just now is busy.
        ([A, B], {"a": ready()}, 1, Plan(grants=(0,))),
        # While nothing is idle, the line behind stands still, also for models that have room.
        ([B, A], {"a": ready(3)}, 1, Plan()),
        ([B, A], {"a": ready()}, 1, Plan(evictions=("a",))),
        # Somebody is already on the way out: one is enough.
        ([B], {"a": LEAVING}, 1, Plan()),
        ([C], {"a": LEAVING, "b": ready()}, 2, Plan()),
        # Nobody is granted a seat that is leaving; he waits until it is gone.
        ([A], {"a": LEAVING}, 1, Plan()),
    ],
)
def test_plan(line: list[Want], seats: dict[str, Seat], capacity: int, expected: Plan) -> None:
    assert plan(line, seats, capacity) == expected


wants = st.lists(st.builds(Want, st.sampled_from("abcd"), st.integers(1, 4)), max_size=8)
any_seat = st.builds(
    lambda state, free, used_s: Seat(state, free if state == "ready" else 4, 4, used_s),
    st.sampled_from(["ready", "ready", "loading", "leaving"]),
    st.integers(0, 4),
    st.floats(0, 100),
)
seat_maps = st.dictionaries(st.sampled_from("abcd"), any_seat, max_size=3)


@given(wants, seat_maps, st.integers(1, 3))
def test_a_plan_keeps_every_promise(line: list[Want], seats: dict[str, Seat], capacity: int) -> None:
    now = plan(line, seats, capacity)

    for model, seat in seats.items():
        granted = sum(line[index].slots for index in now.grants if line[index].model == model)
        assert granted <= (seat.free if seat.state == "ready" else 0)
        first_left = next((i for i, want in enumerate(line) if want.model == model and i not in now.grants), len(line))
        assert all(index < first_left for index in now.grants if line[index].model == model), "somebody was overtaken"
    assert {line[index].model for index in now.grants} <= set(seats)
    assert all(seats[model].is_idle for model in now.evictions)
    assert not set(now.evictions) & {line[index].model for index in now.grants}
    assert len(now.evictions) <= max(1, len(seats) + 1 - capacity), "as many as are too many"
    assert len(set(now.loads)) == len(now.loads)
    assert not set(now.loads) & set(seats)
    assert not now.loads or len(seats) + len(now.loads) <= capacity


@given(wants.filter(bool), st.dictionaries(st.sampled_from("abcd"), st.builds(ready), max_size=3), st.integers(1, 3))
def test_while_everything_is_idle_something_always_happens(
    line: list[Want], seats: dict[str, Seat], capacity: int
) -> None:
    now = plan(line, seats, capacity)

    assert now.grants or now.loads or now.evictions


@given(wants.filter(bool), st.integers(1, 3))
def test_a_line_is_served_to_its_end(line: list[Want], capacity: int) -> None:
    """Carries plans out as the pool does, every answer ending at once."""
    seats: dict[str, Seat] = {}
    waiting, served = list(line), list[Want]()
    for turn in range(10 * len(line)):
        now = plan(waiting, seats, capacity)
        served += [waiting[index] for index in now.grants]
        waiting = [want for index, want in enumerate(waiting) if index not in now.grants]
        for model in now.evictions:
            del seats[model]
        seats |= {model: ready(used_s=turn) for model in now.loads}
        assert len(seats) <= capacity
    assert waiting == []
    for name in "abcd":
        assert [want for want in served if want.model == name] == [want for want in line if want.model == name]


# ---- lanes and shares


def person(caller: str, model: str = "a", slots: int = 1) -> Want:
    return Want(model, slots, "interactive", ("open", caller))


def errand(caller: str = "x", model: str = "a") -> Want:
    return Want(model, 1, "background", ("open", caller))


def test_people_go_before_errands() -> None:
    assert plan([errand(), person("p")], {"a": ready(1)}, 1).grants == (1,)


def test_the_last_free_sequence_stays_free_for_a_person() -> None:
    assert plan([errand(), errand()], {"a": ready(2)}, 1).grants == (0,)
    assert plan([errand()], {"a": ready(1)}, 1).grants == ()
    assert plan([errand()], {"a": ready(1, total=1)}, 1).grants == (0,), "there is only one"


def test_the_ninth_turn_is_the_backgrounds_even_on_the_last_sequence() -> None:
    line = [person("p"), errand()]
    assert plan(line, {"a": ready(1)}, 1, passed=BACKGROUND_TURN - 1) == Plan((0,), passed=BACKGROUND_TURN)
    assert plan(line, {"a": ready(1)}, 1, passed=BACKGROUND_TURN) == Plan((1,))


def test_the_background_has_another_model_loaded_only_after_long() -> None:
    line = [person("p"), errand(model="b")]
    assert plan(line, {"a": ready(1)}, 1, passed=BACKGROUND_TURN).grants == (0,)
    assert plan(line, {"a": ready(1)}, 1, passed=BACKGROUND_SWAP_TURN).grants == ()


def test_a_user_field_divides_the_share_of_its_address_and_does_not_widen_it() -> None:
    many = [Want("a", 1, "interactive", ("open", "10.0.0.1", f"user {number}")) for number in range(6)]
    one = Want("a", 1, "interactive", ("open", "10.0.0.2", ""))

    grants = plan([*many, one], {"a": ready(4)}, 1).grants

    assert grants == (0, 6, 1, 2)


def standing_of(held: dict[str, int]) -> dict[Path, Standing]:
    standings: dict[Path, Standing] = {}
    for caller, slots in held.items():
        for branch in branches(("interactive", "open", caller)):
            standings.setdefault(branch, Standing()).held += slots
    return standings


@given(st.integers(1, 8), st.integers(1, 20), st.integers(0, 8), st.floats(0, 100))
def test_nobody_with_nothing_waits_behind_somebody_with_something(
    free: int, waiting: int, held: int, used: float
) -> None:
    """Whatever the ledger says of the past, the one request of one caller is granted before another's second."""
    standings = standing_of({"flood": held, "one": 0})
    standings["interactive", "open", "one"].used = used
    line = [*[person("flood")] * waiting, person("one")]

    grants = plan(line, {"a": ready(free, total=free + held)}, 1, standings).grants

    ahead = grants.index(waiting) if waiting in grants else len(grants)
    assert held + ahead <= max(held, 1)


callers = st.sampled_from(["p", "q", "r"])
lanes: st.SearchStrategy[Lane] = st.sampled_from(["interactive", "interactive", "background"])
lane_lines = st.lists(st.builds(lambda c, lane: Want("a", 1, lane, ("open", c)), callers, lanes), max_size=12)


@given(lane_lines, st.integers(0, 8), st.dictionaries(callers, st.integers(0, 3)), st.integers(0, 20))
def test_no_sequence_is_left_free_that_somebody_could_have(
    line: list[Want], free: int, held: dict[str, int], passed: int
) -> None:
    """Work-conserving, but for the one sequence that the background leaves."""
    now = plan(line, {"a": ready(free, total=8)}, 1, standing_of(held), passed)

    left, rest = free - len(now.grants), [want for i, want in enumerate(line) if i not in now.grants]
    assert len(now.grants) <= free
    assert len(set(now.grants)) == len(now.grants)
    if left:
        assert all(want.lane == "background" for want in rest)
        assert left == 1 or not rest


# ---- played through: the same code as in the pool, with a clock


@dataclass
class Sent:
    """A request in the simulation."""

    want: Want
    holds_s: int
    came_s: int
    granted_s: int | None = None


@dataclass
class Device:
    """One model with so many sequences; everybody keeps what he was granted for as long as he said."""

    sequences: int
    line: list[Sent] = field(default_factory=list)
    running: list[Sent] = field(default_factory=list)
    done: list[Sent] = field(default_factory=list)
    ledger: Ledger = field(default_factory=Ledger)
    passed: int = 0
    now_s: int = 0

    def send(self, want: Want, holds_s: int) -> Sent:
        sent = Sent(want, holds_s, self.now_s)
        self.ledger.arrive(want.path, [other.want.path for other in self.line])
        self.line.append(sent)
        return sent

    def tick(self) -> list[Sent]:
        """A second passes; who was granted in it."""
        for sent in [sent for sent in self.running if self.now_s - (sent.granted_s or 0) >= sent.holds_s]:
            self.running.remove(sent)
            self.done.append(sent)
            waiting = [other.want.path for other in self.line]
            self.ledger.give_back(sent.want.path, sent.want.slots, self.now_s - (sent.granted_s or 0), waiting)
            self.ledger.leave(sent.want.path)
        seat = ready(self.sequences - len(self.running), total=self.sequences)
        now = plan([sent.want for sent in self.line], {"a": seat}, 1, self.ledger.standings, self.passed)
        self.passed = now.passed
        granted = [self.line[index] for index in now.grants]
        for sent in granted:
            self.line.remove(sent)
            self.running.append(sent)
            sent.granted_s = self.now_s
            self.ledger.grant(sent.want.path, sent.want.slots)
        assert len(self.running) <= self.sequences
        self.now_s += 1
        return granted


def closed_loop(device: Device, wants: dict[str, tuple[int, int]], seconds: int) -> Iterator[list[Sent]]:
    """Every caller keeps so many requests of so many seconds each under way."""
    for _ in range(seconds):
        for caller, (many, holds_s) in wants.items():
            present = [sent for sent in [*device.line, *device.running] if sent.want == person(caller)]
            for _ in range(many - len(present)):
                device.send(person(caller), holds_s)
        yield device.tick()


def slot_seconds(device: Device, caller: str) -> int:
    return sum(sent.holds_s for sent in device.done if sent.want == person(caller))


@pytest.mark.parametrize("sequences", [1, 2, 8])
@pytest.mark.parametrize("holds_s", [1, 7, 30])
def test_one_request_waits_behind_at_most_one_of_a_caller_with_twenty(sequences: int, holds_s: int) -> None:
    device = Device(sequences)
    for _ in closed_loop(device, {"flood": (20, 10)}, 55):
        pass
    for _ in range(20):
        one = device.send(person("one"), holds_s)
        granted_before = 0
        while one.granted_s is None:
            granted = device.tick()
            granted_before += sum(sent.want == person("flood") for sent in granted[: _index(granted, one)])
            while len(device.line) < 20:
                device.send(person("flood"), 10)
        assert granted_before <= 0 if sequences > 1 else granted_before <= 1
        while one in device.running:
            device.tick()


def _index(granted: list[Sent], one: Sent) -> int:
    return granted.index(one) if one in granted else len(granted)


@pytest.mark.parametrize(("long_s", "short_s"), [(20, 1), (10, 10), (3, 30)])
def test_between_two_who_always_have_work_slot_seconds_are_even(long_s: int, short_s: int) -> None:
    device = Device(4)
    for _ in closed_loop(device, {"p": (9, long_s), "q": (9, short_s)}, 2000):
        pass

    p, q = slot_seconds(device, "p"), slot_seconds(device, "q")
    assert p + q > 0.97 * 4 * 2000
    assert abs(p - q) < 0.1 * (p + q)


def test_more_callers_than_slots_get_even_times_whatever_their_requests_cost() -> None:
    device = Device(2)
    wants = {name: (3, holds_s) for name, holds_s in zip("pqrst", (2, 5, 9, 20, 31), strict=True)}
    for _ in closed_loop(device, wants, 6000):
        pass

    shares = {name: slot_seconds(device, name) for name in wants}
    assert sum(shares.values()) > 0.97 * 2 * 6000
    assert min(shares.values()) > 0.7 * max(shares.values()), shares


def test_who_had_every_slot_while_alone_is_not_punished_for_it() -> None:
    device = Device(8)
    for _ in closed_loop(device, {"early": (16, 5)}, 500):
        pass
    for _ in closed_loop(device, {"early": (16, 5), "late": (16, 5)}, 50):
        pass
    before_s = slot_seconds(device, "early"), slot_seconds(device, "late")
    for _ in closed_loop(device, {"early": (16, 5), "late": (16, 5)}, 500):
        pass

    early, late = slot_seconds(device, "early") - before_s[0], slot_seconds(device, "late") - before_s[1]
    assert abs(early - late) < 0.1 * (early + late)


@settings(max_examples=20)
@given(st.integers(0, 2**32), st.integers(1, 4))
def test_nobody_starves_while_strangers_keep_coming(seed: int, sequences: int) -> None:
    """A line that is never empty, everybody in it new; who comes again and again, and an errand, get through."""
    chance, device, strangers = random.Random(seed), Device(sequences), itertools.count()
    patient, regular, times = device.send(errand(), 3), device.send(person("regular"), 3), 0
    for _ in range(150):
        while len(device.line) < 12:
            device.send(person(f"stranger {next(strangers)}"), chance.randint(1, 5))
        device.tick()
        if regular.granted_s is not None:
            regular, times = device.send(person("regular"), 3), times + 1
    assert patient.granted_s is not None
    assert times >= 3


def test_an_errand_gets_through_while_people_keep_all_sequences_busy() -> None:
    device = Device(8)
    patient = device.send(errand(), 5)
    for _ in closed_loop(device, {name: (1, 4) for name in "pqrstuvw"}, 60):
        if patient.granted_s is not None:
            break
    assert patient.granted_s is not None


def test_people_do_not_wait_for_the_background() -> None:
    device = Device(8)
    for _ in range(50):
        device.send(errand(), 100)
    for _ in range(20):
        device.tick()
    visitor = device.send(person("visitor"), 5)
    assert device.tick() == [visitor]


# ---- the line


def test_an_open_line_takes_everybody() -> None:
    assert admit([person("p")] * 3, person("p"), 4) == admit([], errand(), 1)


def test_one_caller_alone_may_fill_every_place_and_is_then_told_that_the_box_is_full() -> None:
    assert admit([person("p")] * 4, person("p"), 4).refusal == "full"


def test_a_full_line_of_one_gives_its_newest_place_to_another() -> None:
    assert admit([person("p")] * 4, person("q"), 4).gives_way == 3
    assert admit([person("p"), person("p"), person("p"), person("q")], person("q"), 4).gives_way == 2


def test_whoever_has_its_share_of_a_full_line_is_told_so() -> None:
    assert admit([person("p")] * 4 + [person("q")] * 4, person("q"), 8).refusal == "over_share"
    assert admit([person("p")] * 7 + [person("q")], person("p"), 8).refusal == "over_share"


def test_a_line_with_a_place_for_each_is_simply_full() -> None:
    assert admit([person(name) for name in "pqrs"], person("t"), 4).refusal == "full"


def test_another_user_of_the_same_address_gives_way_before_a_stranger_does() -> None:
    def of(address: str, user: str) -> Want:
        return Want("a", 1, "interactive", ("open", address, user))

    line = [of("x", "ada"), of("x", "ada"), of("y", ""), of("x", "ada")]
    assert admit(line, of("x", "bob"), 4).gives_way == 3


def test_errands_give_way_to_people_and_never_the_other_way_round() -> None:
    assert admit([errand(), person("p"), errand(), person("p")], person("p"), 4).gives_way == 2
    assert admit([person("p")] * 4, errand(), 4).refusal == "full"


@given(lane_lines, st.builds(lambda c, lane: Want("a", 1, lane, ("open", c)), callers, lanes), st.integers(1, 12))
def test_the_places_stay_fair(line: list[Want], newcomer: Want, most: int) -> None:
    verdict = admit(line, newcomer, most)
    if len(line) < most:
        assert (verdict.gives_way, verdict.refusal) == (None, None)
        return
    assert (verdict.gives_way is None) != (verdict.refusal is None)
    if verdict.gives_way is not None:
        loser = line[verdict.gives_way]
        assert loser.lane == "background" or newcomer.lane == "interactive"
        if loser.lane == newcomer.lane:
            assert line.count(loser) > line.count(newcomer) + 1
        assert loser not in line[verdict.gives_way + 1 :]
    if verdict.refusal == "over_share":
        assert is_over_share(line, newcomer)


@given(lane_lines, st.dictionaries(callers, st.integers(0, 3)))
def test_who_is_ahead_is_who_would_be_granted_first(line: list[Want], held: dict[str, int]) -> None:
    newcomer, standings = person("p"), standing_of(held)
    ahead = before(newcomer, line, standings)

    grants = plan([*line, newcomer], {"a": ready(99, total=99)}, 1, standings).grants
    granted_before = [index for index in grants[: grants.index(len(line))] if line[index].lane == "interactive"]
    assert ahead == granted_before


def test_a_line_counts_by_lane_and_forgets_who_has_left() -> None:
    line = Line[None]()
    assert (line.queued(), line.queued("background"), line.wants) == (0, 0, [])
    line.ledger.arrive(errand().path, [])
    line.ledger.grant(errand().path, 1)
    line.give_back(errand(), 2.0)
    assert line.ledger.standings == {}


def test_a_newcomer_is_expected_where_it_will_stand() -> None:
    """After others have used something: nobody new comes before those who wait already, and none may be told so."""
    line, effort = Line[None](), Effort(10, 10)
    first = Want("a", 1, "interactive", ("open", "first"))
    line.ledger.arrive(first.path, [])
    line.ledger.grant(first.path, 1)
    line.ledger.give_back(first.path, 1, 10.0, [])
    for name in ("second", "third"):
        newcomer = Want("a", 1, "interactive", ("open", name))
        ahead = line.ahead_of(newcomer)
        assert len(ahead) == len(line.waiters)
        line.join(Waiter[None](newcomer, effort, cast(Any, None)))  # nobody waits for the grant
        order = plan(line.wants, {"a": ready(1)}, 1, line.ledger.standings).grants
        assert order == (0,)


def test_a_background_guest_gets_a_model_that_is_not_in_memory_in_the_end() -> None:
    """A count or an errand that needs no sequence, while people go on talking to another model."""
    guest, passed = Want("b", 0, "background"), 0
    for _ in range(BACKGROUND_SWAP_TURN):
        now = plan([guest, A], {"a": ready(3)}, 1, passed=passed)
        assert now.grants == (1,)
        passed = now.passed

    assert plan([guest, A], {"a": ready(3)}, 1, passed=passed).grants == ()
    assert plan([guest, A], {"a": ready()}, 1, passed=passed).evictions == ("a",)
    assert plan([guest, A], {"b": ready()}, 1, passed=passed).passed == 0
